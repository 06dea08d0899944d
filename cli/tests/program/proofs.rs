//! Proofs that travel, receipts that a client recounts, and who may read what of the log.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::harness::{Home, QUESTION, ask as command, text};
use crate::http::{ask, fetch, fetch_with, question};

/// `verify-proof` on files: its exit code and what it prints.
fn verify(files: &[PathBuf], vkey: &str, more: &[&str]) -> (i32, Value) {
    let files: Vec<String> = files.iter().map(|f| f.display().to_string()).collect();
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    let ended = command(&[&["audit", "verify-proof", "--json", "--vkey", vkey], more, &files].concat());
    (ended.code, serde_json::from_str(&ended.out).unwrap_or_else(|e| panic!("{e}: {ended:?}")))
}

fn faults(judged: &Value) -> Vec<String> {
    judged["faults"].as_array().unwrap().iter().map(|f| text(&f["fault"])).collect()
}

fn write(path: &Path, content: &str) -> String {
    std::fs::write(path, content).unwrap();
    path.display().to_string()
}

#[test]
fn a_request_and_its_work_are_proved_without_the_log() {
    let home = Home::new();
    let program = home.run(&[]);
    let (vkey, net_id) = (program.said("log_vkey"), program.said("net_id"));
    let reply = ask(program.address(), None, &question(&json!({})));
    let request = text(&reply.json()["counterfoil"]["request_id"]);
    let folder = home.beside("proofs");
    let out = folder.display().to_string();
    let made = home.json(&["audit", "prove", "--request", &request, "--works", "--keys", "--out", &out]);
    let made: Vec<u64> =
        made["proofs"].as_array().unwrap().iter().map(|p| p["of"].as_u64().unwrap()).collect();
    let entry = home.entry(reply.entry());
    let works = entry["body"]["payload"]["payload"]["works"].as_array().unwrap().len();
    // The request, its work, genesis, and the enrolment of each node that worked.
    assert_eq!(made.len(), 2 + 2 * works, "{made:?}");
    let files: Vec<PathBuf> = made.iter().map(|i| folder.join(format!("{i}.tlog-proof"))).collect();
    program.stop();

    let (code, judged) = verify(&files, &vkey, &["--net-id", &net_id]);
    assert_eq!((code, &judged["ok"], &judged["faults"]), (0, &json!(true), &json!([])));
    let proofs = judged["proofs"].as_array().unwrap();
    assert_eq!(proofs.iter().map(|p| p["index"].as_u64().unwrap()).collect::<Vec<_>>(), made);
    assert!(proofs.iter().all(|p| p["signatures"] == "verified"), "{judged}");
    assert_eq!(judged["receipts"], json!(works));
    let own = proofs.iter().find(|p| p["index"] == reply.entry()).unwrap();
    assert_eq!(own["body"]["payload"], entry["body"]["payload"]);

    let path = folder.join(format!("{}.tlog-proof", reply.entry()));
    let (code, judged) = verify(std::slice::from_ref(&path), &vkey, &[]);
    assert_eq!((code, &judged["proofs"][0]["signatures"]), (0, &json!("unchecked")));
    let proof = std::fs::read_to_string(&path).unwrap();
    let other = command(&["audit", "verify-proof", &path.display().to_string(), "--vkey", "x"]);
    assert_eq!(other.code, 2, "{other:?}");
    let later = proof.replace(&format!("index {}", reply.entry()), &format!("index {}", reply.entry() - 1));
    write(&path, &later);
    let (code, judged) = verify(&[path], &vkey, &[]);
    assert_eq!((code, faults(&judged)), (1, vec!["LeafHashMismatch".to_owned()]));
}

