//! What was proposed to a node and it has not answered: what a consent token may answer.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use counterfoil_spec::claims::Range;
use counterfoil_spec::ids::ManifestId;
use counterfoil_spec::limits::MAX_OPEN_PROPOSALS;
use counterfoil_spec::message::{Proposal, RouterMessage};

use super::RouterLane;
use crate::end::LaneError;

/// Of one lane, in the order in which they were made; beyond as many as may wait the oldest is forgotten.
#[derive(Debug, Default)]
pub(crate) struct Proposals {
    /// Guards the list alone.
    open: Mutex<VecDeque<(ManifestId, Vec<Range>)>>,
}

impl Proposals {
    fn add(&self, manifest: ManifestId, ranges: Vec<Range>) {
        let mut open = self.open();
        if open.len() >= MAX_OPEN_PROPOSALS {
            open.pop_front();
        }
        open.push_back((manifest, ranges));
    }

    /// Whether there is one that allows these ranges, all of them.
    fn awaits(&self, ranges: &[Range]) -> bool {
        self.open().iter().any(|(_, proposed)| allows(proposed, ranges))
    }

    /// Takes the first such one out.
    fn answer(&self, ranges: &[Range]) -> bool {
        self.take(|(_, proposed)| allows(proposed, ranges))
    }

    /// Takes the first one of a model out.
    fn decline(&self, manifest: &ManifestId) -> bool {
        self.take(|(proposed, _)| proposed == manifest)
    }

    fn take(&self, is_it: impl FnMut(&(ManifestId, Vec<Range>)) -> bool) -> bool {
        let mut open = self.open();
        let at = open.iter().position(is_it);
        at.and_then(|at| open.remove(at)).is_some()
    }

    fn open(&self) -> MutexGuard<'_, VecDeque<(ManifestId, Vec<Range>)>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RouterLane {
    /// Proposes a model; the answer is a `Consent` or a `Decline` among the events. One without ranges has no answer.
    ///
    /// # Errors
    /// [`LaneError::Closed`] and [`LaneError::Congested`].
    pub fn propose(&self, proposal: Proposal) -> Result<(), LaneError> {
        if !proposal.ranges.is_empty() {
            // Before the node knows, so that its answer never finds nothing.
            self.shared.proposals.add(proposal.manifest, proposal.ranges.clone());
        }
        self.tell(&RouterMessage::Propose(proposal))
    }

    /// Whether a proposal waits for an answer that allows these ranges.
    #[must_use]
    pub fn awaits(&self, ranges: &[Range]) -> bool {
        self.shared.proposals.awaits(ranges)
    }

    /// The first such proposal is answered.
    pub fn answers(&self, ranges: &[Range]) {
        self.shared.proposals.answer(ranges);
    }

    /// Whether a proposal of this model waits for an answer; it is answered then.
    #[must_use]
    pub fn declines(&self, manifest: &ManifestId) -> bool {
        self.shared.proposals.decline(manifest)
    }
}

fn allows(proposed: &[Range], ranges: &[Range]) -> bool {
    ranges.iter().all(|range| proposed.iter().any(|own| own.covers(range)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: ManifestId = ManifestId::from_bytes([1; 32]);
    const B: ManifestId = ManifestId::from_bytes([2; 32]);

    fn layers(manifest: ManifestId, from: u32, to: u32) -> Range {
        Range { manifest, layers: (from, to), experts: (0, 7) }
    }

    #[test]
    fn each_is_answered_once_by_what_lies_within_it() {
        let proposals = Proposals::default();
        proposals.add(A, vec![layers(A, 0, 1), layers(A, 4, 5)]);
        proposals.add(A, vec![layers(A, 0, 3)]);
        assert!(!proposals.answer(&[layers(B, 0, 1)]));
        assert!(!proposals.answer(&[layers(A, 0, 4)]));
        assert!(!proposals.answer(&[layers(A, 0, 3), layers(A, 4, 5)]));
        assert!(proposals.awaits(&[layers(A, 2, 3)]));
        assert!(proposals.awaits(&[layers(A, 2, 3)]));
        assert!(proposals.answer(&[layers(A, 2, 3)]));
        assert!(!proposals.awaits(&[layers(A, 2, 3)]));
        assert!(!proposals.answer(&[layers(A, 2, 3)]));
        assert!(proposals.answer(&[layers(A, 1, 1), layers(A, 4, 4)]));
        assert!(!proposals.answer(&[layers(A, 1, 1)]));
    }

    #[test]
    fn a_model_is_declined_where_it_was_proposed_and_once() {
        let proposals = Proposals::default();
        proposals.add(A, vec![layers(A, 0, 1)]);
        assert!(!proposals.decline(&B));
        assert!(proposals.decline(&A));
        assert!(!proposals.decline(&A));
    }

    #[test]
    fn as_many_wait_as_may_and_the_oldest_is_forgotten() {
        let proposals = Proposals::default();
        proposals.add(B, vec![layers(B, 0, 0)]);
        (0..MAX_OPEN_PROPOSALS).for_each(|_| proposals.add(A, vec![layers(A, 0, 0)]));
        assert_eq!(proposals.open().len(), MAX_OPEN_PROPOSALS);
        assert!(!proposals.decline(&B));
    }
}
