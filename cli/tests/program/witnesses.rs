//! Witnesses: processes of their own that cosign what the router signs, and what becomes of a log that was rewritten.

use std::path::Path;

use serde_json::{Value, json};

use crate::harness::{Home, Program, ask as command, text};
use crate::http::fetch;

/// Two of three, the third of which may be away.
struct Setting {
    home: Home,
    witnesses: Vec<Program>,
    vkey: String,
    policy: String,
}

impl Setting {
    fn new() -> Self {
        let home = Home::new();
        home.json(&["identity", "init"]);
        let vkey = text(&home.json(&["identity", "show"])["log_vkey"]);
        let witnesses: Vec<Program> = (1..=3).map(|n| witness(&home, n, &vkey)).collect();
        let lines: String = (1..)
            .zip(&witnesses)
            .map(|(n, w)| format!("witness w{n} {} {}\n", w.said("vkey"), w.said("url")))
            .collect();
        let policy = home.beside("policy");
        std::fs::write(&policy, format!("log {vkey}\n{lines}group two 2 w1 w2 w3\nquorum two\n")).unwrap();
        Self { vkey, witnesses, policy: policy.display().to_string(), home }
    }

    fn router(&self) -> Program {
        self.router_that_asks("1")
    }

    /// A router that asks its witnesses every so many seconds.
    fn router_that_asks(&self, every: &str) -> Program {
        let args = ["router", "--json", "--listen", "127.0.0.1:0"];
        let witnessed = ["--witness-policy", &self.policy, "--witness-every", every];
        Program::start(&self.home.path(), &[&args[..], &witnessed].concat())
    }

    fn verify(&self) -> Value {
        let ended = self.home.ask(&["audit", "verify", "--policy", &self.policy, "--json"]);
        serde_json::from_str(&ended.out).unwrap()
    }

    /// Waits until a quorum has cosigned all that the log has.
    fn wait_until_witnessed(&self) -> Value {
        // Each look verifies the log in a process of its own.
        let all = |r: &Value| r["witnessed"]["size"] == r["committed"];
        let found = (0..1000).map(|_| self.verify()).find(all);
        found.expect("the log is not witnessed")
    }
}

fn witness(home: &Home, n: u32, vkey: &str) -> Program {
    let name = format!("w{n}.example");
    let args = ["audit", "witness", "--json", "--name", &name, "--log-vkey", vkey, "--listen", "127.0.0.1:0"];
    Program::start(&home.beside(&format!("w{n}")), &args)
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[test]
fn two_of_three_witnesses_cosign_the_log_and_its_proofs() {
    let mut setting = Setting::new();
    setting.witnesses.pop().unwrap().stop();
    let router = setting.router();
    setting.home.account();
    let report = setting.wait_until_witnessed();
    assert_eq!((&report["ok"], &report["unwitnessed"]), (&json!(true), &json!(false)));
    let names = |of: &Value| of["cosigned"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&report["witnessed"]), ["w1", "w2"]);
    let size = report["committed"].as_u64().unwrap();
    // What is served is what the witnesses say, too.
    let served = fetch(router.address(), "/log/checkpoint");
    assert_eq!(fetch(router.address(), "/log/witnessed").bytes(), served.bytes());
    assert_eq!(served.lines().len(), 4 + 3, "{:?}", served.lines());
    let remembered = setting.home.beside("w1").join("witness");
    let folders =
        std::fs::read_dir(remembered).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let hash = folders.filter(|name| name != "began").collect::<String>();
    let seen = fetch(setting.witnesses[0].address(), &format!("/{hash}/checkpoint"));
    assert_eq!((seen.status, &seen.lines()[..3]), (200, &served.lines()[..3]));
    router.stop();

    let proof = setting.home.ask(&["audit", "prove", &(size - 1).to_string()]);
    let file = setting.home.beside("proof").display().to_string();
    std::fs::write(&file, &proof.out).unwrap();
    let judge = |policy: &str| {
        command(&["audit", "verify-proof", &file, "--vkey", &setting.vkey, "--policy", policy, "--json"])
    };
    let judged: Value = serde_json::from_str(&judge(&setting.policy).out).unwrap();
    assert_eq!(
        (&judged["ok"], names(&judged["proofs"][0]["witnessed"])),
        (&json!(true), vec!["w1".into(), "w2".into()])
    );
    let all = setting.home.beside("all").display().to_string();
    let lines = std::fs::read_to_string(&setting.policy).unwrap().replace("group two 2", "group two all");
    std::fs::write(&all, lines).unwrap();
    let refused = judge(&all);
    assert!(refused.code == 1 && refused.out.contains("QuorumNotMet"), "{refused:?}");
    let refused = setting.home.ask(&["audit", "verify", "--policy", &all]);
    assert!(
        refused.code == 1 && refused.out.starts_with("QuorumNotMet witnessed: cosigned by w1, w2"),
        "{refused:?}"
    );
}