#[test]
fn that_the_log_kept_what_it_had_is_proved_and_another_log_is_none() {
    let (home, other) = (Home::new(), Home::new());
    let (program, stranger) = (home.run(&[]), other.run(&[]));
    let vkey = program.said("log_vkey");
    ask(program.address(), None, &question(&json!({})));
    let old = home.beside("old");
    write(&old, std::str::from_utf8(fetch(program.address(), "/log/checkpoint").bytes()).unwrap());
    let foreign = home.beside("foreign");
    write(&foreign, std::str::from_utf8(fetch(stranger.address(), "/log/checkpoint").bytes()).unwrap());
    ask(program.address(), None, &question(&json!({})));
    program.stop();
    stranger.stop();
    let (old, foreign) = (old.display().to_string(), foreign.display().to_string());
    let proof = home.ask(&["audit", "prove", "--consistency", &old]);
    assert_eq!(proof.code, 0, "{proof:?}");
    let file = home.beside("growth");
    write(&file, &proof.out);
    let (code, judged) = verify(std::slice::from_ref(&file), &vkey, &["--old", &old]);
    assert_eq!((code, &judged["size"]), (0, &json!(home.log_size())));
    let (code, judged) = verify(std::slice::from_ref(&file), &vkey, &["--old", &foreign]);
    assert_eq!((code, faults(&judged)), (1, vec!["OriginNotPinned".to_owned()]));
    let mut lines: Vec<&str> = proof.out.lines().collect();
    let hash = lines.remove(1);
    lines.insert(
        1,
        if hash.starts_with('A') {
            "BAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
        } else {
            "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
        },
    );
    write(&file, &format!("{}\n", lines.join("\n")));
    let (code, judged) = verify(&[file], &vkey, &["--old", &old]);
    assert_eq!((code, faults(&judged)), (1, vec!["InconsistentTree".to_owned()]));
}

fn recount(vkey: &str, [receipt, messages, answer]: [&str; 3]) -> (i32, Value) {
    let texts = ["--messages", messages, "--answer", answer, "--json"];
    let ended = command(&[&["audit", "recount", receipt, "--vkey", vkey], &texts[..]].concat());
    (ended.code, serde_json::from_str(&ended.out).unwrap_or_else(|e| panic!("{e}: {ended:?}")))
}

//= spec/audit-log.md#receipts
//= type=test
//# A router MUST answer for a request of another account, and for one that it does not know, alike.
#[test]
fn a_receipt_is_for_its_account_alone_and_is_recounted_without_the_log() {
    let home = Home::new();
    let program = home.run(&[]);
    let (own, other) = (home.account(), home.account());
    let vkey = program.said("log_vkey");
    let reply = ask(program.address(), Some(&own.key), &question(&json!({})));
    let request = text(&reply.json()["counterfoil"]["request_id"]);
    let path = format!("/v1/receipts/{request}");
    let unknown = format!("/v1/receipts/{}", "0".repeat(32));
    for (key, path, status) in [
        (Some(own.key.as_str()), &path, 200),
        (Some(other.key.as_str()), &path, 404),
        (None, &path, 404),
        (Some(own.key.as_str()), &unknown, 404),
    ] {
        assert_eq!(fetch_with(program.address(), key, path).status, status, "{key:?} {path}");
    }
    let receipt = fetch_with(program.address(), Some(&own.key), &path).json();
    assert_eq!((&receipt["entry"], &receipt["request_id"]), (&json!(reply.entry()), &json!(request)));
    program.stop();

    let file = write(&home.beside("receipt.json"), &receipt.to_string());
    let answer = write(&home.beside("answer"), &reply.text());
    let messages = write(&home.beside("request.json"), &question(&json!({})).to_string());
    let recount = |receipt: &str, messages: &str, answer: &str| recount(&vkey, [receipt, messages, answer]);
    let (code, said) = recount(&file, &messages, &answer);
    assert_eq!((code, &said["ok"], &said["faults"]), (0, &json!(true), &json!([])), "{said}");
    let checked: Vec<&str> =
        said["checks"].as_array().unwrap().iter().map(|c| c["what"].as_str().unwrap()).collect();
    assert_eq!(checked, ["work", "credits", "inference", "prompt tokens", "prompt", "answer"]);
    assert_eq!(said["proved"].as_array().unwrap().len(), 1 + receipt["works"].as_array().unwrap().len());
    assert!(receipt["works"].as_array().is_some_and(|works| !works.is_empty()), "{receipt}");

    let wrong = |said: &Value| -> Vec<String> {
        let checks = said["checks"].as_array().unwrap().iter();
        checks.filter(|c| c["ok"] == false).map(|c| text(&c["what"])).collect()
    };
    let another = write(&home.beside("another"), &format!("{}.", reply.text()));
    let (code, said) = recount(&file, &messages, &another);
    assert_eq!((code, wrong(&said)), (1, vec!["answer".to_owned()]));
    let asked = question(&json!({})).to_string().replace(QUESTION, "What is consent?");
    let (code, said) = recount(&file, &write(&home.beside("asked"), &asked), &answer);
    assert_eq!((code, wrong(&said).last().unwrap().as_str()), (1, "prompt"));
    let mut erased = receipt.clone();
    erased["salt"] = Value::Null;
    let (code, said) = recount(&write(&home.beside("erased"), &erased.to_string()), &messages, &answer);
    assert_eq!((code, wrong(&said)), (1, vec!["texts".to_owned()]));
    let mut short = receipt.clone();
    short["works"].as_array_mut().unwrap().pop();
    let (code, said) = recount(&write(&home.beside("short"), &short.to_string()), &messages, &answer);
    assert_eq!((code, wrong(&said)), (1, vec!["work".to_owned()]));
    let mut more = receipt.clone();
    more["inference"]["completion_tokens"] = json!(6_100_000);
    let (code, said) = recount(&write(&home.beside("more"), &more.to_string()), &messages, &answer);
    assert_eq!((code, wrong(&said)), (1, vec!["inference".to_owned()]));
    let mut swapped = receipt.clone();
    swapped["proof"] = receipt["works"][0]["proof"].clone();
    let (code, said) = recount(&write(&home.beside("swapped"), &swapped.to_string()), &messages, &answer);
    assert_eq!((code, faults(&said)[0].as_str()), (1, "WrongParty"));
}

