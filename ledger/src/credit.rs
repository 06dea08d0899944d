//! How the tokens of one request are shared among the nodes that served it.

use std::collections::BTreeMap;

use counterfoil_spec::amount::{MicroTokens, TokenCount};
use counterfoil_spec::ids::NodeId;
use counterfoil_spec::payload::Credit;

/// The tokens of a request, or its forwards, are beyond what 64 bits hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("tokens or forwards of one request do not fit 64 bits")]
pub struct CreditOverflow;

/// Shares `tokens` × 10⁶ by receipted forwards: floors, then one micro-token each to the largest remainders, ties
/// by node id. The result is in node order and sums to the whole exactly; it is empty where nothing is receipted,
/// and leaves out nodes without a forward. Two receipts of one node are added up.
///
/// Work without a receipt earns nothing, so it is no argument: what the others did takes up the whole.
///
/// # Errors
/// [`CreditOverflow`] where a product or sum does not fit.
pub fn credits(tokens: TokenCount, forwards: &[(NodeId, u64)]) -> Result<Vec<Credit>, CreditOverflow> {
    let worth = tokens.micro().ok_or(CreditOverflow)?.0;
    let mut by_node = BTreeMap::<NodeId, u64>::new();
    let mut total = 0_u64;
    for (node, n) in forwards.iter().filter(|(_, n)| *n > 0) {
        let sum = by_node.entry(*node).or_default();
        *sum = sum.checked_add(*n).ok_or(CreditOverflow)?;
        total = total.checked_add(*n).ok_or(CreditOverflow)?;
    }
    let Some(divisor) = std::num::NonZeroU128::new(u128::from(total)) else {
        return Ok(Vec::new());
    };
    let mut left = worth;
    let mut shares = Vec::with_capacity(by_node.len());
    for (node, n) in by_node {
        // Two factors below 2⁶⁴ each, so the product fits 128 bits.
        let product = u128::from(worth) * u128::from(n);
        let share = u64::try_from(product / divisor).map_err(|_| CreditOverflow)?;
        left = left.checked_sub(share).ok_or(CreditOverflow)?;
        shares.push((product % divisor, Credit { node, forwards: n, micro_tokens: MicroTokens(share) }));
    }
    // Fewer units are left than there are nodes. The sort is stable, so equal remainders stay in node order.
    let mut order: Vec<_> = shares.iter_mut().collect();
    order.sort_by_key(|(remainder, _)| std::cmp::Reverse(*remainder));
    for (_, credit) in order {
        if left == 0 {
            break;
        }
        credit.micro_tokens.0 += 1;
        left -= 1;
    }
    Ok(shares.into_iter().map(|(_, credit)| credit).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(n: u8) -> NodeId {
        NodeId::from_bytes([n; 32])
    }

    fn micro(tokens: u64, forwards: &[(NodeId, u64)]) -> Vec<(u8, u64, u64)> {
        let credits = credits(TokenCount(tokens), forwards).unwrap();
        credits.iter().map(|c| (c.node.as_bytes()[0], c.forwards, c.micro_tokens.0)).collect()
    }

    #[test]
    fn remainders_go_to_the_largest_fraction() {
        // 10⁶ × 1/7 = 142857.14…, × 6/7 = 857142.86…
        assert_eq!(micro(1, &[(node(1), 1), (node(2), 6)]), [(1, 1, 142_857), (2, 6, 857_143)]);
    }

    #[test]
    fn equal_remainders_go_by_node_id() {
        assert_eq!(
            micro(1, &[(node(3), 1), (node(1), 1), (node(2), 1)]),
            [(1, 1, 333_334), (2, 1, 333_333), (3, 1, 333_333)]
        );
    }

    #[test]
    fn two_receipts_of_one_node_add_up() {
        assert_eq!(
            micro(2, &[(node(1), 3), (node(2), 6), (node(1), 3)]),
            [(1, 6, 1_000_000), (2, 6, 1_000_000)]
        );
    }

    #[test]
    fn nothing_receipted_earns_nothing() {
        assert_eq!(micro(9, &[]), []);
        assert_eq!(micro(9, &[(node(1), 0)]), []);
    }

    #[test]
    fn a_failed_request_credits_forwards_without_tokens() {
        assert_eq!(micro(0, &[(node(1), 5)]), [(1, 5, 0)]);
    }

    #[test]
    fn tokens_beyond_the_type_are_refused() {
        let most = u64::MAX / 1_000_000;
        assert_eq!(micro(most, &[(node(1), u64::MAX)]), [(1, u64::MAX, most * 1_000_000)]);
        assert_eq!(credits(TokenCount(most + 1), &[(node(1), 1)]), Err(CreditOverflow));
        assert_eq!(credits(TokenCount(1), &[(node(1), u64::MAX), (node(2), 1)]), Err(CreditOverflow));
    }
}
