//! Why a request's work could not go on, and when it may.

use counterfoil_model::ComputeError;
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::time::Millis;

use super::Unserved;
use crate::desk::Unplanned;
use crate::http::refusals::By;

/// Why a request's work could not go on.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum WorkError {
    /// Nobody is left for an expert, or nobody for this caller.
    #[error(transparent)]
    Unplanned(#[from] Unplanned),
    /// All nodes are at the limit of requests that they consented to.
    #[error("the nodes are at the number of requests that they consented to; try again soon")]
    NoPlace,
    /// All nodes have given what they consented to for this day.
    #[error(
        "the nodes have used up the tokens that they consented to for today; their day ends at midnight UTC, in {left_s} seconds"
    )]
    Spent {
        /// Until the next day begins.
        left_s: u32,
    },
    /// The arithmetic refused.
    #[error(transparent)]
    Compute(#[from] ComputeError),
    /// What the nodes did is not in the log.
    #[error("the receipts could not be written to the log: {0}")]
    Unlogged(String),
    /// The model's batches came to an end before the request did.
    #[error("the router computes no more with this model")]
    Ended,
}

/// What the nodes have to do that refused a request for that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Crowd {
    /// None did.
    Nobody,
    /// Their quota of the day is used up, of each of them.
    Spent,
    /// Some have enough to do now.
    Busy,
}

impl Crowd {
    /// One was given up.
    pub(super) fn met(&mut self, why: &Unserved) {
        // The day's rest is the node's own to tell; what the router refuses itself is the quota of a request.
        let is_spent = matches!(why.refusal(), Some((By::Node, Refusal::Quota)));
        *self = match *self {
            Self::Nobody | Self::Spent if is_spent => Self::Spent,
            _ if why.is_crowded() => Self::Busy,
            now => now,
        };
    }

    /// Why nobody is left, where it is for that.
    pub(super) fn fault(self, now: Millis) -> Result<(), WorkError> {
        match self {
            Self::Nobody => Ok(()),
            Self::Busy => Err(WorkError::NoPlace),
            //= spec/consent.md#quotas
            //# Tokens count towards the UTC day in which their request was opened
            Self::Spent => Err(WorkError::Spent { left_s: until_midnight_s(now) }),
        }
    }
}

/// Whole seconds until a UTC day has begun.
fn until_midnight_s(now: Millis) -> u32 {
    let left_ms = DAY_MS - now.0 % DAY_MS;
    u32::try_from(left_ms.div_ceil(1000)).unwrap_or(u32::MAX)
}

const DAY_MS: u64 = 86_400_000;

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Millis = Millis(20_000 * DAY_MS + DAY_MS / 2);

    fn after(met: &[Unserved]) -> Result<(), WorkError> {
        let mut crowd = Crowd::Nobody;
        met.iter().for_each(|why| crowd.met(why));
        crowd.fault(NOON)
    }

    #[test]
    fn a_used_up_day_says_when_the_next_one_begins_and_nodes_that_are_busy_now_do_not() {
        let (spent, busy) = (Unserved::Refused(Refusal::Quota), Unserved::Refused(Refusal::Busy));
        let other = Unserved::Shape;
        assert_eq!(after(&[]), Ok(()));
        assert_eq!(after(std::slice::from_ref(&other)), Ok(()));
        assert_eq!(after(&[spent.clone(), other.clone()]), Err(WorkError::Spent { left_s: 43_200 }));
        assert_eq!(after(&[other, spent.clone()]), Err(WorkError::Spent { left_s: 43_200 }));
        assert_eq!(after(&[spent.clone(), busy.clone()]), Err(WorkError::NoPlace));
        assert_eq!(after(&[busy, spent.clone()]), Err(WorkError::NoPlace));
        // The quota of a single request is no matter of days.
        assert_eq!(after(&[Unserved::Unordered(Refusal::Quota)]), Err(WorkError::NoPlace));
        assert_eq!(until_midnight_s(Millis(NOON.0 + DAY_MS / 2 - 1)), 1);
        assert_eq!(until_midnight_s(Millis(NOON.0 + DAY_MS / 2)), 86_400);
    }
}
