//! `counterfoil bench …`: what this machine does, measured against a baseline in the same run.

mod accounting;
mod candle;
mod deny;
mod dispatch;
mod flood;
mod http;
mod kernel;
mod rotation;
mod table;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use counterfoil_model::{Checkpoint, Decoder, ExpertBank, bench};
use counterfoil_router::Prompt;
use counterfoil_session::bench::Plan;
use serde_json::json;

use crate::args::{Against, BenchCommand, Table};
use crate::command::router::checkpoint;
use crate::exit::{Failure, Outcome};
use crate::output;
use crate::throwaway::{Layout, Throwaway};

/// What is continued; any ids of a vocabulary do, these or what is left of them.
const PROMPT: [u32; 8] = [2, 100, 101, 102, 103, 104, 4, 3];

/// How many requests run at one time.
const BATCHES: [u32; 4] = [1, 2, 4, 8];

/// Carries out one of them.
pub(crate) async fn run(command: BenchCommand, json: bool) -> Outcome {
    match command {
        BenchCommand::Dispatch { rounds, hidden, rows, prefill_rows } => {
            dispatch::run(Plan { rows, prefill_rows, hidden, count: rounds }, json).await
        }
        BenchCommand::Deny { rounds, nodes, lanes } => {
            Box::pin(deny::run(deny::Plan { nodes, lanes, rounds }, json)).await
        }
        BenchCommand::Decode { tokens, repeats, model, against: Some(Against::Candle), .. } => {
            candle::run(model.as_deref(), (tokens, repeats), json)
        }
        BenchCommand::Decode { tokens, repeats, model, table: Some(Table::LlamaBench), .. } => {
            table::run(model.as_deref(), (tokens, repeats), json)
        }
        BenchCommand::Accounting { tokens, repeats, nodes, model } => {
            let layout = Layout { nodes, within: true, ..Layout::default() };
            Box::pin(accounting::run(model.as_deref(), (tokens, repeats), layout, json)).await
        }
        BenchCommand::Http { tokens, repeats, nodes, model } => {
            let layout = Layout { nodes, ..Layout::default() };
            Box::pin(http::run(model.as_deref(), (tokens, repeats), layout, json)).await
        }
        BenchCommand::Decode { tokens, repeats, nodes, model, rtt, against: None, table: None } => {
            let layout = Layout { nodes, rtt, ..Layout::default() };
            Box::pin(decode(model.as_deref(), (tokens, repeats), layout, json)).await
        }
        BenchCommand::Batch { tokens, repeats, nodes, model, rtt } => {
            let layout = Layout { nodes, rtt, ..Layout::default() };
            Box::pin(batch(model.as_deref(), (tokens, repeats), layout, json)).await
        }
        BenchCommand::Flood { tokens, repeats, nodes, times, model } => {
            let layout = Layout { nodes, ..Layout::default() };
            Box::pin(flood::run(model.as_deref(), (tokens, repeats), (layout, times), json)).await
        }
        BenchCommand::Rotation { life, tokens, at_once, turns, turn_seconds, nodes, model } => {
            let plan = rotation::Plan { life_s: life, tokens, at_once, turns, turn_s: turn_seconds, nodes };
            Box::pin(rotation::run(model.as_deref(), plan, json)).await
        }
        BenchCommand::Kernel { rows, outputs, inner, repeats } => {
            kernel::run(&kernel::Plan { rows, outputs, inner, repeats }, json)
        }
        BenchCommand::Prefill { tokens, repeats, model } => {
            prefill(model.as_deref(), (tokens, repeats), json)
        }
    }
}

