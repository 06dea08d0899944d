//! What the tensors of each family are called in Hugging Face checkpoints (transformers 5.23, `models/*/modeling_*.py`
//! and, where a checkpoint keeps other names than the classes, `conversion_mapping.py`).

use super::{Cut, Place, Role, Tensor};
use crate::config::{Attention, Family, ModelConfig};

/// Where a Hugging Face checkpoint keeps a tensor.
pub(crate) fn place(config: &ModelConfig, tensor: Tensor) -> Place {
    match config.family {
        Family::Dbrx => dbrx(config, tensor),
        Family::Mixtral | Family::DeepseekV2 | Family::Qwen2Moe => llama_like(config, tensor),
    }
}

/// Names as in Llama, which most families keep for all but the experts.
fn llama_like(config: &ModelConfig, tensor: Tensor) -> Place {
    let [outputs, inner] = tensor.shape(config);
    let whole = |name: String| Place::whole(name, &[outputs, inner]);
    let vector = |name: String| Place::vector(name, inner);
    let layer = |layer: u32, rest: &str| format!("model.layers.{layer}.{rest}");
    match tensor {
        Tensor::Embedding => whole("model.embed_tokens.weight".to_owned()),
        Tensor::Norm => vector("model.norm.weight".to_owned()),
        Tensor::Head => whole("lm_head.weight".to_owned()),
        Tensor::AttentionNorm(l) => vector(layer(l, "input_layernorm.weight")),
        Tensor::FeedNorm(l) => vector(layer(l, "post_attention_layernorm.weight")),
        Tensor::Query(l) => whole(layer(l, query(config))),
        Tensor::QueryBias(l) => vector(layer(l, "self_attn.q_proj.bias")),
        Tensor::Key(l) => whole(layer(l, "self_attn.k_proj.weight")),
        Tensor::KeyBias(l) => vector(layer(l, "self_attn.k_proj.bias")),
        Tensor::Value(l) => whole(layer(l, "self_attn.v_proj.weight")),
        Tensor::ValueBias(l) => vector(layer(l, "self_attn.v_proj.bias")),
        Tensor::Output(l) => whole(layer(l, "self_attn.o_proj.weight")),
        Tensor::QueryLatent(l) => whole(layer(l, "self_attn.q_a_proj.weight")),
        Tensor::QueryLatentNorm(l) => vector(layer(l, "self_attn.q_a_layernorm.weight")),
        Tensor::Latent(l) => whole(layer(l, "self_attn.kv_a_proj_with_mqa.weight")),
        Tensor::LatentNorm(l) => vector(layer(l, "self_attn.kv_a_layernorm.weight")),
        Tensor::LatentKey(l) => keys_and_values(config, layer(l, KV_B), Half::Keys),
        Tensor::LatentValue(l) => keys_and_values(config, layer(l, KV_B), Half::Values),
        Tensor::Gate(l) if config.family == Family::Mixtral => {
            whole(layer(l, "block_sparse_moe.gate.weight"))
        }
        Tensor::Gate(l) => whole(layer(l, "mlp.gate.weight")),
        Tensor::Shared(l, role) if config.family == Family::DeepseekV2 => {
            whole(layer(l, &format!("mlp.shared_experts.{}.weight", projection(role))))
        }
        Tensor::Shared(l, role) => whole(layer(l, &format!("mlp.shared_expert.{}.weight", projection(role)))),
        Tensor::SharedGate(l) => whole(layer(l, "mlp.shared_expert_gate.weight")),
        Tensor::Dense(l, role) => whole(layer(l, &format!("mlp.{}.weight", projection(role)))),
        Tensor::Expert(l, expert, role) if config.family == Family::Mixtral => {
            let name = match role {
                Role::Gate => "w1",
                Role::Up => "w3",
                Role::Down => "w2",
            };
            whole(layer(l, &format!("block_sparse_moe.experts.{expert}.{name}.weight")))
        }
        Tensor::Expert(l, expert, role) => {
            whole(layer(l, &format!("mlp.experts.{expert}.{}.weight", projection(role))))
        }
    }
}

