//! Contested shares of closed quarters and the answers to them. What was closed stays as it is: an answer owes a provider more or
//! less from there on, and the pool of the quarter that it is logged in is so much smaller or larger.

use std::collections::BTreeMap;

use counterfoil_spec::amount::Cents;
use counterfoil_spec::ids::{ProviderId, Serial};
use counterfoil_spec::limits::MAX_DISPUTE_REASON_BYTES;
use counterfoil_spec::payload::{Correction, Dispute};
use counterfoil_spec::time::Seconds;
use serde::Serialize;

use crate::book::MoneyAccount;
use crate::calendar::DAY_S;
use crate::error::LedgerError;
use crate::fold::Ledger;
use crate::posting::MICRO_PER_CENT;

/// How long after a close its shares may be contested.
const WINDOW_S: u64 = 30 * DAY_S;

/// A contested share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DisputeState {
    /// Of which quarter.
    pub quarter: String,
    /// Whose.
    pub provider: ProviderId,
    /// What it should have been.
    pub claimed: Cents,
    /// When it was contested.
    pub since: Seconds,
    /// What was owed more for it, or less; absent while nobody answered.
    pub answered: Option<Cents>,
}

/// Disputes by the serials of their entries, and what answers came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Disputes {
    by_serial: BTreeMap<Serial, DisputeState>,
    /// Each answer that moved something, with its index.
    corrections: Vec<(u64, Cents)>,
    /// When quarters were closed.
    closed: BTreeMap<String, Seconds>,
}

impl Disputes {
    pub(crate) fn closed(&mut self, quarter: &str, when: Seconds) {
        self.closed.insert(quarter.to_owned(), when);
    }

    /// What entries of a quarter corrected, in micro-units.
    pub(crate) fn corrected_micro(&self, first: u64, end: u64) -> i128 {
        let own = self.corrections.iter().filter(|(index, _)| (first..end).contains(index));
        own.map(|(_, cents)| i128::from(cents.0) * MICRO_PER_CENT).sum()
    }
}

impl Ledger {
    /// One dispute, by the serial of its entry.
    #[must_use]
    pub fn dispute(&self, dispute: &Serial) -> Option<&DisputeState> {
        self.disputes.by_serial.get(dispute)
    }

    /// Every dispute, in order of the serials.
    pub fn disputes(&self) -> impl Iterator<Item = (&Serial, &DisputeState)> {
        self.disputes.by_serial.iter()
    }

    /// A provider's share of a quarter with the answers to disputes of it.
    #[must_use]
    pub fn standing(&self, quarter: &str, provider: &ProviderId) -> Cents {
        let own = self.disputes.by_serial.values();
        let own = own.filter(|d| d.quarter == quarter && d.provider == *provider);
        let corrected: i64 = own.filter_map(|d| d.answered).map(|cents| cents.0).sum();
        Cents(self.earned(quarter, provider).map_or(0, |cents| cents.0) + corrected)
    }

    //= spec/settlement.md#disputes-and-corrections
    //# A `dispute` MUST be of a quarter that an earlier statement closed and of a provider that is registered or earned in it
    //# (`WrongParty`), MUST be dated less than 30 days after that statement (`TimeOutOfBounds`), and MUST NOT be of a share that an
    //# unanswered dispute contests already (`NotMonotonic`).
    /// Whether a dispute may be raised at an instant.
    ///
    /// # Errors
    /// [`LedgerError`] says why not.
    pub fn may_contest(&self, entry: &Dispute, when: Seconds) -> Result<(), LedgerError> {
        let pool = self.pool_of(&entry.quarter).ok_or(LedgerError::QuarterNotClosed)?;
        let closed = self.disputes.closed.get(&entry.quarter).copied().unwrap_or(Seconds(0));
        let (quarter, provider) = (&entry.quarter, &entry.provider);
        if !self.providers.contains_key(provider) && self.earned(quarter, provider).is_none() {
            return Err(LedgerError::UnknownProvider(*provider));
        }
        if when >= closed.plus(WINDOW_S) {
            return Err(LedgerError::DisputeLate { closed });
        }
        let same = |d: &DisputeState| d.quarter == *quarter && d.provider == *provider;
        let open = self.disputes.by_serial.iter().find(|(_, d)| same(d) && d.answered.is_none());
        if let Some((open, _)) = open {
            return Err(LedgerError::DisputeOpen(*open));
        }
        //= spec/settlement.md#disputes-and-corrections
        //# What is claimed MUST be another amount than what stands, at least 0 and at most the quarter's pool (`ConservationViolated`).
        let fault = |what| Err(LedgerError::DisputeMalformed(what));
        if !(0..=pool.0).contains(&entry.claimed.0) {
            return fault("a share is at least nothing and at most the quarter's pool");
        }
        if entry.claimed == self.standing(quarter, provider) {
            return fault("what is claimed is what stands");
        }
        check_reason(&entry.reason)
    }

