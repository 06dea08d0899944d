//! `counterfoil bench decode --against candle`: the same decoder with candle's quantised product in the place of ours.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use counterfoil_model::{Arithmetic, Decoder, ExpertBank, Threads, bench};
use serde_json::json;

use super::{PROMPT, fits, kernel, median, nanos, prompt};
use crate::command::router::checkpoint;
use crate::exit::{Failure, Outcome};
use crate::output;

/// A model in this process.
struct Loaded {
    decoder: Decoder,
    bank: ExpertBank,
    prompt: [u32; 8],
}

impl Loaded {
    fn open(model: Option<&Path>, tokens: u32, arithmetic: Arithmetic) -> Result<Self, Failure> {
        let opened = Arc::into_inner(checkpoint(model)?);
        let checkpoint = opened.ok_or_else(|| Failure::store(anyhow::anyhow!("the model is in use")))?;
        fits(&checkpoint, PROMPT.len(), tokens)?;
        let checkpoint = &checkpoint.with_arithmetic(arithmetic);
        let decoder = Decoder::load(checkpoint).map_err(Failure::store)?;
        let bank = ExpertBank::load(checkpoint, checkpoint.config().all_experts()).map_err(Failure::store)?;
        Ok(Self { decoder, bank, prompt: prompt(checkpoint.config().vocab) })
    }

    fn rate(&self, tokens: u32) -> Result<f64, Failure> {
        let start = Instant::now();
        let count = usize::try_from(tokens).unwrap_or(usize::MAX);
        let rate = bench::decode(&self.decoder, &mut &self.bank, &self.prompt, count, &|| nanos(start));
        Ok(rate.map_err(Failure::wrong_use)?.per_second())
    }
}

/// Measures both in turn; the first turn warms up and is thrown away.
pub(super) fn run(model: Option<&Path>, (tokens, repeats): (u32, u32), json: bool) -> Outcome {
    kernel::with_candle_threads(|| {
        let ours = Loaded::open(model, tokens, Arithmetic::Canonical)?;
        let theirs = Loaded::open(model, tokens, Arithmetic::Candle)?;
        let (mut mine, mut candles) = (Vec::new(), Vec::new());
        for turn in 0..=repeats {
            let (one, other) = (ours.rate(tokens)?, theirs.rate(tokens)?);
            if turn > 0 {
                mine.push(one);
                candles.push(other);
            }
        }
        let (mine, candles) = (median(mine), median(candles));
        let ratio = mine / candles;
        if json {
            output::json(&json!({
                "tokens": tokens, "repeats": repeats, "threads": Threads::of_process().count(),
                "local_tokens_per_s": mine, "candle_tokens_per_s": candles, "ratio": ratio,
            }));
            return Ok(());
        }
        output::line(&format!("this program        {mine:8.1} tokens/s"));
        output::line(&format!("with candle         {candles:8.1} tokens/s"));
        output::line(&format!("ratio               {ratio:8.2}"));
        Ok(())
    })
}
