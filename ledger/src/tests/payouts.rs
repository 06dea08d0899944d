use counterfoil_spec::amount::{Cents, MicroUsd};
use counterfoil_spec::ids::{Hash, Serial};
use counterfoil_spec::payload::{
    Earnings, Payload, Payout, PayoutDestination, PayoutOutcome, ProviderEarning, ProviderOffboarded,
    PspReport, Rail, Statement,
};
use counterfoil_spec::rule::FaultKind;
use counterfoil_spec::time::Seconds;
use proptest::prelude::*;

use super::fixture::{Log, faults, midnight, provider};
use crate::{LedgerError, MoneyAccount, NotPayable, PayoutStatus};

/// A quarter with a pool of $1,050.00 is closed, and providers 1 and 2 are registered.
fn closed() -> Log {
    let mut log = Log::new(midnight(2026, 10, 1));
    for n in 0..100 {
        let account = log.open(n);
        for _ in 0..3 {
            log.pay(account, "explorer");
        }
    }
    log.register(1, &[11]);
    log.register(2, &[12]);
    log.turn(midnight(2027, 1, 1));
    let end = log.size();
    log.write(Statement {
        quarter: "2026Q4".to_owned(),
        first: 0,
        end,
        rules_hash: Hash::from_bytes([0; 32]),
        revenue: MicroUsd(1_500_000_000),
        pool: Cents(105_000),
        carry_micro: 0,
        root: Hash::from_bytes([0; 32]),
        providers: 3,
    });
    log
}

fn earnings(of: &[(u8, i64)]) -> Earnings {
    let providers =
        of.iter().map(|(n, cents)| ProviderEarning { provider: provider(*n), cents: Cents(*cents) });
    Earnings { quarter: "2026Q4".to_owned(), providers: providers.collect() }
}

fn destination(n: u8, place: u8, ready: bool) -> PayoutDestination {
    PayoutDestination {
        provider: provider(n),
        rail: Rail::Stripe,
        commitment: Hash::from_bytes([place; 32]),
        ready,
    }
}

fn payout(n: u8, cents: i64) -> Payout {
    Payout {
        provider: provider(n),
        cents: Cents(cents),
        rail: Rail::Stripe,
        destination: Hash::from_bytes([7; 32]),
    }
}

fn report(payout: Serial, outcome: PayoutOutcome, returned: i64) -> PspReport {
    PspReport { payout, outcome, returned: Cents(returned), reference: "tr_1".to_owned() }
}

/// Provider 1 has earned 762.95 and can be paid.
fn payable() -> Log {
    let mut log = closed();
    log.write(earnings(&[(1, 76_295), (2, 2_499)]));
    log.write(destination(1, 7, true));
    log.write(destination(2, 7, true));
    log
}

/// Owed to provider 1, in transit, disbursed; in cents.
fn places(log: &Log) -> (i64, i128, i128) {
    let money = log.ledger.money_book();
    let cents = |name| money.balance(&name) / 10_000;
    (log.ledger.owed(&provider(1)).0, cents(MoneyAccount::InTransit), cents(MoneyAccount::Disbursed))
}

/// The faults of a log that ends with this entry.
fn last(log: &Log, payload: impl Into<Payload>) -> Vec<FaultKind> {
    let mut entries = log.entries.clone();
    entries.push(log.body(Serial::from_bytes([0xdd; 16]), payload.into()));
    faults(&entries).into_iter().map(|f| f.kind).collect()
}

#[test]
fn money_goes_from_the_pool_to_whom_it_is_sent() {
    let mut log = payable();
    assert_eq!(places(&log), (76_295, 0, 0));
    let id = log.write(payout(1, 76_295));
    assert_eq!(places(&log), (0, 76_295, 0));
    log.write(report(id, PayoutOutcome::Accepted, 0));
    assert_eq!(log.ledger.payout(&id).unwrap().reference.as_deref(), Some("tr_1"));
    log.write(report(id, PayoutOutcome::Paid, 0));
    assert_eq!(places(&log), (0, 0, 76_295));
    log.write(report(id, PayoutOutcome::Returned, 295));
    log.write(report(id, PayoutOutcome::Returned, 1_000));
    assert_eq!(places(&log), (1_000, 0, 75_295));
    assert_eq!(log.ledger.payout(&id).unwrap().status, PayoutStatus::Returned(Cents(1_000)));
    assert_eq!(faults(&log.entries), []);
}

#[test]
fn a_failure_brings_it_back_and_a_later_success_takes_it_again() {
    let mut log = payable();
    let first = log.write(payout(1, 76_295));
    log.write(report(first, PayoutOutcome::Failed, 0));
    assert_eq!(places(&log), (76_295, 0, 0));
    let second = log.write(payout(1, 76_295));
    log.write(report(first, PayoutOutcome::Paid, 0));
    assert_eq!(places(&log), (-76_295, 76_295, 76_295));
    log.write(report(second, PayoutOutcome::Returned, 76_295));
    assert_eq!(places(&log), (0, 0, 76_295));
    assert_eq!(
        log.ledger.payable(&provider(1), log.now()),
        Err(NotPayable::TooLittle { owed: 0, least: 2_500 })
    );
}

