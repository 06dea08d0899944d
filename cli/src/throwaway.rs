//! A network on loopback that is gone when it was used: a router in this process, nodes in processes of their own.

use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use counterfoil_identity::enrol::JoinToken;
use counterfoil_identity::key_file::Keyring;
use counterfoil_identity::random;
use counterfoil_model::{Checkpoint, Threads};
use counterfoil_node::{Node, NodeConfig, NodeError, NodeIdentity, enrol, fdatasync};
use counterfoil_router::admin::{AdminCommand, execute};
use counterfoil_router::home::RouterHome;
use counterfoil_router::{
    CURRENCY, DEFAULT_SALT_DAYS, Dealing, Hedging, RouterConfig, RowsAs, RunningRouter, clock,
};
use counterfoil_session::bench::relay::Relay;
use counterfoil_spec::limits::MAX_LEAF_CERT_LIFE_S;
use serde_json::Value;
use tokio::process::{Child, Command};
use tokio::sync::oneshot;

use crate::consent_file::{self, Flags};
use crate::exit::{Failure, Outcome};
use crate::machine::available_memory;
use crate::supervise::interrupted;

/// The most nodes of one network.
pub(crate) const MAX_NODES: u32 = 16;
/// How long the nodes may take to load and connect.
const HOSTED: Duration = Duration::from_secs(120);
/// How often to look whether they have.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The running network; its processes end with it.
pub(crate) struct Throwaway {
    pub(crate) router: RunningRouter,
    home: RouterHome,
    nodes: Vec<Child>,
    within: Vec<Within>,
    /// What stands between the nodes and the router.
    relay: Option<Relay>,
    folder: Scratch,
}

/// How the network is laid out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    pub(crate) nodes: u32,
    /// Whether a layer's experts are dealt out to all nodes, and not to one.
    pub(crate) by_expert: bool,
    /// How long everything takes from the router to a node and back, beyond what it takes anyway.
    pub(crate) rtt: Option<Duration>,
    /// Whether nodes are threads of this process, so that its CPU time is that of all.
    pub(crate) within: bool,
    /// For how many seconds the nodes' certificates hold.
    pub(crate) certificate_life_s: u64,
}

impl Default for Layout {
    fn default() -> Self {
        let certificate_life_s = MAX_LEAF_CERT_LIFE_S;
        Self { nodes: 1, by_expert: false, rtt: None, within: false, certificate_life_s }
    }
}

impl Throwaway {
    /// Starts a router and nodes, waits until every expert is hosted and does something with them. Whatever comes of that,
    /// a signal included, the nodes and the router end after it, and their folder is gone.
    pub(crate) async fn during<T>(
        dir: Option<&Path>,
        checkpoint: &Arc<Checkpoint>,
        layout: Layout,
        work: impl AsyncFnOnce(&Self) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut first = Box::pin(interrupted());
        let folder = Scratch::new()?;
        let path = folder.0.clone();
        let empty = Self::empty(folder, checkpoint, layout);
        let mut network = tokio::select! {
            biased;
            () = &mut first => return Err(Failure::interrupted("interrupted; nothing is kept")),
            network = empty => network?,
        };
        let done = tokio::select! {
            biased;
            () = &mut first => Err(Failure::interrupted("interrupted; nothing is kept")),
            done = async {
                network.populate(dir, checkpoint, layout).await?;
                work(&network).await
            } => done,
        };
        let second = interrupted();
        let stopped = tokio::select! {
            stopped = network.stop() => stopped,
            () = second => Err(Failure::interrupted(format!(
                "interrupted again; remove {} yourself if it is still there: it holds keys", path.display()
            ))),
        };
        match (done, stopped) {
            (Ok(done), Ok(())) => Ok(done),
            (Ok(_), Err(e)) | (Err(e), Ok(())) => Err(e),
            (Err(e), Err(also)) => Err(e.and(&also)),
        }
    }

    /// The router's log.
    pub(crate) fn log(&self) -> PathBuf {
        self.folder.0.join("router/log")
    }

