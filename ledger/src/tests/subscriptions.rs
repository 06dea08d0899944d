use counterfoil_spec::amount::{MicroUsd, TokenCount};
use counterfoil_spec::ids::Serial;
use counterfoil_spec::payload::Chargeback;
use counterfoil_spec::rule::FaultKind;

use super::fixture::{Log, account, midnight};
use crate::invoice::{Invoice, InvoiceSerials, NotBooked};
use crate::settle::AsOf;
use crate::{HoldError, LedgerError, MoneyAccount};

const SERIALS: InvoiceSerials =
    InvoiceSerials { payment: Serial::from_bytes([1; 16]), lot: Serial::from_bytes([2; 16]) };

fn dispute(payment: Serial, n: u8, dollars: u64) -> Chargeback {
    Chargeback { payment, dispute: Serial::from_bytes([n; 16]), amount: MicroUsd(dollars * 1_000_000) }
}

/// Received and deferred, in dollars.
fn places(log: &Log) -> (i128, i128) {
    let dollars = |name| log.ledger.money_book().balance(&name) / 1_000_000;
    (dollars(MoneyAccount::Received), dollars(MoneyAccount::Deferred))
}

fn faults_with(log: &Log, entry: Chargeback) -> Vec<FaultKind> {
    let mut entries = log.entries.clone();
    entries.push(log.body(Serial::from_bytes([0xdd; 16]), entry.into()));
    super::fixture::faults(&entries).into_iter().map(|fault| fault.kind).collect()
}

//= spec/settlement.md#subscriptions
//= type=test
//# An invoice MUST be booked only where its account and its plan are known, its currency is the network's, all of it
//# was charged, what it comes to without taxes is the plan's price in the rules in force, and its period is a month of a plan; else
//# nothing of it is.
#[test]
fn invoice_of_a_month_is_booked_and_no_other() {
    let mut log = Log::new(midnight(2027, 1, 31));
    let id = log.open(7).to_string();
    let period = (midnight(2027, 1, 31), midnight(2027, 2, 28));
    let (paid_cents, total_cents, net_cents) = (2_380, 2_380, 2_000);
    let (account_id, plan, currency) = (id.as_str(), "builder", "usd");
    let invoice = Invoice { account: account_id, plan, currency, paid_cents, total_cents, net_cents, period };
    let (payment, lot) = log.ledger.invoiced(&invoice, SERIALS, "USD").unwrap();
    assert_eq!((payment.account, payment.amount), (account(7), MicroUsd(20_000_000)));
    assert_eq!((lot.tokens, lot.payment), (TokenCount(2_000_000), Some(SERIALS.payment)));
    assert_eq!((lot.starts, lot.expires), (midnight(2027, 1, 31), midnight(2027, 3, 31)));
    log.append(SERIALS.payment, payment);
    log.write(lot);
    assert_eq!(log.faults(), []);

    let why = |invoice: Invoice<'_>| log.ledger.invoiced(&invoice, SERIALS, "USD").unwrap_err();
    let stranger = account(8).to_string();
    assert_eq!(why(Invoice { account: &stranger, ..invoice }), NotBooked::UnknownAccount(stranger.clone()));
    assert_eq!(why(Invoice { account: "", ..invoice }), NotBooked::UnknownAccount(String::new()));
    assert!(matches!(why(Invoice { plan: "gold", ..invoice }), NotBooked::UnknownPlan(_)));
    let euros = NotBooked::WrongCurrency { found: "eur".to_owned(), network: "USD".to_owned() };
    assert_eq!(why(Invoice { currency: "eur", ..invoice }), euros);
    for net_cents in [0, 1_999, 2_001, i64::MAX] {
        let plan = "builder".to_owned();
        let amount = NotBooked::WrongAmount { plan, net_cents, price_micro: 20_000_000 };
        assert_eq!(why(Invoice { net_cents, ..invoice }), amount);
    }
    let partly = NotBooked::PartlyPaid { paid_cents: 2_000, total_cents: 2_380 };
    assert_eq!(why(Invoice { paid_cents: 2_000, ..invoice }), partly);
    let credited = Invoice { paid_cents: 0, total_cents: -1, net_cents: -1, ..invoice };
    assert_eq!(why(credited), NotBooked::Negative(-1));
    let short = (period.0, midnight(2027, 2, 27));
    assert_eq!(why(Invoice { period: short, ..invoice }), NotBooked::NotOneMonth("its period is no month"));
}

#[test]
fn what_a_dispute_holds_back_moves_and_comes_back() {
    let mut log = Log::new(midnight(2026, 10, 1));
    let payer = log.open(1);
    let (payment, _) = log.pay(payer, "builder");
    assert_eq!(places(&log), (-20, 20));
    log.write(dispute(payment, 9, 15));
    assert_eq!(places(&log), (-5, 5));
    log.write(dispute(payment, 9, 8));
    assert_eq!(places(&log), (-12, 12));
    log.refund(payment, 4);
    log.write(dispute(payment, 9, 0));
    assert_eq!(places(&log), (-16, 16));
    assert_eq!(log.ledger.received(&payment).unwrap().left(), MicroUsd(16_000_000));
    assert_eq!(log.faults(), []);
}

