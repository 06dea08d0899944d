//! Homes that are copied, moved, brought back, or of another version: `docs/operations.md#copies-and-recovery`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::harness::{Home, Program, text};
use crate::http::{ask, fetch, question};

/// Commands that read a log in its home.
const AUDITS: [&[&str]; 3] = [&["audit", "verify"], &["audit", "show", "0"], &["audit", "reindex"]];

/// As the documentation says: with modes and times.
fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
}

fn replace(from: &Path, to: &Path) {
    std::fs::remove_dir_all(to).unwrap();
    copy(from, to);
}

/// Every file below a folder with the hash of its bytes.
fn contents(folder: &Path) -> BTreeMap<PathBuf, String> {
    let mut out = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            out.extend(contents(&entry.path()));
        } else {
            let bytes = std::fs::read(entry.path()).unwrap();
            out.insert(entry.path(), blake3::hash(&bytes).to_string());
        }
    }
    out
}

fn salt(program: &Program, request: &str) -> Value {
    fetch(program.address(), &format!("/v1/receipts/{request}")).json()["salt"].clone()
}

fn node_ids(ready: &Value) -> Vec<String> {
    ready["nodes"].as_array().unwrap().iter().map(|n| text(&n["node_id"])).collect()
}

#[test]
fn a_copy_of_a_stopped_home_goes_on_elsewhere_as_it_would_have_here() {
    let home = Home::new();
    let program = home.run(&[]);
    let first = program.ready.clone();
    let account = home.account();
    let entry = ask(program.address(), None, &question(&serde_json::json!({ "max_tokens": 2 }))).entry();
    let request = text(&home.entry(entry)["body"]["serial"]);
    let salted = salt(&program, &request);
    assert!(salted.is_string());
    program.stop();
    let (size, balance, leaf) = (home.log_size(), home.balance(&account), home.entry(entry));

    let elsewhere = Home::new();
    copy(&home.path(), &elsewhere.path());
    drop(home);
    for made_again in ["projections", "run"] {
        std::fs::remove_dir_all(elsewhere.path().join(made_again)).unwrap();
    }
    let program = elsewhere.run(&[]);
    for name in ["net_id", "log_vkey"] {
        assert_eq!(program.ready[name], first[name]);
    }
    assert_eq!(node_ids(&program.ready), node_ids(&first));
    assert_eq!(program.ready["log_size"], size);
    assert_eq!(salt(&program, &request), salted);
    assert_eq!(elsewhere.balance(&account), balance);
    ask(program.address(), Some(&account.key), &question(&serde_json::json!({ "max_tokens": 2 }))).entry();
    program.stop();
    assert_eq!(elsewhere.entry(entry), leaf);
    let pins = ["--vkey", &text(&first["log_vkey"]), "--net-id", &text(&first["net_id"])];
    let report = elsewhere.json(&[&["audit", "verify"], &pins[..]].concat());
    assert!(report["size"].as_u64().unwrap() > size, "{report}");
    elsewhere.assert_logs_verify();
}

#[test]
fn an_older_copy_of_the_record_is_refused_in_words_and_the_newer_one_goes_on() {
    let home = Home::new();
    home.router().stop();
    let log = home.path().join("log");
    let (seg, older, newer) = (log.join("seg"), home.beside("older"), home.beside("newer"));
    copy(&seg, &older);
    let account = home.account();
    copy(&seg, &newer);
    let size = home.log_size();

    replace(&older, &seg);
    let found = contents(&log);
    let signed = size - 3;
    for command in [&["account", "list"][..], &["router", "--listen", "127.0.0.1:0"]] {
        let refused = home.ask(command);
        assert_eq!(refused.code, 4, "{refused:?}");
        let words = format!("the log has {signed} entries, but a head of {size} was signed");
        assert!(refused.err.contains(&words), "{}", refused.err);
        assert!(refused.err.contains("Restore log/seg from a copy that has them"), "{}", refused.err);
    }
    assert_eq!(contents(&log), found);

    replace(&newer, &seg);
    assert_eq!(home.log_size(), size);
    home.router().stop();
    assert_eq!(home.balance(&account).0, crate::harness::FREE_TOKENS);
    home.assert_logs_verify();
}

/// Where the whole home is older, nothing in it says so; a log that is not there beside its keys does.
#[test]
fn a_home_without_its_record_is_refused() {
    let home = Home::new();
    home.router().stop();
    std::fs::remove_dir_all(home.path().join("log")).unwrap();
    let refused = home.ask(&["router", "--listen", "127.0.0.1:0"]);
    assert_eq!(refused.code, 4, "{refused:?}");
    assert!(refused.err.contains("restore the folder from a copy"), "{}", refused.err);
}

#[test]
fn a_home_of_another_format_is_refused_in_its_own_words_and_left_as_it_is() {
    let home = Home::new();
    home.run(&[]).stop();
    let node = home.path().join("nodes/1");
    let serve = ["serve", "--accept-notice", "--router", "127.0.0.1:9"];
    let router: &[&[&str]] = &[
        &["identity", "show"],
        &["account", "list"],
        &["router", "--listen", "127.0.0.1:0"],
        &["run"],
        AUDITS[0],
        AUDITS[1],
        AUDITS[2],
    ];
    let own: &[&[&str]] =
        &[&["identity", "show"], &["consent", "list"], &["consent", "revoke", "--all"], &serve, AUDITS[0]];
    for (at, commands) in [(home.path(), router), (node, own)] {
        let path = at.join("home.json");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{ \"format\": 1 }\n");
        for (format, who) in [(2, "A newer version made it"), (0, "An older version made it")] {
            std::fs::write(&path, format!("{{ \"format\": {format} }}\n")).unwrap();
            let found = contents(&at);
            for command in commands {
                let refused =
                    crate::harness::ask(&[command, &["--home", &at.display().to_string()][..]].concat());
                assert_eq!(refused.code, 4, "{command:?}: {refused:?}");
                let words = format!("has format {format}; this program reads format 1");
                assert!(refused.err.contains(&words), "{}", refused.err);
                assert!(
                    refused.err.contains(who) && refused.err.contains("Nothing was changed"),
                    "{}",
                    refused.err
                );
            }
            assert_eq!(contents(&at), found);
        }
        // What was made before homes said it has the first format, and says so from then on.
        std::fs::remove_file(&path).unwrap();
    }
    home.run(&[]).stop();
    for at in ["home.json", "nodes/1/home.json"] {
        assert_eq!(std::fs::read_to_string(home.path().join(at)).unwrap(), "{ \"format\": 1 }\n");
    }
}
