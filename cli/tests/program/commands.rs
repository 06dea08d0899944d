//! Commands for people and programs: what they print, and how they end.

use serde_json::{Value, json};

use crate::harness::{Home, ask};

#[test]
fn json_of_every_command_about_a_running_router_is_one_document() {
    let home = Home::new();
    let program = home.run(&[]);
    let ids: Vec<Value> =
        program.ready["nodes"].as_array().unwrap().iter().map(|n| n["node_id"].clone()).collect();
    assert_eq!(ids.len(), 2);

    let status = home.json(&["status"]);
    assert_eq!((&status["health"]["status"], &status["health"]["running"]), (&json!("ok"), &json!(0)));
    assert_eq!(status["processes"]["url"], program.ready["url"]);
    assert_eq!(status["processes"]["nodes"], program.ready["nodes"]);

    let models = home.json(&["models"]);
    let guide = models["models"].as_array().unwrap().iter().find(|m| m["name"] == "guide").unwrap();
    assert_eq!(guide["network"]["available"], true, "{models}");

    let shown = home.json(&["identity", "show"]);
    assert_eq!((&shown["role"], &shown["net_id"]), (&json!("router"), &program.ready["net_id"]));
    assert_eq!(shown["log_vkey"], program.ready["log_vkey"]);

    let consents = home.json(&["consent", "list"]);
    let mut consented: Vec<&Value> = consents.as_array().unwrap().iter().map(|c| &c["node"]).collect();
    consented.sort_by_key(|id| ids.iter().position(|n| n == *id));
    assert_eq!(consented, ids.iter().collect::<Vec<_>>());
    assert!(consents.as_array().unwrap().iter().all(|c| c["state"]["in_force"] == true), "{consents}");

    let accounts = home.json(&["account", "list"]);
    assert_eq!(accounts["accounts"].as_array().unwrap().len(), 1);
    assert_eq!(accounts["accounts"][0]["balance"]["metered"], false);

    let doctor = home.json(&["doctor"]);
    assert!(doctor["checks"].as_array().unwrap().iter().all(|c| c["check"].is_string()), "{doctor}");
    assert_eq!(doctor["ok"], true, "{doctor}");
    program.stop();
    assert_eq!(home.ask(&["status"]).code, 4);
    let stopped = home.json(&["account", "list"]);
    assert_eq!(stopped, accounts);
}

#[test]
fn an_interrupt_at_once_after_the_ready_line_ends_in_good_order() {
    let home = Home::new();
    home.run(&[]).stop();
    home.assert_logs_verify();
    assert!(!home.path().join("run/state.json").exists());
    home.router().stop();
    assert!(!home.path().join("run/state.json").exists());
    home.assert_logs_verify();
}

#[test]
fn an_error_is_one_document_too() {
    let home = Home::new();
    let ended = home.ask(&["status", "--json"]);
    assert_eq!((ended.code, ended.out.as_str()), (4, ""));
    let error: Value = serde_json::from_str(&ended.err).unwrap();
    assert_eq!(error["exit_code"], 4);
    assert!(error["error"].as_str().unwrap().contains("--url"), "{error}");
    let plain = home.ask(&["status"]);
    assert!(plain.err.starts_with("counterfoil: "), "{plain:?}");
}

#[test]
fn a_locked_home_is_refused_and_named() {
    let home = Home::new();
    let program = home.run(&[]);
    let second = home.ask(&["run", "--no-browser", "--listen", "127.0.0.1:0"]);
    assert_eq!(second.code, 4, "{second:?}");
    assert!(second.err.contains(&home.path().display().to_string()), "{second:?}");
    let third = home.ask(&["router", "--listen", "127.0.0.1:0"]);
    assert_eq!(third.code, 4, "{third:?}");
    assert_eq!(home.json(&["status"])["health"]["status"], "ok");
    program.stop();
    home.run(&[]).stop();
}

#[test]
fn a_used_port_is_refused_and_named() {
    let (home, other) = (Home::new(), Home::new());
    let program = home.run(&[]);
    let address = program.address().to_string();
    let second = other.ask(&["run", "--no-browser", "--listen", &address]);
    assert_eq!(second.code, 4, "{second:?}");
    assert!(second.err.contains(&address), "{second:?}");
    program.stop();
    other.run(&["--nodes", "1"]).stop();
}

#[test]
fn wrong_use_is_2() {
    assert_eq!(ask(&["run", "--nodes", "0"]).code, 2);
    assert_eq!(ask(&["run", "--nodes", "1", "--replicas", "2"]).code, 2);
    assert_eq!(ask(&["fly"]).code, 2);
    assert_eq!(ask(&["router", "--keyless", "--listen", "0.0.0.0:0"]).code, 2);
    assert_eq!(ask(&["--version"]).code, 0);
}

#[test]
fn completions_name_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let script = ask(&["completions", shell]);
        assert_eq!(script.code, 0, "{script:?}");
        for name in ["serve", "audit", "earnings", "doctor"] {
            assert!(script.out.contains(name), "{shell} lacks {name}");
        }
    }
    assert_eq!(ask(&["completions", "abacus"]).code, 2);
}
