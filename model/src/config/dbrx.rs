//! `DbrxConfig` of Hugging Face transformers 5.23 (`models/dbrx/configuration_dbrx.py`), which has names of its own
//! for the keys, and takes its defaults where a nested one is left out.

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
    d_model: u64,
    n_heads: u64,
    n_layers: u64,
    max_seq_len: u64,
    vocab_size: u64,
    attn_config: RawAttention,
    ffn_config: RawFeed,
    tie_word_embeddings: Option<bool>,
    rope_theta: Option<f64>,
    rope_scaling: Option<RawRope>,
    rope_parameters: Option<RawRope>,
}

#[derive(Deserialize)]
struct RawAttention {
    clip_qkv: Option<f64>,
    #[serde(default = "one")]
    kv_n_heads: u64,
    rope_theta: Option<f64>,
}

#[derive(Deserialize)]
struct RawFeed {
    ffn_act_fn: Option<RawActivation>,
    #[serde(default = "default_inner")]
    ffn_hidden_size: u64,
    #[serde(default = "default_experts")]
    moe_num_experts: u64,
    #[serde(default = "one")]
    moe_top_k: u64,
    /// Told apart: left out is 1, `null` is none.
    #[serde(default = "Normalise::one")]
    moe_normalize_expert_weights: Normalise,
}

#[derive(Deserialize)]
struct RawActivation {
    name: String,
}

/// The order of the norm that kept probabilities are divided by.
#[derive(Deserialize)]
#[serde(transparent)]
struct Normalise(Option<f64>);

impl Normalise {
    fn one() -> Self {
        Self(Some(1.0))
    }
}

const fn one() -> u64 {
    1
}

const fn default_inner() -> u64 {
    3584
}

const fn default_experts() -> u64 {
    4
}

impl Raw {
    pub(super) fn config(self, at: &At<'_>) -> Result<ModelConfig, LoadError> {
        let (attention, feed) = (&self.attn_config, &self.ffn_config);
        at.only("tie_word_embeddings", self.tie_word_embeddings.as_ref(), &false)?;
        let name = feed.ffn_act_fn.as_ref().map(|act| &act.name);
        at.only("ffn_act_fn", name, &"silu".to_owned())?;
        let order = feed.moe_normalize_expert_weights.0;
        at.only("moe_normalize_expert_weights", order.as_ref(), &1.0)?;
        let keys = RopeKeys {
            theta: self.rope_theta,
            scaling: self.rope_scaling.as_ref(),
            parameters: self.rope_parameters.as_ref(),
        };
        keys.plain(at)?;
        let heads = at.size("n_heads", self.n_heads, MAX_HIDDEN)?;
        let hidden = at.size("d_model", self.d_model, MAX_HIDDEN)?;
        let head_dim = hidden / heads;
        let experts = at.count("moe_num_experts", feed.moe_num_experts, MAX_EXPERTS)?;
        let most = usize::try_from(experts).unwrap_or(usize::MAX).min(MAX_ROW_EXPERTS);
        Ok(ModelConfig {
            family: Family::Dbrx,
            hidden,
            layers: at.count("n_layers", self.n_layers, MAX_LAYERS)?,
            vocab: at.size("vocab_size", self.vocab_size, MAX_VOCABULARY)?,
            context: at.size("max_seq_len", self.max_seq_len, MAX_CONTEXT)?,
            norm_eps: NORM_EPS,
            tied: false,
            eos: Vec::new(),
            attention: Attention::Grouped {
                heads,
                kv_heads: at.size("kv_n_heads", attention.kv_n_heads, MAX_HIDDEN)?,
                head_dim,
                bias: false,
                clip: attention.clip_qkv.map(|clip| at.narrow("clip_qkv", clip)).transpose()?,
            },
            rope: RopeShape {
                // The model was trained with this one; what transformers 5 writes beside it is its own default.
                theta: match attention.rope_theta {
                    Some(theta) => theta,
                    None => keys.theta(at, ROPE_THETA)?,
                },
                dims: head_dim,
                pairing: Pairing::Halves,
                yarn: None,
            },
            norm: NormKind::Layer,
            inner: at.size("ffn_hidden_size", feed.ffn_hidden_size, MAX_INNER)?,
            experts,
            top_k: at.size("moe_top_k", feed.moe_top_k, most)?,
            gate: GateRule { normalise: order.is_some(), scale: 1.0, groups: None },
            dense: None,
            shared: None,
        })
    }
}

/// That of `torch.nn.LayerNorm`, which the definition uses as it is.
const NORM_EPS: f32 = 1e-5;
/// What transformers takes where config.json says nothing.
const ROPE_THETA: f64 = 1e4;
