use counterfoil_spec::amount::Cents;
use counterfoil_spec::ids::{Hash, ProviderId, Serial};
use counterfoil_spec::payload::{
    Correction, Dispute, Earnings, Payload, PayoutDestination, ProviderEarning, ProviderOffboarded, Rail,
    Rules,
};
use counterfoil_spec::rule::FaultKind;
use counterfoil_spec::time::Seconds;

use super::fixture::{Log, faults, midnight, node, provider};
use crate::journal::{Dialect, Journal};
use crate::settle::{AsOf, Closed};
use crate::{LedgerError, MoneyAccount, NotPayable, founding_rules};

const DAY_S: u64 = 86_400;

fn close(log: &mut Log, quarter: &str, ends: Seconds) -> Closed {
    let closed = log.period(quarter, log.size()).unwrap().close(AsOf::Final(ends)).unwrap();
    log.write(closed.statement(&Hash::from_bytes([0; 32])));
    let mut providers: Vec<_> =
        closed.shares.iter().map(|s| ProviderEarning { provider: s.provider, cents: s.cents }).collect();
    providers.retain(|share| share.cents.0 > 0);
    if !providers.is_empty() {
        log.write(Earnings { quarter: quarter.to_owned(), providers });
    }
    closed
}

/// Provider 1 has earned $14.00, all of 2026Q4's pool; provider 2 nothing.
fn closed() -> Log {
    let mut log = Log::new(midnight(2026, 10, 1));
    let payer = log.open(1);
    log.pay(payer, "builder");
    log.register(1, &[11]);
    log.register(2, &[12]);
    log.serve(payer, 10, &[(11, 4)]);
    log.turn(midnight(2027, 1, 1));
    let figures = close(&mut log, "2026Q4", midnight(2027, 1, 1));
    assert_eq!((figures.pool, figures.carry_micro), (Cents(1_400), 0));
    log
}

fn dispute(n: u8, claimed: i64) -> Dispute {
    let (quarter, reason) = ("2026Q4".to_owned(), "an hour is missing".to_owned());
    Dispute { quarter, provider: provider(n), claimed: Cents(claimed), reason }
}

fn correction(dispute: Serial, cents: i64) -> Correction {
    Correction { dispute, cents: Cents(cents), reason: "it is".to_owned() }
}

/// The faults of a log that ends with this entry.
fn last(log: &Log, payload: impl Into<Payload>) -> Vec<FaultKind> {
    let mut entries = log.entries.clone();
    entries.push(log.body(Serial::from_bytes([0xdd; 16]), payload.into()));
    faults(&entries).into_iter().map(|f| f.kind).collect()
}

fn carried(log: &Log) -> i128 {
    log.ledger.money_book().balance(&MoneyAccount::Carried)
}

#[test]
fn a_correction_is_owed_at_once_and_borne_by_the_quarter_that_it_is_logged_in() {
    let mut log = closed();
    let id = log.write(dispute(2, 200));
    assert_eq!(log.ledger.dispute(&id).unwrap().answered, None);
    log.write(correction(id, 150));
    assert_eq!(log.ledger.dispute(&id).unwrap().answered, Some(Cents(150)));
    assert_eq!((log.ledger.owed(&provider(2)), carried(&log)), (Cents(150), -1_500_000));
    assert_eq!(log.ledger.standing("2026Q4", &provider(2)), Cents(150));
    // What was closed stays as it is, and is recomputed as it was.
    let again = log.period("2026Q4", log.size()).unwrap().close(AsOf::Final(log.now())).unwrap();
    assert_eq!((again.pool, again.corrected), (Cents(1_400), Cents(0)));
    assert!(again.agrees_with(&log.ledger.statements()[0]));

    let payer = log.open(2);
    log.pay(payer, "explorer");
    log.serve(payer, 10, &[(11, 4)]);
    log.turn(midnight(2027, 4, 1));
    let figures = close(&mut log, "2027Q1", midnight(2027, 4, 1));
    // 70% of $5.00 less $1.50.
    assert_eq!((figures.pool, figures.carry_micro, figures.corrected), (Cents(200), 0, Cents(150)));
    assert_eq!(carried(&log), 0);
    assert_eq!(log.ledger.owed(&provider(1)), Cents(1_600));
    assert_eq!(log.faults(), []);
}

#[test]
fn a_correction_downwards_comes_back_and_may_be_owed() {
    let mut log = closed();
    let id = log.write(dispute(1, 400));
    log.write(correction(id, -1_000));
    assert_eq!((log.ledger.owed(&provider(1)), carried(&log)), (Cents(400), 10_000_000));
    log.turn(midnight(2027, 4, 1));
    let figures = close(&mut log, "2027Q1", midnight(2027, 4, 1));
    assert_eq!((figures.pool, figures.carry_micro, figures.corrected), (Cents(0), 10_000_000, Cents(-1_000)));
    assert_eq!(carried(&log), 10_000_000);
    assert_eq!(log.faults(), []);
}

