//! `DeepseekV2Config` of Hugging Face transformers 5.23 (`models/deepseek_v2/configuration_deepseek_v2.py`).

use counterfoil_spec::limits::{
    MAX_CONTEXT, MAX_EXPERTS, MAX_HIDDEN, MAX_INNER, MAX_LAYERS, MAX_ROW_EXPERTS, MAX_VOCABULARY,
};
use serde::Deserialize;

use super::rope::{RawRope, RopeKeys};
use super::{
    At, Attention, DenseLayers, Family, GateRule, Groups, ModelConfig, NormKind, Pairing, RopeShape, Shared,
};
use crate::error::LoadError;

/// The keys that matter.
#[derive(Deserialize)]
pub(super) struct Raw {
    hidden_size: u64,
    intermediate_size: u64,
    moe_intermediate_size: u64,
    num_hidden_layers: u64,
    num_attention_heads: u64,
    num_key_value_heads: Option<u64>,
    /// Told apart: left out is 1536, `null` is none.
    #[serde(default = "default_query_rank")]
    q_lora_rank: Option<u64>,
    kv_lora_rank: u64,
    qk_nope_head_dim: u64,
    qk_rope_head_dim: u64,
    v_head_dim: u64,
    #[serde(default)]
    first_k_dense_replace: u32,
    moe_layer_freq: Option<u32>,
    #[serde(default = "default_shared_experts")]
    n_shared_experts: u64,
    n_routed_experts: u64,
    num_experts_per_tok: u64,
    #[serde(default = "default_scale")]
    routed_scaling_factor: f64,
    #[serde(default = "default_method")]
    topk_method: String,
    scoring_func: Option<String>,
    n_group: Option<u64>,
    topk_group: Option<u64>,
    norm_topk_prob: Option<bool>,
    vocab_size: u64,
    max_position_embeddings: u64,
    rms_norm_eps: f64,
    hidden_act: Option<String>,
    attention_bias: Option<bool>,
    mlp_bias: Option<bool>,
    rope_theta: Option<f64>,
    rope_scaling: Option<RawRope>,
    rope_parameters: Option<RawRope>,
}

impl Raw {
    pub(super) fn config(self, at: &At<'_>) -> Result<ModelConfig, LoadError> {
        self.refuse_what_is_not_computed(at)?;
        let keys = RopeKeys {
            theta: self.rope_theta,
            scaling: self.rope_scaling.as_ref(),
            parameters: self.rope_parameters.as_ref(),
        };
        let layers = at.count("num_hidden_layers", self.num_hidden_layers, MAX_LAYERS)?;
        let experts = at.count("n_routed_experts", self.n_routed_experts, MAX_EXPERTS)?;
        let most = usize::try_from(experts).unwrap_or(usize::MAX).min(MAX_ROW_EXPERTS);
        let rope = at.size("qk_rope_head_dim", self.qk_rope_head_dim, MAX_HIDDEN)?;
        let query = self.q_lora_rank.map(|rank| at.size("q_lora_rank", rank, MAX_HIDDEN)).transpose()?;
        Ok(ModelConfig {
            family: Family::DeepseekV2,
            hidden: at.size("hidden_size", self.hidden_size, MAX_HIDDEN)?,
            layers,
            vocab: at.size("vocab_size", self.vocab_size, MAX_VOCABULARY)?,
            context: at.size("max_position_embeddings", self.max_position_embeddings, MAX_CONTEXT)?,
            norm_eps: at.narrow("rms_norm_eps", self.rms_norm_eps)?,
            tied: false,
            eos: Vec::new(),
            attention: Attention::Latent {
                heads: at.size("num_attention_heads", self.num_attention_heads, MAX_HIDDEN)?,
                q_lora: query,
                kv_lora: at.size("kv_lora_rank", self.kv_lora_rank, MAX_HIDDEN)?,
                nope: at.size("qk_nope_head_dim", self.qk_nope_head_dim, MAX_HIDDEN)?,
                rope,
                value: at.size("v_head_dim", self.v_head_dim, MAX_HIDDEN)?,
            },
            rope: RopeShape {
                theta: keys.theta(at, ROPE_THETA)?,
                dims: rope,
                pairing: Pairing::Interleaved,
                yarn: keys.yarn(at)?,
            },
            norm: NormKind::Rms,
            inner: at.size("moe_intermediate_size", self.moe_intermediate_size, MAX_INNER)?,
            experts,
            top_k: at.size("num_experts_per_tok", self.num_experts_per_tok, most)?,
            gate: GateRule {
                normalise: false,
                scale: at.narrow("routed_scaling_factor", self.routed_scaling_factor)?,
                groups: self.groups(at)?,
            },
            dense: self.dense(at, layers)?,
            shared: self.shared(at)?,
        })
    }

    fn refuse_what_is_not_computed(&self, at: &At<'_>) -> Result<(), LoadError> {
        at.only("hidden_act", self.hidden_act.as_ref(), &"silu".to_owned())?;
        at.only("attention_bias", self.attention_bias.as_ref(), &false)?;
        at.only("mlp_bias", self.mlp_bias.as_ref(), &false)?;
        at.only("scoring_func", self.scoring_func.as_ref(), &"softmax".to_owned())?;
        at.only("num_key_value_heads", self.num_key_value_heads.as_ref(), &self.num_attention_heads)?;
        // transformers 5.23 reads neither; a checkpoint that asks for them is another model than it computes.
        at.only("norm_topk_prob", self.norm_topk_prob.as_ref(), &false)?;
        at.only("moe_layer_freq", self.moe_layer_freq.as_ref(), &1)
    }

    fn groups(&self, at: &At<'_>) -> Result<Option<Groups>, LoadError> {
        match self.topk_method.as_str() {
            "greedy" => Ok(None),
            "group_limited_greedy" => {
                let most = usize::try_from(MAX_EXPERTS).unwrap_or(usize::MAX);
                let groups = at.size("n_group", self.n_group.unwrap_or(0), most)?;
                let kept = at.size("topk_group", self.topk_group.unwrap_or(0), groups)?;
                Ok(Some(Groups { groups, kept }))
            }
            other => Err(at.unsupported("topk_method", other, "greedy or group_limited_greedy")),
        }
    }

    fn dense(&self, at: &At<'_>, layers: u32) -> Result<Option<DenseLayers>, LoadError> {
        match self.first_k_dense_replace.min(layers) {
            0 => Ok(None),
            first => Ok(Some(DenseLayers {
                layers: (0..first).collect(),
                inner: at.size("intermediate_size", self.intermediate_size, MAX_INNER)?,
            })),
        }
    }

    /// The shared experts are one expert that is as wide as all of them.
    fn shared(&self, at: &At<'_>) -> Result<Option<Shared>, LoadError> {
        match self.n_shared_experts {
            0 => Ok(None),
            experts => {
                let inner = experts.saturating_mul(self.moe_intermediate_size);
                Ok(Some(Shared { inner: at.size("n_shared_experts", inner, MAX_INNER)?, gated: false }))
            }
        }
    }
}

const fn default_query_rank() -> Option<u64> {
    Some(1536)
}

const fn default_shared_experts() -> u64 {
    2
}

const fn default_scale() -> f64 {
    1.0
}

fn default_method() -> String {
    "greedy".to_owned()
}

/// What transformers takes where config.json says nothing.
const ROPE_THETA: f64 = 1e4;
