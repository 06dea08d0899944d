//! `counterfoil bench rotation`: requests while nodes go from one certificate to the next, in turn with the same where
//! certificates hold for a day.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use counterfoil_audit::LogReader;
use counterfoil_router::Prompt;
use counterfoil_spec::payload::Payload;
use futures_util::future::join_all;
use serde_json::json;

use super::{PROMPT, fits, median, prompt};
use crate::command::router::checkpoint;
use crate::exit::{Failure, Outcome};
use crate::output;
use crate::throwaway::{Layout, Throwaway};

/// What is measured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub(super) life_s: u64,
    pub(super) tokens: u32,
    pub(super) at_once: u32,
    pub(super) turns: u32,
    pub(super) turn_s: u64,
    pub(super) nodes: u32,
}

/// Requests of one kind of turn.
#[derive(Default)]
struct Asked {
    ms: Vec<f64>,
    failures: u64,
}

/// Measures both in turn; the first requests of each warm up and are thrown away.
pub(super) async fn run(model: Option<&Path>, plan: Plan, json: bool) -> Outcome {
    let checkpoint = checkpoint(model)?;
    fits(&checkpoint, PROMPT.len(), plan.tokens)?;
    let asked = Prompt { ids: prompt(checkpoint.config().vocab).to_vec(), more: plan.tokens };
    let steady = Layout { nodes: plan.nodes, ..Layout::default() };
    let rotating = Layout { certificate_life_s: plan.life_s, ..steady };
    let (mut with, mut without) = (Asked::default(), Asked::default());
    let measure = async |steady: &Throwaway| {
        let beside = async |rotating: &Throwaway| {
            for network in [steady, rotating] {
                Asked::default().ask(network, &asked, (plan.at_once, Duration::ZERO)).await;
            }
            for _ in 0..plan.turns {
                let turn = (plan.at_once, Duration::from_secs(plan.turn_s));
                without.ask(steady, &asked, turn).await;
                with.ask(rotating, &asked, turn).await;
            }
            handovers(rotating)
        };
        Box::pin(Throwaway::during(model, &checkpoint, rotating, beside)).await
    };
    let handovers = Box::pin(Throwaway::during(model, &checkpoint, steady, measure)).await?;
    print(plan, (without, with), handovers, json)
}

impl Asked {
    /// Asks again and again for as long as a turn takes, and at least once.
    async fn ask(&mut self, network: &Throwaway, prompt: &Prompt, (at_once, turn): (u32, Duration)) {
        let began = Instant::now();
        let one = async || {
            let mut own = Self::default();
            loop {
                let asked = Instant::now();
                let trial = network.router.continue_all(std::slice::from_ref(prompt)).await;
                if trial.continued.iter().all(Result::is_ok) {
                    own.ms.push(asked.elapsed().as_secs_f64() * 1e3);
                } else {
                    own.failures += 1;
                }
                if began.elapsed() >= turn {
                    return own;
                }
            }
        };
        for done in join_all((0..at_once).map(|_| one())).await {
            self.ms.extend(done.ms);
            self.failures += done.failures;
        }
    }

    /// What so many of a hundred do not exceed.
    fn quantile(&self, percent: usize) -> f64 {
        let mut ms = self.ms.clone();
        ms.sort_by(f64::total_cmp);
        ms.get(ms.len().saturating_sub(1) * percent / 100).copied().unwrap_or(f64::NAN)
    }
}

/// How long each renewal took from the first use of a certificate to the consent token under which its node goes on, in
/// milliseconds, as the router's log has it.
fn handovers(network: &Throwaway) -> Result<Vec<f64>, Failure> {
    let log = LogReader::open(&network.log()).map_err(Failure::store)?;
    let (mut since, mut found) = (HashMap::new(), Vec::new());
    log.for_each(0, |_, _, body| match &body.payload {
        // The first certificate follows none.
        Payload::NodeRenewed(renewed) if renewed.generation > 1 => {
            since.insert(renewed.node, body.time);
        }
        Payload::ConsentGranted(granted) => {
            if let Some(then) = since.remove(&granted.node) {
                found.push(body.time.0.saturating_sub(then.0) as f64);
            }
        }
        _ => {}
    })
    .map_err(Failure::store)?;
    Ok(found)
}

fn print(plan: Plan, (steady, rotating): (Asked, Asked), handovers: Vec<f64>, json: bool) -> Outcome {
    let renewals = handovers.len();
    let handover = median(handovers);
    let (failures, requests) = (steady.failures + rotating.failures, rotating.ms.len());
    let (p50, p99) =
        ((steady.quantile(50), rotating.quantile(50)), (steady.quantile(99), rotating.quantile(99)));
    if json {
        output::json(&json!({
            "life_s": plan.life_s, "nodes": plan.nodes, "at_once": plan.at_once, "tokens": plan.tokens,
            "turns": plan.turns, "requests": requests, "failures": failures, "renewals": renewals,
            "handover_ms": handover,
            "steady_p50_ms": p50.0, "rotating_p50_ms": p50.1, "p50_ratio": p50.1 / p50.0,
            "steady_p99_ms": p99.0, "rotating_p99_ms": p99.1,
        }));
    } else {
        output::line(&format!(
            "{requests} requests while {renewals} certificates were followed by others, {failures} failed"
        ));
        output::line(&format!("for a day           {:10.1} ms, 99% within {:.1} ms", p50.0, p99.0));
        output::line(&format!(
            "for {:<5} seconds   {:10.1} ms, 99% within {:.1} ms",
            plan.life_s, p50.1, p99.1
        ));
        output::line(&format!(
            "from one to the next{handover:10.0} ms until the node's consent stands on its new lane"
        ));
    }
    if failures == 0 { Ok(()) } else { Err(Failure::refused(format!("{failures} requests failed"))) }
}
