//! What must not stand in a log does not, and what can be erased is.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::harness::{Home, Program, text};
use crate::http::{ask, fetch, question};

const MAIL: &str = "quincy.adelgunde@mail.example";

/// Every file below a folder.
fn files(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            files(&entry.path(), out);
        } else {
            out.push(entry.path());
        }
    }
}

fn holds(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|part| part == needle)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// What must not be found, by what it is: the texts, and their hashes without a salt in every way to write them.
fn secrets(prompt: &str, output: &str, key: &str) -> Vec<(String, Vec<u8>)> {
    let mut out = vec![("the address of the caller".to_owned(), b"127.0.0.1".to_vec())];
    for (name, text) in [("prompt", prompt), ("output", output), ("key", key), ("mail", MAIL)] {
        out.push((name.to_owned(), text.as_bytes().to_vec()));
        out.push((format!("{name} in hexadecimal"), hex(text.as_bytes()).into_bytes()));
        let sums = [
            ("SHA-256", Sha256::digest(text).to_vec()),
            ("BLAKE3", blake3::hash(text.as_bytes()).as_bytes().to_vec()),
        ];
        for (function, sum) in sums {
            out.push((
                format!("{function} of {name}, base64"),
                data_encoding::BASE64.encode(&sum).into_bytes(),
            ));
            out.push((format!("{function} of {name}, hexadecimal"), hex(&sum).into_bytes()));
            out.push((format!("{function} of {name}"), sum));
        }
    }
    let bare = key.strip_prefix("cf-").unwrap();
    out.push(("the key without what it begins with".to_owned(), bare.as_bytes().to_vec()));
    let raw: Vec<u8> =
        (0..bare.len()).step_by(2).map(|i| u8::from_str_radix(&bare[i..i + 2], 16).unwrap()).collect();
    out.push(("the key's bytes".to_owned(), raw));
    out
}

#[test]
fn logs_and_exports_hold_none_of_a_runs_own_secrets() {
    let home = Home::new();
    let program = home.run(&[]);
    let account = home.account();
    home.json(&["account", "subscribe", &account.id, "explorer", "--paid"]);
    let prompt = format!("What is a consent token? My mail is {MAIL}.");
    let asked = json!({ "messages": [{ "role": "user", "content": prompt }], "user": MAIL });
    let reply = ask(program.address(), Some(&account.key), &question(&asked));
    let output = reply.text();
    assert!(output.len() > 20, "{output:?}");
    program.stop();

    let mut all = Vec::new();
    home.logs().iter().for_each(|log| files(log, &mut all));
    for format in ["jsonl", "csv", "parquet", "records", "ocsf", "hledger", "beancount", "statement"] {
        let folder = home.beside(format);
        home.json(&["audit", "export", "--format", format, "--out", &folder.display().to_string()]);
        files(&folder, &mut all);
    }
    let read: Vec<_> = all.iter().map(|path| (path, std::fs::read(path).unwrap())).collect();
    // The search finds what is there: the account in an export, and its request's serial in the log.
    let found = |needle: &[u8]| read.iter().filter(|(_, bytes)| holds(bytes, needle)).count();
    assert!(found(account.id.as_bytes()) > 0);
    let entry = home.entry(reply.entry());
    let serial = text(&entry["body"]["serial"]);
    let raw: Vec<u8> =
        (0..32).step_by(2).map(|i| u8::from_str_radix(&serial[i..i + 2], 16).unwrap()).collect();
    assert!(found(&raw) > 1 && found(serial.as_bytes()) > 1);
    for (what, secret) in secrets(&prompt, &output, &account.key) {
        for (path, bytes) in &read {
            assert!(!holds(bytes, &secret), "{what} stands in {}", path.display());
        }
    }
}

/// A running network with the serials of two requests that were answered.
fn asked(home: &Home) -> (Program, [String; 2]) {
    let program = home.run(&[]);
    let ask = || {
        let entry = ask(program.address(), None, &question(&json!({ "max_tokens": 2 }))).entry();
        text(&home.entry(entry)["body"]["serial"])
    };
    let requests = [ask(), ask()];
    (program, requests)
}

fn salt(program: &Program, request: &str) -> Value {
    fetch(program.address(), &format!("/v1/receipts/{request}")).json()["salt"].clone()
}

/// All bytes of the vault.
fn vault(home: &Home) -> Vec<u8> {
    let mut all = Vec::new();
    files(&home.path().join("vault"), &mut all);
    all.iter().flat_map(|path| std::fs::read(path).unwrap()).collect()
}

/// The file of the salts, and the day that they are of, by the days since 1970.
fn day(home: &Home) -> (PathBuf, u64) {
    let found = std::fs::read_dir(home.path().join("vault/salts")).unwrap();
    let [file]: [PathBuf; 1] = found.map(|f| f.unwrap().path()).collect::<Vec<_>>().try_into().unwrap();
    let day = file.file_stem().unwrap().to_str().unwrap().parse().unwrap();
    (file, day)
}

