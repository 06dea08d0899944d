//! `counterfoil bench …`: what this machine does, measured against a baseline in the same run.

use std::path::Path;
use std::time::Instant;

use counterfoil_model::{Checkpoint, Decoder, ExpertBank, bench};
use counterfoil_session::bench::Plan;
use serde_json::json;

use crate::args::BenchCommand;
use crate::command::router::checkpoint;
use crate::exit::{Failure, Outcome};
use crate::output;
use crate::throwaway::Throwaway;

/// What is continued; any ids of a vocabulary do.
const PROMPT: [u32; 8] = [2, 100, 101, 102, 103, 104, 4, 3];

/// Carries out one of them.
pub(crate) async fn run(command: BenchCommand, json: bool) -> Outcome {
    match command {
        BenchCommand::Dispatch { rounds, hidden, rows } => {
            dispatch(Plan { rows, hidden, count: rounds }, json).await
        }
        BenchCommand::Decode { tokens, repeats, nodes, model } => {
            Box::pin(decode(model.as_deref(), (tokens, repeats, nodes), json)).await
        }
    }
}

async fn dispatch(plan: Plan, json: bool) -> Outcome {
    let measured = tokio::task::spawn_blocking(move || counterfoil_session::bench::run(plan)).await;
    let report = measured.map_err(Failure::store)?.map_err(Failure::store)?;
    if json {
        output::json(&json!({
            "rows": plan.rows, "hidden": plan.hidden, "rounds": plan.count, "frame_bytes": report.frame_bytes,
            "p50_us": report.lane.p50_us, "p99_us": report.lane.p99_us,
            "echo_p50_us": report.echo.p50_us, "echo_p99_us": report.echo.p99_us,
            "ratio_p50": report.ratio_p50, "ratio_p99": report.ratio_p99,
        }));
        return Ok(());
    }
    output::line(&format!(
        "{} rows of {} floats, frames of {} bytes, {} rounds",
        plan.rows, plan.hidden, report.frame_bytes, plan.count
    ));
    output::line(&format!("dispatch  p50 {:8.1} µs   p99 {:8.1} µs", report.lane.p50_us, report.lane.p99_us));
    output::line(&format!("raw echo  p50 {:8.1} µs   p99 {:8.1} µs", report.echo.p50_us, report.echo.p99_us));
    output::line(&format!("ratio     p50 {:8.2}      p99 {:8.2}", report.ratio_p50, report.ratio_p99));
    Ok(())
}

async fn decode(model: Option<&Path>, (tokens, repeats, nodes): (u32, u32, u32), json: bool) -> Outcome {
    let checkpoint = checkpoint(model)?;
    let known = checkpoint.config().vocab;
    if PROMPT.iter().any(|id| usize::try_from(*id).is_ok_and(|id| id >= known)) {
        return Err(Failure::wrong_use(format!("a vocabulary of {known} has not the ids of the prompt")));
    }
    let network = Box::pin(Throwaway::start(model, &checkpoint, nodes, false)).await?;
    let (mut alone, mut through) = (Vec::new(), Vec::new());
    for _ in 0..repeats.max(1) {
        alone.push(local(&checkpoint, tokens)?);
        let elapsed = network.router.decode(&PROMPT, tokens).await.map_err(Failure::refused)?;
        through.push(f64::from(tokens) / elapsed.as_secs_f64());
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

fn local(checkpoint: &Checkpoint, tokens: u32) -> Result<f64, Failure> {
    let decoder = Decoder::load(checkpoint).map_err(Failure::store)?;
    let bank = ExpertBank::load(checkpoint, checkpoint.config().all_experts()).map_err(Failure::store)?;
    let start = Instant::now();
    let clock = || u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
    let count = usize::try_from(tokens).unwrap_or(usize::MAX);
    let rate = bench::decode(&decoder, &mut &bank, &PROMPT, count, &clock).map_err(Failure::wrong_use)?;
    Ok(rate.per_second())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
