//! The nodes that may be asked now: connected, verified, with a consent token in force and its experts loaded.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use counterfoil_consent::Permit;
use counterfoil_session::{ActiveToken, RouterLane};
use counterfoil_spec::claims::Range;
use counterfoil_spec::ids::{ManifestId, NodeId, Serial};
use counterfoil_spec::limits::MAX_UNSETTLED_RECEIPTS;
use counterfoil_spec::time::{Millis, Seconds};
use tokio::sync::Semaphore;

use crate::uptime::UptimeMeter;

/// The weight of what is known against one new reply.
const SMOOTHING: u64 = 8;
/// By how much a reply may exceed what is usual.
const LATE_FACTOR: u32 = 20;
/// The least patience with a node that has a replica: more than a busy machine's hiccups.
const PATIENCE_LEAST: Duration = Duration::from_secs(1);
/// The most patience with any node.
pub(crate) const PATIENCE_MOST: Duration = Duration::from_secs(20);

/// The numbers that grants on one lane are given.
#[derive(Debug, Default)]
pub(crate) struct LaneCounters {
    slot: AtomicU32,
    seq: AtomicU64,
}

impl LaneCounters {
    /// A grant's slot and its place on the lane. Slots come round after four thousand million grants.
    pub(crate) fn next(&self) -> (u32, u64) {
        let slot = self.slot.fetch_add(1, Ordering::Relaxed) & (u32::MAX >> 1);
        (slot, self.seq.fetch_add(1, Ordering::Relaxed))
    }
}

/// A node that hosts experts under one consent token.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) lane: RouterLane,
    pub(crate) token: ActiveToken,
    pub(crate) permit: Permit,
    pub(crate) counters: Arc<LaneCounters>,
    /// As many permits as the token allows requests at one time.
    pub(crate) places: Arc<Semaphore>,
    /// As many permits as receipts that a router may owe a node.
    pub(crate) settling: Arc<Semaphore>,
    /// Nanoseconds from request to reply for each forward, smoothed; 0 before the first reply.
    pace: AtomicU64,
    /// Whether it let a request wait too long and has not answered a ping since.
    silent: AtomicBool,
}

impl Host {
    /// Takes a lane under a token that was welcomed on it.
    pub(crate) fn new(
        lane: RouterLane,
        token: ActiveToken,
        permit: Permit,
        counters: Arc<LaneCounters>,
    ) -> Self {
        let places = usize::try_from(permit.claims().quota.concurrent).unwrap_or(usize::MAX);
        let places = Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS)));
        let settling = Arc::new(Semaphore::new(MAX_UNSETTLED_RECEIPTS));
        Self {
            lane,
            token,
            permit,
            counters,
            places,
            settling,
            pace: AtomicU64::new(0),
            silent: AtomicBool::new(false),
        }
    }

    /// Learns from a reply how fast this node is.
    pub(crate) fn replied(&self, forwards: u64, took: Duration) {
        let sample = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX) / forwards.max(1);
        let old = self.pace.load(Ordering::Relaxed);
        let new = if old == 0 { sample } else { old - old / SMOOTHING + sample / SMOOTHING };
        self.pace.store(new.max(1), Ordering::Relaxed);
    }

    /// It let a request wait too long: no other is sent there until it answers a ping.
    pub(crate) fn fell_silent(self: &Arc<Self>) {
        if !self.silent.swap(true, Ordering::Relaxed) {
            let host = Arc::clone(self);
            tokio::spawn(async move {
                if host.lane.ping().await.is_ok() {
                    host.silent.store(false, Ordering::Relaxed);
                }
            });
        }
    }

    /// Whether it owes an answer to a ping.
    pub(crate) fn is_silent(&self) -> bool {
        self.silent.load(Ordering::Relaxed)
    }

    /// How long a reply may take before the node counts as gone where another can answer.
    pub(crate) fn patience(&self, forwards: u64) -> Duration {
        let expected = Duration::from_nanos(self.pace.load(Ordering::Relaxed).saturating_mul(forwards));
        (expected * LATE_FACTOR).clamp(PATIENCE_LEAST, PATIENCE_MOST)
    }

    /// Its node.
    pub(crate) fn node(&self) -> NodeId {
        self.lane.node()
    }

    /// The consent id.
    pub(crate) fn cti(&self) -> Serial {
        self.token.cti()
    }

    /// What it consented to host of a model.
    pub(crate) fn ranges(&self, manifest: &ManifestId) -> Vec<Range> {
        self.permit.claims().ranges.iter().filter(|r| r.manifest == *manifest).copied().collect()
    }

    fn is_ready(&self, now: Seconds) -> bool {
        self.lane.end().is_none() && self.permit.in_force(now)
    }
}

