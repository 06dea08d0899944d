//! Callers from somewhere, and nodes that do not serve callers from everywhere.

use std::fs;

use serde_json::{Value, json};

use crate::harness::{FREE_TOKENS, Home, Program, ask as run, text};
use crate::http::{Reply, ask, fetch, question};

/// How often to look before giving up; each look is a round trip.
const MAX_LOOKS: u32 = 1_000_000;
/// What OpenAI's API says to a caller from where it serves nobody.
const NOT_SERVED: &str = "unsupported_country_region_territory";

fn node(home: &Home, name: &str, at: &Program, policy: &str) -> Program {
    let file = home.beside(&format!("{name}.toml"));
    fs::write(&file, policy).unwrap();
    let token = text(&home.json(&["identity", "join-token"])["join_token"]);
    let (nodes, enrol, file) = (at.said("nodes"), at.said("enrol"), file.display().to_string());
    let args = [
        "serve",
        "--json",
        "--accept-notice",
        "--consent-file",
        &file,
        "--router",
        &nodes,
        "--enrol",
        &enrol,
    ];
    Program::start(&home.beside(name), &[&args[..], &["--join-token", &token]].concat())
}

/// Waits until so many nodes host every expert.
fn wait_for_replicas(at: &Program, replicas: u64) {
    let least = |_| fetch(at.address(), "/v1/models/guide").json()["hosted"]["replicas_min"] == replicas;
    assert!((0..MAX_LOOKS).any(least));
}

/// An account of a country, with a key of another one where that is given.
fn caller(home: &Home, of_account: Option<&str>, of_key: Option<&str>) -> String {
    let with = |fixed: &[&str], country: Option<&str>| match country {
        Some(country) => home.json(&[fixed, &["--country", country]].concat()),
        None => home.json(fixed),
    };
    let account = with(&["account", "create"], of_account);
    assert_eq!(account["country"].as_str(), of_account);
    let made = with(&["account", "key", "create", &text(&account["account"])], of_key);
    assert_eq!(made["country"].as_str(), of_key.or(of_account));
    text(&made["key"])
}

/// The nodes that were credited with an answer.
fn workers(home: &Home, answer: &Reply) -> Vec<Value> {
    assert_eq!(answer.status, 200, "{answer:?}");
    let entry = home.entry(answer.entry());
    let credits = entry["body"]["payload"]["payload"]["credits"].as_array().unwrap().clone();
    credits.into_iter().map(|mut credit| credit["node"].take()).collect()
}

//= spec/consent.md#callers
//= type=test
//# A router MUST NOT order under a token that does not allow the caller.
#[test]
fn a_caller_is_served_by_the_nodes_that_consent_to_where_it_is_from() {
    let home = Home::new();
    let fixed = ["router", "--json", "--listen", "127.0.0.1:0", "--keyless", "--replicas", "2"];
    let router = Program::start(&home.path(), &fixed);
    let german = node(&home, "german", &router, "models = \"any\"\ncallers = [\"DE\"]\n");
    wait_for_replicas(&router, 1);
    let [de, fr, unknown, moved] = [
        caller(&home, Some("DE"), None),
        caller(&home, Some("FR"), None),
        caller(&home, None, None),
        caller(&home, Some("FR"), Some("DE")),
    ];
    let answer = |key: Option<&String>| {
        ask(router.address(), key.map(String::as_str), &question(&json!({ "max_tokens": 4 })))
    };
    assert_eq!(workers(&home, &answer(Some(&de))), [german.said("node_id")]);
    assert_eq!(workers(&home, &answer(Some(&moved))), [german.said("node_id")]);
    for (key, words) in [
        (Some(&fr), "consents to callers from FR"),
        (Some(&unknown), "it is not known where this caller is from"),
        (None, "counterfoil account key create ACCOUNT --country CC"),
    ] {
        let refused = answer(key);
        assert_eq!(refused.fault(), (403, Some(NOT_SERVED.to_owned())));
        let message = text(&refused.json()["error"]["message"]);
        assert!(message.starts_with("R_JURIS: ") && message.contains(words), "{message}");
    }
    // Nothing was logged of them.
    assert_eq!(home.payloads("inference").len(), 2);
    let metrics = fetch(router.address(), "/metrics").lines();
    let counted = "counterfoil_refusals_total{by=\"router\",what=\"grant\",code=\"R_JURIS\"} 3";
    assert!(metrics.iter().any(|line| line == counted), "{metrics:?}");

    let open = node(&home, "open", &router, "models = \"any\"\n");
    wait_for_replicas(&router, 2);
    for key in [Some(&fr), Some(&unknown), None] {
        assert_eq!(workers(&home, &answer(key)), [open.said("node_id")]);
    }
    // Who is from where both serve may be served by either.
    let both = [german.said("node_id"), open.said("node_id")].map(Value::from);
    let asked = workers(&home, &answer(Some(&de)));
    assert!(!asked.is_empty() && asked.iter().all(|node| both.contains(node)), "{asked:?}");
    [open, german, router].into_iter().for_each(Program::stop);
    home.assert_logs_verify();
    for log in ["german/log", "open/log"] {
        let report = home.json(&["audit", "verify", "--log-dir", &home.beside(log).display().to_string()]);
        assert_eq!(report["ok"], true, "{report}");
    }
}

#[test]
fn a_country_is_two_capital_letters_and_is_shown() {
    let home = Home::new();
    let (folder, _) = (home.path().display().to_string(), home.json(&["identity", "init"]));
    for no in ["de", "DEU", ""] {
        let refused = run(&["account", "create", "--home", &folder, "--country", no]);
        assert_eq!(refused.code, 2, "{refused:?}");
        assert!(refused.err.contains("is no country; write two capital letters"), "{refused:?}");
    }
    assert_eq!(home.json(&["account", "list"])["accounts"], json!([]));
    let made = home.json(&["account", "create", "--country", "DE"]);
    assert_eq!((&made["country"], &made["free_tokens"]), (&"DE".into(), &FREE_TOKENS.into()));
    let account = text(&made["account"]);
    home.json(&["account", "key", "create", &account]);
    home.json(&["account", "key", "create", &account, "--country", "FR"]);
    let shown = home.json(&["account", "show", &account]);
    assert_eq!(shown["country"], "DE");
    let keys: Vec<_> = shown["keys"].as_array().unwrap().iter().map(|key| key["country"].clone()).collect();
    assert_eq!(keys, ["DE", "FR"]);
    assert_eq!(home.payloads("account-opened")[0]["country"], "DE");
    let logged: Vec<_> = home.payloads("key-created").iter().map(|key| key["country"].clone()).collect();
    assert_eq!(logged, [Value::Null, "FR".into()]);
}
