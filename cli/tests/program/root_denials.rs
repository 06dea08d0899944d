//! What a network's root denies: routers, and issuing CAs.

use serde_json::{Value, json};

use crate::denials::{REFUSED, answer, assert_verifies, consents, node, router, wait_until};
use crate::harness::{Ended, Home, Program, ask, text};

/// A command on the home of a node.
fn at(home: &Home, name: &str, words: &[&str]) -> Ended {
    let own = home.beside(name).display().to_string();
    ask(&[words, &["--home", &own]].concat())
}

/// Signs a list; gives where it lies.
fn sign(home: &Home, file: &str, words: &[&str]) -> String {
    let list = home.beside(file).display().to_string();
    home.json(&[&["identity", "root-deny", "sign", "--list", &list], words].concat());
    list
}

fn take(home: &Home, name: &str, list: &str) -> Ended {
    at(home, name, &["identity", "root-deny", "take", "--json", "--list", list])
}

/// The consent tokens that a node withdrew, as its log says.
fn withdrawn(home: &Home, name: &str) -> usize {
    let log = home.beside(name).join("log").display().to_string();
    let size = home.json(&["audit", "verify", "--log-dir", &log])["size"].as_u64().unwrap();
    let kind = |at: u64| {
        let shown = home.json(&["audit", "show", &at.to_string(), "--log-dir", &log]);
        text(&shown["body"]["payload"]["kind"])
    };
    (0..size).filter(|at| kind(*at) == "consent-revoked").count()
}

/// Both have their experts hosted by this router.
fn scene(home: &Home) -> (Program, Program, Program) {
    let router = router(home);
    let (first, second) = (node(home, "first", &router), node(home, "second", &router));
    wait_until(&router, |seen| seen.len() == 2);
    (router, first, second)
}

#[test]
fn node_whose_router_the_root_denies_withdraws_its_consent_and_stops() {
    let home = Home::new();
    let (router, first, second) = scene(&home);
    let id = text(&home.json(&["identity", "show"])["router_id"]);
    let list = sign(&home, "deny.pem", &["--router", &id]);
    let took = take(&home, "first", &list);
    let said: Value = serde_json::from_str(&took.out).unwrap();
    let want = json!([1, [id], [], true, true]);
    assert_eq!(
        json!([
            said["epoch"],
            said["routers"],
            said["authorities"],
            said["changed"],
            said["denies_own_router"]
        ]),
        want
    );
    assert_eq!(first.wait(), REFUSED);
    assert_verifies(&home, "first");
    assert_eq!(withdrawn(&home, "first"), 1);
    // Nor does it come back; whoever was not told goes on.
    let back = at(&home, "first", &["serve", "--accept-notice", "--router", &router.said("nodes")]);
    assert_eq!(
        (back.code, back.err.contains("the network's root denies the router")),
        (REFUSED, true),
        "{back:?}"
    );
    wait_until(&router, |seen| seen.len() == 1);
    assert!(!answer(&router).is_empty());
    second.stop();
    router.stop();
    home.assert_logs_verify();
}

#[test]
fn node_waits_for_another_certificate_where_the_root_denies_an_issuing_ca() {
    let home = Home::new();
    let (router, first, second) = scene(&home);
    let old = text(&home.json(&["identity", "ca", "list"])["cas"][0]["serial"]);
    let list = sign(&home, "deny.pem", &["--ca", &old]);
    assert_eq!(take(&home, "second", &list).code, 0);
    wait_until(&router, |seen| seen.len() == 1);
    home.json(&["identity", "ca", "next"]);
    home.json(&["identity", "ca", "activate"]);
    wait_until(&router, |seen| seen.len() == 2);
    first.stop();
    second.stop();
    router.stop();
    home.assert_logs_verify();
    assert_verifies(&home, "second");
}

#[test]
fn list_that_the_root_did_not_sign_or_that_goes_back_is_refused() {
    let home = Home::new();
    let (router, first, second) = scene(&home);
    let nobody = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    let one = sign(&home, "one.pem", &["--router", nobody]);
    let two = sign(&home, "two.pem", &["--ca", &"ab".repeat(16)]);
    let fork = home.ask(&["identity", "root-deny", "sign", "--after", &one, "--ca", &"cd".repeat(16)]);
    assert_eq!((fork.code, fork.err.contains("another of epoch 2 since")), (2, true), "{fork:?}");
    let shown = home.json(&["identity", "root-deny", "show", "--list", &two]);
    assert_eq!(
        json!([shown["epoch"], shown["routers"], shown["authorities"]]),
        json!([2, [nobody], ["ab".repeat(16)]])
    );
    assert_eq!(take(&home, "first", &two).code, 0);
    let same = take(&home, "first", &two);
    assert_eq!(serde_json::from_str::<Value>(&same.out).unwrap()["changed"], json!(false));
    let back = take(&home, "first", &one);
    assert_eq!((back.code, back.err.contains("C_DENY_BACK")), (REFUSED, true), "{back:?}");
    // Another network's root says nothing here.
    let other = Home::new();
    assert_eq!(other.ask(&["identity", "init"]).code, 0);
    let forged = sign(&other, "forged.pem", &["--router", nobody, "--ca", &"cd".repeat(16)]);
    let refused = take(&home, "first", &forged);
    assert_eq!((refused.code, refused.err.contains("C_DENY_LIST")), (REFUSED, true), "{refused:?}");
    let router_home = home.ask(&["identity", "root-deny", "take", "--list", &one]);
    assert_eq!((router_home.code, router_home.err.contains("no node's home")), (2, true), "{router_home:?}");
    assert_eq!(other.ask(&["identity", "root-deny", "show", "--list", &two]).code, REFUSED);
    let bare = Home::new();
    assert_eq!(bare.ask(&["identity", "init"]).code, 0);
    assert_eq!(bare.ask(&["identity", "root-deny", "sign"]).code, 2);
    // All that changes nothing for a node whose router is not named.
    assert_eq!(consents(&router).len(), 2);
    first.stop();
    second.stop();
    router.stop();
}

//= spec/identity.md#the-roots-deny-list
//= type=test
//# A node MUST NOT enrol with a router that the list names so, nor renew its certificate there (`C_DENIED`).
#[test]
fn node_renews_and_enrols_at_no_router_whose_issuing_ca_the_root_denies() {
    let home = Home::new();
    let router = router(&home);
    let token = || text(&home.json(&["identity", "join-token"])["join_token"]);
    let enrol = router.said("enrol");
    let joins = |name| {
        at(&home, name, &["identity", "enroll", "--json", "--enrol", &enrol, "--join-token", &token()])
    };
    let renews = || at(&home, "node", &["identity", "renew", "--json", "--enrol", &enrol]);
    assert_eq!((joins("node").code, renews().code), (0, 0));
    let ca = text(&home.json(&["identity", "ca", "list"])["cas"][0]["serial"]);
    assert_eq!(take(&home, "node", &sign(&home, "deny.pem", &["--ca", &ca])).code, 0);
    for refused in [renews(), joins("node")] {
        assert_eq!((refused.code, refused.err.contains("C_DENIED")), (REFUSED, true), "{refused:?}");
    }
    // The router itself knows nothing of that.
    assert_eq!(joins("other").code, 0);
    home.json(&["identity", "ca", "next"]);
    home.json(&["identity", "ca", "activate"]);
    let renewed = (0..MAX_LOOKS).map(|_| renews().code).find(|code| *code != REFUSED);
    assert_eq!(renewed, Some(0));
    router.stop();
}

/// Tries before a test gives up; each is a process of its own.
const MAX_LOOKS: u32 = 1000;
