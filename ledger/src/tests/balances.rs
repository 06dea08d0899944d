use counterfoil_spec::amount::{Cents, MicroUsd, TokenCount};
use counterfoil_spec::ids::{Hash, Serial};
use counterfoil_spec::payload::{
    AccountOpened, CapacityAttested, KeyCreated, KeyRevoked, KeyScope, Lot, LotSource, ModelWeight,
    NodeUptime, Payment, Refund, Rules, Uptime,
};
use counterfoil_spec::time::Seconds;

use super::fixture::{Log, MODEL, account, midnight, node};
use crate::{LedgerError, MoneyAccount, TokenAccount, founding_rules};

fn october() -> Log {
    Log::new(midnight(2026, 10, 1))
}

fn lot(source: LotSource, tokens: u64, payment: Option<Serial>) -> Lot {
    Lot {
        lot: Serial::from_bytes([0xee; 16]),
        account: account(1),
        tokens: TokenCount(tokens),
        source,
        payment,
        starts: midnight(2026, 10, 1),
        expires: midnight(2026, 12, 1),
    }
}

//= spec/settlement.md#amounts
//= type=test
//# Every entry MUST leave both books, the one of micro-tokens and the one of micro-units, with a sum of zero.
#[test]
fn both_books_name_where_everything_is() {
    let mut log = october();
    let account = log.open(1);
    log.grant_free(account);
    let (payment, _) = log.pay(account, "explorer");
    log.serve(account, 50_001, &[(1, 4), (2, 12)]);
    log.refund(payment, 1);
    assert_eq!(
        log.ledger.token_book().accounts(),
        [
            (TokenAccount::IssuedFree, -50_000_000_000),
            (TokenAccount::IssuedPaid, -500_000_000_000),
            (TokenAccount::Customer(account), 499_999_000_000),
            (TokenAccount::Node(node(1)), 12_500_250_000),
            (TokenAccount::Node(node(2)), 37_500_750_000),
            (TokenAccount::Uncredited, 0),
        ]
    );
    assert_eq!(
        log.ledger.money_book().accounts(),
        [(MoneyAccount::Received, -4_000_000), (MoneyAccount::Deferred, 4_000_000)]
    );
}

#[test]
fn work_without_any_receipt_is_paid_and_earns_nobody() {
    let mut log = october();
    let account = log.open(1);
    log.grant_free(account);
    let mut asked = log.ask(account, 10, &[]);
    asked.entry.unreceipted = 8;
    log.post(asked);
    assert_eq!(log.ledger.token_book().balance(&TokenAccount::Uncredited), 10_000_000);
    assert_eq!(log.ledger.balance(&account, log.now()).spent, TokenCount(10));
}

#[test]
fn unmetered_work_is_credited_and_debits_no_lot() {
    let mut log = october();
    log.write(AccountOpened { account: account(1), metered: false, country: None });
    log.serve(account(1), 10, &[(1, 8)]);
    assert_eq!(log.ledger.token_book().balance(&TokenAccount::Unmetered), -10_000_000);
    assert_eq!(log.ledger.token_book().balance(&TokenAccount::Node(node(1))), 10_000_000);
}

#[test]
fn a_model_weight_multiplies_debit_and_credit_from_its_rules_on() {
    let mut log = october();
    let account = log.open(1);
    log.grant_free(account);
    log.turn(log.now().plus(1));
    let weights = vec![ModelWeight { manifest: MODEL, weight: 3 }];
    log.write(Rules { version: 2, model_weights: weights, ..founding_rules(2) });
    let charge = |at: Seconds| log.ledger.charge(&MODEL, TokenCount(10), at.millis());
    assert_eq!(charge(log.now()), Some(TokenCount(30)));
    assert_eq!(charge(Seconds(log.now().0 - 1)), Some(TokenCount(10)));
    let mut asked = log.ask(account, 30, &[(1, 8)]);
    asked.entry.prompt_tokens = TokenCount(4);
    asked.entry.completion_tokens = TokenCount(6);
    log.post(asked);
    assert_eq!(log.ledger.token_book().balance(&TokenAccount::Node(node(1))), 30_000_000);
}

