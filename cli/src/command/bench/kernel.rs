//! `counterfoil bench kernel`: one matrix product of each element type, beside candle's of the same weights.

use std::process::Command;
use std::time::Instant;

use counterfoil_model::bench::Products;
use counterfoil_model::{ElementType, Threads};
use serde_json::{Value, json};

use super::{median, nanos};
use crate::exit::{Failure, Outcome};
use crate::output;
use crate::supervise::follow_parent;

/// What is multiplied, and how often.
pub(super) struct Plan {
    pub(super) rows: Vec<usize>,
    pub(super) outputs: usize,
    pub(super) inner: usize,
    pub(super) repeats: u32,
}

/// Measures.
pub(super) fn run(plan: &Plan, json: bool) -> Outcome {
    if plan.outputs.saturating_mul(plan.inner) > MAX_WEIGHTS {
        return Err(Failure::wrong_use(format!(
            "--outputs {} and --inner {} are more than {MAX_WEIGHTS} weights",
            plan.outputs, plan.inner
        )));
    }
    with_candle_threads(|| measure(plan, json))
}

/// Does something where candle has as many threads as this program, in a process that is started so where this one is not.
pub(super) fn with_candle_threads(measure: impl FnOnce() -> Outcome) -> Outcome {
    let threads = Threads::of_process().count();
    if let Ok(parent) = std::env::var(STARTED_FOR_IT) {
        follow_parent()?;
        // It may have ended before.
        if std::os::unix::process::parent_id().to_string() != parent {
            return Err(Failure::interrupted("the process that this one measures for is gone"));
        }
        return measure();
    }
    if std::env::var(CANDLE_THREADS).is_ok_and(|set| set == threads.to_string()) {
        return measure();
    }
    // candle reads how many threads it may have from the environment, once.
    let status = Command::new(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .env(CANDLE_THREADS, threads.to_string())
        .env("RAYON_NUM_THREADS", threads.to_string())
        .env("COUNTERFOIL_THREADS", threads.to_string())
        .env(STARTED_FOR_IT, std::process::id().to_string())
        .status()?;
    match status.code().map(u8::try_from) {
        Some(Ok(0)) => Ok(()),
        Some(Ok(code)) => Err(Failure::told(code)),
        _ => Err(Failure::store(anyhow::anyhow!("the measurement ended: {status}"))),
    }
}

fn measure(plan: &Plan, json: bool) -> Outcome {
    let mut products = Vec::new();
    for dtype in std::iter::once(ElementType::F32).chain(ElementType::QUANTISED) {
        for rows in &plan.rows {
            let found = one(plan, dtype, *rows)?;
            if !json {
                let number = |key: &str| found.get(key).and_then(Value::as_f64).unwrap_or(f64::NAN);
                output::line(&format!(
                    "{:5} {rows:4} rows  {:10.1} µs   candle {:10.1} µs   ratio {:6.2}",
                    dtype.name(),
                    number("us"),
                    number("candle_us"),
                    number("ratio")
                ));
            }
            products.push(found);
        }
    }
    if json {
        let ratios = products.iter().filter_map(|found| found.get("ratio").and_then(Value::as_f64));
        output::json(&json!({
            "ratio": median(ratios.collect()), "threads": Threads::of_process().count(), "outputs": plan.outputs, "inner": plan.inner,
            "repeats": plan.repeats, "products": products,
        }));
    }
    Ok(())
}

/// Medians of single products, ours and candle's in turn.
fn one(plan: &Plan, dtype: ElementType, rows: usize) -> Result<Value, Failure> {
    let shape = (plan.outputs, plan.inner);
    let mut products = Products::new(dtype, shape, rows, WEIGHT_BYTES).map_err(Failure::wrong_use)?;
    let start = Instant::now();
    let clock = || nanos(start);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..plan.repeats {
        ours.push(products.ours(1, &clock).map_err(Failure::wrong_use)?.nanos as f64 / 1e3);
        theirs.push(products.candle(1, &clock).map_err(Failure::wrong_use)?.nanos as f64 / 1e3);
    }
    let (ours, theirs) = (median(ours), median(theirs));
    Ok(json!({
        "type": dtype.name(), "rows": rows, "us": ours, "candle_us": theirs, "ratio": theirs / ours,
    }))
}

/// Weights of one matrix: 1 GiB of f32.
const MAX_WEIGHTS: usize = 1 << 28;
/// The process that a person started, in the one that it started: they end together.
const STARTED_FOR_IT: &str = "COUNTERFOIL_BENCH_SUPERVISED";
const CANDLE_THREADS: &str = "CANDLE_NUM_THREADS";
/// So much of each type that it does not stay in the processor's caches.
const WEIGHT_BYTES: usize = 96 << 20;
