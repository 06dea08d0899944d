//! `counterfoil serve`: a node on this machine.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use counterfoil_consent::Policy;
use counterfoil_identity::enrol::JoinToken;
use counterfoil_identity::{TrustDomain, certificate_end, key_file};
use counterfoil_model::Checkpoint;
use counterfoil_node::{
    EnrolError, FetchStatus, HomeError, HubConfig, Node, NodeConfig, NodeError, NodeHandle, NodeIdentity,
    Stage, Status, enrol, fdatasync,
};
use counterfoil_router::{CURRENCY, clock};
use counterfoil_session::ConnectError;
use counterfoil_spec::limits::MAX_LATE_RENEWAL_S;
use serde_json::json;

use crate::args::{FetchingArgs, ServeArgs, Switch};
use crate::command::router::checkpoint;
use crate::consent_file::{self, Flags, Followed};
use crate::exit::{Failure, Outcome};
use crate::hashing::{self, Watcher};
use crate::keys::keyring;
use crate::machine::share_of_memory;
use crate::output;
use crate::size::ByteSize;
use crate::supervise::{follow_parent, interrupted};

/// How often the consent file is looked at; a change is taken up after two looks.
const FOLLOW_EVERY: Duration = Duration::from_millis(200);

/// Runs until it is interrupted, or its router serves it no more.
pub(crate) async fn run(home: &Path, args: ServeArgs, json: bool) -> Outcome {
    let mut stop = std::pin::pin!(interrupted());
    if args.supervised {
        follow_parent()?;
    }
    let Some(router) = args.router else {
        return Err(Failure::wrong_use(
            "say where the router is: --router HOST:PORT, as `counterfoil router` printed it",
        ));
    };
    let file = consent_file::locate(home, args.consent_file.as_deref());
    let (names, models) = models(&args.model)?;
    let flags = Flags { accept_notice: args.accept_notice, models: names, concurrent: args.concurrent };
    let (policy, text) = allowed(&file, &args, &flags)?;
    let max_memory = args.max_memory.map_or_else(|| share_of_memory(1), Ok)?;
    let manifests = args.manifests.clone().unwrap_or_else(|| hashing::folder(home));
    tokio::select! {
        () = &mut stop => return Ok(()),
        hashed = hashing::describe(manifests, &models, Watcher::of(args.supervised)) => hashed?,
    }
    let identity = identity(home, &args, json).await?;
    let node_id = identity.key.public().node_id();
    let config = NodeConfig {
        home: home.to_owned(),
        identity,
        keys: keyring()?,
        router,
        enrol: args.enrol,
        policy,
        epoch: 1,
        models,
        max_weight_bytes: max_memory.0,
        max_disk_bytes: args.fetching.max_disk.map_or(u64::MAX, |size| size.0),
        share_weights: args.fetching.share_weights == Switch::On,
        hub: hub(&args.fetching),
        currency: CURRENCY.to_owned(),
        now: clock::system(),
        sync: fdatasync(),
    };
    let (node, handle) = Node::open(config).map_err(Failure::store)?;
    if !json {
        output::line(&format!("node {node_id} for the router at {router}"));
        let half = if args.max_memory.is_none() {
            ": half of the memory that is available now; --max-memory takes another size"
        } else {
            ""
        };
        output::line(&format!("holds at most {max_memory} of weights ({} bytes){half}", max_memory.0));
    }
    let followed = tokio::spawn(follow(handle.clone(), file, Followed::new(flags, text)));
    let told = tokio::spawn(tell(handle, (node_id.to_string(), max_memory), json));
    let ran = Box::pin(node.run(stop)).await;
    told.abort();
    followed.abort();
    ran.map_err(|e| match e {
        NodeError::Denied(_)
        | NodeError::RouterDenied(_)
        | NodeError::RouterContradicts(_)
        | NodeError::Superseded(_)
        | NodeError::Ended(_) => Failure::refused(e),
        e => Failure::store(e),
    })
}

