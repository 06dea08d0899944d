use counterfoil_spec::amount::{Cents, MicroTokens, MicroUsd, TokenCount};
use counterfoil_spec::ids::{Hash, ManifestId, Serial};
use counterfoil_spec::payload::{Debit, FinishReason, Lot, LotSource, Payload, Refund, Statement};
use counterfoil_spec::rule::FaultKind;

use super::fixture::{Asked, Log, account, faults, midnight, node};
use crate::founding_rules;

/// Account 1 with free tokens and one answered request of 12 tokens by two nodes.
fn asked() -> (Log, Asked) {
    let mut log = Log::new(midnight(2026, 10, 1));
    let account = log.open(1);
    log.grant_free(account);
    let asked = log.ask(account, 12, &[(1, 4), (2, 8)]);
    (log, asked)
}

/// The faults of the log with that request, changed.
fn found(change: impl FnOnce(&mut Asked)) -> Vec<FaultKind> {
    let (log, mut asked) = asked();
    change(&mut asked);
    let mut entries = log.entries.clone();
    for (serial, work) in &asked.works {
        entries.push(log.body(*serial, work.clone().into()));
    }
    let index = entries.len() as u64;
    entries.push(log.body(asked.request, asked.entry.into()));
    let found = faults(&entries);
    assert!(found.iter().all(|f| f.index == Some(index)), "{found:?}");
    found.into_iter().map(|f| f.kind).collect()
}

/// The faults of a log that ends with this entry.
fn last(log: &Log, payload: impl Into<Payload>) -> Vec<FaultKind> {
    let mut entries = log.entries.clone();
    entries.push(log.body(Serial::from_bytes([0xdd; 16]), payload.into()));
    faults(&entries).into_iter().map(|f| f.kind).collect()
}

#[test]
fn an_honest_request_has_no_fault() {
    assert_eq!(found(|_| {}), []);
}

//= spec/settlement.md#holding-and-posting
//= type=test
//# A debit MUST name a lot of the account, in force when the request started, with that much left (`NoLot`).
#[test]
fn a_debit_needs_its_lot() {
    let unknown = Serial::from_bytes([0xdd; 16]);
    assert_eq!(found(|a| a.entry.debits[0].lot = unknown), [FaultKind::NoLot]);
}

#[test]
fn a_lot_of_another_account_pays_nothing() {
    let (mut log, mut asked) = asked();
    let other = log.open(2);
    let lot = log.grant_free(other);
    asked.entry.debits[0].lot = lot;
    let mut log_entries = log.entries.clone();
    log_entries.extend(asked.works.iter().map(|(s, w)| log.body(*s, w.clone().into())));
    log_entries.push(log.body(asked.request, asked.entry.into()));
    assert_eq!(faults(&log_entries).iter().map(|f| f.kind).collect::<Vec<_>>(), [FaultKind::NoLot]);
}

#[test]
fn an_expired_lot_pays_nothing() {
    let (log, _) = asked();
    let end = midnight(2026, 12, 1);
    assert_eq!(found(|a| a.entry.started = end.millis()), [FaultKind::NoLot]);
    let just_before = end.millis().0 - 1;
    assert_eq!(found(|a| a.entry.started.0 = just_before), []);
    assert_eq!(log.ledger.balance(&account(1), end).lots, []);
}

//= spec/settlement.md#holding-and-posting
//= type=test
//# A request MUST be charged (prompt + completion) × weight tokens, of a metered account, in its debits exactly
//# (`ConservationViolated`).
#[test]
fn debits_sum_to_the_tokens() {
    assert_eq!(found(|a| a.entry.debits[0].tokens.0 += 1), [FaultKind::ConservationViolated]);
    assert_eq!(found(|a| a.entry.debits.clear()), [FaultKind::ConservationViolated]);
    let twice = |a: &mut Asked| {
        let lot = a.entry.debits[0].lot;
        a.entry.debits = vec![Debit { lot, tokens: TokenCount(6) }; 2];
    };
    assert_eq!(found(twice), [FaultKind::ConservationViolated]);
}

