//! A network on loopback that is gone when it was used: a router in this process, nodes in processes of their own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use counterfoil_identity::key_file::Keyring;
use counterfoil_identity::random;
use counterfoil_model::{Checkpoint, Threads};
use counterfoil_router::admin::{AdminCommand, execute};
use counterfoil_router::home::RouterHome;
use counterfoil_router::{Dealing, Hedging, RouterConfig, RowsAs, RunningRouter, clock};
use counterfoil_session::bench::relay::Relay;
use serde_json::Value;
use tokio::process::{Child, Command};

use crate::exit::{Failure, Outcome};

/// The most nodes of one network.
pub(crate) const MAX_NODES: u32 = 16;
/// How long the nodes may take to load and connect.
const HOSTED: Duration = Duration::from_secs(120);
/// How often to look whether they have.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The running network; its processes end with it.
pub(crate) struct Throwaway {
    pub(crate) router: RunningRouter,
    nodes: Vec<Child>,
    /// What stands between the nodes and the router.
    relay: Option<Relay>,
    _folder: Scratch,
}

/// How the network is laid out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    pub(crate) nodes: u32,
    /// Whether a layer's experts are dealt out to all nodes, and not to one.
    pub(crate) by_expert: bool,
    /// How long everything takes from the router to a node and back, beyond what it takes anyway.
    pub(crate) rtt: Option<Duration>,
}

impl Throwaway {
    /// Starts a router and nodes and waits until every expert is hosted.
    pub(crate) async fn start(
        dir: Option<&Path>,
        checkpoint: &Arc<Checkpoint>,
        Layout { nodes, by_expert, rtt }: Layout,
    ) -> Result<Self, Failure> {
        let folder = Scratch::new()?;
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
            now: clock::system(),
        };
        let router = Box::pin(RunningRouter::start(home, std::slice::from_ref(checkpoint), config))
            .await
            .map_err(Failure::store)?;
        let home = RouterHome::open(&path, &Keyring::default()).map_err(Failure::store)?;
        let relay = rtt.map(|rtt| Relay::start(router.nodes_addr(), rtt)).transpose()?;
        let addr = relay.as_ref().map_or_else(|| router.nodes_addr(), Relay::addr);
        let mut network = Self { router, nodes: Vec::new(), relay, _folder: folder };
        for number in 0..nodes {
            let command = AdminCommand::JoinToken { expires_s: 600 };
            let office = network.router.office();
            let reply =
                tokio::task::block_in_place(|| execute(office, &home, command)).map_err(Failure::store)?;
            let token = reply.get("join_token").and_then(Value::as_str).unwrap_or_default();
            let home = network._folder.0.join(format!("node-{number}"));
            let node = start_node(&home, dir, (addr, network.router.enrol_addr()), token)?;
            network.nodes.push(node);
        }
        network.hosted().await?;
        Ok(network)
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

    /// Ends the nodes and closes the router.
    pub(crate) async fn stop(mut self) -> Outcome {
        for node in &mut self.nodes {
            let _ = node.kill().await;
        }
        self.router.stop().await.map_err(Failure::store)
    }
}

fn start_node(
    home: &Path,
    dir: Option<&Path>,
    (nodes, enrol): (SocketAddr, SocketAddr),
    token: &str,
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
        .env("COUNTERFOIL_JOIN_TOKEN", token)
        .env("COUNTERFOIL_THREADS", Threads::of_process().count().to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    Ok(child)
}

/// A folder that is gone when this is.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new() -> Result<Self, Failure> {
        let path = std::env::temp_dir().join(format!("counterfoil-{}", random::serial()));
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
