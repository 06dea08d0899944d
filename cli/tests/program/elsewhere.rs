//! A log that is verified where its folder is not: at a router's address, from an archive, from a checkpoint that was kept; and servers
//! that answer with what they like.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;

use serde_json::{Value, json};

use crate::harness::{Home, Program, ask, text};
use crate::http::{self, question};

/// Arguments with the keys pinned that a router says.
fn verify<'a>(log: &'a str, vkey: &'a str, net_id: &'a str) -> Vec<&'a str> {
    vec!["audit", "verify", "--log", log, "--vkey", vkey, "--net-id", net_id]
}

fn report(code: i32, args: &[&str]) -> Value {
    let ended = ask(&[args, &["--json"]].concat());
    assert_eq!(ended.code, code, "{ended:?}");
    serde_json::from_str(&ended.out).unwrap()
}

/// The faults of a report, by name and file.
fn named(report: &Value) -> Vec<(String, Value)> {
    let all = report["faults"].as_array().unwrap();
    all.iter().map(|f| (text(&f["fault"]), f["file"].clone())).collect()
}

fn pins(program: &Program) -> (String, String) {
    (program.said("log_vkey"), program.said("net_id"))
}

#[test]
fn a_routers_address_and_an_archive_give_what_its_folder_gives() {
    let home = Home::new();
    let program = home.run(&[]);
    http::ask(program.address(), None, &question(&json!({})));
    let (url, (vkey, net_id)) = (program.said("url"), pins(&program));
    let at_address = report(0, &verify(&url, &vkey, &net_id));
    assert_eq!((&at_address["ok"], &at_address["faults"]), (&json!(true), &json!([])));
    let size = at_address["size"].as_u64().unwrap();
    assert!(size > 5, "{at_address}");
    assert_eq!(at_address["rules_saw"], size);

    let (file, folder) = (home.beside("log.tar").display().to_string(), home.path().join("log"));
    let made = home.json(&["audit", "archive", "--out", &file]);
    assert!(made["size"].as_u64().unwrap() >= size);
    // A file that is there is not written over.
    assert_eq!(home.ask(&["audit", "archive", "--out", &file]).code, 4);
    program.stop();
    let from_file = report(0, &verify(&file, &vkey, &net_id));
    assert_eq!(from_file["size"], made["size"]);
    let folder = folder.display().to_string();
    let whole = report(0, &verify(&folder, &vkey, &net_id));
    for member in ["origin", "net_id", "log_vkey", "unwitnessed", "vkey_pinned"] {
        assert_eq!((&at_address[member], &from_file[member]), (&whole[member], &whole[member]), "{member}");
    }
}

#[test]
fn entries_at_an_address_are_for_an_auditors_key() {
    let home = Home::new();
    let program = home.router();
    let (url, (vkey, net_id)) = (program.said("url"), pins(&program));
    let args = verify(&url, &vkey, &net_id);
    let ended = ask(&args);
    assert_eq!(ended.code, 3, "{ended:?}");
    assert!(ended.err.contains("auditor"), "{}", ended.err);
    let account = text(&home.json(&["account", "create"])["account"]);
    let key = text(&home.json(&["account", "key", "create", &account, "--auditor"])["key"]);
    let found = report(0, &[&args[..], &["--key", &key]].concat());
    assert_eq!(found["ok"], true);
    program.stop();
    assert_eq!(ask(&args).code, 4);
}

