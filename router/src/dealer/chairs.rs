//! Fixed shares: which of the `n` parts of a model each connected node is dealt.

use std::collections::BTreeMap;

use counterfoil_spec::ids::NodeId;

/// Who has which part; a node keeps its own when it comes back.
#[derive(Debug, Default)]
pub(super) struct Chairs {
    taken: BTreeMap<u32, NodeId>,
    last: BTreeMap<NodeId, u32>,
}

impl Chairs {
    /// A node's own old chair if nobody else has it, else the first that nobody has, else one more.
    pub(super) fn give(&mut self, node: NodeId, chairs: u32) -> u32 {
        let own = self.last.get(&node).copied().filter(|c| self.taken.get(c).is_none_or(|n| *n == node));
        let chair = own.or_else(|| (0..chairs).find(|c| !self.taken.contains_key(c)));
        let chair = chair.or_else(|| (chairs..u32::MAX).find(|c| !self.taken.contains_key(c))).unwrap_or(0);
        self.taken.insert(chair, node);
        self.last.insert(node, chair);
        chair
    }

    pub(super) fn free(&mut self, node: NodeId) {
        self.taken.retain(|_, n| *n != node);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(n: u8) -> NodeId {
        NodeId::from_bytes([n; 32])
    }

    #[test]
    fn a_new_node_takes_the_chair_of_one_that_is_gone() {
        let mut chairs = Chairs::default();
        assert_eq!((chairs.give(node(1), 2), chairs.give(node(2), 2)), (0, 1));
        chairs.free(node(2));
        assert_eq!(chairs.give(node(3), 2), 1);
    }

    #[test]
    fn a_node_that_comes_back_has_its_own_chair_unless_it_was_given_away() {
        let mut chairs = Chairs::default();
        chairs.give(node(1), 2);
        chairs.give(node(2), 2);
        chairs.free(node(1));
        chairs.free(node(2));
        assert_eq!(chairs.give(node(2), 2), 1);
        assert_eq!(chairs.give(node(3), 2), 0);
        assert_eq!(chairs.give(node(1), 2), 2);
    }
}
