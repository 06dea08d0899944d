//! Closing a quarter through the router's own record, with the clock as an argument.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests stop at the unexpected"
)]

use std::path::Path;
use std::sync::Arc;

use counterfoil_audit::{LogReader, NewEntry};
use counterfoil_identity::key_file::Keyring;
use counterfoil_ledger::settle::{AsOf, Quarter};
use counterfoil_router::admin::{AdminCommand, AdminError, execute};
use counterfoil_router::home::RouterHome;
use counterfoil_router::settlement::RuleChange;
use counterfoil_router::{CURRENCY, Office, OfficeError, settlement};
use counterfoil_spec::amount::Cents;
use counterfoil_spec::ids::{NodeId, ProviderId, Serial};
use counterfoil_spec::payload::{NodeUptime, Payload, ProviderRegistered, Uptime};
use counterfoil_spec::time::{Millis, Seconds};
use serde_json::{Value, json};

/// 2026-11-01T00:00:00Z, 2027-01-01T00:00:00Z and a day after it.
const NOVEMBER: u64 = 1_793_491_200;
const NEW_YEAR: u64 = 1_798_761_600;
const LATER: u64 = NEW_YEAR + 86_400;

fn open(path: &Path, at: u64) -> (RouterHome, Office) {
    let home = RouterHome::open_or_create(path, &Keyring::default(), Seconds(at)).unwrap();
    let office = Office::open(&home, CURRENCY, Arc::new(move || Millis(at * 1000))).unwrap();
    (home, office)
}

fn act(path: &Path, at: u64, command: AdminCommand) -> Result<Value, String> {
    let (home, office) = open(path, at);
    let done = execute(&office, &home, command).map_err(|e| match e {
        AdminError::Caller(words) => words,
        AdminError::Office(e) => panic!("the record failed: {e}"),
        AdminError::Home(e) => panic!("the home failed: {e}"),
        AdminError::Vault(e) => panic!("the vault failed: {e}"),
        AdminError::Service(e) => panic!("a payment service was asked: {e}"),
    });
    office.close().unwrap();
    done
}

fn settle(path: &Path, at: u64, dry_run: bool) -> Result<Value, String> {
    act(path, at, AdminCommand::Settle { quarter: "2026Q4".into(), dry_run })
}

/// A network of November in which one account paid for a month.
fn network() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let created = act(folder.path(), NOVEMBER, AdminCommand::AccountCreate { country: None }).unwrap();
    let account = created["account"].as_str().unwrap().parse().unwrap();
    let plan = AdminCommand::Subscribe { account, plan: "explorer".into(), paid: true };
    act(folder.path(), NOVEMBER, plan).unwrap();
    folder
}

fn statements(path: &Path) -> usize {
    let reader = LogReader::open(&path.join("log")).unwrap();
    let mut count = 0;
    reader
        .for_each(0, |_, _, body| count += usize::from(matches!(body.payload, Payload::Statement(_))))
        .unwrap();
    count
}

#[test]
fn a_second_before_its_end_a_quarter_is_not_closed_and_at_its_end_it_is() {
    let folder = network();
    let refused = settle(folder.path(), NEW_YEAR - 1, false).unwrap_err();
    assert_eq!(refused, "2026Q4 ends at 1798761600 (Unix seconds); close it then, or ask for a dry run");
    assert_eq!(statements(folder.path()), 0);
    let closed = settle(folder.path(), NEW_YEAR, false).unwrap();
    // One payment of 5 dollars for a period that is over.
    assert_eq!(closed["revenue_micro"], json!(5_000_000));
    assert_eq!((&closed["dry_run"], closed["root"].as_str().map(str::len)), (&json!(false), Some(64)));
    assert_eq!(statements(folder.path()), 1);
}

#[test]
fn closing_twice_books_nothing_new_and_gives_the_same_statement() {
    let folder = network();
    let first = settle(folder.path(), NEW_YEAR, false).unwrap();
    let second = settle(folder.path(), LATER, false).unwrap();
    assert_eq!(second["already_closed"], json!(true));
    for key in ["root", "pool_cents", "revenue_micro", "first_entry", "end_entry", "carry_micro"] {
        assert_eq!(first[key], second[key], "{key}");
    }
    assert_eq!(statements(folder.path()), 1);
}

