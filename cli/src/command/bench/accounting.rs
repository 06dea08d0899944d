//! `counterfoil bench accounting`: what share of the CPU time of decoding evidence takes.
//!
//! Router and nodes run in this process, so that its CPU time is all there is. Evidence is every order that is signed and
//! checked, every transcript, receipt and countersignature, and every log entry with its index, of the router and of
//! each node. Requests are those of `bench decode`: no inference is logged for them, and no hold is taken.

use std::path::Path;

use counterfoil_audit::cost::Count;
use counterfoil_router::Prompt;
use serde_json::json;

use super::{median, prompt};
use crate::command::router::checkpoint;
use crate::exit::{Failure, Outcome};
use crate::output;
use crate::throwaway::{Layout, Throwaway};

/// Continues a prompt again and again; the first request warms up and is thrown away.
pub(super) async fn run(
    model: Option<&Path>,
    (tokens, repeats): (u32, u32),
    layout: Layout,
    json: bool,
) -> Outcome {
    let checkpoint = checkpoint(model)?;
    super::fits(&checkpoint, super::PROMPT.len(), tokens)?;
    let prompt = Prompt { ids: prompt(checkpoint.config().vocab).to_vec(), more: tokens };
    let (mut evidence_us, mut all_us, mut shares) = (Vec::new(), Vec::new(), Vec::new());
    let measure = async |network: &Throwaway| {
        for turn in 0..=repeats {
            let count = Count::begin();
            let trial = network.router.continue_all(std::slice::from_ref(&prompt)).await;
            trial.continued.into_iter().try_for_each(|done| done.map(drop)).map_err(Failure::refused)?;
            let (evidence, all) = count.taken();
            if turn > 0 {
                evidence_us.push(evidence.as_secs_f64() * 1e6);
                all_us.push(all.as_secs_f64() * 1e6);
                shares.push(evidence.as_secs_f64() / all.as_secs_f64());
            }
        }
        Ok(())
    };
    Box::pin(Throwaway::during(model, &checkpoint, layout, measure)).await?;
    let (evidence_us, all_us, ratio) = (median(evidence_us), median(all_us), median(shares));
    if json {
        output::json(&json!({
            "tokens": tokens, "repeats": repeats, "nodes": layout.nodes, "evidence_us": evidence_us,
            "all_us": all_us, "ratio": ratio,
        }));
        return Ok(());
    }
    output::line(&format!("evidence     {:10.1} us CPU a request", evidence_us));
    output::line(&format!("all          {:10.1} us CPU a request of {tokens} tokens", all_us));
    output::line(&format!("share        {:10.2} %", ratio * 100.0));
    Ok(())
}
