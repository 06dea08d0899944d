//! The pool rule `per-account`: what each lot's payment gives to the nodes that served that lot.

use std::collections::{BTreeMap, HashMap};

use counterfoil_spec::amount::Cents;
use counterfoil_spec::ids::{NodeId, Serial};
use counterfoil_spec::payload::{PoolRule, Rules};
use counterfoil_spec::time::Seconds;

use super::closed::{ProviderShare, rules_hash};
use super::period::Period;
use super::refused::CloseError;
use super::revenue::{Place, Since};
use crate::posting::MICRO_PER_CENT;
use crate::rules::WHOLE_BPS;

/// Who served which paid lot, as far as it may still count.
#[derive(Debug, Clone, Default)]
pub(super) struct LotWorks {
    lots: HashMap<Serial, LotWork>,
    /// Nodes by number, since a lot's list of them is kept for every lot.
    nodes: Vec<NodeId>,
    numbers: HashMap<NodeId, u32>,
    /// The end of what a `prune` dated before the quarter began took away, and the last entry that a later one did.
    pruned: u64,
    last_removed: Option<u64>,
}

#[derive(Debug, Clone)]
struct LotWork {
    granted: u64,
    served_before: bool,
    sum: u64,
    by_node: Vec<(u32, u64)>,
}

/// What the lots' payments give.
struct Given {
    /// Micro-units by node.
    by_node: BTreeMap<NodeId, u128>,
    sum: u128,
    waits: u128,
}

/// A served lot's part.
struct Part<'a> {
    micro: u128,
    work: &'a LotWork,
}

impl LotWorks {
    pub(super) fn granted(&mut self, index: u64, lot: Serial) {
        let fresh = LotWork { granted: index, served_before: false, sum: 0, by_node: Vec::new() };
        self.lots.entry(lot).or_insert(fresh);
    }

    /// Adds weighted micro-tokens of a node for what a request debited from a lot; `None` where they do not fit.
    pub(super) fn served(&mut self, lot: &Serial, place: Place, node: NodeId, weighted: u64) -> Option<()> {
        let Some(work) = self.lots.get_mut(lot).filter(|_| weighted > 0) else { return Some(()) };
        let next = u32::try_from(self.nodes.len()).ok()?;
        let number = *self.numbers.entry(node).or_insert(next);
        if number == next {
            self.nodes.push(node);
        }
        work.served_before |= place == Place::Earlier;
        work.sum = work.sum.checked_add(weighted)?;
        match work.by_node.binary_search_by_key(&number, |(n, _)| *n) {
            // No larger than the sum, which fits.
            Ok(at) => work.by_node.get_mut(at)?.1 += weighted,
            Err(at) => work.by_node.insert(at, (number, weighted)),
        }
        Some(())
    }

    pub(super) fn pruned(&mut self, end: u64) {
        self.pruned = self.pruned.max(end);
    }

    pub(super) fn removed(&mut self, index: u64) {
        if index >= self.pruned {
            self.last_removed = Some(index);
        }
    }
}

impl Period {
    /// Keeps who served which lot, which the pool rule `per-account` asks for and others do not.
    #[must_use]
    pub fn with_lots(mut self) -> Self {
        self.lots = Some(LotWorks::default());
        self
    }

    /// Gives each its cents and returns their sum, which is the pool.
    pub(super) fn share_by_account(
        &self,
        available: i128,
        until: Seconds,
    ) -> Result<(Cents, Vec<ProviderShare>), CloseError> {
        let given = self.given(available, until)?;
        let mut shares = self.claims(&given.by_node)?;
        let available = available.max(0).unsigned_abs();
        let by_uptime = available.saturating_sub(given.sum).saturating_sub(given.waits);
        let up: u128 = shares.iter().map(|s| u128::from(s.uptime_s)).sum();
        let mut pool = 0_i64;
        for share in &mut shares {
            let mut worked = share.nodes.iter().filter_map(|node| given.by_node.get(node));
            let worked = worked.try_fold(0_u128, |sum, micro| sum.checked_add(*micro));
            let uptime = by_uptime.checked_mul(u128::from(share.uptime_s)).ok_or(CloseError::Overflow)?;
            let uptime = uptime.checked_div(up).unwrap_or(0);
            let micro = worked.and_then(|w| w.checked_add(uptime)).ok_or(CloseError::Overflow)?;
            let cents = i64::try_from(micro / MICRO_PER_CENT.unsigned_abs());
            share.cents = Cents(cents.map_err(|_| CloseError::Overflow)?);
            pool = pool.checked_add(share.cents.0).ok_or(CloseError::Overflow)?;
        }
        Ok((Cents(pool), shares))
    }