/// Which part of the model each connected node is dealt.
#[derive(Debug, Default)]
struct Seats {
    taken: BTreeMap<u32, NodeId>,
    last: BTreeMap<NodeId, u32>,
}

impl Seats {
    /// A node's own old seat if nobody else has it, else the first that nobody has, else one more.
    fn give(&mut self, node: NodeId, seats: u32) -> u32 {
        let own = self.last.get(&node).copied().filter(|s| self.taken.get(s).is_none_or(|n| *n == node));
        let seat = own.or_else(|| (0..seats).find(|s| !self.taken.contains_key(s)));
        let seat = seat.or_else(|| (seats..u32::MAX).find(|s| !self.taken.contains_key(s))).unwrap_or(0);
        self.taken.insert(seat, node);
        self.last.insert(node, seat);
        seat
    }

    fn free(&mut self, node: NodeId) {
        self.taken.retain(|_, n| *n != node);
    }
}

/// Who hosts what, and for how long each has been up.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    /// Guards the list of hosts; read once per request.
    hosts: Mutex<BTreeMap<NodeId, Arc<Host>>>,
    /// Guards the meter.
    meter: Mutex<UptimeMeter>,
    /// Guards the order in which layers are dealt out: a node keeps its seat when it comes back.
    seats: Mutex<Seats>,
}

impl Registry {
    /// A node may be asked from here on; replaces what it hosted before.
    pub(crate) fn enter(&self, host: Arc<Host>, now: Millis) {
        let node = host.node();
        self.hosts().insert(node, host);
        self.meter().up(node, now);
    }

    /// A token's host may not be asked any more.
    pub(crate) fn leave(&self, node: &NodeId, cti: &Serial, now: Millis) {
        let mut hosts = self.hosts();
        if hosts.get(node).is_some_and(|h| h.cti() == *cti) {
            hosts.remove(node);
            self.meter().down(*node, now);
        }
    }

    /// The hosts of a model that may be asked now, by node id.
    pub(crate) fn ready(&self, manifest: &ManifestId, now: Seconds) -> Vec<Arc<Host>> {
        let hosts = self.hosts();
        hosts.values().filter(|h| h.is_ready(now) && !h.ranges(manifest).is_empty()).map(Arc::clone).collect()
    }

    /// Takes out whoever's consent has ended; its uptime ends with it, whatever its lane does.
    pub(crate) fn expire(&self, now: Seconds) {
        let mut hosts = self.hosts();
        let ended: Vec<_> = hosts.values().filter(|h| !h.permit.in_force(now)).map(Arc::clone).collect();
        for host in ended {
            hosts.remove(&host.node());
            self.meter().down(host.node(), host.permit.claims().expires.millis());
        }
    }

    /// What a node hosts.
    pub(crate) fn host(&self, node: &NodeId) -> Option<Arc<Host>> {
        self.hosts().get(node).map(Arc::clone)
    }

    /// All hosts.
    pub(crate) fn all(&self) -> Vec<Arc<Host>> {
        self.hosts().values().map(Arc::clone).collect()
    }

    /// The place of a node among the `seats` that layers are dealt out to.
    pub(crate) fn seat(&self, node: NodeId, seats: u32) -> u32 {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner).give(node, seats)
    }

    /// A node's lane ended; another may take its place.
    pub(crate) fn unseat(&self, node: NodeId) {
        let connected_again = self.hosts().get(&node).is_some_and(|h| h.lane.end().is_none());
        if !connected_again {
            self.seats.lock().unwrap_or_else(PoisonError::into_inner).free(node);
        }
    }

    /// The meter of uptime.
    pub(crate) fn meter(&self) -> MutexGuard<'_, UptimeMeter> {
        self.meter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hosts(&self) -> MutexGuard<'_, BTreeMap<NodeId, Arc<Host>>> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(n: u8) -> NodeId {
        NodeId::from_bytes([n; 32])
    }

    #[test]
    fn a_new_node_takes_the_seat_of_one_that_is_gone() {
        let mut seats = Seats::default();
        assert_eq!((seats.give(node(1), 2), seats.give(node(2), 2)), (0, 1));
        seats.free(node(2));
        assert_eq!(seats.give(node(3), 2), 1);
    }

    #[test]
    fn a_node_that_comes_back_has_its_own_seat_unless_it_was_given_away() {
        let mut seats = Seats::default();
        seats.give(node(1), 2);
        seats.give(node(2), 2);
        seats.free(node(1));
        seats.free(node(2));
        assert_eq!(seats.give(node(2), 2), 1);
        assert_eq!(seats.give(node(3), 2), 0);
        assert_eq!(seats.give(node(1), 2), 2);
    }
}