    /// A router without nodes.
    async fn empty(
        folder: Scratch,
        checkpoint: &Arc<Checkpoint>,
        Layout { nodes, by_expert, rtt, certificate_life_s, within: _ }: Layout,
    ) -> Result<Self, Failure> {
        let path = folder.0.join("router");
        let home = RouterHome::open_or_create(&path, &Keyring::default(), clock::now().seconds())
            .map_err(Failure::store)?;
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let config = RouterConfig {
            http: loopback,
            nodes: loopback,
            enrol: loopback,
            dealing: Dealing::Fixed { nodes, by_expert },
            hedging: Hedging::On,
            keyless: true,
            repositories: Vec::new(),
            rows_as: RowsAs::Exact,
            certificate_life_s,
            salt_days: DEFAULT_SALT_DAYS,
            now: clock::system(),
        };
        let router = Box::pin(RunningRouter::start(home, std::slice::from_ref(checkpoint), config))
            .await
            .map_err(Failure::store)?;
        let home = RouterHome::open(&path, &Keyring::default()).map_err(Failure::store)?;
        let relay = rtt.map(|rtt| Relay::start(router.nodes_addr(), rtt)).transpose()?;
        Ok(Self { router, home, nodes: Vec::new(), within: Vec::new(), relay, folder })
    }

    async fn populate(
        &mut self,
        dir: Option<&Path>,
        checkpoint: &Arc<Checkpoint>,
        layout: Layout,
    ) -> Outcome {
        let addr = self.relay.as_ref().map_or_else(|| self.router.nodes_addr(), Relay::addr);
        for number in 0..layout.nodes {
            let token = self.join_token()?;
            let home = self.folder.0.join(format!("node-{number}"));
            let addrs = (addr, self.router.enrol_addr());
            if layout.within {
                self.within.push(Within::start(home, checkpoint, addrs, &token).await?);
            } else {
                let copied = available_memory().unwrap_or(0) / 4 / u64::from(layout.nodes);
                self.nodes.push(start_node(&home, dir, addrs, (&token, copied))?);
            }
        }
        self.hosted().await
    }

    /// What the router's operator does.
    pub(crate) fn operate(&self, command: AdminCommand) -> Result<Value, Failure> {
        let office = self.router.office();
        tokio::task::block_in_place(|| execute(office, &self.home, command)).map_err(Failure::store)
    }

    fn join_token(&self) -> Result<String, Failure> {
        let reply = self.operate(AdminCommand::JoinToken { expires_s: 600 })?;
        Ok(reply.get("join_token").and_then(Value::as_str).unwrap_or_default().to_owned())
    }

    /// A node that is enrolled and does not run.
    pub(crate) async fn enrolled(&self, name: &str) -> Result<NodeIdentity, Failure> {
        enrolled(&self.folder.0.join(name), &self.join_token()?, self.router.enrol_addr()).await
    }