    fn given(&self, available: i128, until: Seconds) -> Result<Given, CloseError> {
        let works = self.lots.as_ref().ok_or(CloseError::LotsNotKept)?;
        let rules = self.ledger.rules();
        let rate = u128::from(rules.pool_bps) * u128::from(WHOLE_BPS.saturating_sub(rules.uptime_bps));
        let part = |micro: u64| u128::from(micro) * rate / WHOLE_RATE;
        let mut parts = Vec::new();
        let (mut sum, mut waits) = (0_u128, 0_u128);
        for (payment, recognised) in self.payments.each(until, self.before, self.run()) {
            let paid = self.ledger.payments.get(&payment).and_then(|p| Some((p.payment.period_end, p.lot?)));
            let Some((ends, lot, work)) =
                paid.and_then(|(ends, lot)| Some((ends, self.ledger.lot(&lot)?, works.lots.get(&lot)?)))
            else {
                continue;
            };
            self.complete(works, work, lot.expires.max(ends))?;
            if work.sum > 0 {
                //= spec/settlement.md#per-account
                //# Of a lot that ended, with its payment's period, before the quarter began, the part is what the quarter recognises, and
                //# requests before the quarter do not count
                let over = self.before.is_some_and(|before| lot.expires.max(ends) <= before);
                let micro = if work.served_before || over { recognised.quarter } else { recognised.run };
                let micro = part(micro);
                sum = sum.checked_add(micro).ok_or(CloseError::Overflow)?;
                parts.push(Part { micro, work });
            } else if lot.expires > until {
                waits = waits.checked_add(part(recognised.run)).ok_or(CloseError::Overflow)?;
            }
        }
        give(parts, works, Scale { available: available.max(0).unsigned_abs(), asked: sum + waits }, waits)
    }

    //= spec/settlement.md#per-account
    //# A quarter MUST NOT be closed under this rule where an entry before it was removed that may have debited a lot that had not
    //# ended when the quarter began
    fn complete(&self, works: &LotWorks, work: &LotWork, ends: Seconds) -> Result<(), CloseError> {
        let counts = self.before.is_none_or(|before| ends > before);
        match works.last_removed.filter(|entry| counts && work.granted < *entry) {
            Some(entry) => Err(CloseError::LotsRemoved { quarter: self.quarter, entry }),
            None => Ok(()),
        }
    }

    /// The end of the last quarter before this one that was not shared by account.
    fn run(&self) -> Option<Since> {
        let other = self.earlier.iter().rev().find(|statement| {
            let by_account = |rules: &Rules| {
                rules.pool_rule == PoolRule::PerAccount && rules_hash(rules) == statement.rules_hash
            };
            !self.ledger.rules.versions().any(by_account)
        })?;
        let quarter: super::quarter::Quarter = other.quarter.parse().ok()?;
        Some(Since { index: other.end, at: quarter.end() })
    }
}

/// By how much parts shrink where there is less than they ask for.
struct Scale {
    available: u128,
    asked: u128,
}

impl Scale {
    fn of(&self, micro: u128) -> Option<u128> {
        if self.asked <= self.available {
            return Some(micro);
        }
        micro.checked_mul(self.available)?.checked_div(self.asked)
    }
}

//= spec/settlement.md#per-account
//# What nodes are given of a part MUST NOT exceed it.
fn give(parts: Vec<Part<'_>>, works: &LotWorks, scale: Scale, waits: u128) -> Result<Given, CloseError> {
    let mut given = Given { by_node: BTreeMap::new(), sum: 0, waits };
    if scale.asked > scale.available {
        // All that is left waits, so that nothing goes by uptime.
        given.waits = scale.available;
    }
    for part in parts {
        let micro = scale.of(part.micro).ok_or(CloseError::Overflow)?;
        for (number, weighted) in &part.work.by_node {
            let product = micro.checked_mul(u128::from(*weighted)).ok_or(CloseError::Overflow)?;
            let piece = product.checked_div(u128::from(part.work.sum)).unwrap_or(0);
            let Some(node) = usize::try_from(*number).ok().and_then(|n| works.nodes.get(n)) else { continue };
            if piece == 0 {
                continue;
            }
            // Pieces sum to no more than the parts, whose sum fits.
            *given.by_node.entry(*node).or_default() += piece;
            given.sum += piece;
        }
    }
    Ok(given)
}

/// Hundredths of a percent of hundredths of a percent.
const WHOLE_RATE: u128 = 100_000_000;
