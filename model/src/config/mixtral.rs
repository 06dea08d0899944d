//! `MixtralConfig` of Hugging Face transformers 5.23 (`models/mixtral/configuration_mixtral.py`).

use counterfoil_spec::limits::{
    MAX_CONTEXT, MAX_EXPERTS, MAX_HIDDEN, MAX_INNER, MAX_LAYERS, MAX_ROW_EXPERTS, MAX_VOCABULARY,
};
use serde::Deserialize;

use super::rope::{RawRope, RopeKeys};
use super::{At, Attention, Family, GateRule, ModelConfig, NormKind, Pairing, RopeShape};
use crate::error::LoadError;

/// The keys that matter.
#[derive(Deserialize)]
pub(super) struct Raw {
    hidden_size: u64,
    intermediate_size: u64,
    num_hidden_layers: u64,
    num_attention_heads: u64,
    /// Told apart: left out is 8, `null` is as many as heads.
    #[serde(default = "default_kv_heads")]
    num_key_value_heads: Option<u64>,
    head_dim: Option<u64>,
    num_local_experts: u64,
    num_experts_per_tok: u64,
    vocab_size: u64,
    max_position_embeddings: u64,
    rms_norm_eps: f64,
    hidden_act: Option<String>,
    sliding_window: Option<u64>,
    attention_bias: Option<bool>,
    rope_theta: Option<f64>,
    rope_scaling: Option<RawRope>,
    rope_parameters: Option<RawRope>,
}

impl Raw {
    pub(super) fn config(self, at: &At<'_>) -> Result<ModelConfig, LoadError> {
        at.only("hidden_act", self.hidden_act.as_ref(), &"silu".to_owned())?;
        at.only("attention_bias", self.attention_bias.as_ref(), &false)?;
        if let Some(window) = self.sliding_window.filter(|window| *window < self.max_position_embeddings) {
            return Err(at.unsupported("sliding_window", &window.to_string(), "null"));
        }
        let rope = RopeKeys {
            theta: self.rope_theta,
            scaling: self.rope_scaling.as_ref(),
            parameters: self.rope_parameters.as_ref(),
        };
        rope.plain(at)?;
        let heads = at.size("num_attention_heads", self.num_attention_heads, MAX_HIDDEN)?;
        let kv_heads = self.num_key_value_heads.unwrap_or(self.num_attention_heads);
        let hidden = at.size("hidden_size", self.hidden_size, MAX_HIDDEN)?;
        let head_dim = match self.head_dim {
            Some(found) => at.size("head_dim", found, MAX_HIDDEN)?,
            None => hidden / heads,
        };
        let experts = at.count("num_local_experts", self.num_local_experts, MAX_EXPERTS)?;
        let most = usize::try_from(experts).unwrap_or(usize::MAX).min(MAX_ROW_EXPERTS);
        Ok(ModelConfig {
            family: Family::Mixtral,
            hidden,
            layers: at.count("num_hidden_layers", self.num_hidden_layers, MAX_LAYERS)?,
            vocab: at.size("vocab_size", self.vocab_size, MAX_VOCABULARY)?,
            context: at.size("max_position_embeddings", self.max_position_embeddings, MAX_CONTEXT)?,
            norm_eps: at.narrow("rms_norm_eps", self.rms_norm_eps)?,
            tied: false,
            eos: Vec::new(),
            attention: Attention::Grouped {
                heads,
                kv_heads: at.size("num_key_value_heads", kv_heads, MAX_HIDDEN)?,
                head_dim,
                bias: false,
                clip: None,
            },
            rope: RopeShape {
                theta: rope.theta(at, ROPE_THETA)?,
                dims: head_dim,
                pairing: Pairing::Halves,
                yarn: None,
            },
            norm: NormKind::Rms,
            inner: at.size("intermediate_size", self.intermediate_size, MAX_INNER)?,
            experts,
            top_k: at.size("num_experts_per_tok", self.num_experts_per_tok, most)?,
            gate: GateRule { normalise: true, scale: 1.0, groups: None },
            dense: None,
            shared: None,
        })
    }
}

const fn default_kv_heads() -> Option<u64> {
    Some(8)
}

/// What `MixtralConfig` takes where config.json says nothing.
const ROPE_THETA: f64 = 1e6;