//= spec/settlement.md#payouts
//= type=test
//# `earnings` MUST be of a quarter that an earlier statement closed, name at most 1,000 providers in ascending order, each with
//# more than 0 cents and each once for a quarter over all entries, and MUST NOT sum to more than the quarter's pool
//# (`ConservationViolated`).
#[test]
fn earnings_are_a_closed_quarters_and_no_more_than_its_pool() {
    let mut log = closed();
    let fault = [FaultKind::ConservationViolated];
    let other = Earnings { quarter: "2027Q1".to_owned(), ..earnings(&[(1, 1)]) };
    assert_eq!(last(&log, other), fault);
    assert_eq!(last(&log, earnings(&[(2, 1), (1, 1)])), fault);
    assert_eq!(last(&log, earnings(&[(1, 1), (1, 1)])), fault);
    assert_eq!(last(&log, earnings(&[(1, 0)])), fault);
    assert_eq!(last(&log, earnings(&[])), fault);
    let share = |n: u64| {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&n.to_be_bytes());
        ProviderEarning { provider: counterfoil_spec::ids::ProviderId::from_bytes(id), cents: Cents(1) }
    };
    let many = |n| Earnings { quarter: "2026Q4".to_owned(), providers: (0..n).map(share).collect() };
    assert_eq!((last(&log, many(1_000)), last(&log, many(1_001))), (vec![], fault.to_vec()));
    assert_eq!(last(&log, earnings(&[(1, 105_001)])), fault);
    log.write(earnings(&[(1, 100_000)]));
    assert_eq!(last(&log, earnings(&[(1, 1)])), fault);
    assert_eq!(last(&log, earnings(&[(2, 5_001)])), fault);
    assert_eq!(last(&log, earnings(&[(2, 5_000)])), []);
    assert_eq!(log.try_write(earnings(&[(2, i64::MAX)])), Err(LedgerError::Overflow));
}

//= spec/settlement.md#payouts
//= type=test
//# A payout MUST be of all whole cents that are owed to a registered provider beyond what is held back, at least the least payout
//# in force or, once the provider was offboarded, at least one cent (`ConservationViolated`).
#[test]
fn a_payout_is_of_all_that_is_owed() {
    let mut log = payable();
    for cents in [76_294, 76_296, 0, -1] {
        assert_eq!(last(&log, payout(1, cents)), [FaultKind::ConservationViolated], "{cents}");
    }
    assert_eq!(last(&log, payout(1, 76_295)), []);
    assert_eq!(last(&log, payout(2, 2_499)), [FaultKind::ConservationViolated]);
    log.write(ProviderOffboarded { provider: provider(2) });
    assert_eq!(last(&log, payout(2, 2_499)), []);
    assert_eq!(last(&log, payout(3, 1)), [FaultKind::WrongParty]);
    assert_eq!(last(&log, ProviderOffboarded { provider: provider(3) }), [FaultKind::WrongParty]);
}

//= spec/settlement.md#payouts
//= type=test
//# A payout MUST go to the provider's destination in force, of its rail, that is ready (`WrongParty`).
#[test]
fn a_payout_goes_where_it_was_said_to_go() {
    let mut log = closed();
    log.write(earnings(&[(1, 76_295)]));
    let wrong = [FaultKind::WrongParty];
    assert_eq!(last(&log, payout(1, 76_295)), wrong);
    log.write(destination(1, 7, false));
    assert_eq!(last(&log, payout(1, 76_295)), wrong);
    log.write(destination(1, 7, true));
    assert_eq!(last(&log, payout(1, 76_295)), []);
    let elsewhere = Payout { destination: Hash::from_bytes([8; 32]), ..payout(1, 76_295) };
    assert_eq!(last(&log, elsewhere), wrong);
    assert_eq!(last(&log, Payout { rail: Rail::Paypal, ..payout(1, 76_295) }), wrong);
    assert_eq!(last(&log, destination(3, 7, true)), wrong);
}

//= spec/settlement.md#payouts
//= type=test
//# A provider's first
//# destination is in force at once; another one from the time of the first entry that names it + 7 days.
#[test]
fn a_change_of_destination_waits_seven_days() {
    let mut log = payable();
    let changed = log.now();
    log.write(destination(1, 8, false));
    log.turn(changed.plus(86_400));
    // That it is ready now moves nothing.
    log.write(destination(1, 8, true));
    let elsewhere = Payout { destination: Hash::from_bytes([8; 32]), ..payout(1, 76_295) };
    let in_force = changed.plus(7 * 86_400);
    log.turn(Seconds(in_force.0 - 1));
    assert_eq!(log.ledger.payable(&provider(1), log.now()), Err(NotPayable::Waiting { from: in_force }));
    assert_eq!(last(&log, elsewhere.clone()), [FaultKind::WrongParty]);
    assert_eq!(last(&log, payout(1, 76_295)), [FaultKind::WrongParty]);
    log.turn(in_force);
    assert_eq!(last(&log, elsewhere), []);
}