//= spec/settlement.md#accounts-and-lots
//= type=test
//# The
//# refunds of a payment and what disputes hold back of it MUST NOT be more than the payment (`NegativeUnits`), and a chargeback
//# MUST change what its dispute holds back (`NotMonotonic`).
#[test]
fn no_more_is_taken_back_than_was_paid() {
    let mut log = Log::new(midnight(2026, 10, 1));
    let payer = log.open(1);
    let (payment, _) = log.pay(payer, "builder");
    log.refund(payment, 5);
    log.write(dispute(payment, 9, 10));
    assert_eq!(faults_with(&log, dispute(payment, 8, 5)), []);
    assert_eq!(faults_with(&log, dispute(payment, 8, 6)), [FaultKind::NegativeUnits]);
    assert_eq!(faults_with(&log, dispute(payment, 9, 15)), []);
    assert_eq!(faults_with(&log, dispute(payment, 9, 16)), [FaultKind::NegativeUnits]);
    assert_eq!(faults_with(&log, dispute(payment, 9, 10)), [FaultKind::NotMonotonic]);
    assert_eq!(faults_with(&log, dispute(payment, 8, 0)), [FaultKind::NotMonotonic]);
    assert_eq!(faults_with(&log, dispute(Serial::from_bytes([3; 16]), 9, 1)), [FaultKind::NoLot]);
    let beyond = log.try_write(counterfoil_spec::payload::Refund { payment, amount: MicroUsd(5_000_001) });
    assert!(matches!(beyond, Err(LedgerError::RefundBeyondPayment { .. })), "{beyond:?}");
    let huge = Chargeback { amount: MicroUsd(u64::MAX), ..dispute(payment, 8, 0) };
    assert_eq!(log.try_write(huge), Err(LedgerError::Overflow));
}

#[test]
fn lot_rests_while_a_dispute_holds_anything_back() {
    let mut log = Log::new(midnight(2026, 10, 1));
    let payer = log.open(1);
    let (payment, lot) = log.pay(payer, "explorer");
    let running = log.ask(payer, 10, &[]);
    log.write(dispute(payment, 9, 1));
    // What was held before is posted, and what is held by one who has not seen the entry yet too.
    log.post(running);
    log.turn(log.now().plus(59));
    log.serve(payer, 10, &[]);
    log.turn(log.now().plus(1));
    let request = log.serial();
    let refused = log.ledger.clone().hold(&payer, request, TokenCount(1), log.now());
    assert!(matches!(refused, Err(HoldError::InsufficientQuota { .. })), "{refused:?}");
    log.write(dispute(payment, 8, 1));
    log.write(dispute(payment, 9, 0));
    assert!(!log.ledger.lot(&lot).unwrap().in_force(log.now()));
    assert!(!log.ledger.lot(&lot).unwrap().has_ended(log.now()));
    log.write(dispute(payment, 8, 0));
    log.serve(payer, 10, &[]);
    assert_eq!(log.ledger.lot(&lot).unwrap().unspent(), TokenCount(499_970));
    assert_eq!(log.faults(), []);
}

#[test]
fn a_dispute_after_the_close_lowers_the_next_quarter_and_is_made_good_once_won() {
    let mut log = Log::new(midnight(2026, 10, 1));
    let (one, two) = (log.open(1), log.open(2));
    let (payment, _) = log.pay(one, "builder");
    log.turn(midnight(2027, 1, 1));
    let close = |log: &mut Log, quarter: &str, year, month| {
        let closed =
            log.period(quarter, log.size()).unwrap().close(AsOf::Final(midnight(year, month, 1))).unwrap();
        log.write(closed.statement(&counterfoil_spec::ids::Hash::from_bytes([0; 32])));
        (closed.revenue, closed.carry_micro)
    };
    assert_eq!(close(&mut log, "2026Q4", 2027, 1), (MicroUsd(20_000_000), 14_000_000));
    log.write(dispute(payment, 9, 20));
    log.pay(two, "explorer");
    log.turn(midnight(2027, 4, 1));
    // 5 − 20 = −15, of which 70% is carried against what waited.
    assert_eq!(close(&mut log, "2027Q1", 2027, 4), (MicroUsd(0), 3_500_000));
    log.write(dispute(payment, 9, 0));
    log.turn(midnight(2027, 7, 1));
    assert_eq!(close(&mut log, "2027Q2", 2027, 7), (MicroUsd(20_000_000), 17_500_000));
    assert_eq!(log.faults(), []);
}
