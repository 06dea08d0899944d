//! `counterfoil model inspect`: what a model is, what it takes, and what of it is missing.

use std::path::Path;

use counterfoil_model::{Attention, Inventory, LayerSize, ModelConfig};
use counterfoil_spec::ids::ManifestId;
use serde_json::{Value, json};

use crate::exit::{Failure, Outcome};
use crate::output;
use crate::size::ByteSize;

/// Memory for weights that nodes of tiers 1 to 4 have, in bytes.
const TIERS: [u64; 4] = [4_000_000_000, 8_000_000_000, 12_000_000_000, 24_000_000_000];
/// How many missing things, and how many that are not used, are printed for people.
const MOST_NAMED: usize = 12;

/// Prints it.
pub(super) fn run(path: Option<&Path>, hash: bool, json: bool) -> Outcome {
    let found = match path {
        Some(path) => Inventory::open(path),
        None => Inventory::guide(),
    };
    let found = found.map_err(Failure::store)?;
    let manifest = if hash || path.is_none() { Some(hashed(path)?) } else { found.manifest };
    if json {
        output::json(&document(&found, manifest));
    } else {
        print(&found, manifest);
    }
    Ok(())
}

fn hashed(path: Option<&Path>) -> Result<ManifestId, Failure> {
    let checkpoint = super::checkpoint(path)?;
    let bar = output::byte_progress("hashing");
    checkpoint.describe(&|done, all| {
        bar.set_length(all);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    Ok(checkpoint.manifest_id())
}

fn document(found: &Inventory, manifest: Option<ManifestId>) -> Value {
    let config = &found.config;
    let layers: Vec<Value> = found
        .layers
        .iter()
        .map(|layer| {
            json!({
                "layer": layer.layer, "dense_bytes": layer.dense_bytes, "experts": layer.experts,
                "expert_bytes": layer.expert_bytes, "experts_bytes": layer.experts_bytes,
            })
        })
        .collect();
    let types: Vec<Value> = found
        .types
        .iter()
        .map(|size| {
            json!({
                "type": size.dtype.name(), "of_experts": size.of_experts, "tensors": size.tensors,
                "bytes": size.bytes,
            })
        })
        .collect();
    let fits: Vec<Value> = (1_u8..)
        .zip(TIERS)
        .map(|(tier, bytes)| {
            let fit = found.fit(bytes);
            json!({
                "tier": tier, "bytes": bytes, "experts": fit.experts, "layers": fit.layers, "nodes": fit.nodes,
            })
        })
        .collect();
    json!({
        "container": found.container, "manifest": manifest, "family": config.family.name(),
        "hidden": config.hidden, "inner": config.inner, "layers": config.layers,
        "moe_layers": config.moe_layers().len(), "heads": config.attention.heads(),
        "kv_heads": config.attention.kv_heads(), "experts": config.experts, "top_k": config.top_k,
        "shared_inner": config.shared.map(|shared| shared.inner), "vocab": config.vocab,
        "context": config.context, "dense_bytes": found.dense_bytes(), "expert_bytes": found.expert_bytes(),
        "experts_in_all": config.all_experts().count(), "experts_bytes": found.experts_bytes(),
        "bytes": found.dense_bytes().saturating_add(found.experts_bytes()), "types": types,
        "layer_sizes": layers, "tiers": fits, "missing": found.missing, "unused": found.unused,
    })
}

fn print(found: &Inventory, manifest: Option<ManifestId>) {
    let config = &found.config;
    let row = |name: &str, text: String| output::line(&format!("{name:<10} {text}"));
    row("family", format!("{}, {}", config.family.name(), found.container));
    row("manifest", manifest.map_or_else(|| "not computed; --hash does".to_owned(), |id| id.to_string()));
    row("shape", shape(config));
    row("attention", attention(config));
    let all = found.dense_bytes().saturating_add(found.experts_bytes());
    row("weights", ByteSize(all).to_string());
    row("router", format!("{} dense", ByteSize(found.dense_bytes())));
    row(
        "experts",
        format!(
            "{} of {}, {} in all",
            config.all_experts().count(),
            ByteSize(found.expert_bytes()),
            ByteSize(found.experts_bytes())
        ),
    );
    output::line("");
    let rows = found.types.iter().map(|size| {
        let what = if size.of_experts { "experts" } else { "dense" };
        vec![
            size.dtype.name().to_owned(),
            what.to_owned(),
            size.tensors.to_string(),
            ByteSize(size.bytes).to_string(),
        ]
    });
    output::table(&["type", "of", "tensors", "size"], &rows.collect::<Vec<_>>());
    output::line("");
    let rows = runs(found).into_iter().map(|(first, last, layer)| {
        let range = if first == last { first.to_string() } else { format!("{first} to {last}") };
        let experts = format!("{} x {}", layer.experts, ByteSize(layer.expert_bytes));
        let [dense, all] = [layer.dense_bytes, layer.experts_bytes].map(|bytes| ByteSize(bytes).to_string());
        vec![range, dense, experts, all]
    });
    output::table(&["layers", "dense", "experts", "experts' size"], &rows.collect::<Vec<_>>());
    output::line("");
    let rows = (1_u8..).zip(TIERS).map(|(tier, bytes)| {
        let fit = found.fit(bytes);
        let nodes = fit.nodes.map_or_else(|| "none holds one".to_owned(), |nodes| nodes.to_string());
        let memory = ByteSize(bytes).to_string();
        vec![tier.to_string(), memory, fit.experts.to_string(), fit.layers.to_string(), nodes]
    });
    output::table(
        &["tier", "memory", "experts fit", "layers fit", "nodes for all"],
        &rows.collect::<Vec<_>>(),
    );
    print_named("missing ", &found.missing);
    print_named("not used", &found.unused);
}

fn print_named(what: &str, names: &[String]) {
    if names.is_empty() {
        return;
    }
    output::line("");
    for name in names.iter().take(MOST_NAMED) {
        output::line(&format!("{what}   {name}"));
    }
    if let Some(more) = names.len().checked_sub(MOST_NAMED).filter(|more| *more > 0) {
        output::line(&format!("{what}   and {more} more; --json lists them"));
    }
}

/// Neighbouring layers of the same sizes.
fn runs(found: &Inventory) -> Vec<(u32, u32, LayerSize)> {
    let mut runs: Vec<(u32, u32, LayerSize)> = Vec::new();
    for layer in &found.layers {
        match runs.last_mut() {
            Some((_, last, same)) if LayerSize { layer: same.layer, ..*layer } == *same => {
                *last = layer.layer;
            }
            _ => runs.push((layer.layer, layer.layer, *layer)),
        }
    }
    runs
}

fn shape(config: &ModelConfig) -> String {
    let mut text = format!(
        "{} layers, hidden {}, vocabulary {}, context {}; {} experts of inner {} in each of {} layers, {} at a time",
        config.layers,
        config.hidden,
        config.vocab,
        config.context,
        config.experts,
        config.inner,
        config.moe_layers().len(),
        config.top_k
    );
    if let Some(shared) = config.shared {
        text.push_str(&format!("; a shared expert of inner {}", shared.inner));
    }
    if let Some(dense) = &config.dense {
        text.push_str(&format!("; {} layers without experts of inner {}", dense.layers.len(), dense.inner));
    }
    text
}

fn attention(config: &ModelConfig) -> String {
    match &config.attention {
        Attention::Grouped { heads, kv_heads, head_dim, .. } => {
            format!("{heads} heads of {head_dim} over {kv_heads} key-value heads")
        }
        Attention::Latent { heads, kv_lora, nope, rope, .. } => {
            format!("{heads} heads of {nope} + {rope} over a latent of {kv_lora}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_of_one_size_are_one_row() {
        let guide = Inventory::guide().unwrap_or_else(|e| unreachable!("{e}"));
        let rows: Vec<(u32, u32)> = runs(&guide).iter().map(|(first, last, _)| (*first, *last)).collect();
        assert_eq!(rows, [(0, 3)]);
    }
}
