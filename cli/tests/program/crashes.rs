//! `kill -9` while an answer runs: of one node, of the only node, of everything.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use counterfoil_spec::encode::from_canonical;
use counterfoil_spec::receipt::ReceiptBody;
use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};

use crate::harness::{FREE_TOKENS, Home, Program};
use crate::http::{Told, ask, question, stream, streamed};

/// A long answer: some hundreds of round trips to the nodes follow its first text.
fn long() -> Value {
    streamed(&json!({ "model": "endless", "max_tokens": 400 }))
}

/// Reads an answer and kills a node after its first text; gives when that was.
fn kill_a_node_meanwhile(program: &Program, key: Option<&str>) -> (Told, u128) {
    let mut answer = stream(program.address(), key, &long());
    let first = answer.first_text();
    kill_process(program.node(0), Signal::KILL).unwrap();
    let killed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    let mut told = answer.rest();
    told.text.insert_str(0, &first);
    (told, killed)
}

#[test]
fn the_death_of_one_of_two_nodes_changes_nothing_in_the_answer() {
    let home = Home::new();
    let endless = home.endless_model();
    let program = home.run(&[&endless]);
    let want = stream(program.address(), None, &long()).rest();
    assert_eq!((want.finish.as_deref(), want.done), (Some("length"), true));
    let (told, killed) = kill_a_node_meanwhile(&program, None);
    assert_eq!((&told.text, &told.usage, &told.error), (&want.text, &want.usage, &Value::Null));
    assert_eq!((told.finish.as_deref(), told.done), (Some("length"), true));
    let entry = home.entry(told.own["entry"].as_u64().unwrap());
    let ended = u128::from(entry["body"]["payload"]["payload"]["ended"].as_u64().unwrap());
    assert!(ended > killed, "the answer was over before the node was killed");
    program.stop();
    home.assert_logs_verify_after_a_kill();
}

#[test]
fn a_node_that_dies_after_it_receipted_is_credited_for_that_and_its_receipt_stands_once() {
    let home = Home::new();
    let endless = home.endless_model();
    let program = home.run(&[&endless]);
    let question = streamed(&json!({ "model": "endless", "max_tokens": 450 }));
    let mut answer = stream(program.address(), None, &question);
    // Every 256 tokens a node signs what it did so far.
    let mut text = answer.texts(300);
    kill_process(program.node(0), Signal::KILL).unwrap();
    let told = answer.rest();
    text += &told.text;
    assert_eq!((told.finish.as_deref(), told.done), (Some("length"), true));
    let again = stream(program.address(), None, &question).rest();
    assert_eq!(text, again.text);
    let entry = home.entry(told.own["entry"].as_u64().unwrap());
    let inference = &entry["body"]["payload"]["payload"];
    assert_eq!(inference["credits"].as_array().unwrap().len(), 2, "{inference}");
    assert_eq!(inference["works"].as_array().unwrap().len(), 2, "{inference}");
    assert!(inference["unreceipted"].as_u64().unwrap() > 0, "{inference}");
    program.stop();
    home.assert_logs_verify_after_a_kill();
}

