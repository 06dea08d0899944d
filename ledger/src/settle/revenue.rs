//! Revenue: straight-line by the second over each paid period, never beyond what was not refunded.

use std::collections::BTreeMap;

use counterfoil_spec::ids::Serial;
use counterfoil_spec::payload::{Chargeback, Payment, Refund};
use counterfoil_spec::time::Seconds;

/// Whether an entry stands before the first one whose work belongs to the quarter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Earlier,
    Within,
}

/// Every payment so far, with what had been refunded of it at the quarter's first entry and now.
#[derive(Debug, Clone, Default)]
pub(crate) struct Payments {
    by_serial: BTreeMap<Serial, Paid>,
}

/// From where on something counts: by index, and by time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Since {
    pub(crate) index: u64,
    pub(crate) at: Seconds,
}

/// What is recognised of one payment; never below zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Recognised {
    /// In the quarter.
    pub(crate) quarter: u64,
    /// Since an earlier one ended.
    pub(crate) run: u64,
}

#[derive(Debug, Clone)]
struct Paid {
    index: u64,
    place: Place,
    amount: u64,
    starts: u64,
    ends: u64,
    refunded_earlier: u64,
    /// Refunds, and what is held back now.
    refunded: u64,
    disputes: BTreeMap<Serial, u64>,
}

impl Payments {
    pub(crate) fn payment(&mut self, serial: Serial, payment: &Payment, index: u64, place: Place) {
        let paid = Paid {
            index,
            place,
            amount: payment.amount.0,
            starts: payment.period_start.0,
            ends: payment.period_end.0,
            refunded_earlier: 0,
            refunded: 0,
            disputes: BTreeMap::new(),
        };
        self.by_serial.insert(serial, paid);
    }

    pub(crate) fn refund(&mut self, refund: &Refund, place: Place) {
        if let Some(paid) = self.by_serial.get_mut(&refund.payment) {
            // The ledger has checked that refunds do not exceed the payment.
            paid.refunded = paid.refunded.saturating_add(refund.amount.0);
            if place == Place::Earlier {
                paid.refunded_earlier = paid.refunded;
            }
        }
    }

    /// What is held back counts as a refund until it is not held back any more.
    pub(crate) fn chargeback(&mut self, entry: &Chargeback, place: Place) {
        if let Some(paid) = self.by_serial.get_mut(&entry.payment) {
            let before = paid.disputes.insert(entry.dispute, entry.amount.0).unwrap_or(0);
            paid.refunded = paid.refunded.saturating_sub(before).saturating_add(entry.amount.0);
            if place == Place::Earlier {
                paid.refunded_earlier = paid.refunded;
            }
        }
    }

    /// What is recognised until an instant, less what the statement before had recognised at its quarter's end; in
    /// micro-units, negative where refunds take back more than was earned. `None` where it does not fit.
    pub(crate) fn recognised(&self, until: Seconds, before: Option<Seconds>) -> Option<i128> {
        let mut sum = 0_i128;
        for paid in self.by_serial.values() {
            let now = paid.cumulative(until, paid.refunded);
            sum = sum.checked_add(i128::from(now) - i128::from(paid.before(before)))?;
        }
        Some(sum)
    }

    /// What is recognised of each payment in the quarter, and since the run of quarters began that `run` is the start of; from the
    /// payment on where there is none.
    pub(crate) fn each(
        &self,
        until: Seconds,
        before: Option<Seconds>,
        run: Option<Since>,
    ) -> impl Iterator<Item = (Serial, Recognised)> {
        self.by_serial.iter().map(move |(serial, paid)| {
            let now = paid.cumulative(until, paid.refunded);
            let earlier = run.filter(|since| paid.index < since.index);
            let earlier = earlier.map_or(0, |since| paid.cumulative(since.at, paid.refunded));
            let quarter = now.saturating_sub(paid.before(before));
            (*serial, Recognised { quarter, run: now.saturating_sub(earlier) })
        })
    }
}