/// Makes the salts some days older, and gives the instant at which their day ended.
fn age(home: &Home, days: u64) -> u64 {
    let (file, day) = day(home);
    std::fs::rename(&file, file.with_file_name(format!("{:05}.bin", day - days))).unwrap();
    (day - days + 1) * 86_400_000
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
}

#[test]
fn an_erased_salt_is_gone_from_the_disk_and_the_log_says_so_and_verifies() {
    let home = Home::new();
    let (program, [first, second]) = asked(&home);
    let salts = [text(&salt(&program, &first)), text(&salt(&program, &second))];
    assert!(salts.iter().all(|s| holds(&vault(&home), &bytes(s))));
    let erased = home.json(&["vault", "erase", "--request", &first]);
    assert_eq!(erased["salts"], 1);
    assert_eq!((salt(&program, &first), salt(&program, &second)), (Value::Null, json!(salts[1])));
    assert!(!holds(&vault(&home), &bytes(&salts[0])));
    let entry = home.entry(erased["entry"].as_u64().unwrap());
    assert_eq!(
        entry["body"]["payload"],
        json!({ "kind": "tombstone", "payload": { "requests": [first], "before": null } })
    );
    // What is gone, what never was, and what is no request.
    let twice = home.ask(&["vault", "erase", "--request", &first]);
    assert_eq!(twice.code, 2, "{twice:?}");
    assert!(twice.err.contains("is not in the vault"), "{}", twice.err);
    assert_eq!(home.ask(&["vault", "erase", "--request", &"0".repeat(32)]).code, 2);
    assert_eq!(home.ask(&["vault", "erase", "--request", "x"]).code, 2);
    assert_eq!(home.ask(&["vault", "erase"]).code, 2);
    program.stop();
    let size = home.log_size();
    let before = age(&home, 3);
    // A day's difference is for a test that runs at midnight.
    assert_eq!(home.json(&["vault", "erase", "--older-than-days", "4"])["salts"], 0);
    assert_eq!(home.log_size(), size);
    let rest = home.json(&["vault", "erase", "--older-than-days", "2"]);
    assert_eq!((&rest["salts"], &rest["entry"]), (&json!(1), &json!(size)));
    assert!(!holds(&vault(&home), &bytes(&salts[1])));
    assert_eq!(
        home.payloads("tombstone"),
        [json!({ "requests": [first], "before": null }), json!({ "requests": [], "before": before })]
    );
    let about = home.json(&["audit", "show", "--request", &first]);
    assert_eq!(about["entries"].as_array().unwrap().last().unwrap()["index"], erased["entry"]);
    home.assert_logs_verify();
}

#[test]
fn a_router_erases_by_itself_what_it_kept_for_as_long_as_it_was_told() {
    let home = Home::new();
    let (program, [first, _]) = asked(&home);
    let gone = text(&salt(&program, &first));
    program.stop();
    let before = age(&home, 4);
    let start = |days: &str| {
        Program::start(&home.path(), &["router", "--json", "--listen", "127.0.0.1:0", "--salt-days", days])
    };
    let size = home.log_size();
    start("5").stop();
    assert_eq!(home.log_size(), size);
    assert!(holds(&vault(&home), &bytes(&gone)));
    let program = start("2");
    // Each look verifies the log in a process of its own.
    assert!((0..1000).any(|_| home.log_size() > size), "no salt was erased");
    program.stop();
    assert!(!holds(&vault(&home), &bytes(&gone)));
    assert_eq!(home.payloads("tombstone"), [json!({ "requests": [], "before": before })]);
    home.assert_logs_verify();
    let refused = home.ask(&["router", "--listen", "127.0.0.1:0", "--salt-days", "0"]);
    assert_eq!(refused.code, 2, "{refused:?}");
}

#[test]
fn an_erasure_that_a_crash_broke_off_is_finished_at_the_next_start() {
    let home = Home::new();
    let (program, [first, second]) = asked(&home);
    let gone = text(&salt(&program, &first));
    program.stop();
    let note = [bytes(&first), day(&home).1.to_be_bytes().to_vec()].concat();
    std::fs::write(home.path().join("vault/erasing"), note).unwrap();
    let program = home.run(&[]);
    assert_eq!(salt(&program, &first), Value::Null);
    assert!(salt(&program, &second).is_string());
    program.stop();
    assert!(!holds(&vault(&home), &bytes(&gone)));
    assert!(!home.path().join("vault/erasing").exists());
    assert_eq!(home.payloads("tombstone"), [json!({ "requests": [first], "before": null })]);
    home.assert_logs_verify();
}
