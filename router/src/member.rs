//! One node's session as the router sees it: check its consent tokens, log them, let it be asked. What is proposed
//! to it is the dealer's to decide.

use std::collections::BTreeSet;
use std::sync::Arc;

use counterfoil_consent::{Expectation, Permit, Refused, check_token};
use counterfoil_identity::{Directory, VerifiedPeer};
use counterfoil_session::{ConnectError, Incoming, RouterEndpoint, RouterLane};
use counterfoil_spec::claims::{ALL, Range};
use counterfoil_spec::deny::DenyNames;
use counterfoil_spec::ids::Serial;
use counterfoil_spec::message::{NodeMessage, SESSION_VERSION};
use counterfoil_spec::payload::{ConsentGranted, ConsentRevoked, RefusalSeen};
use counterfoil_spec::refusal::Refusal;

use crate::dealer::{Dealer, Dealing, Event, Leave, Visit};
use crate::desk::Desk;
use crate::fetch::Entitled;
use crate::heads::Heads;
use crate::http::refusals::{By, What};
use crate::office::{Office, entry};
use crate::registry::{Host, LaneState};
use crate::renewal::Waiting;
use crate::roster::names_peer;
use crate::succession::Succeeded;

/// The epoch of a node's consent tokens until its operator raises it.
const FIRST_EPOCH: u64 = 1;

/// Who is enrolled, as the log says.
#[derive(Debug)]
pub(crate) struct Members(pub(crate) Arc<Office>);

impl Directory for Members {
    fn check(&self, peer: &VerifiedPeer) -> Result<(), Refusal> {
        self.0.books().roster.lets_in(peer, self.0.now().seconds())
    }
}

/// Admits nodes until the endpoint closes. How many arrive at one time is the endpoint's to bound.
pub(crate) async fn serve(desk: Arc<Desk>, endpoint: RouterEndpoint, dealing: Dealing) {
    let dealer = Arc::new(Dealer::start(Arc::clone(&desk), dealing));
    while let Some(arriving) = endpoint.accept().await {
        let (desk, dealer) = (Arc::clone(&desk), Arc::clone(&dealer));
        tokio::spawn(async move {
            let from = arriving.remote_addr();
            match arriving.admit().await {
                Ok(incoming) => {
                    let visit = dealer.visit();
                    let lane = incoming.lane.clone();
                    Member {
                        desk,
                        dealer,
                        lane,
                        visit,
                        entitled: Arc::default(),
                        shared: None,
                        before: None,
                        loading: Vec::new(),
                        active: Vec::new(),
                        renewals: Waiting::default(),
                        epoch: FIRST_EPOCH,
                    }
                    .run(incoming)
                    .await;
                }
                Err(e) => {
                    desk.metrics.peers_refused.one();
                    desk.metrics.refusals.connection(What::Connection, &e);
                    // Anybody can break off a handshake, and often: that is counted, and fills no log.
                    if matches!(e, ConnectError::Unreachable { .. }) {
                        tracing::debug!(%from, error = %e, "a connection came to nothing");
                    } else {
                        tracing::warn!(%from, error = %e, "a node was not admitted");
                    }
                }
            }
        });
    }
}

pub(crate) struct Member {
    pub(crate) desk: Arc<Desk>,
    dealer: Arc<Dealer>,
    pub(crate) lane: RouterLane,
    pub(crate) visit: Visit,
    entitled: Arc<Entitled>,
    /// What its tokens share; from the first one on.
    pub(crate) shared: Option<Arc<LaneState>>,
    /// The same, where the node goes on from another lane.
    pub(crate) before: Option<LaneState>,
    /// Permits that were welcomed and whose experts are being loaded.
    pub(crate) loading: Vec<Host>,
    pub(crate) active: Vec<Arc<Host>>,
    renewals: Waiting,
    /// The lowest epoch that the node's operator accepts.
    epoch: u64,
}