/// What the operator allows at the start, and the text of the file that says so.
fn allowed(file: &Path, args: &ServeArgs, flags: &Flags) -> Result<(Policy, String), Failure> {
    let (policy, text) = if args.consent_file.is_some() || file.exists() {
        consent_file::load(file, flags)?
    } else {
        (consent_file::parse("", flags).map_err(Failure::wrong_use)?, String::new())
    };
    if !policy.accepted_notice {
        return Err(Failure::wrong_use(
            "nothing is served before you accept the notice; read it with `counterfoil consent notice` and add --accept-notice",
        ));
    }
    Ok((policy, text))
}

/// Whether a node's home holds no certificate that is in force or may still be renewed.
pub(crate) fn needs_enrolment(home: &Path) -> bool {
    let identity = keyring().ok().and_then(|keys| NodeIdentity::load(home, &keys).ok());
    let Some(identity) = identity else { return true };
    let end = certificate_end(&identity.credentials.chain().leaf);
    end.map_or(true, |end| clock::now().seconds() > end.plus(MAX_LATE_RENEWAL_S))
}

/// Enrols a home with a join token.
pub(crate) async fn join(home: &Path, token: &str, at: SocketAddr) -> Result<NodeIdentity, Failure> {
    let token = token_for(home, token)?;
    if key_file::is_there(&home.join("identity/router.key")) {
        return Err(Failure::wrong_use(format!(
            "{} is a router's home, and no key of a router's may be a node's; give the node a folder of its own with --home",
            home.display()
        )));
    }
    enrol(home, &keyring()?, token, at, &clock::system()).await.map_err(|e| match &e {
        EnrolError::Connect(ConnectError::Refused(_) | ConnectError::RefusedByPeer { .. }) => {
            Failure::refused(e)
        }
        _ => Failure::store(e),
    })
}

/// A join token that a home may use: one of the network that it belongs to, or any while it belongs to none.
fn token_for(home: &Path, token: &str) -> Result<JoinToken, Failure> {
    let token: JoinToken = token.parse().map_err(|e| Failure::wrong_use(format!("the join token: {e}")))?;
    let root = std::fs::read(home.join("identity/root.der")).ok();
    let own = root.and_then(|der| TrustDomain::new(&der).ok()).map(|domain| domain.net_id());
    match own {
        Some(own) if own != token.net_id() => Err(Failure::wrong_use(format!(
            "the join token is of the network {}, and {} belongs to the network {own}: use another --home for that one, or leave the token out",
            token.net_id(),
            home.display()
        ))),
        _ => Ok(token),
    }
}

async fn identity(home: &Path, args: &ServeArgs, json: bool) -> Result<NodeIdentity, Failure> {
    match (&args.join_token, args.enrol) {
        (Some(token), Some(at)) if needs_enrolment(home) => return join(home, token, at).await,
        (Some(_), None) => {
            return Err(Failure::wrong_use(
                "a join token is used at the router's enrolment address: add --enrol HOST:PORT",
            ));
        }
        // Whoever starts a node by a service file starts it with the same words again.
        (Some(token), Some(_)) => {
            token_for(home, token)?;
            let words = "this home has a certificate of the join token's network already, and the token is not used (`counterfoil identity enroll` uses it)";
            if json {
                tracing::info!(words);
            } else {
                output::line(words);
            }
        }
        (None, _) => {}
    }
    NodeIdentity::load(home, &keyring()?).map_err(|e| match e {
        HomeError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => Failure::wrong_use(format!(
            "{} is not enrolled yet; ask the router's operator for `counterfoil identity join-token` and pass --join-token and --enrol",
            home.display()
        )),
        e => Failure::store(e),
    })
}

