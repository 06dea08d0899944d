//! One request's work at the nodes: who is asked for which of its rows, orders opened as they are needed, nodes given
//! up and others asked in their place. What is sent travels in the frames of [a batch](crate::batch).
//!
//! Nothing is ever substituted or skipped: where no consenting node is left for an expert, the request fails.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use counterfoil_audit::cost::evidence;
use counterfoil_consent::{grant_hash, open_hash, sign_open};
use counterfoil_identity::{SignFault, random};
use counterfoil_model::{Part, Routing};
use counterfoil_session::LaneError;
use counterfoil_spec::claims::Purposes;
use counterfoil_spec::country::Country;
use counterfoil_spec::ids::{Hash, ManifestId, NodeId, Serial};
use counterfoil_spec::receipt::{Grant, Open};
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::time::Millis;

use crate::account::{Gone, settle_gone};
use crate::desk::{Desk, Unplanned};
use crate::engine::Engine;
use crate::http::refusals::{By, What};
use crate::placement::{Plan, Uncovered};
use crate::registry::{Host, Place};

mod fault;

pub(crate) use fault::WorkError;

use fault::Crowd;

/// How long a request may use a grant.
const GRANT_LIFE_MS: u64 = 30 * 60 * 1000;
/// How long this router keeps what nodes computed once the request is over: it has nothing that would keep it.
const RETENTION_S: u32 = 0;
/// How long a request waits for nodes that are at their limit.
const PLACE_TIMEOUT: Duration = Duration::from_secs(30);

/// What a request may use at most.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) request: Serial,
    pub(crate) max_tokens: u64,
    pub(crate) purpose: Purposes,
    /// Where the caller is from.
    pub(crate) country: Option<Country>,
}

/// An order at one node.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    pub(crate) slot: u32,
    pub(crate) serial: Serial,
    pub(crate) manifest: ManifestId,
    pub(crate) open_hash: Hash,
    /// Forwards of this node that entered a sum.
    pub(crate) used: u64,
}

/// A node as this request sees it.
#[derive(Debug)]
pub(crate) struct Party {
    pub(crate) host: Arc<Host>,
    pub(crate) order: Option<Order>,
    /// What is left of its order where its node is gone.
    pub(crate) gone: Option<Gone>,
    /// Whether it may still be asked.
    usable: bool,
    /// Held until the node has ended the request, so that the next one finds it within its limit.
    pub(crate) place: Option<Place>,
}

/// The work of one request.
#[derive(Debug)]
pub(crate) struct Work {
    desk: Arc<Desk>,
    engine: Arc<Engine>,
    bounds: Bounds,
    plan: Arc<Plan>,
    pub(crate) parties: Vec<Party>,
    /// The node that failed last.
    pub(crate) failed: Option<NodeId>,
    /// Whether nodes refused because they have enough to do.
    crowd: Crowd,
}

/// One part of a request's rows of a layer, dealt to one party.
#[derive(Debug)]
pub(crate) struct Dealt {
    party: usize,
    pub(crate) part: Part,
    pub(crate) forwards: u64,
}

/// Where a part goes.
#[derive(Debug)]
pub(crate) struct Address {
    pub(crate) host: Arc<Host>,
    pub(crate) slot: u32,
    /// Whether every expert of the part has another node that may be asked.
    pub(crate) replaceable: bool,
}

impl Work {
    /// Plans a request and takes its places at the nodes.
    pub(crate) async fn begin(
        desk: &Arc<Desk>,
        engine: &Arc<Engine>,
        bounds: Bounds,
    ) -> Result<Self, WorkError> {
        let (hosts, plan) = desk.plan(engine, bounds.country)?;
        let first = plan.first_choices();
        let mut parties = Vec::with_capacity(hosts.len());
        // In the order of node ids, so that two requests never wait for each other's places.
        for (at, host) in (0_u16..).zip(hosts) {
            let place = if first.contains(&at) { Some(place(&host).await?) } else { None };
            parties.push(Party { host, order: None, gone: None, usable: true, place });
        }
        let (desk, engine) = (Arc::clone(desk), Arc::clone(engine));
        Ok(Self { desk, engine, bounds, plan, parties, failed: None, crowd: Crowd::Nobody })
    }

    /// Deals some rows out to the parties. `rows` maps the routing's rows to the request's where they are a part of
    /// them.
    pub(crate) fn deal(
        &mut self,
        layer: u32,
        routing: &Routing,
        rows: Option<&[usize]>,
    ) -> Result<Vec<Dealt>, WorkError> {
        let experts = routing.experts();
        if experts.iter().any(|expert| self.choice(layer, *expert, None).is_none()) {
            self.plan_again()?;
        }
        let mut chosen = BTreeMap::new();
        for expert in experts {
            let Some(party) = self.choice(layer, expert, None) else {
                self.crowd.fault(self.desk.office.now())?;
                return Err(Unplanned::from(Uncovered { layer, expert: u32::from(expert) }).into());
            };
            chosen.insert(expert, party);
        }
        Ok(parts(routing, rows, &chosen))
    }

