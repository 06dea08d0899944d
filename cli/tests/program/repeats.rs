//! Requests with an `Idempotency-Key`: answered once, billed once, whatever the client, its connection and the router do meanwhile.

use serde_json::json;

use crate::harness::{FREE_TOKENS, Home, wait_until_idle};
use crate::http::{Reply, ask, question, stream, streamed};

/// An API key with an `Idempotency-Key` in the header behind it.
fn with(key: &str, repeat: &str) -> String {
    format!("{key}\r\nidempotency-key: {repeat}")
}

fn code(reply: &Reply) -> (u16, String) {
    let (status, code) = reply.fault();
    (status, code.unwrap())
}

#[test]
fn answer_is_given_again_and_billed_once() {
    let home = Home::new();
    let program = home.run(&[]);
    let account = home.account();
    let (body, key) = (question(&json!({})), with(&account.key, "one"));
    let asked = |key: &str, body| ask(program.address(), Some(key), body);
    let first = asked(&key, &body);
    assert_eq!((first.status, first.header("idempotent-replayed")), (200, None));
    let again = asked(&key, &body);
    assert_eq!((again.status, again.header("idempotent-replayed")), (200, Some("true")));
    assert_eq!(again.bytes(), first.bytes());
    for header in ["x-request-id", "x-counterfoil-entry"] {
        assert_eq!(again.header(header).unwrap(), first.header(header).unwrap());
    }
    let spent = first.json()["usage"]["total_tokens"].as_u64().unwrap();
    assert_eq!(home.balance(&account), (FREE_TOKENS - spent, 0, spent));
    assert_eq!(home.payloads("inference").len(), 1);
    let other = question(&json!({ "max_tokens": 3 }));
    assert_eq!(code(&asked(&key, &other)), (409, "idempotency_key_reused".to_owned()));
    // Another account's is another key, and so is one of another name.
    let stranger = home.account();
    assert_eq!(asked(&with(&stranger.key, "one"), &other).status, 200);
    let events = streamed(&json!({}));
    let told = [(); 2].map(|()| stream(program.address(), Some(&with(&account.key, "two")), &events).rest());
    assert_eq!(told[0].text, first.text());
    assert_eq!(told[0], told[1]);
    assert_eq!(home.payloads("inference").len(), 3);
    program.stop();
    home.assert_logs_verify();
}

#[test]
fn request_runs_to_its_end_for_a_client_that_comes_back() {
    let home = Home::new();
    let endless = home.endless_model();
    let program = home.run(&[&endless]);
    let account = home.account();
    let (body, key) = (streamed(&json!({ "model": "endless", "max_tokens": 400 })), with(&account.key, "k"));
    let mut left = stream(program.address(), Some(&key), &body);
    left.first_text();
    let meanwhile = ask(program.address(), Some(&key), &body);
    assert_eq!(code(&meanwhile), (409, "idempotency_key_in_use".to_owned()));
    assert_eq!(meanwhile.header("retry-after"), Some("1"));
    drop(left);
    wait_until_idle(&program);
    let told = stream(program.address(), Some(&key), &body).rest();
    assert_eq!((told.finish.as_deref(), told.done), (Some("length"), true));
    assert_eq!(told.usage["completion_tokens"], 400);
    let spent = told.usage["total_tokens"].as_u64().unwrap();
    assert_eq!(home.balance(&account), (FREE_TOKENS - spent, 0, spent));
    assert_eq!(home.payloads("inference").len(), 1);
    program.stop();
}

#[test]
fn nothing_is_run_again_after_a_kill_and_what_was_refused_may_come_again() {
    let home = Home::new();
    let endless = home.endless_model();
    let program = home.run(&[&endless]);
    let account = home.account();
    let body = streamed(&json!({ "model": "endless", "max_tokens": 400 }));
    let mut cut = stream(program.address(), Some(&with(&account.key, "cut")), &body);
    cut.first_text();
    let refused = question(&json!({ "max_tokens": 1, "model": "nobody" }));
    let again = with(&account.key, "again");
    assert_eq!(ask(program.address(), Some(&again), &refused).status, 404);
    // What is refused costs nothing on the disk.
    let remembered = || std::fs::metadata(home.path().join("vault/repeats")).unwrap().len();
    assert_eq!(remembered(), 48 + 128);
    program.kill_all();
    drop(cut);
    let program = home.run(&[&endless]);
    let gone = ask(program.address(), Some(&with(&account.key, "cut")), &body);
    assert_eq!(code(&gone), (409, "idempotency_answer_gone".to_owned()));
    let entries: Vec<_> = (0..home.log_size()).map(|i| home.entry(i)).collect();
    let failed: Vec<_> = entries.iter().filter(|e| e["body"]["payload"]["kind"] == "inference").collect();
    assert_eq!(failed.len(), 1, "{failed:?}");
    let request = failed[0]["body"]["serial"].as_str().unwrap();
    let says = gone.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(says.contains(&format!("GET /v1/receipts/{request}")), "{says}");
    assert_eq!(
        ask(program.address(), Some(&again), &question(&json!({ "max_tokens": 1, "model": "endless" })))
            .status,
        200
    );
    program.stop();
    home.assert_logs_verify_after_a_kill();
}

#[test]
fn key_that_is_none_is_named() {
    let home = Home::new();
    let program = home.run(&[]);
    let body = question(&json!({ "max_tokens": 1 }));
    for wrong in ["", "a b", &"x".repeat(256)] {
        let refused = ask(program.address(), Some(&with("none", wrong)), &body);
        assert_eq!(refused.status, 400, "{wrong}");
        assert_eq!(refused.json()["error"]["param"], "Idempotency-Key");
    }
    program.stop();
}
