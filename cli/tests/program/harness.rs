//! Homes in folders that are gone after the test, and the program's processes on them.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::http;

/// The question that the embedded model answers in some forty tokens.
pub(crate) const QUESTION: &str = "What is a consent token?";
/// How much an account is given when it is opened.
pub(crate) const FREE_TOKENS: u64 = 50_000;

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// A home in a folder of its own.
#[derive(Debug)]
pub(crate) struct Home {
    folder: TempDir,
}

/// A process that has said that it is ready; it is ended with this value.
#[derive(Debug)]
pub(crate) struct Program {
    home: PathBuf,
    child: Child,
    /// What it said when it was ready.
    pub(crate) ready: Value,
}

/// An account with a key.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) id: String,
    pub(crate) key: String,
}

/// The program with some arguments, without the variables that would set its flags.
pub(crate) fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_counterfoil"));
    for (name, _) in std::env::vars_os().filter(|(n, _)| n.to_string_lossy().starts_with("COUNTERFOIL_")) {
        command.env_remove(name);
    }
    command.args(args).stdin(Stdio::null());
    command
}

/// Runs a command that needs no home to its end.
pub(crate) fn ask(args: &[&str]) -> Ended {
    let done = command(args).output().unwrap();
    Ended {
        code: done.status.code().unwrap(),
        out: String::from_utf8(done.stdout).unwrap(),
        err: String::from_utf8(done.stderr).unwrap(),
    }
}

/// A folder of the repository.
pub(crate) fn repository(path: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(path).display().to_string()
}

impl Home {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// The home itself.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    /// A path beside the home, gone with it.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The router's log and those of its local nodes.
    pub(crate) fn logs(&self) -> Vec<PathBuf> {
        logs(&self.path())
    }

    /// `counterfoil run`, ready.
    pub(crate) fn run(&self, flags: &[&str]) -> Program {
        let fixed = ["run", "--json", "--no-browser", "--listen", "127.0.0.1:0"];
        Program::start(&self.path(), &[&fixed, flags].concat())
    }

    /// `counterfoil router`, ready and without nodes.
    pub(crate) fn router(&self) -> Program {
        Program::start(&self.path(), &["router", "--json", "--listen", "127.0.0.1:0"])
    }

    /// Runs a command on this home to its end.
    pub(crate) fn ask(&self, args: &[&str]) -> Ended {
        let home = self.path().display().to_string();
        ask(&[args, &["--home", &home]].concat())
    }

    /// What a command on this home prints with `--json`; it must end with this code.
    pub(crate) fn json_with(&self, code: i32, args: &[&str]) -> Value {
        let ended = self.ask(&[args, &["--json"]].concat());
        assert_eq!(ended.code, code, "{args:?}: {ended:?}");
        serde_json::from_str(&ended.out).unwrap()
    }

    /// What a command on this home prints with `--json` where it succeeds.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        self.json_with(0, args)
    }

    /// Opens an account and makes a key for it.
    pub(crate) fn account(&self) -> Account {
        let id = text(&self.json(&["account", "create"])["account"]);
        let key = text(&self.json(&["account", "key", "create", &id])["key"]);
        Account { id, key }
    }

    /// An account's (available, held, spent).
    pub(crate) fn balance(&self, account: &Account) -> (u64, u64, u64) {
        let shown = self.json(&["account", "show", &account.id]);
        let part = |name: &str| shown["balance"][name].as_u64().unwrap();
        (part("available"), part("held"), part("spent"))
    }

    /// One entry of the router's log.
    pub(crate) fn entry(&self, index: u64) -> Value {
        self.json(&["audit", "show", &index.to_string()])
    }

    /// How many entries the router's log has.
    pub(crate) fn log_size(&self) -> u64 {
        self.json(&["audit", "verify"])["committed"].as_u64().unwrap()
    }

    /// The payloads of one kind in the router's log, in its order.
    pub(crate) fn payloads(&self, kind: &str) -> Vec<Value> {
        let all = (0..self.log_size()).map(|i| self.entry(i)["body"]["payload"].take());
        all.filter(|p| p["kind"] == kind).map(|mut p| p["payload"].take()).collect()
    }

    /// Every log of this home verifies to its last byte; the processes on it have ended.
    pub(crate) fn assert_logs_verify(&self) {
        for log in self.logs() {
            let report = self.json(&["audit", "verify", "--log-dir", &log.display().to_string()]);
            assert_eq!(report["ok"], true, "{report}");
            assert_eq!(report["size"], report["committed"], "{report}");
        }
    }

    /// The same where nodes were killed: what a node commits in its last moment is verified, and in no checkpoint of its.
    pub(crate) fn assert_logs_verify_after_a_kill(&self) {
        for log in self.logs() {
            let report = self.json(&["audit", "verify", "--log-dir", &log.display().to_string()]);
            assert_eq!(report["ok"], true, "{report}");
            assert!(report["size"] == report["committed"] || log != self.path().join("log"), "{report}");
        }
    }

    /// A checkpoint folder of the embedded model without its end token: an answer is as long as it may be.
    pub(crate) fn endless_model(&self) -> String {
        self.model("endless", &json!({ "eos_token_id": null }))
    }

    /// A checkpoint folder of the embedded model with more context than a new account has tokens.
    pub(crate) fn roomy_model(&self) -> String {
        self.model("roomy", &json!({ "max_position_embeddings": 2 * FREE_TOKENS }))
    }

    fn model(&self, name: &str, changes: &Value) -> String {
        let (from, to) = (repository("model/guide/checkpoint"), self.beside(name));
        std::fs::create_dir(&to).unwrap();
        for file in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
            std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
        }
        for file in ["config.json", "generation_config.json"] {
            let mut config: Value = serde_json::from_slice(&std::fs::read(to.join(file)).unwrap()).unwrap();
            for (key, value) in changes.as_object().unwrap() {
                config[key] = value.clone();
            }
            std::fs::write(to.join(file), config.to_string()).unwrap();
        }
        to.display().to_string()
    }
}