    /// Deals what was dealt to one party to others as well; nothing where an expert of it has no
    /// other that owes nothing.
    pub(crate) fn deal_around(&self, layer: u32, dealt: &Dealt) -> Option<Vec<Dealt>> {
        let Part { rows, routing } = &dealt.part;
        let other = |expert| {
            let party = self.choice(layer, expert, Some(dealt.party))?;
            let owes = self.parties.get(party).is_none_or(|p| p.host.is_behind());
            (!owes).then_some((expert, party))
        };
        let chosen = routing.experts().into_iter().map(other).collect::<Option<_>>()?;
        Some(parts(routing, Some(rows), &chosen))
    }

    /// Looks who hosts the model by now: nodes may have come, or experts moved, since the request began.
    fn plan_again(&mut self) -> Result<(), Unplanned> {
        let (hosts, plan) = match self.desk.plan(&self.engine, self.bounds.country) {
            Ok(planned) => planned,
            // What is left of the last plan may do for what is asked.
            Err(Unplanned::Uncovered(_)) => return Ok(()),
            Err(not_for_caller) => return Err(not_for_caller),
        };
        let mut plan = Plan::clone(&plan);
        let mut places = Vec::with_capacity(hosts.len());
        for host in hosts {
            let known = self.known(&host);
            places.push(known.unwrap_or(self.parties.len()));
            if known.is_none() {
                self.parties.push(Party { host, order: None, gone: None, usable: true, place: None });
            }
        }
        plan.rename(|host| places.get(usize::from(host)).and_then(|at| u16::try_from(*at).ok()));
        self.plan = Arc::new(plan);
        Ok(())
    }

    /// The party of a host: a node that goes on on another lane, or under its next consent, is asked under its open order.
    fn known(&self, host: &Arc<Host>) -> Option<usize> {
        let is = |p: &Party| Arc::ptr_eq(&p.host, host);
        let model = self.engine.manifest();
        let goes_on = |p: &Party| p.usable && p.order.is_some() && p.host.goes_on_as(host, &model);
        self.parties.iter().position(is).or_else(|| self.parties.iter().position(goes_on))
    }

    /// The party that answers for an expert now: the first that owes no late answer, or the first.
    fn choice(&self, layer: u32, expert: u16, except: Option<usize>) -> Option<usize> {
        let hosts = self.plan.hosts(layer, u32::from(expert)).iter().map(|h| usize::from(*h));
        let usable = |h: &usize| Some(*h) != except && self.parties.get(*h).is_some_and(|p| p.usable);
        let owes = |h: &usize| self.parties.get(*h).is_some_and(|p| p.host.is_behind());
        let mut usable = hosts.filter(usable);
        usable.clone().find(|h| !owes(h)).or_else(|| usable.next())
    }

    /// Whether every expert of a part has another party that may be asked.
    fn replaceable(&self, layer: u32, dealt: &Dealt) -> bool {
        dealt.part.routing.experts().iter().all(|expert| {
            let hosts = self.plan.hosts(layer, u32::from(*expert));
            hosts
                .iter()
                .map(|h| usize::from(*h))
                .any(|h| h != dealt.party && self.parties.get(h).is_some_and(|p| p.usable))
        })
    }

    /// What was dealt came back and enters a sum.
    pub(crate) fn count(&mut self, dealt: &Dealt) {
        match self.parties.get_mut(dealt.party) {
            Some(Party { order: Some(order), .. }) => order.used += dealt.forwards,
            // Its node was gone before others had answered for the rest of what it answered.
            Some(Party { gone: Some(gone), .. }) => gone.used += dealt.forwards,
            _ => {}
        }
    }

    /// Asks a party no more.
    pub(crate) async fn give_up(&mut self, dealt: &Dealt, why: &Unserved) {
        self.desk.metrics.redispatches.one();
        self.crowd.met(why);
        if let Some((by, refusal)) = why.refusal() {
            self.desk.metrics.refusals.one(by, What::Grant, refusal);
        }
        let Some(party) = self.parties.get_mut(dealt.party) else { return };
        if party.usable {
            tracing::warn!(node = %party.host.node(), %why, "a node is given up for this request");
        }
        party.usable = false;
        self.failed = Some(party.host.node());
        if party.host.lane.end().is_some()
            && let Some(order) = party.order.take()
        {
            party.gone = Some(settle_gone(&self.desk, self.bounds.request, &party.host, &order).await);
        }
    }

    /// A node that is asked in the place of another, or beside it, has its limit too. A request that comes back to a node keeps
    /// the place that it had there on a lane which is over.
    fn take_place(&mut self, at: usize) -> Result<(), Unserved> {
        let Some(Party { host, place: None, .. }) = self.parties.get(at) else { return Ok(()) };
        let host = Arc::clone(host);
        let left =
            |p: &&mut Party| p.host.node() == host.node() && p.host.lane.end().is_some() && p.place.is_some();
        let left = self.parties.iter_mut().find(left).and_then(|p| p.place.take());
        let place = left.or_else(|| host.shared.allowed.free_place()).ok_or(Unserved::Full)?;
        if let Some(party) = self.parties.get_mut(at) {
            party.place = Some(place);
        }
        Ok(())
    }

