//! `counterfoil model …`: what a model is, its logits, cutting, making and publishing it.

mod inspect;
mod make;
mod publish;

use std::path::Path;

use counterfoil_model::{Arithmetic, Checkpoint, Decoder, ExpertBank, Rows, Synthetic, reference};
use serde_json::json;

use crate::args::{ModelCommand, SplitQuant, Spread};
use crate::command::router::checkpoint;
use crate::exit::{Failure, Outcome};
use crate::output;
use crate::throwaway::{Layout, MAX_NODES, Throwaway};

/// Carries out one of them.
pub(crate) async fn run(home: &Path, command: ModelCommand, json: bool) -> Outcome {
    match command {
        ModelCommand::Logits { dir, tokens, nodes, widened, spread } => {
            let arithmetic = if widened { Arithmetic::Widened } else { Arithmetic::Canonical };
            logits((&dir, arithmetic), &tokens, nodes, spread, json).await
        }
        ModelCommand::Inspect { dir, hash } => inspect::run(dir.as_deref(), hash, json),
        ModelCommand::Split { source, out, quant, force } => {
            make::split(&source, (&out, force), SplitQuant::quant(quant), json)
        }
        ModelCommand::Publish { path, name, source } => {
            publish::run(home, &path, name, source.as_deref(), json).await
        }
        ModelCommand::Synth { like, layers, quant, seed, out, force } => {
            let model = Synthetic::new(like.like(), layers, quant.dtype(), seed);
            make::synth(&model.map_err(Failure::wrong_use)?, (&out, force), json)
        }
    }
}

async fn logits(
    (dir, arithmetic): (&Path, Arithmetic),
    tokens: &[u32],
    nodes: Option<u32>,
    spread: Spread,
    json: bool,
) -> Outcome {
    let checkpoint = checkpoint(Some(dir))?;
    let rows = match nodes {
        None => {
            let opened = Checkpoint::open(dir).map_err(Failure::store)?;
            local(&opened.with_arithmetic(arithmetic), tokens)?
        }
        Some(n) if n == 0 || n > MAX_NODES => {
            return Err(Failure::wrong_use(format!("--nodes is {n}; it must lie within 1 and {MAX_NODES}")));
        }
        Some(n) => {
            let by_expert = spread == Spread::Experts;
            let layout = Layout { nodes: n, by_expert, ..Layout::default() };
            let logits =
                async |network: &Throwaway| network.router.logits(tokens).await.map_err(Failure::refused);
            Box::pin(Throwaway::during(Some(dir), &checkpoint, layout, logits)).await?
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
