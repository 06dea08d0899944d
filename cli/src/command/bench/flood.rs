//! `counterfoil bench flood`: what a request keeps of its speed while a router is flooded with first packets.
//!
//! The good rate is that of the request's own frames to its nodes, as it is without a flood. The flood's thread and the
//! router share this machine, so what is lost is both what the router spends on refusing and what sending takes.

use std::path::Path;
use std::time::Instant;

use counterfoil_router::Prompt;
use counterfoil_session::bench::flood::FirstPackets;
use serde_json::json;

use super::{PROMPT, fits, median, prompt};
use crate::command::router::checkpoint;
use crate::exit::{Failure, Outcome};
use crate::output;
use crate::throwaway::{Layout, Throwaway};

/// Medians are of these.
#[derive(Default)]
struct Figures {
    calm: Vec<f64>,
    flooded: Vec<f64>,
    ratios: Vec<f64>,
    frames_per_s: Vec<f64>,
    sent_per_s: Vec<f64>,
}

/// Asks with and without a flood in turn; the first turn warms up and is thrown away.
pub(super) async fn run(
    model: Option<&Path>,
    (tokens, repeats): (u32, u32),
    (layout, times): (Layout, u32),
    json: bool,
) -> Outcome {
    let checkpoint = checkpoint(model)?;
    fits(&checkpoint, PROMPT.len(), tokens)?;
    let packets = FirstPackets::record().await.map_err(Failure::store)?;
    let asked = Prompt { ids: prompt(checkpoint.config().vocab).to_vec(), more: tokens };
    let mut found = Figures::default();
    let measure = async |network: &Throwaway| {
        for turn in 0..=repeats {
            let (calm, frames) = rate(network, &asked).await?;
            let (flood, began) =
                (packets.flood(network.router.nodes_addr(), frames * f64::from(times))?, Instant::now());
            let flooded = rate(network, &asked).await;
            let sent = flood.end().map_err(Failure::store)? as f64 / began.elapsed().as_secs_f64();
            let (flooded, _) = flooded?;
            if turn > 0 {
                found.ratios.push(flooded / calm);
                found.calm.push(calm);
                found.flooded.push(flooded);
                found.frames_per_s.push(frames);
                found.sent_per_s.push(sent);
            }
        }
        Ok(())
    };
    Box::pin(Throwaway::during(model, &checkpoint, layout, measure)).await?;
    let Figures { calm, flooded, ratios, frames_per_s, sent_per_s } = found;
    let (calm, flooded, ratio) = (median(calm), median(flooded), median(ratios));
    let (frames, sent) = (median(frames_per_s), median(sent_per_s));
    if json {
        output::json(&json!({
            "tokens": tokens, "repeats": repeats, "nodes": layout.nodes, "times": times,
            "frames_per_s": frames, "first_packets_per_s": sent,
            "tokens_per_s": calm, "flooded_tokens_per_s": flooded, "ratio": ratio,
        }));
        return Ok(());
    }
    output::line(&format!("one request         {calm:10.1} tokens/s, {frames:.0} frames/s"));
    output::line(&format!("in the flood        {flooded:10.1} tokens/s, {sent:.0} first packets/s"));
    output::line(&format!("it keeps            {ratio:10.2}"));
    Ok(())
}

/// Tokens and frames in a second.
async fn rate(network: &Throwaway, prompt: &Prompt) -> Result<(f64, f64), Failure> {
    let before = frames(network)?;
    let trial = network.router.continue_all(std::slice::from_ref(prompt)).await;
    trial.continued.into_iter().try_for_each(|done| done.map(drop)).map_err(Failure::refused)?;
    let took = trial.took.as_secs_f64();
    Ok((f64::from(prompt.more) / took, (frames(network)? - before) / took))
}

/// Frames that the router has sent to nodes.
fn frames(network: &Throwaway) -> Result<f64, Failure> {
    let text = network.router.metrics();
    let line = text.lines().find_map(|line| line.strip_prefix("counterfoil_dispatches_total "));
    line.and_then(|count| count.parse().ok())
        .ok_or_else(|| Failure::store(anyhow::anyhow!("the router does not count its frames")))
}
