//! Deals the experts of all models out to the nodes, in one task that alone knows who is here and what was proposed.
//!
//! Members tell it what happens ([`Event`]). What comes while it decides is taken together, so that many nodes that
//! join at once cost one decision. The decision itself is [`placement::assign`], the way there
//! [`placement::moves`]; both are pure. A node that is gone keeps its part for a while, because it may only have
//! lost its way; one that is known from the log keeps it when the router begins, so that nobody fetches what another
//! has on its disk.

mod chairs;
mod event;
mod seat;
mod waits;
mod window;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use counterfoil_spec::claims::Range;
use counterfoil_spec::ids::{ManifestId, NodeId};
use counterfoil_spec::message::Proposal;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::desk::Desk;
use crate::placement::{self, Move, Needs, Offer, dealt};

pub(crate) use event::{Event, Leave, Unfit, Visit};

use chairs::Chairs;
use seat::Seat;

/// Events that may wait; a member that has one more waits itself.
const MAX_EVENTS: usize = 1024;
/// How long nodes that were announced are waited for.
const GATHERING: Duration = Duration::from_secs(5);
/// How long a node that is gone keeps its part where nobody else has it.
const AWAY_MISSED: Duration = Duration::from_secs(2);
/// The same where others have it.
const AWAY_SPARED: Duration = Duration::from_secs(30);

/// How experts are dealt out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dealing {
    /// By what each node can hold, and again whenever one comes or goes.
    Placed {
        /// How many nodes hold each expert.
        replicas: u32,
        /// How many nodes to wait for before anything is dealt out.
        expect: Option<u32>,
    },
    /// Node `k` of `nodes` is dealt its part, whatever it can hold; each expert goes to one node.
    Fixed {
        /// How many parts.
        nodes: u32,
        /// Whether the experts of every layer are dealt out singly instead of whole layers.
        by_expert: bool,
    },
}

/// The way to the task.
#[derive(Debug)]
pub(crate) struct Dealer {
    events: mpsc::Sender<Event>,
    visits: AtomicU64,
}

impl Dealer {
    /// Starts the task; it ends with the last handle.
    pub(crate) fn start(desk: Arc<Desk>, dealing: Dealing) -> Self {
        let (events, told) = mpsc::channel(MAX_EVENTS);
        let task = Task {
            seats: remembered(&desk, dealing),
            chairs: Chairs::default(),
            target: BTreeMap::new(),
            stale: false,
            gather_until: None,
            dealing,
            desk,
        };
        tokio::spawn(task.run(told));
        Self { events, visits: AtomicU64::new(0) }
    }

    /// A number for a new lane.
    pub(crate) fn visit(&self) -> Visit {
        self.visits.fetch_add(1, Ordering::Relaxed)
    }

    /// Tells the task.
    pub(crate) async fn tell(&self, event: Event) {
        // Without the task the router is at its end, and nothing is dealt out any more.
        let _ = self.events.send(event).await;
    }
}

struct Task {
    desk: Arc<Desk>,
    dealing: Dealing,
    seats: BTreeMap<NodeId, Seat>,
    chairs: Chairs,
    /// What nodes are to host.
    target: BTreeMap<NodeId, Vec<Range>>,
    /// Whether something happened since that was decided.
    stale: bool,
    /// Until when announced nodes are waited for; from the first one on.
    gather_until: Option<Instant>,
}

