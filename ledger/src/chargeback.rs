//! What a payer's bank takes back of a payment and may give again, and what is known of a payment.

use std::collections::BTreeMap;

use counterfoil_spec::amount::MicroUsd;
use counterfoil_spec::ids::{AccountId, Serial};
use counterfoil_spec::limits::LOT_GRACE_S;
use counterfoil_spec::payload::Chargeback;
use counterfoil_spec::time::Seconds;

use crate::book::MoneyAccount;
use crate::error::LedgerError;
use crate::fold::{Ledger, PaymentState};

/// A payment, as far as the log knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// Whose.
    pub account: AccountId,
    /// What it was.
    pub amount: MicroUsd,
    /// What was given back of it.
    pub refunded: MicroUsd,
    /// What is held back of it, by dispute.
    pub disputes: BTreeMap<Serial, MicroUsd>,
    /// The lot that it pays for, once that is granted.
    pub lot: Option<Serial>,
}

impl Received {
    /// What neither refunds nor disputes have taken.
    #[must_use]
    pub fn left(&self) -> MicroUsd {
        let held = self.disputes.values().map(|held| held.0);
        MicroUsd(held.fold(self.amount.0.saturating_sub(self.refunded.0), u64::saturating_sub))
    }
}

impl PaymentState {
    /// What is taken back where so much is refunded.
    pub(crate) fn taken_back(&self, refunded: MicroUsd) -> Result<MicroUsd, LedgerError> {
        let mut taken = Some(refunded);
        for held in self.disputes.values() {
            taken = taken.and_then(|sum| sum.checked_add(*held));
        }
        taken.ok_or(LedgerError::Overflow)
    }
}

impl Ledger {
    /// A payment, by the serial of its entry.
    #[must_use]
    pub fn received(&self, payment: &Serial) -> Option<Received> {
        self.payments.get(payment).map(|state| Received {
            account: state.payment.account,
            amount: state.payment.amount,
            refunded: state.refunded,
            disputes: state.disputes.clone(),
            lot: state.lot,
        })
    }

    //= spec/settlement.md#accounts-and-lots
    //# The refunds of a payment and what disputes hold back of it MUST NOT be more than the payment (`NegativeUnits`), and a chargeback
    //# MUST change what its dispute holds back (`NotMonotonic`).
    pub(crate) fn chargeback(&mut self, entry: &Chargeback, when: Seconds) -> Result<(), LedgerError> {
        let state =
            self.payments.get_mut(&entry.payment).ok_or(LedgerError::UnknownPayment(entry.payment))?;
        let before = state.disputes.get(&entry.dispute).copied().unwrap_or(MicroUsd(0));
        if entry.amount == before {
            return Err(LedgerError::ChargebackUnchanged(entry.dispute));
        }
        let all = state.taken_back(state.refunded)?;
        let taken = all.0.checked_sub(before.0).and_then(|rest| rest.checked_add(entry.amount.0));
        let taken = taken.map(MicroUsd).ok_or(LedgerError::Overflow)?;
        if taken > state.payment.amount {
            let (payment, paid) = (entry.payment, state.payment.amount);
            return Err(LedgerError::ChargebackBeyondPayment { payment, paid, taken });
        }
        let more = i128::from(entry.amount.0) - i128::from(before.0);
        self.money.post(&[(MoneyAccount::Received, more), (MoneyAccount::Deferred, -more)])?;
        state.disputes.insert(entry.dispute, entry.amount);
        //= spec/settlement.md#accounts-and-lots
        //# A lot whose payment a dispute holds something of back is not in force, from 60 seconds after the entry
        let held = state.disputes.values().any(|held| held.0 > 0);
        if let Some(lot) = state.lot.and_then(|serial| self.lots.by_serial.get_mut(&serial)) {
            lot.rests = if held { lot.rests.or(Some(when.plus(LOT_GRACE_S))) } else { None };
        }
        Ok(())
    }
}