impl Program {
    /// Starts the program and waits for its first line.
    pub(crate) fn start(home: &Path, args: &[&str]) -> Self {
        let errors = home.with_extension("stderr");
        let sink = File::options().create(true).append(true).open(&errors).unwrap();
        let mut child =
            command(args).arg("--home").arg(home).stdout(Stdio::piped()).stderr(sink).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready = serde_json::from_str(&line);
        let ready =
            ready.unwrap_or_else(|_| panic!("{args:?}: {}", std::fs::read_to_string(&errors).unwrap()));
        Self { home: home.to_owned(), child, ready }
    }

    /// Where clients connect.
    pub(crate) fn address(&self) -> SocketAddr {
        self.ready["url"].as_str().unwrap().strip_prefix("http://").unwrap().parse().unwrap()
    }

    /// An address of its ready line.
    pub(crate) fn said(&self, name: &str) -> String {
        text(&self.ready[name])
    }

    /// The process of a local node, as it was when all was ready; the first is 0.
    pub(crate) fn node(&self, at: usize) -> Pid {
        pid(&self.ready["nodes"][at]["pid"])
    }

    /// What Ctrl-C does; it ends in good order.
    pub(crate) fn stop(mut self) {
        kill_process(Pid::from_child(&self.child), Signal::INT).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
    }

    /// Waits until it ends by itself; gives its exit code.
    pub(crate) fn wait(mut self) -> i32 {
        self.child.wait().unwrap().code().unwrap()
    }

    /// `kill -9` of the router, the nodes and what started them; returns when all have let go of their logs.
    pub(crate) fn kill_all(self) {
        let logs = logs(&self.home);
        drop(self);
        for log in logs {
            File::open(log.join("lock")).unwrap().lock().unwrap();
        }
    }

    /// The processes that it started, as it last said.
    fn children(&self) -> Vec<Pid> {
        let Ok(state) = std::fs::read(self.home.join("run/state.json")) else { return Vec::new() };
        let state: Value = serde_json::from_slice(&state).unwrap();
        let nodes = state["nodes"].as_array().unwrap().iter().map(|n| pid(&n["pid"]));
        nodes.chain([pid(&state["router_pid"])]).collect()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            for process in self.children() {
                let _ = kill_process(process, Signal::KILL);
            }
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn logs(home: &Path) -> Vec<PathBuf> {
    let nodes = std::fs::read_dir(home.join("nodes")).into_iter().flatten();
    let mut logs: Vec<PathBuf> = nodes.map(|n| n.unwrap().path().join("log")).collect();
    logs.push(home.join("log"));
    logs
}

/// A member that is a text.
pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn pid(value: &Value) -> Pid {
    Pid::from_raw(i32::try_from(value.as_i64().unwrap()).unwrap()).unwrap()
}

/// Waits until the router works on no request.
pub(crate) fn wait_until_idle(program: &Program) {
    for _ in 0..MAX_LOOKS {
        if http::fetch(program.address(), "/health").json()["running"] == 0 {
            return;
        }
        std::thread::yield_now();
    }
    panic!("the router still works on a request");
}

/// How often to look before giving up; each look is a round trip.
const MAX_LOOKS: u32 = 1_000_000;