//= spec/settlement.md#payouts
//= type=test
//# A provider MUST NOT have two payouts that are submitted (`NotMonotonic`).
#[test]
fn one_payout_at_a_time() {
    let mut log = payable();
    let id = log.write(payout(1, 76_295));
    assert_eq!(last(&log, payout(1, 76_295)), [FaultKind::NotMonotonic]);
    assert_eq!(log.ledger.payable(&provider(1), log.now()), Err(NotPayable::Open(id)));
    assert_eq!(log.try_append(id, payout(1, 76_295)), Err(LedgerError::AlreadyPosted(id)));
    log.write(report(id, PayoutOutcome::Failed, 0));
    assert_eq!(last(&log, payout(1, 76_295)), []);
}

//= spec/settlement.md#payouts
//= type=test
//# A report MUST be of a payout in the log (`WrongParty`) and MUST be one of: accepted, paid, failed or returned of a submitted
//# payout; paid or returned of a failed one; returned, of more than before, of one that is paid or returned (`NotMonotonic`).
#[test]
fn reports_follow_one_another() {
    use PayoutOutcome::{Accepted, Failed, Paid, Returned};
    let mut log = payable();
    let id = log.write(payout(1, 76_295));
    assert_eq!(last(&log, report(Serial::from_bytes([1; 16]), Paid, 0)), [FaultKind::WrongParty]);
    let allowed: &[(&[PayoutOutcome], &[PayoutOutcome])] = &[
        (&[], &[Accepted, Paid, Failed, Returned]),
        (&[Accepted], &[Accepted, Paid, Failed, Returned]),
        (&[Failed], &[Paid, Returned]),
        (&[Paid], &[Returned]),
        (&[Returned], &[]),
        (&[Failed, Paid], &[Returned]),
    ];
    for (before, after) in allowed {
        let mut log = payable_again(&log);
        for outcome in *before {
            log.write(report(id, *outcome, i64::from(*outcome == Returned) * 5));
        }
        for outcome in [Accepted, Paid, Failed, Returned] {
            let found = last(&log, report(id, outcome, i64::from(outcome == Returned) * 5));
            let want = if after.contains(&outcome) { vec![] } else { vec![FaultKind::NotMonotonic] };
            assert_eq!(found, want, "{before:?} {outcome:?}");
        }
    }
    for (outcome, returned) in [(Paid, 1), (Failed, 1), (Accepted, -1), (Returned, 0), (Returned, 76_296)] {
        assert_eq!(last(&log, report(id, outcome, returned)), [FaultKind::NegativeUnits], "{outcome:?}");
    }
    let long = PspReport { reference: "x".repeat(256), ..report(id, Paid, 0) };
    assert_eq!(last(&log, long), [FaultKind::ConservationViolated]);
}

/// The same log once more.
fn payable_again(log: &Log) -> Log {
    let mut again = Log::new(midnight(2026, 10, 1));
    for body in log.entries.iter().skip(2) {
        again.turn(body.time.seconds());
        again.append(body.serial, body.payload.clone());
    }
    again
}

#[test]
fn a_node_brings_what_it_earned_to_its_provider() {
    let mut log = closed();
    log.write(earnings(&[(1, 100), (21, 50), (22, 7)]));
    log.register(3, &[21, 22, 23]);
    assert_eq!([1, 3, 21, 22].map(|n| log.ledger.owed(&provider(n)).0), [100, 57, 0, 0]);
    log.register(3, &[21]);
    assert_eq!(log.ledger.owed(&provider(3)).0, 57);
}

proptest! {
    /// Whatever is reported, in whatever order: what was earned is owed, in transit or disbursed, to the cent.
    #[test]
    fn nothing_is_lost_between_the_accounts(steps in prop::collection::vec((0_u8..6, 0_i64..80_000), 1..60)) {
        let mut log = payable();
        let mut known = Vec::new();
        for (step, returned) in steps {
            let payload: Payload = match (step, known.last()) {
                (0, _) | (_, None) => payout(1, log.ledger.owed(&provider(1)).0).into(),
                (1, Some(id)) => report(*id, PayoutOutcome::Paid, 0).into(),
                (2, Some(id)) => report(*id, PayoutOutcome::Failed, 0).into(),
                (3, Some(id)) => report(*id, PayoutOutcome::Returned, returned).into(),
                (4, Some(_)) => report(known[0], PayoutOutcome::Paid, 0).into(),
                (_, Some(id)) => report(*id, PayoutOutcome::Accepted, 0).into(),
            };
            let serial = log.serial();
            if log.try_append(serial, payload.clone()).is_ok() {
                if matches!(payload, Payload::Payout(_)) {
                    known.push(serial);
                }
                log.append(serial, payload);
            }
            let (owed, in_transit, disbursed) = places(&log);
            prop_assert_eq!(i128::from(owed) + in_transit + disbursed, 76_295);
            let of = |id: &Serial| log.ledger.payout(id).unwrap();
            let open = known.iter().filter(|id| of(id).status == PayoutStatus::Submitted).count();
            prop_assert!(open <= 1 && (in_transit > 0) == (open == 1));
        }
    }
}