impl Task {
    async fn run(mut self, mut events: mpsc::Receiver<Event>) {
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    Some(event) => self.take(event),
                    None => return,
                },
                () = until(self.next_deadline()) => {}
            }
            while let Ok(event) = events.try_recv() {
                self.take(event);
            }
            self.deal().await;
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Joined(joined, visit) => {
                let (lane, hello) = *joined;
                self.gather_until.get_or_insert_with(|| Instant::now() + GATHERING);
                self.stale = true;
                let node = lane.node();
                let seat = self.seats.entry(node).or_default();
                if seat.is_succeeded_by(&lane) {
                    let again = seat.succeed(lane, visit, hello);
                    return self.propose_again(node, again);
                }
                seat.come(lane, visit, hello);
                if let Dealing::Fixed { nodes, by_expert } = self.dealing {
                    let chair = self.chairs.give(node, nodes);
                    self.propose_fixed(node, (chair, nodes), by_expert);
                }
            }
            Event::Answered(node, visit) => {
                if let Some(seat) = self.here(&node, visit) {
                    seat.answer();
                }
            }
            Event::Fetching(node, visit, progress) => {
                if let Some(seat) = self.here(&node, visit) {
                    seat.wait_on(&progress);
                }
            }
            Event::Ready(node, visit, ranges) => {
                let narrowed = self.here(&node, visit).is_some_and(|seat| seat.ready(&ranges));
                self.stale |= narrowed;
            }
            Event::Declined(node, visit, manifest) => {
                if let Some(seat) = self.here(&node, visit) {
                    seat.decline(manifest, Instant::now());
                    self.stale = true;
                }
            }
            Event::Refused(node, visit, unfit) => {
                if let Some(seat) = self.here(&node, visit) {
                    seat.refused(&unfit, Instant::now());
                    self.stale = true;
                }
            }
            Event::Withdrew(node, visit, manifest) => {
                if let Some(seat) = self.here(&node, visit) {
                    seat.withdraw(manifest);
                    self.stale = true;
                }
            }
            Event::Changed(node, visit, wants) => {
                if let Some(seat) = self.here(&node, visit) {
                    seat.change(wants);
                    self.stale = true;
                }
            }
            Event::Left(node, visit, how) => {
                let missed = self.is_missed(&node);
                if let Some(seat) = self.here(&node, visit) {
                    let stay = match how {
                        Leave::InOrder => Duration::ZERO,
                        Leave::Lost if missed => AWAY_MISSED,
                        Leave::Lost => AWAY_SPARED,
                    };
                    seat.go(Instant::now() + stay);
                    self.chairs.free(node);
                }
            }
        }
    }

    /// What a node hosts, or is to host, is proposed to it on the lane on which it goes on.
    fn propose_again(&mut self, node: NodeId, again: Vec<(ManifestId, Vec<Range>)>) {
        for (manifest, ranges) in again {
            self.propose(&Move { node, manifest, ranges });
        }
    }

    fn here(&mut self, node: &NodeId, visit: Visit) -> Option<&mut Seat> {
        self.seats.get_mut(node).filter(|seat| seat.is_visit(visit))
    }

    /// Whether a node was ready for an expert that no other node is ready for.
    fn is_missed(&self, node: &NodeId) -> bool {
        let Some(seat) = self.seats.get(node) else { return false };
        self.desk.engines().any(|engine| {
            let shape = engine.shape();
            let others = self.seats.iter().filter(|(id, seat)| *id != node && seat.lane().is_some());
            let others: Vec<Vec<Range>> = others.map(|(_, seat)| seat.ready_of(&shape.manifest)).collect();
            let own = seat.ready_of(&shape.manifest);
            placement::missed(shape, &own, &others)
        })
    }

    fn next_deadline(&self) -> Option<Instant> {
        let away = self.seats.values().filter_map(Seat::away_until).min();
        let gathering = if self.gathered() { None } else { self.gather_until };
        let silent = self.seats.values().filter_map(Seat::answer_until).min();
        [away, gathering, silent].into_iter().flatten().min()
    }

    /// Whether nobody is waited for before the first part is dealt out.
    fn gathered(&self) -> bool {
        match self.dealing {
            Dealing::Placed { expect: Some(expect), .. } => {
                self.has_come(expect) || self.gather_until.is_some_and(|until| until <= Instant::now())
            }
            _ => true,
        }
    }

    fn has_come(&self, expect: u32) -> bool {
        let here = self.seats.values().filter(|seat| seat.lane().is_some()).count();
        u32::try_from(here).is_ok_and(|here| here >= expect)
    }

    async fn deal(&mut self) {
        self.seats.values_mut().for_each(Seat::expect_answer);
        let now = Instant::now();
        for seat in self.seats.values_mut() {
            self.stale |= seat.expect_ready(now) | seat.offer_again(now);
            seat.propose_next();
        }
        let Dealing::Placed { replicas, expect } = self.dealing else {
            self.seats.retain(|_, seat| seat.lane().is_some());
            return;
        };
        // Who was announced is all here, so what others once had is free.
        let complete = expect.is_some_and(|expect| self.has_come(expect));
        let before = self.seats.len();
        self.seats.retain(|_, seat| !(seat.is_over(now) || complete && seat.is_remembered()));
        self.stale |= before != self.seats.len();
        if !self.gathered() {
            return;
        }
        let needs = self.needs(replicas);
        if self.stale {
            self.stale = false;
            self.decide(needs.clone()).await;
        }
        let here = self.seats.iter().filter(|(_, seat)| seat.lane().is_some());
        let standings = here.map(|(node, seat)| (*node, seat.standing())).collect();
        for next in placement::moves(&needs, &standings, &self.target) {
            self.propose(&next);
        }
        self.tell_idle();
    }

    /// Says so to those who came and get nothing.
    fn tell_idle(&mut self) {
        let Some(manifest) = self.desk.engines.first().map(|engine| engine.manifest()) else { return };
        let idle = self.seats.keys().filter(|node| self.target.get(node).is_none_or(Vec::is_empty));
        let idle: Vec<NodeId> = idle.copied().collect();
        for node in idle {
            let Some(nothing) = self.proposal(&Move { node, manifest, ranges: Vec::new() }) else { continue };
            if let Some(seat) = self.seats.get_mut(&node) {
                seat.tell_idle(nothing);
            }
        }
    }

    /// Decides anew what nodes are to host.
    async fn decide(&mut self, needs: Vec<Needs>) {
        let (offers, current) = self.offers();
        let decided = tokio::task::spawn_blocking(move || placement::assign(&needs, &offers, &current)).await;
        match decided {
            Ok(assignment) => {
                self.seats.values_mut().for_each(Seat::settle);
                self.target = assignment.nodes;
            }
            Err(e) => tracing::error!(error = %e, "the experts could not be dealt out"),
        }
    }

    /// What nodes offer, and what they host or are to host.
    fn offers(&self) -> (Vec<Offer>, BTreeMap<NodeId, Vec<Range>>) {
        let speeds = self.desk.registry.speeds(|manifest| self.desk.expert_bytes(manifest));
        let sum: u64 = speeds.values().copied().map(u64::from).sum();
        let usual = u64::try_from(speeds.len()).ok().and_then(|n| sum.checked_div(n)).unwrap_or(1);
        let usual = u32::try_from(usual).unwrap_or(u32::MAX);
        let books = self.desk.office.books();
        let now = self.desk.office.now().seconds();
        let mut offers = Vec::with_capacity(self.seats.len());
        let mut current = BTreeMap::new();
        for (node, seat) in &self.seats {
            let attested = books.roster.attested(node, now);
            let speed = speeds.get(node).copied().unwrap_or(usual).max(1);
            let kept = self.target.get(node).filter(|_| !seat.is_fresh()).cloned();
            let kept = kept.unwrap_or_else(|| seat.proposed(&books.roster, node, now));
            let models = self.desk.engines().map(|e| (e.manifest(), e.name()));
            // One that is not here keeps what it has, and is given nothing more.
            offers.push(match seat.lane() {
                None => Seat::memory(*node, kept.clone(), speed),
                Some(_) => seat.offer(*node, attested, speed, models),
            });
            current.insert(*node, kept);
        }
        (offers, current)
    }

    fn needs(&self, replicas: u32) -> Vec<Needs> {
        let engines = self.desk.engines();
        engines
            .map(|engine| Needs {
                shape: engine.shape().clone(),
                bytes: engine.expert_bytes().to_vec(),
                demand: engine.demand(),
                replicas,
            })
            .collect()
    }

    fn propose_fixed(&mut self, node: NodeId, (chair, nodes): (u32, u32), by_expert: bool) {
        let all: Vec<Move> = self
            .desk
            .engines()
            .map(|engine| {
                let ranges = match by_expert {
                    true => dealt::propose_experts(engine.shape(), chair, nodes),
                    false => dealt::propose(engine.shape(), chair, nodes, 1),
                };
                Move { node, manifest: engine.manifest(), ranges }
            })
            .collect();
        all.iter().filter(|next| !next.ranges.is_empty()).for_each(|next| self.propose(next));
    }

    fn propose(&mut self, next: &Move) {
        let Some(proposal) = self.proposal(next) else { return };
        if let Some(seat) = self.seats.get_mut(&next.node) {
            seat.propose(proposal);
        }
    }

    fn proposal(&self, next: &Move) -> Option<Proposal> {
        let engine = self.desk.engine_of(&next.manifest)?;
        let books = self.desk.office.books();
        Some(Proposal {
            manifest: next.manifest,
            name: engine.name().to_owned(),
            ranges: next.ranges.clone(),
            list_price_micro_per_1k: books.ledger.rules().list_price_micro_per_1k,
            currency: crate::office::CURRENCY.to_owned(),
            router: self.desk.home.router_id(),
            min_epoch: books
                .roster
                .member(&next.node)
                .map_or(1, |m| m.min_epoch.max(1))
                .max(books.roster.denied().names.min_epoch(&next.node)),
        })
    }
}

/// The nodes that the log knows to host something under consent tokens in force; they are away.
fn remembered(desk: &Desk, dealing: Dealing) -> BTreeMap<NodeId, Seat> {
    let mut seats = BTreeMap::new();
    if matches!(dealing, Dealing::Placed { .. }) {
        let now = desk.office.now().seconds();
        let until = Instant::now() + AWAY_SPARED;
        for node in desk.office.books().roster.hosting(now) {
            seats.insert(node, Seat::remembered(until));
        }
    }
    seats
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
