//! A quarter of years ago, its providers' statements, and who can check what of them. The past is made with the crates, since no flag
//! of the program sets a clock.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use counterfoil_audit::NewEntry;
use counterfoil_identity::key_file::Keyring;
use counterfoil_router::admin::{AdminCommand, execute};
use counterfoil_router::home::RouterHome;
use counterfoil_router::{CURRENCY, Office};
use counterfoil_spec::ids::{NodeId, ProviderId, Serial};
use counterfoil_spec::payload::{NodeUptime, Payload, ProviderRegistered, Uptime};
use counterfoil_spec::time::{Millis, Seconds};
use data_encoding::BASE64;
use serde_json::{Value, json};

use crate::harness::{Home, ask, text};

/// 2024-11-01T00:00:00Z and 2025-01-01T00:00:00Z.
const NOVEMBER: Seconds = Seconds(1_730_419_200);
const NEW_YEAR: Seconds = Seconds(1_735_689_600);

/// One account pays five dollars, and three providers are up for one, two and four hours.
fn closed_quarter() -> Home {
    let home = Home::new();
    let at = |when: Seconds, act: &dyn Fn(&RouterHome, &Office)| {
        let router = RouterHome::open_or_create(&home.path(), &Keyring::default(), when).unwrap();
        let office = Office::open(&router, CURRENCY, Arc::new(move || Millis(when.0 * 1000))).unwrap();
        act(&router, &office);
        office.close().unwrap();
    };
    at(NOVEMBER, &|router, office| {
        let done = |command| execute(office, router, command).map_err(|e| e.to_string()).unwrap();
        let opened = done(AdminCommand::AccountCreate { country: None });
        let account = text(&opened["account"]).parse().unwrap();
        done(AdminCommand::Subscribe { account, plan: "explorer".into(), paid: true });
        let write = |n: u8, payload: Payload| {
            office.append_blocking(vec![NewEntry::new(Serial::from_bytes([n; 16]), payload)]).unwrap();
        };
        for n in 1..=3 {
            let (provider, nodes) = (ProviderId::from_bytes([n; 32]), vec![NodeId::from_bytes([n; 32])]);
            write(n, ProviderRegistered { provider, nodes, accounts: vec![], affiliated: false }.into());
        }
        for (n, from) in [(0, 1), (1, 2), (2, 3), (3, 3)] {
            let up = |n: u8| NodeUptime { node: NodeId::from_bytes([n; 32]), seconds: 3_600 };
            let hour = Seconds(NOVEMBER.0 - 3_600 * u64::from(n));
            write(10 + n, Uptime { hour, nodes: (from..=3).map(up).collect() }.into());
        }
    });
    at(NEW_YEAR, &|router, office| {
        let settle = AdminCommand::Settle { quarter: "2024Q4".into(), dry_run: false };
        assert_eq!(
            execute(office, router, settle).map_err(|e| e.to_string()).unwrap()["pool_cents"],
            json!(350)
        );
    });
    home
}

fn verify(file: &Path, more: &[&str]) -> (i32, Value) {
    let file = file.display().to_string();
    let asked = ask(&[&["earnings", "verify", &file, "--json"], more].concat());
    (asked.code, serde_json::from_str(&asked.out).unwrap_or(Value::Null))
}

/// Has commands carried out at some time.
fn carry_out(home: &Home, when: Seconds, commands: &[AdminCommand]) -> Vec<Result<Value, String>> {
    let router = RouterHome::open_or_create(&home.path(), &Keyring::default(), when).unwrap();
    let office = Office::open(&router, CURRENCY, Arc::new(move || Millis(when.0 * 1000))).unwrap();
    let done =
        commands.iter().map(|c| execute(&office, &router, c.clone()).map_err(|e| e.to_string())).collect();
    office.close().unwrap();
    done
}