#[test]
fn a_full_refund_ends_its_lot_and_a_partial_one_does_not() {
    let mut log = october();
    let account = log.open(1);
    let (payment, _) = log.pay(account, "explorer");
    log.refund(payment, 4);
    assert_eq!(log.ledger.balance(&account, log.now().plus(60)).available, TokenCount(500_000));
    log.refund(payment, 1);
    assert_eq!(log.ledger.balance(&account, log.now().plus(59)).available, TokenCount(500_000));
    assert_eq!(log.ledger.balance(&account, log.now().plus(60)).available, TokenCount(0));
    assert_eq!(
        log.try_write(Refund { payment, amount: MicroUsd(1) }),
        Err(LedgerError::RefundBeyondPayment {
            payment,
            paid: MicroUsd(5_000_000),
            refunded: MicroUsd(5_000_001)
        })
    );
}

//= spec/settlement.md#accounts-and-lots
//= type=test
//# A lot whose source is *paid* MUST name an earlier payment of the same account that no other lot names, and MUST NOT grant
//# more than that payment's plan (`NoLot`).
#[test]
fn lots_must_be_backed() {
    let mut log = october();
    log.open(2);
    let (other, _) = log.pay(account(2), "explorer");
    log.open(1);
    let (used, _) = log.pay(account(1), "explorer");
    let id = Serial::from_bytes([0xee; 16]);
    for payment in [None, Some(other), Some(used), Some(id)] {
        assert_eq!(log.try_write(lot(LotSource::Paid, 1, payment)), Err(LedgerError::LotWithoutPayment(id)));
    }
    assert_eq!(
        log.try_write(lot(LotSource::Unpaid, 1, Some(used))),
        Err(LedgerError::LotWithStrayPayment(id))
    );
    assert_eq!(log.try_write(lot(LotSource::Unpaid, 1, None)), Ok(()));
}

//= spec/settlement.md#accounts-and-lots
//= type=test
//# An account MUST NOT receive more than one free lot, nor more free tokens than the rules give.
#[test]
fn lots_grant_no_more_than_the_rules() {
    let mut log = october();
    log.open(1);
    let id = Serial::from_bytes([0xee; 16]);
    let payment = log.write(Payment {
        account: account(1),
        amount: MicroUsd(5_000_000),
        plan: "explorer".to_owned(),
        period_start: midnight(2026, 10, 1),
        period_end: midnight(2026, 11, 1),
    });
    let too_large = |tokens, limit| {
        Err(LedgerError::LotTooLarge { lot: id, tokens: TokenCount(tokens), limit: TokenCount(limit) })
    };
    assert_eq!(log.try_write(lot(LotSource::Paid, 500_001, Some(payment))), too_large(500_001, 500_000));
    assert_eq!(log.try_write(lot(LotSource::Paid, 500_000, Some(payment))), Ok(()));
    assert_eq!(log.try_write(lot(LotSource::Free, 50_001, None)), too_large(50_001, 50_000));
    log.grant_free(account(1));
    assert_eq!(log.try_write(lot(LotSource::Free, 1, None)), Err(LedgerError::FreeTwice(account(1))));
}

#[test]
fn keys_are_found_by_hash_until_revoked_or_expired() {
    let mut log = october();
    log.open(1);
    let hash = Hash::from_bytes([5; 32]);
    let key_id = Serial::from_bytes([6; 16]);
    let end = log.now().plus(10);
    let (scope, expires, country) = (Some(KeyScope::Auditor), Some(end), None);
    let key = KeyCreated { key_id, account: account(1), key_hash: hash, expires, scope, country };
    log.write(key.clone());
    assert_eq!(log.try_write(key), Err(LedgerError::KeyExists(key_id)));
    let found = log.ledger.key(&hash).unwrap();
    assert_eq!((found.key_id, found.account, found.revoked), (key_id, account(1), false));
    assert_eq!(found.scope, scope);
    assert_eq!((found.in_force(Seconds(end.0 - 1)), found.in_force(end)), (true, false));
    log.write(KeyRevoked { key_id });
    assert!(!log.ledger.key(&hash).unwrap().in_force(log.now()));
    assert_eq!(log.ledger.key(&Hash::from_bytes([7; 32])), None);
    let unknown = Serial::from_bytes([8; 16]);
    assert_eq!(log.try_write(KeyRevoked { key_id: unknown }), Err(LedgerError::UnknownKey(unknown)));
}

