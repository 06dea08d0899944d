//! Entries found by whom they are about, and the index that is made anew whatever happens to it.

use serde_json::{Value, json};

use crate::harness::{Home, text};
use crate::http::{ask, question};

/// The indexes of what `audit show` finds.
fn found(home: &Home, about: &[&str]) -> Vec<u64> {
    let shown = home.json(&[&["audit", "show"], about].concat());
    shown["entries"].as_array().unwrap().iter().map(|e| e["index"].as_u64().unwrap()).collect()
}

/// The indexes of all entries that a condition holds for, by looking at each.
fn looked(home: &Home, holds: impl Fn(&Value) -> bool) -> Vec<u64> {
    (0..home.log_size()).filter(|i| holds(&home.entry(*i))).collect()
}

#[test]
fn entries_are_found_by_request_account_node_model_and_time_while_the_router_runs_and_after() {
    let home = Home::new();
    let program = home.run(&[]);
    let account = home.account();
    let entry = ask(program.address(), Some(&account.key), &question(&json!({ "max_tokens": 2 }))).entry();
    let inference = home.entry(entry);
    let request = text(&inference["body"]["serial"]);
    let payload = &inference["body"]["payload"]["payload"];
    let (model, node) = (text(&payload["manifest"]), text(&payload["credits"][0]["node"]));
    // Everything that names an id names it in its JSON; a receipt's node and model lie in bytes.
    let named = |id: &str| {
        let id = id.to_owned();
        looked(&home, |e| {
            e["body"]["payload"]["payload"].to_string().contains(&id)
                && e["body"]["payload"]["kind"] != "genesis"
        })
    };
    let of_request = found(&home, &["--request", &request]);
    assert_eq!(of_request.len(), 1 + payload["works"].as_array().unwrap().len());
    assert_eq!(of_request.last(), Some(&entry));
    assert_eq!(found(&home, &["--account", &account.id]), named(&account.id));
    let with_work = |mut all: Vec<u64>, works: &[u64]| {
        all.extend(works);
        all.sort_unstable();
        all.dedup();
        all
    };
    let works = &of_request[..of_request.len() - 1];
    assert_eq!(found(&home, &["--model", &model]), with_work(named(&model), works));
    let of_node = found(&home, &["--node", &node]);
    assert!(named(&node).iter().all(|i| of_node.contains(i)) && of_node.iter().any(|i| works.contains(i)));
    assert_eq!(found(&home, &["--node", &node, "--request", &request]).last(), Some(&entry));
    program.stop();

    let size = home.log_size();
    assert_eq!(found(&home, &["--since", "3", "--until", "6"]), [3, 4, 5]);
    assert_eq!(found(&home, &["--since", "2020-01-01"]).len() as u64, size.min(100));
    assert_eq!(found(&home, &["--until", "2020-01-01"]), [0; 0]);
    let limited = home.json(&["audit", "show", "--since", "2", "--limit", "3"]);
    assert_eq!((limited["entries"].as_array().unwrap().len(), &limited["next"]), (3, &json!(5)));
    let copy = home.path().join("log").display().to_string();
    assert_eq!(found(&home, &["--request", &request, "--log", &copy]), of_request);
    for wrong in [vec![], vec!["3", "--account", &account.id], vec!["--account", "x"], vec!["--since", "x"]] {
        assert_eq!(home.ask(&[&["audit", "show"], wrong.as_slice()].concat()).code, 2, "{wrong:?}");
    }
}

#[test]
fn an_index_that_is_damaged_or_gone_is_made_anew_and_nothing_is_lost() {
    let home = Home::new();
    let program = home.run(&[]);
    let account = home.account();
    program.stop();
    let [index, requests] = ["entries", "requests"].map(|name| home.path().join("projections").join(name));
    // A router that stops in good order closes its own index.
    assert!(requests.is_dir() && !requests.with_extension("open").exists());
    let want = found(&home, &["--account", &account.id]);
    assert_eq!(want.len(), 3);
    for file in std::fs::read_dir(&index).unwrap().map(|f| f.unwrap().path()).filter(|p| p.is_file()) {
        std::fs::write(file, b"no index").unwrap();
    }
    assert_eq!(found(&home, &["--account", &account.id]), want);
    std::fs::remove_dir_all(&index).unwrap();
    std::fs::write(&index, b"no folder").unwrap();
    assert_eq!(found(&home, &["--account", &account.id]), want);
    assert!(index.with_extension("aside").is_file());
    std::fs::remove_dir_all(home.path().join("projections")).unwrap();
    assert_eq!(found(&home, &["--account", &account.id]), want);
    let made = home.json(&["audit", "reindex"]);
    assert_eq!((&made["applied"], &made["moved_aside"]), (&json!(home.log_size()), &json!(true)));
    assert_eq!(found(&home, &["--account", &account.id]), want);
    // The router's own index goes the same way.
    std::fs::write(&requests, b"no folder").unwrap();
    let program = home.run(&[]);
    ask(program.address(), None, &question(&json!({ "max_tokens": 1 })));
    program.stop();
    assert!(requests.is_dir() && requests.with_extension("aside").is_file());
    home.assert_logs_verify();
}