impl Paid {
    /// What the statement before had recognised.
    fn before(&self, before: Option<Seconds>) -> u64 {
        match (self.place, before) {
            (Place::Earlier, Some(before)) => self.cumulative(before, self.refunded_earlier),
            _ => 0,
        }
    }

    /// min(⌊amount × elapsed / period⌋, amount − refunded).
    fn cumulative(&self, at: Seconds, refunded: u64) -> u64 {
        let period = self.ends.saturating_sub(self.starts);
        let elapsed = at.0.saturating_sub(self.starts).min(period);
        let product = u128::from(self.amount) * u128::from(elapsed);
        let line = product.checked_div(u128::from(period)).unwrap_or(0);
        // The line does not exceed the amount, which is 64 bits wide.
        u64::try_from(line).unwrap_or(u64::MAX).min(self.amount.saturating_sub(refunded))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use counterfoil_spec::amount::MicroUsd;
    use counterfoil_spec::ids::AccountId;

    fn paid(amount: u64, starts: u64, ends: u64, place: Place) -> Payments {
        let mut payments = Payments::default();
        let payment = Payment {
            account: AccountId::from_bytes([0; 32]),
            amount: MicroUsd(amount),
            plan: "explorer".to_owned(),
            period_start: Seconds(starts),
            period_end: Seconds(ends),
        };
        payments.payment(Serial::from_bytes([1; 16]), &payment, 0, place);
        payments
    }

    fn refund(payments: &mut Payments, amount: u64, place: Place) {
        payments.refund(&Refund { payment: Serial::from_bytes([1; 16]), amount: MicroUsd(amount) }, place);
    }

    #[test]
    fn parts_of_a_period_sum_to_the_price() {
        let payments = paid(100, 0, 3, Place::Earlier);
        assert_eq!(payments.recognised(Seconds(1), None), Some(33));
        assert_eq!(payments.recognised(Seconds(2), Some(Seconds(1))), Some(33));
        assert_eq!(payments.recognised(Seconds(3), Some(Seconds(2))), Some(34));
        assert_eq!(payments.recognised(Seconds(99), Some(Seconds(3))), Some(0));
    }

    #[test]
    fn nothing_is_recognised_before_the_period() {
        assert_eq!(paid(100, 10, 20, Place::Within).recognised(Seconds(10), None), Some(0));
        assert_eq!(paid(100, 10, 20, Place::Within).recognised(Seconds(11), None), Some(10));
    }

    #[test]
    fn a_late_payment_is_recognised_from_its_start() {
        let late = paid(100, 0, 10, Place::Within);
        assert_eq!(late.recognised(Seconds(10), Some(Seconds(5))), Some(100));
        let known = paid(100, 0, 10, Place::Earlier);
        assert_eq!(known.recognised(Seconds(10), Some(Seconds(5))), Some(50));
    }

    #[test]
    fn a_full_refund_takes_back_what_was_recognised() {
        let mut payments = paid(100, 0, 10, Place::Earlier);
        refund(&mut payments, 100, Place::Within);
        assert_eq!(payments.recognised(Seconds(8), Some(Seconds(5))), Some(-50));
        assert_eq!(payments.recognised(Seconds(8), None), Some(0));
    }

    #[test]
    fn a_refund_of_the_unused_part_keeps_the_used_one() {
        let mut payments = paid(100, 0, 10, Place::Within);
        refund(&mut payments, 50, Place::Within);
        assert_eq!(payments.recognised(Seconds(5), None), Some(50));
        assert_eq!(payments.recognised(Seconds(10), None), Some(50));
    }

    #[test]
    fn an_earlier_refund_counts_on_both_sides() {
        let mut payments = paid(100, 0, 10, Place::Earlier);
        refund(&mut payments, 20, Place::Earlier);
        assert_eq!(payments.recognised(Seconds(10), Some(Seconds(9))), Some(0));
        assert_eq!(payments.recognised(Seconds(8), Some(Seconds(7))), Some(10));
    }
}
