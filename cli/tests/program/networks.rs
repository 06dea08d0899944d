//! Who hosts what: nodes that come and go, nodes with little memory, several models at one router.

use std::path::Path;

use serde_json::{Value, json};

use crate::harness::{Home, Program, text};
use crate::http::{ask, fetch, question};

/// How often to look before giving up; each look is a round trip.
const MAX_LOOKS: u32 = 1_000_000;
/// Experts of the embedded model.
const ALL: u64 = 32;

fn router(home: &Home, flags: &[&str]) -> Program {
    let fixed = ["router", "--json", "--listen", "127.0.0.1:0", "--keyless"];
    Program::start(&home.path(), &[&fixed, flags].concat())
}

fn node(home: &Home, name: &str, at: &Program, flags: &[&str]) -> Program {
    let token = text(&home.json(&["identity", "join-token"])["join_token"]);
    let (nodes, enrol) = (at.said("nodes"), at.said("enrol"));
    let fixed =
        ["serve", "--json", "--accept-notice", "--router", &nodes, "--enrol", &enrol, "--join-token", &token];
    Program::start(&home.beside(name), &[&fixed, flags].concat())
}

fn model(at: &Program, id: &str) -> Value {
    fetch(at.address(), &format!("/v1/models/{id}")).json()
}

