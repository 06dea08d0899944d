//! When which consent token is signed anew, and how many at a time: what a router takes of a lane at once is bounded.

use std::collections::{BTreeSet, VecDeque};

use counterfoil_spec::ids::Serial;
use counterfoil_spec::limits::MAX_CONSENTS_RENEWING;
use tokio::time::Instant;

use super::{Service, Step};
use crate::hosting::{Hosted, by_cti};

/// What is to be signed anew on a lane.
#[derive(Debug, Default)]
pub(super) struct Renewing {
    /// At some time, the next one first.
    due: Vec<(Instant, Serial)>,
    /// As soon as may be, because the policy has changed.
    anew: VecDeque<Serial>,
    /// The tokens that go on from others and are not ready.
    sent: BTreeSet<Serial>,
}

/// What is to be renewed now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Its time has come.
    Due(Serial),
    /// The policy has changed.
    Anew(Serial),
}

impl Renewing {
    /// A token is to be renewed at some time.
    pub(super) fn at(&mut self, at: Instant, cti: Serial) {
        self.due.push((at, cti));
        self.due.sort();
    }

    /// Tokens are to be signed anew now.
    pub(super) fn anew(&mut self, ctis: impl Iterator<Item = Serial>) {
        self.anew = ctis.collect();
    }

    /// A token is not renewed any more.
    pub(super) fn forget(&mut self, cti: &Serial) {
        self.due.retain(|(_, own)| own != cti);
        self.anew.retain(|own| own != cti);
    }

    /// Whether a token goes on from another.
    pub(super) fn is_of(&self, cti: &Serial) -> bool {
        self.sent.contains(cti)
    }

    /// When the next one is to be renewed; `None` where nothing is, or too many are on their way.
    //= spec/session.md#what-a-node-may-say
    //# A node MUST NOT let more than 32 of its consent tokens that go on from others wait for `Ready`.
    fn when(&self, now: Instant) -> Option<Instant> {
        if self.sent.len() >= MAX_CONSENTS_RENEWING {
            return None;
        }
        let due = self.due.first().map(|(at, _)| *at);
        if self.anew.is_empty() { due } else { Some(now) }
    }

    fn take(&mut self) -> Option<Next> {
        if let Some(cti) = self.anew.pop_front() {
            return Some(Next::Anew(cti));
        }
        (!self.due.is_empty()).then(|| Next::Due(self.due.remove(0).1))
    }
}

impl Service<'_> {
    /// When a token is to be renewed next.
    pub(super) fn next_renewal(&mut self) -> Option<Instant> {
        let (pending, hosted) = (&self.pending, &self.hosted);
        let loads = |h: &Hosted| h.bank.is_none() && !h.withdrawn && h.let_go.is_none();
        self.renewing.sent.retain(|cti| {
            let is_pending = pending.iter().any(|p| p.permit.claims().cti == *cti);
            is_pending || hosted.iter().any(|h| h.permit.claims().cti == *cti && loads(h))
        });
        self.renewing.when(Instant::now())
    }

    /// Sends the next consent token for what is hosted under the one whose time has come.
    pub(super) fn renew(&mut self) -> Step {
        let Some(next) = self.renewing.take() else { return Ok(()) };
        let cti = match next {
            Next::Due(cti) if self.ends_with_hours(&cti) => return Ok(()),
            Next::Due(cti) | Next::Anew(cti) => cti,
        };
        let Some(hosted) = by_cti(&mut self.hosted, &cti) else { return Ok(()) };
        let proposal = hosted.proposal.clone();
        let before = self.pending.last().map(|pending| pending.permit.claims().cti);
        self.consider(proposal)?;
        let last = self.pending.last().map(|pending| pending.permit.claims().cti);
        self.renewing.sent.extend(last.filter(|_| last != before));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn cti(n: u8) -> Serial {
        Serial::from_bytes([n; 16])
    }

    //= spec/session.md#what-a-node-may-say
    //= type=test
    //# A node MUST NOT let more than 32 of its consent tokens that go on from others wait for `Ready`.
    #[test]
    fn none_is_renewed_while_as_many_as_may_wait() {
        let (mut renewing, now) = (Renewing::default(), Instant::now());
        renewing.at(now, cti(200));
        renewing.sent.extend((0..31).map(cti));
        assert_eq!(renewing.when(now), Some(now));
        renewing.sent.insert(cti(31));
        assert_eq!(renewing.when(now), None);
        renewing.sent.remove(&cti(7));
        assert_eq!(renewing.when(now), Some(now));
    }

    #[test]
    fn what_a_new_policy_asks_for_comes_first_and_the_rest_in_its_time() {
        let (mut renewing, now) = (Renewing::default(), Instant::now());
        let later = now + Duration::from_secs(5);
        renewing.at(later, cti(1));
        renewing.at(now + Duration::from_secs(3), cti(2));
        renewing.anew([cti(3), cti(4)].into_iter());
        renewing.forget(&cti(4));
        assert_eq!((renewing.when(now), renewing.take()), (Some(now), Some(Next::Anew(cti(3)))));
        assert_eq!(renewing.when(now), Some(now + Duration::from_secs(3)));
        assert_eq!(renewing.take(), Some(Next::Due(cti(2))));
        assert_eq!((renewing.when(now), renewing.take()), (Some(later), Some(Next::Due(cti(1)))));
        assert_eq!((renewing.when(now), renewing.take()), (None, None));
    }
}
