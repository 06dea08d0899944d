use counterfoil_spec::amount::TokenCount;
use counterfoil_spec::ids::ManifestId;
use counterfoil_spec::payload::FinishReason;

use super::fixture::{Log, MODEL, midnight};
use crate::account::Account;
use crate::{MAX_USAGE_ROWS, Usage};

fn used(requests: u64, prompt: u64, completion: u64) -> Usage {
    let debited = TokenCount(prompt + completion);
    Usage { requests, prompt: TokenCount(prompt), completion: TokenCount(completion), debited }
}

fn rows(account: &Account) -> Vec<(String, ManifestId, Usage)> {
    account.usage().map(|(day, manifest, used)| (day.to_string(), *manifest, *used)).collect()
}

#[test]
fn use_is_summed_by_the_day_of_its_start_and_by_model() {
    let mut log = Log::new(midnight(2026, 10, 1));
    let (one, other) = (log.open(1), log.open(2));
    for account in [one, other] {
        log.grant_free(account);
    }
    log.serve(one, 11, &[(1, 4)]);
    log.serve(one, 20, &[(1, 4)]);
    log.serve(other, 3, &[(1, 4)]);
    let second = ManifestId::from_bytes([8; 32]);
    let mut asked = log.ask(one, 4, &[(1, 4)]);
    asked.entry.manifest = second;
    log.post(asked);
    let mut failed = log.ask(one, 6, &[]);
    failed.entry.finish = FinishReason::Failed;
    (failed.entry.prompt_tokens, failed.entry.completion_tokens) = (TokenCount(0), TokenCount(0));
    failed.entry.debits.clear();
    log.post(failed);
    log.turn(midnight(2026, 10, 2));
    log.serve(one, 7, &[(1, 4)]);
    let ledger = &log.ledger;
    assert_eq!(
        rows(ledger.account(&one).unwrap()),
        [
            ("2026-10-01".to_owned(), second, used(1, 2, 2)),
            ("2026-10-01".to_owned(), MODEL, used(3, 15, 16)),
            ("2026-10-02".to_owned(), MODEL, used(1, 3, 4)),
        ]
    );
    assert_eq!(rows(ledger.account(&other).unwrap()), [("2026-10-01".to_owned(), MODEL, used(1, 1, 2))]);
    assert_eq!(ledger.balance(&one, log.now()).spent, TokenCount(42));
}

#[test]
fn the_oldest_rows_of_use_make_room() {
    let mut log = Log::new(midnight(2026, 10, 1));
    let entry = {
        let account = log.open(1);
        log.grant_free(account);
        log.ask(account, 2, &[]).entry
    };
    let mut account = Account::new(true, None, midnight(2026, 10, 1));
    let start = midnight(2026, 10, 1);
    for day in 0..=u64::try_from(MAX_USAGE_ROWS).unwrap() {
        let mut entry = entry.clone();
        entry.started = start.plus(day * 86_400 + 86_399).millis();
        account.used(&entry, TokenCount(2));
    }
    let rows = rows(&account);
    assert_eq!(rows.len(), MAX_USAGE_ROWS);
    assert_eq!(rows.first().unwrap(), &("2026-10-02".to_owned(), MODEL, used(1, 1, 1)));
}
