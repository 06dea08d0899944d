//! `counterfoil bench deny`: from the operator's command until every node has the new list, and until denied nodes are out.
//!
//! Nodes are processes that host the model. Beside them the lanes of further nodes are held in this process, one each, to be
//! denied and let in again: they check each list as a node does, and keep nothing on disk.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use counterfoil_identity::{Denials, PinnedRouter, client_config};
use counterfoil_node::NodeIdentity;
use counterfoil_router::admin::AdminCommand;
use counterfoil_router::clock;
use counterfoil_session::sandbox::hello;
use counterfoil_session::{ConnectError, LaneEnd, NodeEndpoint, NodeLane, RouterFrame, Target};
use counterfoil_spec::deny::DenyNames;
use counterfoil_spec::ids::Serial;
use counterfoil_spec::limits::PREFIX_PER_S;
use counterfoil_spec::message::{NodeMessage, RouterMessage};
use counterfoil_spec::refusal::Refusal;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::median;
use crate::command::router::checkpoint;
use crate::exit::{Failure, Outcome};
use crate::output;
use crate::throwaway::{Layout, Throwaway};

/// What is measured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub(super) nodes: u32,
    pub(super) lanes: u32,
    pub(super) rounds: u32,
}

/// The lanes of the nodes that are denied; each gives when it was closed.
type Lanes = JoinSet<Result<Instant, LaneEnd>>;

/// Microseconds from the command.
#[derive(Default)]
struct Times {
    logged: Vec<f64>,
    pushed: Vec<f64>,
    closed: Vec<f64>,
}

pub(super) async fn run(plan: Plan, json: bool) -> Outcome {
    let layout = Layout { nodes: plan.nodes, by_expert: true, ..Layout::default() };
    let mut times = Times::default();
    let measure = async |network: &Throwaway| {
        let mut identities = Vec::new();
        for lane in 0..plan.lanes {
            identities.push(network.enrolled(&format!("lane-{lane}")).await?);
        }
        // The first round warms all up and is thrown away.
        for round in 0..=plan.rounds {
            let found = Box::pin(measured(network, &identities, plan)).await?;
            if round > 0 {
                times.add(found);
            }
        }
        Ok(())
    };
    Box::pin(Throwaway::during(None, &checkpoint(None)?, layout, measure)).await?;
    tell(plan, times, json);
    Ok(())
}

/// One change that names nobody here, and one that names the nodes of the lanes.
async fn measured(
    network: &Throwaway,
    identities: &[NodeIdentity],
    plan: Plan,
) -> Result<[Duration; 3], Failure> {
    let all = usize::try_from(plan.nodes.saturating_add(plan.lanes)).unwrap_or(usize::MAX);
    let mut taken = network.router.denials_taken();
    let mut lanes = Lanes::new();
    for identity in identities {
        let lane = Box::pin(connected(identity, network)).await?;
        lanes.spawn(told(lane));
    }
    until(&mut taken, &mut lanes, |taken| taken.len() == all).await?;
    let nobody = DenyNames {
        serials: vec![Serial::from_bytes(counterfoil_identity::random::bytes())],
        ..DenyNames::default()
    };
    let began = Instant::now();
    let epoch = changed(network, AdminCommand::Deny { names: nobody.clone(), reason: REASON.to_owned() })?;
    let logged = began.elapsed();
    until(&mut taken, &mut lanes, |taken| taken.len() == all && taken.values().all(|own| *own >= epoch))
        .await?;
    let pushed = began.elapsed();

    let mut nodes: Vec<_> = identities.iter().map(|identity| identity.key.public().node_id()).collect();
    nodes.sort_unstable();
    let names = DenyNames { nodes, ..DenyNames::default() };
    let began = Instant::now();
    changed(network, AdminCommand::Deny { names: names.clone(), reason: REASON.to_owned() })?;
    let mut closed = Duration::ZERO;
    while let Some(ended) = lanes.join_next().await {
        let at = ended.map_err(Failure::store)?.map_err(otherwise)?;
        closed = closed.max(at.saturating_duration_since(began));
    }
    let names = DenyNames { serials: nobody.serials, ..names };
    changed(network, AdminCommand::Allow { names, reason: REASON.to_owned() })?;
    Ok([logged, pushed, closed])
}