#[test]
fn credits_sum_to_the_tokens_and_follow_the_forwards() {
    assert_eq!(found(|a| a.entry.credits[0].micro_tokens.0 += 1), [FaultKind::ConservationViolated]);
    let shifted = |a: &mut Asked| {
        a.entry.credits[0].micro_tokens.0 += 1;
        a.entry.credits[1].micro_tokens.0 -= 1;
    };
    assert_eq!(found(shifted), [FaultKind::ConservationViolated]);
    assert_eq!(found(|a| a.entry.credits.swap(0, 1)), [FaultKind::ConservationViolated]);
}

//= spec/settlement.md#credits
//= type=test
//# Unless the request failed, credited forwards + unreceipted forwards MUST equal positions × top-k × MoE layers of the
//# published model (`ForwardsMismatch`).
#[test]
fn forwards_are_those_that_the_model_needs() {
    assert_eq!(found(|a| a.entry.positions += 1), [FaultKind::ForwardsMismatch]);
    assert_eq!(found(|a| a.entry.unreceipted += 1), [FaultKind::ForwardsMismatch]);
    let unpublished = ManifestId::from_bytes([0xdd; 32]);
    assert_eq!(found(|a| a.entry.manifest = unpublished), [FaultKind::ForwardsMismatch]);
    let more = |a: &mut Asked| {
        a.entry.positions += 1;
        a.entry.unreceipted += 4;
    };
    assert_eq!(found(more), []);
}

//= spec/settlement.md#credits
//= type=test
//# A credit's forwards MUST be the sum of those in the node's named receipts, and every named receipt with a forward MUST be
//# credited (`ForwardsMismatch`).
#[test]
fn credited_forwards_are_those_of_the_receipts() {
    let swapped = |a: &mut Asked| {
        a.entry.credits[0].forwards = 8;
        a.entry.credits[0].micro_tokens = MicroTokens(8_000_000);
        a.entry.credits[1].forwards = 4;
        a.entry.credits[1].micro_tokens = MicroTokens(4_000_000);
    };
    assert_eq!(found(swapped), [FaultKind::ForwardsMismatch]);
    let left_out = |a: &mut Asked| {
        a.entry.credits.remove(0);
        a.entry.credits[0].micro_tokens = MicroTokens(12_000_000);
        a.entry.unreceipted = 4;
    };
    assert_eq!(found(left_out), [FaultKind::ForwardsMismatch]);
}

//= spec/settlement.md#credits
//= type=test
//# A `work` entry MUST stand before the `inference` entry that names it, and MUST be of the same request
//# (`UncounteredReceipt`).
#[test]
fn a_named_receipt_stands_before_its_request() {
    let missing = |a: &mut Asked| {
        a.works.remove(0);
    };
    assert_eq!(found(missing), [FaultKind::UncounteredReceipt]);
    let foreign = Serial::from_bytes([0xdd; 16]);
    assert_eq!(found(|a| a.works[0].1.request = foreign), [FaultKind::UncounteredReceipt]);
}

#[test]
fn work_without_a_receipt_leaves_the_whole_to_the_others() {
    let (mut log, _) = asked();
    let mut asked = log.ask(account(1), 12, &[(2, 8)]);
    asked.entry.positions = 3;
    asked.entry.unreceipted = 4;
    assert_eq!(asked.entry.credits[0].micro_tokens, MicroTokens(12_000_000));
    log.post(asked);
    assert_eq!(log.faults(), []);
}

//= spec/settlement.md#holding-and-posting
//= type=test
//# A request that failed or crashed MUST count no token.
#[test]
fn a_failed_request_has_no_tokens_and_any_forwards() {
    let failed = |a: &mut Asked| {
        a.entry.finish = FinishReason::Failed;
        a.entry.failed_node = Some(node(2));
        a.entry.prompt_tokens = TokenCount(0);
        a.entry.completion_tokens = TokenCount(0);
        a.entry.debits.clear();
        a.entry.positions = 77;
        for credit in &mut a.entry.credits {
            credit.micro_tokens = MicroTokens(0);
        }
    };
    assert_eq!(found(failed), []);
    assert_eq!(found(|a| a.entry.finish = FinishReason::Crashed), [FaultKind::ConservationViolated]);
}

