//! How long to wait before the next attempt to connect.

use std::time::Duration;

use counterfoil_identity::random;

/// Doubles from attempt to attempt, with jitter, so that a thousand nodes do not come back at the same instant.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The wait after one more failure: half to the whole of the current step.
    pub(crate) fn next(&mut self) -> Duration {
        let [byte] = random::bytes::<1>();
        let wait = step_ms(self.failures);
        self.failures = self.failures.saturating_add(1);
        Duration::from_millis(jittered(wait, byte))
    }

    /// A connection stood; begin anew.
    pub(crate) const fn reset(&mut self) {
        self.failures = 0;
    }
}

const fn step_ms(failures: u32) -> u64 {
    let doublings = if failures < MAX_DOUBLINGS { failures } else { MAX_DOUBLINGS };
    FIRST_MS << doublings
}

fn jittered(wait_ms: u64, random: u8) -> u64 {
    wait_ms / 2 + wait_ms * u64::from(random) / 510
}

const FIRST_MS: u64 = 100;
/// 100 ms to 25.6 s.
const MAX_DOUBLINGS: u32 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_double_up_to_a_limit() {
        let steps: Vec<u64> = [0, 1, 2, 7, 8, 9, u32::MAX].into_iter().map(step_ms).collect();
        assert_eq!(steps, [100, 200, 400, 12_800, 25_600, 25_600, 25_600]);
    }

    #[test]
    fn jitter_lies_between_half_and_all() {
        assert_eq!([jittered(100, 0), jittered(100, 128), jittered(100, 255)], [50, 75, 100]);
    }
}