//= spec/audit-log.md#over-http
//= type=test
//# Entries MUST be given to an auditor's key, to the operator, and to callers on loopback where those need no key, and to
//# nobody else.
#[test]
fn an_auditors_key_reads_entries_until_it_is_revoked_and_does_nothing_else() {
    let home = Home::new();
    let program = home.router();
    let account = home.account();
    let create = ["account", "key", "create", &account.id, "--auditor"];
    let made = home.json(&create);
    assert_eq!(made["scope"], "auditor");
    let now = home.entry(home.log_size() - 1)["body"]["time"].as_u64().unwrap() / 1000;
    assert_eq!(made["expires"].as_u64().unwrap() / 10, (now + 30 * 86_400) / 10);
    for expires in ["0", "34560001"] {
        assert_eq!(home.ask(&[&create[..], &["--expires", expires]].concat()).code, 2);
    }
    let key = text(&made["key"]);
    let size: u64 = fetch(program.address(), "/log/checkpoint").lines()[1].parse().unwrap();
    let entries = format!("/log/tile/entries/000.p/{size}");
    let status = |key: Option<&str>| fetch_with(program.address(), key, &entries).status;
    assert_eq!((status(Some(&key)), status(Some(&account.key)), status(None)), (200, 403, 403));
    let asked = ask(program.address(), Some(&key), &question(&json!({})));
    assert_eq!(asked.fault(), (403, None));
    home.json(&["account", "key", "revoke", &text(&made["key_id"])]);
    assert_eq!(status(Some(&key)), 401);
    program.stop();
}

//= spec/audit-log.md#over-http
//= type=test
//# A router MUST serve the partial tiles of every size that it published a checkpoint of, cut from the wider tile that
//# took their place.
#[test]
fn tiles_of_earlier_sizes_are_served_and_those_of_later_ones_are_not() {
    let home = Home::new();
    let program = home.run(&[]);
    ask(program.address(), None, &question(&json!({})));
    program.stop();
    let program = home.run(&[]);
    let at = program.address();
    let size: usize = fetch(at, "/log/checkpoint").lines()[1].parse().unwrap();
    let hashes = fetch(at, &format!("/log/tile/0/000.p/{size}"));
    assert_eq!((hashes.status, hashes.bytes().len()), (200, 32 * size));
    assert_eq!(hashes.header("cache-control"), Some("public, max-age=31536000, immutable"));
    let entries = fetch(at, &format!("/log/tile/entries/000.p/{size}"));
    assert_eq!(entries.header("cache-control"), Some("private, no-store"));
    for width in [1, size - 1] {
        let cut = fetch(at, &format!("/log/tile/0/000.p/{width}"));
        assert_eq!((cut.status, cut.bytes()), (200, &hashes.bytes()[..32 * width]));
        let cut = fetch(at, &format!("/log/tile/entries/000.p/{width}"));
        assert!(cut.status == 200 && entries.bytes().starts_with(cut.bytes()), "{width}");
        assert!(cut.bytes().len() < entries.bytes().len());
    }
    let (later, level) = ("/log/tile/0/000.p/255".to_owned(), "/log/tile/1/000.p/1".to_owned());
    for path in [later, level, "/log/tile/0/000".into(), "/log/tile/0/00".into(), "/log/tile/9/000".into()] {
        let reply = fetch(at, &path);
        assert_eq!((reply.status, reply.header("cache-control")), (404, Some("no-store")), "{path}");
    }
    program.stop();
}