impl Member {
    async fn run(mut self, mut incoming: Incoming) {
        if incoming.hello.version != SESSION_VERSION {
            self.lane
                .shut(Refusal::SessionVersion, &format!("session version {SESSION_VERSION} is spoken here"));
            return;
        }
        let Some(_arrival) = self.takes_over().await else { return };
        let mut denied = self.desk.office.denied();
        //= spec/session.md#control-messages
        //# A router MUST send `Deny` before it proposes or orders anything
        if !crate::deny::guard(&self.desk, &self.lane).await {
            return;
        }
        crate::fetch::serve(&self.desk, &self.lane, &self.entitled);
        let joined = Box::new((self.lane.clone(), incoming.hello.clone()));
        self.dealer.tell(Event::Joined(joined, self.visit)).await;
        let mut succeeded = Succeeded::default();
        let mut heads = Heads::new(&self.desk, &self.lane, self.visit);
        let ends = crate::succession::end_of(&self.desk, &self.lane);
        loop {
            let message = tokio::select! {
                biased;
                Ok(()) = denied.changed() => {
                    let denied = denied.borrow_and_update().clone();
                    self.heed(&denied.names).await;
                    continue;
                }
                () = heads.due(), if !succeeded.is_so() => {
                    heads.send(&self.lane);
                    continue;
                }
                () = succeeded.next(self.shared.as_ref()) => {
                    self.retire(&mut succeeded);
                    continue;
                }
                () = tokio::time::sleep_until(ends) => {
                    //= spec/identity.md#tls
                    //# A side MUST close a connection when the peer's leaf ends.
                    self.lane.shut(Refusal::CertExpired, "the node's certificate has ended");
                    break;
                }
                answer = self.renewals.answer(&self.desk, &self.lane) => {
                    crate::renewal::tell(&self.lane, &answer);
                    continue;
                }
                message = incoming.events.recv() => message,
            };
            let Some(message) = message else { break };
            if matches!(message, NodeMessage::Hello(_)) {
                self.lane.shut(Refusal::SessionOrder, "Hello is said once");
                break;
            }
            if matches!(message, NodeMessage::Drain) {
                heads.hurry();
            }
            match message {
                NodeMessage::Head(head) => heads.answered(&self.lane, head).await,
                other => self.told(other).await,
            }
        }
        drop(heads);
        // Whoever is denied does not come back, so its part is free at once.
        let is_denied = names_peer(&denied.borrow().names, self.lane.peer());
        self.gone(if is_denied { Leave::InOrder } else { Leave::Lost }).await;
    }

    /// Its lane is over.
    async fn gone(&self, how: Leave) {
        let node = self.lane.node();
        self.leave();
        self.desk.herald.forget(self.visit);
        self.dealer.tell(Event::Left(node, self.visit, how)).await;
        let end = self.lane.closed().await;
        self.desk.metrics.refusals.end(&end);
        tracing::info!(%node, %end, "a node is gone");
    }

