//! Old entries of a router's own record are named and removed, with the clock as an argument; what follows from the rest stands.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests stop at the unexpected"
)]

use std::path::Path;
use std::sync::Arc;

use counterfoil_audit::verify::{Report, VerifyOptions, verify};
use counterfoil_audit::{LogReader, NewEntry};
use counterfoil_consent::ConsentRule;
use counterfoil_identity::key_file::Keyring;
use counterfoil_ledger::LedgerRule;
use counterfoil_ledger::settle::{AsOf, CloseError, Quarter};
use counterfoil_router::admin::{AdminCommand, AdminError, execute};
use counterfoil_router::home::RouterHome;
use counterfoil_router::{CURRENCY, Office, Old, prune, settlement};
use counterfoil_spec::amount::TokenCount;
use counterfoil_spec::ids::{AccountId, Hash, ManifestId, Serial};
use counterfoil_spec::payload::{Debit, FinishReason, Inference, Lot, Payload};
use counterfoil_spec::rule::Rule;
use counterfoil_spec::time::{Millis, Seconds};
use serde_json::{Value, json};

/// 2026-11-01T00:00:00Z and 2027-01-01T00:00:00Z.
const NOVEMBER: u64 = 1_793_491_200;
const NEW_YEAR: u64 = 1_798_761_600;
const DAY: u64 = 86_400;
/// Ten years and a day after the first quarter was closed.
const OLD: u64 = NEW_YEAR + 3654 * DAY;

fn open(path: &Path, at: u64) -> (RouterHome, Office) {
    let home = RouterHome::open_or_create(path, &Keyring::default(), Seconds(at)).unwrap();
    let office = Office::open(&home, CURRENCY, Arc::new(move || Millis(at * 1000))).unwrap();
    (home, office)
}

fn act(path: &Path, at: u64, command: AdminCommand) -> Result<Value, String> {
    let (home, office) = open(path, at);
    let done = execute(&office, &home, command).map_err(|e| match e {
        AdminError::Caller(words) => words,
        e => panic!("the record failed: {e}"),
    });
    office.close().unwrap();
    done
}

fn old(before: u64, keep_days: u64) -> Old {
    Old { before: Millis(before * 1000), keep_days, dry_run: false }
}

/// Names old entries in the log, without opening it again.
fn remove(path: &Path, at: u64, old: Old) -> Result<Value, String> {
    let (_, office) = open(path, at);
    let done = prune(&office, old).map_err(|e| e.to_string());
    office.close().unwrap();
    done
}

fn settle(path: &Path, at: u64, quarter: &str) {
    act(path, at, AdminCommand::Settle { quarter: quarter.into(), dry_run: false }).unwrap();
}

fn serial(n: u64) -> Serial {
    let mut bytes = [7; 16];
    bytes[8..].copy_from_slice(&n.to_be_bytes());
    Serial::from_bytes(bytes)
}

/// A request of an account that failed, or that spent tokens of a lot.
fn request(n: u64, account: AccountId, at: u64, lot: Option<Serial>) -> NewEntry {
    let none = Hash::from_bytes([0; 32]);
    let (tokens, finish) = if lot.is_some() { (10, FinishReason::Stop) } else { (0, FinishReason::Failed) };
    let payload = Inference {
        prompt_commitment: none,
        output_commitment: none,
        manifest: ManifestId::from_bytes([1; 32]),
        account,
        key_id: None,
        prompt_tokens: TokenCount(tokens),
        cached_tokens: TokenCount(0),
        completion_tokens: TokenCount(0),
        positions: tokens,
        price_micro_per_1k: 0,
        debits: lot.map(|lot| Debit { lot, tokens: TokenCount(10) }).into_iter().collect(),
        started: Millis(at * 1000),
        ended: Millis(at * 1000),
        finish,
        works: Vec::new(),
        credits: Vec::new(),
        unreceipted: 0,
        failed_node: None,
    };
    NewEntry::new(serial(n), payload)
}