    async fn hosted(&mut self) -> Outcome {
        let deadline = Instant::now() + HOSTED;
        loop {
            let Err(missing) = self.router.covered() else { return Ok(()) };
            for node in &mut self.nodes {
                if let Some(status) = node.try_wait()? {
                    return Err(Failure::store(anyhow::anyhow!(
                        "a node ended before it was ready ({status})"
                    )));
                }
            }
            if self.within.iter().any(|node| node.thread.is_finished()) {
                return Err(Failure::store(anyhow::anyhow!("a node ended before it was ready")));
            }
            if Instant::now() > deadline {
                return Err(Failure::store(anyhow::anyhow!(
                    "the nodes were not ready within {HOSTED:?}: {missing}"
                )));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// The measured time that the relay adds to a round trip.
    pub(crate) fn added_rtt(&self) -> Option<Duration> {
        self.relay.as_ref().and_then(Relay::measured_rtt)
    }

    /// Ends the nodes, closes the router and takes the folder away; the first failure does not keep the rest from it.
    async fn stop(mut self) -> Outcome {
        for node in &mut self.nodes {
            let _ = node.kill().await;
        }
        let mut ends = Vec::new();
        for node in self.within {
            ends.push(node.stop().await);
        }
        ends.push(self.router.stop().await.map_err(Failure::store));
        drop(self.home);
        ends.push(self.folder.remove());
        ends.into_iter().collect()
    }
}

/// A node on a thread of this process.
struct Within {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<Result<(), NodeError>>,
}

impl Within {
    async fn start(
        home: PathBuf,
        checkpoint: &Arc<Checkpoint>,
        (nodes, enrol_at): (SocketAddr, SocketAddr),
        token: &str,
    ) -> Result<Self, Failure> {
        let identity = enrolled(&home, token, enrol_at).await?;
        let flags =
            Flags { accept_notice: true, models: vec![checkpoint.name().to_owned()], concurrent: 256 };
        let config = NodeConfig {
            home,
            identity,
            keys: Keyring::default(),
            router: nodes,
            enrol: Some(enrol_at),
            policy: consent_file::parse("", &flags).map_err(Failure::wrong_use)?,
            epoch: 1,
            models: vec![Arc::clone(checkpoint)],
            max_weight_bytes: 1 << 40,
            max_disk_bytes: 1 << 40,
            share_weights: false,
            hub: None,
            currency: CURRENCY.to_owned(),
            now: clock::system(),
            sync: fdatasync(),
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::spawn(move || {
            runtime.block_on(async move {
                let (node, _handle) = Node::open(config)?;
                let stopped = async move {
                    // A sender that is gone means the same.
                    let _ = stopped.await;
                };
                Box::pin(node.run(stopped)).await.map(drop)
            })
        });
        Ok(Self { stop, thread })
    }

    async fn stop(self) -> Outcome {
        // One that has ended by itself says why below.
        let _ = self.stop.send(());
        let ended = tokio::task::spawn_blocking(move || self.thread.join()).await;
        match ended {
            Ok(Ok(ended)) => ended.map_err(Failure::store),
            _ => Err(Failure::store(anyhow::anyhow!("a node's thread did not end as it should"))),
        }
    }
}

async fn enrolled(home: &Path, token: &str, at: SocketAddr) -> Result<NodeIdentity, Failure> {
    std::fs::create_dir_all(home)?;
    let token: JoinToken = token.parse().map_err(|e| Failure::store(anyhow::anyhow!("{e}")))?;
    let enrolled = Box::pin(enrol(home, &Keyring::default(), token, at, &clock::system())).await;
    enrolled.map_err(|e| Failure::store(anyhow::anyhow!("{e}")))
}

fn start_node(
    home: &Path,
    dir: Option<&Path>,
    (nodes, enrol): (SocketAddr, SocketAddr),
    (token, copied): (&str, u64),
) -> Result<Child, Failure> {
    std::fs::create_dir_all(home)?;
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["serve", "--supervised", "--accept-notice", "--json", "--concurrent", "256", "--home"])
        .arg(home);
    if let Some(dir) = dir {
        command.arg("--model").arg(std::path::absolute(dir)?);
    }
    let child = command
        .args(["--router", &nodes.to_string(), "--enrol", &enrol.to_string()])
        .args(["--copy-weights", &copied.to_string()])
        .env("COUNTERFOIL_JOIN_TOKEN", token)
        .env("COUNTERFOIL_THREADS", Threads::of_process().count().to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    Ok(child)
}

/// A folder that nobody else may enter, and that is gone when this is.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new() -> Result<Self, Failure> {
        let path = std::env::temp_dir().join(format!("counterfoil-{}", random::serial()));
        std::fs::DirBuilder::new().mode(0o700).create(&path).map_err(|e| {
            Failure::store(anyhow::anyhow!(
                "cannot make the folder {}: {e}; name another with TMPDIR",
                path.display()
            ))
        })?;
        Ok(Self(path))
    }

    /// Takes it away, with the keys in it.
    fn remove(self) -> Outcome {
        std::fs::remove_dir_all(&self.0).map_err(|e| {
            Failure::store(anyhow::anyhow!(
                "cannot remove {}, which holds keys: {e}; remove it yourself",
                self.0.display()
            ))
        })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