    async fn told(&mut self, message: NodeMessage) {
        let (node, visit) = (self.lane.node(), self.visit);
        match message {
            NodeMessage::Consent(token) => {
                let host = self.consent(&token).await;
                let event = if host.is_some() { Event::Answered } else { Event::Refused };
                self.dealer.tell(event(node, visit)).await;
                self.loading.extend(host);
            }
            NodeMessage::Ready(cti) => {
                let Some(at) = self.loading.iter().position(|h| h.cti() == cti) else { return };
                let host = Arc::new(self.loading.swap_remove(at));
                self.active.retain(|old| !old.models.is_subset(&host.models));
                self.active.push(Arc::clone(&host));
                self.ready(host).await;
            }
            NodeMessage::Revoke(cti) => self.withdrawn(cti).await,
            NodeMessage::Drain => {
                self.leave();
                self.dealer.tell(Event::Left(node, visit, Leave::InOrder)).await;
            }
            NodeMessage::Decline(manifest, why) => {
                tracing::warn!(%node, %manifest, %why, "the node declined");
                self.dealer.tell(Event::Declined(node, visit, manifest)).await;
            }
            NodeMessage::Receipt(half) => {
                let overdue = self.shared.as_ref().map(|shared| &shared.overdue);
                crate::account::late_receipt(&self.desk, &self.lane, overdue, &half).await;
            }
            NodeMessage::Progress(progress) => {
                tracing::info!(
                    %node, manifest = %progress.manifest, shards = progress.shards,
                    wanted = progress.wanted_shards, "a node is fetching"
                );
                self.dealer.tell(Event::Fetching(node, visit, progress)).await;
            }
            NodeMessage::Terms(terms) => {
                self.epoch = self.epoch.max(terms.min_epoch);
                self.desk.registry.allowance(&node).allow(terms.concurrent);
                self.dealer.tell(Event::Changed(node, visit, terms.wants)).await;
            }
            NodeMessage::Renew(asked) => {
                if !self.renewals.push(asked) {
                    self.lane.shut(Refusal::SessionOrder, "more requests for certificates than may wait");
                }
            }
            NodeMessage::DenyTaken(epoch) => self.desk.herald.took(visit, epoch),
            NodeMessage::Hello(_) | NodeMessage::Head(_) | NodeMessage::Refuse(_) | NodeMessage::Pong(_) => {}
        }
    }

    /// Nothing is ordered any more under consent tokens that are denied.
    async fn heed(&mut self, names: &DenyNames) {
        let held = self.loading.iter().chain(self.active.iter().map(|h| &**h));
        let void: Vec<Serial> = held.filter(|h| names.voids(h.permit.claims())).map(Host::cti).collect();
        for cti in void {
            self.withdrawn(cti).await;
        }
    }

    /// What was hosted under a consent token is not any more.
    async fn withdrawn(&mut self, cti: Serial) {
        self.revoke(cti).await;
        let of = |h: &Host| if h.cti() == cti { h.models.clone() } else { BTreeSet::new() };
        let gone: BTreeSet<_> =
            self.loading.iter().map(&of).chain(self.active.iter().map(|h| of(h))).flatten().collect();
        self.loading.retain(|h| h.cti() != cti);
        self.active.retain(|h| h.cti() != cti);
        for manifest in gone {
            self.dealer.tell(Event::Withdrew(self.lane.node(), self.visit, manifest)).await;
        }
    }

    async fn ready(&self, host: Arc<Host>) {
        let (node, cti) = (host.node(), host.cti());
        let ranges = host.permit.claims().ranges.clone();
        self.desk.registry.enter(host, self.desk.office.now());
        tracing::info!(%node, %cti, "a node may be asked");
        self.dealer.tell(Event::Ready(node, self.visit, ranges)).await;
    }

    fn leave(&self) {
        for host in &self.active {
            self.desk.registry.leave(&self.lane.node(), &host.cti(), self.desk.office.now());
        }
    }