/// A network of November with an account, a plan that was paid for, and requests in more than one bundle.
struct Network {
    folder: tempfile::TempDir,
    account: AccountId,
}

impl Network {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let created = act(folder.path(), NOVEMBER, AdminCommand::AccountCreate { country: None }).unwrap();
        let account = created["account"].as_str().unwrap().parse().unwrap();
        let plan = AdminCommand::Subscribe { account, plan: "explorer".into(), paid: true };
        act(folder.path(), NOVEMBER, plan).unwrap();
        let network = Self { folder, account };
        let failed = (0..300).map(|n| request(n, account, NOVEMBER + 1, None));
        network.write(NOVEMBER + 2, failed.collect());
        network
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn write(&self, at: u64, entries: Vec<NewEntry>) {
        let (_, office) = open(self.path(), at);
        office.append_blocking(entries).unwrap();
        office.close().unwrap();
    }

    /// A network whose first quarter was closed at its end.
    fn closed() -> Self {
        let network = Self::new();
        settle(network.path(), NEW_YEAR, "2026Q4");
        network
    }

    /// Closes all quarters that were over before [`OLD`].
    fn close_all(&self) {
        let mut quarter: Quarter = "2027Q1".parse().unwrap();
        while quarter.end() < Seconds(OLD) {
            settle(self.path(), OLD, &quarter.to_string());
            quarter = quarter.next();
        }
    }

    /// The lot that was granted last.
    fn last_lot(&self) -> Lot {
        let mut found = None;
        let reader = LogReader::open(&self.path().join("log")).unwrap();
        reader
            .for_each(0, |_, _, body| {
                if let Payload::Lot(lot) = &body.payload {
                    found = Some(lot.clone());
                }
            })
            .unwrap();
        found.unwrap()
    }

    fn verify(&self) -> Report {
        let (mut consent, mut ledger) = (ConsentRule::new(), LedgerRule::default());
        let rules: &mut [&mut dyn Rule] = &mut [&mut consent, &mut ledger];
        verify(&VerifyOptions::new(self.path().join("log")), rules, &mut |_, _| {}).unwrap()
    }

    fn account_at(&self, at: u64) -> Value {
        act(self.path(), at, AdminCommand::AccountShow { account: self.account }).unwrap()
    }
}

#[test]
fn entries_of_an_old_closed_quarter_go_and_the_books_stand() {
    let network = Network::closed();
    network.close_all();
    let before = network.account_at(OLD);
    let said = remove(network.path(), OLD, old(NEW_YEAR + 1, 3653)).unwrap();
    assert_eq!(
        (&said["first_entry"], &said["end_entry"], &said["kept"]),
        (&json!(0), &json!(256), &json!(0))
    );
    let count = said["entries"].as_u64().unwrap();
    assert_eq!(said["kinds"], json!([{ "kind": 20, "count": count }]));
    assert_eq!(network.verify().removed, 0);

    let (_, office) = open(network.path(), OLD);
    assert_eq!(office.opened().removed, count);
    office.close().unwrap();
    let report = network.verify();
    assert_eq!((report.faults, report.removed), (Vec::new(), count));
    assert_eq!(report.prunes[0].entry, said["entry"].as_u64().unwrap());
    assert_eq!(network.account_at(OLD), before);

    // The next quarter is closed over what is left, and a closed one that lost entries is not called wrong.
    let next: Quarter = "2037Q1".parse().unwrap();
    settle(network.path(), next.end().0, "2037Q1");
    assert_eq!(network.verify().faults, []);
    let reader = LogReader::open(&network.path().join("log")).unwrap();
    let recompute = |quarter: &str| {
        settlement::recompute(&reader, quarter.parse().unwrap(), AsOf::Final(Seconds(next.end().0)))
    };
    let gone = recompute("2026Q4").map(|found| found.closed);
    let is_removed = |e: &settlement::SettlementError| match e {
        settlement::SettlementError::Close(CloseError::Removed { removed, .. }) => Some(*removed),
        _ => None,
    };
    assert_eq!(gone.as_ref().err().and_then(is_removed), Some(count), "{gone:?}");
    let kept = recompute("2037Q1").unwrap();
    let secret = settlement::secret(network.path(), next).unwrap().unwrap();
    assert_eq!(Some(kept.closed.statement(&secret)), kept.booked.map(|(_, booked)| booked));
}

