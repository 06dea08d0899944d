//! The log on disk: it goes on, it verifies, and a flipped byte is named.

use std::path::Path;

use serde_json::{Value, json};

use crate::harness::Home;
use crate::http::{ask, question};

pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

fn bytes(hex: &Value) -> Vec<u8> {
    let hex = hex.as_str().unwrap();
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
}

#[test]
fn a_second_start_goes_on_where_the_first_stopped() {
    let home = Home::new();
    let program = home.run(&[]);
    let first = program.ready.clone();
    let text = ask(program.address(), None, &question(&json!({}))).text();
    program.stop();
    let size = home.log_size();
    assert!(size > first["log_size"].as_u64().unwrap());

    let program = home.run(&[]);
    assert_eq!(program.ready["net_id"], first["net_id"]);
    assert_eq!(program.ready["log_vkey"], first["log_vkey"]);
    let ids = |ready: &Value| {
        let nodes = ready["nodes"].as_array().unwrap();
        nodes.iter().map(|n| n["node_id"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(ids(&program.ready), ids(&first));
    assert_eq!(program.ready["log_size"], size);
    assert_eq!(ask(program.address(), None, &question(&json!({}))).text(), text);
    program.stop();
    assert!(home.log_size() > size);
    home.assert_logs_verify();

    let other = Home::new();
    let program = other.run(&[]);
    assert_ne!(program.ready["net_id"], first["net_id"]);
    program.stop();
}

#[test]
fn the_log_verifies_while_it_grows_under_the_pinned_keys_alone() {
    let home = Home::new();
    let program = home.run(&[]);
    let (vkey, net_id) = (program.said("log_vkey"), program.said("net_id"));
    let pinned = ["audit", "verify", "--vkey", &vkey, "--net-id", &net_id];
    ask(program.address(), None, &question(&json!({})));
    let report = home.json(&pinned);
    assert_eq!((&report["ok"], &report["faults"]), (&json!(true), &json!([])));
    assert_eq!((&report["vkey_pinned"], &report["net_id_pinned"]), (&json!(true), &json!(true)));
    let more = ask(program.address(), None, &question(&json!({}))).entry();
    // Nodes' heads may have come since.
    assert!(home.json(&pinned)["committed"].as_u64().unwrap() > more);

    let node = program.ready["nodes"][0]["node_id"].clone();
    let nodes = home.json(&["provider", "nodes"]);
    let all = nodes["nodes"].as_array().unwrap();
    let node_vkey = all.iter().find(|n| n["node"] == node).unwrap()["log_vkey"].as_str().unwrap().to_owned();
    program.stop();
    let log = home.path().join("nodes/1/log").display().to_string();
    let of_node = |vkey: &str| home.ask(&["audit", "verify", "--log-dir", &log, "--vkey", vkey]).code;
    assert_eq!(of_node(&node_vkey), 0);
    assert_eq!(of_node(&vkey), 1);
    let other = format!("{}q", "a".repeat(51));
    assert_eq!(home.ask(&["audit", "verify", "--net-id", &other]).code, 1);
}

#[test]
fn a_flipped_byte_is_named_with_its_entry() {
    let home = Home::new();
    let program = home.run(&[]);
    let index = ask(program.address(), None, &question(&json!({}))).entry();
    program.stop();
    let copied = home.beside("copy");
    let copied_path = copied.display().to_string();
    let verify = ["audit", "verify", "--log-dir", &copied_path];
    copy(&home.path().join("log"), &copied);
    assert_eq!(home.json(&verify)["faults"], json!([]));

    let segment = copied.join("seg/00000000000000000000.log");
    let whole = std::fs::read(&segment).unwrap();
    for at in [index, 0, 7] {
        let entry = home.entry(at);
        let signature = bytes(&entry["signatures"][0]["sig"]);
        let mut places = (0..whole.len()).filter(|i| whole[*i..].starts_with(&signature));
        let place = places.next().unwrap();
        let mut changed = whole.clone();
        changed[place + 32] ^= 1;
        std::fs::write(&segment, changed).unwrap();
        let report = home.json_with(1, &verify);
        assert_eq!(report["ok"], false);
        assert_eq!(report["faults"][0]["index"], at, "{report}");
        assert_eq!(report["faults"][0]["file"], "seg/00000000000000000000.log", "{report}");
        assert_eq!(home.ask(&verify).code, 1);
    }
    std::fs::write(&segment, whole).unwrap();
    assert_eq!(home.json(&verify)["ok"], true);
}

#[test]
fn an_entry_beyond_the_log_is_wrong_use() {
    let home = Home::new();
    home.json(&["identity", "init"]);
    let program = home.router();
    let size = home.log_size();
    program.stop();
    assert_eq!(home.entry(size - 1)["index"], size - 1);
    assert_eq!(home.ask(&["audit", "show", &size.to_string()]).code, 2);
    assert_eq!(Home::new().ask(&["audit", "verify"]).code, 4);
}