/// Waits for what the nodes have taken, as long as no lane ends.
async fn until(
    taken: &mut watch::Receiver<BTreeMap<u64, u64>>,
    lanes: &mut Lanes,
    wanted: impl FnMut(&BTreeMap<u64, u64>) -> bool,
) -> Outcome {
    tokio::select! {
        seen = taken.wait_for(wanted) => {
            seen.map(drop).map_err(|_| Failure::store(anyhow::anyhow!("the router is gone")))
        }
        Some(ended) = lanes.join_next() => match ended.map_err(Failure::store)? {
            Ok(_) => Err(Failure::store(anyhow::anyhow!("a lane was closed before its node was denied"))),
            Err(end) => Err(otherwise(end)),
        },
    }
}

fn otherwise(end: LaneEnd) -> Failure {
    Failure::store(anyhow::anyhow!("a lane ended otherwise, perhaps because this machine is too busy: {end}"))
}

/// Changes the list; gives its epoch.
fn changed(network: &Throwaway, command: AdminCommand) -> Result<u64, Failure> {
    let reply = network.operate(command)?;
    reply
        .get("epoch")
        .and_then(Value::as_u64)
        .ok_or_else(|| Failure::store(anyhow::anyhow!("no epoch in {reply}")))
}

/// A lane of one node. All of them come from one address, which the router lets in at a certain rate: it is waited for.
async fn connected(identity: &NodeIdentity, network: &Throwaway) -> Result<NodeLane, Failure> {
    let (addr, now) = (network.router.nodes_addr(), clock::system());
    let (router, domain) = (Arc::new(PinnedRouter(Some(identity.router))), identity.domain.clone());
    let tls = client_config(&identity.credentials, &domain, router.clone(), Arc::clone(&now));
    let tls = tls.map_err(Failure::store)?;
    let target = Target { addr, domain, router, now: Arc::clone(&now) };
    let endpoint = NodeEndpoint::towards(addr).map_err(Failure::store)?;
    let mut turn = tokio::time::interval(Duration::from_secs(1) / PREFIX_PER_S);
    loop {
        turn.tick().await;
        match Box::pin(endpoint.connect(&target, tls.clone(), hello(now()))).await {
            Err(ConnectError::Crowded) => {}
            lane => return lane.map_err(Failure::store),
        }
    }
}

/// Takes every list; gives when the lane was closed because it names this node.
async fn told(mut lane: NodeLane) -> Result<Instant, LaneEnd> {
    let mut known = Denials::default();
    loop {
        let message = match lane.next().await {
            Ok(RouterFrame::Message(message)) => *message,
            Ok(RouterFrame::Dispatch(_)) => continue,
            Err(LaneEnd::RefusedByPeer(Refusal::CertDenied, _)) => return Ok(Instant::now()),
            Err(end) => return Err(end),
        };
        if let RouterMessage::Deny(list) = message {
            let (epoch, router) = (list.list.epoch, lane.router());
            let keys = (router.key(), &router.net_id());
            let taken = known.take(list, keys, clock::now().seconds());
            taken.map_err(|refused| lane.shut(refused.refusal, &refused.detail))?;
            lane.send(&NodeMessage::DenyTaken(epoch))?;
        }
    }
}

impl Times {
    fn add(&mut self, [logged, pushed, closed]: [Duration; 3]) {
        let us = |time: Duration| time.as_secs_f64() * 1e6;
        self.logged.push(us(logged));
        self.pushed.push(us(pushed));
        self.closed.push(us(closed));
    }
}

fn tell(Plan { nodes, lanes, rounds }: Plan, times: Times, json: bool) {
    let most = |times: &[f64]| times.iter().copied().fold(0.0, f64::max);
    let (pushed_most, closed_most) = (most(&times.pushed), most(&times.closed));
    let (logged, pushed, closed) = (median(times.logged), median(times.pushed), median(times.closed));
    if json {
        output::json(&json!({
            "nodes": nodes, "lanes": lanes, "rounds": rounds, "logged_us": logged,
            "pushed_us": pushed, "pushed_most_us": pushed_most,
            "closed_us": closed, "closed_most_us": closed_most,
        }));
        return;
    }
    output::line(&format!(
        "{nodes} nodes and the lanes of {lanes} more, {rounds} rounds; ms from the command"
    ));
    output::line(&format!("in the log             {:8.2}", logged / 1e3));
    let line = |what: &str, (median, most): (f64, f64)| {
        output::line(&format!("{what} {:8.2}   at most {:8.2}", median / 1e3, most / 1e3));
    };
    line("taken by everybody    ", (pushed, pushed_most));
    line("closed, all its lanes ", (closed, closed_most));
}

const REASON: &str = "bench deny";
