//! What counts as evidence. Alone in its process, because the count is that of all of it.
#![allow(clippy::unwrap_used, reason = "tests stop at the unexpected")]

use std::hint::black_box;
use std::time::Duration;

use counterfoil_audit::cost::{Count, evidence};

fn busy() {
    black_box((0..2_000_000_u64).fold(0, |sum, n| sum ^ black_box(n)));
}

#[test]
fn what_is_not_evidence_counts_as_all_alone() {
    // Nobody asks yet.
    evidence(busy);
    let count = Count::begin();
    busy();
    assert_eq!(count.taken().0, Duration::ZERO);
    evidence(busy);
    let (evidence, all) = count.taken();
    assert!(evidence > Duration::ZERO && all > evidence, "{evidence:?} of {all:?}");
}
