//! What anybody can cause as often as they like, told once a minute: it is counted in full, and fills nobody's log.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long nothing more is said.
const EVERY: Duration = Duration::from_secs(60);

/// When it was said last.
#[derive(Debug, Default)]
pub(crate) struct Seldom {
    /// Since when nothing was said, and how much was left out. Guards that alone.
    last: Mutex<Option<(Instant, u64)>>,
}

impl Seldom {
    /// One more; where that is to be said, how many were left out before it.
    pub(crate) fn one(&self, now: Instant) -> Option<u64> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *last {
            Some((since, left_out)) if now.saturating_duration_since(*since) < EVERY => {
                *left_out = left_out.saturating_add(1);
                None
            }
            said => said.replace((now, 0)).map_or(Some(0), |(_, left_out)| Some(left_out)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_a_minute_is_said_and_how_many_were_not() {
        let (seldom, start) = (Seldom::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!([0, 0, 59_999].map(|ms| seldom.one(at(ms))), [Some(0), None, None]);
        assert_eq!([60_000, 60_001, 120_000].map(|ms| seldom.one(at(ms))), [Some(2), None, Some(1)]);
        // A clock that goes back says nothing more.
        assert_eq!(seldom.one(start), None);
    }
}