#[test]
fn a_correction_of_what_a_node_earned_as_its_own_provider_is_owed_to_the_one_it_came_to() {
    let mut log = Log::new(midnight(2026, 10, 1));
    let payer = log.open(1);
    log.pay(payer, "builder");
    log.register(1, &[11]);
    log.serve(payer, 10, &[(11, 4), (12, 4)]);
    log.turn(midnight(2027, 1, 1));
    close(&mut log, "2026Q4", midnight(2027, 1, 1));
    let own = ProviderId::from_bytes(*node(12).as_bytes());
    assert_eq!(log.ledger.owed(&own), Cents(700));
    let id = log.write(Dispute { provider: own, ..dispute(1, 800) });
    log.register(2, &[12]);
    log.write(correction(id, 100));
    assert_eq!((log.ledger.owed(&own), log.ledger.owed(&provider(2))), (Cents(0), Cents(800)));
    // Nothing of it comes to whom the node is registered with afterwards.
    log.register(2, &[]);
    log.register(3, &[12]);
    let second = log.write(Dispute { provider: own, ..dispute(1, 700) });
    log.write(correction(second, -100));
    let owed = [2, 3].map(|n| log.ledger.owed(&provider(n)));
    assert_eq!((log.ledger.owed(&own), owed), (Cents(0), [Cents(700), Cents(0)]));
    assert_eq!(log.faults(), []);
}

#[test]
fn a_correction_between_a_quarters_end_and_its_statement_is_the_next_ones() {
    let mut log = closed();
    log.turn(midnight(2027, 1, 30));
    let id = log.write(dispute(2, 200));
    let end = log.size();
    log.write(correction(id, 100));
    log.turn(midnight(2027, 4, 1));
    let figures = log.period("2027Q1", end).unwrap().close(AsOf::Final(log.now())).unwrap();
    assert_eq!((figures.corrected, figures.carry_micro), (Cents(0), 0));
    log.write(figures.statement(&Hash::from_bytes([0; 32])));
    assert_eq!(carried(&log), -1_000_000);
    log.turn(midnight(2027, 7, 1));
    let figures = close(&mut log, "2027Q2", midnight(2027, 7, 1));
    assert_eq!((figures.corrected, figures.carry_micro, carried(&log)), (Cents(100), -1_000_000, -1_000_000));
    assert_eq!(log.faults(), []);
}

//= spec/settlement.md#disputes-and-corrections
//= type=test
//# A `dispute` MUST be of a quarter that an earlier statement closed and of a provider that is registered or earned in it
//# (`WrongParty`), MUST be dated less than 30 days after that statement (`TimeOutOfBounds`), and MUST NOT be of a share that an
//# unanswered dispute contests already (`NotMonotonic`).
#[test]
fn a_share_is_contested_for_thirty_days_and_once_at_a_time() {
    let mut log = closed();
    let other = Dispute { quarter: "2027Q1".to_owned(), ..dispute(1, 0) };
    assert_eq!(last(&log, other), [FaultKind::WrongParty]);
    assert_eq!(last(&log, dispute(3, 1)), [FaultKind::WrongParty]);
    log.turn(midnight(2027, 1, 1).plus(30 * DAY_S - 1));
    assert_eq!(last(&log, dispute(1, 0)), []);
    log.turn(midnight(2027, 1, 1).plus(30 * DAY_S));
    assert_eq!(last(&log, dispute(1, 0)), [FaultKind::TimeOutOfBounds]);

    let mut log = closed();
    let open = log.write(dispute(1, 0));
    assert_eq!(log.try_write(dispute(1, 1)), Err(LedgerError::DisputeOpen(open)));
    assert_eq!(last(&log, dispute(1, 1)), [FaultKind::NotMonotonic]);
    assert_eq!(last(&log, dispute(2, 1)), []);
    log.write(correction(open, 0));
    assert_eq!(last(&log, dispute(1, 1)), []);
}

//= spec/settlement.md#disputes-and-corrections
//= type=test
//# What is claimed MUST be another amount than what stands, at least 0 and at most the quarter's pool (`ConservationViolated`).
#[test]
fn a_claim_is_another_share_of_the_pool() {
    let log = closed();
    for (claimed, wrong) in [(-1, true), (0, false), (1_399, false), (1_400, true), (1_401, true)] {
        let expected: &[_] = if wrong { &[FaultKind::ConservationViolated] } else { &[] };
        assert_eq!(last(&log, dispute(1, claimed)), expected, "{claimed}");
    }
    for (length, wrong) in [(0, true), (1, false), (500, false), (501, true)] {
        let expected: &[_] = if wrong { &[FaultKind::ConservationViolated] } else { &[] };
        assert_eq!(last(&log, Dispute { reason: "x".repeat(length), ..dispute(1, 0) }), expected, "{length}");
    }
}