#[test]
fn a_share_is_contested_in_time_and_the_answer_counts_in_the_next_quarter() {
    let home = closed_quarter();
    let provider = ProviderId::from_bytes([1; 32]);
    let contest = |claimed_cents| AdminCommand::Contest {
        quarter: "2024Q4".to_owned(),
        provider,
        claimed_cents,
        reason: "two hours are missing".to_owned(),
    };
    // 50 of 350 cents are this provider's. The program's own clock is far behind the window.
    let late = home.ask(&[
        "earnings",
        "dispute",
        "--quarter",
        "2024Q4",
        "--provider",
        &provider.to_string(),
        "--claimed-cents",
        "70",
        "--reason",
        "two hours are missing",
    ]);
    assert_eq!((late.code, late.err.contains("contested within 30 days")), (2, true), "{late:?}");
    let edge = Seconds(NEW_YEAR.0 + 30 * 86_400 - 60);
    let refused = carry_out(&home, edge, &[contest(70)]).remove(0).unwrap_err();
    assert!(refused.contains("contested within 30 days"), "{refused}");
    let raised = carry_out(&home, Seconds(edge.0 - 1), &[contest(351), contest(70), contest(71)]);
    assert!(raised[0].as_ref().unwrap_err().contains("at most the quarter's pool"), "{raised:?}");
    let known = raised[1].as_ref().unwrap();
    assert_eq!((&known["stands_cents"], &known["claimed_cents"]), (&json!(50), &json!(70)));
    assert!(raised[2].as_ref().unwrap_err().contains("has no answer yet"), "{raised:?}");
    let dispute = text(&known["dispute"]).to_owned();
    let open = home.json(&["earnings", "verify", "--quarter", "2024Q4"]);
    assert_eq!(open["disputes"][0]["corrected_cents"], json!(null));

    let answer = ["earnings", "correct", &dispute, "--cents", "20", "--reason", "they were up"];
    let answered = home.json(&answer);
    assert_eq!((&answered["stands_cents"], &answered["corrected_cents"]), (&json!(70), &json!(20)));
    let twice = home.ask(&answer);
    assert_eq!((twice.code, twice.err.contains("has its answer")), (2, true), "{twice:?}");
    let verified = home.json(&["earnings", "verify", "--quarter", "2024Q4"]);
    assert_eq!((&verified["ok"], &verified["disputes"][0]["corrected_cents"]), (&json!(true), &json!(20)));
    assert_eq!(home.json(&["earnings", "disputes"])["disputes"][0]["stands_cents"], 70);
    assert_eq!(home.json(&["provider", "status", &provider.to_string()])["providers"][0]["owed_cents"], 70);
    assert_eq!(home.json(&["audit", "verify"])["ok"], true);
}

#[test]
fn a_reserve_is_a_rule() {
    let home = closed_quarter();
    let set = home.json(&["earnings", "rules", "--reserve-bps", "1000"]);
    assert_eq!((&set["rules"]["reserve_bps"], &set["rules"]["version"]), (&json!(1_000), &json!(2)));
    let refused = home.ask(&["earnings", "rules", "--reserve-bps", "10001"]);
    assert_eq!((refused.code, refused.err.contains("at most 10000")), (2, true), "{refused:?}");
    let none = home.json(&["earnings", "rules", "--reserve-bps", "0"]);
    assert_eq!((&none["rules"]["reserve_bps"], &none["rules"]["version"]), (&json!(null), &json!(3)));
}

/// Writes the statement with its figures changed, and leaves its signature as it was.
fn changed(file: &Path, change: impl FnOnce(&mut Value)) -> PathBuf {
    let mut envelope: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let payload = BASE64.decode(text(&envelope["payload"]).as_bytes()).unwrap();
    let mut statement: Value = serde_json::from_slice(&payload).unwrap();
    change(&mut statement["predicate"]);
    envelope["payload"] = json!(BASE64.encode(&serde_json::to_vec(&statement).unwrap()));
    let other = file.with_extension("changed");
    std::fs::write(&other, envelope.to_string()).unwrap();
    other
}