#[test]
fn a_node_that_was_stopped_hands_its_receipt_in_late_and_it_is_logged_and_earns_nothing() {
    let home = Home::new();
    let endless = home.endless_model();
    let program = home.run(&[&endless]);
    let question = streamed(&json!({ "model": "endless", "max_tokens": 220 }));
    let want = stream(program.address(), None, &question).rest();
    let mut answer = stream(program.address(), None, &question);
    let mut text = answer.texts(40);
    kill_process(program.node(0), Signal::STOP).unwrap();
    let stopped = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    let told = answer.rest();
    kill_process(program.node(0), Signal::CONT).unwrap();
    text += &told.text;
    assert_eq!((&text, told.done), (&want.text, true));
    let index = told.own["entry"].as_u64().unwrap();
    let inference = home.entry(index)["body"]["payload"]["payload"].take();
    assert_eq!(inference["works"].as_array().unwrap().len(), 1, "{inference}");
    let ended = u128::from(inference["ended"].as_u64().unwrap());
    assert!(ended > stopped, "the answer was over before the node was stopped");
    let unreceipted = inference["unreceipted"].as_u64().unwrap();
    assert!(unreceipted > 0, "{inference}");
    // Nodes' heads may come before it.
    let beyond = |_| (index + 1..home.log_size()).map(|i| home.entry(i)["body"]["payload"].take());
    let late = (0..1000).flat_map(beyond).find(|payload| payload["kind"] == "work").unwrap();
    let digits: Vec<char> = late["payload"]["receipt"]["body"].as_str().unwrap().chars().collect();
    let byte = |pair: &[char]| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap();
    let body: Vec<u8> = digits.chunks(2).map(byte).collect();
    let body: ReceiptBody = from_canonical(&body, body.len()).unwrap();
    assert_eq!(body.forwards, unreceipted);
    // It owes the router nothing and the router owes it nothing: it is asked again.
    let again = stream(program.address(), None, &question).rest();
    assert_eq!((again.text, again.error), (want.text, Value::Null));
    program.stop();
    home.assert_logs_verify();
    // Three answers of two nodes, each receipt in the router's log and in its node's.
    assert_eq!(home.payloads("work").len(), 6);
    let works = |log: &Path| {
        let at = log.display().to_string();
        let size = home.json(&["audit", "verify", "--log-dir", &at])["committed"].as_u64().unwrap();
        let shown = (0..size).map(|i| home.json(&["audit", "show", &i.to_string(), "--log-dir", &at]));
        shown.filter(|entry| entry["body"]["payload"]["kind"] == "work").count()
    };
    let own = home.logs().into_iter().filter(|log| log.starts_with(home.path().join("nodes")));
    assert_eq!(own.map(|log| works(&log)).collect::<Vec<_>>(), [3, 3]);
}

#[test]
fn the_death_of_the_only_node_ends_the_answer_with_an_error_and_costs_nothing() {
    let home = Home::new();
    let endless = home.endless_model();
    let program = home.run(&[&endless, "--nodes", "1", "--replicas", "1"]);
    let account = home.account();
    let (told, _) = kill_a_node_meanwhile(&program, Some(&account.key));
    assert_eq!((told.finish, told.done, told.own), (None, false, Value::Null));
    assert_eq!(told.error["type"], "server_error", "{}", told.error);
    assert_eq!(told.error["code"], "unavailable", "{}", told.error);
    assert_eq!(home.balance(&account), (FREE_TOKENS, 0, 0));
    let inferences = home.payloads("inference");
    assert_eq!(inferences.len(), 1, "{inferences:?}");
    assert_eq!((&inferences[0]["finish"], &inferences[0]["debits"]), (&json!("failed"), &json!([])));
    assert_eq!(inferences[0]["failed_node"], program.ready["nodes"][0]["node_id"]);
    program.stop();
    home.assert_logs_verify_after_a_kill();
}

#[test]
fn the_death_of_everything_loses_nothing_that_was_promised() {
    let home = Home::new();
    let endless = home.endless_model();
    let program = home.run(&[&endless]);
    let account = home.account();
    let short = question(&json!({ "model": "endless", "max_tokens": 5 }));
    let before = ask(program.address(), Some(&account.key), &short);
    assert_eq!(before.status, 200);
    let mut answer = stream(program.address(), Some(&account.key), &long());
    answer.first_text();
    program.kill_all();
    let told = answer.rest();
    assert_eq!((told.finish, told.done), (None, false));

    let program = home.run(&[&endless]);
    assert_eq!(home.entry(before.entry())["body"]["payload"]["payload"]["account"], account.id);
    assert_eq!(ask(program.address(), Some(&account.key), &short).text(), before.text());
    program.stop();
    home.assert_logs_verify();
    let inferences = home.payloads("inference");
    let finishes: Vec<_> = inferences.iter().map(|i| i["finish"].as_str().unwrap()).collect();
    assert_eq!(finishes, ["length", "crashed", "length"]);
    let debits = inferences.iter().flat_map(|i| i["debits"].as_array().unwrap());
    let spent: u64 = debits.map(|d| d["tokens"].as_u64().unwrap()).sum();
    assert_eq!(spent, 2 * before.json()["usage"]["total_tokens"].as_u64().unwrap());
    assert_eq!(home.balance(&account), (FREE_TOKENS - spent, 0, spent));
}
