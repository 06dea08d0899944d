//! What each entry about payouts does to the book of money. Everything is checked before anything changes.

use counterfoil_spec::amount::Cents;
use counterfoil_spec::ids::{ProviderId, Serial};
use counterfoil_spec::limits::{MAX_EARNINGS, MAX_PSP_WORD_BYTES};
use counterfoil_spec::payload::{
    Earnings, Payout, PayoutDestination, PayoutOutcome, ProviderOffboarded, ProviderRegistered, PspReport,
};
use counterfoil_spec::time::Seconds;

use super::{CHANGE_WAITS_S, Destination, NotPayable, PayoutState, PayoutStatus};
use crate::book::MoneyAccount;
use crate::error::LedgerError;
use crate::fold::Ledger;
use crate::posting::MICRO_PER_CENT;

impl Ledger {
    /// What nodes of the provider were owed as their own providers is owed to it from here on.
    pub(crate) fn register(&mut self, entry: &ProviderRegistered) -> Result<(), LedgerError> {
        let mut lines = Vec::new();
        let (mut brought, mut bearers) = (0_i128, Vec::new());
        let mut own: Vec<ProviderId> =
            entry.nodes.iter().map(|node| ProviderId::from_bytes(*node.as_bytes())).collect();
        own.sort_unstable();
        own.dedup();
        own.retain(|own| *own != entry.provider);
        for own in own.iter().copied() {
            let balance = self.money.balance(&MoneyAccount::Provider(own));
            if balance != 0 {
                lines.push((MoneyAccount::Provider(own), -balance));
                brought += balance;
            }
            if balance != 0 || !self.brought.contains_key(&own) {
                bearers.push((own, entry.provider));
            }
        }
        if !lines.is_empty() {
            lines.push((MoneyAccount::Provider(entry.provider), brought));
            self.money.post(&lines)?;
        }
        self.brought.extend(bearers);
        for own in &own {
            self.bring_reserve(own, entry.provider);
        }
        self.providers.entry(entry.provider).or_default().offboarded = false;
        Ok(())
    }

    pub(crate) fn offboard(&mut self, entry: &ProviderOffboarded) -> Result<(), LedgerError> {
        let known = self.providers.get_mut(&entry.provider);
        known.ok_or(LedgerError::UnknownProvider(entry.provider))?.offboarded = true;
        Ok(())
    }

    //= spec/settlement.md#payouts
    //# A provider's first
    //# destination is in force at once; another one from the time of the first entry that names it + 7 days.
    pub(crate) fn destination(
        &mut self,
        entry: &PayoutDestination,
        when: Seconds,
    ) -> Result<(), LedgerError> {
        let known = self.providers.get_mut(&entry.provider);
        let known = known.ok_or(LedgerError::UnknownProvider(entry.provider))?;
        let same = |d: &Destination| (d.rail, d.commitment) == (entry.rail, entry.commitment);
        let from = match known.destination {
            None => when,
            Some(d) if same(&d) => d.from,
            Some(_) => when.plus(CHANGE_WAITS_S),
        };
        if !known.destination.as_ref().is_some_and(same) {
            known.turn = known.turn.saturating_add(1);
        }
        let (rail, commitment, ready) = (entry.rail, entry.commitment, entry.ready);
        known.destination = Some(Destination { rail, commitment, ready, from });
        Ok(())
    }

