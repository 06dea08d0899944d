use counterfoil_spec::amount::TokenCount;
use counterfoil_spec::ids::Serial;
use counterfoil_spec::payload::{AccountOpened, Debit, Lot, LotSource};
use counterfoil_spec::time::Seconds;

use super::fixture::{Log, account, midnight};
use crate::{HoldError, SettleError};

fn unpaid(tokens: u64, expires: Seconds) -> Lot {
    Lot {
        lot: Serial::from_bytes([0; 16]),
        account: account(0),
        tokens: TokenCount(tokens),
        source: LotSource::Unpaid,
        payment: None,
        starts: midnight(2026, 10, 1),
        expires,
    }
}

fn request(n: u8) -> Serial {
    Serial::from_bytes([n; 16])
}

fn hold(log: &mut Log, n: u8, tokens: u64) -> Result<(), HoldError> {
    let now = log.now();
    log.ledger.hold(&account(1), request(n), TokenCount(tokens), now)
}

/// Account 1 with lots of 100 and 50 tokens, the later one expiring first.
fn two_lots() -> (Log, Serial, Serial) {
    let mut log = Log::new(midnight(2026, 10, 1));
    let account = log.open(1);
    let late = log.lot(account, unpaid(100, midnight(2026, 12, 1)));
    let early = log.lot(account, unpaid(50, midnight(2026, 11, 1)));
    (log, early, late)
}

#[test]
fn earliest_expiry_is_spent_first() {
    let (mut log, early, late) = two_lots();
    assert_eq!(hold(&mut log, 1, 120), Ok(()));
    let debits = log.ledger.settle(&request(1), TokenCount(70));
    let part = |lot, tokens| Debit { lot, tokens: TokenCount(tokens) };
    assert_eq!(debits, Ok(vec![part(early, 50), part(late, 20)]));
    assert_eq!(log.ledger.settle(&request(1), TokenCount(50)), Ok(vec![part(early, 50)]));
    assert_eq!(log.ledger.settle(&request(1), TokenCount(0)), Ok(vec![]));
}

#[test]
fn equal_expiry_goes_by_lot_serial() {
    let mut log = Log::new(midnight(2026, 10, 1));
    let account = log.open(1);
    let end = midnight(2026, 11, 1);
    let first = log.lot(account, unpaid(10, end));
    let second = log.lot(account, unpaid(10, end));
    hold(&mut log, 1, 11).unwrap();
    let part = |lot, tokens| Debit { lot, tokens: TokenCount(tokens) };
    assert_eq!(log.ledger.settle(&request(1), TokenCount(11)), Ok(vec![part(first, 10), part(second, 1)]));
}

#[test]
fn too_few_tokens_is_insufficient_quota() {
    let (mut log, ..) = two_lots();
    assert_eq!(
        hold(&mut log, 1, 151),
        Err(HoldError::InsufficientQuota {
            needed: TokenCount(151),
            unspent: TokenCount(150),
            missing: TokenCount(1)
        })
    );
    assert_eq!(hold(&mut log, 1, 150), Ok(()));
}

#[test]
fn tokens_held_by_others_are_in_flight() {
    let (mut log, ..) = two_lots();
    hold(&mut log, 1, 100).unwrap();
    assert_eq!(
        hold(&mut log, 2, 51),
        Err(HoldError::InFlightBudgetExhausted {
            needed: TokenCount(51),
            free: TokenCount(50),
            missing: TokenCount(1)
        })
    );
    assert_eq!(hold(&mut log, 2, 50), Ok(()));
    assert!(log.ledger.void(&request(1)));
    assert_eq!(hold(&mut log, 3, 100), Ok(()));
}

//= spec/settlement.md#holding-and-posting
//= type=test
//# A request serial MUST be held and posted at most once.
#[test]
fn a_request_is_held_and_posted_at_most_once() {
    let (mut log, ..) = two_lots();
    hold(&mut log, 1, 10).unwrap();
    assert_eq!(hold(&mut log, 1, 10), Err(HoldError::RequestSeen(request(1))));
    let posted = log.serve(account(1), 20, &[(1, 8)]);
    let now = log.now();
    assert_eq!(log.ledger.hold(&account(1), posted, TokenCount(1), now), Err(HoldError::RequestSeen(posted)));
}

#[test]
fn an_expired_lot_is_not_held_but_pays_for_what_it_holds() {
    let (mut log, early, late) = two_lots();
    log.turn(Seconds(midnight(2026, 11, 1).0 - 1));
    hold(&mut log, 1, 50).unwrap();
    log.turn(midnight(2026, 11, 1));
    hold(&mut log, 2, 50).unwrap();
    let lot_of = |n| log.ledger.settle(&request(n), TokenCount(50)).unwrap()[0].lot;
    assert_eq!((lot_of(1), lot_of(2)), (early, late));
}

#[test]
fn more_than_held_cannot_be_settled() {
    let (mut log, ..) = two_lots();
    hold(&mut log, 1, 60).unwrap();
    assert_eq!(
        log.ledger.settle(&request(1), TokenCount(61)),
        Err(SettleError::BeyondHold { held: TokenCount(60), used: TokenCount(61) })
    );
    assert_eq!(log.ledger.settle(&request(2), TokenCount(1)), Err(SettleError::UnknownRequest(request(2))));
}

#[test]
fn voiding_twice_gives_back_once() {
    let (mut log, ..) = two_lots();
    hold(&mut log, 1, 60).unwrap();
    hold(&mut log, 2, 60).unwrap();
    assert_eq!((log.ledger.void(&request(1)), log.ledger.void(&request(1))), (true, false));
    let balance = log.ledger.balance(&account(1), log.now());
    assert_eq!((balance.available, balance.held), (TokenCount(90), TokenCount(60)));
}

#[test]
fn posting_ends_the_hold_and_frees_the_rest() {
    let (mut log, ..) = two_lots();
    let mut asked = log.ask(account(1), 40, &[(1, 8)]);
    log.ledger.void(&asked.request);
    hold(&mut log, 1, 1).unwrap();
    let now = log.now();
    log.ledger.hold(&account(1), asked.request, TokenCount(140), now).unwrap();
    asked.entry.debits = log.ledger.settle(&asked.request, TokenCount(40)).unwrap();
    log.post(asked);
    let balance = log.ledger.balance(&account(1), log.now());
    assert_eq!(
        (balance.available, balance.held, balance.spent),
        (TokenCount(109), TokenCount(1), TokenCount(40))
    );
    assert_eq!(log.ledger.in_flight(), 1);
}

#[test]
fn an_unmetered_account_holds_nothing() {
    let mut log = Log::new(midnight(2026, 10, 1));
    log.write(AccountOpened { account: account(1), metered: false, country: None });
    assert_eq!(hold(&mut log, 1, u64::MAX), Ok(()));
    assert_eq!(log.ledger.settle(&request(1), TokenCount(u64::MAX)), Ok(vec![]));
    assert_eq!(log.ledger.in_flight(), 1);
}

#[test]
fn an_account_that_no_entry_opened_is_refused() {
    let mut log = Log::new(midnight(2026, 10, 1));
    assert_eq!(hold(&mut log, 1, 1), Err(HoldError::UnknownAccount(account(1))));
}
