//! What a metered account pays, and what it does not.

use serde_json::json;

use crate::harness::{FREE_TOKENS, Home, wait_until_idle};
use crate::http::{ask, fetch, fetch_with, leave, question, stream, streamed};

#[test]
fn an_answer_costs_what_its_usage_says() {
    let home = Home::new();
    let program = home.run(&[]);
    let account = home.account();
    assert_eq!(home.balance(&account), (FREE_TOKENS, 0, 0));
    let reply = ask(program.address(), Some(&account.key), &question(&json!({})));
    let spent = reply.json()["usage"]["total_tokens"].as_u64().unwrap();
    assert_eq!(home.balance(&account), (FREE_TOKENS - spent, 0, spent));
    let entry = home.entry(reply.entry());
    let payload = &entry["body"]["payload"]["payload"];
    assert_eq!(payload["account"], account.id);
    assert_eq!(payload["debits"].as_array().unwrap().len(), 1);
    assert_eq!(payload["debits"][0]["tokens"], spent);
    // Without the key it is the account of callers on loopback, which pays nothing.
    let free = ask(program.address(), None, &question(&json!({})));
    let entry = home.entry(free.entry());
    assert_eq!(entry["body"]["payload"]["payload"]["debits"], json!([]));
    assert_eq!(home.balance(&account), (FREE_TOKENS - spent, 0, spent));
    program.stop();
}

#[test]
fn more_tokens_than_the_balance_is_402_and_debits_nothing() {
    let home = Home::new();
    let roomy = home.roomy_model();
    let program = home.run(&[&roomy]);
    let account = home.account();
    let asked = |n: u64| {
        let more = json!({ "model": "roomy", "max_tokens": n });
        ask(program.address(), Some(&account.key), &question(&more))
    };
    // The answer itself is short; what is held is what it may come to.
    let prompt = asked(1).json()["usage"]["prompt_tokens"].as_u64().unwrap();
    let left = FREE_TOKENS - prompt - 1;
    assert_eq!(home.balance(&account), (left, 0, prompt + 1));
    let size = home.log_size();
    let refused = asked(left - prompt + 1);
    assert_eq!(refused.fault(), (402, Some("insufficient_quota".to_owned())));
    assert_eq!(home.balance(&account), (left, 0, prompt + 1));
    assert_eq!(home.log_size(), size);
    assert_eq!(asked(left - prompt).status, 200);
    program.stop();
}

#[test]
fn client_that_leaves_while_it_is_let_in_holds_nothing() {
    let home = Home::new();
    let roomy = home.roomy_model();
    let program = home.run(&[&roomy]);
    let account = home.account();
    // Long enough that its client is gone before its tokens are counted and held.
    let long = json!([{ "role": "user", "content": "What is a consent token? ".repeat(1_500) }]);
    let body = question(&json!({ "model": "roomy", "max_tokens": 9, "messages": long }));
    (0..8).for_each(|_| leave(program.address(), Some(&account.key), &body));
    let short = question(&json!({ "model": "roomy", "max_tokens": 1 }));
    assert_eq!(ask(program.address(), None, &short).status, 200);
    wait_until_idle(&program);
    let billed: u64 = home
        .payloads("inference")
        .iter()
        .flat_map(|i| i["debits"].as_array().unwrap().clone())
        .map(|d| d["tokens"].as_u64().unwrap())
        .sum();
    assert_eq!(home.balance(&account), (FREE_TOKENS - billed, 0, billed));
    program.stop();
}

#[test]
fn a_client_that_leaves_pays_for_what_was_made() {
    let home = Home::new();
    let endless = home.endless_model();
    let program = home.run(&[&endless]);
    let account = home.account();
    let body = streamed(&json!({ "model": "endless", "max_tokens": 400 }));
    let mut left = stream(program.address(), Some(&account.key), &body);
    left.first_text();
    drop(left);
    wait_until_idle(&program);
    let inferences = home.payloads("inference");
    assert_eq!(inferences.len(), 1, "{inferences:?}");
    assert_eq!(inferences[0]["finish"], "disconnected");
    let (prompt, completion) = (&inferences[0]["prompt_tokens"], &inferences[0]["completion_tokens"]);
    let (prompt, completion) = (prompt.as_u64().unwrap(), completion.as_u64().unwrap());
    assert!((1..400).contains(&completion), "{completion}");
    let spent = prompt + completion;
    assert_eq!(home.balance(&account), (FREE_TOKENS - spent, 0, spent));
    // One that stays pays for all of it.
    let told = stream(program.address(), Some(&account.key), &body).rest();
    assert_eq!((told.finish.as_deref(), &told.usage["completion_tokens"]), (Some("length"), &json!(400)));
    let spent = spent + prompt + 400;
    assert_eq!(home.balance(&account), (FREE_TOKENS - spent, 0, spent));
    program.stop();
    home.assert_logs_verify();
}

//= spec/settlement.md#what-callers-are-told
//= type=test
//# A router MUST tell a caller of the key it sent and of that key's account, and of no other.
#[test]
fn a_client_sees_its_own_key_and_what_its_own_account_used() {
    let home = Home::new();
    let program = home.run(&[]);
    let to = program.address();
    let (account, other) = (home.account(), home.account());
    let made = home.json(&["account", "key", "create", &account.id, "--expires", "3600"]);
    let key = made["key"].as_str().unwrap();
    let told = fetch_with(to, Some(key), "/v1/key").json();
    let shown = home.json(&["account", "show", &account.id]);
    let of_key = shown["keys"].as_array().unwrap().iter().find(|k| k["key_id"] == made["key_id"]).unwrap();
    assert!(of_key["expires"].is_u64(), "{of_key}");
    let expected = json!({
        "key_id": made["key_id"], "account": account.id, "expires": of_key["expires"], "country": null,
        "metered": true,
    });
    assert_eq!(told, expected);
    let usage = ask(to, Some(key), &question(&json!({}))).json()["usage"].clone();
    let used = fetch_with(to, Some(&account.key), "/v1/usage").json();
    assert_eq!(
        (&used["account"], &used["balance"]),
        (&json!(account.id), &home.json(&["account", "show", &account.id])["balance"])
    );
    let row = &used["use"][0];
    assert_eq!(used["use"].as_array().unwrap().len(), 1, "{used}");
    let figures =
        ["model", "requests", "prompt_tokens", "completion_tokens", "debited_tokens"].map(|f| &row[f]);
    assert_eq!(
        figures,
        [
            &json!("guide"),
            &json!(1),
            &usage["prompt_tokens"],
            &usage["completion_tokens"],
            &usage["total_tokens"]
        ]
    );
    assert_eq!(fetch_with(to, Some(&other.key), "/v1/usage").json()["use"], json!([]));
    // Who sends no key on loopback is told of the account of such callers.
    let keyless = fetch(to, "/v1/key").json();
    assert_eq!((&keyless["key_id"], &keyless["metered"]), (&json!(null), &json!(false)));
    home.json(&["account", "key", "revoke", made["key_id"].as_str().unwrap()]);
    for path in ["/v1/key", "/v1/usage"] {
        let revoked = fetch_with(to, Some(key), path);
        assert_eq!(revoked.fault(), (401, Some("invalid_api_key".to_owned())));
    }
    program.stop();
}
