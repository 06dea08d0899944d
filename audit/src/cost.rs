//! The CPU time that evidence takes: orders, receipts, transcripts and log entries, as they are made and checked. It is
//! counted while somebody asks ([`Count`]); otherwise nothing is read and nothing is added.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

static COUNTED: AtomicBool = AtomicBool::new(false);
static NANOS: AtomicU64 = AtomicU64::new(0);

/// Does a piece of work that evidence consists of, and counts its thread's CPU time. Pieces must not lie in each other.
pub fn evidence<T>(work: impl FnOnce() -> T) -> T {
    if !COUNTED.load(Ordering::Relaxed) {
        return work();
    }
    let begin = of(ClockId::ThreadCPUTime);
    let done = work();
    let took = of(ClockId::ThreadCPUTime).saturating_sub(begin);
    NANOS.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    done
}

/// Counts in this process for as long as it lives; there is to be one at a time.
#[derive(Debug)]
pub struct Count {
    evidence: Duration,
    all: Duration,
}

impl Count {
    /// Counts from here on.
    #[must_use]
    pub fn begin() -> Self {
        COUNTED.store(true, Ordering::Relaxed);
        Self { evidence: counted(), all: of(ClockId::ProcessCPUTime) }
    }

    /// The CPU time since the beginning: of evidence, and of all that this process did.
    #[must_use]
    pub fn taken(&self) -> (Duration, Duration) {
        (counted().saturating_sub(self.evidence), of(ClockId::ProcessCPUTime).saturating_sub(self.all))
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        COUNTED.store(false, Ordering::Relaxed);
    }
}

fn counted() -> Duration {
    Duration::from_nanos(NANOS.load(Ordering::Relaxed))
}

fn of(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    // Neither is negative: CPU clocks count up from 0.
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}
