//! A home of years ago whose old entries are removed, and that starts, serves and verifies after it. The past is made with the
//! crates, since no flag of the program sets a clock.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use counterfoil_audit::NewEntry;
use counterfoil_identity::key_file::Keyring;
use counterfoil_ledger::settle::Quarter;
use counterfoil_router::admin::{AdminCommand, execute};
use counterfoil_router::home::RouterHome;
use counterfoil_router::{CURRENCY, Office};
use counterfoil_spec::ids::{RouterId, Serial};
use counterfoil_spec::payload::RefusalSeen;
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::time::{Millis, Seconds};
use serde_json::{Value, json};

use crate::harness::{Home, ask, text};
use crate::http::fetch_with;

const DAY: u64 = 86_400;
/// For how many days entries are kept where nobody says otherwise.
const KEPT_DAYS: u64 = 3653;
/// An entry that goes.
const GONE: u64 = 100;

fn at<T>(home: &Home, when: Seconds, act: impl FnOnce(&RouterHome, &Office) -> T) -> T {
    let router = RouterHome::open_or_create(&home.path(), &Keyring::default(), when).unwrap();
    let office = Office::open(&router, CURRENCY, Arc::new(move || Millis(when.0 * 1000))).unwrap();
    let done = act(&router, &office);
    office.close().unwrap();
    done
}

/// A home in which 300 requests were refused before the law's time, with every quarter closed that is as old. Gives the first one.
fn years_old() -> (Home, String) {
    let home = Home::new();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let began = Seconds(now - (KEPT_DAYS + 200) * DAY);
    // Its certificates are of today, so that it can be started; its log is not.
    RouterHome::open_or_create(&home.path(), &Keyring::default(), Seconds(now)).unwrap();
    at(&home, began, |_, office| {
        let refused = |n: u64| {
            let mut serial = [3; 16];
            serial[8..].copy_from_slice(&n.to_be_bytes());
            let by = RouterId::from_bytes([4; 32]);
            let payload = RefusalSeen { refusal: Refusal::Quota, node: None, by };
            NewEntry::new(Serial::from_bytes(serial), payload)
        };
        office.append_blocking((0..300).map(refused).collect()).unwrap();
    });
    let first = Quarter::of(began);
    let mut quarter = first;
    // A little more than is old enough, so that the test may take its time.
    while quarter.end().0 < now - (KEPT_DAYS - 2) * DAY {
        at(&home, quarter.end(), |router, office| {
            let settle = AdminCommand::Settle { quarter: quarter.to_string(), dry_run: false };
            execute(office, router, settle).unwrap();
        });
        quarter = quarter.next();
    }
    (home, first.to_string())
}

fn removed(report: &Value) -> (Value, Value, Value) {
    (report["ok"].clone(), report["removed"].clone(), report["prunes"][0]["missing"].clone())
}

#[test]
fn old_entries_go_and_everything_that_reads_the_log_says_so() {
    let (home, quarter) = years_old();
    let before = home.entry(GONE);
    let early = home.ask(&["audit", "prune", "--older-than", "3652"]);
    assert_eq!(early.code, 2, "{early:?}");
    assert!(early.err.contains("entries are kept for 3653 days"), "{early:?}");
    let older = ["audit", "prune", "--older-than", "3653"];
    let dry = home.json(&[&older[..], &["--dry-run"]].concat());
    let entries = dry["entries"].clone();
    assert_eq!((&dry["first_entry"], &dry["end_entry"], dry.get("entry")), (&json!(0), &json!(256), None));
    assert_eq!(home.json(&["audit", "verify"])["removed"], json!(0));
    let done = home.json(&older);
    assert_eq!((&done["entries"], &done["removed"]), (&entries, &entries));
    assert!(entries.as_u64().unwrap() > 200, "{entries}");

    let report = home.json(&["audit", "verify"]);
    assert_eq!(removed(&report), (json!(true), entries.clone(), entries.clone()));
    let words = home.ask(&["audit", "verify"]).out;
    let said =
        format!("{entries} entries from 0 to 256 were removed under the prune in entry {}", done["entry"]);
    assert!(words.contains(&said), "{words}");
    assert_eq!(home.entry(GONE), json!({ "index": GONE, "leaf_hash": before["leaf_hash"], "removed": true }));
    let listed = home.ask(&["audit", "show", "--since", &GONE.to_string(), "--limit", "1"]);
    assert!(listed.out.contains("(removed)"), "{listed:?}");
    let proof = home.ask(&["audit", "prove", &GONE.to_string()]);
    assert_eq!((proof.code, proof.out.contains(&format!("index {GONE}\n"))), (0, true), "{proof:?}");
    assert!(proof.err.contains("the proof is of the hash") && !proof.out.contains("extra"), "{proof:?}");
    let out = home.beside("out").display().to_string();
    let short = home.ask(&["audit", "export", "--format", "jsonl", "--out", &out, "--from", "50"]);
    assert_eq!((short.code, short.err.contains("was removed")), (2, true), "{short:?}");
    assert_eq!(home.ask(&["audit", "export", "--format", "jsonl", "--out", &out, "--from", "256"]).code, 0);
    let gone = home.ask(&["earnings", "verify", "--quarter", &quarter]);
    assert_eq!((gone.code, gone.err.contains("cannot be recomputed")), (1, true), "{gone:?}");
    let indexed = home.json(&["audit", "reindex"]);
    assert_eq!(indexed["applied"], report["committed"]);
    assert_eq!(home.ask(&older).code, 2);

    let file = home.beside("log.tar").display().to_string();
    home.json(&["audit", "archive", "--out", &file]);
    let archived = ask(&["audit", "verify", "--json", "--log", &file]);
    assert_eq!(archived.code, 0, "{archived:?}");
    assert_eq!(removed(&serde_json::from_str(&archived.out).unwrap()), removed(&report));

    let account = home.account();
    let key = text(&home.json(&["account", "key", "create", &account.id, "--auditor"])["key"]);
    let program = home.router();
    let status = |key: Option<&str>, tile: &str| {
        fetch_with(program.address(), key, &format!("/log/tile/{tile}/000")).status
    };
    assert_eq!((status(None, "kept"), status(None, "0")), (403, 200));
    assert_eq!((status(Some(&key), "entries"), status(Some(&key), "kept")), (404, 200));
    let served = ask(&["audit", "verify", "--json", "--log", &text(&program.ready["url"]), "--key", &key]);
    assert_eq!(served.code, 0, "{served:?}");
    assert_eq!(removed(&serde_json::from_str(&served.out).unwrap()), removed(&report));
    program.stop();
    assert_eq!(removed(&home.json(&["audit", "verify"])), removed(&report));
}