const fn projection(role: Role) -> &'static str {
    match role {
        Role::Gate => "gate_proj",
        Role::Up => "up_proj",
        Role::Down => "down_proj",
    }
}

const fn query(config: &ModelConfig) -> &'static str {
    match config.attention {
        Attention::Latent { q_lora: Some(_), .. } => "self_attn.q_b_proj.weight",
        _ => "self_attn.q_proj.weight",
    }
}

/// Half of the projection that makes keys and values of the latent.
pub(super) enum Half {
    Keys,
    Values,
}

/// A tensor with, for each head, the rows of its keys and then those of its values.
pub(super) fn keys_and_values(config: &ModelConfig, name: String, half: Half) -> Place {
    let (heads, latent, keys, values) = match config.attention {
        Attention::Latent { heads, kv_lora, nope, value, .. } => (heads, kv_lora, nope, value),
        Attention::Grouped { .. } => (0, 0, 0, 0),
    };
    let height = keys + values;
    let place = Place::whole(name, &[heads * height, latent]);
    match half {
        Half::Keys => place.cut(Cut::Bands { bands: heads, height, first: 0, count: keys }).transposed(),
        Half::Values => place.cut(Cut::Bands { bands: heads, height, first: keys, count: values }),
    }
}

/// DBRX has names of its own, one tensor for queries, keys and values, and one for all experts of a role.
fn dbrx(config: &ModelConfig, tensor: Tensor) -> Place {
    let [outputs, inner] = tensor.shape(config);
    let whole = |name: String| Place::whole(name, &[outputs, inner]);
    let block = |layer: u32, rest: &str| format!("transformer.blocks.{layer}.{rest}");
    let norm =
        |layer, name: &str| Place::vector(block(layer, &format!("norm_attn_norm.{name}.weight")), inner);
    match tensor {
        Tensor::Embedding => whole("transformer.wte.weight".to_owned()),
        Tensor::Norm => Place::vector("transformer.norm_f.weight".to_owned(), inner),
        Tensor::Head => whole("lm_head.weight".to_owned()),
        Tensor::AttentionNorm(l) => norm(l, "norm_1"),
        Tensor::FeedNorm(l) => norm(l, "norm_2"),
        Tensor::Query(l) | Tensor::Key(l) | Tensor::Value(l) => {
            let name = block(l, "norm_attn_norm.attn.Wqkv.weight");
            let [queries, _] = Tensor::Query(l).shape(config);
            let [keys, _] = Tensor::Key(l).shape(config);
            let first = match tensor {
                Tensor::Key(_) => queries,
                Tensor::Value(_) => queries + keys,
                _ => 0,
            };
            let fused = Place::whole(name, &[queries + 2 * keys, inner]);
            fused.cut(Cut::Range { first, count: outputs })
        }
        Tensor::Output(l) => whole(block(l, "norm_attn_norm.attn.out_proj.weight")),
        Tensor::Gate(l) => whole(block(l, "ffn.router.layer.weight")),
        Tensor::Expert(l, expert, role) => {
            let name = match role {
                Role::Gate => "w1",
                Role::Up => "v1",
                Role::Down => "w2",
            };
            let experts = usize::try_from(config.experts).unwrap_or(usize::MAX);
            let shape = [experts.saturating_mul(config.inner), config.hidden];
            let cut = Cut::Range { first: usize::from(expert) * config.inner, count: config.inner };
            let place = Place::whole(block(l, &format!("ffn.experts.mlp.{name}")), &shape).cut(cut);
            if role == Role::Down { place.transposed() } else { place }
        }
        // The family has none of these; the name says so where a configuration asks for one.
        Tensor::QueryBias(l)
        | Tensor::KeyBias(l)
        | Tensor::ValueBias(l)
        | Tensor::QueryLatent(l)
        | Tensor::QueryLatentNorm(l)
        | Tensor::Latent(l)
        | Tensor::LatentNorm(l)
        | Tensor::LatentKey(l)
        | Tensor::LatentValue(l)
        | Tensor::Shared(l, _)
        | Tensor::SharedGate(l)
        | Tensor::Dense(l, _) => whole(block(l, &format!("{tensor:?}"))),
    }
}

const KV_B: &str = "self_attn.kv_b_proj.weight";
