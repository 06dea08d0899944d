//! The nodes that may be asked now: connected, verified, with a consent token in force and its experts loaded.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use counterfoil_consent::Permit;
use counterfoil_session::{ActiveToken, RouterLane};
use counterfoil_spec::claims::Range;
use counterfoil_spec::country::Country;
use counterfoil_spec::ids::{ManifestId, NodeId, Serial};
use counterfoil_spec::time::{Millis, Seconds};
use tokio::sync::Notify;

use crate::account::Overdue;
use crate::dealer::Visit;
use crate::latency::Latencies;
use crate::uptime::UptimeMeter;

mod allowance;
mod lanes;
mod quiet;

pub(crate) use allowance::{Allowance, Place};
pub(crate) use lanes::{Arrival, Lanes};
pub(crate) use quiet::{Sent, nothing_comes};

/// The weight of what is known against one new reply.
const SMOOTHING: u64 = 8;
/// By how much a reply may exceed what is usual.
const LATE_FACTOR: u32 = 20;
/// The least time before a frame is sent elsewhere too: timers do not tell less.
const HEDGE_LEAST: Duration = Duration::from_millis(2);
/// The least patience with a node that has a replica: more than a busy machine's hiccups.
const PATIENCE_LEAST: Duration = Duration::from_secs(1);
/// The most patience with any node.
pub(crate) const PATIENCE_MOST: Duration = Duration::from_secs(20);

/// How long nothing may come from a node that owes the answer to a hedged frame; one that lives acknowledges what it is
/// sent within 25 ms and a round trip (RFC 9000 §18.2, max_ack_delay).
const QUIET_BEHIND: Duration = Duration::from_millis(200);
/// The same of a node that owes nothing but its receipt.
const QUIET: Duration = Duration::from_secs(1);

/// What all consent tokens on one lane share.
#[derive(Debug)]
pub(crate) struct LaneState {
    slot: AtomicU32,
    seq: AtomicU64,
    /// What its node allows.
    pub(crate) allowed: Arc<Allowance>,
    /// Whether it let a request wait too long and has not answered a ping since.
    silent: AtomicBool,
    /// Guards the map alone: a host holds its own number. What is known of a node stays known on its next lane.
    paces: Arc<Mutex<BTreeMap<ManifestId, Arc<Pace>>>>,
    /// Hedged frames that it has not answered.
    owed: AtomicU32,
    /// When a frame of it was hedged while it owed none. The lock guards that alone.
    hedged: Mutex<Option<Sent>>,
    /// Its receipts that were not waited for.
    pub(crate) overdue: Overdue,
    /// Its node goes on on another lane.
    pub(crate) succeeded: Notify,
}

/// How fast a node is with one model.
#[derive(Debug, Default)]
struct Pace {
    /// Nanoseconds from request to reply for each forward, smoothed; 0 before the first reply.
    forward_ns: AtomicU64,
    /// Guards the histograms; held for as long as one is counted up.
    latencies: Mutex<Latencies>,
}

/// A hedged frame that its node has not answered; answered or given up when this is dropped.
#[derive(Debug)]
pub(crate) struct Owing(Arc<LaneState>);

impl Drop for Owing {
    fn drop(&mut self) {
        self.0.owed.fetch_sub(1, Ordering::Relaxed);
    }
}

impl LaneState {
    /// A lane of a node that allows this.
    pub(crate) fn new(allowed: Arc<Allowance>) -> Self {
        Self {
            slot: AtomicU32::new(0),
            seq: AtomicU64::new(0),
            allowed,
            silent: AtomicBool::new(false),
            paces: Arc::default(),
            owed: AtomicU32::new(0),
            hedged: Mutex::new(None),
            overdue: Overdue::default(),
            succeeded: Notify::new(),
        }
    }

    /// The lane on which the same node goes on: how fast it is holds for both together.
    pub(crate) fn successor(&self) -> Self {
        Self { paces: Arc::clone(&self.paces), ..Self::new(Arc::clone(&self.allowed)) }
    }

