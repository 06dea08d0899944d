//! What is refused, with which status and code, and what it costs: nothing.

use serde_json::{Value, json};

use crate::harness::{FREE_TOKENS, Home, Program};
use crate::http::{ask, ask_as, ask_bytes, fetch, question};

/// The longest body of a request, in bytes.
const LIMIT_BYTES: usize = 4 * 1024 * 1024;

fn invalid(status: u16) -> (u16, Option<String>) {
    (status, None)
}

fn coded(status: u16, code: &str) -> (u16, Option<String>) {
    (status, Some(code.to_owned()))
}

fn asked(program: &Program, more: &Value) -> (u16, Option<String>) {
    ask(program.address(), None, &question(more)).fault()
}

#[test]
fn a_malformed_body_is_400_and_the_next_request_is_answered() {
    let home = Home::new();
    let program = home.run(&[]);
    let sent = |body: &[u8]| ask_bytes(program.address(), None, body).fault();
    assert_eq!(sent(b"{\"model\": \"guide\", "), invalid(400));
    assert_eq!(sent(b""), invalid(400));
    assert_eq!(sent(b"\xff\xfe"), invalid(400));
    assert_eq!(sent(b"[]"), invalid(400));
    let bodies = [
        json!({ "messages": [] }),
        json!({ "messages": [{ "role": "user", "content": 7 }] }),
        json!({ "max_tokens": 0 }),
        json!({ "max_tokens": -1 }),
        json!({ "temperature": 2.1 }),
        json!({ "top_p": 0 }),
        json!({ "n": 2 }),
        json!({ "tools": [{ "type": "function" }] }),
    ];
    for more in &bodies {
        assert_eq!(asked(&program, more), invalid(400), "{more}");
    }
    let good = question(&json!({ "temperature": 2.0, "n": 1, "tools": [], "max_tokens": 1 }));
    assert_eq!(ask(program.address(), None, &good).status, 200);
    program.stop();
    assert_eq!(home.payloads("inference").len(), 1);
}

#[test]
fn an_unknown_model_is_404() {
    let home = Home::new();
    let program = home.run(&[]);
    assert_eq!(asked(&program, &json!({ "model": "guide2" })), coded(404, "model_not_found"));
    assert_eq!(ask(program.address(), None, &question(&json!({ "model": "guide" }))).status, 200);
    program.stop();
}

#[test]
fn one_byte_over_the_limit_is_413() {
    let home = Home::new();
    let program = home.run(&[]);
    let padded = |n: usize| {
        let mut body = question(&json!({ "max_tokens": 1 })).to_string().into_bytes();
        body.resize(n, b' ');
        ask_bytes(program.address(), None, &body)
    };
    assert_eq!(padded(LIMIT_BYTES + 1).fault(), invalid(413));
    assert_eq!(padded(LIMIT_BYTES).status, 200);
    program.stop();
}

#[test]
fn a_prompt_that_leaves_no_room_is_context_length_exceeded() {
    let home = Home::new();
    let program = home.run(&[]);
    let context = fetch(program.address(), "/health").json()["models"][0]["context"].as_u64().unwrap();
    let words = |n: usize| {
        let content = "a ".repeat(n);
        question(&json!({ "messages": [{ "role": "user", "content": content }], "max_tokens": 1 }))
    };
    let tokens = |n: usize| {
        let reply = ask(program.address(), None, &words(n));
        assert_eq!(reply.status, 200, "{n}");
        reply.json()["usage"]["prompt_tokens"].as_u64().unwrap()
    };
    let (one, two) = (tokens(100), tokens(101));
    assert_eq!(two, one + 1);
    // One token of room is left here, and none with one word more.
    let most = 100 + usize::try_from(context - 1 - one).unwrap();
    assert_eq!(tokens(most), context - 1);
    let over = ask(program.address(), None, &words(most + 1)).fault();
    assert_eq!(over, coded(400, "context_length_exceeded"));
    program.stop();
}

#[test]
fn a_wrong_key_is_401_and_the_right_one_is_not() {
    let home = Home::new();
    let program = home.router();
    let account = home.account();
    let with = |key: Option<&str>| ask(program.address(), key, &question(&json!({}))).fault();
    assert_eq!(with(None), coded(401, "invalid_api_key"));
    assert_eq!(with(Some("local")), coded(401, "invalid_api_key"));
    assert_eq!(with(Some(&format!("{}0", account.key))), coded(401, "invalid_api_key"));
    // The key is right; there is nobody to do the work.
    assert_eq!(with(Some(&account.key)), coded(503, "unavailable"));
    let made = home.json(&["account", "key", "create", &account.id]);
    let (key, id) = (made["key"].as_str().unwrap(), made["key_id"].as_str().unwrap());
    assert_eq!(with(Some(key)), coded(503, "unavailable"));
    home.json(&["account", "key", "revoke", id]);
    assert_eq!(with(Some(key)), coded(401, "invalid_api_key"));
    program.stop();
}

#[test]
fn entries_are_published_to_nobody_without_the_right() {
    let (home, other) = (Home::new(), Home::new());
    let (closed, open) = (home.router(), other.run(&[]));
    for (program, status) in [(&closed, 403), (&open, 200)] {
        let checkpoint = fetch(program.address(), "/log/checkpoint");
        let size = checkpoint.lines()[1].clone();
        assert_eq!(fetch(program.address(), &format!("/log/tile/0/000.p/{size}")).status, 200);
        let entries = fetch(program.address(), &format!("/log/tile/entries/000.p/{size}"));
        assert_eq!(entries.status, status);
    }
    open.stop();
    closed.stop();
}

#[test]
fn without_nodes_the_uncovered_expert_is_named_and_nothing_is_held() {
    let home = Home::new();
    let program = home.router();
    let account = home.account();
    let size = home.log_size();
    let reply = ask(program.address(), Some(&account.key), &question(&json!({})));
    assert_eq!(reply.fault(), coded(503, "unavailable"));
    let message = reply.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("expert 0 of layer 0"), "{message}");
    assert_eq!(home.balance(&account), (FREE_TOKENS, 0, 0));
    assert_eq!(home.log_size(), size);
    program.stop();
}

#[test]
fn a_page_of_another_site_is_refused_where_no_key_is_needed() {
    let home = Home::new();
    let program = home.run(&[]);
    let own = program.address().to_string();
    let sent = |host: &str, headers: &str| ask_as(program.address(), host, headers);
    assert_eq!(sent(&own, "").status, 200);
    assert_eq!(sent(&own, &format!("origin: http://{own}\r\n")).status, 200);
    assert_eq!(sent(&own, "origin: http://other.example\r\n").fault().0, 403);
    assert_eq!(sent("other.example", "").fault().0, 403);
    program.stop();
    assert_eq!(home.payloads("inference").len(), 2);
}