/// A provider was registered and its node was up for an hour, so all of the pool is owed to it.
#[test]
fn a_closed_quarter_is_owed_to_those_who_earned_it() {
    let folder = network();
    let (provider, node) = (ProviderId::from_bytes([1; 32]), NodeId::from_bytes([2; 32]));
    let write = |at, payload: Payload| {
        let (_, office) = open(folder.path(), at);
        office
            .append_blocking(vec![NewEntry::new(Serial::from_bytes([at.to_le_bytes()[0]; 16]), payload)])
            .unwrap();
        office.close().unwrap();
    };
    let named = ProviderRegistered { provider, nodes: vec![node], accounts: vec![], affiliated: false };
    write(NOVEMBER, named.into());
    let up = Uptime { hour: Seconds(NOVEMBER), nodes: vec![NodeUptime { node, seconds: 3_600 }] };
    write(NOVEMBER + 1, up.into());
    let closed = settle(folder.path(), NEW_YEAR, false).unwrap();
    assert_eq!(closed["pool_cents"], json!(350));
    settle(folder.path(), LATER, false).unwrap();
    let quarter: Quarter = "2026Q4".parse().unwrap();
    let reader = LogReader::open(&folder.path().join("log")).unwrap();
    let found = settlement::recompute(&reader, quarter, AsOf::Final(Seconds(LATER))).unwrap();
    assert_eq!(found.owed.into_iter().collect::<Vec<_>>(), [(provider, Cents(350))]);
    let (_, office) = open(folder.path(), LATER);
    assert_eq!(office.read(|ledger| ledger.owed(&provider)), Cents(350));
    let mut other = settlement::recompute(&reader, quarter, AsOf::Final(Seconds(LATER))).unwrap();
    assert!(other.owes_the_shares());
    other.owed.insert(provider, Cents(349));
    assert!(!other.owes_the_shares());
}

#[test]
fn a_dry_run_logs_nothing() {
    let folder = network();
    assert_eq!(settle(folder.path(), NOVEMBER, true).unwrap()["dry_run"], json!(true));
    assert_eq!(statements(folder.path()), 0);
}

#[test]
fn a_closed_quarter_is_recomputed_to_the_same_bytes() {
    let folder = network();
    settle(folder.path(), LATER, false).unwrap();
    let quarter: Quarter = "2026Q4".parse().unwrap();
    let reader = LogReader::open(&folder.path().join("log")).unwrap();
    let found = settlement::recompute(&reader, quarter, AsOf::Final(Seconds(LATER))).unwrap();
    let secret = settlement::secret(folder.path(), quarter).unwrap().unwrap();
    assert_eq!(Some(found.closed.statement(&secret)), found.booked.map(|(_, booked)| booked));
}

#[test]
fn entries_after_the_quarters_end_do_not_belong_to_it_however_late_it_is_closed() {
    let folder = network();
    let before = LogReader::open(&folder.path().join("log")).unwrap().size();
    act(folder.path(), NEW_YEAR, AdminCommand::AccountCreate { country: None }).unwrap();
    assert_eq!(settle(folder.path(), LATER, false).unwrap()["end_entry"], json!(before));
}

#[test]
fn the_first_quarter_to_close_is_the_networks_first() {
    let folder = network();
    let old = AdminCommand::Settle { quarter: "1970Q1".into(), dry_run: false };
    assert_eq!(
        act(folder.path(), LATER, old).unwrap_err(),
        "2026Q4 is the first quarter of this network, so it is the first to close, not 1970Q1"
    );
    assert_eq!(statements(folder.path()), 0);
}

#[test]
fn a_home_whose_log_is_gone_begins_no_second_one() {
    let folder = network();
    std::fs::remove_dir_all(folder.path().join("log")).unwrap();
    let home = RouterHome::open(folder.path(), &Keyring::default()).unwrap();
    let opened = Office::open(&home, CURRENCY, Arc::new(|| Millis(LATER * 1000)));
    assert!(matches!(opened, Err(OfficeError::LogGone(_))), "{opened:?}");
}

