//! `counterfoil model …`: checkpoint folders, their logits and sizes.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use counterfoil_model::{Checkpoint, Decoder, ExpertBank, Rows, reference};
use counterfoil_router::admin::{AdminCommand, execute};
use counterfoil_router::home::RouterHome;
use counterfoil_router::{RouterConfig, RunningRouter, clock};
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use crate::args::{ModelCommand, Spread};
use crate::command::router::checkpoint;
use crate::exit::{Failure, Outcome};
use crate::output;

/// How long the nodes may take to load and connect.
const HOSTED: Duration = Duration::from_secs(120);
/// How often to look whether they have.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// The most nodes of one call.
const MAX_NODES: u32 = 16;

/// Carries out one of them.
pub(crate) async fn run(command: ModelCommand, json: bool) -> Outcome {
    match command {
        ModelCommand::Logits { dir, tokens, nodes, spread } => {
            logits(&dir, &tokens, nodes, spread, json).await
        }
        ModelCommand::Inspect { dir } => inspect(dir.as_deref(), json),
    }
}

async fn logits(dir: &Path, tokens: &[u32], nodes: Option<u32>, spread: Spread, json: bool) -> Outcome {
    let checkpoint = checkpoint(Some(dir))?;
    let rows = match nodes {
        None => local(&checkpoint, tokens)?,
        Some(n) if n == 0 || n > MAX_NODES => {
            return Err(Failure::wrong_use(format!("--nodes is {n}; it must lie within 1 and {MAX_NODES}")));
        }
        Some(n) => Box::pin(through_nodes(dir, &checkpoint, tokens, n, spread)).await?,
    };
    let lines: Vec<&[f32]> = rows.iter().collect();
    if json {
        output::json(&json!({ "tokens": tokens, "logits": lines }));
        return Ok(());
    }
    for (token, row) in tokens.iter().zip(lines) {
        let best = counterfoil_model::argmax(row);
        output::line(&format!(
            "{token:>8}  argmax {best:>8}  logit {}",
            row.get(best).copied().unwrap_or(f32::NAN)
        ));
    }
    output::line("--json prints every logit.");
    Ok(())
}

fn local(checkpoint: &Checkpoint, tokens: &[u32]) -> Result<Rows, Failure> {
    let decoder = Decoder::load(checkpoint).map_err(Failure::store)?;
    let bank = ExpertBank::load(checkpoint, checkpoint.config().all_experts()).map_err(Failure::store)?;
    reference::logits(&decoder, &mut &bank, tokens).map_err(Failure::wrong_use)
}

/// A throwaway network on loopback: a router in this process, nodes in processes of their own.
async fn through_nodes(
    dir: &Path,
    checkpoint: &Checkpoint,
    tokens: &[u32],
    nodes: u32,
    spread: Spread,
) -> Result<Rows, Failure> {
    let folder = Scratch::new()?;
    let home = RouterHome::open_or_create(&folder.0.join("router"), clock::now().seconds())
        .map_err(Failure::store)?;
    let loopback = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let config = RouterConfig {
        http: loopback,
        nodes: loopback,
        enrol: loopback,
        expect_nodes: nodes,
        replicas: 1,
        by_expert: spread == Spread::Experts,
        keyless: true,
        now: clock::system(),
    };
    let router = Box::pin(RunningRouter::start(home, checkpoint, config)).await.map_err(Failure::store)?;
    let home = RouterHome::open(&folder.0.join("router"), clock::now().seconds()).map_err(Failure::store)?;
    let mut running = Vec::new();
    for number in 0..nodes {
        let command = AdminCommand::JoinToken { expires_s: 600 };
        let reply = tokio::task::block_in_place(|| execute(router.office(), &home, command))
            .map_err(Failure::store)?;
        let token = reply.get("join_token").and_then(Value::as_str).unwrap_or_default();
        running.push(start_node(&folder.0.join(format!("node-{number}")), dir, &router, token)?);
    }
    let rows = match wait(&router, &mut running).await {
        Ok(()) => router.logits(tokens).await.map_err(Failure::refused),
        Err(e) => Err(e),
    };
    for mut node in running {
        let _ = node.kill().await;
    }
    router.stop().await.map_err(Failure::store)?;
    rows
}

fn start_node(home: &Path, dir: &Path, router: &RunningRouter, token: &str) -> Result<Child, Failure> {
    std::fs::create_dir_all(home)?;
    let child = Command::new(std::env::current_exe()?)
        .args(["serve", "--supervised", "--accept-notice", "--json", "--concurrent", "64", "--home"])
        .arg(home)
        .arg("--model")
        .arg(std::path::absolute(dir)?)
        .args(["--router", &router.nodes_addr().to_string(), "--enrol", &router.enrol_addr().to_string()])
        .env("COUNTERFOIL_JOIN_TOKEN", token)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    Ok(child)
}

async fn wait(router: &RunningRouter, nodes: &mut [Child]) -> Outcome {
    let deadline = Instant::now() + HOSTED;
    loop {
        let Err(missing) = router.covered() else { return Ok(()) };
        for node in nodes.iter_mut() {
            if let Some(status) = node.try_wait()? {
                return Err(Failure::store(anyhow::anyhow!("a node ended before it was ready ({status})")));
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

/// A folder that is gone when this is.
pub(crate) struct Scratch(pub(crate) std::path::PathBuf);

impl Scratch {
    pub(crate) fn new() -> Result<Self, Failure> {
        let serial = counterfoil_identity::random::serial();
        let path = std::env::temp_dir().join(format!("counterfoil-{serial}"));
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn inspect(dir: Option<&Path>, json: bool) -> Outcome {
    let checkpoint = checkpoint(dir)?;
    let config = checkpoint.config();
    let decoder = Decoder::load(&checkpoint).map_err(Failure::store)?;
    let expert = checkpoint.expert_weight_bytes();
    let experts = config.all_experts().count();
    let value = json!({
        "name": checkpoint.name(), "manifest": checkpoint.manifest_id(), "family": config.family.name(),
        "hidden": config.hidden, "inner": config.inner, "layers": config.layers, "heads": config.heads,
        "kv_heads": config.kv_heads, "experts": config.experts, "top_k": config.top_k, "vocab": config.vocab,
        "context": config.context, "expert_bytes_f32": expert, "experts_in_all": experts,
        "dense_bytes_f32": decoder.weight_bytes(),
    });
    if json {
        output::json(&value);
        return Ok(());
    }
    for (key, member) in value.as_object().into_iter().flatten() {
        let member = member.as_str().map_or_else(|| member.to_string(), str::to_owned);
        output::line(&format!("{key:<18} {member}"));
    }
    Ok(())
}