#[test]
fn entries_whose_time_is_not_over_stay_until_somebody_says_otherwise() {
    let network = Network::closed();
    let at = NEW_YEAR + 40 * DAY;
    let refused = remove(network.path(), at, old(NEW_YEAR + DAY, 3653)).unwrap_err();
    assert_eq!(
        refused,
        "entries are kept for 3653 days after their quarter was closed, so the latest day to name is 2017-02-09; where the law allows less, \
         say so with --keep-days (keep_days in config.toml)"
    );
    let refused = remove(network.path(), at, old(NEW_YEAR + DAY + 1, 39)).unwrap_err();
    assert!(refused.contains("the latest day to name is 2027-01-02"), "{refused}");
    // Seven entries before the requests are of kinds that stay.
    assert_eq!(remove(network.path(), at, old(NEW_YEAR + DAY, 39)).unwrap()["entries"], json!(256 - 7));
}

#[test]
fn quarter_that_is_over_and_not_closed_is_closed_first() {
    let network = Network::new();
    let refused = remove(network.path(), OLD, old(NEW_YEAR, 3653)).unwrap_err();
    assert_eq!(
        refused,
        "2026Q4 was over before 2027-01-01 and is not closed; close it first with `counterfoil earnings settle --quarter 2026Q4`"
    );
    settle(network.path(), OLD, "2026Q4");
    let refused = remove(network.path(), OLD, old(NEW_YEAR, 3653)).unwrap_err();
    assert_eq!(
        refused,
        "no quarter with entries that are still there was closed before 2027-01-01; the oldest one was closed on 2037-01-02"
    );
}

//= spec/audit-log.md#removal
//= type=test
//# An entry MUST NOT be removed while a lot that it debits is in force.
#[test]
fn entry_that_spent_of_a_lot_in_force_stays_until_that_ends() {
    let network = Network::new();
    let december = NEW_YEAR - 10 * DAY;
    let plan = AdminCommand::Subscribe { account: network.account, plan: "explorer".into(), paid: true };
    act(network.path(), december, plan).unwrap();
    let lot = network.last_lot();
    network.write(december, vec![request(1000, network.account, december, Some(lot.lot))]);
    let failed = (2000..2300).map(|n| request(n, network.account, december, None));
    network.write(december, failed.collect());
    settle(network.path(), NEW_YEAR, "2026Q4");
    let last = lot.expires.0 - 1;
    let refused = remove(network.path(), last, old(last, 0)).unwrap_err();
    let words = format!("spent of lot {}, which is still in force", lot.lot);
    assert!(refused.contains(&words), "{refused}");
    let said = remove(network.path(), lot.expires.0, old(last, 0)).unwrap();
    assert_eq!(said["end_entry"], json!(512));
}

#[test]
fn dry_run_logs_nothing_and_a_second_prune_finds_nothing() {
    let network = Network::closed();
    network.close_all();
    let size = || LogReader::open(&network.path().join("log")).unwrap().size();
    let before = size();
    let dry = Old { before: Millis((NEW_YEAR + 1) * 1000), keep_days: 3653, dry_run: true };
    let said = remove(network.path(), OLD, dry).unwrap();
    assert_eq!((&said["dry_run"], said.get("entry"), size()), (&json!(true), None, before));
    let real = remove(network.path(), OLD, old(NEW_YEAR + 1, 3653)).unwrap();
    assert_eq!(real["entries"], said["entries"]);
    let refused = remove(network.path(), OLD, old(NEW_YEAR + 1, 3653)).unwrap_err();
    assert_eq!(
        refused,
        "entries are removed by 256 of closed quarters, and there are not as many from entry 256 on"
    );
}