/// Two closes at once are one close and one that finds it done; a router that runs takes admin commands from many threads.
#[test]
fn two_closes_at_once_book_one_statement() {
    let folder = network();
    let (home, office) = open(folder.path(), LATER);
    let barrier = std::sync::Barrier::new(2);
    let close = || {
        barrier.wait();
        let settle = AdminCommand::Settle { quarter: "2026Q4".into(), dry_run: false };
        execute(&office, &home, settle).map_err(|_| "refused")
    };
    let done = std::thread::scope(|threads| {
        [threads.spawn(close), threads.spawn(close)].map(|one| one.join().unwrap().unwrap())
    });
    let booked = done.iter().filter(|one| one.get("entry").is_some()).count();
    let found = done.iter().filter(|one| one["already_closed"] == json!(true)).count();
    assert_eq!((booked, found), (1, 1));
    assert_eq!(done[0]["root"], done[1]["root"]);
    office.close().unwrap();
    assert_eq!(statements(folder.path()), 1);
}

/// Requests that run while a quarter is closed are logged behind its end, and count in the next one.
#[test]
fn what_is_logged_while_a_quarter_is_closed_belongs_to_the_next_one() {
    let folder = network();
    let end = LogReader::open(&folder.path().join("log")).unwrap().size();
    let (home, office) = open(folder.path(), LATER);
    let closed = std::thread::scope(|threads| {
        let writing = threads.spawn(|| {
            for n in 0..50 {
                let up = Uptime { hour: Seconds(NEW_YEAR), nodes: vec![] };
                office.append_blocking(vec![NewEntry::new(Serial::from_bytes([n; 16]), up)]).unwrap();
            }
        });
        let settle = AdminCommand::Settle { quarter: "2026Q4".into(), dry_run: false };
        let closed = execute(&office, &home, settle).map_err(|_| "refused").unwrap();
        writing.join().unwrap();
        closed
    });
    office.close().unwrap();
    assert_eq!(closed["end_entry"], json!(end));
    // Nobody has a part in it, so all of it is carried.
    assert_eq!((&closed["pool_cents"], &closed["carry_micro"]), (&json!(0), &json!(3_500_000)));
    let again = settle(folder.path(), LATER, false).unwrap();
    assert_eq!((&again["root"], &again["already_closed"]), (&closed["root"], &json!(true)));
}

#[test]
fn a_damaged_log_is_named_before_a_quarter_is_closed() {
    let folder = network();
    let segment = std::fs::read_dir(folder.path().join("log/seg")).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&segment).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let opened = LogReader::open(&folder.path().join("log"));
    assert!(matches!(opened, Err(counterfoil_audit::LogError::Corrupt { .. })));
}

#[test]
fn changed_rules_are_an_entry_and_a_quarter_is_shared_by_them() {
    let folder = network();
    let rules = |pool_rule: Option<&str>, uptime_bps| {
        let change = RuleChange { pool_rule: pool_rule.map(str::to_owned), uptime_bps, reserve_bps: None };
        act(folder.path(), NOVEMBER, AdminCommand::Rules { change })
    };
    let size = || LogReader::open(&folder.path().join("log")).unwrap().size();
    let before = size();
    assert_eq!(rules(None, None).unwrap()["rules"]["version"], json!(1));
    assert_eq!(
        rules(Some("by-weight"), None).unwrap_err(),
        "there is no pool rule \"by-weight\"; there are pro-rata and per-account"
    );
    assert_eq!(
        rules(None, Some(10_001)).unwrap_err(),
        "10001 hundredths of a percent are more than the whole pool; at most 10000"
    );
    assert_eq!(size(), before);
    let changed = rules(Some("per-account"), Some(0)).unwrap();
    assert_eq!((&changed["rules"]["version"], &changed["entry"]), (&json!(2), &json!(before)));
    assert_eq!(rules(Some("per-account"), Some(0)).unwrap().get("entry"), None);
    // Nobody served the account or was up, so its whole part is carried.
    let closed = settle(folder.path(), NEW_YEAR, false).unwrap();
    assert_eq!((&closed["pool_cents"], &closed["carry_micro"]), (&json!(0), &json!(3_500_000)));
}
