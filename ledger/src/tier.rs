//! Which tier a capacity counts as.

/// What a capacity of this tier must have proved, in bytes: nine tenths of 8, 12 and 24 × 10⁹ from tier 2 on.
pub(crate) const fn least_bytes(tier: u8) -> Option<u64> {
    //= spec/settlement.md#uptime-and-tiers
    //# A capacity of tier 2, 3 or 4 MUST have proved 7.2, 10.8 or 21.6 × 10⁹ bytes.
    match tier {
        1 => Some(0),
        2 => Some(7_200_000_000),
        3 => Some(10_800_000_000),
        4 => Some(21_600_000_000),
        _ => None,
    }
}

/// The highest tier that so many proved bytes may count as.
#[must_use]
pub fn tier_of(bytes: u64) -> u8 {
    (2..=4).rev().find(|tier| least_bytes(*tier).is_some_and(|least| bytes >= least)).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tier_begins_at_its_least_bytes() {
        let below = [(7_199_999_999, 1), (10_799_999_999, 2), (21_599_999_999, 3), (u64::MAX, 4)];
        assert!(below.into_iter().all(|(bytes, tier)| tier_of(bytes) == tier));
        assert_eq!([0, 7_200_000_000, 10_800_000_000, 21_600_000_000].map(tier_of), [1, 2, 3, 4]);
    }
}
