//! `counterfoil bench …`: what this machine does, measured against a baseline in the same run.

mod dispatch;

use std::path::Path;
use std::time::Instant;

use counterfoil_model::{Checkpoint, Decoder, ExpertBank, bench};
use counterfoil_router::Prompt;
use counterfoil_session::bench::Plan;
use serde_json::json;

use crate::args::BenchCommand;
use crate::command::router::checkpoint;
use crate::exit::{Failure, Outcome};
use crate::output;
use crate::throwaway::Throwaway;

/// What is continued; any ids of a vocabulary do, these or what is left of them.
const PROMPT: [u32; 8] = [2, 100, 101, 102, 103, 104, 4, 3];

/// How many requests run at one time.
const BATCHES: [u32; 4] = [1, 2, 4, 8];

/// Carries out one of them.
pub(crate) async fn run(command: BenchCommand, json: bool) -> Outcome {
    match command {
        BenchCommand::Dispatch { rounds, hidden, rows } => {
            dispatch::dispatch(Plan { rows, hidden, count: rounds, ..Plan::default() }, json).await
        }
        BenchCommand::Decode { tokens, repeats, nodes, model } => {
            Box::pin(decode(model.as_deref(), (tokens, repeats, nodes), json)).await
        }
        BenchCommand::Batch { tokens, repeats, nodes, model } => {
            Box::pin(batch(model.as_deref(), (tokens, repeats, nodes), json)).await
        }
    }
}

async fn decode(model: Option<&Path>, (tokens, repeats, nodes): (u32, u32, u32), json: bool) -> Outcome {
    let checkpoint = checkpoint(model)?;
    let network = Box::pin(Throwaway::start(model, &checkpoint, nodes, false)).await?;
    let (mut alone, mut through) = (Vec::new(), Vec::new());
    for _ in 0..repeats.max(1) {
        alone.push(local(&checkpoint, tokens)?);
        through.push(rate(&network, prompt(checkpoint.config().vocab), (1, tokens)).await?);
    }
    network.stop().await?;
    let (alone, through) = (median(alone), median(through));
    let ratio = through / alone;
    if json {
        output::json(&json!({
            "tokens": tokens, "repeats": repeats, "nodes": nodes,
            "local_tokens_per_s": alone, "nodes_tokens_per_s": through, "ratio": ratio,
        }));
        return Ok(());
    }
    output::line(&format!("in this process     {alone:8.0} tokens/s"));
    output::line(&format!("through {nodes:2} nodes    {through:8.0} tokens/s"));
    output::line(&format!("ratio               {ratio:8.2}"));
    Ok(())
}

/// Tokens per second of all together, by how many prompts are continued at one time.
async fn batch(model: Option<&Path>, (tokens, repeats, nodes): (u32, u32, u32), json: bool) -> Outcome {
    let checkpoint = checkpoint(model)?;
    let network = Box::pin(Throwaway::start(model, &checkpoint, nodes, false)).await?;
    let mut rates = BATCHES.map(|_| Vec::new());
    // The first pass warms all up and is thrown away; the others take turns, so that all see the same machine.
    for pass in 0..=repeats.max(1) {
        for (batch, rates) in BATCHES.iter().zip(&mut rates) {
            let rate = rate(&network, prompt(checkpoint.config().vocab), (*batch, tokens)).await?;
            if pass > 0 {
                rates.push(rate);
            }
        }
    }
    network.stop().await?;
    let rates: Vec<f64> = rates.into_iter().map(median).collect();
    let one = rates.first().copied().unwrap_or(f64::NAN);
    if json {
        let batches: Vec<_> = BATCHES
            .iter()
            .zip(&rates)
            .map(|(n, rate)| json!({ "requests": n, "tokens_per_s": rate, "ratio": rate / one }))
            .collect();
        output::json(&json!({
            "tokens": tokens, "repeats": repeats, "nodes": nodes, "batches": batches,
            "ratio": rates.last().copied().unwrap_or(f64::NAN) / one,
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

fn local(checkpoint: &Checkpoint, tokens: u32) -> Result<f64, Failure> {
    let decoder = Decoder::load(checkpoint).map_err(Failure::store)?;
    let bank = ExpertBank::load(checkpoint, checkpoint.config().all_experts()).map_err(Failure::store)?;
    let start = Instant::now();
    let clock = || u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
    let count = usize::try_from(tokens).unwrap_or(usize::MAX);
    let rate = bench::decode(&decoder, &mut &bank, &prompt(checkpoint.config().vocab), count, &clock)
        .map_err(Failure::wrong_use)?;
    Ok(rate.per_second())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
