//! `counterfoil run`: a router and its local nodes as separate processes, from nothing to a ready line.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use counterfoil_identity::check_home_format;
use hyper::Method;
use serde_json::{Value, json};

use crate::args::RunArgs;
use crate::client::Client;
use crate::command::serve::needs_enrolment;
use crate::exit::{Failure, Outcome};
use crate::hashing;
use crate::home::{HomeLock, Running, RunningNode};
use crate::keys::keyring;
use crate::machine::{available_memory, share_of_memory};
use crate::output;
use crate::size::ByteSize;
use crate::supervise::{Process, interrupted};

/// How long the model may take to be hosted completely.
const AVAILABLE: Duration = Duration::from_secs(120);
/// How often to ask whether it is.
const ASK_EVERY: Duration = Duration::from_millis(10);
/// How long to wait before starting a node again that ended.
const RESTART_AFTER: Duration = Duration::from_millis(500);
/// The exit code of a node that the router refuses.
const REFUSED: u8 = 3;
/// The longest that a node which does not come up is left alone.
const RESTART_MOST: Duration = Duration::from_secs(30);
/// Requests that a node started here works on at one time.
const LOCAL_CONCURRENT: u32 = 64;

/// What the router said of itself when it became ready.
#[derive(Debug, Clone)]
struct RouterFacts {
    http: String,
    nodes: String,
    enrol: String,
    net_id: String,
    log_vkey: String,
    log_size: u64,
}

impl RouterFacts {
    fn read(line: &Value) -> Result<Self, Failure> {
        let text = |key: &str| {
            line.get(key)
                .and_then(Value::as_str)
                .map(str::to_owned)
                .ok_or_else(|| Failure::store(anyhow::anyhow!("the router's ready line lacks {key:?}")))
        };
        Ok(Self {
            http: text("http")?,
            nodes: text("nodes")?,
            enrol: text("enrol")?,
            net_id: text("net_id")?,
            log_vkey: text("log_vkey")?,
            log_size: line.get("log_size").and_then(Value::as_u64).unwrap_or(0),
        })
    }
}

struct Fleet {
    home: PathBuf,
    args: RunArgs,
    /// Bytes of weights that each node holds at most.
    max_memory: ByteSize,
    log: String,
    facts: RouterFacts,
    admin: Client,
}

/// Runs until it is interrupted.
pub(crate) async fn run(home: &Path, args: RunArgs, log: &str, json: bool) -> Outcome {
    let started = Instant::now();
    if let Some(replicas) = args.replicas.filter(|r| *r > args.nodes) {
        return Err(Failure::wrong_use(format!(
            "--replicas {replicas} asks for more nodes than --nodes {} starts",
            args.nodes
        )));
    }
    check_home_format(home).map_err(Failure::store)?;
    let _lock = HomeLock::take(home)?;
    let mut stop = std::pin::pin!(interrupted());
    let (fleet, mut router, mut nodes) = tokio::select! {
        () = &mut stop => return Ok(()),
        up = Box::pin(start(home, args, log)) => up?,
    };
    fleet.tell(&router, &nodes)?;
    fleet.announce(&nodes, started, json);
    let ended = fleet.watch(&mut router, &mut nodes, stop).await;
    router.stop().await;
    for (_, node, _) in &mut nodes {
        // Without a router there is nothing that a node could finish.
        if ended.is_ok() { node.stop().await } else { node.kill().await }
    }
    Running::clear(home);
    if ended.is_ok() && !json {
        output::line("Stopped. The log is complete; `counterfoil audit verify` checks it.");
    }
    ended
}

type Nodes = Vec<(u32, Process, String)>;

/// Starts everything and waits until the model can be asked; dropped on the way, it leaves no process behind.
async fn start(home: &Path, args: RunArgs, log: &str) -> Result<(Fleet, Process, Nodes), Failure> {
    let mut router =
        Process::start("the router", &router_args(home, &args, log), &[], home.join("run/router.log"))?;
    let facts = RouterFacts::read(&router.ready().await?)?;
    let key = counterfoil_router::home::admin_key(home, &keyring()?).map_err(Failure::store)?;
    let admin = Client::new(&format!("http://{}", facts.http), Some(key))?;
    let max_memory = args.max_memory.map_or_else(|| share_of_memory(args.nodes), Ok)?;
    let fleet = Fleet { home: home.to_owned(), args, max_memory, log: log.to_owned(), facts, admin };
    let mut nodes = Vec::new();
    for number in 1..=fleet.args.nodes {
        nodes.push((number, fleet.start_node(number).await?, String::new()));
    }
    let mut hosting = 0;
    for (_, node, id) in &mut nodes {
        let line = node.ready().await?;
        // One for which there is nothing to host is ready too.
        hosting += usize::from(line.get("experts").and_then(Value::as_u64) != Some(0));
        *id = line.get("node_id").and_then(Value::as_str).unwrap_or_default().to_owned();
    }
    fleet.wait_until_available(hosting).await?;
    Ok((fleet, router, nodes))
}

