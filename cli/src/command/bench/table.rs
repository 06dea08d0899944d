//! `counterfoil bench decode --table llama-bench`: this program's speed in the rows that llama.cpp's `llama-bench` prints
//! of its own, so that they can be put under each other. Its figures are means with sample deviations, not medians.

use std::path::Path;
use std::time::Instant;

use counterfoil_model::{Decoder, ExpertBank, Inventory, Threads, bench};

use super::{fits, nanos, prompt};
use crate::command::router::checkpoint;
use crate::exit::{Failure, Outcome};
use crate::output;

/// Positions of the prompt.
const PROMPT: usize = 128;
const MIB: f64 = 1024.0 * 1024.0;
const GIB: f64 = 1024.0 * MIB;

/// Measures both in turn; the first turn warms up and is thrown away.
pub(super) fn run(model: Option<&Path>, (tokens, repeats): (u32, u32), json: bool) -> Outcome {
    if json {
        return Err(Failure::wrong_use("--table is for people; leave it out to get JSON"));
    }
    let found = model.map_or_else(Inventory::guide, Inventory::open).map_err(Failure::store)?;
    let checkpoint = checkpoint(model)?;
    fits(&checkpoint, PROMPT, 0)?;
    fits(&checkpoint, super::PROMPT.len(), tokens)?;
    let decoder = Decoder::load(&checkpoint).map_err(Failure::store)?;
    let bank = ExpertBank::load(&checkpoint, checkpoint.config().all_experts()).map_err(Failure::store)?;
    let first = prompt(checkpoint.config().vocab);
    let ids: Vec<u32> = first.iter().copied().cycle().take(PROMPT).collect();
    let count = usize::try_from(tokens).unwrap_or(usize::MAX);
    let start = Instant::now();
    let clock = || nanos(start);
    let (mut read, mut made) = (Vec::new(), Vec::new());
    for turn in 0..=repeats {
        let prompt = bench::prefill(&decoder, &mut &bank, &ids, &clock).map_err(Failure::wrong_use)?;
        let rest = bench::decode(&decoder, &mut &bank, &first, count, &clock).map_err(Failure::wrong_use)?;
        if turn > 0 {
            read.push(prompt.per_second());
            made.push(rest.per_second());
        }
    }
    let of = |row: &[String; 7]| {
        let [model, size, params, backend, threads, test, rate] = row;
        output::line(&format!(
            "| {model:<30} | {size:>10} | {params:>10} | {backend:<10} | {threads:>7} | {test:>15} | {rate:>20} |"
        ));
    };
    of(&["model", "size", "params", "backend", "threads", "test", "t/s"].map(str::to_owned));
    let (text, number) = (|width| "-".repeat(width), |width: usize| format!("{}:", "-".repeat(width - 1)));
    of(&[text(30), number(10), number(10), text(10), number(7), number(15), number(20)]);
    let [name, size, params] = described(&found);
    for (test, rates) in [(format!("pp{PROMPT}"), &read), (format!("tg{tokens}"), &made)] {
        let (mean, deviation) = mean(rates);
        let rate = format!("{mean:.2} \u{b1} {deviation:.2}");
        let threads = Threads::of_process().count().to_string();
        of(&[name.clone(), size.clone(), params.clone(), "CPU".to_owned(), threads, test, rate]);
    }
    Ok(())
}

/// Family with the element type that most bytes have, bytes, and how many values there are.
fn described(found: &Inventory) -> [String; 3] {
    let most = found.types.iter().max_by_key(|size| size.bytes);
    let name = most.map_or_else(String::new, |size| format!(" {}", size.dtype.name().to_uppercase()));
    let bytes = found.types.iter().map(|size| size.bytes).sum::<u64>() as f64;
    let size =
        if bytes < GIB { format!("{:.2} MiB", bytes / MIB) } else { format!("{:.2} GiB", bytes / GIB) };
    let parameters = found.config.parameters();
    let count = (parameters.experts + parameters.dense) as f64;
    let params = if count < 1e9 { format!("{:.2} M", count / 1e6) } else { format!("{:.2} B", count / 1e9) };
    [format!("{}{name}", found.config.family.name()), size, params]
}

/// The mean, and the deviation of a sample; 0 of a single value.
fn mean(values: &[f64]) -> (f64, f64) {
    let count = values.iter().map(|_| 1.0).sum::<f64>();
    let mean = values.iter().sum::<f64>() / count;
    let squares = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
    (mean, if count > 1.0 { (squares / (count - 1.0)).sqrt() } else { 0.0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deviation_is_that_of_a_sample() {
        assert_eq!(mean(&[2.0, 4.0, 6.0]), (4.0, 2.0));
        assert_eq!(mean(&[3.0]), (3.0, 0.0));
    }
}
