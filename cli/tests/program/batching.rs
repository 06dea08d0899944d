//! Requests at one time: each is answered as if it were alone.

use std::thread;

use serde_json::{Value, json};

use crate::harness::{Home, wait_until_idle};
use crate::http::{Told, stream, streamed};

/// Questions with lengths, seeds and stop strings of their own.
fn questions() -> Vec<Value> {
    let ask = |more: Value, text: &str| {
        let mut body = streamed(&more);
        body["messages"][0]["content"] = text.into();
        body
    };
    vec![
        ask(json!({}), "What is a consent token?"),
        ask(json!({ "temperature": 0.9, "seed": 7, "max_tokens": 60 }), "What is an audit log?"),
        ask(json!({ "temperature": 0.9, "seed": 8, "max_tokens": 60 }), "What is an audit log?"),
        ask(json!({ "stop": ["the"] }), "What does a node do when its operator withdraws consent?"),
        ask(json!({ "max_tokens": 1 }), "Who pays whom?"),
        ask(json!({ "temperature": 1.2, "top_p": 0.8, "seed": 9, "max_tokens": 90 }), &"and ".repeat(120)),
    ]
}

fn said(told: &Told) -> (&str, Option<&str>, &Value) {
    assert_eq!((&told.error, told.done), (&Value::Null, true));
    (&told.text, told.finish.as_deref(), &told.usage)
}

#[test]
fn become_what_each_becomes_alone_while_others_come_and_go() {
    let home = Home::new();
    let program = home.run(&[]);
    let at = program.address();
    let alone: Vec<Told> = questions().iter().map(|q| stream(at, None, q).rest()).collect();
    let together: Vec<Told> = thread::scope(|scope| {
        let asked: Vec<_> = questions()
            .into_iter()
            .map(|question| scope.spawn(move || stream(at, None, &question).rest()))
            .collect();
        // Others come, read one piece, and are gone.
        for question in questions().iter().take(4) {
            stream(at, None, question).first_text();
        }
        asked.into_iter().map(|told| told.join().unwrap()).collect()
    });
    for (together, alone) in together.iter().zip(&alone) {
        assert_eq!(said(together), said(alone));
    }
    wait_until_idle(&program);
    program.stop();
    home.assert_logs_verify();
    // Each has its entry, and every forward that was made for it its receipt.
    let inferences = home.payloads("inference");
    assert_eq!(inferences.len(), 2 * 6 + 4);
    assert!(inferences.iter().all(|i| i["unreceipted"] == 0), "{inferences:?}");
}