async fn decode(model: Option<&Path>, (tokens, repeats): (u32, u32), layout: Layout, json: bool) -> Outcome {
    let checkpoint = checkpoint(model)?;
    fits(&checkpoint, PROMPT.len(), tokens)?;
    let (mut alone, mut through) = (Vec::new(), Vec::new());
    let measure = async |network: &Throwaway| {
        for _ in 0..repeats {
            alone.push(local(&checkpoint, tokens).await?);
            through.push(rate(network, prompt(checkpoint.config().vocab), (1, tokens)).await?);
        }
        Ok(network.added_rtt())
    };
    let added = Box::pin(Throwaway::during(model, &checkpoint, layout, measure)).await?;
    let (alone, through, nodes) = (median(alone), median(through), layout.nodes);
    let ceiling = added.map(|rtt| Ceiling::of(&checkpoint, rtt, alone));
    let ratio = through / ceiling.as_ref().map_or(alone, |ceiling| ceiling.tokens_per_s);
    if json {
        let mut report = json!({
            "tokens": tokens, "repeats": repeats, "nodes": nodes,
            "local_tokens_per_s": alone, "nodes_tokens_per_s": through, "ratio": ratio,
        });
        if let (Some(ceiling), Some(report)) = (ceiling, report.as_object_mut()) {
            report.insert("rtt_us".to_owned(), json!(ceiling.rtt.as_secs_f64() * 1e6));
            report.insert("layers".to_owned(), json!(ceiling.layers));
            report.insert("ceiling_tokens_per_s".to_owned(), json!(ceiling.tokens_per_s));
        }
        output::json(&report);
        return Ok(());
    }
    output::line(&format!("in this process     {alone:8.1} tokens/s"));
    if let Some(Ceiling { rtt, layers, tokens_per_s }) = ceiling {
        let rtt = rtt.as_secs_f64() * 1e3;
        output::line(&format!("{layers:3} x {rtt:6.2} ms more {tokens_per_s:8.1} tokens/s at most"));
    }
    output::line(&format!("through {nodes:2} nodes    {through:8.1} tokens/s"));
    output::line(&format!("ratio               {ratio:8.2}"));
    Ok(())
}

/// What is possible where every layer with experts costs a round trip.
struct Ceiling {
    rtt: Duration,
    layers: usize,
    tokens_per_s: f64,
}

impl Ceiling {
    fn of(checkpoint: &Arc<Checkpoint>, rtt: Duration, local_tokens_per_s: f64) -> Self {
        let layers = checkpoint.config().moe_layers().len();
        let count = f64::from(u32::try_from(layers).unwrap_or(u32::MAX));
        let tokens_per_s = 1.0 / (count * rtt.as_secs_f64() + 1.0 / local_tokens_per_s);
        Self { rtt, layers, tokens_per_s }
    }
}

/// Tokens per second of all together, by how many prompts are continued at one time.
async fn batch(model: Option<&Path>, (tokens, repeats): (u32, u32), layout: Layout, json: bool) -> Outcome {
    let checkpoint = checkpoint(model)?;
    fits(&checkpoint, PROMPT.len(), tokens)?;
    let mut rates = BATCHES.map(|_| Vec::new());
    let measure = async |network: &Throwaway| {
        // The first pass warms all up and is thrown away; the others take turns, so that all see the same machine.
        for pass in 0..=repeats {
            for (batch, rates) in BATCHES.iter().zip(&mut rates) {
                let rate = rate(network, prompt(checkpoint.config().vocab), (*batch, tokens)).await?;
                if pass > 0 {
                    rates.push(rate);
                }
            }
        }
        Ok(network.added_rtt().map(|rtt| rtt.as_secs_f64() * 1e6))
    };
    let rtt_us = Box::pin(Throwaway::during(model, &checkpoint, layout, measure)).await?;
    let rates: Vec<f64> = rates.into_iter().map(median).collect();
    let one = rates.first().copied().unwrap_or(f64::NAN);
    let most = rates.last().copied().unwrap_or(f64::NAN);
    if json {
        let batches: Vec<_> = BATCHES
            .iter()
            .zip(&rates)
            .map(|(n, rate)| json!({ "requests": n, "tokens_per_s": rate, "ratio": rate / one }))
            .collect();
        output::json(&json!({
            "tokens": tokens, "repeats": repeats, "nodes": layout.nodes, "rtt_us": rtt_us, "batches": batches,
            "one_tokens_per_s": one, "most_tokens_per_s": most, "ratio": most / one,
        }));
        return Ok(());
    }
    for (requests, rate) in BATCHES.iter().zip(&rates) {
        output::line(&format!("{requests} at one time {rate:8.0} tokens/s   {:5.2} times one", rate / one));
    }
    Ok(())
}