/// The models' names, and their weights where they are here. A folder that is not there is a name.
fn models(given: &[PathBuf]) -> Result<(Vec<String>, Vec<Arc<Checkpoint>>), Failure> {
    if given.is_empty() {
        let guide = checkpoint(None)?;
        return Ok((vec![guide.name().to_owned()], vec![guide]));
    }
    let (mut names, mut models) = (Vec::new(), Vec::new());
    for path in given {
        if path.exists() {
            let checkpoint = checkpoint(Some(path))?;
            names.push(checkpoint.name().to_owned());
            models.push(checkpoint);
        } else if path.components().count() > 1 {
            return Err(Failure::wrong_use(format!("there is no checkpoint folder {}", path.display())));
        } else {
            names.push(path.display().to_string());
        }
    }
    Ok((names, models))
}

fn hub(args: &FetchingArgs) -> Option<HubConfig> {
    // Not a flag, because a flag can be read in the list of processes.
    let token = std::env::var("COUNTERFOIL_HUB_TOKEN").ok();
    let endpoint = args.hub_endpoint.clone();
    (args.hub == Switch::On).then_some(HubConfig { endpoint, token, allow_branch: args.hub_allow_branch })
}

/// Takes up what becomes of the consent file, whether it is there yet or not. One that cannot be read changes nothing.
async fn follow(handle: NodeHandle, path: PathBuf, mut file: Followed) {
    loop {
        tokio::time::sleep(FOLLOW_EVERY).await;
        match file.look(std::fs::read_to_string(&path)) {
            None => {}
            Some(Ok(policy)) => {
                tracing::info!(file = %path.display(), "the consent file has changed");
                if !handle.change_policy(policy) {
                    return;
                }
            }
            Some(Err(e)) => {
                tracing::warn!(file = %path.display(), error = e, "not taken up; what was allowed before holds")
            }
        }
    }
}

/// Prints the node's ready line, and under people's eyes each change after it.
async fn tell(handle: NodeHandle, (node_id, max_memory): (String, ByteSize), json: bool) {
    let mut status = handle.status();
    let mut ready = false;
    let mut said: Vec<String> = Vec::new();
    loop {
        let seen = status.borrow_and_update().clone();
        let experts: usize = seen.consents.iter().filter_map(|c| c.experts).sum();
        if matches!(seen.stage, Stage::Serving | Stage::Idle) && !ready {
            ready = true;
            if json {
                let max_bytes = max_memory.0;
                output::json(&json!({
                    "ready": "node", "node_id": node_id, "experts": experts, "max_memory_bytes": max_bytes,
                }));
            }
        }
        if !json {
            let lines = lines(&seen, experts);
            lines.iter().filter(|line| !said.contains(line)).for_each(|line| output::line(line));
            said = lines;
        }
        if status.changed().await.is_err() {
            return;
        }
    }
}

/// What people are told of a node's state; a line that stays is said once.
fn lines(seen: &Status, experts: usize) -> Vec<String> {
    let mut lines = vec![match &seen.stage {
        Stage::Starting => "starting".to_owned(),
        Stage::Connecting(why) => format!("connecting again: {why}"),
        Stage::Connected => "connected; waiting for a proposal".to_owned(),
        Stage::Idle => {
            "nothing to host now: the models that this node may serve are hosted, or do not fit here"
                .to_owned()
        }
        Stage::Serving => format!("serving {experts} experts"),
        Stage::Draining => "finishing what is open".to_owned(),
    }];
    let coming = seen.fetches.iter().filter(|f| f.shards < f.wanted_shards || f.trouble.is_some());
    lines.extend(coming.flat_map(fetched));
    lines.extend(seen.refused.iter().map(|refused| format!("refused: {refused}")));
    lines
}

/// How far fetching is, and what is in its way.
fn fetched(fetch: &FetchStatus) -> Vec<String> {
    let FetchStatus { shards, wanted_shards, bytes, wanted_bytes, trouble, .. } = fetch;
    let far = format!("fetched {shards} of {wanted_shards} shards ({bytes} of {wanted_bytes} bytes)");
    std::iter::once(far).chain(trouble.as_ref().map(|why| format!("held up: {why}"))).collect()
}
