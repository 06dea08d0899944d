//! A closed quarter: its totals, the providers' shares, and the statement that commits to them.

use counterfoil_spec::amount::{Cents, MicroTokens, MicroUsd};
use counterfoil_spec::encode::to_canonical;
use counterfoil_spec::ids::{Hash, NodeId, ProviderId};
use counterfoil_spec::payload::{Rules, Statement};
use counterfoil_spec::statement::ProviderLeaf;
use serde::Serialize;

use super::quarter::Quarter;
use super::tree::{leaf_hash, root};

/// Every figure of a quarter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// Which one.
    pub quarter: Quarter,
    /// The index of the first entry whose work belongs to it.
    pub first: u64,
    /// The index after the last one.
    pub end: u64,
    /// Of the rules in force at its end.
    pub rules_hash: Hash,
    /// Net recognised revenue; zero where refunds exceed it, the deficit being carried.
    pub revenue: MicroUsd,
    /// What is shared; the shares sum to it.
    pub pool: Cents,
    /// What carries into the next pool, in micro-units; negative for a deficit.
    pub carry_micro: i64,
    /// What answers to disputes of earlier quarters took from what is available, or gave.
    pub corrected: Cents,
    /// In order of the provider ids.
    pub shares: Vec<ProviderShare>,
}

/// One provider's part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProviderShare {
    /// The payout identity, or the id of a node that none has registered.
    pub provider: ProviderId,
    /// Whether a `provider-registered` entry names it; without one there is nobody to pay.
    pub onboarded: bool,
    /// Its nodes, sorted.
    pub nodes: Vec<NodeId>,
    /// Its share of the pool.
    pub cents: Cents,
    /// Credits of its nodes for tokens from paid lots.
    pub micro_tokens: MicroTokens,
    /// The same, each credit times the node's tier at its receipt's time.
    pub weighted: MicroTokens,
    /// Seconds of uptime that count; none for a provider that is not onboarded.
    pub uptime_s: u64,
}

impl Closed {
    /// The leaves of the statement's tree. `secret` is the quarter's, made once by the router and kept off the log.
    #[must_use]
    pub fn leaves(&self, secret: &Hash) -> Vec<ProviderLeaf> {
        let leaf = |share: &ProviderShare| ProviderLeaf {
            salt: Hash::from_bytes(
                *blake3::keyed_hash(secret.as_bytes(), share.provider.as_bytes()).as_bytes(),
            ),
            provider: share.provider,
            onboarded: share.onboarded,
            cents: share.cents,
            micro_tokens: share.micro_tokens,
            weighted: share.weighted,
            uptime_s: share.uptime_s,
        };
        self.shares.iter().map(leaf).collect()
    }

    /// The statement entry. The same log and secret give the same bytes.
    #[must_use]
    pub fn statement(&self, secret: &Hash) -> Statement {
        let hashes: Vec<_> = self.leaves(secret).iter().map(leaf_hash).collect();
        self.with_root(root(&hashes))
    }

    /// Whether a statement of the log has these figures; its root alone is not looked at, since nobody without the
    /// secret can recompute it.
    #[must_use]
    pub fn agrees_with(&self, statement: &Statement) -> bool {
        self.with_root(statement.root) == *statement
    }

    fn with_root(&self, root: Hash) -> Statement {
        Statement {
            quarter: self.quarter.to_string(),
            first: self.first,
            end: self.end,
            rules_hash: self.rules_hash,
            revenue: self.revenue,
            pool: self.pool,
            carry_micro: self.carry_micro,
            root,
            providers: u64::try_from(self.shares.len()).unwrap_or(u64::MAX),
        }
    }
}

/// BLAKE3 derive_key("counterfoil v1 rules", canonical bytes of the rules).
#[must_use]
pub fn rules_hash(rules: &Rules) -> Hash {
    Hash::from_bytes(blake3::derive_key("counterfoil v1 rules", &to_canonical(rules)))
}
