//! Sets of experts as sorted, disjoint rectangles.

use counterfoil_spec::claims::Range;
use counterfoil_spec::limits::MAX_CONSENT_RANGES;

/// What is wrong with a list of ranges; `None` for a well-formed one.
pub(crate) fn fault(ranges: &[Range]) -> Option<&'static str> {
    if ranges.is_empty() {
        return Some("no range at all");
    }
    if ranges.len() > MAX_CONSENT_RANGES {
        return Some("more ranges than allowed");
    }
    if ranges.iter().any(|r| r.layers.0 > r.layers.1 || r.experts.0 > r.experts.1) {
        return Some("a range that ends before it begins");
    }
    if !ranges.is_sorted_by(|a, b| a < b) {
        return Some("ranges not in ascending order");
    }
    let overlap = |(i, a): (usize, &Range)| ranges.iter().skip(i + 1).any(|b| a.overlaps(b));
    if ranges.iter().enumerate().any(overlap) { Some("ranges that overlap") } else { None }
}

/// Whether every range of `inner` lies within one range of `outer`.
pub(crate) fn within(inner: &[Range], outer: &[Range]) -> bool {
    inner.iter().all(|i| outer.iter().any(|o| o.covers(i)))
}
