//! `counterfoil model split` and `model synth`: split folders, cut and made up.

use std::path::Path;

use counterfoil_model::{Checkpoint, Existing, Quant, SplitError, SplitPlan, Synthetic};
use serde_json::json;

use crate::exit::{Failure, Outcome};
use crate::output;
use crate::size::ByteSize;

/// Cuts a model.
pub(super) fn split(source: &Path, (out, force): (&Path, bool), quant: Quant, json: bool) -> Outcome {
    let checkpoint = Checkpoint::open(source).map_err(Failure::store)?;
    let bar = output::byte_progress("splitting");
    let to = (out, existing(force));
    let (id, plan) = counterfoil_model::split(&checkpoint, quant, to, &|done, all| {
        bar.set_length(all);
        bar.set_position(done);
    })
    .map_err(failure)?;
    bar.finish_and_clear();
    if json {
        let types: Vec<_> = plan
            .expert_types
            .iter()
            .map(|(dtype, matrices)| json!({ "type": dtype.name(), "matrices": matrices }))
            .collect();
        output::json(&json!({
            "folder": out.display().to_string(), "manifest": id, "dense_bytes": plan.dense_bytes,
            "shard_bytes": plan.shard_bytes, "expert_types": types, "kept": plan.kept,
        }));
        return Ok(());
    }
    output::line(&format!("folder    {}", out.display()));
    output::line(&format!("manifest  {id}"));
    print_sizes(&plan);
    output::line(&format!("next      counterfoil model publish {}", out.display()));
    Ok(())
}

fn print_sizes(plan: &SplitPlan) {
    let types: Vec<String> =
        plan.expert_types.iter().map(|(dtype, matrices)| format!("{matrices} in {}", dtype.name())).collect();
    output::line(&format!("dense     {}", ByteSize(plan.dense_bytes)));
    output::line(&format!("shards    {}, matrices: {}", ByteSize(plan.shard_bytes), types.join(", ")));
    if let Some(first) = plan.kept.first() {
        output::line(&format!(
            "kept      {} matrices as floats, such as {first}: no block divides their rows",
            plan.kept.len()
        ));
    }
}

/// Makes up a model.
pub(super) fn synth(model: &Synthetic, (out, force): (&Path, bool), json: bool) -> Outcome {
    let bar = output::byte_progress("writing");
    let progress = |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    };
    let bytes = model.bytes().map_err(failure)?;
    let id = if out.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf")) {
        if out.exists() && !force {
            let out = out.display();
            return Err(Failure::wrong_use(format!("{out} is there already; --force replaces it")));
        }
        model.write_gguf(out, &progress).map_err(failure)?;
        None
    } else {
        Some(model.write((out, existing(force)), &progress).map_err(failure)?)
    };
    bar.finish_and_clear();
    if json {
        output::json(&json!({ "path": out.display().to_string(), "manifest": id, "bytes": bytes }));
        return Ok(());
    }
    output::line(&format!("path      {}", out.display()));
    if let Some(id) = id {
        output::line(&format!("manifest  {id}"));
    }
    output::line(&format!("weights   {}", ByteSize(bytes)));
    Ok(())
}

fn existing(force: bool) -> Existing {
    if force { Existing::Replace } else { Existing::Refuse }
}

fn failure(e: SplitError) -> Failure {
    match e {
        SplitError::NotEmpty { .. } => Failure::wrong_use(e),
        e => Failure::store(e),
    }
}
