//! What the tensors of each family are called in GGUF files (llama.cpp, `src/models/*.cpp` and `conversion/*.py`).
//!
//! All families share most names. Where files of different ages differ, the newer name comes first. Shapes are those of
//! the file with the outermost dimension first.

use super::hf::{Half, keys_and_values};
use super::{Cut, Place, Role, Tensor};
use crate::config::{Attention, Family, ModelConfig};

/// Where a GGUF file may keep a tensor.
pub(crate) fn places(config: &ModelConfig, tensor: Tensor) -> Vec<Place> {
    let [outputs, inner] = tensor.shape(config);
    let whole = |name: &str| vec![Place::whole(format!("{name}.weight"), &[outputs, inner])];
    let vector = |name: &str| vec![Place::vector(format!("{name}.weight"), inner)];
    match tensor {
        Tensor::Embedding => whole("token_embd"),
        Tensor::Norm => vector("output_norm"),
        Tensor::Head => whole("output"),
        Tensor::AttentionNorm(l) => vector(&block(l, "attn_norm")),
        // Called after what stands before it in this family.
        Tensor::FeedNorm(l) if config.family == Family::Dbrx => vector(&block(l, "attn_output_norm")),
        Tensor::FeedNorm(l) => vector(&block(l, "ffn_norm")),
        Tensor::Query(l) | Tensor::Key(l) | Tensor::Value(l) => vec![projection(config, tensor, l)],
        Tensor::QueryBias(l) => vec![Place::vector(block(l, "attn_q.bias"), inner)],
        Tensor::KeyBias(l) => vec![Place::vector(block(l, "attn_k.bias"), inner)],
        Tensor::ValueBias(l) => vec![Place::vector(block(l, "attn_v.bias"), inner)],
        Tensor::Output(l) => whole(&block(l, "attn_output")),
        Tensor::QueryLatent(l) => whole(&block(l, "attn_q_a")),
        Tensor::QueryLatentNorm(l) => vector(&block(l, "attn_q_a_norm")),
        Tensor::Latent(l) => whole(&block(l, "attn_kv_a_mqa")),
        Tensor::LatentNorm(l) => vector(&block(l, "attn_kv_a_norm")),
        Tensor::LatentKey(l) => latent(config, l, "attn_k_b.weight", tensor, Half::Keys),
        Tensor::LatentValue(l) => latent(config, l, "attn_v_b.weight", tensor, Half::Values),
        Tensor::Gate(l) => whole(&block(l, "ffn_gate_inp")),
        Tensor::Shared(l, role) => whole(&block(l, &format!("{}_shexp", feed(role)))),
        Tensor::SharedGate(l) => vector(&block(l, "ffn_gate_inp_shexp")),
        Tensor::Dense(l, role) => whole(&block(l, feed(role))),
        Tensor::Expert(l, expert, role) => experts(config, l, expert, role),
    }
}

fn block(layer: u32, rest: &str) -> String {
    format!("blk.{layer}.{rest}")
}

const fn feed(role: Role) -> &'static str {
    match role {
        Role::Gate => "ffn_gate",
        Role::Up => "ffn_up",
        Role::Down => "ffn_down",
    }
}

/// Queries, keys or values.
fn projection(config: &ModelConfig, tensor: Tensor, layer: u32) -> Place {
    let [outputs, inner] = tensor.shape(config);
    let [queries, _] = Tensor::Query(layer).shape(config);
    let [keys, _] = Tensor::Key(layer).shape(config);
    if config.family == Family::Dbrx {
        let first = match tensor {
            Tensor::Key(_) => queries,
            Tensor::Value(_) => queries + keys,
            _ => 0,
        };
        let fused = Place::whole(block(layer, "attn_qkv.weight"), &[queries + 2 * keys, inner]);
        return fused.cut(Cut::Range { first, count: outputs });
    }
    let name = match (tensor, &config.attention) {
        (Tensor::Query(_), Attention::Latent { q_lora: Some(_), .. }) => "attn_q_b.weight",
        (Tensor::Query(_), _) => "attn_q.weight",
        (Tensor::Key(_), _) => "attn_k.weight",
        _ => "attn_v.weight",
    };
    let place = Place::whole(block(layer, name), &[outputs, inner]);
    match (config.family, &config.attention) {
        // The architecture `llama` turns neighbouring values together, and its files have the rows of queries and keys
        // reordered for that.
        (Family::Mixtral, Attention::Grouped { head_dim, .. }) if !matches!(tensor, Tensor::Value(_)) => {
            place.cut(Cut::Paired { height: *head_dim })
        }
        _ => place,
    }
}

/// The projections from the latent: by themselves, or in older files as in Hugging Face checkpoints.
fn latent(config: &ModelConfig, layer: u32, name: &str, tensor: Tensor, half: Half) -> Vec<Place> {
    let [outputs, inner] = tensor.shape(config);
    let heads = config.attention.heads();
    let own = Place::whole(block(layer, name), &[heads, outputs / heads.max(1), inner]);
    vec![own, keys_and_values(config, block(layer, "attn_kv_b.weight"), half)]
}

/// All experts of a role in one tensor, gate and up in one, or in the oldest files each expert by itself.
fn experts(config: &ModelConfig, layer: u32, expert: u16, role: Role) -> Vec<Place> {
    let [outputs, inner] = role.shape(config.hidden, config.inner);
    let all = usize::try_from(config.experts).unwrap_or(usize::MAX);
    let together = |name: String, rows: usize, skipped: usize| {
        let first = usize::from(expert) * rows + skipped;
        Place::whole(name, &[all, rows, inner]).cut(Cut::Range { first, count: outputs })
    };
    let fused = |skipped| together(block(layer, "ffn_gate_up_exps.weight"), 2 * outputs, skipped);
    let mut places = vec![together(block(layer, &format!("{}_exps.weight", feed(role))), outputs, 0)];
    match role {
        Role::Gate => places.push(fused(0)),
        Role::Up => places.push(fused(outputs)),
        Role::Down => {}
    }
    places.push(Place::whole(block(layer, &format!("{}.{expert}.weight", feed(role))), &[outputs, inner]));
    places
}
