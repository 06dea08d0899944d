//! Keys under a passphrase, keys that an agent holds, and a home that was brought back from a copy.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;
use std::process::{Child, Stdio};

use crate::harness::{Home, ask, command};

fn write_tight(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

fn tight_folder(path: &Path) {
    fs::DirBuilder::new().mode(0o700).create(path).unwrap();
}

/// A home whose keys are under a passphrase, and the file that the passphrase is in.
fn protected(home: &Home) -> String {
    let passphrase = home.beside("passphrase");
    write_tight(&passphrase, "correct horse\n");
    let passphrase = passphrase.display().to_string();
    assert_eq!(home.ask(&["identity", "init"]).code, 0);
    let sealed = home.json(&["identity", "protect", "--new-passphrase-file", &passphrase]);
    assert_eq!((sealed["keys"].as_array().unwrap().len(), &sealed["under_passphrase"]), (6, &true.into()));
    passphrase
}

/// An agent that has said that it is ready; ended with this value.
struct Agent(Child);

impl Agent {
    fn start(keys: &Path, socket: &Path) -> Self {
        let (keys, socket) = (keys.display().to_string(), socket.display().to_string());
        let args = ["identity", "agent", "--json", "--keys", &keys, "--socket", &socket];
        let mut child = command(&args).stdout(Stdio::piped()).spawn().unwrap();
        let mut ready = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        assert!(ready.starts_with('{'), "{ready}");
        Self(child)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn keys_under_a_passphrase_open_with_it_alone_and_come_out_again() {
    let home = Home::new();
    let passphrase = protected(&home);
    let key = home.path().join("identity/router.key");
    assert!(fs::read_to_string(&key).unwrap().starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"));
    let without = home.ask(&["identity", "show"]);
    assert_eq!(without.code, 4);
    assert!(
        without.err.contains("give it with --passphrase-file or COUNTERFOIL_PASSPHRASE_FILE"),
        "{}",
        without.err
    );
    let other = home.beside("other");
    write_tight(&other, "correct cow\n");
    let wrong = home.ask(&["identity", "show", "--passphrase-file", &other.display().to_string()]);
    assert_eq!(wrong.code, 4);
    assert!(wrong.err.contains("the passphrase does not open it"), "{}", wrong.err);
    let shown = home.json(&["identity", "show", "--passphrase-file", &passphrase]);
    home.json(&["identity", "unprotect", "--passphrase-file", &passphrase]);
    assert_eq!(home.json(&["identity", "show"]), shown);
    fs::set_permissions(&other, fs::Permissions::from_mode(0o644)).unwrap();
    let loose = home.ask(&["identity", "protect", "--new-passphrase-file", &other.display().to_string()]);
    assert_eq!(loose.code, 4);
    assert!(loose.err.contains("chmod 600"), "{}", loose.err);
}

#[test]
fn a_change_of_passphrase_that_was_broken_off_is_finished_by_the_same_command() {
    let home = Home::new();
    let passphrase = protected(&home);
    let log_key = home.path().join("identity/log.key");
    let before = fs::read(&log_key).unwrap();
    let shown = home.json(&["identity", "show", "--passphrase-file", &passphrase]);
    let next = home.beside("next");
    write_tight(&next, "battery staple\n");
    let next = next.display().to_string();
    let change = ["identity", "protect", "--passphrase-file", &passphrase, "--new-passphrase-file", &next];
    home.json(&change);
    // One was not written yet, and a file of the writing was left.
    fs::write(&log_key, before).unwrap();
    let part = home.path().join("identity/log.part-aaaa");
    write_tight(&part, "half");
    assert_eq!(home.ask(&["identity", "show", "--passphrase-file", &next]).code, 4);
    home.json(&change);
    assert_eq!(home.json(&["identity", "show", "--passphrase-file", &next]), shown);
    assert!(!part.exists());
}

#[test]
fn keys_are_not_sealed_under_the_feet_of_who_works_with_them() {
    let home = Home::new();
    let program = home.run(&[]);
    let passphrase = home.beside("passphrase");
    write_tight(&passphrase, "correct horse\n");
    let passphrase = passphrase.display().to_string();
    let busy = home.ask(&["identity", "protect", "--new-passphrase-file", &passphrase]);
    let says = format!("a router or a node works on {}", home.path().display());
    assert_eq!((busy.code, busy.err.contains(&says)), (2, true), "{}", busy.err);
    program.stop();
    home.json(&["identity", "protect", "--new-passphrase-file", &passphrase]);
}

#[test]
fn a_node_whose_key_an_agent_holds_takes_its_operators_orders_and_a_router_is_no_node() {
    let home = Home::new();
    home.run(&[]).stop();
    let node = home.path().join("nodes/1");
    let own = node.display().to_string();
    let (held, there) = (home.beside("held"), home.beside("sock"));
    tight_folder(&held);
    tight_folder(&there);
    fs::copy(node.join("identity/node.key"), held.join("node.key")).unwrap();
    let socket = there.join("agent");
    let _agent = Agent::start(&held, &socket);
    let socket = socket.display().to_string();
    assert_eq!(ask(&["identity", "use-agent", "--socket", &socket, "--home", &own]).code, 0);
    fs::remove_file(node.join("identity/node.key")).unwrap();
    let revoked = ask(&["consent", "revoke", "--all", "--json", "--home", &own]);
    assert_eq!((revoked.code, revoked.out.trim()), (0, r#"{"done":false,"waits":true}"#), "{}", revoked.err);
    let doctor = ask(&["doctor", "--json", "--home", &own]);
    assert!(!doctor.out.contains("holds no identity yet"), "{}", doctor.out);
    let token = home.json(&["identity", "join-token"])["join_token"].as_str().unwrap().to_owned();
    let enrol = home.ask(&["identity", "enroll", "--join-token", &token, "--enrol", "127.0.0.1:1"]);
    assert_eq!((enrol.code, enrol.err.contains("is a router's home")), (2, true), "{}", enrol.err);
}

#[test]
fn no_command_works_on_a_home_with_a_key_that_others_may_read() {
    let home = Home::new();
    assert_eq!(home.ask(&["identity", "init"]).code, 0);
    let identity = home.path().join("identity");
    let keys = ["root.key", "next-root.key", "ca.key", "router.key", "log.key", "admin.key"];
    for key in keys.map(|name| identity.join(name)) {
        fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
        let loose = home.ask(&["identity", "ca", "list"]);
        assert_eq!((loose.code, loose.err.contains(&key.display().to_string())), (4, true), "{}", loose.err);
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    }
    assert_eq!(home.ask(&["identity", "ca", "list"]).code, 0);
}

#[test]
fn an_agent_signs_in_the_place_of_keys_and_nothing_is_written_without_it() {
    let home = Home::new();
    assert_eq!(home.ask(&["identity", "init"]).code, 0);
    let shown = home.json(&["identity", "show"]);
    let (held, there) = (home.beside("held"), home.beside("sock"));
    tight_folder(&held);
    tight_folder(&there);
    let identity = home.path().join("identity");
    for name in ["router.key", "log.key"] {
        fs::copy(identity.join(name), held.join(name)).unwrap();
    }
    let socket = there.join("agent");
    let agent = Agent::start(&held, &socket);
    let taken = home.json(&["identity", "use-agent", "--socket", &socket.display().to_string()]);
    assert_eq!(taken["keys"].as_array().unwrap().len(), 2);
    for name in ["router.key", "log.key"] {
        fs::remove_file(identity.join(name)).unwrap();
    }
    assert_eq!(home.json(&["identity", "show"]), shown);
    let token = home.json(&["identity", "join-token"]);
    assert!(token["join_token"].as_str().unwrap().starts_with("cfjoin1"), "{token}");
    drop(agent);
    let without = home.ask(&["identity", "join-token"]);
    assert_eq!(without.code, 4);
    assert!(without.err.contains("is it running?"), "{}", without.err);
    home.assert_logs_verify();
}

/// `docs/operations.md#copies-and-recovery`
#[test]
fn a_home_that_was_copied_while_nothing_ran_goes_on_elsewhere() {
    let home = Home::new();
    let program = home.run(&[]);
    program.stop();
    let shown = home.json(&["identity", "show"]);
    let copy = Home::new();
    let copied =
        std::process::Command::new("cp").arg("-a").arg(home.path()).arg(copy.path()).status().unwrap();
    assert!(copied.success());
    fs::remove_dir_all(home.path()).unwrap();
    fs::remove_dir_all(copy.path().join("projections")).unwrap();
    let program = copy.run(&[]);
    assert_eq!(program.ready["net_id"], shown["net_id"]);
    assert_eq!(program.ready["log_vkey"], shown["log_vkey"]);
    program.stop();
    copy.assert_logs_verify();
}
