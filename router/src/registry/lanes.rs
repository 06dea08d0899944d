//! The lanes of every node that was let in, or is being looked at, whether anything is hosted there or not.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use counterfoil_session::RouterLane;
use counterfoil_spec::ids::{NodeId, Serial};
use counterfoil_spec::limits::MAX_RENEWALS;

use crate::dealer::Visit;

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Lanes {
    /// As many lanes of a node as it may have connections. Guards the lists alone.
    all: Mutex<BTreeMap<NodeId, Vec<Known>>>,
}

/// One of them.
#[derive(Debug)]
struct Known {
    visit: Visit,
    lane: RouterLane,
    /// Whether its node was let in.
    is_in: bool,
    /// The certificates that were given on it last, `MAX_RENEWALS` at most: a node has no more wishes waiting.
    given: VecDeque<Serial>,
}

impl Known {
    fn is_there(&self) -> bool {
        self.lane.end().is_none()
    }
}

/// A lane that stands among them for as long as this is held.
#[derive(Debug)]
pub(crate) struct Arrival {
    of: Arc<Lanes>,
    node: NodeId,
    visit: Visit,
}

impl Lanes {
    /// A lane comes: gives those of the same node that came before it, are not over, and that nobody who is the node leaves
    /// standing while it comes with this certificate: those of the same one, and those of an earlier one where this one was
    /// given on no lane that is there. Of two that come at one time one is the first.
    pub(super) fn arrive(self: &Arc<Self>, visit: Visit, lane: &RouterLane) -> (Arrival, Vec<RouterLane>) {
        let mut all = self.all();
        let own = all.entry(lane.node()).or_default();
        let (serial, generation) = (lane.peer().cert_serial(), lane.peer().generation());
        let is_given =
            own.iter().any(|known| known.is_there() && known.given.iter().any(|s| s.as_bytes() == serial));
        let is_in_doubt = |known: &&Known| {
            let earlier = known.lane.peer();
            let is_same = earlier.cert_serial() == serial;
            known.is_there() && (is_same || (!is_given && earlier.generation() < generation))
        };
        let doubted = own.iter().filter(is_in_doubt).map(|known| known.lane.clone()).collect();
        own.push(Known { visit, lane: lane.clone(), is_in: false, given: VecDeque::new() });
        (Arrival { of: Arc::clone(self), node: lane.node(), visit }, doubted)
    }

    /// The lanes on which a node was let in and that are not over.
    pub(super) fn of(&self, node: &NodeId) -> Vec<RouterLane> {
        let all = self.all();
        let own = all.get(node).into_iter().flatten().filter(|known| known.is_in && known.is_there());
        own.map(|known| known.lane.clone()).collect()
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<NodeId, Vec<Known>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Arrival {
    /// Its node is let in.
    pub(crate) fn let_in(&self) {
        self.change(|known| known.is_in = true);
    }

    /// A certificate is given on it.
    pub(crate) fn gave(&self, serial: Serial) {
        self.change(|known| {
            known.given.push_back(serial);
            while u32::try_from(known.given.len()).unwrap_or(u32::MAX) > MAX_RENEWALS {
                known.given.pop_front();
            }
        });
    }

    fn change(&self, change: impl FnOnce(&mut Known)) {
        let mut all = self.of.all();
        let own = all.get_mut(&self.node).into_iter().flatten();
        if let Some(known) = own.into_iter().find(|known| known.visit == self.visit) {
            change(known);
        }
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        let mut all = self.of.all();
        let Some(own) = all.get_mut(&self.node) else { return };
        own.retain(|known| known.visit != self.visit);
        if own.is_empty() {
            all.remove(&self.node);
        }
    }
}