/// For each node, by id, how many experts it hosts.
fn hosted(at: &Program) -> Vec<(String, u64)> {
    let health = fetch(at.address(), "/health").json();
    health["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|n| (text(&n["id"]), n["experts"].as_u64().unwrap()))
        .collect()
}

fn id(node: &Program) -> String {
    node.said("node_id")
}

/// Waits until nodes host so many experts each.
fn wait_until(at: &Program, wanted: &[(&str, u64)]) {
    let mut wanted: Vec<(String, u64)> = wanted.iter().map(|(id, n)| ((*id).to_owned(), *n)).collect();
    wanted.sort();
    let mut seen = Vec::new();
    for _ in 0..MAX_LOOKS {
        seen = hosted(at);
        seen.sort();
        if seen == wanted {
            return;
        }
    }
    panic!("{seen:?} is not {wanted:?}");
}

/// How many experts of which models a node hosts.
fn models(at: &Program, node: &str) -> Vec<(String, u64)> {
    let health = fetch(at.address(), "/health").json();
    let nodes = health["nodes"].as_array().unwrap();
    let models = nodes.iter().find(|n| n["id"] == node).unwrap()["models"].as_array().unwrap();
    models.iter().map(|m| (text(&m["id"]), m["experts"].as_u64().unwrap())).collect()
}

fn answer(at: &Program, model: &str) -> String {
    let reply = ask(at.address(), None, &question(&json!({ "model": model, "max_tokens": 24 })));
    assert_eq!(reply.status, 200, "{reply:?}");
    text(&reply.json()["choices"][0]["message"]["content"])
}

fn assert_verifies(home: &Home, log: &Path) {
    let report = home.json(&["audit", "verify", "--log-dir", &log.display().to_string()]);
    assert_eq!(report["ok"], true, "{report}");
}

#[test]
fn layers_move_to_a_node_that_joins_and_back_when_it_leaves() {
    let home = Home::new();
    let router = router(&home, &[]);
    let first = node(&home, "first", &router, &[]);
    wait_until(&router, &[(&id(&first), ALL)]);
    let want = answer(&router, "guide");
    let second = node(&home, "second", &router, &[]);
    let (one, two) = (id(&first), id(&second));
    // It takes over half of the layers, and the first lets go of them once the second is ready.
    wait_until(&router, &[(&one, ALL / 2), (&two, ALL / 2)]);
    let hosting = &model(&router, "guide")["hosted"];
    assert_eq!(
        (&hosting["replicas_min"], &hosting["missing"], &hosting["nodes"]),
        (&1.into(), &0.into(), &2.into())
    );
    assert_eq!(answer(&router, "guide"), want);
    second.stop();
    wait_until(&router, &[(&one, ALL)]);
    assert_eq!(answer(&router, "guide"), want);
    // The log knows what it hosted, so it has that again.
    let second = node(&home, "second", &router, &[]);
    wait_until(&router, &[(&one, ALL / 2), (&two, ALL / 2)]);
    assert_eq!(answer(&router, "guide"), want);
    second.stop();
    first.stop();
    router.stop();
    home.assert_logs_verify();
    assert_verifies(&home, &home.beside("first/log"));
    assert_verifies(&home, &home.beside("second/log"));
}

#[test]
fn a_node_with_nothing_to_host_is_ready_too() {
    let home = Home::new();
    let program = home.run(&["--nodes", "5", "--replicas", "1"]);
    assert_eq!(program.ready["nodes"].as_array().unwrap().len(), 5);
    // Four layers, so that one of five nodes has none.
    let health = fetch(program.address(), "/health").json();
    assert_eq!(health["nodes"].as_array().unwrap().len(), 4);
    program.stop();

    let router = router(&home, &[]);
    let small = node(&home, "small", &router, &["--max-memory", "1kB"]);
    assert_eq!(small.ready["experts"], 0);
    let large = node(&home, "large", &router, &[]);
    wait_until(&router, &[(&id(&large), ALL)]);
    large.stop();
    small.stop();
    router.stop();
}

#[test]
fn a_node_that_falls_is_made_up_for() {
    let home = Home::new();
    let router = router(&home, &[]);
    let first = node(&home, "first", &router, &[]);
    let second = node(&home, "second", &router, &[]);
    wait_until(&router, &[(&id(&first), ALL / 2), (&id(&second), ALL / 2)]);
    let want = answer(&router, "guide");
    drop(second);
    wait_until(&router, &[(&id(&first), ALL)]);
    assert_eq!(answer(&router, "guide"), want);
    first.stop();
    router.stop();
    home.assert_logs_verify();
}

#[test]
fn a_node_hosts_what_its_memory_holds_and_the_rest_is_named() {
    let home = Home::new();
    let router = router(&home, &[]);
    // An expert of the embedded model takes 196,608 bytes.
    let small = node(&home, "small", &router, &["--max-memory", "1MB"]);
    wait_until(&router, &[(&id(&small), 5)]);
    let seen = model(&router, "guide");
    assert_eq!(seen["available"], false);
    let hosted = &seen["hosted"];
    assert_eq!((&hosted["experts"], &hosted["missing"]), (&5.into(), &(ALL - 5).into()));
    assert_eq!(hosted["missing_first"][0], json!([0, 5]));
    assert_eq!(hosted["layers"][0], json!({ "layer": 0, "replicas": [1, 1, 1, 1, 1, 0, 0, 0] }));
    let refused = ask(router.address(), None, &question(&json!({ "max_tokens": 1 })));
    assert_eq!(refused.status, 503, "{refused:?}");
    let large = node(&home, "large", &router, &["--max-memory", "1GiB"]);
    wait_until(&router, &[(&id(&small), 5), (&id(&large), ALL - 5)]);
    assert_eq!(model(&router, "guide")["available"], true);
    answer(&router, "guide");
    large.stop();
    small.stop();
    router.stop();
    home.assert_logs_verify();
}

#[test]
fn one_router_offers_two_models_and_one_node_hosts_both() {
    let home = Home::new();
    let (endless, roomy) = (home.endless_model(), home.roomy_model());
    let router = router(&home, &["--model", &endless, "--model", &roomy]);
    let both = node(&home, "both", &router, &["--model", &endless, "--model", &roomy]);
    wait_until(&router, &[(&id(&both), 2 * ALL)]);
    let each = |n| vec![("endless".to_owned(), ALL), ("roomy".to_owned(), n)];
    assert_eq!(models(&router, &id(&both)), each(ALL));
    // The other one takes all of its model over, and the first is asked to let that go.
    let one = node(&home, "one", &router, &["--model", &roomy]);
    wait_until(&router, &[(&id(&both), ALL), (&id(&one), ALL)]);
    assert_eq!(models(&router, &id(&both)), each(ALL)[..1]);
    assert_eq!(models(&router, &id(&one)), each(ALL)[1..]);
    let listed = fetch(router.address(), "/v1/models").json();
    let listed: Vec<_> =
        listed["data"].as_array().unwrap().iter().map(|m| (text(&m["id"]), m["available"].clone())).collect();
    assert_eq!(listed, [("endless".to_owned(), true.into()), ("roomy".to_owned(), true.into())]);
    // The weights are the same and so is the beginning.
    assert_eq!(answer(&router, "endless"), answer(&router, "roomy"));
    let unknown = ask(router.address(), None, &question(&json!({})));
    assert_eq!(unknown.status, 404);
    assert_eq!(unknown.json()["error"]["code"], "model_not_found");
    assert!(text(&unknown.json()["error"]["message"]).contains("\"endless\", \"roomy\""), "{unknown:?}");
    one.stop();
    both.stop();
    router.stop();
    home.assert_logs_verify();
    let manifests: Vec<_> = home.payloads("inference").iter().map(|p| p["manifest"].clone()).collect();
    assert_eq!(manifests.len(), 2);
    assert_ne!(manifests[0], manifests[1]);
    for uptime in home.payloads("uptime") {
        let nodes: Vec<_> = uptime["nodes"].as_array().unwrap().iter().map(|n| text(&n["node"])).collect();
        let mut once = nodes.clone();
        once.dedup();
        assert_eq!(nodes, once);
    }
}

#[test]
fn two_models_of_one_name_are_refused() {
    let home = Home::new();
    let endless = home.endless_model();
    let refused = home.ask(&["router", "--model", &endless, "--model", &endless]);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.err.contains("two models named \"endless\""), "{refused:?}");
    let twice = ["--hub-repository", "a/b@main", "--hub-repository", "a/c@main"];
    let refused = home.ask(&[&["router", "--model", &endless][..], &twice].concat());
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.err.contains("--hub-repository is given 2 times for 1 --model"), "{refused:?}");
}
