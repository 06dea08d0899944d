//! The logs of a real run against each other: they match, and what a router or a node drops, cuts off or rewrites with its own keys is
//! named and kept as evidence.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use counterfoil_audit::segment::{self, Frame, HEADER_BYTES};
use counterfoil_audit::{GenesisFacts, LogConfig, LogOptions, LogReader, LogWriter, NewEntry, NoteSigner};
use counterfoil_identity::{SecretKey, VerifyKey, key_file};
use counterfoil_spec::entry::{Body, Role};
use counterfoil_spec::payload::{Genesis, Payload};
use counterfoil_spec::time::Millis;
use serde_json::{Value, json};

use crate::harness::{Home, ask, text};
use crate::http::{self, question};
use crate::record::copy;

/// A home after two answers and an orderly end, and its logs: the router's, the first node's.
fn worked() -> (Home, PathBuf, PathBuf) {
    let home = Home::new();
    let program = home.run(&[]);
    for _ in 0..2 {
        http::ask(program.address(), None, &question(&json!({})));
    }
    program.stop();
    let (router, node) = (home.path().join("log"), home.path().join("nodes/1/log"));
    (home, router, node)
}

fn against(code: i32, log: &Path, others: &[&Path], evidence: &Path) -> Value {
    let shown = |path: &Path| path.display().to_string();
    let mut args = vec!["audit".to_owned(), "verify".to_owned(), "--log-dir".to_owned(), shown(log)];
    for other in others {
        args.extend(["--against".to_owned(), shown(other)]);
    }
    args.extend(["--evidence".to_owned(), shown(evidence), "--json".to_owned()]);
    let ended = ask(&args.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(ended.code, code, "{ended:?}");
    serde_json::from_str(&ended.out).unwrap()
}

/// Changes a byte of a log's newest bundle.
fn flip(log: &Path) {
    let folder = fs::read_dir(log.join("tile/entries/000.p")).unwrap().next().unwrap().unwrap().path();
    let mut bytes = fs::read(&folder).unwrap();
    bytes[100] ^= 1;
    fs::write(folder, bytes).unwrap();
}

fn bodies(log: &Path) -> Vec<Body> {
    let mut bodies = Vec::new();
    LogReader::open(log).unwrap().for_each(0, |_, _, body| bodies.push(body.clone())).unwrap();
    bodies
}

/// The index of a log's last receipt.
fn last_work(bodies: &[Body]) -> usize {
    bodies.iter().rposition(|b| matches!(b.payload, Payload::Work(_))).unwrap()
}

/// Cuts a copy of a log off at the last commit of at most `size` entries, as one who has its keys and its disk.
fn cut(log: &Path, to: &Path, size: u64) -> u64 {
    copy(log, to);
    fs::remove_dir_all(to.join("state")).unwrap();
    fs::remove_dir_all(to.join("tile")).unwrap();
    fs::remove_file(to.join("checkpoint")).unwrap();
    let path = segment::list(to).unwrap().pop().unwrap().path;
    let bytes = fs::read(&path).unwrap();
    let (mut at, mut end, mut kept) = (HEADER_BYTES, 0, 0);
    while at < bytes.len() {
        let frame = segment::parse(&bytes[at..]);
        at += frame.bytes();
        if let Frame::Commit(head) = frame
            && head.size <= size
        {
            (end, kept) = (at, head.size);
        }
    }
    fs::write(&path, &bytes[..end]).unwrap();
    kept
}

/// Goes on with a log under its own keys.
fn go_on(home: &Path, log: &Path, role: Role, entries: &[Body]) {
    let genesis = bodies(log).swap_remove(0);
    let Payload::Genesis(Genesis { root_spki, next_root_hash, currency, origin, .. }) = genesis.payload
    else {
        panic!("{genesis:?}");
    };
    let key = |name: &str| -> Arc<SecretKey> {
        Arc::new(key_file::load(&home.join("identity").join(name)).unwrap())
    };
    let clock = Arc::new(AtomicU64::new(genesis.time.0));
    let now = Arc::clone(&clock);
    let config = LogConfig {
        dir: log.to_owned(),
        net_id: VerifyKey::from_spki_der(&root_spki).unwrap().net_id(),
        author: key(if role == Role::Router { "router.key" } else { "node.key" }),
        role,
        note: NoteSigner::new(&origin, key("log.key")).unwrap(),
        genesis: GenesisFacts { root_spki, next_root_hash, currency, root: None },
        options: LogOptions::default(),
    };
    let (writer, _) = LogWriter::open(config, Arc::new(move || Millis(now.load(Ordering::Relaxed)))).unwrap();
    for entry in entries {
        clock.store(entry.time.0, Ordering::Relaxed);
        writer.append(vec![NewEntry::new(entry.serial, entry.payload.clone())]).unwrap();
    }
    writer.close().unwrap();
}

/// The names of faults, in the order in which they are told, without those of logs that are wrong by themselves.
fn named(report: &Value) -> Vec<(String, String, u64)> {
    let of = |fault: &Value| (text(&fault["log"]), text(&fault["fault"]), fault["index"].as_u64().unwrap());
    report["against"][0]["faults"].as_array().unwrap().iter().map(of).collect()
}

/// The evidence says what was found to whoever has the log's key, and nothing to who has another's.
fn assert_evidence(report: &Value, kind: &str, origin: &Value) {
    let pieces = report["against"][0]["evidence"].as_array().unwrap();
    let piece = pieces.iter().find(|piece| piece["proves"]["fault"] == kind).unwrap();
    let file = text(&piece["file"]);
    let vkey = |log: &Value| text(&log["log_vkey"]);
    let logs = [vkey(report), vkey(&report["against"][0]["report"])];
    let (right, wrong): (Vec<&String>, Vec<_>) =
        logs.iter().partition(|vkey| vkey.starts_with(&format!("{}+", origin.as_str().unwrap())));
    let ended = ask(&["audit", "verify-evidence", &file, "--vkey", right[0], "--json"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    let said: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!((&said["fault"], &said["origin"]), (&json!(kind), origin));
    assert_eq!(ask(&["audit", "verify-evidence", &file, "--vkey", wrong[0]]).code, 1);
}

#[test]
fn the_halves_of_a_run_match_and_each_keeps_the_others_heads() {
    let (home, router, node) = worked();
    let other = home.path().join("nodes/2/log");
    let report = against(0, &router, &[&node, &other], &home.beside("evidence"));
    assert_eq!((&report["ok"], &report["faults"]), (&json!(true), &json!([])));
    let works = |log: &Path| bodies(log).iter().filter(|b| matches!(b.payload, Payload::Work(_))).count();
    let halves = report["against"].as_array().unwrap();
    for (one, log) in halves.iter().zip([&node, &other]) {
        assert_eq!(one["matched"], works(log), "{one}");
        // A run that ends in good order leaves the last heads with each other.
        assert_eq!((&one["router_heads"], &one["node_heads"]), (&json!(1), &json!(1)));
    }
    assert_eq!(works(&router), works(&node) + works(&other));
    assert!(works(&node) > 0);
    assert!(!home.beside("evidence").exists());
    // The other way round, and the router's half of the node's receipts is checked with that.
    let report = against(0, &node, &[&router], &home.beside("evidence"));
    assert_eq!((&report["ok"], &report["router_halves_checked"]), (&json!(true), &json!(true)));
    let matched = report["against"][0]["matched"].clone();
    // Either of them, and both, as they are published, without a segment.
    let published = |log: &Path, name: &str| {
        let to = home.beside(name);
        copy(log, &to);
        fs::remove_dir_all(to.join("seg")).unwrap();
        to
    };
    let (routers, nodes) = (published(&router, "routers"), published(&node, "nodes"));
    for (log, other) in [(&node, &routers), (&routers, &node), (&nodes, &routers)] {
        let report = against(0, log, &[other], &home.beside("evidence"));
        assert_eq!((&report["ok"], &report["router_halves_checked"]), (&json!(true), &json!(true)));
        assert_eq!(report["against"][0]["matched"], matched, "{report}");
    }
    flip(&nodes);
    let report = against(1, &routers, &[&nodes], &home.beside("evidence"));
    assert_eq!(report["against"][0]["report"]["ok"], false);
    let why = "one that does not verify is not copied from elsewhere";
    assert_eq!(report["against"][0]["not_compared"], why);
    home.assert_logs_verify();
}

#[test]
fn a_router_that_drops_a_receipt_or_the_end_of_its_log_is_found_out() {
    let (home, router, node) = worked();
    let (all, theirs) = (bodies(&router), bodies(&node));
    let (evidence, at) = (home.beside("evidence"), last_work(&theirs));
    let dropped = theirs[at].serial;
    let lost = all.iter().position(|b| b.serial == dropped && matches!(b.payload, Payload::Work(_))).unwrap();
    let origin = |report: &Value, side: &str| report["against"][0][side].clone();

    // It cuts its log off before the receipt, and signs that.
    let short = home.beside("short");
    let kept = cut(&router, &short, lost as u64);
    go_on(&home.path(), &short, Role::Router, &[]);
    let report = against(1, &short, &[&node], &evidence);
    assert_eq!((&report["ok"], &report["size"]), (&json!(false), &json!(kept)));
    let faults = named(&report);
    let nodes = text(&origin(&report, "node"));
    assert!(faults.contains(&(nodes.clone(), "UncounteredReceipt".to_owned(), at as u64)), "{faults:?}");
    let anchor = theirs.iter().rposition(|b| matches!(b.payload, Payload::PeerAnchor(_))).unwrap() as u64;
    assert!(faults.contains(&(nodes.clone(), "Rollback".to_owned(), anchor)), "{faults:?}");
    assert_evidence(&report, "Rollback", &origin(&report, "router"));

    // It writes everything that came after anew, without the receipt.
    let forked = home.beside("forked");
    let kept = cut(&router, &forked, lost as u64);
    let kept = usize::try_from(kept).unwrap();
    let rest: Vec<Body> =
        all[kept..].iter().enumerate().filter(|(n, _)| kept + n != lost).map(|(_, b)| b.clone()).collect();
    // As many entries again as the head had that the node keeps.
    let more: Vec<Body> = rest
        .iter()
        .chain(&rest)
        .enumerate()
        .map(|(n, b)| Body {
            serial: if n < rest.len() {
                b.serial
            } else {
                counterfoil_spec::ids::Serial::from_bytes([7; 16])
            },
            payload: if n < rest.len() { b.payload.clone() } else { all[1].payload.clone() },
            ..b.clone()
        })
        .take(rest.len() + 1)
        .collect();
    go_on(&home.path(), &forked, Role::Router, &more);
    let report = against(1, &forked, &[&node], &evidence);
    let faults = named(&report);
    assert_eq!(
        faults,
        [(nodes.clone(), "UncounteredReceipt".to_owned(), at as u64), (nodes, "Fork".to_owned(), anchor)]
    );
    assert_evidence(&report, "Fork", &origin(&report, "router"));
    // Told to people, with the file's name.
    let (log, other) = (forked.display().to_string(), node.display().to_string());
    let folder = evidence.display().to_string();
    let told = ask(&["audit", "verify", "--log-dir", &log, "--against", &other, "--evidence", &folder]);
    assert_eq!(told.code, 1);
    assert!(told.out.contains(&format!("UncounteredReceipt entry {at} of ")), "{}", told.out);
    assert!(told.out.contains("/evidence/fork-"), "{}", told.out);
    // Two pieces of evidence, and each was written once.
    assert_eq!(fs::read_dir(&evidence).unwrap().count(), 2);
}

#[test]
fn a_node_that_drops_its_receipts_is_found_out() {
    let (home, router, node) = worked();
    let (all, theirs) = (bodies(&router), bodies(&node));
    let lost = last_work(&theirs);
    let serial = theirs[lost].serial;
    let at = all.iter().position(|b| b.serial == serial && matches!(b.payload, Payload::Work(_))).unwrap();
    let short = home.beside("short");
    cut(&node, &short, lost as u64);
    go_on(&home.path().join("nodes/1"), &short, Role::Node, &[]);
    let report = against(1, &router, &[&short], &home.beside("evidence"));
    // Each log verifies by itself.
    assert_eq!(report["against"][0]["report"]["ok"], true);
    let routers = text(&report["against"][0]["router"]);
    let anchor = all.iter().rposition(|b| matches!(&b.payload, Payload::PeerAnchor(a) if a.note.starts_with(report["against"][0]["node"].as_str().unwrap()))).unwrap();
    assert_eq!(
        named(&report),
        [
            (routers.clone(), "UncounteredReceipt".to_owned(), at as u64),
            (routers, "Rollback".to_owned(), anchor as u64)
        ]
    );
    assert_evidence(&report, "Rollback", &report["against"][0]["node"]);
    assert_eq!(text(&report["faults"][0]["fault"]), "UncounteredReceipt");
}

#[test]
fn a_damaged_log_is_named_and_not_compared() {
    let (home, router, node) = worked();
    let damaged = home.beside("damaged");
    copy(&node, &damaged);
    let path = segment::list(&damaged).unwrap().pop().unwrap().path;
    let mut bytes = fs::read(&path).unwrap();
    bytes[HEADER_BYTES + 20] ^= 1;
    fs::write(&path, bytes).unwrap();
    let report = against(1, &router, &[&damaged], &home.beside("evidence"));
    let one = &report["against"][0];
    assert_eq!(one["report"]["faults"][0]["fault"], "LeafHashMismatch", "{one}");
    assert!(text(&one["not_compared"]).contains("damaged at byte"), "{one}");
    assert_eq!((&report["faults"], &report["ok"]), (&json!([]), &json!(false)));
}
