//! Exports of a real run: each form is written, holds, and stops holding when somebody edits it.

use std::path::Path;

use serde_json::{Value, json};

use crate::harness::{Home, text};
use crate::http::{ask, question};

/// Every format with its rows file and what lies between two of its rows.
const FORMATS: [(&str, &str, &str); 8] = [
    ("jsonl", "entries.jsonl", "\n"),
    ("csv", "entries.csv", "\n"),
    ("parquet", "entries.parquet", ""),
    ("records", "records.jsonl", "\n"),
    ("ocsf", "activity.jsonl", "\n"),
    ("hledger", "book.journal", "\n\n"),
    ("beancount", "book.beancount", "\n\n"),
    ("statement", "checkpoint.dsse.json", "\n"),
];

/// A network with an answered request of an account that paid.
fn ran() -> (Home, String) {
    let home = Home::new();
    let program = home.run(&[]);
    let account = home.account();
    home.json(&["account", "subscribe", &account.id, "explorer", "--paid"]);
    ask(program.address(), Some(&account.key), &question(&json!({})));
    let vkey = program.said("log_vkey");
    program.stop();
    (home, vkey)
}

fn export(home: &Home, format: &str, name: &str, more: &[&str]) -> (String, Value) {
    let folder = home.beside(name).display().to_string();
    let fixed = ["audit", "export", "--format", format, "--out", &folder];
    let written = home.json(&[&fixed[..], more].concat());
    (folder, written)
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

/// The names of what is wrong with an export.
fn faults(home: &Home, code: i32, folder: &str, more: &[&str]) -> Vec<String> {
    let report = home.json_with(code, &[&["audit", "verify-export", folder], more].concat());
    assert_eq!(report["ok"], code == 0, "{report}");
    let mut names: Vec<_> = report["faults"].as_array().unwrap().iter().map(|f| text(&f["fault"])).collect();
    names.dedup();
    names
}

#[test]
fn every_format_holds_to_key_and_log_until_a_row_is_edited() {
    let (home, vkey) = ran();
    let log = home.path().join("log").display().to_string();
    let pins: [&[&str]; 2] = [&["--vkey", &vkey], &["--log", &log]];
    for (format, file, end) in FORMATS {
        let (folder, written) = export(&home, format, format, &[]);
        assert_eq!((&written["format"], &written["file"]), (&json!(format), &json!(file)));
        for pin in pins {
            assert_eq!(faults(&home, 0, &folder, pin), [""; 0], "{format}");
        }
        let path = Path::new(&folder).join(file);
        let whole = std::fs::read(&path).unwrap();
        let mut edited = whole.clone();
        let middle = edited.len() / 2;
        edited[middle] ^= 1;
        std::fs::write(&path, edited).unwrap();
        for pin in pins {
            let found = faults(&home, 1, &folder, pin);
            assert!(!found.is_empty(), "{format}: a flipped bit is not found");
        }
        let rows = written["rows"].as_u64().unwrap();
        let size = written["bytes"].as_u64().unwrap();
        assert_eq!(whole.len() as u64, size, "{format}");
        if !end.is_empty() && rows > 1 {
            let parts: Vec<&str> = std::str::from_utf8(&whole).unwrap().split_inclusive(end).collect();
            let without: String =
                parts.iter().enumerate().filter(|(n, _)| *n != parts.len() / 2).map(|(_, p)| *p).collect();
            std::fs::write(&path, without).unwrap();
            assert_eq!(faults(&home, 1, &folder, pins[0]), ["RowDropped"], "{format}");
            let twice: String = parts
                .iter()
                .enumerate()
                .flat_map(|(n, p)| [*p].repeat(1 + usize::from(n == parts.len() / 2)))
                .collect();
            std::fs::write(&path, twice).unwrap();
            assert_eq!(faults(&home, 1, &folder, pins[0]), ["RowAdded"], "{format}");
        }
        std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        assert!(!faults(&home, 1, &folder, pins[0]).is_empty(), "{format}: cut by a byte");
        std::fs::write(&path, whole).unwrap();
        assert_eq!(faults(&home, 0, &folder, pins[0]), [""; 0], "{format}");
    }
}

#[test]
fn rows_say_what_the_entries_say() {
    let (home, _) = ran();
    let size = home.log_size();
    let (folder, written) = export(&home, "jsonl", "all", &[]);
    assert_eq!((&written["entries"], &written["rows"]), (&json!(size), &json!(size)));
    let all = lines(&Path::new(&folder).join("entries.jsonl"));
    for (index, row) in all.iter().enumerate() {
        assert_eq!(*row, home.entry(index as u64));
    }
    let of = |kind: &str| all.iter().find(|r| r["body"]["payload"]["kind"] == kind).unwrap();
    let inference = &of("inference")["body"]["payload"]["payload"];

    let (folder, _) = export(&home, "records", "records", &[]);
    let records = lines(&Path::new(&folder).join("records.jsonl"));
    assert_eq!((&records[0]["record"], &records[0]["claims_compliance"]), (&json!("notice"), &json!(false)));
    let used: Vec<_> = records.iter().filter(|r| r["record"] == "use").collect();
    assert_eq!(used.len(), 1);
    for (name, from) in
        [("account", "account"), ("model", "manifest"), ("finish", "finish"), ("works", "works")]
    {
        assert_eq!(used[0][name], inference[from]);
    }
    assert_eq!(used[0]["error"], false);
    let worked: Vec<_> =
        records.iter().filter(|r| r["record"] == "work").map(|r| r["work"].clone()).collect();
    assert_eq!(json!(worked).as_array().unwrap().len(), inference["works"].as_array().unwrap().len());

    let (folder, _) = export(&home, "ocsf", "ocsf", &[]);
    let events = lines(&Path::new(&folder).join("activity.jsonl"));
    let asked = events.iter().find(|e| e["api"]["operation"] == "chat.completions").unwrap();
    assert_eq!(
        (&asked["type_uid"], &asked["actor"]["user"]["uid"]),
        (&json!(600_301), &inference["account"])
    );
    assert_eq!(asked["metadata"]["uid"], of("inference")["leaf_hash"]);
}

#[test]
fn ranges_are_entries_or_instants_and_the_rest_is_refused() {
    let (home, vkey) = ran();
    let size = home.log_size();
    let all = export(&home, "csv", "all", &[]).1;
    let (folder, some) = export(&home, "csv", "some", &["--from", "3", "--to", "7"]);
    assert_eq!((&some["from"], &some["to"], &some["rows"]), (&json!(3), &json!(7), &json!(4)));
    assert_eq!(faults(&home, 0, &folder, &["--vkey", &vkey]), [""; 0]);
    let since = export(&home, "csv", "since", &["--from", "2026-01-01T00:00:00Z", "--to", "2999-01-01"]).1;
    assert_eq!(since["rows"], all["rows"]);
    let when = home.entry(5)["body"]["time"].as_u64().unwrap();
    let first = (0..size).find(|i| home.entry(*i)["body"]["time"].as_u64().unwrap() >= when).unwrap();
    let row = std::fs::read_to_string(Path::new(&folder).join("entries.csv")).unwrap();
    let instant = row.lines().nth(3).unwrap().split(',').nth(2).unwrap().to_owned();
    assert_eq!(export(&home, "csv", "from-5", &["--from", &instant]).1["from"], first);

    let there = home.beside("all").display().to_string();
    let go = |more: &[&str]| home.ask(&[&["audit", "export", "--format", "csv"], more].concat()).code;
    assert_eq!(go(&["--out", &there]), 2);
    let out = home.beside("x").display().to_string();
    assert_eq!(go(&["--out", &out, "--to", &(size + 1).to_string()]), 2);
    assert_eq!(go(&["--out", &out, "--from", "3", "--to", "3"]), 2);
    assert_eq!(go(&["--out", &out, "--from", "yesterday"]), 2);
    assert_eq!(go(&["--out", &out, "--from", "2999-01-01"]), 2);
    assert_eq!(home.ask(&["audit", "export", "--format", "statement", "--out", &out, "--from", "0"]).code, 2);
    assert!(!home.beside("x").exists());
    assert_eq!(home.ask(&["audit", "verify-export", &out]).code, 4);
    assert_eq!(home.ask(&["audit", "verify-export", &there, "--vkey", "x"]).code, 2);
    let printed = home.ask(&["audit", "export", "--format", "csv", "--out", "-"]);
    let file = std::fs::read_to_string(Path::new(&there).join("entries.csv")).unwrap();
    assert_eq!((printed.code, printed.out), (0, file));
}

#[test]
fn a_statement_is_signed_by_the_author_of_the_log_and_by_nobody_else() {
    let (home, vkey) = ran();
    let (folder, _) = export(&home, "statement", "s", &[]);
    let path = Path::new(&folder).join("checkpoint.dsse.json");
    let envelope: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(envelope["payloadType"], "application/vnd.in-toto+json");
    assert_eq!(envelope["signatures"][0]["keyid"], home.entry(0)["body"]["author"]);
    let mut forged = envelope;
    let sig = text(&forged["signatures"][0]["sig"]);
    let first = if sig.starts_with('A') { "B" } else { "A" };
    forged["signatures"][0]["sig"] = format!("{first}{}", &sig[1..]).into();
    std::fs::write(&path, format!("{forged}\n")).unwrap();
    let found = faults(&home, 1, &folder, &["--vkey", &vkey]);
    assert_eq!(found[0], "BadStatementSignature");

    let other = Home::new();
    other.json(&["identity", "init"]);
    let log = home.path().join("log").display().to_string();
    let out = other.beside("o").display().to_string();
    let refused = other.ask(&["audit", "export", "--format", "statement", "--out", &out, "--log", &log]);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.err.contains("is not the one that writes the log"), "{refused:?}");
}