    /// Where a part is to be sent; the order at its node is opened where it is the first.
    pub(crate) fn address(&mut self, layer: u32, dealt: &Dealt) -> Result<Address, Unserved> {
        let replaceable = self.replaceable(layer, dealt);
        self.take_place(dealt.party)?;
        let party = self.parties.get_mut(dealt.party).ok_or(Unserved::Late)?;
        let slot = match &party.order {
            Some(order) => order.slot,
            None => {
                let manifest = self.engine.manifest();
                // The node may host under another token by now; one that had its time is not ordered under.
                if let Some(latest) = self.desk.registry.latest(&party.host, &manifest) {
                    if !latest.hosts_all(&manifest, layer, &dealt.part.routing.experts()) {
                        return Err(Unserved::Moved);
                    }
                    party.host = latest;
                }
                let order = evidence(|| open(&self.desk, &self.engine, &party.host, self.bounds))?;
                party.order.insert(order).slot
            }
        };
        Ok(Address { host: Arc::clone(&party.host), slot, replaceable })
    }
}

/// What each party gets of some rows. Who answers for an expert is decided before: it may change at any time.
fn parts(routing: &Routing, rows: Option<&[usize]>, chosen: &BTreeMap<u16, usize>) -> Vec<Dealt> {
    let mut parties: Vec<usize> = chosen.values().copied().collect();
    parties.sort_unstable();
    parties.dedup();
    let part = |party| {
        let mut part = routing.part(|_, expert| chosen.get(&expert) == Some(&party));
        if let Some(map) = rows {
            part.rows.iter_mut().for_each(|r| *r = map.get(*r).copied().unwrap_or(*r));
        }
        let forwards = u64::try_from(part.routing.picks().len()).unwrap_or(u64::MAX);
        Dealt { party, part, forwards }
    };
    parties.into_iter().map(part).collect()
}

/// Why one part was not served; another node is asked then.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Unserved {
    #[error(transparent)]
    Lane(#[from] LaneError),
    #[error("refused with {0}")]
    Refused(Refusal),
    #[error("its consent does not allow the order: {0}")]
    Unordered(Refusal),
    #[error("it no longer hosts the expert")]
    Moved,
    #[error("it works on as many requests as it may")]
    Full,
    #[error(transparent)]
    Unsigned(#[from] SignFault),
    #[error("no answer in time")]
    Late,
    #[error("an answer that does not fit the question")]
    Shape,
}

impl Unserved {
    /// Who refused, and why, where one of the two sides did.
    pub(crate) const fn refusal(&self) -> Option<(By, Refusal)> {
        match self {
            Self::Lane(LaneError::Refused { refusal, .. }) | Self::Refused(refusal) => {
                Some((By::Node, *refusal))
            }
            Self::Unordered(refusal) => Some((By::Router, *refusal)),
            _ => None,
        }
    }

    /// Whether the node has enough to do.
    pub(crate) const fn is_crowded(&self) -> bool {
        match self.refusal() {
            Some((_, refusal)) => matches!(refusal, Refusal::Busy | Refusal::Quota | Refusal::Unsettled),
            None => matches!(self, Self::Full | Self::Lane(LaneError::Congested { .. })),
        }
    }
}

async fn place(host: &Host) -> Result<Place, WorkError> {
    let place = tokio::time::timeout(PLACE_TIMEOUT, host.shared.allowed.place()).await;
    place.ok().flatten().ok_or(WorkError::NoPlace)
}

/// Signs and sends the order for one node.
fn open(desk: &Desk, engine: &Engine, host: &Host, bounds: Bounds) -> Result<Order, Unserved> {
    let manifest = engine.manifest();
    let now: Millis = desk.office.now();
    let (slot, seq) = host.shared.next();
    let grant = Grant {
        slot,
        seq,
        request: bounds.request,
        cti: host.cti(),
        manifest,
        ranges: host.ranges(&manifest),
        max_tokens: bounds.max_tokens,
        deadline: now.plus(GRANT_LIFE_MS),
        purpose: bounds.purpose,
        transcript_key: random::hash(),
    };
    let open = Open {
        serial: random::serial(),
        request: bounds.request,
        node: host.node(),
        router: desk.home.router_id(),
        grant_hash: grant_hash(&grant),
        list_price_micro_per_1k: desk.office.books().ledger.rules().list_price_micro_per_1k,
        caller_allowed: host.serves(bounds.country),
        retention_s: RETENTION_S,
        purpose: bounds.purpose,
        origin: desk.home.origin(),
        issued: now,
    };
    let order = sign_open(open, grant, desk.office.identity(), &desk.home.net_id())?;
    let (serial, open_hash) = (order.open.serial, open_hash(&order.open));
    let own = desk.office.identity().public();
    let checked = crate::order::check(&host.permit, &order, &own, &desk.home.net_id(), now);
    checked.map_err(|refused| {
        tracing::warn!(node = %host.node(), refusal = %refused.refusal, detail = refused.detail, "an order is not sent");
        Unserved::Unordered(refused.refusal)
    })?;
    host.lane.open(order)?;
    Ok(Order { slot, serial, manifest, open_hash, used: 0 })
}
