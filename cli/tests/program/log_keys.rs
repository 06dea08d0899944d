//! The key of the log's heads is changed with overlap: while requests go on, while processes are killed, and for whoever pinned the
//! old key.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use serde_json::{Value, json};

use crate::harness::{Home, Program, ask as command, text};
use crate::http::{ask, fetch, fetch_with, question};

fn vkeys(home: &Home) -> Vec<(String, String)> {
    let said = home.json(&["identity", "log-key", "list"]);
    said["keys"].as_array().unwrap().iter().map(|key| (text(&key["vkey"]), text(&key["phase"]))).collect()
}

fn answered(program: &Program) {
    let reply = ask(program.address(), None, &question(&json!({ "max_tokens": 8 })));
    assert_eq!(reply.status, 200, "{reply:?}");
}

/// What `audit verify` says to whoever pinned this key.
fn judged(home: &Home, vkey: &str) -> Value {
    let report = home.json(&["audit", "verify", "--vkey", vkey]);
    assert_eq!((&report["ok"], &report["faults"]), (&json!(true), &json!([])));
    report
}

/// Whether a folder of the home has a file.
fn has(home: &Home, name: &str) -> bool {
    home.path().join(name).exists()
}

/// Tells the other thread to stop, whatever becomes of this one.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A step that another one must come before says which.
fn too_early(home: &Home, step: &str, words: &str) {
    let early = home.ask(&["identity", "log-key", step]);
    assert!(early.code == 2 && early.err.contains(words), "{early:?}");
}

/// How many signatures the newest head bears.
fn signatures(program: &Program) -> usize {
    let note = fetch(program.address(), "/log/checkpoint");
    note.lines().iter().filter(|line| line.starts_with('\u{2014}')).count()
}