#[test]
fn a_keys_country_is_its_own_or_its_accounts() {
    let mut log = october();
    let from = |code: &str| Some(code.parse().unwrap());
    let mut found = Vec::new();
    for (n, of_account) in [(1, None), (2, from("DE"))] {
        log.write(AccountOpened { account: account(n), metered: true, country: of_account });
        assert_eq!(log.ledger.account(&account(n)).unwrap().country(), of_account);
        for (m, of_key) in [(1, None), (2, from("FR"))] {
            let (key_id, key_hash) =
                (Serial::from_bytes([10 * n + m; 16]), Hash::from_bytes([10 * n + m; 32]));
            log.write(KeyCreated {
                key_id,
                account: account(n),
                key_hash,
                expires: None,
                scope: None,
                country: of_key,
            });
            found.push(log.ledger.key(&key_hash).unwrap().country);
        }
    }
    assert_eq!(found, [None, from("FR"), from("DE"), from("FR")]);
}

//= spec/settlement.md#rules
//= type=test
//# A `rules` entry replaces the whole of the rules; its version MUST be one more than the version before (`NotMonotonic`).
#[test]
fn rules_rise_by_one_and_hold_together() {
    let mut log = october();
    assert_eq!(log.try_write(founding_rules(3)), Err(LedgerError::RulesVersion { current: 1, found: 3 }));
    assert_eq!(
        log.try_write(Rules { pool_bps: 10_001, ..founding_rules(2) }),
        Err(LedgerError::RulesMalformed("a part is larger than the whole"))
    );
    assert_eq!(
        log.try_write(Rules { payout_min: Cents(-1), ..founding_rules(2) }),
        Err(LedgerError::RulesMalformed("the least payout is negative"))
    );
    assert_eq!(log.try_write(Rules { pool_bps: 10_000, ..founding_rules(2) }), Ok(()));
}

#[test]
fn uptime_fits_its_hour() {
    let mut log = october();
    let hour = log.now();
    let up = |hour, seconds: &[(u8, u32)]| Uptime {
        hour,
        nodes: seconds.iter().map(|(n, s)| NodeUptime { node: node(*n), seconds: *s }).collect(),
    };
    let fault = |what| Err(LedgerError::UptimeMalformed(what));
    assert_eq!(log.try_write(up(hour, &[(1, 3_600), (2, 0)])), Ok(()));
    assert_eq!(log.try_write(up(hour, &[(1, 3_601)])), fault("an hour has 3,600 seconds"));
    assert_eq!(log.try_write(up(hour, &[(1, 1), (1, 1)])), fault("nodes must be sorted, each once"));
    assert_eq!(
        log.try_write(up(Seconds(hour.0 - 1), &[])),
        fault("an hour begins at a multiple of 3,600 seconds")
    );
    assert_eq!(log.try_write(up(hour.plus(3_600), &[])), Err(LedgerError::UptimeAhead));
}

//= spec/settlement.md#uptime-and-tiers
//= type=test
//# A capacity of tier 2, 3 or 4 MUST have proved 7.2, 10.8 or 21.6 × 10⁹ bytes.
#[test]
fn a_tier_needs_its_bytes() {
    let mut log = october();
    let proved = |tier, bytes| CapacityAttested { node: node(1), bytes, tier, expires: Seconds(u64::MAX) };
    assert_eq!(log.try_write(proved(4, 21_600_000_000)), Ok(()));
    assert_eq!(
        log.try_write(proved(4, 21_599_999_999)),
        Err(LedgerError::TierBeyondCapacity { tier: 4, bytes: 21_599_999_999, least: 21_600_000_000 })
    );
    assert_eq!(log.try_write(proved(1, 0)), Ok(()));
    assert_eq!(log.try_write(proved(5, u64::MAX)), Err(LedgerError::UnknownTier(5)));
    assert_eq!(log.try_write(proved(0, u64::MAX)), Err(LedgerError::UnknownTier(0)));
}

#[test]
fn entries_come_in_order() {
    let mut log = october();
    let serial = log.serial();
    let body = log.body(serial, AccountOpened { account: account(1), metered: true, country: None }.into());
    assert_eq!(log.ledger.apply(3, &body), Err(LedgerError::OutOfOrder { expected: 2, found: 3 }));
    assert_eq!(log.ledger.apply(2, &body), Ok(()));
    assert_eq!(log.ledger.applied(), 3);
}
