//! How long nothing at all has come from a node, not even the acknowledgement of a packet.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A node that is only slow still acknowledges what it is sent: its QUIC runs beside its arithmetic. One from which
/// nothing comes is stopped, or cut off.
#[derive(Debug)]
pub(crate) struct Quiet {
    /// How many datagrams had come when that was looked at, and since when it has been as many.
    seen: Mutex<(u64, Instant)>,
}

impl Quiet {
    /// Counts from now on.
    pub(crate) fn new(now: Instant) -> Self {
        Self { seen: Mutex::new((0, now)) }
    }

    /// Something was sent that will be acknowledged: silence begins now at the earliest.
    pub(crate) fn begin(&self, datagrams: u64, now: Instant) {
        *self.seen() = (datagrams, now);
    }

    /// For how long nothing has come.
    pub(crate) fn lasts(&self, datagrams: u64, now: Instant) -> Duration {
        let mut seen = self.seen();
        if seen.0 != datagrams {
            *seen = (datagrams, now);
        }
        now.saturating_duration_since(seen.1)
    }

    fn seen(&self) -> MutexGuard<'_, (u64, Instant)> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_lasts_from_when_it_was_asked_for_until_something_comes() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let quiet = Quiet::new(start);
        // What was quiet before anything was sent is no silence.
        quiet.begin(7, at(1000));
        assert_eq!(quiet.lasts(7, at(1000)), Duration::ZERO);
        assert_eq!(quiet.lasts(7, at(1150)), Duration::from_millis(150));
        assert_eq!(quiet.lasts(8, at(1200)), Duration::ZERO);
        assert_eq!(quiet.lasts(8, at(1300)), Duration::from_millis(100));
        assert_eq!(quiet.lasts(8, at(1100)), Duration::ZERO);
    }
}