fn router_args(home: &Path, args: &RunArgs, log: &str) -> Vec<String> {
    let replicas = args.replicas.unwrap_or(2).min(args.nodes);
    let mut out: Vec<String> = ["router", "--json", "--supervised"].map(String::from).to_vec();
    if args.listen.ip().is_loopback() {
        out.push("--keyless".into());
    }
    let pairs = [
        ("--home", home.display().to_string()),
        ("--trace", log.to_owned()),
        ("--listen", args.listen.to_string()),
        ("--expect-nodes", args.nodes.to_string()),
        ("--replicas", replicas.to_string()),
        ("--node-listen", "127.0.0.1:0".to_owned()),
        ("--enrol-listen", "127.0.0.1:0".to_owned()),
    ];
    for (flag, value) in pairs {
        out.push(flag.to_owned());
        out.push(value);
    }
    if let Some(model) = &args.model {
        out.push("--model".into());
        out.push(model.display().to_string());
    }
    out
}

impl Fleet {
    fn node_home(&self, number: u32) -> PathBuf {
        self.home.join("nodes").join(number.to_string())
    }

    async fn start_node(&self, number: u32) -> Result<Process, Failure> {
        let home = self.node_home(number);
        std::fs::create_dir_all(&home)?;
        let mut env = Vec::new();
        let mut args: Vec<String> =
            ["serve", "--json", "--supervised", "--accept-notice"].map(String::from).to_vec();
        let mut flag = |name: &str, value: String| {
            args.push(name.to_owned());
            args.push(value);
        };
        flag("--home", home.display().to_string());
        flag("--trace", self.log.clone());
        flag("--router", self.facts.nodes.clone());
        flag("--concurrent", LOCAL_CONCURRENT.to_string());
        flag("--max-memory", self.max_memory.0.to_string());
        let copied = available_memory().unwrap_or(0) / 4 / u64::from(self.args.nodes.max(1));
        flag("--copy-weights", copied.min(self.max_memory.0).to_string());
        // The router has hashed the model already.
        flag("--manifests", hashing::folder(&self.home).display().to_string());
        if let Some(model) = &self.args.model {
            flag("--model", model.display().to_string());
        }
        flag("--enrol", self.facts.enrol.clone());
        if needs_enrolment(&home) {
            let reply = self
                .admin
                .json(
                    Method::POST,
                    "/admin/v1/command",
                    Some(&json!({ "command": "join-token", "expires_s": 600 })),
                )
                .await?;
            let token = reply.get("join_token").and_then(Value::as_str).unwrap_or_default();
            env.push(("COUNTERFOIL_JOIN_TOKEN", token.to_owned()));
        }
        Process::start(
            &format!("node {number}"),
            &args,
            &env,
            self.home.join(format!("run/node-{number}.log")),
        )
    }