//= spec/settlement.md#disputes-and-corrections
//= type=test
//# A `correction` MUST answer a dispute in the log (`WrongParty`) that has no answer (`NotMonotonic`), and MUST leave the
//# provider's share with all its corrections at least 0 and at most the quarter's pool (`ConservationViolated`).
#[test]
fn a_dispute_is_answered_once_and_within_the_pool() {
    let mut log = closed();
    assert_eq!(last(&log, correction(Serial::from_bytes([9; 16]), 0)), [FaultKind::WrongParty]);
    let id = log.write(dispute(1, 300));
    for (cents, wrong) in [(-1_401, true), (-1_400, false), (0, false), (1, true), (i64::MAX, true)] {
        let found = last(&log, correction(id, cents));
        assert_eq!(!found.is_empty(), wrong, "{cents}: {found:?}");
    }
    assert_eq!(last(&log, correction(id, 1)), [FaultKind::ConservationViolated]);
    assert_eq!(last(&log, correction(id, i64::MAX)), [FaultKind::SumOverflow]);
    log.write(correction(id, -1_100));
    assert_eq!(last(&log, correction(id, 0)), [FaultKind::NotMonotonic]);
    // The next one starts from what stands.
    let second = log.write(dispute(1, 1_400));
    assert_eq!(last(&log, correction(second, -301)), [FaultKind::ConservationViolated]);
    assert_eq!(last(&log, correction(second, 1_100)), []);
}

//= spec/settlement.md#payouts
//= type=test
//# Of what a provider earns with one entry ⌊cents × reserve / 10,000⌋ are held back until 180 days after it, by the rules in force
//# there.
#[test]
fn a_reserve_is_held_back_for_180_days() {
    let mut log = Log::new(midnight(2026, 10, 1));
    log.write(Rules { reserve_bps: Some(1_001), ..founding_rules(2) });
    let payer = log.open(1);
    log.pay(payer, "operator");
    log.register(1, &[11]);
    log.serve(payer, 10, &[(11, 4), (12, 4)]);
    log.turn(midnight(2027, 1, 1));
    close(&mut log, "2026Q4", midnight(2027, 1, 1));
    // Half of $35.00 each; node 12 is its own provider until it is registered.
    log.register(1, &[11, 12]);
    let (rail, commitment) = (Rail::Stripe, Hash::from_bytes([7; 32]));
    log.write(PayoutDestination { provider: provider(1), rail, commitment, ready: true });
    let payable = |log: &Log| log.ledger.payable(&provider(1), log.now()).map(|p| p.cents);
    assert_eq!(log.ledger.owed(&provider(1)), Cents(3_500));
    assert_eq!(log.ledger.reserved(&provider(1), log.now()), Cents(2 * 175));
    assert_eq!(payable(&log), Ok(Cents(3_150)));
    // Whoever leaves waits too.
    log.write(ProviderOffboarded { provider: provider(1) });
    log.turn(midnight(2027, 1, 1).plus(180 * DAY_S - 1));
    assert_eq!(payable(&log), Ok(Cents(3_150)));
    log.turn(midnight(2027, 1, 1).plus(180 * DAY_S));
    assert_eq!(payable(&log), Ok(Cents(3_500)));
    let empty = log.ledger.payable(&provider(2), log.now());
    assert_eq!(empty, Err(NotPayable::Unknown(provider(2))));
    for wrong in [0, 10_001] {
        let refused = log.try_write(Rules { reserve_bps: Some(wrong), ..founding_rules(3) });
        assert!(matches!(refused, Err(LedgerError::RulesMalformed(_))), "{wrong}: {refused:?}");
    }
    assert_eq!(log.try_write(Rules { reserve_bps: Some(10_000), ..founding_rules(3) }), Ok(()));
    assert_eq!(log.faults(), []);
}

#[test]
fn the_journal_shows_what_a_correction_moved() {
    let mut log = closed();
    let id = log.write(dispute(2, 200));
    log.write(correction(id, 150));
    let mut journal = Journal::new(Dialect::Hledger);
    let mut last = None;
    for (index, body) in log.entries.iter().enumerate() {
        last = journal.entry(index as u64, &Hash::from_bytes([0; 32]), body).unwrap();
    }
    let text = last.unwrap();
    let owed = format!("    Liabilities:Payable:P-{}  -1.500000 USD = -1.500000 USD\n", provider(2));
    assert!(text.contains("    Liabilities:Carried  1.500000 USD = 1.500000 USD\n"), "{text}");
    assert!(text.contains(&owed), "{text}");
}