    //= spec/settlement.md#disputes-and-corrections
    //# A `correction` MUST answer a dispute in the log (`WrongParty`) that has no answer (`NotMonotonic`), and MUST leave the
    //# provider's share with all its corrections at least 0 and at most the quarter's pool (`ConservationViolated`).
    /// Whether a dispute may be answered so.
    ///
    /// # Errors
    /// [`LedgerError`] says why not.
    pub fn may_correct(&self, entry: &Correction) -> Result<(), LedgerError> {
        let known = self.dispute(&entry.dispute).ok_or(LedgerError::UnknownDispute(entry.dispute))?;
        if known.answered.is_some() {
            return Err(LedgerError::DisputeAnswered(entry.dispute));
        }
        let pool = self.pool_of(&known.quarter).ok_or(LedgerError::QuarterNotClosed)?;
        let after = self.standing(&known.quarter, &known.provider).0.checked_add(entry.cents.0);
        let after = after.ok_or(LedgerError::Overflow)?;
        if !(0..=pool.0).contains(&after) {
            return Err(LedgerError::DisputeMalformed(
                "the corrected share is below nothing or beyond the pool",
            ));
        }
        check_reason(&entry.reason)
    }

    pub(crate) fn contested(
        &mut self,
        serial: Serial,
        entry: &Dispute,
        when: Seconds,
    ) -> Result<(), LedgerError> {
        if self.disputes.by_serial.contains_key(&serial) {
            return Err(LedgerError::AlreadyPosted(serial));
        }
        self.may_contest(entry, when)?;
        let state = DisputeState {
            quarter: entry.quarter.clone(),
            provider: entry.provider,
            claimed: entry.claimed,
            since: when,
            answered: None,
        };
        self.disputes.by_serial.insert(serial, state);
        Ok(())
    }

    pub(crate) fn correct(&mut self, index: u64, entry: &Correction) -> Result<(), LedgerError> {
        self.may_correct(entry)?;
        let known = self.disputes.by_serial.get_mut(&entry.dispute);
        let known = known.ok_or(LedgerError::UnknownDispute(entry.dispute))?;
        let micro = i128::from(entry.cents.0) * MICRO_PER_CENT;
        if micro != 0 {
            //= spec/settlement.md#payouts
            //# A node that was its own provider and is later registered brings what is owed to it to its provider; so do answers to
            //# disputes of what it earned before.
            let registered = self.providers.contains_key(&known.provider);
            let brought = self.brought.get(&known.provider).filter(|_| !registered);
            let owner = MoneyAccount::Provider(*brought.unwrap_or(&known.provider));
            self.money.post(&[(MoneyAccount::Carried, -micro), (owner, micro)])?;
            self.disputes.corrections.push((index, entry.cents));
        }
        known.answered = Some(entry.cents);
        Ok(())
    }

    fn pool_of(&self, quarter: &str) -> Option<Cents> {
        self.statements.iter().find(|s| s.quarter == quarter).map(|s| s.pool)
    }
}

fn check_reason(reason: &str) -> Result<(), LedgerError> {
    if (1..=MAX_DISPUTE_REASON_BYTES).contains(&reason.len()) {
        return Ok(());
    }
    Err(LedgerError::DisputeMalformed("a reason has 1 to 500 bytes"))
}