#[test]
fn a_checkpoint_that_was_kept_is_where_the_next_verification_begins() {
    let home = Home::new();
    home.run(&[]).stop();
    let kept = home.beside("kept").display().to_string();
    let first = home.json(&["audit", "verify", "--remember", &kept]);
    let program = home.run(&[]);
    http::ask(program.address(), None, &question(&json!({})));
    program.stop();
    let second = home.json(&["audit", "verify", "--from", &kept, "--remember", &kept]);
    assert_eq!((&second["from"]["size"], &second["from"]["root"]), (&first["size"], &first["root"]));
    assert_eq!(second["signatures_skipped"], first["signatures"]);
    let all = second["signatures"].as_u64().unwrap() + second["signatures_skipped"].as_u64().unwrap();
    let third = home.json(&["audit", "verify", "--from", &kept]);
    assert_eq!((&third["signatures"], &third["signatures_skipped"]), (&json!(0), &json!(all)));
    assert_eq!(third["from"]["size"], second["size"]);
    // One of another log is not this log's.
    let other = Home::new();
    other.run(&[]).stop();
    let wrong = other.json_with(1, &["audit", "verify", "--from", &kept]);
    let faults: Vec<String> = named(&wrong).into_iter().map(|(fault, _)| fault).collect();
    assert!(faults.contains(&"NoTrustedSignature".to_owned()), "{faults:?}");
    // What does not verify is not remembered.
    let before = std::fs::read(&kept).unwrap();
    other.json_with(1, &["audit", "verify", "--from", &kept, "--remember", &kept]);
    assert_eq!(std::fs::read(&kept).unwrap(), before);
    let none = home.beside("none").display().to_string();
    assert_eq!(home.ask(&["audit", "verify", "--from", &none]).code, 2);
}

/// What a server answers for a path.
type Answer = Box<dyn Fn(&str) -> Vec<u8> + Send>;

/// Answers every request with what `answer` gives for its path, until the test is over.
fn serve(answer: impl Fn(&str) -> Vec<u8> + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            let first = lines.next().unwrap_or_default();
            let _ = lines.by_ref().take_while(|line| !line.is_empty()).count();
            let _ = stream.write_all(&answer(first.split(' ').nth(1).unwrap_or_default()));
        }
    });
    url
}

fn ok(body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn status(line: &str) -> Vec<u8> {
    format!("HTTP/1.1 {line}\r\nlocation: /elsewhere\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        .into_bytes()
}

#[test]
fn a_server_that_answers_with_what_it_likes_is_named_and_bounded() {
    let home = Home::new();
    let program = home.run(&[]);
    http::ask(program.address(), None, &question(&json!({})));
    let (vkey, net_id) = pins(&program);
    program.stop();
    let log = home.path().join("log");
    let judged = |code: i32, answer: Answer| report(code, &verify(&serve(answer), &vkey, &net_id));
    // As it is, it verifies.
    let reads = |log: std::path::PathBuf| {
        move |path: &str| {
            let bytes = std::fs::read(log.join(path.trim_start_matches("/log/")));
            bytes.map_or_else(|_| status("404 Not Found"), |bytes| ok(&bytes))
        }
    };
    let good = reads(log.clone());
    assert_eq!(judged(0, Box::new(good))["ok"], true);
    // Longer than such a file can be.
    let found = judged(1, Box::new(|_| ok(&vec![b'x'; 1 << 20])));
    let each = [("MalformedNote", "witnessed"), ("MalformedNote", "checkpoint"), ("Corrupt", "succession")];
    assert_eq!(named(&found), each.map(|(fault, file)| (fault.to_owned(), json!(file))));
    // Nothing there at all.
    let found = judged(1, Box::new(|_| status("404 Not Found")));
    assert_eq!(named(&found), [("NoTrustedSignature".to_owned(), json!("checkpoint"))]);
    // An entry bundle that is another.
    let good = reads(log.clone());
    let found = judged(
        1,
        Box::new(move |path| {
            let mut bytes = good(path);
            if path.starts_with("/log/tile/entries/") {
                let last = bytes.len() - 1;
                bytes[last] ^= 1;
            }
            bytes
        }),
    );
    let faults: Vec<String> = named(&found).into_iter().map(|(fault, _)| fault).collect();
    assert_eq!(faults, ["LeafHashMismatch", "BadEntrySignature"]);
    // A redirect is not followed, and a server's own fault is not the log's.
    for line in ["302 Found", "500 Internal Server Error"] {
        let url = serve(move |_| status(line));
        let ended = ask(&verify(&url, &vkey, &net_id));
        assert_eq!(ended.code, 4, "{ended:?}");
        assert!(ended.err.contains(line.split(' ').next().unwrap()), "{}", ended.err);
    }
}