    /// Every expert is hosted, and the router has heard of all `hosting` nodes that they host something: a node says so
    /// to whoever started it a moment before the router knows.
    async fn wait_until_available(&self, hosting: usize) -> Outcome {
        let deadline = Instant::now() + AVAILABLE;
        loop {
            let health = self.admin.json(Method::GET, "/health", None).await?;
            let models = health.get("models").and_then(Value::as_array).cloned().unwrap_or_default();
            let nodes = health.get("nodes").and_then(Value::as_array).map_or(0, Vec::len);
            let available = models.iter().all(|m| m.get("available") == Some(&Value::Bool(true)));
            if !models.is_empty() && available && nodes >= hosting {
                return Ok(());
            }
            if Instant::now() > deadline {
                let why = models
                    .first()
                    .and_then(|m| m.get("reason"))
                    .and_then(Value::as_str)
                    .unwrap_or("the router has not heard of all its nodes");
                return Err(Failure::store(anyhow::anyhow!(
                    "the model did not become available within {AVAILABLE:?}: {why}; see the files under {}",
                    self.home.join("run").display()
                )));
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
    }

    fn tell(&self, router: &Process, nodes: &[(u32, Process, String)]) -> Outcome {
        let running = Running {
            pid: std::process::id(),
            url: format!("http://{}", self.facts.http),
            router_pid: router.pid(),
            nodes: nodes
                .iter()
                .map(|(number, p, id)| RunningNode { number: *number, pid: p.pid(), node_id: id.clone() })
                .collect(),
        };
        running.write(&self.home)
    }

    fn announce(&self, nodes: &[(u32, Process, String)], started: Instant, json: bool) {
        let url = format!("http://{}", self.facts.http);
        let log = self.home.join("log");
        if json {
            output::json(&json!({
                "ready": true, "url": url, "home": self.home, "log": log, "pid": std::process::id(),
                "net_id": self.facts.net_id, "log_vkey": self.facts.log_vkey, "log_size": self.facts.log_size,
                "nodes": nodes.iter().map(|(n, p, id)| json!({ "number": n, "pid": p.pid(), "node_id": id })).collect::<Vec<_>>(),
                "ready_ms": started.elapsed().as_millis(),
            }));
            return;
        }
        output::line(&format!(
            "Ready in {:.1} s: {url} answers through {} nodes; the log is {}",
            started.elapsed().as_secs_f64(),
            nodes.len(),
            log.display()
        ));
        let at = match crate::home::locate(None) {
            Ok(default) if default == self.home => String::new(),
            _ => format!(" --home {}", self.home.display()),
        };
        output::line(&format!(
            "  chat      counterfoil{at} chat \"What is a consent token?\"   or open {url}"
        ));
        output::line(&format!("  clients   OPENAI_BASE_URL={url}/v1 OPENAI_API_KEY=local"));
        output::line(&format!("  verify    counterfoil{at} audit verify"));
        output::line(&format!("  log key   {}", self.facts.log_vkey));
        output::line("Ctrl-C stops it in good order.");
        if !self.args.no_browser {
            open_page(&url);
        }
    }

    /// Starts nodes again that ended; returns when the program is interrupted or the router ends.
    async fn watch(
        &self,
        router: &mut Process,
        nodes: &mut Vec<(u32, Process, String)>,
        mut stop: std::pin::Pin<&mut impl Future<Output = ()>>,
    ) -> Outcome {
        let mut pause = RESTART_AFTER;
        loop {
            let fallen = tokio::select! {
                () = &mut stop => return Ok(()),
                status = router.ended() => {
                    let status = status?;
                    return Err(Failure::store(anyhow::anyhow!(
                        "the router ended ({status}); see {}", self.home.join("run/router.log").display()
                    )));
                }
                at = first_ended(nodes) => at,
            };
            let Some((number, process, _)) = nodes.get_mut(fallen) else { continue };
            tracing::warn!(node = process.name(), "a node ended; starting it again");
            let restart = async {
                tokio::time::sleep(pause).await;
                let mut fresh = self.start_node(*number).await?;
                fresh.ready().await?;
                Ok::<_, Failure>(fresh)
            };
            let restarted = tokio::select! {
                () = &mut stop => return Ok(()),
                status = router.ended() => return Err(self.router_ended(status?)),
                restarted = restart => restarted,
            };
            match restarted {
                Ok(fresh) => {
                    *process = fresh;
                    pause = RESTART_AFTER;
                }
                Err(e) if e.code() == REFUSED => {
                    tracing::warn!(error = %e, "the node is not started again");
                    nodes.remove(fallen);
                }
                Err(e) => {
                    tracing::warn!(error = %e, "the node did not come back; trying again");
                    pause = (pause * 2).min(RESTART_MOST);
                }
            }
            if let Err(e) = self.tell(router, nodes) {
                // Other commands see old process ids until it can be written again; the network goes on.
                tracing::warn!(error = %e, "what runs could not be written down");
            }
        }
    }
}

impl Fleet {
    fn router_ended(&self, status: std::process::ExitStatus) -> Failure {
        let log = self.home.join("run/router.log");
        Failure::store(anyhow::anyhow!("the router ended ({status}); see {}", log.display()))
    }
}

async fn first_ended(nodes: &mut [(u32, Process, String)]) -> usize {
    let waits = nodes.iter_mut().enumerate().map(|(at, (_, process, _))| {
        Box::pin(async move {
            let _ = process.ended().await;
            at
        })
    });
    let waits: Vec<_> = waits.collect();
    if waits.is_empty() {
        return std::future::pending().await;
    }
    futures_util::future::select_all(waits).await.0
}

fn open_page(url: &str) {
    let opener = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let quiet = std::process::Stdio::null;
    // No browser is no fault: the line above names the address.
    let _ =
        std::process::Command::new(opener).arg(url).stdin(quiet()).stdout(quiet()).stderr(quiet()).spawn();
}
