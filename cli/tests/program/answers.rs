//! Answers: whole, streamed, cut short, many at once.

use std::thread;

use serde_json::{Value, json};

use crate::harness::Home;
use crate::http::{ask, fetch, question, stream, streamed};

#[test]
fn whole_and_streamed_are_the_same_text_with_the_same_usage() {
    let home = Home::new();
    let program = home.run(&[]);
    let whole = ask(program.address(), None, &question(&json!({})));
    assert_eq!((whole.status, &whole.json()["choices"][0]["finish_reason"]), (200, &json!("stop")));
    assert!(whole.text().starts_with("A consent token is "), "{}", whole.text());
    let told = stream(program.address(), None, &streamed(&json!({}))).rest();
    assert_eq!(told.text, whole.text());
    assert_eq!(told.usage, whole.json()["usage"]);
    assert_eq!((told.finish.as_deref(), told.done, &told.error), (Some("stop"), true, &Value::Null));
    let other = json!({ "messages": [{ "role": "user", "content": "How are earnings computed?" }] });
    let other = ask(program.address(), None, &question(&other));
    assert_eq!(other.status, 200);
    assert_ne!(other.text(), whole.text());
    program.stop();
}

#[test]
fn an_answer_names_its_entry_and_the_entry_counts_what_it_used() {
    let home = Home::new();
    let program = home.run(&[]);
    let reply = ask(program.address(), None, &question(&json!({})));
    let told = stream(program.address(), None, &streamed(&json!({ "max_tokens": 3 }))).rest();
    let (usage, body) = (reply.json()["usage"].clone(), reply.json());
    assert_eq!(body["counterfoil"]["entry"], reply.entry());
    assert_eq!(body["counterfoil"]["request_id"], reply.header("x-request-id").unwrap());
    assert_eq!((&told.usage["completion_tokens"], &told.usage["total_tokens"]), (&json!(3), &json!(12)));
    let expected =
        [(reply.entry(), usage, "stop"), (told.own["entry"].as_u64().unwrap(), told.usage, "length")];
    for (index, usage, finish) in expected {
        let entry = home.entry(index);
        let payload = &entry["body"]["payload"];
        assert_eq!(payload["kind"], "inference", "{entry}");
        let (prompt, completion) = (&usage["prompt_tokens"], &usage["completion_tokens"]);
        assert_eq!(&payload["payload"]["prompt_tokens"], prompt);
        assert_eq!(&payload["payload"]["completion_tokens"], completion);
        assert_eq!(payload["payload"]["finish"], finish);
        assert_eq!(usage["total_tokens"], prompt.as_u64().unwrap() + completion.as_u64().unwrap());
        // The entry before it is the work of one of its nodes, under the serial that it names.
        let work = home.entry(index - 1);
        assert_eq!(work["body"]["payload"]["kind"], "work");
        assert!(payload["payload"]["works"].as_array().unwrap().contains(&work["body"]["serial"]), "{work}");
    }
    program.stop();
}

#[test]
fn a_stop_string_ends_an_answer_before_it() {
    let home = Home::new();
    let program = home.run(&[]);
    let asked = |more: Value| ask(program.address(), None, &question(&more));
    let whole = asked(json!({})).text();
    let cut = asked(json!({ "stop": [" permission"] }));
    assert_eq!(cut.text(), whole.split_once(" permission").unwrap().0);
    assert_eq!(cut.json()["choices"][0]["finish_reason"], "stop");
    let told = stream(program.address(), None, &streamed(&json!({ "stop": " permission" }))).rest();
    assert_eq!(told.text, cut.text());
    assert_eq!(asked(json!({ "stop": [" permissions"] })).text(), whole);
    program.stop();
}

#[test]
fn max_tokens_is_exact() {
    let home = Home::new();
    let program = home.run(&[]);
    let asked = |n: u64| ask(program.address(), None, &question(&json!({ "max_tokens": n }))).json();
    let end = |body: &Value| {
        let finish = body["choices"][0]["finish_reason"].as_str().unwrap().to_owned();
        (body["usage"]["completion_tokens"].as_u64().unwrap(), finish)
    };
    assert_eq!(end(&asked(1)), (1, "length".to_owned()));
    let (all, finish) = end(&asked(400));
    assert_eq!(finish, "stop");
    assert_eq!(end(&asked(all)), (all, "stop".to_owned()));
    assert_eq!(end(&asked(all - 1)), (all - 1, "length".to_owned()));
    program.stop();
}

#[test]
fn a_seed_repeats_an_answer() {
    let home = Home::new();
    let program = home.run(&[]);
    let asked = |seed: u64| {
        let more = json!({ "temperature": 2, "seed": seed, "max_tokens": 40 });
        ask(program.address(), None, &question(&more)).text()
    };
    assert_eq!(asked(1), asked(1));
    assert_ne!(asked(1), asked(2));
    program.stop();
}

#[test]
fn thirty_two_at_once_are_all_answered_and_recorded() {
    const CLIENTS: usize = 32;
    let home = Home::new();
    let program = home.run(&[]);
    let to = program.address();
    let want = ask(to, None, &question(&json!({}))).text();
    let mut entries: Vec<u64> = thread::scope(|scope| {
        let clients: Vec<_> =
            (0..CLIENTS).map(|_| scope.spawn(|| ask(to, None, &question(&json!({}))))).collect();
        let replies = clients.into_iter().map(|c| c.join().unwrap());
        replies
            .map(|r| {
                assert_eq!((r.status, r.text()), (200, want.clone()));
                r.entry()
            })
            .collect()
    });
    entries.sort_unstable();
    entries.dedup();
    assert_eq!(entries.len(), CLIENTS);
    program.stop();
    home.assert_logs_verify();
    assert_eq!(home.payloads("inference").len(), CLIENTS + 1);
}

#[test]
fn the_model_is_listed_and_the_page_and_the_checkpoint_are_served() {
    let home = Home::new();
    let program = home.run(&[]);
    let fetched = |path: &str| fetch(program.address(), path);
    assert_eq!(fetched("/v1/models").json()["data"][0]["id"], "guide");
    assert_eq!(fetched("/v1/models/guide").json()["id"], "guide");
    assert_eq!(fetched("/v1/models/other").fault(), (404, Some("model_not_found".into())));
    for path in ["/", "/health", "/metrics", "/log/checkpoint"] {
        assert_eq!(fetched(path).status, 200, "{path}");
    }
    assert_eq!(fetched("/nothing").fault().0, 404);
    program.stop();
}
