//! The lanes of every node that was let in, or is being looked at, whether anything is hosted there or not.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use counterfoil_session::RouterLane;
use counterfoil_spec::ids::NodeId;

use crate::dealer::Visit;

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Lanes {
    /// As many lanes of a node as it may have connections. Guards the lists alone.
    all: Mutex<BTreeMap<NodeId, Vec<(Visit, RouterLane)>>>,
}

/// A lane that stands among them for as long as this is held.
#[derive(Debug)]
pub(crate) struct Arrival {
    of: Arc<Lanes>,
    node: NodeId,
    visit: Visit,
}

impl Lanes {
    /// A lane comes: gives those of the same node that came before it and are not over. Of two that come at one time one is
    /// the first.
    pub(super) fn arrive(self: &Arc<Self>, visit: Visit, lane: &RouterLane) -> (Arrival, Vec<RouterLane>) {
        let mut all = self.all();
        let own = all.entry(lane.node()).or_default();
        let before = own.iter().map(|(_, lane)| lane).filter(|lane| lane.end().is_none()).cloned().collect();
        own.push((visit, lane.clone()));
        (Arrival { of: Arc::clone(self), node: lane.node(), visit }, before)
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<NodeId, Vec<(Visit, RouterLane)>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        let mut all = self.of.all();
        let Some(own) = all.get_mut(&self.node) else { return };
        own.retain(|(visit, _)| *visit != self.visit);
        if own.is_empty() {
            all.remove(&self.node);
        }
    }
}
