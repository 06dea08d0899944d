//! How much is proposed on a lane at one time: the rest waits until a node is through with what came before.

use std::collections::{BTreeSet, VecDeque};

use counterfoil_spec::ids::ManifestId;
use counterfoil_spec::limits::MAX_PROPOSALS_WAITING;
use counterfoil_spec::message::Proposal;

/// Of one lane. A model has one proposal at most here, on its way or to be made.
#[derive(Debug, Default)]
pub(super) struct Window {
    /// Made, and the node is not through with them.
    open: BTreeSet<ManifestId>,
    /// To be made, in this order.
    later: VecDeque<Proposal>,
}

impl Window {
    /// One is to be made; it takes the place of one of the same model that was not made yet.
    pub(super) fn push(&mut self, proposal: Proposal) {
        self.later.retain(|other| other.manifest != proposal.manifest);
        self.later.push_back(proposal);
    }

    /// The next one that may be made now; it is open from here on.
    //= spec/session.md#what-a-node-may-say
    //# A router MUST NOT let more than 32 proposals of a lane wait
    pub(super) fn next(&mut self) -> Option<Proposal> {
        if self.open.len() >= MAX_PROPOSALS_WAITING {
            return None;
        }
        let next = self.later.pop_front()?;
        self.open.insert(next.manifest);
        Some(next)
    }

    /// The node is through with a model, one way or the other.
    pub(super) fn close(&mut self, manifest: &ManifestId) {
        self.open.remove(manifest);
    }

    /// Nothing of a model is to be proposed any more.
    pub(super) fn forget(&mut self, manifest: &ManifestId) {
        self.close(manifest);
        self.later.retain(|other| other.manifest != *manifest);
    }

    /// Whether a proposal of a model was not made yet.
    pub(super) fn holds_back(&self, manifest: &ManifestId) -> bool {
        self.later.iter().any(|other| other.manifest == *manifest)
    }
}

#[cfg(test)]
mod tests {
    use counterfoil_spec::claims::Range;
    use counterfoil_spec::ids::RouterId;

    use super::*;

    fn model(n: u16) -> ManifestId {
        let mut id = [0; 32];
        id[..2].copy_from_slice(&n.to_be_bytes());
        ManifestId::from_bytes(id)
    }

    fn proposal(manifest: ManifestId, layers: (u32, u32)) -> Proposal {
        Proposal {
            manifest,
            name: "a".to_owned(),
            ranges: vec![Range { manifest, layers, experts: (0, 7) }],
            list_price_micro_per_1k: 1,
            currency: "EUR".to_owned(),
            router: RouterId::from_bytes([1; 32]),
            min_epoch: 1,
        }
    }

    fn made(window: &mut Window) -> Vec<ManifestId> {
        std::iter::from_fn(|| window.next()).map(|proposal| proposal.manifest).collect()
    }

    //= spec/session.md#what-a-node-may-say
    //= type=test
    //# A router MUST NOT let more than 32 proposals of a lane wait
    #[test]
    fn five_hundred_models_are_proposed_in_turn_and_never_more_than_may_wait() {
        let mut window = Window::default();
        let all: Vec<ManifestId> = (0..500).map(model).collect();
        all.iter().for_each(|id| window.push(proposal(*id, (0, 1))));
        let mut open: VecDeque<ManifestId> = made(&mut window).into();
        assert_eq!((open.len(), window.open.len()), (32, 32));
        let mut order = Vec::new();
        while let Some(id) = open.pop_front() {
            order.push(id);
            window.close(&id);
            let next = made(&mut window);
            assert_eq!(next.len(), usize::from(order.len() <= 500 - 32));
            open.extend(next);
        }
        assert_eq!(order, all);
        assert!(window.open.is_empty());
    }

    #[test]
    fn a_later_proposal_takes_the_place_of_one_that_was_not_made() {
        let mut window = Window::default();
        window.push(proposal(model(1), (0, 1)));
        window.push(proposal(model(2), (0, 1)));
        window.push(proposal(model(1), (0, 3)));
        assert!(window.holds_back(&model(1)));
        assert_eq!(window.next(), Some(proposal(model(2), (0, 1))));
        assert_eq!(window.next(), Some(proposal(model(1), (0, 3))));
        assert_eq!((window.next(), window.holds_back(&model(1))), (None, false));
    }

    #[test]
    fn what_is_not_wanted_any_more_is_not_proposed_and_takes_no_place() {
        let mut window = Window::default();
        (0..40).for_each(|n| window.push(proposal(model(n), (0, 1))));
        assert_eq!(made(&mut window).len(), 32);
        window.forget(&model(35));
        window.forget(&model(3));
        assert_eq!(made(&mut window), [model(32)]);
        assert!(!window.holds_back(&model(35)) && window.holds_back(&model(36)));
    }
}