#[test]
fn a_provider_checks_its_statement_alone_and_an_auditor_against_the_log() {
    let home = closed_quarter();
    let vkey = text(&home.json(&["identity", "show"])["log_vkey"]);
    let out = home.beside("statements");
    let folder = out.display().to_string();
    let made = home.json(&["earnings", "statement", "--quarter", "2024Q4", "--out", &folder]);
    let files: Vec<PathBuf> = made["files"].as_array().unwrap().iter().map(|f| text(f).into()).collect();
    assert_eq!(files.len(), 3);
    let log = home.path().join("log").display().to_string();
    let mut cents = Vec::new();
    for file in &files {
        let (code, alone) = verify(file, &["--vkey", &vkey]);
        assert_eq!((code, &alone["ok"], &alone["log_checked"]), (0, &json!(true), &json!(false)), "{alone}");
        let (code, whole) = verify(file, &["--vkey", &vkey, "--log", &log]);
        assert_eq!((code, &whole["ok"], &whole["log_checked"]), (0, &json!(true), &json!(true)), "{whole}");
        cents.push(whole["total_cents"].as_i64().unwrap());
        let bytes = std::fs::read_to_string(file).unwrap();
        let others = files.iter().filter(|other| *other != file);
        for other in others {
            let name = other.file_name().unwrap().to_string_lossy().into_owned();
            let id = name.trim_start_matches("2024Q4-").trim_end_matches(".dsse.json").to_owned();
            let payload: Value = serde_json::from_str(&bytes).unwrap();
            let payload = BASE64.decode(text(&payload["payload"]).as_bytes()).unwrap();
            assert!(!String::from_utf8(payload).unwrap().contains(&id), "a statement names another provider");
        }
    }
    // One, two and four of seven hours.
    assert_eq!(cents, [50, 100, 200]);
    // The same statement is signed anew to the same bytes.
    let before = std::fs::read(&files[0]).unwrap();
    home.json(&["earnings", "statement", "--quarter", "2024Q4", "--out", &folder]);
    assert_eq!(std::fs::read(&files[0]).unwrap(), before);
    let quarter = home.json(&["earnings", "verify", "--quarter", "2024Q4"]);
    assert_eq!((&quarter["ok"], &quarter["root_checked"]), (&json!(true), &json!(true)));
    std::fs::remove_dir_all(&out).unwrap();
}

//= spec/settlement.md#the-statement
//= type=test
//# Who is given one and trusts the log's key alone MUST check the proofs, that the key which entry 0 introduces as the author's made the
//# signature, that the totals are those of the quarter's entry, and that leaf and path lead to its root.
#[test]
fn a_statement_that_was_changed_or_is_of_another_log_does_not_hold() {
    let home = closed_quarter();
    let vkey = text(&home.json(&["identity", "show"])["log_vkey"]);
    let out = home.beside("statements");
    let folder = out.display().to_string();
    let made = home.json(&["earnings", "statement", "--quarter", "2024Q4", "--out", &folder]);
    let file = PathBuf::from(text(&made["files"][0]));
    let names = |file: &Path, vkey: &str| {
        let (code, report) = verify(file, &["--vkey", vkey]);
        let faults = report["faults"].as_array().unwrap().clone();
        let name = |fault: Value| text(&fault).split(':').next().unwrap().to_owned();
        (code, faults.into_iter().map(name).collect::<Vec<_>>())
    };
    let cases: [(&str, Value, &[&str]); 4] = [
        ("total_cents", json!(51), &["BadStatementSignature", "LeafHashMismatch"]),
        ("place", json!(1), &["BadStatementSignature", "LeafHashMismatch"]),
        ("pool_cents", json!(351), &["BadStatementSignature", "ConservationViolated"]),
        ("entry", json!(0), &["BadStatementSignature", "ProofShape"]),
    ];
    for (field, value, faults) in cases {
        let edited = changed(&file, |told| told[field] = value);
        assert_eq!(names(&edited, &vkey), (1, faults.iter().map(ToString::to_string).collect()), "{field}");
    }
    let elsewhere = closed_quarter();
    let strange = text(&elsewhere.json(&["identity", "show"])["log_vkey"]);
    let (code, faults) = names(&file, &strange);
    assert_eq!((code, faults.contains(&"BadStatementSignature".to_owned())), (1, true), "{faults:?}");
    // Without a key there is nothing to hold it against, and no envelope is no statement.
    let path = file.display().to_string();
    assert_eq!(ask(&["earnings", "verify", &path]).code, 2);
    std::fs::write(&file, "{}").unwrap();
    assert_eq!(names(&file, &vkey), (1, vec!["ProofShape".to_owned()]));
    let open = home.ask(&["earnings", "statement", "--quarter", "2025Q1", "--out", &folder]);
    assert_eq!((open.code, open.err.contains("2025Q1 is not closed")), (2, true), "{open:?}");
    std::fs::remove_dir_all(&out).unwrap();
}
