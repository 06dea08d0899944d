//! `counterfoil router`: the router alone.

mod deny;
mod paying;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use counterfoil_model::Checkpoint;
use counterfoil_router::home::RouterHome;
use counterfoil_router::{
    Dealing, Hedging, OfficeError, RouterConfig, RunningRouter, StartError, Witnessing, clock,
};
use counterfoil_spec::fetch::Repository;
use serde_json::json;

use crate::args::{RouterArgs, Switch};
use crate::command::audit::read_policy;
use crate::command::identity::log_vkeys;
use crate::exit::{Failure, Outcome};
use crate::hashing::{self, Watcher};
use crate::home::Running;
use crate::keys::keyring;
use crate::output;
use crate::supervise::{follow_parent, interrupted};

/// Runs until it is interrupted.
pub(crate) async fn run(home: &Path, args: RouterArgs, json: bool) -> Outcome {
    if let Some(command) = args.command {
        return deny::run(home, command, json).await;
    }
    let mut stop = std::pin::pin!(interrupted());
    if args.supervised {
        follow_parent()?;
    }
    let checkpoints = checkpoints(&args.model)?;
    let repositories = repositories(&args.hub_repository, checkpoints.len())?;
    let router_home =
        RouterHome::open_or_create(home, &keyring()?, clock::now().seconds()).map_err(Failure::store)?;
    tokio::select! {
        () = &mut stop => return Ok(()),
        hashed = hashing::describe(hashing::folder(home), &checkpoints, Watcher::of(args.supervised)) => hashed?,
    }
    let witnessing = witnessing(&args, &router_home)?;
    let services = paying::services(&args.paying, args.listen)?;
    let config = config(&args, repositories);
    let mut router =
        Box::pin(RunningRouter::start(router_home, &checkpoints, config)).await.map_err(start_failure)?;
    router.have_witnessed(witnessing);
    if let Some(services) = services {
        router.pay_through(services);
    }
    let url = format!("http://{}", router.http_addr());
    // Before it says that it is ready: from then on other commands find it.
    if !args.supervised {
        let (pid, url) = (std::process::id(), url.clone());
        Running { pid, url, router_pid: pid, nodes: Vec::new() }.write(home)?;
    }
    if json {
        output::json(&json!({
            "ready": "router", "url": url, "http": router.http_addr().to_string(),
            "nodes": router.nodes_addr().to_string(), "enrol": router.enrol_addr().to_string(),
            "net_id": router.net_id(), "router_id": router.router_id(),
            "log_vkey": router.office().log_vkey(), "log_size": router.office().log_size(),
        }));
    } else {
        output::line(&format!("Ready: clients at {url}"));
        output::line(&format!(
            "  nodes     --router {} --enrol {}",
            router.nodes_addr(),
            router.enrol_addr()
        ));
        output::line("  next      counterfoil identity join-token     (one for each node)");
        output::line(&format!("  log key   {}", router.office().log_vkey()));
    }
    let lost = tokio::select! {
        () = stop => false,
        () = router.office().lost() => true,
    };
    let stopped = router.stop().await;
    if !args.supervised {
        Running::clear(home);
    }
    if lost {
        return Err(Failure::store(anyhow::anyhow!(
            "the record can no longer be relied on, so the router stopped; the lines above say why"
        )));
    }
    stopped.map_err(Failure::store)
}

fn config(args: &RouterArgs, repositories: Vec<Repository>) -> RouterConfig {
    RouterConfig {
        http: args.listen,
        nodes: args.node_listen,
        enrol: args.enrol_listen,
        dealing: Dealing::Placed { replicas: args.replicas, expect: args.expect_nodes },
        hedging: if args.hedge == Switch::On { Hedging::On } else { Hedging::Off },
        keyless: args.keyless,
        repositories,
        rows_as: args.activations.rows_as(),
        certificate_life_s: args.certificate_life,
        salt_days: args.salt_days,
        now: clock::system(),
    }
}

/// The witnesses that are to be asked; a policy for other logs, or without anybody to ask, is refused.
fn witnessing(args: &RouterArgs, home: &RouterHome) -> Result<Option<Witnessing>, Failure> {
    let Some(path) = &args.witness_policy else { return Ok(None) };
    let policy = read_policy(path)?;
    let own = log_vkeys(home)?;
    let at = path.display();
    if !policy.logs().is_empty() && !policy.logs().iter().any(|log| own.contains(&log.key.to_string())) {
        let newest = own.last().cloned().unwrap_or_default();
        return Err(Failure::wrong_use(format!(
            "{at} names other logs than this one, whose key is {newest}"
        )));
    }
    if !policy.witnesses().iter().any(|witness| witness.url.is_some()) {
        return Err(Failure::wrong_use(format!(
            "{at} names no witness with a URL, so nobody could be asked"
        )));
    }
    let every = Duration::from_secs(args.witness_every);
    Ok(Some(Witnessing { policy: Arc::new(policy), every }))
}

/// Opens the models that a router is to offer, each with its tokenizer.
fn checkpoints(folders: &[PathBuf]) -> Result<Vec<Arc<Checkpoint>>, Failure> {
    let opened = match folders {
        [] => vec![checkpoint(None)?],
        some => some.iter().map(|folder| checkpoint(Some(folder))).collect::<Result<_, _>>()?,
    };
    for checkpoint in &opened {
        checkpoint.vocabulary().map_err(|e| {
            let name = checkpoint.name();
            Failure::wrong_use(format!("a router needs the tokenizer of the model {name:?}: {e}"))
        })?;
    }
    Ok(opened)
}

/// Opens a checkpoint folder, or the embedded model where none is named.
pub(crate) fn checkpoint(folder: Option<&Path>) -> Result<Arc<Checkpoint>, Failure> {
    let opened = match folder {
        Some(folder) if !folder.exists() => {
            return Err(Failure::store(anyhow::anyhow!(
                "there is no {}; name a checkpoint folder, split folder or GGUF file",
                folder.display()
            )));
        }
        Some(folder) => Checkpoint::open(folder),
        None => Checkpoint::guide(),
    };
    opened.map(Arc::new).map_err(Failure::store)
}

/// Reads `OWNER/NAME@COMMIT`, at most one for each model.
fn repositories(given: &[String], models: usize) -> Result<Vec<Repository>, Failure> {
    if given.len() > models {
        return Err(Failure::wrong_use(format!(
            "--hub-repository is given {} times for {models} --model; each model has one",
            given.len()
        )));
    }
    let read = |text: &String| {
        let named =
            text.split_once('@').filter(|(repo, revision)| repo.contains('/') && !revision.is_empty());
        let (repo, revision) =
            named.ok_or_else(|| Failure::wrong_use(format!("{text:?} is not OWNER/NAME@COMMIT")))?;
        if !is_commit(revision) {
            tracing::warn!(
                repository = text,
                "a branch or tag may change, so only nodes with --hub-allow-branch fetch from there; name the commit"
            );
        }
        Ok(Repository { repo: repo.to_owned(), revision: revision.to_owned() })
    };
    given.iter().map(read).collect()
}

fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.bytes().all(|b| b.is_ascii_hexdigit())
}

fn start_failure(e: StartError) -> Failure {
    match e {
        StartError::KeylessBeyondLoopback(_) | StartError::SameName(_) => Failure::wrong_use(e),
        StartError::Office(OfficeError::Ledger { .. }) => Failure::check(e),
        e => Failure::store(e),
    }
}
