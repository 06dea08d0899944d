//! What-if: shares a pool among providers as a quarter's close does, from figures that somebody types in.

use std::collections::HashSet;

use counterfoil_spec::limits::{
    MAX_SPLIT_ID_BYTES, MAX_SPLIT_POOL_CENTS, MAX_SPLIT_PROVIDERS, MAX_SPLIT_TOKENS, MAX_SPLIT_UPTIME_S,
};
use serde::{Deserialize, Serialize};

use crate::share::{Claim, share};

/// `{"pool_cents", "providers": […]}`. Numbers are signed so that a negative one is refused by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Split {
    /// The pool.
    pub pool_cents: i64,
    /// Who shares it.
    pub providers: Vec<SplitProvider>,
}

/// `{"id", "tokens", "uptime_s", "tier"}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SplitProvider {
    /// Any distinct text; ties go by its bytes.
    pub id: String,
    /// Tokens served, from paid lots.
    pub tokens: i64,
    /// Seconds up.
    pub uptime_s: i64,
    /// 1 to 4; 1 where absent.
    #[serde(default = "lowest_tier")]
    pub tier: i64,
}

/// `{"providers": [{"id", "total_cents"}]}`, in the order of the input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitShares {
    /// Everybody's share; they sum to the pool, or to nothing where nobody served and nobody was up.
    pub providers: Vec<SplitShare>,
}

/// One provider's share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitShare {
    /// As in the input.
    pub id: String,
    /// Of the pool.
    pub total_cents: i64,
}

/// Which figure of a split is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SplitError {
    /// A pool below zero or absurdly large.
    #[error("pool_cents is {0}; it must be 0 to {MAX_SPLIT_POOL_CENTS}")]
    Pool(i64),
    /// More providers than are taken.
    #[error("{0} providers; at most {MAX_SPLIT_PROVIDERS} are taken")]
    TooManyProviders(usize),
    /// An empty or very long id.
    #[error("the id of provider number {0} must have 1 to {MAX_SPLIT_ID_BYTES} bytes")]
    IdLength(usize),
    /// Two providers with one id.
    #[error("two providers have the id {0:?}; give each its own")]
    DuplicateId(String),
    /// Tokens below zero or absurdly many.
    #[error("provider {id:?} has {tokens} tokens; it must be 0 to {MAX_SPLIT_TOKENS}")]
    Tokens {
        /// Whose.
        id: String,
        /// What was given.
        tokens: i64,
    },
    /// Uptime below zero or longer than a year.
    #[error("provider {id:?} was up {uptime_s} s; it must be 0 to {MAX_SPLIT_UPTIME_S}")]
    Uptime {
        /// Whose.
        id: String,
        /// What was given.
        uptime_s: i64,
    },
    /// A tier that does not exist.
    #[error("provider {id:?} has tier {tier}; tiers are 1 to 4")]
    Tier {
        /// Whose.
        id: String,
        /// What was given.
        tier: i64,
    },
}

/// Shares a pool with the function that closes quarters; `uptime_bps` as in the rules.
///
/// # Errors
/// [`SplitError`] names the first figure that is wrong.
pub fn split(input: &Split, uptime_bps: u32) -> Result<SplitShares, SplitError> {
    let pool = bounded(input.pool_cents, MAX_SPLIT_POOL_CENTS).ok_or(SplitError::Pool(input.pool_cents))?;
    if input.providers.len() > MAX_SPLIT_PROVIDERS {
        return Err(SplitError::TooManyProviders(input.providers.len()));
    }
    let mut ids = HashSet::with_capacity(input.providers.len());
    let mut claims = Vec::with_capacity(input.providers.len());
    for (place, provider) in input.providers.iter().enumerate() {
        if provider.id.is_empty() || provider.id.len() > MAX_SPLIT_ID_BYTES {
            return Err(SplitError::IdLength(place + 1));
        }
        if !ids.insert(provider.id.as_str()) {
            return Err(SplitError::DuplicateId(provider.id.clone()));
        }
        claims.push(claim(provider)?);
    }
    let shares = share(pool, uptime_bps, &claims).unwrap_or_else(|| vec![0; claims.len()]);
    let providers = input.providers.iter().zip(shares).map(|(provider, cents)| SplitShare {
        id: provider.id.clone(),
        // No share exceeds the pool, which came from an i64.
        total_cents: i64::try_from(cents).unwrap_or(i64::MAX),
    });
    Ok(SplitShares { providers: providers.collect() })
}

fn claim(provider: &SplitProvider) -> Result<Claim<'_>, SplitError> {
    let id = || provider.id.clone();
    let tokens = bounded(provider.tokens, MAX_SPLIT_TOKENS)
        .ok_or_else(|| SplitError::Tokens { id: id(), tokens: provider.tokens })?;
    let uptime_s = bounded(provider.uptime_s, MAX_SPLIT_UPTIME_S)
        .ok_or_else(|| SplitError::Uptime { id: id(), uptime_s: provider.uptime_s })?;
    let tier = bounded(provider.tier, 4)
        .filter(|tier| *tier > 0)
        .ok_or_else(|| SplitError::Tier { id: id(), tier: provider.tier })?;
    Ok(Claim { id: provider.id.as_bytes(), weighted: u128::from(tokens) * u128::from(tier), uptime_s })
}

fn bounded(number: i64, most: i64) -> Option<u64> {
    u64::try_from(number).ok().filter(|_| number <= most)
}

const fn lowest_tier() -> i64 {
    1
}

#[cfg(test)]
mod tests;