    /// Checks a consent token, logs it and welcomes it; tells the node what was wrong otherwise.
    async fn consent(&mut self, token: &[u8]) -> Option<Host> {
        let permit = match self.check(token) {
            Ok(permit) => permit,
            Err(refused) => {
                self.refuse(&refused).await;
                return None;
            }
        };
        let (node, cti) = (self.lane.node(), permit.claims().cti);
        if self.desk.office.books().roster.has_consent(&cti) {
            self.refuse(&Refused {
                refusal: Refusal::TokenValue,
                detail: "this consent id was used before".into(),
            })
            .await;
            return None;
        }
        let granted = ConsentGranted { node, cti, token: token.to_vec() };
        let at = match self.desk.office.append(vec![entry(granted)]).await {
            Ok(at) => at,
            Err(e) => {
                tracing::error!(%node, error = %e, "a consent token could not be logged");
                let _ = self.lane.refuse(Refusal::SessionInternal, "the router cannot write its log now");
                return None;
            }
        };
        let claims = permit.claims();
        let renew_after = claims.not_before.plus(claims.expires.0.saturating_sub(claims.not_before.0) / 2);
        // Before the node knows, so that what it fetches then is allowed.
        self.entitled.add(permit.clone(), self.desk.office.now().seconds());
        match self.lane.welcome(&permit, at.first, renew_after) {
            Ok(active) => {
                let concurrent = claims.quota.concurrent;
                let before = self.before.take();
                let shared = self.shared.get_or_insert_with(|| {
                    let allowed = self.desk.registry.allowance(&node);
                    allowed.allow(concurrent);
                    Arc::new(before.unwrap_or_else(|| LaneState::new(allowed)))
                });
                let shared = Arc::clone(shared);
                Some(Host::new(self.lane.clone(), active, permit, shared))
            }
            Err(e) => {
                tracing::warn!(%node, error = %e, "the node left before its welcome");
                None
            }
        }
    }

    fn check(&self, token: &[u8]) -> Result<Permit, Refused> {
        let desk = &self.desk;
        let books = desk.office.books();
        let node = self.lane.node();
        let denied = &books.roster.denied().names;
        let min_epoch = books.roster.member(&node).map_or(1, |m| m.min_epoch).max(self.epoch);
        check_token(
            token,
            &Expectation {
                net_id: &desk.home.net_id(),
                peer: &node,
                peer_key: self.lane.peer().key(),
                audience: &desk.home.router_id(),
                now: desk.office.now().seconds(),
                deny_list_until: None,
                min_epoch: min_epoch.max(denied.min_epoch(&node)),
                withdrawn: &|cti| books.roster.is_withdrawn(cti) || denied.denies_consent(cti),
                model_known: &|range| is_published(desk, range),
            },
        )
    }

    async fn refuse(&self, refused: &Refused) {
        let node = self.lane.node();
        self.desk.metrics.peers_refused.one();
        self.desk.metrics.refusals.one(By::Router, What::Consent, refused.refusal);
        tracing::warn!(%node, refusal = %refused.refusal, detail = %refused.detail, "a consent token was refused");
        let seen = RefusalSeen { refusal: refused.refusal, node: Some(node), by: self.desk.home.router_id() };
        if let Err(e) = self.desk.office.append(vec![entry(seen)]).await {
            tracing::error!(error = %e, "a refusal could not be logged");
        }
        let _ = self.lane.refuse(refused.refusal, refused.detail.clone());
    }

    async fn revoke(&self, cti: Serial) {
        let node = self.lane.node();
        self.desk.registry.leave(&node, &cti, self.desk.office.now());
        let (known, min_epoch) = {
            let books = self.desk.office.books();
            let epoch = books.roster.member(&node).map_or(0, |m| m.min_epoch);
            (books.roster.may_withdraw(&node, &cti), epoch.max(self.epoch))
        };
        //= spec/consent.md#withdrawal
        //# A router that is told again of what it has in its log MUST NOT log it again.
        if !known {
            tracing::debug!(%node, %cti, "a node withdrew a consent that is not its own, or was withdrawn before");
            return;
        }
        let revoked = ConsentRevoked { node, cti, min_epoch };
        if let Err(e) = self.desk.office.append(vec![entry(revoked)]).await {
            tracing::error!(%node, error = %e, "a withdrawal could not be logged");
        }
    }
}

/// Whether a range names layers and experts of a model that is published here.
fn is_published(desk: &Desk, range: &Range) -> bool {
    let Some(engine) = desk.engine_of(&range.manifest) else { return false };
    let config = engine.config();
    let within = |end: u32, count: u32| end == ALL || end < count;
    within(range.layers.1, config.layers) && within(range.experts.1, config.experts)
}