#[test]
fn the_last_entries_of_a_router_that_ends_are_cosigned_too() {
    let mut setting = Setting::new();
    let router = setting.router_that_asks("3600");
    setting.home.account();
    router.stop();
    let report = setting.verify();
    assert_eq!((&report["ok"], &report["witnessed"]["size"]), (&json!(true), &report["committed"]));
    // Nor is it kept from ending by witnesses that are gone.
    for witness in setting.witnesses.drain(..) {
        witness.stop();
    }
    let router = setting.router_that_asks("3600");
    setting.home.account();
    router.stop();
    let after = setting.verify();
    assert_eq!((&after["ok"], &after["witnessed"]["size"]), (&json!(true), &report["committed"]));
}

#[test]
fn a_log_that_was_rewritten_is_cosigned_no_more() {
    let setting = Setting::new();
    let router = setting.router();
    setting.wait_until_witnessed();
    router.stop();
    let (log, old) = (setting.home.path().join("log"), setting.home.beside("old"));
    copy(&log, &old);
    let router = setting.router();
    setting.home.account();
    let before = setting.wait_until_witnessed();
    router.stop();
    // The operator brings the old log back and writes another past, longer than the first.
    std::fs::remove_dir_all(&log).unwrap();
    copy(&old, &log);
    let router = setting.router();
    (0..3).for_each(|_| drop(setting.home.account()));
    // Which of the two is said depends on how long the log is when a witness is asked.
    let said = |errors: &str| {
        errors.contains("not proved to follow from the last one") || errors.contains("Rollback")
    };
    let errors = setting.home.path().with_extension("stderr");
    assert!((0..1_000_000).any(|_| {
        std::thread::yield_now();
        said(&std::fs::read_to_string(&errors).unwrap())
    }));
    let report = setting.verify();
    assert!(report["committed"].as_u64() > before["committed"].as_u64(), "{report}");
    assert_ne!(report["witnessed"]["root"], before["witnessed"]["root"]);
    assert!(report["witnessed"]["size"].as_u64() < before["witnessed"]["size"].as_u64(), "{report}");
    router.stop();
}

#[test]
fn a_witness_without_its_memory_and_a_policy_for_another_log_do_not_start() {
    let setting = Setting::new();
    let home = setting.home.beside("w1");
    let Setting { home: own, witnesses, vkey, policy } = setting;
    witnesses.into_iter().for_each(Program::stop);
    let again = || {
        let home = home.display().to_string();
        command(&["audit", "witness", "--name", "w1.example", "--log-vkey", &vkey, "--home", &home])
    };
    std::fs::remove_dir_all(home.join("witness")).unwrap();
    let refused = again();
    assert!(
        refused.code == 4 && refused.err.contains("is gone, and the key that signed is still here"),
        "{refused:?}"
    );
    let stranger = Home::new();
    let refused = stranger.ask(&["router", "--witness-policy", &policy]);
    assert!(refused.code == 2 && refused.err.contains("names other logs than this one"), "{refused:?}");
    std::fs::write(&policy, "quorum none\n").unwrap();
    let refused = own.ask(&["router", "--witness-policy", &policy]);
    assert!(refused.code == 2 && refused.err.contains("names no witness with a URL"), "{refused:?}");
}

/// The lines of a policy for these witnesses.
fn policy_of(witnesses: &[Program]) -> String {
    let lines: String = (1..)
        .zip(witnesses)
        .map(|(n, w)| format!("witness w{n} {} {}\n", w.said("vkey"), w.said("url")))
        .collect();
    format!("{lines}group two 2 w1 w2 w3\nquorum two\n")
}

#[test]
fn witnesses_cosign_while_the_logs_key_is_changed_and_are_told_the_new_one() {
    let mut setting = Setting::new();
    let router = setting.router();
    setting.home.account();
    setting.wait_until_witnessed();
    let new = text(&setting.home.json(&["identity", "log-key", "next"])["vkey"]);
    setting.home.json(&["identity", "log-key", "activate"]);
    // They know the old key alone, and both have signed.
    let report = setting.wait_until_witnessed();
    assert_eq!((&report["ok"], &report["log_vkey"]), (&json!(true), &json!(new)));
    // Each is started anew with both keys.
    setting.witnesses.drain(..).for_each(Program::stop);
    let both = format!("{},{new}", setting.vkey);
    setting.witnesses = (1..=3).map(|n| witness(&setting.home, n, &both)).collect();
    router.stop();
    let lines = policy_of(&setting.witnesses);
    std::fs::write(&setting.policy, format!("log {}\nlog {new}\n{lines}", setting.vkey)).unwrap();
    let router = setting.router();
    setting.home.json(&["identity", "log-key", "retire"]);
    let report = setting.wait_until_witnessed();
    assert_eq!((&report["ok"], &report["vkey_pinned"]), (&json!(true), &json!(true)));
    router.stop();
    // With the old key alone a witness takes nothing that the new one alone has signed.
    setting.witnesses.drain(..).for_each(Program::stop);
    setting.witnesses = (1..=3).map(|n| witness(&setting.home, n, &setting.vkey)).collect();
    let note = std::fs::read_to_string(setting.home.path().join("log/checkpoint")).unwrap();
    let size: u64 = note.lines().nth(1).unwrap().parse().unwrap();
    let body = format!("old {size}\n\n{note}");
    let reply = crate::http::post(setting.witnesses[0].address(), "/add-checkpoint", &[], body.as_bytes());
    assert_eq!(reply.status, 403, "{reply:?}");
}