#[test]
fn no_request_fails_while_the_key_is_changed_and_the_log_verifies_with_either() {
    let home = Home::new();
    let program = home.run(&[]);
    let old = program.said("log_vkey");
    too_early(&home, "activate", "`counterfoil identity log-key next` makes one");
    too_early(&home, "retire", "another must follow it first");
    let (done, answers) = (AtomicBool::new(false), AtomicU32::new(0));
    let new = thread::scope(|scope| {
        // Also where something below fails: the scope waits for who asks.
        let _stop = Stop(&done);
        let load = scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                answered(&program);
                answers.fetch_add(1, Ordering::SeqCst);
            }
        });
        let more = |n: u32| {
            let want = answers.load(Ordering::SeqCst) + n;
            while answers.load(Ordering::SeqCst) < want {
                assert!(!load.is_finished(), "a request failed");
                thread::yield_now();
            }
        };
        more(1);
        let new = text(&home.json(&["identity", "log-key", "next"])["vkey"]);
        assert_eq!(home.json(&["identity", "log-key", "next"])["vkey"], json!(new));
        assert_eq!(judged(&home, &old)["log_vkey"], json!(old));
        more(1);
        let said = home.json(&["identity", "log-key", "activate"]);
        assert_eq!((&said["vkey"], &said["before"]), (&json!(new), &json!(old)));
        more(1);
        for vkey in [&old, &new] {
            let report = judged(&home, vkey);
            assert_eq!((&report["log_vkey"], &report["succeeded"]), (&json!(new), &Value::Null));
        }
        let phases = |a: &str, b: &str| [(old.clone(), a.to_owned()), (new.clone(), b.to_owned())];
        assert_eq!(vkeys(&home), phases("leaving", "in use"));
        too_early(&home, "next", "log-key retire");
        assert_eq!(fetch(program.address(), "/health").json()["log_vkey"], json!(new));
        let said = home.json(&["identity", "log-key", "retire"]);
        assert_eq!((&said["vkey"], &said["in_use"]), (&json!(old), &json!(new)));
        assert_eq!(vkeys(&home), phases("retired", "in use"));
        more(1);
        new
    });
    assert!(!has(&home, "identity/next-log.key") && has(&home, "identity/log.key"));
    let served = fetch(program.address(), "/log/succession");
    assert_eq!(served.bytes(), std::fs::read(home.path().join("log/succession")).unwrap());
    // Over HTTP the old key leads to the new one by what is published.
    let url = program.said("url");
    let ended = command(&["audit", "verify", "--log", &url, "--vkey", &old, "--json"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(serde_json::from_str::<Value>(&ended.out).unwrap()["succeeded"]["vkey"], json!(new));
    program.stop();
    assert_eq!(judged(&home, &new)["succeeded"], Value::Null);
    let succeeded = &judged(&home, &old)["succeeded"];
    assert_eq!((&succeeded["pinned"], &succeeded["vkey"]), (&json!(old), &json!(new)));
    let told = home.ask(&["audit", "verify", "--vkey", &old]);
    assert!(told.code == 0 && told.out.contains("Succeeded: ") && told.out.contains(&new), "{told:?}");
    assert_eq!(home.json(&["identity", "show"])["log_vkey"], json!(new));
    // It goes on with the new key alone.
    let program = home.run(&[]);
    assert_eq!(program.ready["log_vkey"], json!(new));
    answered(&program);
    program.stop();
    home.assert_logs_verify();
}

//= spec/session.md#heads
//= type=test
//# A node MUST take another key of its router's log only where the succession in the same head leads there from the key that it has
//# (`S_HEAD`), MUST keep that succession in the `peer-anchor`, and MUST want the signature of that key from then on.
#[test]
fn nodes_follow_and_the_halves_match_with_heads_of_every_phase() {
    let home = Home::new();
    let phase = |step: Option<&str>| {
        let program = home.run(&[]);
        if let Some(step) = step {
            home.json(&["identity", "log-key", step]);
        }
        answered(&program);
        // Who ends in good order leaves the last heads with each other.
        program.stop();
    };
    phase(None);
    home.json(&["identity", "log-key", "next"]);
    phase(Some("activate"));
    phase(Some("retire"));
    phase(None);
    let [first, second] = [1, 2].map(|n| home.path().join(format!("nodes/{n}/log")).display().to_string());
    let report = home.json(&["audit", "verify", "--against", &first, "--against", &second]);
    assert_eq!((&report["ok"], &report["faults"]), (&json!(true), &json!([])));
    for one in report["against"].as_array().unwrap() {
        assert_eq!((&one["router_heads"], &one["node_heads"]), (&json!(4), &json!(4)), "{one}");
    }
    home.assert_logs_verify();
}

/// Copies the files of the log's keys, or puts them back.
fn carry(home: &Home, to: &Path, back: bool) {
    let identity = home.path().join("identity");
    std::fs::create_dir_all(to).unwrap();
    for name in ["log.key", "next-log.key"] {
        let (from, to) = (identity.join(name), to.join(name));
        let (from, to) = if back { (to, from) } else { (from, to) };
        std::fs::copy(from, to).unwrap();
    }
}

#[test]
fn kill_between_any_two_steps_is_finished_or_undone_at_the_next_start() {
    let home = Home::new();
    let program = home.run(&[]);
    let old = program.said("log_vkey");
    let new = text(&home.json(&["identity", "log-key", "next"])["vkey"]);
    program.kill_all();
    let program = home.run(&[]);
    assert_eq!((program.said("log_vkey"), vkeys(&home).len()), (old.clone(), 1));
    home.json(&["identity", "log-key", "activate"]);
    program.kill_all();
    let program = home.run(&[]);
    assert_eq!(program.said("log_vkey"), new);
    assert_eq!(signatures(&program), 2);
    let kept = home.beside("kept");
    carry(&home, &kept, false);
    home.json(&["identity", "log-key", "retire"]);
    program.kill_all();
    // The log says so, and the files were not touched yet.
    carry(&home, &kept, true);
    let program = home.run(&[]);
    assert_eq!(program.said("log_vkey"), new);
    assert!(!has(&home, "identity/next-log.key"));
    assert_eq!(signatures(&program), 1);
    answered(&program);
    program.stop();
    for vkey in [&old, &new] {
        judged(&home, vkey);
    }
    home.assert_logs_verify_after_a_kill();
}

#[test]
fn log_whose_key_is_gone_is_not_begun_with_another() {
    let home = Home::new();
    home.router().stop();
    let new = text(&home.json(&["identity", "log-key", "next"])["vkey"]);
    home.json(&["identity", "log-key", "activate"]);
    std::fs::remove_file(home.path().join("identity/next-log.key")).unwrap();
    let refused = home.ask(&["router", "--listen", "127.0.0.1:0"]);
    assert!(
        refused.code == 4 && refused.err.contains(&new) && refused.err.contains("put its file"),
        "{refused:?}"
    );
}

#[test]
fn proofs_receipts_and_exports_are_checked_with_the_key_of_before() {
    let home = Home::new();
    let program = home.run(&[]);
    let old = program.said("log_vkey");
    home.json(&["identity", "log-key", "next"]);
    home.json(&["identity", "log-key", "activate"]);
    home.json(&["identity", "log-key", "retire"]);
    let account = home.account();
    let reply = ask(program.address(), Some(&account.key), &question(&json!({ "max_tokens": 8 })));
    let request = text(&reply.json()["counterfoil"]["request_id"]);
    let receipt =
        fetch_with(program.address(), Some(&account.key), &format!("/v1/receipts/{request}")).json();
    let new = text(&receipt["log_vkey"]);
    assert_ne!(new, old);
    let out = home.beside("proofs").display().to_string();
    let made = home.json(&["audit", "prove", "--request", &request, "--keys", "--out", &out]);
    let files: Vec<String> = made["proofs"].as_array().unwrap().iter().map(|p| text(&p["file"])).collect();
    // The request, genesis, and the entry that names the new key.
    assert_eq!(files.len(), 3, "{files:?}");
    program.stop();
    let succession = home.path().join("log/succession").display().to_string();
    let verified = |vkey: &str, more: &[&str]| {
        let files: Vec<&str> = files.iter().map(String::as_str).collect();
        command(&[&["audit", "verify-proof", "--vkey", vkey], more, &files[..]].concat())
    };
    assert_eq!(verified(&new, &[]).code, 0);
    assert_eq!(verified(&old, &["--succession", &succession]).code, 0);
    let without = verified(&old, &[]);
    assert!(without.code == 1 && without.out.contains("NoTrustedSignature"), "{without:?}");
    assert!(without.out.contains("--succession"), "{without:?}");
    let other = Home::new();
    other.json(&["identity", "init"]);
    let stranger = text(&other.json(&["identity", "show"])["log_vkey"]);
    let elsewhere = verified(&stranger, &["--succession", &succession]);
    assert!(elsewhere.code == 1 && elsewhere.err.contains("of other keys than the pinned"), "{elsewhere:?}");
    // Genesis alone does not lead from its key to the new one.
    let genesis = home.beside("proofs/0.tlog-proof").display().to_string();
    let alone = command(&["audit", "verify-proof", "--vkey", &new, &genesis]);
    assert!(alone.code == 1 && alone.out.contains("OriginNotPinned"), "{alone:?}");

    let file = home.beside("receipt.json").display().to_string();
    std::fs::write(&file, receipt.to_string()).unwrap();
    for vkey in [&old, &new] {
        let ended = command(&["audit", "recount", &file, "--vkey", vkey]);
        assert_eq!(ended.code, 0, "{ended:?}");
    }
    assert_eq!(command(&["audit", "recount", &file, "--vkey", &stranger]).code, 1);

    let log = home.path().join("log").display().to_string();
    for format in ["jsonl", "statement"] {
        let folder = home.beside(format).display().to_string();
        home.json(&["audit", "export", "--format", format, "--out", &folder]);
        let held = |more: &[&str]| command(&[&["audit", "verify-export", &folder], more].concat());
        for pins in [
            &["--vkey", &new][..],
            &["--log", &log],
            &["--vkey", &old, "--succession", &succession],
            &["--vkey", &old, "--log", &log],
        ] {
            let ended = held(pins);
            assert_eq!(ended.code, 0, "{pins:?} {ended:?}");
        }
        let ended = held(&["--vkey", &old]);
        assert!(ended.code == 1 && ended.out.contains("OriginNotPinned"), "{ended:?}");
    }
}
