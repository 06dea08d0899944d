//! What a router's operator denies: nodes that are sent away and come back, and consent that is over.

use std::os::unix::fs::DirBuilderExt;

use serde_json::{Value, json};

use crate::harness::{Ended, Home, Program, ask as command, text};
use crate::http::{ask, fetch, question};

/// How often to look before giving up; each look is a round trip.
const MAX_LOOKS: u32 = 1_000_000;
/// The exit code of who was refused by a peer.
pub(crate) const REFUSED: i32 = 3;
const NOBODY: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

/// A router that has every expert hosted by two nodes.
pub(crate) fn router(home: &Home) -> Program {
    let flags = ["router", "--json", "--listen", "127.0.0.1:0", "--keyless", "--replicas", "2"];
    Program::start(&home.path(), &flags)
}

/// What starts a node at a router, but for its home.
fn serve(home: &Home, at: &Program) -> Vec<String> {
    let token = text(&home.json(&["identity", "join-token"])["join_token"]);
    let (nodes, enrol) = (at.said("nodes"), at.said("enrol"));
    let words = ["serve", "--json", "--accept-notice", "--router", &nodes, "--enrol", &enrol];
    words.iter().chain(&["--join-token", &token]).map(|word| (*word).to_owned()).collect()
}

pub(crate) fn node(home: &Home, name: &str, at: &Program) -> Program {
    let flags = serve(home, at);
    Program::start(&home.beside(name), &flags.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Starts a node that is not let in, and waits for its end.
fn sent_away(home: &Home, name: &str, at: &Program) -> Ended {
    let (mut flags, own) = (serve(home, at), home.beside(name).display().to_string());
    flags.extend(["--home".to_owned(), own]);
    command(&flags.iter().map(String::as_str).collect::<Vec<_>>())
}

/// The ids of the consent tokens in use, by node.
pub(crate) fn consents(at: &Program) -> Vec<(String, String)> {
    let health = fetch(at.address(), "/health").json();
    let nodes = health["nodes"].as_array().unwrap();
    nodes.iter().map(|n| (text(&n["id"]), text(&n["cti"]))).collect()
}

pub(crate) fn wait_until(
    at: &Program,
    wanted: impl Fn(&[(String, String)]) -> bool,
) -> Vec<(String, String)> {
    for _ in 0..MAX_LOOKS {
        let seen = consents(at);
        if wanted(&seen) {
            return seen;
        }
    }
    panic!("{:?}", consents(at));
}

pub(crate) fn answer(at: &Program) -> String {
    let reply = ask(at.address(), None, &question(&json!({ "model": "guide", "max_tokens": 24 })));
    assert_eq!(reply.status, 200, "{reply:?}");
    text(&reply.json()["choices"][0]["message"]["content"])
}

pub(crate) fn assert_verifies(home: &Home, name: &str) {
    let log = home.beside(name).join("log").display().to_string();
    let report = home.json(&["audit", "verify", "--log-dir", &log]);
    assert_eq!(report["ok"], true, "{report}");
}

#[test]
fn a_denied_node_is_sent_away_and_the_other_goes_on_until_it_is_allowed_again() {
    let home = Home::new();
    let router = router(&home);
    let (first, second) = (node(&home, "first", &router), node(&home, "second", &router));
    let (one, two) = (first.said("node_id"), second.said("node_id"));
    wait_until(&router, |seen| seen.len() == 2);
    let want = answer(&router);
    let said = home.json(&["router", "deny", &two, "--reason", "its machine was stolen"]);
    assert_eq!((&said["epoch"], &said["names"]["nodes"]), (&json!(1), &json!([two])));
    assert_eq!(second.wait(), REFUSED);
    let left = wait_until(&router, |seen| seen.len() == 1);
    assert_eq!(left[0].0, one);
    assert_eq!(answer(&router), want);
    let health = fetch(router.address(), "/health").json();
    assert_eq!(health["deny_list"], json!({ "epoch": 1, "taken_by": 1 }));
    // It is not let in again, and does not go on asking.
    let away = sent_away(&home, "second", &router);
    assert_eq!(away.code, REFUSED, "{away:?}");
    assert!(away.err.contains("deny list"), "{away:?}");
    let listed = home.json(&["router", "deny", "--list"]);
    let reason = json!("its machine was stolen");
    assert_eq!((&listed["epoch"], &listed["reason"]), (&json!(1), &reason));
    let told = home.ask(&["router", "deny", "--list"]);
    assert!(told.out.contains(&two) && told.out.contains("its machine was stolen"), "{told:?}");

    let said = home.json(&["router", "allow", &two, "--reason", "it was found"]);
    assert_eq!(said["epoch"], 2);
    let second = node(&home, "second", &router);
    wait_until(&router, |seen| seen.len() == 2);
    assert_eq!(answer(&router), want);
    second.stop();
    first.stop();
    router.stop();
    // What is denied while no router runs is denied when one does.
    assert_eq!(home.json(&["router", "deny", &one, "--reason", "for a test"])["epoch"], 3);
    let router = self::router(&home);
    let away = sent_away(&home, "first", &router);
    assert_eq!(away.code, REFUSED, "{away:?}");
    router.stop();
    let lists = home.payloads("deny-list-issued");
    let named = lists.iter().map(|l| l["names"]["nodes"].as_array().unwrap().len()).collect::<Vec<_>>();
    assert_eq!(named, [1, 0, 1]);
    assert_eq!(lists[0]["reason"], reason);
    home.assert_logs_verify();
    assert_verifies(&home, "first");
    assert_verifies(&home, "second");
}

#[test]
fn denied_consent_is_over_for_router_and_node_and_what_nobody_has_is_not_denied() {
    let home = Home::new();
    let router = router(&home);
    let (first, second) = (node(&home, "first", &router), node(&home, "second", &router));
    let (one, two) = (first.said("node_id"), second.said("node_id"));
    let seen = wait_until(&router, |seen| seen.len() == 2);
    let want = answer(&router);
    let (_, cti) = seen.into_iter().find(|(id, _)| *id == two).unwrap();
    home.json(&["router", "deny", "--consent", &cti, "--reason", "for a test"]);
    let left = wait_until(&router, |seen| seen.len() == 1);
    assert_eq!(left[0].0, one);
    assert_eq!(answer(&router), want);
    let told = |args: &[&str]| home.ask(&[&["router", "deny"], args, &["--reason", "no"]].concat());
    for wrong in [
        vec!["--consent", "00000000000000000000000000000000"],
        vec![NOBODY],
        vec!["--consent", &cti],
        vec!["--below-epoch", &two],
    ] {
        let told = told(&wrong);
        assert_eq!(told.code, 2, "{wrong:?}: {told:?}");
    }
    home.json(&["router", "deny", "--below-epoch", &format!("{one}=2"), "--reason", "for a test"]);
    wait_until(&router, <[_]>::is_empty);
    second.stop();
    first.stop();
    router.stop();
    let revoked = home.payloads("consent-revoked");
    let mut nodes: Vec<String> = revoked.iter().map(|r: &Value| text(&r["node"])).collect();
    nodes.sort();
    let mut both = [one, two];
    both.sort();
    assert_eq!(nodes, both);
    home.assert_logs_verify();
    assert_verifies(&home, "first");
    assert_verifies(&home, "second");
}

#[test]
fn a_local_node_that_is_denied_is_not_started_again() {
    let home = Home::new();
    let program = home.run(&["--nodes", "2", "--replicas", "2"]);
    let denied = text(&program.ready["nodes"][1]["node_id"]);
    home.json(&["router", "deny", &denied, "--reason", "for a test"]);
    let state = home.path().join("run/state.json");
    for _ in 0..MAX_LOOKS {
        let state: Value = serde_json::from_slice(&std::fs::read(&state).unwrap()).unwrap();
        if state["nodes"].as_array().unwrap().iter().all(|n| n["node_id"] != denied) {
            assert!(!answer(&program).is_empty());
            program.stop();
            return;
        }
    }
    panic!("it is started again and again");
}

#[test]
fn a_node_whose_keys_were_stolen_is_denied_by_its_recovery_key() {
    let home = Home::new();
    let router = router(&home);
    let (first, second) = (node(&home, "first", &router), node(&home, "second", &router));
    let two = second.said("node_id");
    wait_until(&router, |seen| seen.len() == 2);
    // As it should be, the key is elsewhere.
    let safe = home.beside("safe");
    std::fs::DirBuilder::new().mode(0o700).create(&safe).unwrap();
    let own = safe.join("recovery.key");
    std::fs::rename(home.beside("second").join("identity/recovery.key"), &own).unwrap();
    let (enrol, net_id) = (router.said("enrol"), router.said("net_id"));
    let (own, nowhere) = (own.display().to_string(), home.beside("nowhere").display().to_string());
    let revoke = |key: &str| {
        let whom = ["--recovery-key", key, "--node", &two, "--net-id", &net_id];
        let words = ["identity", "revoke", "--json", "--home", &nowhere, "--enrol", &enrol];
        command(&[words.as_slice(), &whom].concat())
    };
    let others = home.beside("first").join("identity/recovery.key").display().to_string();
    let refused = revoke(&others);
    assert_eq!(refused.code, REFUSED, "{refused:?}");
    assert!(refused.err.contains("E_RECOVERY"), "{refused:?}");
    assert_eq!(consents(&router).len(), 2);
    for _ in 0..2 {
        let done = revoke(&own);
        assert_eq!(done.code, 0, "{done:?}");
        let said: Value = serde_json::from_str(&done.out).unwrap();
        assert_eq!(said, json!({ "node": two, "epoch": 1 }));
    }
    assert_eq!(second.wait(), REFUSED);
    // Not even its owner's join token lets these keys in.
    let again = home.beside("second").join("identity/chain.pem");
    std::fs::remove_file(again).unwrap();
    let away = sent_away(&home, "second", &router);
    assert_eq!(away.code, REFUSED, "{away:?}");
    assert!(away.err.contains("C_DENIED"), "{away:?}");
    first.stop();
    router.stop();
    let lists = home.payloads("deny-list-issued");
    assert_eq!(lists.len(), 1);
    assert!(text(&lists[0]["reason"]).contains("recovery key"), "{lists:?}");
    home.assert_logs_verify();
}