    /// A grant's slot and its place on the lane. Slots come round after four thousand million grants.
    pub(crate) fn next(&self) -> (u32, u64) {
        let slot = self.slot.fetch_add(1, Ordering::Relaxed) & (u32::MAX >> 1);
        (slot, self.seq.fetch_add(1, Ordering::Relaxed))
    }

    fn hedged(&self) -> MutexGuard<'_, Option<Sent>> {
        self.hedged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pace(&self, manifest: ManifestId) -> Arc<Pace> {
        let mut paces = self.paces.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(paces.entry(manifest).or_default())
    }
}

impl Pace {
    fn latencies(&self) -> MutexGuard<'_, Latencies> {
        self.latencies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A node that hosts experts under one consent token.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) lane: RouterLane,
    pub(crate) token: ActiveToken,
    pub(crate) permit: Permit,
    pub(crate) shared: Arc<LaneState>,
    /// The models that its token names.
    pub(crate) models: BTreeSet<ManifestId>,
    pace: Arc<Pace>,
}

impl Host {
    /// Takes a lane under a token that was welcomed on it.
    pub(crate) fn new(lane: RouterLane, token: ActiveToken, permit: Permit, shared: Arc<LaneState>) -> Self {
        let models: BTreeSet<ManifestId> = permit.claims().ranges.iter().map(|r| r.manifest).collect();
        let pace = models.first().map_or_else(Arc::default, |m| shared.pace(*m));
        Self { lane, token, permit, shared, models, pace }
    }

    /// Learns from a reply how fast this node is.
    pub(crate) fn replied(&self, forwards: u64, took: Duration) {
        let sample = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX) / forwards.max(1);
        let old = self.pace.forward_ns.load(Ordering::Relaxed);
        let new = if old == 0 { sample } else { old - old / SMOOTHING + sample / SMOOTHING };
        self.pace.forward_ns.store(new.max(1), Ordering::Relaxed);
        self.pace.latencies().learn(forwards, took);
    }

    /// What is known of its times.
    pub(crate) fn latencies(&self) -> Latencies {
        self.pace.latencies().clone()
    }

    /// After how long a frame is sent elsewhere too; nothing before enough is known of this node.
    pub(crate) fn hedge_after(&self, forwards: u64) -> Option<Duration> {
        self.pace.latencies().p95(forwards).map(|p95| p95.max(HEDGE_LEAST))
    }

    /// One of its frames was hedged: until that is answered, others are preferred.
    pub(crate) fn owes(&self) -> Owing {
        if self.shared.owed.fetch_add(1, Ordering::Relaxed) == 0 {
            *self.shared.hedged() = Some(self.sent());
        }
        Owing(Arc::clone(&self.shared))
    }

    /// Whether it has not answered a frame that was hedged.
    pub(crate) fn is_behind(&self) -> bool {
        self.shared.owed.load(Ordering::Relaxed) > 0
    }

    /// It is sent something now.
    pub(crate) fn sent(&self) -> Sent {
        Sent::new(self.lane.datagrams(), Instant::now())
    }

    /// Waits until nothing at all has come from it for too long: since this was sent, or since a frame that it still owes
    /// was hedged. Never over where anything came.
    pub(crate) async fn falls_quiet(&self, sent: Sent) {
        let hedged = if self.is_behind() { *self.shared.hedged() } else { None };
        let most = 3 * self.lane.rtt() + if hedged.is_some() { QUIET_BEHIND } else { QUIET };
        loop {
            let (datagrams, now) = (self.lane.datagrams(), Instant::now());
            let left = hedged.and_then(|sent| sent.left(datagrams, now, most));
            match left.or_else(|| sent.left(datagrams, now, most)) {
                Some(Duration::ZERO) => return,
                Some(left) => tokio::time::sleep(left).await,
                None => std::future::pending().await,
            }
        }
    }

    /// Millions of bytes of weights that it gets through in a second; nothing before its first reply.
    fn speed(&self, expert_bytes: u64) -> Option<u32> {
        let pace = self.pace.forward_ns.load(Ordering::Relaxed);
        let speed = expert_bytes.saturating_mul(1000).checked_div(pace)?;
        Some(u32::try_from(speed).unwrap_or(u32::MAX).max(1))
    }

    /// It let a request wait too long: no other is sent there until it answers a ping.
    pub(crate) fn fell_silent(self: &Arc<Self>) {
        if !self.shared.silent.swap(true, Ordering::Relaxed) {
            let host = Arc::clone(self);
            tokio::spawn(async move {
                if host.lane.ping().await.is_ok() {
                    host.shared.silent.store(false, Ordering::Relaxed);
                }
            });
        }
    }

    /// Whether it owes an answer to a ping.
    pub(crate) fn is_silent(&self) -> bool {
        self.shared.silent.load(Ordering::Relaxed)
    }

    /// How long a reply may take before the node counts as gone where another can answer.
    pub(crate) fn patience(&self, forwards: u64) -> Duration {
        let expected =
            Duration::from_nanos(self.pace.forward_ns.load(Ordering::Relaxed).saturating_mul(forwards));
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

    /// Whether it consented to all of these experts.
    pub(crate) fn hosts_all(&self, manifest: &ManifestId, layer: u32, experts: &[u16]) -> bool {
        let ranges = &self.permit.claims().ranges;
        experts.iter().all(|e| ranges.iter().any(|r| r.contains(manifest, layer, u32::from(*e))))
    }

    /// Whether this one still answers, and for the same experts of a model as a later host of its node does.
    pub(crate) fn goes_on_as(&self, later: &Self, manifest: &ManifestId) -> bool {
        let is_same = self.node() == later.node() && self.ranges(manifest) == later.ranges(manifest);
        is_same && self.lane.end().is_none()
    }

    /// Whether it consented to callers from there, or from nobody knows where.
    pub(crate) fn serves(&self, country: Option<Country>) -> bool {
        self.permit.claims().callers.allow(country)
    }

    fn is_ready(&self, now: Seconds) -> bool {
        self.lane.end().is_none() && self.permit.in_force(now)
    }
}

