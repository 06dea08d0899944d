//! The router's issuing CA and what follows it, by commands.

use std::os::unix::fs::DirBuilderExt;

use serde_json::{Value, json};

use crate::denials::{REFUSED, answer, assert_verifies, node, router, wait_until};
use crate::harness::{Home, ask as command, text};
use crate::http::fetch;

/// The issuing CAs as (serial number, phase), in the order of the log.
fn listed(home: &Home) -> Vec<(String, String)> {
    let said = home.json(&["identity", "ca", "list"]);
    said["cas"].as_array().unwrap().iter().map(|ca| (text(&ca["serial"]), text(&ca["phase"]))).collect()
}

/// Takes the root's keys away from a home whose log is begun, into another.
fn take_root_away(home: &Home) -> String {
    let (from, root) = (home.path().join("identity"), home.beside("root"));
    let to = root.join("identity");
    std::fs::DirBuilder::new().mode(0o700).recursive(true).create(&to).unwrap();
    for name in ["root.key", "next-root.key"] {
        std::fs::rename(from.join(name), to.join(name)).unwrap();
    }
    std::fs::copy(from.join("root.der"), to.join("root.der")).unwrap();
    root.display().to_string()
}

#[test]
fn the_issuing_ca_rolls_over_with_a_root_elsewhere_while_the_router_answers() {
    let home = Home::new();
    router(&home).stop();
    let root = take_root_away(&home);
    assert_eq!(home.json(&["identity", "show"])["root_key_here"], false);
    let router = router(&home);
    let first = node(&home, "first", &router);
    wait_until(&router, |seen| seen.len() == 1);
    let want = answer(&router);
    let [(old, in_use)] = &listed(&home)[..] else { panic!("one CA") };
    assert_eq!(in_use, "in use");

    let file = |name: &str| home.beside(name).display().to_string();
    let (request, certificate) = (file("ca.csr"), file("ca.pem"));
    let asked = home.json(&["identity", "ca", "next", "--request", &request]);
    assert_eq!((&asked["phase"], &asked["file"]), (&json!("asked"), &json!(request)));
    let early = home.ask(&["identity", "ca", "activate"]);
    assert!(early.code == 2 && early.err.contains("no CA was announced"), "{early:?}");
    let sign = ["identity", "ca", "sign", "--home", &root, "--json", "--request", &request];
    let signed = command(&[&sign[..], &["--certificate", &certificate]].concat());
    assert_eq!(signed.code, 0, "{signed:?}");
    let signed: Value = serde_json::from_str(&signed.out).unwrap();
    assert_eq!((&signed["key_id"], &signed["net_id"]), (&asked["key_id"], &router.ready["net_id"]));
    // Another certificate than the one that was asked for is not taken.
    let other = home.beside("first").join("identity/chain.pem").display().to_string();
    let wrong = home.ask(&["identity", "ca", "announce", "--certificate", &other]);
    assert_eq!(wrong.code, 2, "{wrong:?}");
    let announced = home.json(&["identity", "ca", "announce", "--certificate", &certificate]);
    let next = text(&announced["serial"]);
    let phases = |a: &str, b: &str| vec![(old.clone(), a.to_owned()), (next.clone(), b.to_owned())];
    assert_eq!(listed(&home), phases("in use", "announced"));
    let health = fetch(router.address(), "/health").json();
    assert_eq!(
        (&health["issuing_ca"]["serial"], &health["issuing_ca"]["next"]["serial"]),
        (&json!(old), &json!(next))
    );
    let used = home.ask(&["identity", "ca", "retire", old, "--reason", "for a test"]);
    assert!(used.code == 2 && used.err.contains("in use"), "{used:?}");

    assert_eq!(home.json(&["identity", "ca", "activate"])["serial"], json!(next));
    assert_eq!(listed(&home), phases("leaving", "in use"));
    assert_eq!(answer(&router), want);
    let second = node(&home, "second", &router);
    let two = second.said("node_id");
    wait_until(&router, |seen| seen.len() == 2);
    assert_eq!(answer(&router), want);
    home.json(&["identity", "ca", "retire", old, "--reason", "for a test"]);
    assert_eq!(first.wait(), REFUSED);
    let left = wait_until(&router, |seen| seen.len() == 1);
    assert_eq!(left[0].0, two);
    assert_eq!(answer(&router), want);
    second.stop();
    router.stop();
    let count = |kind: &str| home.payloads(kind).len();
    assert_eq!([count("ca-issued"), count("key-rotation"), count("deny-list-issued")], [2, 1, 1]);
    home.assert_logs_verify();
    assert_verifies(&home, "first");
    assert_verifies(&home, "second");
}

#[test]
fn with_the_root_at_hand_the_next_ca_is_one_command_away() {
    let home = Home::new();
    home.json(&["identity", "init"]);
    let next = text(&home.json(&["identity", "ca", "next"])["serial"]);
    let again = home.ask(&["identity", "ca", "next"]);
    assert!(again.code == 2 && again.err.contains("announced already"), "{again:?}");
    let told = home.ask(&["identity", "ca", "list"]);
    assert!(told.out.contains("announced") && told.out.contains(&next), "{told:?}");
    assert_eq!(home.json(&["identity", "ca", "activate"])["serial"], json!(next));
    let router = router(&home);
    assert_eq!(fetch(router.address(), "/health").json()["issuing_ca"]["serial"], json!(next));
    let metrics = fetch(router.address(), "/metrics").lines();
    let left = metrics.iter().find_map(|line| line.strip_prefix("counterfoil_ca_seconds_left ")).unwrap();
    let left: u64 = left.parse().unwrap();
    assert!((89 * 86_400..=90 * 86_400).contains(&left), "{left}");
    router.stop();
    home.assert_logs_verify();
}
