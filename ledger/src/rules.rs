//! The rules of money: which are in force when, and those that a network starts with.

use std::collections::HashSet;

use counterfoil_spec::amount::{Cents, MicroUsd, TokenCount};
use counterfoil_spec::ids::ManifestId;
use counterfoil_spec::payload::{Plan, PoolRule, Rules};
use counterfoil_spec::time::Millis;

use crate::error::LedgerError;

/// The rules that a network starts with; as version 0 they are in force before the first `rules` entry.
#[must_use]
pub fn founding_rules(version: u64) -> Rules {
    let plan = |name: &str, dollars: u64, tokens: u64| Plan {
        name: name.to_owned(),
        price: MicroUsd(dollars * 1_000_000),
        tokens: TokenCount(tokens),
    };
    Rules {
        version,
        pool_rule: PoolRule::ProRata,
        pool_bps: 7_000,
        uptime_bps: 1_000,
        plans: vec![
            plan("explorer", 5, 500_000),
            plan("builder", 20, 2_000_000),
            plan("operator", 50, 5_000_000),
        ],
        list_price_micro_per_1k: 10_000,
        payout_min: Cents(2_500),
        free_tokens: TokenCount(50_000),
        model_weights: Vec::new(),
        reserve_bps: None,
    }
}

/// Every version of the rules with the time of its entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RulesHistory {
    versions: Vec<(Millis, Rules)>,
    founding: Rules,
}

impl Default for RulesHistory {
    fn default() -> Self {
        Self { versions: Vec::new(), founding: founding_rules(0) }
    }
}

impl RulesHistory {
    pub(crate) fn current(&self) -> &Rules {
        self.versions.last().map_or(&self.founding, |(_, rules)| rules)
    }

    /// Every version so far, the founding one first.
    pub(crate) fn versions(&self) -> impl Iterator<Item = &Rules> {
        std::iter::once(&self.founding).chain(self.versions.iter().map(|(_, rules)| rules))
    }

    /// The rules that were in force at an instant.
    pub(crate) fn at(&self, when: Millis) -> &Rules {
        self.versions.iter().rev().find(|(since, _)| *since <= when).map_or(&self.founding, |(_, r)| r)
    }

    pub(crate) fn push(&mut self, since: Millis, rules: &Rules) -> Result<(), LedgerError> {
        //= spec/settlement.md#rules
        //# A `rules` entry replaces the whole of the rules; its version MUST be one more than the version before (`NotMonotonic`).
        let current = self.current().version;
        if current.checked_add(1) != Some(rules.version) {
            return Err(LedgerError::RulesVersion { current, found: rules.version });
        }
        check(rules)?;
        self.versions.push((since, rules.clone()));
        Ok(())
    }
}

/// By how much a model's tokens count.
pub(crate) fn weight(rules: &Rules, manifest: &ManifestId) -> u64 {
    rules.model_weights.iter().find(|w| w.manifest == *manifest).map_or(1, |w| u64::from(w.weight))
}

fn check(rules: &Rules) -> Result<(), LedgerError> {
    let fault = |what| Err(LedgerError::RulesMalformed(what));
    if rules.pool_bps > WHOLE_BPS || rules.uptime_bps > WHOLE_BPS {
        return fault("a part is larger than the whole");
    }
    if rules.reserve_bps.is_some_and(|bps| bps == 0 || bps > WHOLE_BPS) {
        return fault(
            "a reserve is more than nothing and no more than the whole; without one it is left out",
        );
    }
    if rules.payout_min.0 < 0 {
        return fault("the least payout is negative");
    }
    let mut names = HashSet::new();
    if !rules.plans.iter().all(|p| names.insert(p.name.as_str())) {
        return fault("two plans have one name");
    }
    let mut models = HashSet::new();
    if !rules.model_weights.iter().all(|w| w.weight > 0 && models.insert(w.manifest)) {
        return fault("a model's weight is zero or stands there twice");
    }
    Ok(())
}

/// The whole, in hundredths of a percent.
pub(crate) const WHOLE_BPS: u32 = 10_000;
