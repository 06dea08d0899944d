//! Journals of a small log, to the byte.

use counterfoil_spec::ids::Hash;

use super::fixture::{Log, account, midnight, node};
use crate::journal::{Dialect, Journal};

const HASH: Hash = Hash::from_bytes([0xab; 32]);

/// What a journal of the entries from `from` on says.
fn journal(log: &Log, dialect: Dialect, from: usize) -> String {
    let mut journal = Journal::new(dialect);
    let mut out = journal.head("a/log");
    for (index, body) in log.entries.iter().enumerate() {
        let n = u64::try_from(index).unwrap();
        if index < from {
            journal.before(n, body).unwrap();
            continue;
        }
        if index == from {
            out.push_str(&journal.opening(body.time.seconds()).unwrap());
        }
        out.push_str(&journal.entry(n, &HASH, body).unwrap().unwrap_or_default());
    }
    out + &journal.foot().unwrap()
}

/// A plan that was paid (entries 3 and 4), a request of ten tokens the day after (6), and a part given back (7).
fn log() -> Log {
    let mut log = Log::new(midnight(2026, 10, 1));
    let account = log.open(1);
    let (payment, _) = log.pay(account, "explorer");
    log.turn(midnight(2026, 10, 2));
    log.serve(account, 10, &[(1, 4)]);
    log.refund(payment, 2);
    log
}

/// The names of ids, put in for the marks that stand for them.
fn filled(text: &str) -> String {
    let names = [
        ("CUSTOMER", format!("Liabilities:Tokens:Customers:A-{}", account(1))),
        ("NODE", format!("Liabilities:Tokens:Nodes:N-{}", node(1))),
        ("HASH", HASH.to_string()),
        ("ZEROS", "0".repeat(31)),
    ];
    names.iter().fold(text.to_owned(), |text, (mark, name)| text.replace(mark, name))
}

#[test]
fn each_posting_has_its_balance_behind_it_and_the_end_has_all() {
    let want = "; The books of a/log, as its log's entries give them.
; TOKEN counts tokens that may be spent or were credited.

commodity 1000.000000 TOKEN

2026-10-01 * (3) payment ZEROS4  ; entry:3, leaf:HASH
    Assets:Received  5.000000 USD = 5.000000 USD
    Liabilities:Deferred  -5.000000 USD = -5.000000 USD

2026-10-01 * (4) lot ZEROS6  ; entry:4, leaf:HASH
    Equity:Tokens:Issued:Paid  500000.000000 TOKEN = 500000.000000 TOKEN
    CUSTOMER  -500000.000000 TOKEN = -500000.000000 TOKEN

2026-10-02 * (6) inference ZEROS7  ; entry:6, leaf:HASH
    CUSTOMER  10.000000 TOKEN = -499990.000000 TOKEN
    NODE  -10.000000 TOKEN = -10.000000 TOKEN

2026-10-02 * (7) refund ZEROS9  ; entry:7, leaf:HASH
    Assets:Received  -2.000000 USD = 3.000000 USD
    Liabilities:Deferred  2.000000 USD = -3.000000 USD

2026-10-02 * closing balances
    Equity:Tokens:Issued:Paid  0 TOKEN = 500000.000000 TOKEN
    CUSTOMER  0 TOKEN = -499990.000000 TOKEN
    NODE  0 TOKEN = -10.000000 TOKEN
    Assets:Received  0 USD = 3.000000 USD
    Liabilities:Deferred  0 USD = -3.000000 USD

";
    assert_eq!(journal(&log(), Dialect::Hledger, 0), filled(want));
}

#[test]
fn a_part_of_a_log_begins_with_the_balances_before_it() {
    let want = "; TOKEN counts tokens that may be spent or were credited.
option \"title\" \"The books of a/log\"

2026-10-02 open Equity:Tokens:Issued:Paid TOKEN
2026-10-02 open CUSTOMER TOKEN
2026-10-02 open NODE TOKEN
2026-10-02 open Assets:Received USD
2026-10-02 open Liabilities:Deferred USD
2026-10-02 * \"opening balances\"
  Equity:Tokens:Issued:Paid  500000.000000 TOKEN
  CUSTOMER  -499990.000000 TOKEN
  NODE  -10.000000 TOKEN
  Assets:Received  5.000000 USD
  Liabilities:Deferred  -5.000000 USD

2026-10-02 * \"refund\" \"ZEROS9\"
  entry: 7
  leaf: \"HASH\"
  Assets:Received  -2.000000 USD
  Liabilities:Deferred  2.000000 USD

2026-10-03 balance Equity:Tokens:Issued:Paid  500000.000000 ~ 0 TOKEN
2026-10-03 balance CUSTOMER  -499990.000000 ~ 0 TOKEN
2026-10-03 balance NODE  -10.000000 ~ 0 TOKEN
2026-10-03 balance Assets:Received  3.000000 ~ 0 USD
2026-10-03 balance Liabilities:Deferred  -3.000000 ~ 0 USD

";
    assert_eq!(journal(&log(), Dialect::Beancount, 7), filled(want));
}

#[test]
fn where_nothing_is_posted_nothing_is_written() {
    let empty = Log::new(midnight(2026, 10, 1));
    assert_eq!(journal(&empty, Dialect::Hledger, 0), Journal::new(Dialect::Hledger).head("a/log"));
    assert_eq!(journal(&empty, Dialect::Beancount, 1), Journal::new(Dialect::Beancount).head("a/log"));
}
