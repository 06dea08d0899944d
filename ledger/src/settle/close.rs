//! The close of a quarter: what is available, and everybody's part of it.

use std::collections::{BTreeMap, BTreeSet};

use counterfoil_spec::amount::{Cents, MicroTokens, MicroUsd};
use counterfoil_spec::ids::{NodeId, ProviderId};
use counterfoil_spec::payload::PoolRule;

use super::closed::{Closed, ProviderShare, rules_hash};
use super::period::Period;
use super::refused::{AsOf, CloseError};
use super::tally::Hours;
use crate::posting::MICRO_PER_CENT;
use crate::rules::WHOLE_BPS;
use crate::share::{Claim, share};

impl Period {
    /// The quarter's figures.
    ///
    /// # Errors
    /// [`CloseError`] for a quarter that is not over, entries that are missing, or rules not computed here.
    pub fn close(&self, as_of: AsOf) -> Result<Closed, CloseError> {
        let ends = self.quarter.end();
        let until = match as_of {
            //= spec/settlement.md#the-quarter
            //# Quarters MUST be closed one after the other, each once, and not before they are over.
            AsOf::Final(now) if now < ends => {
                return Err(CloseError::Unfinished { quarter: self.quarter, ends });
            }
            AsOf::Final(_) => ends,
            AsOf::DryRun(now) => now.min(ends),
        };
        //= spec/settlement.md#the-statement
        //# - A quarter of which entries were [removed](audit-log.md#removal) MUST NOT be recomputed from what is left.
        if self.removed > 0 {
            return Err(CloseError::Removed { quarter: self.quarter, removed: self.removed });
        }
        if self.ledger.applied() != self.end {
            return Err(CloseError::EntriesMissing { applied: self.ledger.applied(), end: self.end });
        }
        self.ledger.balances().map_err(CloseError::Books)?;
        let rules = self.ledger.rules();
        let revenue = self.payments.recognised(until, self.before).ok_or(CloseError::Overflow)?;
        // Below one micro-unit the platform keeps the rest; a negative quarter rounds to the larger deficit.
        let part = revenue
            .checked_mul(i128::from(rules.pool_bps))
            .ok_or(CloseError::Overflow)?
            .div_euclid(i128::from(WHOLE_BPS));
        let corrected = self.ledger.disputes.corrected_micro(self.first, self.end);
        let available = part + i128::from(self.carried) - corrected;
        let (pool, shares) = match rules.pool_rule {
            PoolRule::ProRata => spread(available, rules.uptime_bps, self.claims(&BTreeMap::new())?)?,
            PoolRule::PerAccount => self.share_by_account(available, until)?,
        };
        let carry = available - i128::from(pool.0) * MICRO_PER_CENT;
        Ok(Closed {
            quarter: self.quarter,
            first: self.first,
            end: self.end,
            rules_hash: rules_hash(rules),
            revenue: MicroUsd(u64::try_from(revenue.max(0)).map_err(|_| CloseError::Overflow)?),
            pool,
            carry_micro: i64::try_from(carry).map_err(|_| CloseError::Overflow)?,
            corrected: Cents(i64::try_from(corrected / MICRO_PER_CENT).map_err(|_| CloseError::Overflow)?),
            shares,
        })
    }

    /// Everybody's part before the pool is shared: each onboarded provider, and each node without one that worked or is given
    /// something by account.
    pub(super) fn claims(&self, given: &BTreeMap<NodeId, u128>) -> Result<Vec<ProviderShare>, CloseError> {
        let mut nodes: BTreeMap<ProviderId, BTreeSet<NodeId>> =
            self.providers.keys().map(|provider| (*provider, BTreeSet::new())).collect();
        for (node, owner) in &self.owners {
            nodes.entry(*owner).or_default().insert(*node);
        }
        let worked = self.tallies.keys().chain(given.keys());
        for node in worked.filter(|node| !self.owners.contains_key(node)) {
            let own = ProviderId::from_bytes(*node.as_bytes());
            //= spec/settlement.md#providers
            //# A provider MUST NOT be registered under the id of a node that worked and belongs to nobody.
            if self.providers.contains_key(&own) {
                return Err(CloseError::ProviderIsNode(own));
            }
            nodes.entry(own).or_default().insert(*node);
        }
        nodes.into_iter().map(|(provider, nodes)| self.claim(provider, nodes)).collect()
    }

    fn claim(&self, provider: ProviderId, nodes: BTreeSet<NodeId>) -> Result<ProviderShare, CloseError> {
        let onboarded = self.providers.contains_key(&provider);
        let mut micro_tokens = 0_u64;
        let mut weighted = 0_u128;
        for tally in nodes.iter().filter_map(|node| self.tallies.get(node)) {
            micro_tokens = micro_tokens.checked_add(tally.micro_tokens).ok_or(CloseError::Overflow)?;
            weighted = weighted.checked_add(tally.weighted).ok_or(CloseError::Overflow)?;
        }
        let mut hours = Hours::default();
        for of_node in nodes.iter().filter_map(|node| self.uptime.get(node)).filter(|_| onboarded) {
            hours.merge(of_node);
        }
        Ok(ProviderShare {
            provider,
            onboarded,
            nodes: nodes.into_iter().collect(),
            cents: Cents(0),
            micro_tokens: MicroTokens(micro_tokens),
            weighted: MicroTokens(u64::try_from(weighted).map_err(|_| CloseError::Overflow)?),
            uptime_s: hours.seconds(),
        })
    }
}

/// Gives each its cents and returns what was shared: all whole cents, or nothing where nobody has a claim.
fn spread(
    available: i128,
    uptime_bps: u32,
    mut shares: Vec<ProviderShare>,
) -> Result<(Cents, Vec<ProviderShare>), CloseError> {
    let pool = i64::try_from(available.max(0) / MICRO_PER_CENT).map_err(|_| CloseError::Overflow)?;
    let claims: Vec<_> = shares
        .iter()
        .map(|share| Claim {
            id: share.provider.as_bytes(),
            weighted: u128::from(share.weighted.0),
            uptime_s: share.uptime_s,
        })
        .collect();
    let Some(cents) = share(pool.unsigned_abs(), uptime_bps, &claims) else {
        return Ok((Cents(0), shares));
    };
    for (share, cents) in shares.iter_mut().zip(cents) {
        share.cents = Cents(i64::try_from(cents).map_err(|_| CloseError::Overflow)?);
    }
    Ok((Cents(pool), shares))
}
