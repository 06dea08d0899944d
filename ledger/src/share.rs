//! Sharing a pool exactly: one rational number per claim, floored to cents, the rest to the largest fractions.

use num_bigint::BigUint;
use num_integer::Integer;
use num_traits::{ToPrimitive, Zero};

use crate::rules::WHOLE_BPS;

/// What one provider brings to a pool.
pub(crate) struct Claim<'a> {
    /// Breaks ties, in byte order; distinct.
    pub(crate) id: &'a [u8],
    /// Tokens times tier, in any one unit.
    pub(crate) weighted: u128,
    /// Seconds.
    pub(crate) uptime_s: u64,
}

/// The cents of each claim, in the order given; they sum to the pool. `uptime_bps` of the pool goes by uptime and
/// the rest by weighted tokens; all of it goes by the one where the sum of the other is zero. `None` where both
/// are: nobody has a claim and the pool carries over.
pub(crate) fn share(pool_cents: u64, uptime_bps: u32, claims: &[Claim<'_>]) -> Option<Vec<u64>> {
    let weight_sum: BigUint = claims.iter().map(|c| BigUint::from(c.weighted)).sum();
    let uptime_sum: BigUint = claims.iter().map(|c| BigUint::from(c.uptime_s)).sum();
    let by_uptime = match (weight_sum.is_zero(), uptime_sum.is_zero()) {
        (true, true) => return None,
        (true, false) => WHOLE_BPS,
        (false, true) => 0,
        (false, false) => uptime_bps.min(WHOLE_BPS),
    };
    // share = pool × (u/10000 × up/Σup + (10000−u)/10000 × w/Σw); a sum of zero has a factor of zero beside it,
    // so it may stand as one. All shares have one denominator, so remainders compare as they are.
    let nonzero = |sum: BigUint| if sum.is_zero() { BigUint::from(1_u8) } else { sum };
    let (weight_sum, uptime_sum) = (nonzero(weight_sum), nonzero(uptime_sum));
    let per_second = BigUint::from(pool_cents) * by_uptime * &weight_sum;
    let per_weight = BigUint::from(pool_cents) * (WHOLE_BPS - by_uptime) * &uptime_sum;
    let denominator = weight_sum * uptime_sum * WHOLE_BPS;
    let mut left = pool_cents;
    let mut shares = Vec::with_capacity(claims.len());
    for claim in claims {
        let exact = &per_second * claim.uptime_s + &per_weight * claim.weighted;
        let (cents, fraction) = exact.div_rem(&denominator);
        // No share exceeds the pool, so each fits and the sum of the floors leaves nothing below zero.
        let cents = cents.to_u64().unwrap_or(u64::MAX);
        left = left.saturating_sub(cents);
        shares.push((fraction, claim.id, cents));
    }
    //= spec/settlement.md#the-quarter
    //# Shares MUST sum to the pool.
    let mut order: Vec<_> = shares.iter_mut().collect();
    order.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(b.1)));
    for share in order {
        if left == 0 {
            break;
        }
        share.2 += 1;
        left -= 1;
    }
    Some(shares.into_iter().map(|(_, _, cents)| cents).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims<'a>(of: &[(&'a str, u128, u64)]) -> Vec<Claim<'a>> {
        of.iter()
            .map(|(id, weighted, uptime_s)| Claim {
                id: id.as_bytes(),
                weighted: *weighted,
                uptime_s: *uptime_s,
            })
            .collect()
    }

    #[test]
    fn nobody_served_goes_by_uptime() {
        assert_eq!(share(100, 1_000, &claims(&[("a", 0, 3), ("b", 0, 1)])), Some(vec![75, 25]));
    }

    #[test]
    fn nobody_up_goes_by_tokens() {
        assert_eq!(share(100, 1_000, &claims(&[("a", 1, 0), ("b", 3, 0)])), Some(vec![25, 75]));
    }

    #[test]
    fn neither_carries_over() {
        assert_eq!(share(100, 1_000, &claims(&[("a", 0, 0)])), None);
        assert_eq!(share(100, 1_000, &[]), None);
    }

    #[test]
    fn equal_fractions_go_by_id_in_byte_order() {
        assert_eq!(share(2, 0, &claims(&[("b", 1, 0), ("a", 1, 0), ("B", 1, 0)])), Some(vec![0, 1, 1]));
    }

    #[test]
    fn one_who_served_and_one_who_was_up_split_by_the_two_parts() {
        assert_eq!(share(1_000, 1_000, &claims(&[("a", 7, 0), ("b", 0, 9)])), Some(vec![900, 100]));
    }

    #[test]
    fn sums_beyond_128_bits_stay_exact() {
        let most = u128::MAX;
        let pool = u64::MAX;
        let shares = share(
            pool,
            1_000,
            &claims(&[("a", most, u64::MAX), ("b", most, u64::MAX), ("c", most, u64::MAX)]),
        );
        assert_eq!(shares, Some(vec![pool / 3; 3]));
    }
}
