//! `identity renew`: the next certificate now, whether the node runs or not.

use serde_json::Value;

use crate::harness::{Ended, Home, Program, ask, text};

/// The life of a certificate, in seconds: a node asks by itself when seven sixteenths of it are over, and a router gives no
/// other before an eighth.
const LIFE_S: &str = "64";
const BY_ITSELF_MS: u64 = 64_000 * 7 / 16;
/// Looks at the log before a test gives up; each is a process of its own.
const MAX_LOOKS: u32 = 1000;

fn renew(path: &str, more: &[&str]) -> Ended {
    ask(&[&["identity", "renew", "--json", "--home", path], more].concat())
}

/// The generations that were used first, with the times of their entries.
fn used(home: &Home) -> Vec<(u64, u64)> {
    let all = (0..home.log_size()).map(|index| home.entry(index)["body"].take());
    let of = |body: &Value| {
        let payload = &body["payload"];
        let generation = payload["payload"]["generation"].as_u64();
        (payload["kind"] == "node-renewed").then(|| (generation.unwrap(), body["time"].as_u64().unwrap()))
    };
    all.filter_map(|body| of(&body)).collect()
}

#[test]
fn a_node_gets_its_next_certificate_on_request_whether_it_runs_or_not() {
    let home = Home::new();
    let fixed = ["router", "--json", "--listen", "127.0.0.1:0", "--certificate-life", LIFE_S];
    let router = Program::start(&home.path(), &fixed);
    let (folder, enrol, nodes) = (home.beside("node"), router.said("enrol"), router.said("nodes"));
    let path = folder.display().to_string();
    assert_eq!(renew(&path, &["--enrol", &enrol]).code, 2);
    let token = text(&home.json(&["identity", "join-token"])["join_token"]);
    let enrolled =
        ask(&["identity", "enroll", "--json", "--home", &path, "--enrol", &enrol, "--join-token", &token]);
    assert_eq!(enrolled.code, 0, "{enrolled:?}");
    let node_id = serde_json::from_str::<Value>(&enrolled.out).unwrap()["node_id"].take();
    // While it does not run somebody has to say where.
    let nowhere = renew(&path, &[]);
    assert!(nowhere.code == 2 && nowhere.err.contains("--enrol HOST:PORT"), "{nowhere:?}");
    let renewed = renew(&path, &["--enrol", &enrol]);
    assert_eq!(renewed.code, 0, "{renewed:?}");
    let said: Value = serde_json::from_str(&renewed.out).unwrap();
    assert_eq!((&said["role"], &said["node_id"]), (&"node".into(), &node_id));
    assert!(folder.join("identity/next.pem").exists());
    // That it asked again, for the end that this router allows, is nothing to warn of.
    let warned = std::fs::read_to_string(home.path().with_extension("stderr")).unwrap();
    assert_eq!(warned.lines().find(|line| line.contains("renewed")), None);
    let node = Program::start(&folder, &["serve", "--json", "--accept-notice", "--router", &nodes]);
    // While it runs it asks by itself: again when the router said, where an eighth of the certificate's life is not over.
    let renewed = renew(&path, &[]);
    let later = "E_RATE: its certificate has just been used; come back at ";
    assert!(renewed.code == 0 || (renewed.code == 3 && renewed.err.contains(later)), "{renewed:?}");
    let found = (0..MAX_LOOKS).map(|_| used(&home)).find(|used| used.len() == 2);
    let [(first, then), (second, now)] = found.unwrap()[..] else { panic!("two were used") };
    assert_eq!((first, second), (2, 3));
    assert!(now - then < BY_ITSELF_MS, "{} ms", now - then);
    node.stop();
    let denied = home.ask(&["router", "deny", node_id.as_str().unwrap(), "--reason", "for a test"]);
    assert_eq!(denied.code, 0, "{denied:?}");
    let refused = renew(&path, &["--enrol", &enrol]);
    assert!(refused.code == 3 && refused.err.contains("C_DENIED"), "{refused:?}");
    router.stop();
    home.assert_logs_verify();
}

#[test]
fn a_node_that_runs_and_is_refused_its_next_certificate_says_at_once_what_the_router_said() {
    let home = Home::new();
    let router = Program::start(&home.path(), &["router", "--json", "--listen", "127.0.0.1:0"]);
    let (folder, enrol, nodes) = (home.beside("node"), router.said("enrol"), router.said("nodes"));
    let path = folder.display().to_string();
    let token = text(&home.json(&["identity", "join-token"])["join_token"]);
    let serve = ["serve", "--json", "--accept-notice", "--router", &nodes, "--enrol", &enrol];
    let node = Program::start(&folder, &[&serve[..], &["--join-token", &token]].concat());
    // Its first certificate is in use, and an eighth of its day is not over.
    for _ in 0..2 {
        let refused = renew(&path, &[]);
        let words = "E_RATE: its certificate has just been used; come back at ";
        assert!(refused.code == 3 && refused.err.contains(words), "{refused:?}");
    }
    node.stop();
    router.stop();
    home.assert_logs_verify();
}
