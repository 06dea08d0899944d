//! What is held back of earnings against chargebacks, and until when.

use counterfoil_spec::amount::Cents;
use counterfoil_spec::ids::ProviderId;
use counterfoil_spec::time::Seconds;

use crate::calendar::DAY_S;
use crate::fold::Ledger;
use crate::rules::WHOLE_BPS;

/// How long a part of what was earned is held back.
const RESERVE_S: u64 = 180 * DAY_S;

/// A part of what a provider earned in one quarter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reserved {
    until: Seconds,
    cents: Cents,
}

impl Ledger {
    /// What is held back of what is owed to a provider.
    #[must_use]
    pub fn reserved(&self, provider: &ProviderId, now: Seconds) -> Cents {
        let held = self.reserves.get(provider).into_iter().flatten();
        Cents(held.filter(|part| now < part.until).map(|part| part.cents.0).fold(0, i64::saturating_add))
    }

    //= spec/settlement.md#payouts
    //# Of what a provider earns with one entry ⌊cents × reserve / 10,000⌋ are held back until 180 days after it, by the rules in force
    //# there.
    pub(super) fn reserve(&mut self, provider: ProviderId, earned: Cents, when: Seconds) {
        let part = i128::from(earned.0) * i128::from(self.rules().reserve_bps.unwrap_or(0));
        let cents = i64::try_from(part / i128::from(WHOLE_BPS)).unwrap_or(0);
        if cents > 0 {
            let reserved = Reserved { until: when.plus(RESERVE_S), cents: Cents(cents) };
            self.reserves.entry(provider).or_default().push(reserved);
        }
    }

    /// What a node had held back as its own provider is held back of its provider's.
    pub(super) fn bring_reserve(&mut self, own: &ProviderId, provider: ProviderId) {
        if let Some(brought) = self.reserves.remove(own) {
            self.reserves.entry(provider).or_default().extend(brought);
        }
    }
}
