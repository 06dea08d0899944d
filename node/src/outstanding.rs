//! Consent tokens that this node gave and that are not over, on whichever lane they were given: those that stand, and
//! those that were withdrawn.
//!
//! Work comes only under tokens of the present lane; the others stand in the logs all the same, and are withdrawn there
//! where a changed policy does not allow them. A router is told of withdrawals at the beginning of each lane, as nothing
//! says that it heard of them before.

use std::collections::VecDeque;

use counterfoil_spec::claims::Claims;
use counterfoil_spec::ids::Serial;
use counterfoil_spec::time::Seconds;

/// Tokens of either kind that are remembered; beyond that the oldest run out by themselves.
const MAX_OUTSTANDING: usize = 1024;

/// The oldest first.
#[derive(Debug, Default)]
pub(crate) struct Outstanding {
    standing: VecDeque<Claims>,
    /// With their ends.
    withdrawn: VecDeque<(Serial, Seconds)>,
}

impl Outstanding {
    /// A token was given.
    pub(crate) fn add(&mut self, claims: Claims, now: Seconds) {
        self.standing.retain(|known| known.expires > now && known.cti != claims.cti);
        if self.standing.len() >= MAX_OUTSTANDING {
            self.standing.pop_front();
        }
        if claims.expires > now {
            self.standing.push_back(claims);
        }
    }

    /// A token was withdrawn. False where it did not stand.
    pub(crate) fn remove(&mut self, cti: &Serial) -> bool {
        let at = self.standing.iter().position(|known| known.cti == *cti);
        let Some(claims) = at.and_then(|at| self.standing.remove(at)) else { return false };
        if self.withdrawn.len() >= MAX_OUTSTANDING {
            self.withdrawn.pop_front();
        }
        self.withdrawn.push_back((claims.cti, claims.expires));
        true
    }

    /// Those that were withdrawn and are not over.
    pub(crate) fn withdrawn(&mut self, now: Seconds) -> Vec<Serial> {
        self.withdrawn.retain(|(_, expires)| *expires > now);
        self.withdrawn.iter().map(|(cti, _)| *cti).collect()
    }

    /// Those that are not allowed any more.
    pub(crate) fn not(&self, allowed: impl Fn(&Claims) -> bool) -> Vec<Serial> {
        self.standing.iter().filter(|claims| !allowed(claims)).map(|claims| claims.cti).collect()
    }
}

#[cfg(test)]
mod tests {
    use counterfoil_session::sandbox::{Sandbox, machine_clock};
    use counterfoil_spec::ids::ManifestId;

    use super::*;

    fn claims(cti: usize, expires: u64) -> Claims {
        let net = Sandbox::new(machine_clock()).unwrap();
        let member = net.member().unwrap();
        let (_, permit) =
            net.consent(&member, &net.proposal(ManifestId::from_bytes([1; 32]), "guide")).unwrap();
        Claims { expires: Seconds(expires), cti: serial(cti), ..permit.claims().clone() }
    }

    fn serial(n: usize) -> Serial {
        Serial::from_bytes(u128::try_from(n).unwrap().to_be_bytes())
    }

    #[test]
    fn what_was_withdrawn_is_told_until_its_token_would_be_over() {
        let mut outstanding = Outstanding::default();
        for (cti, expires) in [(1, 100), (2, 200), (3, 300)] {
            outstanding.add(claims(cti, expires), Seconds(0));
        }
        assert_eq!([outstanding.remove(&serial(2)), outstanding.remove(&serial(1))], [true, true]);
        assert_eq!([outstanding.remove(&serial(2)), outstanding.remove(&serial(4))], [false, false]);
        assert_eq!(outstanding.withdrawn(Seconds(99)), [serial(2), serial(1)]);
        assert_eq!(outstanding.withdrawn(Seconds(100)), [serial(2)]);
        assert_eq!(outstanding.withdrawn(Seconds(200)), []);
    }

    #[test]
    fn what_is_remembered_of_withdrawals_is_bounded() {
        let mut outstanding = Outstanding::default();
        let one = claims(0, 100);
        for n in 0..=MAX_OUTSTANDING {
            outstanding.add(Claims { cti: serial(n), ..one.clone() }, Seconds(0));
            assert!(outstanding.remove(&serial(n)));
        }
        let told = outstanding.withdrawn(Seconds(0));
        assert_eq!((told.len(), told.first()), (MAX_OUTSTANDING, Some(&serial(1))));
    }
}
