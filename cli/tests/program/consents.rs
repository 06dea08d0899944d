//! `counterfoil consent verify`: a token held offline against its node's certificate or key; and `consent.toml`, which a
//! node follows that runs.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;

use crate::harness::{Ended, Home, Program, ask, command, repository, text};
use crate::http::fetch;

/// How often to look before giving up; each look is a process or a round trip.
const MAX_LOOKS: u32 = 100_000;

/// What a token alone does not show: the log, the deny list and what is published decide it.
const NOT_IN_THE_BYTES: [&str; 4] = ["T_STALE", "T_REVOKED", "T_EPOCH", "T_MODEL"];

/// Runs a command to its end with this on its standard input.
fn told(args: &[&str], input: &[u8]) -> Ended {
    let mut child =
        command(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let done = child.wait_with_output().unwrap();
    Ended {
        code: done.status.code().unwrap(),
        out: String::from_utf8(done.stdout).unwrap(),
        err: String::from_utf8(done.stderr).unwrap(),
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(digit).collect()
}

/// The `found` of one check in a report.
fn found(report: &Value, check: &str) -> String {
    let checks = report["checks"].as_array().unwrap();
    text(&checks.iter().find(|c| c["check"] == check).unwrap()["found"])
}

#[test]
fn every_vector_of_a_token_ends_with_its_code_as_file_as_digits_and_on_standard_input() {
    let folder = tempfile::tempdir().unwrap();
    let vectors = format!("{}/consent.json", repository("conformance/vectors"));
    let vectors: Value = serde_json::from_slice(&fs::read(vectors).unwrap()).unwrap();
    let mut refused = Vec::new();
    for group in vectors["testGroups"].as_array().unwrap() {
        for test in group["tests"].as_array().unwrap() {
            let (id, hex) = (test["tcId"].as_u64().unwrap(), text(&test["token"]));
            let (key, network, router) =
                (text(&group["peerKey"]), text(&group["netId"]), text(&group["audience"]));
            let (at, file) = (test["now"].to_string(), folder.path().join("token"));
            let held = ["--key", &key, "--network", &network, "--router", &router, "--at", &at, "--json"];
            let held = held.as_slice();
            let ended = match id % 3 {
                0 if !hex.is_empty() => ask(&[&["consent", "verify", &hex], held].concat()),
                1 => told(&[&["consent", "verify", "-"], held].concat(), hex.as_bytes()),
                _ => {
                    fs::write(&file, bytes(&hex)).unwrap();
                    ask(&[&["consent", "verify", &file.display().to_string()], held].concat())
                }
            };
            let report: Value =
                serde_json::from_str(&ended.out).unwrap_or_else(|_| panic!("{id}: {ended:?}"));
            let decided = test["refusal"].as_str().filter(|code| !NOT_IN_THE_BYTES.contains(code));
            let verdict = (ended.code, report["ok"].as_bool(), report["refusal"].as_str());
            match decided {
                Some(code) => assert_eq!(verdict, (1, Some(false), Some(code)), "{id}: {test}"),
                None => {
                    assert_eq!(verdict, (0, Some(true), None), "{id}: {test}: {ended:?}");
                    let open = ["standing", "model"].map(|check| found(&report, check));
                    assert_eq!(open, ["undecided", "undecided"], "{id}");
                }
            }
            refused.extend(decided.map(str::to_owned));
        }
    }
    refused.sort();
    refused.dedup();
    assert_eq!(refused.len() + NOT_IN_THE_BYTES.len(), 18, "{refused:?}");
}

#[test]
fn a_token_out_of_a_log_is_held_against_certificate_key_router_and_time() {
    let home = Home::new();
    home.run(&[]).stop();
    let granted = home.payloads("consent-granted");
    let (node, hex) = (text(&granted[0]["node"]), text(&granted[0]["token"]));
    let file = home.beside("token.hex");
    fs::write(&file, format!("{hex}\n")).unwrap();
    let token = file.display().to_string();
    let homes = ["nodes/1", "nodes/2"].map(|name| home.path().join(name));
    let of = |home: &Path| {
        let told = ask(&["identity", "show", "--json", "--home", &home.display().to_string()]);
        serde_json::from_str::<Value>(&told.out).unwrap()
    };
    let (own, other): (Vec<_>, Vec<_>) = homes.iter().partition(|home| of(home)["node_id"] == *node);
    let (own, other) = (own[0], other[0]);
    let chain = |home: &Path| home.join("identity/chain.pem").display().to_string();
    let shown = of(own);
    let (key, router) = (text(&shown["node_key"]), text(&shown["router_id"]));
    let verify = |more: &[&str]| ask(&[&["consent", "verify", &token], more].concat());

    // The node's home has the words as well.
    let said = home.ask(&["consent", "verify", &token, "--certificate", &chain(own), "--router", &router]);
    assert_eq!(said.code, 0, "{said:?}");
    let line = |words: &str| said.out.lines().any(|line| line.starts_with(words));
    for check in ["form", "node", "version", "network", "router", "time", "signature", "parts", "terms"] {
        assert!(line(&format!("{check:<11}holds")), "{check}: {said:?}");
    }
    assert!(line("standing   undecided") && line("model      undecided"), "{said:?}");
    let words = ["consent", "verify", &token, "--key", &key, "--home", &own.display().to_string()];
    let said = ask(&words);
    assert!(said.out.contains("This machine will run parts of the model"), "{said:?}");
    assert!(
        said.out.contains("network    undecided") && said.out.contains("router     undecided"),
        "{said:?}"
    );

    let code = |more: &[&str]| {
        let ended = verify(&[more, &["--json"]].concat());
        let report: Value = serde_json::from_str(&ended.out).unwrap_or(Value::Null);
        (ended.code, report["refusal"].as_str().map(str::to_owned))
    };
    let refused = |code: &str| (1, Some(code.to_owned()));
    let nobody = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    let (certificate, end) = (chain(own), "9999999999");
    assert_eq!(code(&["--certificate", &certificate]), (0, None));
    assert_eq!(code(&["--certificate", &chain(other)]), refused("T_ISSUER"));
    assert_eq!(code(&["--certificate", &certificate, "--router", nobody]), refused("T_AUD"));
    assert_eq!(code(&["--key", &key, "--network", nobody]), refused("T_NET"));
    assert_eq!(code(&["--certificate", &certificate, "--at", end]), refused("T_EXPIRED"));
    assert_eq!(code(&["--certificate", &certificate, "--at", "1"]), refused("T_NOT_YET"));

    // Its last digit belongs to the signature.
    let last = if hex.ends_with('0') { "1" } else { "0" };
    fs::write(&file, format!("{}{last}", &hex[..hex.len() - 1])).unwrap();
    let ended = verify(&["--certificate", &certificate]);
    assert_eq!(ended.code, 1);
    assert!(ended.err.contains("T_SIG: not signed by the node's identity key"), "{ended:?}");
    assert!(
        ended.out.contains("time       holds") && ended.out.contains("parts      not looked"),
        "{ended:?}"
    );

    // The same by its id, which the log knows.
    let cti = text(&granted[0]["cti"]);
    assert_eq!(home.json(&["consent", "verify", &cti])["ok"], true);
    let expired = home.json_with(1, &["consent", "verify", &cti, "--at", end]);
    assert!(text(&expired["refusal"]).starts_with("T_EXPIRED"), "{expired}");
}

#[test]
fn what_a_token_cannot_be_held_against_is_said_with_what_to_give() {
    let (home, network) = (Home::new(), Home::new());
    home.ask(&["identity", "init"]);
    network.ask(&["identity", "init"]);
    let token = "d28458";
    let said = |args: &[&str]| {
        let ended = ask(&[&["consent", "verify"], args].concat());
        (ended.code, ended.err)
    };
    let (code, words) = said(&[token]);
    assert!(code == 2 && words.contains("--certificate") && words.contains("--key"), "{words}");
    let (code, words) = said(&["no-such-file", "--key", &"0".repeat(64)]);
    assert!(code == 2 && words.contains("no token in hexadecimal"), "{words}");
    let (code, words) = said(&[token, "--key", "no-such-file"]);
    assert!(code == 2 && words.contains("64 hexadecimal digits"), "{words}");
    let (code, words) = said(&[token, "--key", &"0".repeat(64)]);
    assert!(code == 1 && words.contains("--key"), "{words}");
    let chain = home.beside("chain.pem");
    fs::write(&chain, "no certificate").unwrap();
    let chain = chain.display().to_string();
    let (code, words) = said(&[token, "--certificate", &chain]);
    assert!(code == 2 && words.contains("--root"), "{words}");
    let root = home.path().join("identity/root.der").display().to_string();
    let (code, words) = said(&[token, "--certificate", &chain, "--root", &root]);
    assert!(code == 1 && words.contains("chain.pem"), "{words}");
}

/// Waits until the router has some node to ask, or none.
fn wait_for_nodes(program: &Program, some: bool) {
    let looks =
        |_| fetch(program.address(), "/health").json()["nodes"].as_array().unwrap().is_empty() != some;
    assert!((0..MAX_LOOKS).any(looks), "{:?}", fetch(program.address(), "/health"));
}

#[test]
fn a_consent_file_that_comes_while_the_node_runs_is_followed_and_its_operator_asked() {
    let home = Home::new();
    let program = home.run(&["--nodes", "1"]);
    let node = home.path().join("nodes/1");
    let own = |args: &[&str]| {
        let home = node.display().to_string();
        let ended = ask(&[args, &["--json", "--home", &home]].concat());
        assert_eq!(ended.code, 0, "{args:?}: {ended:?}");
        serde_json::from_str::<Value>(&ended.out).unwrap()
    };
    assert!(!node.join("consent.toml").exists());
    own(&["consent", "init"]);
    let file = node.join("consent.toml");
    let explained = fs::read_to_string(&file).unwrap();
    fs::write(&file, explained.replace("#ask = true", "ask = true")).unwrap();
    wait_for_nodes(&program, false);
    let waits = |_| own(&["consent", "list", "--pending"]).as_array().unwrap().len() == 1;
    assert!((0..MAX_LOOKS).any(waits));
    assert_eq!(own(&["consent", "issue", "guide"])["done"], true);
    wait_for_nodes(&program, true);
    let in_force = own(&["consent", "list"]);
    let in_force = in_force.as_array().unwrap().iter().filter(|c| c["state"]["in_force"] == true);
    assert_eq!(in_force.count(), 1, "the one before was withdrawn");

    // What was taken back is issued again by the name that it was signed under, though nothing waits.
    assert_eq!(own(&["consent", "revoke", "--all"])["done"], true);
    wait_for_nodes(&program, false);
    assert_eq!(own(&["consent", "list", "--pending"]).as_array().unwrap().len(), 0);
    let elsewhere = ask(&["consent", "issue", "guide-2", "--home", &node.display().to_string()]);
    assert!(elsewhere.code == 2 && elsewhere.err.contains("signed for before"), "{elsewhere:?}");
    assert_eq!(own(&["consent", "issue", "guide"])["done"], true);
    wait_for_nodes(&program, true);

    fs::write(&file, "models = [\"another\"]\n").unwrap();
    wait_for_nodes(&program, false);
    fs::write(&file, "models = \"any\"\n").unwrap();
    wait_for_nodes(&program, true);
    program.stop();
    home.assert_logs_verify();

    fs::write(node.join("epoch"), "seven").unwrap();
    let own_home = node.display().to_string();
    let ended = ask(&["serve", "--router", "127.0.0.1:9", "--accept-notice", "--home", &own_home]);
    assert!(ended.code == 4 && ended.err.contains("epoch: \"seven\" stands there"), "{ended:?}");
}
