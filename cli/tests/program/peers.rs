//! A node of another network is refused, by the code of the reason.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;

use crate::harness::{Ended, Home, Program, ask, command, text};

fn join_token(home: &Home) -> String {
    text(&home.json(&["identity", "join-token"])["join_token"])
}

fn enroll(home: &Path, token: &str, at: &Program) -> Ended {
    let home = home.display().to_string();
    ask(&["identity", "enroll", "--home", &home, "--enrol", &at.said("enrol"), "--join-token", token])
}

/// `serve` for a router, on a home that is enrolled.
fn serve(router: &str) -> [&str; 5] {
    ["serve", "--json", "--accept-notice", "--router", router]
}

/// The first line of a node's standard error that names a refusal code.
fn first_refusal(home: &Path, router: &str) -> String {
    let mut node = command(&serve(router));
    let mut node = node.arg("--home").arg(home).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(node.stderr.take().unwrap()).lines();
    let found = lines.map(Result::unwrap).find(|line| line.contains("refused the peer: C_"));
    node.kill().unwrap();
    node.wait().unwrap();
    found.unwrap()
}

#[test]
fn a_join_token_of_another_network_is_refused() {
    let (home, other) = (Home::new(), Home::new());
    let (router, stranger) = (home.router(), other.router());
    let token = join_token(&other);
    let enroll = |name: &str, token: &str, at: &Program| enroll(&home.beside(name), token, at);
    let refused = enroll("node", &token, &router);
    assert_eq!(refused.code, 3, "{refused:?}");
    assert!(refused.err.contains("C_UNTRUSTED"), "{refused:?}");
    assert_eq!(enroll("node", &token[..token.len() - 1], &router).code, 2);
    assert_eq!(enroll("node", &token, &stranger).code, 0);
    // A token is for one node; the same one may have lost the answer and ask again. Who has kept it asks with another key.
    std::fs::remove_file(home.beside("node").join("identity/chain.pem")).unwrap();
    assert_eq!(enroll("node", &token, &stranger).code, 0);
    assert_eq!(enroll("node", &token, &stranger).code, 3);
    assert_eq!(enroll("second", &token, &stranger).code, 3);
    assert_eq!(enroll("second", &join_token(&home), &router).code, 0);
    stranger.stop();
    router.stop();
}

#[test]
fn a_join_token_beside_a_certificate_is_not_used_and_one_of_another_network_is_refused() {
    let (home, other) = (Home::new(), Home::new());
    let (router, stranger) = (home.router(), other.router());
    let folder = home.beside("node");
    let (first, second) = (join_token(&home), join_token(&home));
    assert_eq!(enroll(&folder, &first, &router).code, 0);
    let (nodes, enrol) = (router.said("nodes"), router.said("enrol"));
    let with =
        |token: &str| [&serve(&nodes)[..], &["--enrol", &enrol, "--join-token", token]].concat().join(" ");
    let foreign = with(&join_token(&other));
    let mut words: Vec<&str> = foreign.split(' ').collect();
    let (path, net_id) = (folder.display().to_string(), text(&home.json(&["identity", "show"])["net_id"]));
    words.extend(["--home", &path]);
    let refused = ask(&words);
    assert_eq!((refused.code, refused.out.as_str()), (2, ""), "{refused:?}");
    assert!(refused.err.contains(&format!("belongs to the network {net_id}")), "{refused:?}");
    let refused = enroll(&folder, &join_token(&other), &stranger);
    assert_eq!(refused.code, 2, "{refused:?}");
    // One of its own network changes nothing, whether it was used or not.
    for token in [&first, &second] {
        let own = with(token);
        let node = Program::start(&folder, &own.split(' ').collect::<Vec<_>>());
        assert_eq!(node.ready["ready"], "node");
        node.stop();
    }
    assert_eq!(enroll(&home.beside("another"), &second, &router).code, 0);
    stranger.stop();
    router.stop();
}

#[test]
fn a_certificate_of_another_network_is_refused() {
    let (home, other) = (Home::new(), Home::new());
    let (router, own) = (home.router(), other.router());
    let folder = home.beside("node");
    let enrolled = enroll(&folder, &join_token(&other), &own);
    assert_eq!(enrolled.code, 0, "{enrolled:?}");
    let line = first_refusal(&folder, &router.said("nodes"));
    assert!(line.contains("C_UNTRUSTED"), "{line}");
    assert_eq!(home.json(&["status"])["health"]["nodes"].as_array().unwrap().len(), 0);
    let node = Program::start(&folder, &serve(&own.said("nodes")));
    assert_eq!((&node.ready["ready"], &node.ready["experts"]), (&"node".into(), &32.into()));
    let hosted = &other.json(&["status"])["health"]["nodes"][0];
    assert_eq!((&hosted["id"], &hosted["experts"]), (&node.ready["node_id"], &32.into()));
    node.stop();
    own.stop();
    router.stop();
}

#[test]
fn nothing_is_served_before_the_notice_is_accepted() {
    let home = Home::new();
    let folder = home.beside("node").display().to_string();
    let without = ask(&["serve", "--home", &folder, "--router", "127.0.0.1:9"]);
    assert_eq!(without.code, 2, "{without:?}");
    assert!(without.err.contains("notice"), "{without:?}");
    let not_enrolled = ask(&["serve", "--accept-notice", "--home", &folder, "--router", "127.0.0.1:9"]);
    assert_eq!(not_enrolled.code, 2, "{not_enrolled:?}");
    assert!(not_enrolled.err.contains("not enrolled"), "{not_enrolled:?}");
}
