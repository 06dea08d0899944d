//! How many connections each node has at a router.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use counterfoil_spec::ids::NodeId;
use counterfoil_spec::limits::MAX_NODE_CONNECTIONS;

/// The count of all nodes. The lock guards the map alone and is held for one look at it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stays(Arc<Mutex<HashMap<NodeId, usize>>>);

/// One connection of a node, for as long as this is held.
#[derive(Debug)]
pub(crate) struct Stay {
    node: NodeId,
    of: Stays,
}

impl Stays {
    /// Counts one more; `None` where a node has as many as it may.
    pub(crate) fn enter(&self, node: NodeId) -> Option<Stay> {
        let mut counts = self.counts();
        let count = counts.entry(node).or_default();
        if *count >= MAX_NODE_CONNECTIONS {
            return None;
        }
        *count += 1;
        Some(Stay { node, of: self.clone() })
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<NodeId, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        if let Entry::Occupied(mut count) = self.of.counts().entry(self.node) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_has_two_and_another_after_one_of_them() {
        let stays = Stays::default();
        let (node, other) = (NodeId::from_bytes([1; 32]), NodeId::from_bytes([2; 32]));
        let (first, second) = (stays.enter(node), stays.enter(node));
        assert!(first.is_some() && second.is_some());
        assert!(stays.enter(node).is_none());
        assert!(stays.enter(other).is_some());
        drop(first);
        let third = stays.enter(node);
        assert!(third.is_some() && stays.enter(node).is_none());
        drop((second, third));
        assert_eq!(stays.counts().len(), 0);
    }
}