#[test]
fn sums_that_do_not_fit_are_named() {
    assert_eq!(found(|a| a.entry.prompt_tokens = TokenCount(u64::MAX)), [FaultKind::SumOverflow]);
    let work = |a: &mut Asked| {
        a.entry.prompt_tokens = TokenCount(u64::MAX - 6);
        a.entry.completion_tokens = TokenCount(6);
        a.entry.debits[0].tokens = TokenCount(u64::MAX);
    };
    assert_eq!(found(work), [FaultKind::SumOverflow, FaultKind::NoLot]);
}

#[test]
fn cached_tokens_are_part_of_the_prompt() {
    assert_eq!(found(|a| a.entry.cached_tokens = TokenCount(6)), []);
    assert_eq!(found(|a| a.entry.cached_tokens = TokenCount(7)), [FaultKind::ConservationViolated]);
}

#[test]
fn an_unreadable_receipt_is_named() {
    let (log, asked) = asked();
    let mut work = asked.works[0].1.clone();
    work.receipt.body.push(0);
    assert_eq!(last(&log, work), [FaultKind::NonCanonical]);
}

#[test]
fn money_entries_are_checked() {
    let (log, _) = asked();
    assert_eq!(last(&log, founding_rules(1)), [FaultKind::NotMonotonic]);
    assert_eq!(last(&log, founding_rules(2)), []);
    let unknown = Serial::from_bytes([0xcc; 16]);
    assert_eq!(last(&log, Refund { payment: unknown, amount: MicroUsd(1) }), [FaultKind::NoLot]);
    let lot = Lot {
        lot: unknown,
        account: account(1),
        tokens: TokenCount(1),
        source: LotSource::Paid,
        payment: None,
        starts: midnight(2026, 10, 1),
        expires: midnight(2026, 12, 1),
    };
    assert_eq!(last(&log, lot.clone()), [FaultKind::NoLot]);
    assert_eq!(last(&log, Lot { source: LotSource::Unpaid, ..lot.clone() }), []);
    let stranger = Lot { source: LotSource::Unpaid, account: account(2), ..lot };
    assert_eq!(last(&log, stranger), [FaultKind::WrongParty]);
}

#[test]
fn refunds_beyond_the_payment_are_less_than_nothing() {
    let (mut log, _) = asked();
    let (payment, _) = log.pay(account(1), "explorer");
    assert_eq!(last(&log, Refund { payment, amount: MicroUsd(5_000_000) }), []);
    assert_eq!(last(&log, Refund { payment, amount: MicroUsd(5_000_001) }), [FaultKind::NegativeUnits]);
}

//= spec/settlement.md#the-statement
//= type=test
//# A statement MUST begin where the one before ended, end at or before its own index, and never have a pool below zero
//# (`NotMonotonic`, `NegativeUnits`).
#[test]
fn statements_continue_one_another() {
    let (log, _) = asked();
    let statement = Statement {
        quarter: "2026Q4".to_owned(),
        first: 0,
        end: log.size(),
        rules_hash: Hash::from_bytes([0; 32]),
        revenue: MicroUsd(0),
        pool: Cents(0),
        carry_micro: 0,
        root: Hash::from_bytes([0; 32]),
        providers: 0,
    };
    assert_eq!(last(&log, statement.clone()), []);
    assert_eq!(last(&log, Statement { first: 1, ..statement.clone() }), [FaultKind::NotMonotonic]);
    assert_eq!(last(&log, Statement { end: log.size() + 1, ..statement.clone() }), [FaultKind::NotMonotonic]);
    assert_eq!(last(&log, Statement { pool: Cents(-1), ..statement }), [FaultKind::NegativeUnits]);
}

#[test]
fn entries_after_one_that_could_not_be_read_are_still_checked() {
    let (log, asked) = asked();
    let mut rule = crate::LedgerRule::default();
    let mut found = Vec::new();
    for (index, body) in log.entries.iter().enumerate() {
        counterfoil_spec::rule::Rule::entry(
            &mut rule,
            &counterfoil_spec::rule::Seen { index: index as u64, body },
            &mut found,
        );
    }
    let body = log.body(asked.request, asked.entry.into());
    let index = log.size() + 5;
    counterfoil_spec::rule::Rule::entry(
        &mut rule,
        &counterfoil_spec::rule::Seen { index, body: &body },
        &mut found,
    );
    assert_eq!(
        found.iter().map(|f| (f.kind, f.index)).collect::<Vec<_>>(),
        [(FaultKind::UncounteredReceipt, Some(index))]
    );
}