/// Tokens per second through the nodes. The prompts differ, so that rows go to different experts, as those of requests do.
async fn rate(network: &Throwaway, first: [u32; 8], (requests, tokens): (u32, u32)) -> Result<f64, Failure> {
    let prompt = |n| {
        let mut ids = first.to_vec();
        ids.rotate_left(n);
        Prompt { ids, more: tokens }
    };
    let prompts: Vec<Prompt> = (0..first.len()).cycle().zip(0..requests).map(|(n, _)| prompt(n)).collect();
    let trial = network.router.continue_all(&prompts).await;
    trial.continued.into_iter().try_for_each(|done| done.map(drop)).map_err(Failure::refused)?;
    Ok(f64::from(tokens) * f64::from(requests) / trial.took.as_secs_f64())
}

/// Ids to continue in a vocabulary of this size.
fn prompt(vocabulary: usize) -> [u32; 8] {
    let size = u32::try_from(vocabulary).unwrap_or(u32::MAX);
    PROMPT.map(|id| id.checked_rem(size).unwrap_or(id))
}

/// Whether a model has so many positions.
fn fits(checkpoint: &Checkpoint, prompt: usize, tokens: u32) -> Outcome {
    let wanted = prompt.saturating_add(usize::try_from(tokens).unwrap_or(usize::MAX));
    let context = checkpoint.config().context;
    if wanted <= context {
        return Ok(());
    }
    Err(Failure::wrong_use(format!(
        "--tokens is {tokens}, with a prompt of {prompt}; the model {:?} has {context} positions",
        checkpoint.name()
    )))
}

/// Tokens per second in this process; beside the caller, so that a signal need not wait for it.
async fn local(checkpoint: &Arc<Checkpoint>, tokens: u32) -> Result<f64, Failure> {
    let checkpoint = Arc::clone(checkpoint);
    let measured = tokio::task::spawn_blocking(move || locally(&checkpoint, tokens)).await;
    measured.map_err(Failure::store)?
}

fn locally(checkpoint: &Checkpoint, tokens: u32) -> Result<f64, Failure> {
    let decoder = Decoder::load(checkpoint).map_err(Failure::store)?;
    let bank = ExpertBank::load(checkpoint, checkpoint.config().all_experts()).map_err(Failure::store)?;
    let start = Instant::now();
    let clock = || nanos(start);
    let count = usize::try_from(tokens).unwrap_or(usize::MAX);
    let rate = bench::decode(&decoder, &mut &bank, &prompt(checkpoint.config().vocab), count, &clock)
        .map_err(Failure::wrong_use)?;
    Ok(rate.per_second())
}

/// A prompt at once, and the same positions one by one.
fn prefill(model: Option<&Path>, (tokens, repeats): (u32, u32), json: bool) -> Outcome {
    let checkpoint = checkpoint(model)?;
    // One by one there is a token before them.
    fits(&checkpoint, 1, tokens)?;
    let decoder = Decoder::load(&checkpoint).map_err(Failure::store)?;
    let bank = ExpertBank::load(&checkpoint, checkpoint.config().all_experts()).map_err(Failure::store)?;
    let known = u32::try_from(checkpoint.config().vocab).unwrap_or(u32::MAX).max(1);
    let ids: Vec<u32> = (0..tokens).map(|at| at.wrapping_mul(7919) % known).collect();
    let Some((first, _)) = ids.split_first() else {
        return Err(Failure::wrong_use("--tokens is 0; a prompt has at least one"));
    };
    let start = Instant::now();
    let clock = || nanos(start);
    let (mut at_once, mut one_by_one) = (Vec::new(), Vec::new());
    for _ in 0..repeats {
        let rate = bench::prefill(&decoder, &mut &bank, &ids, &clock).map_err(Failure::wrong_use)?;
        at_once.push(rate.per_second());
        let rate =
            bench::decode(&decoder, &mut &bank, &[*first], ids.len(), &clock).map_err(Failure::wrong_use)?;
        one_by_one.push(rate.per_second());
    }
    let (at_once, one_by_one) = (median(at_once), median(one_by_one));
    let ratio = at_once / one_by_one;
    if json {
        output::json(&json!({
            "tokens": tokens, "repeats": repeats, "prefill_tokens_per_s": at_once,
            "decode_tokens_per_s": one_by_one, "ratio": ratio,
        }));
        return Ok(());
    }
    output::line(&format!("at once      {at_once:8.1} tokens/s"));
    output::line(&format!("one by one   {one_by_one:8.1} tokens/s"));
    output::line(&format!("ratio        {ratio:8.2}"));
    Ok(())
}

fn nanos(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