    //= spec/settlement.md#payouts
    //# `earnings` MUST be of a quarter that an earlier statement closed, name at most 1,000 providers in ascending order, each with
    //# more than 0 cents and each once for a quarter over all entries, and MUST NOT sum to more than the quarter's pool
    //# (`ConservationViolated`).
    pub(crate) fn earnings(&mut self, entry: &Earnings, when: Seconds) -> Result<(), LedgerError> {
        let fault = |what| Err(LedgerError::EarningsMalformed(what));
        let Some(statement) = self.statements.iter().find(|s| s.quarter == entry.quarter) else {
            return fault("no statement closed this quarter");
        };
        let shares = &entry.providers;
        if shares.is_empty() || shares.len() > MAX_EARNINGS {
            return fault("an entry names 1 to 1,000 providers");
        }
        if !shares.is_sorted_by(|a, b| a.provider < b.provider) || shares.iter().any(|s| s.cents.0 <= 0) {
            return fault("providers must be sorted, each once and with more than nothing");
        }
        let earned = self.earned.get(&entry.quarter);
        if earned.is_some_and(|e| shares.iter().any(|s| e.contains_key(&s.provider))) {
            return fault("a provider earned in this quarter before");
        }
        let before = earned.into_iter().flat_map(|e| e.values());
        let mut all = before.chain(shares.iter().map(|s| &s.cents));
        let sum = all.try_fold(Cents(0), |sum, c| sum.checked_add(*c)).ok_or(LedgerError::Overflow)?;
        if sum > statement.pool {
            return fault("more than the quarter's pool");
        }
        let micro = |cents: Cents| i128::from(cents.0) * MICRO_PER_CENT;
        let mut lines: Vec<_> =
            shares.iter().map(|s| (MoneyAccount::Provider(s.provider), micro(s.cents))).collect();
        lines.push((MoneyAccount::Providers, -lines.iter().map(|(_, amount)| amount).sum::<i128>()));
        self.money.post(&lines)?;
        let earned = self.earned.entry(entry.quarter.clone()).or_default();
        earned.extend(shares.iter().map(|s| (s.provider, s.cents)));
        for share in shares {
            self.reserve(share.provider, share.cents, when);
        }
        Ok(())
    }

    pub(crate) fn intend(
        &mut self,
        serial: Serial,
        entry: &Payout,
        when: Seconds,
    ) -> Result<(), LedgerError> {
        if self.payouts.contains_key(&serial) {
            return Err(LedgerError::AlreadyPosted(serial));
        }
        //= spec/settlement.md#payouts
        //# A provider MUST NOT have two payouts that are submitted (`NotMonotonic`).
        let payable = self.payable(&entry.provider, when).map_err(|why| match why {
            NotPayable::Unknown(provider) => LedgerError::UnknownProvider(provider),
            NotPayable::Open(open) => LedgerError::PayoutOpen(open),
            NotPayable::TooLittle { .. } => LedgerError::PayoutNotOwed(why),
            NotPayable::NoDestination | NotPayable::NotReady | NotPayable::Waiting { .. } => {
                LedgerError::PayoutNowhere(why)
            }
        })?;
        //= spec/settlement.md#payouts
        //# A payout MUST be of all whole cents that are owed to a registered provider beyond what is held back, at least the least payout
        //# in force or, once the provider was offboarded, at least one cent (`ConservationViolated`).
        if payable.cents != entry.cents {
            return Err(LedgerError::PayoutDiffers { owed: payable.cents, payout: entry.cents });
        }
        //= spec/settlement.md#payouts
        //# A payout MUST go to the provider's destination in force, of its rail, that is ready (`WrongParty`).
        if (payable.destination.rail, payable.destination.commitment) != (entry.rail, entry.destination) {
            return Err(LedgerError::PayoutElsewhere(entry.provider));
        }
        let micro = i128::from(entry.cents.0) * MICRO_PER_CENT;
        self.money
            .post(&[(MoneyAccount::Provider(entry.provider), -micro), (MoneyAccount::InTransit, micro)])?;
        if let Some(provider) = self.providers.get_mut(&entry.provider) {
            provider.open = Some(serial);
        }
        let state = PayoutState {
            provider: entry.provider,
            cents: entry.cents,
            rail: entry.rail,
            destination: entry.destination,
            since: when,
            status: PayoutStatus::Submitted,
            reference: None,
        };
        self.payouts.insert(serial, state);
        Ok(())
    }

    /// Whether a report may follow what is known of its payout.
    #[must_use]
    pub fn takes(&self, entry: &PspReport) -> bool {
        let known = self.payouts.get(&entry.payout);
        known.is_some_and(|state| {
            fits(state.cents, entry) && next(state.status, entry.outcome, entry.returned).is_some()
        })
    }

