//! `Qwen2MoeConfig` of Hugging Face transformers 5.23 (`models/qwen2_moe/configuration_qwen2_moe.py`).

use counterfoil_spec::limits::{
    MAX_CONTEXT, MAX_EXPERTS, MAX_HIDDEN, MAX_INNER, MAX_LAYERS, MAX_ROW_EXPERTS, MAX_VOCABULARY,
};
use serde::Deserialize;

use super::rope::{RawRope, RopeKeys};
use super::{
    At, Attention, DenseLayers, Family, GateRule, ModelConfig, NormKind, Pairing, RopeShape, Shared,
};
use crate::error::LoadError;

/// The keys that matter.
#[derive(Deserialize)]
pub(super) struct Raw {
    hidden_size: u64,
    intermediate_size: u64,
    moe_intermediate_size: u64,
    shared_expert_intermediate_size: u64,
    num_hidden_layers: u64,
    num_attention_heads: u64,
    #[serde(default = "default_kv_heads")]
    num_key_value_heads: u64,
    head_dim: Option<u64>,
    num_experts: u64,
    num_experts_per_tok: u64,
    norm_topk_prob: Option<bool>,
    decoder_sparse_step: Option<u32>,
    mlp_only_layers: Option<Vec<u32>>,
    layer_types: Option<Vec<String>>,
    vocab_size: u64,
    max_position_embeddings: u64,
    rms_norm_eps: f64,
    hidden_act: Option<String>,
    qkv_bias: Option<bool>,
    use_sliding_window: Option<bool>,
    rope_theta: Option<f64>,
    rope_scaling: Option<RawRope>,
    rope_parameters: Option<RawRope>,
}

impl Raw {
    pub(super) fn config(self, at: &At<'_>) -> Result<ModelConfig, LoadError> {
        self.refuse_what_is_not_computed(at)?;
        let rope = RopeKeys {
            theta: self.rope_theta,
            scaling: self.rope_scaling.as_ref(),
            parameters: self.rope_parameters.as_ref(),
        };
        rope.plain(at)?;
        let heads = at.size("num_attention_heads", self.num_attention_heads, MAX_HIDDEN)?;
        let hidden = at.size("hidden_size", self.hidden_size, MAX_HIDDEN)?;
        let head_dim = match self.head_dim {
            Some(found) => at.size("head_dim", found, MAX_HIDDEN)?,
            None => hidden / heads,
        };
        let layers = at.count("num_hidden_layers", self.num_hidden_layers, MAX_LAYERS)?;
        let experts = at.count("num_experts", self.num_experts, MAX_EXPERTS)?;
        let most = usize::try_from(experts).unwrap_or(usize::MAX).min(MAX_ROW_EXPERTS);
        let shared = self.shared_expert_intermediate_size;
        Ok(ModelConfig {
            family: Family::Qwen2Moe,
            hidden,
            layers,
            vocab: at.size("vocab_size", self.vocab_size, MAX_VOCABULARY)?,
            context: at.size("max_position_embeddings", self.max_position_embeddings, MAX_CONTEXT)?,
            norm_eps: at.narrow("rms_norm_eps", self.rms_norm_eps)?,
            tied: false,
            eos: Vec::new(),
            attention: Attention::Grouped {
                heads,
                kv_heads: at.size("num_key_value_heads", self.num_key_value_heads, MAX_HIDDEN)?,
                head_dim,
                bias: self.qkv_bias.unwrap_or(true),
                clip: None,
            },
            rope: RopeShape {
                theta: rope.theta(at, ROPE_THETA)?,
                dims: head_dim,
                pairing: Pairing::Halves,
                yarn: None,
            },
            norm: NormKind::Rms,
            inner: at.size("moe_intermediate_size", self.moe_intermediate_size, MAX_INNER)?,
            experts,
            top_k: at.size("num_experts_per_tok", self.num_experts_per_tok, most)?,
            gate: GateRule { normalise: self.norm_topk_prob.unwrap_or(false), scale: 1.0, groups: None },
            dense: self.dense(at, layers)?,
            shared: Some(Shared {
                inner: at.size("shared_expert_intermediate_size", shared, MAX_INNER)?,
                gated: true,
            }),
        })
    }

    fn refuse_what_is_not_computed(&self, at: &At<'_>) -> Result<(), LoadError> {
        at.only("hidden_act", self.hidden_act.as_ref(), &"silu".to_owned())?;
        at.only("use_sliding_window", self.use_sliding_window.as_ref(), &false)?;
        for kind in self.layer_types.iter().flatten() {
            at.only("layer_types", Some(kind), &"full_attention".to_owned())?;
        }
        Ok(())
    }

    /// A layer has experts unless it is listed, and only every `decoder_sparse_step`-th has any.
    fn dense(&self, at: &At<'_>, layers: u32) -> Result<Option<DenseLayers>, LoadError> {
        let step = self.decoder_sparse_step.unwrap_or(1);
        if step == 0 {
            return Err(at.malformed("decoder_sparse_step is 0".to_owned()));
        }
        let listed = self.mlp_only_layers.as_deref().unwrap_or_default();
        let dense: Vec<u32> =
            (0..layers).filter(|layer| listed.contains(layer) || (layer + 1) % step != 0).collect();
        if dense.is_empty() {
            return Ok(None);
        }
        let inner = at.size("intermediate_size", self.intermediate_size, MAX_INNER)?;
        Ok(Some(DenseLayers { layers: dense, inner }))
    }
}

const fn default_kv_heads() -> u64 {
    16
}

/// What transformers takes where config.json says nothing.
const ROPE_THETA: f64 = 1e4;