/// Who hosts what, and for how long each has been up.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    /// Guards the lists of hosts, one host for each consent token in use; read once per request.
    hosts: Mutex<BTreeMap<NodeId, Vec<Arc<Host>>>>,
    /// Guards the meter. A node is up while it has a host.
    meter: Mutex<UptimeMeter>,
    /// What each node allows that had a lane since the start: one row for each member at most. Guards the map alone.
    allowances: Mutex<BTreeMap<NodeId, Arc<Allowance>>>,
    lanes: Arc<Lanes>,
}

impl Registry {
    /// A node may be asked under a token from here on. It takes the place of the node's tokens of the same models, on
    /// whichever lane they came; who has begun under one of them goes on with it. So a node that goes on on another lane
    /// is asked on the last one, model by model, until it is ready on the new one.
    pub(crate) fn enter(&self, host: Arc<Host>, now: Millis) {
        let node = host.node();
        let mut hosts = self.hosts();
        let own = hosts.entry(node).or_default();
        // What becomes ready late on the lane of an earlier certificate takes nothing from the lane that followed it.
        let generation = |host: &Host| host.lane.peer().generation();
        if own.iter().any(|h| {
            generation(h) > generation(&host) && h.lane.end().is_none() && host.models.is_subset(&h.models)
        }) {
            return;
        }
        own.retain(|old| {
            let stands = Arc::ptr_eq(&old.shared, &host.shared) || old.lane.end().is_none();
            stands && !old.models.is_subset(&host.models)
        });
        own.push(host);
        self.meter().up(node, now);
    }