    pub(crate) fn report(&mut self, entry: &PspReport) -> Result<(), LedgerError> {
        let unknown = LedgerError::UnknownPayout(entry.payout);
        let state = self.payouts.get_mut(&entry.payout).ok_or(unknown)?;
        if entry.reference.len() > MAX_PSP_WORD_BYTES {
            return Err(LedgerError::ReportMalformed("a reference has at most 255 bytes"));
        }
        let returned = entry.returned;
        if !fits(state.cents, entry) {
            return Err(LedgerError::ReturnedBeyondPayout { payout: entry.payout, returned });
        }
        let after = next(state.status, entry.outcome, returned);
        //= spec/settlement.md#payouts
        //# A report MUST be of a payout in the log (`WrongParty`) and MUST be one of: accepted, paid, failed or returned of a submitted
        //# payout; paid or returned of a failed one; returned, of more than before, of one that is paid or returned (`NotMonotonic`).
        let Some(after) = after else {
            return Err(LedgerError::ReportOutOfOrder { payout: entry.payout, outcome: entry.outcome });
        };
        let owner = MoneyAccount::Provider(state.provider);
        let (from, to) = (places(state.cents, state.status), places(state.cents, after));
        let mut lines: Vec<_> = [
            (MoneyAccount::InTransit, to.in_transit - from.in_transit),
            (MoneyAccount::Disbursed, to.disbursed - from.disbursed),
            (owner, to.back - from.back),
        ]
        .into();
        lines.retain(|(_, amount)| *amount != 0);
        self.money.post(&lines)?;
        state.status = after;
        if entry.outcome != PayoutOutcome::Failed {
            state.reference = Some(entry.reference.clone());
        }
        if after != PayoutStatus::Submitted
            && let Some(provider) = self.providers.get_mut(&state.provider)
            && provider.open == Some(entry.payout)
        {
            provider.open = None;
        }
        Ok(())
    }
}

/// Whether as much came back as can have.
fn fits(cents: Cents, entry: &PspReport) -> bool {
    match entry.outcome {
        PayoutOutcome::Returned => (1..=cents.0).contains(&entry.returned.0),
        _ => entry.returned.0 == 0,
    }
}

/// Where a payout stands after a report; `None` for one that cannot follow.
fn next(status: PayoutStatus, outcome: PayoutOutcome, returned: Cents) -> Option<PayoutStatus> {
    use PayoutOutcome as Outcome;
    use PayoutStatus as Status;
    match (status, outcome) {
        (Status::Submitted, Outcome::Accepted) => Some(Status::Submitted),
        (Status::Submitted, Outcome::Failed) => Some(Status::Failed),
        (Status::Submitted | Status::Failed, Outcome::Paid) => Some(Status::Paid),
        (Status::Submitted | Status::Failed | Status::Paid, Outcome::Returned) => {
            Some(Status::Returned(returned))
        }
        (Status::Returned(before), Outcome::Returned) if returned > before => {
            Some(Status::Returned(returned))
        }
        _ => None,
    }
}

/// Where a payout's money is, in micro-units.
struct Places {
    in_transit: i128,
    disbursed: i128,
    back: i128,
}

/// The table of the specification: for each state the places of the whole payout.
fn places(cents: Cents, status: PayoutStatus) -> Places {
    let all = i128::from(cents.0) * MICRO_PER_CENT;
    match status {
        PayoutStatus::Submitted => Places { in_transit: all, disbursed: 0, back: 0 },
        PayoutStatus::Paid => Places { in_transit: 0, disbursed: all, back: 0 },
        PayoutStatus::Failed => Places { in_transit: 0, disbursed: 0, back: all },
        PayoutStatus::Returned(returned) => {
            let back = i128::from(returned.0) * MICRO_PER_CENT;
            Places { in_transit: 0, disbursed: all - back, back }
        }
    }
}
