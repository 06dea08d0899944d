//! `counterfoil model …`: checkpoint folders, their logits and sizes.

use std::path::Path;

use counterfoil_model::{Checkpoint, Decoder, ExpertBank, Rows, reference};
use serde_json::json;

use crate::args::{ModelCommand, Spread};
use crate::command::router::checkpoint;
use crate::exit::{Failure, Outcome};
use crate::output;
use crate::throwaway::{MAX_NODES, Throwaway};

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
        Some(n) => {
            let by_expert = spread == Spread::Experts;
            let network = Box::pin(Throwaway::start(Some(dir), &checkpoint, n, by_expert)).await?;
            let rows = network.router.logits(tokens).await.map_err(Failure::refused);
            network.stop().await?;
            rows?
        }
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

fn inspect(dir: Option<&Path>, json: bool) -> Outcome {
    let checkpoint = checkpoint(dir)?;
    let config = checkpoint.config();
    let decoder = Decoder::load(&checkpoint).map_err(Failure::store)?;
    let expert = checkpoint.expert_weight_bytes();
    let experts = config.all_experts().count();
    let value = json!({
        "name": checkpoint.name(), "manifest": checkpoint.manifest_id(), "family": config.family.name(),
        "hidden": config.hidden, "inner": config.inner, "layers": config.layers, "heads": config.attention.heads(),
        "kv_heads": config.attention.kv_heads(), "experts": config.experts, "top_k": config.top_k, "vocab": config.vocab,
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