    /// A token's host may not be asked any more.
    pub(crate) fn leave(&self, node: &NodeId, cti: &Serial, now: Millis) {
        let mut hosts = self.hosts();
        let Some(own) = hosts.get_mut(node) else { return };
        own.retain(|h| h.cti() != *cti);
        if own.is_empty() {
            hosts.remove(node);
            self.meter().down(*node, now);
        }
    }

    /// The hosts of a model that may be asked now, by node id; of a node's several, the one that came last.
    pub(crate) fn ready(&self, manifest: &ManifestId, now: Seconds) -> Vec<Arc<Host>> {
        let hosts = self.hosts();
        let last = |own: &Vec<Arc<Host>>| {
            own.iter().rev().find(|h| h.models.contains(manifest) && h.is_ready(now)).map(Arc::clone)
        };
        hosts.values().filter_map(last).collect()
    }

    /// The host that took the place of one of its lane's for a model; `None` where it still is the one, or is gone.
    pub(crate) fn latest(&self, host: &Arc<Host>, manifest: &ManifestId) -> Option<Arc<Host>> {
        let hosts = self.hosts();
        let own = hosts.get(&host.node())?.iter().rev();
        let latest =
            own.filter(|h| Arc::ptr_eq(&h.shared, &host.shared)).find(|h| h.models.contains(manifest))?;
        (!Arc::ptr_eq(latest, host)).then(|| Arc::clone(latest))
    }

    /// Takes out whoever's consent has ended; its uptime ends with it, whatever its lane does.
    pub(crate) fn expire(&self, now: Seconds) {
        let mut hosts = self.hosts();
        hosts.retain(|node, own| {
            let end = own.iter().map(|h| h.permit.claims().expires).max();
            own.retain(|h| h.permit.in_force(now));
            if let Some(end) = end.filter(|_| own.is_empty()) {
                self.meter().down(*node, end.millis());
            }
            !own.is_empty()
        });
    }

    /// Under what a node was last asked for something, while it hosts anything.
    pub(crate) fn last(&self, node: &NodeId) -> Option<Arc<Host>> {
        self.hosts().get(node).and_then(|own| own.last()).map(Arc::clone)
    }

    /// A node's lane comes; gives those that are there already and in doubt.
    pub(crate) fn arrive(&self, visit: Visit, lane: &RouterLane) -> (Arrival, Vec<RouterLane>) {
        self.lanes.arrive(visit, lane)
    }

    /// The lanes on which a node was let in and that are not over.
    pub(crate) fn lanes(&self, node: &NodeId) -> Vec<RouterLane> {
        self.lanes.of(node)
    }

    /// What a node allows, on whichever lanes.
    pub(crate) fn allowance(&self, node: &NodeId) -> Arc<Allowance> {
        let mut all = self.allowances.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(*node).or_default())
    }

    /// Whether anything may be asked for on a lane.
    pub(crate) fn uses(&self, node: &NodeId, lane: &Arc<LaneState>) -> bool {
        self.hosts().get(node).is_some_and(|own| own.iter().any(|h| Arc::ptr_eq(&h.shared, lane)))
    }

    /// All nodes that host something, with what they host.
    pub(crate) fn all(&self) -> Vec<Vec<Arc<Host>>> {
        self.hosts().values().cloned().collect()
    }

    /// How fast each node was measured to be, in millions of bytes of weights a second; `expert_bytes` says how many
    /// one forward of a model reads.
    pub(crate) fn speeds(&self, expert_bytes: impl Fn(&ManifestId) -> u64) -> BTreeMap<NodeId, u32> {
        let hosts = self.hosts();
        let of = |h: &Arc<Host>| h.models.first().and_then(|m| h.speed(expert_bytes(m)));
        hosts.iter().filter_map(|(node, own)| Some((*node, own.iter().filter_map(of).max()?))).collect()
    }

    /// The meter of uptime.
    pub(crate) fn meter(&self) -> MutexGuard<'_, UptimeMeter> {
        self.meter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hosts(&self) -> MutexGuard<'_, BTreeMap<NodeId, Vec<Arc<Host>>>> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
