//! `config.json` as a type that cannot be wrong.
//!
//! Mixtral follows `MixtralConfig` of Hugging Face transformers 5.23 (`models/mixtral/configuration_mixtral.py`).
//! Older checkpoints carry `rope_theta` (and `rope_scaling`) at the top, transformers 5 writes `rope_parameters`;
//! both are read, and where both speak they must agree.

use std::path::Path;

use counterfoil_spec::limits::{
    MAX_CONTEXT, MAX_EXPERTS, MAX_HIDDEN, MAX_INNER, MAX_LAYERS, MAX_ROW_EXPERTS, MAX_VOCABULARY,
};
use minicbor::{Decode, Encode};
use serde::Deserialize;

use crate::error::LoadError;

/// A model family: which definition the arithmetic follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Family {
    /// Mixtral: RMS norm, grouped-query attention without bias, renormalised top-k, no shared expert.
    #[n(1)]
    Mixtral,
}

impl Family {
    /// Its name, as in `model_type`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mixtral => "mixtral",
        }
    }
}

/// Everything the arithmetic needs to know besides the weights.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// Which definition.
    pub family: Family,
    /// Values in an activation row.
    pub hidden: usize,
    /// Values between an expert's two halves.
    pub inner: usize,
    /// Decoder layers.
    pub layers: u32,
    /// Query heads.
    pub heads: usize,
    /// Key-value heads; divides `heads`.
    pub kv_heads: usize,
    /// Values of one head; even.
    pub head_dim: usize,
    /// Experts in each MoE layer.
    pub experts: u32,
    /// Experts that each row uses in an MoE layer.
    pub top_k: usize,
    /// Token ids.
    pub vocab: usize,
    /// Positions that the model knows.
    pub context: usize,
    /// Added to the mean square in a norm.
    pub norm_eps: f32,
    /// The base of the rotary frequencies.
    pub rope_theta: f64,
    /// Whether the embedding is the output matrix too.
    pub tied: bool,
    /// Token ids that end an answer.
    pub eos: Vec<u32>,
}

impl ModelConfig {
    /// The layers that have a gate and experts, ascending.
    pub fn moe_layers(&self) -> impl ExactSizeIterator<Item = u32> + use<> {
        0..self.layers
    }

    /// Every (layer, expert) of the model, ascending.
    pub fn all_experts(&self) -> impl Iterator<Item = (u32, u16)> + use<> {
        let experts = u16::try_from(self.experts).unwrap_or(u16::MAX);
        self.moe_layers().flat_map(move |layer| (0..experts).map(move |expert| (layer, expert)))
    }

    /// Reads `config.json`, and the end-of-answer ids of `generation_config.json` where there is one.
    pub(crate) fn parse(
        file: &Path,
        bytes: &[u8],
        generation: Option<(&Path, &[u8])>,
    ) -> Result<Self, LoadError> {
        let raw: RawConfig = json(file, bytes)?;
        let mut config = raw.checked(&At(file))?;
        if let Some((file, bytes)) = generation {
            let raw: RawGeneration = json(file, bytes)?;
            if let Some(eos) = raw.eos_token_id {
                config.eos = eos.into_vec();
            }
        }
        if let Some(id) =
            config.eos.iter().find(|id| usize::try_from(**id).is_ok_and(|id| id >= config.vocab))
        {
            return Err(At(file).malformed(format!("eos_token_id {id} is outside the vocabulary")));
        }
        Ok(config)
    }
}

/// Reads JSON and names the file where it cannot.
pub(crate) fn json<'a, T: Deserialize<'a>>(file: &Path, bytes: &'a [u8]) -> Result<T, LoadError> {
    serde_json::from_slice(bytes).map_err(|e| At(file).malformed(e.to_string()))
}

/// The keys of `config.json` that matter; the rest are about training.
#[derive(Deserialize)]
struct RawConfig {
    model_type: String,
    hidden_size: u64,
    intermediate_size: u64,
    num_hidden_layers: u64,
    num_attention_heads: u64,
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
    tie_word_embeddings: Option<bool>,
    rope_theta: Option<f64>,
    rope_scaling: Option<RawRope>,
    rope_parameters: Option<RawRope>,
    quantization_config: Option<serde_json::Value>,
    eos_token_id: Option<OneOrMany>,
}

#[derive(Deserialize)]
struct RawRope {
    rope_theta: Option<f64>,
    #[serde(alias = "type")]
    rope_type: Option<String>,
}

#[derive(Deserialize)]
struct RawGeneration {
    eos_token_id: Option<OneOrMany>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(u32),
    Many(Vec<u32>),
}

impl OneOrMany {
    fn into_vec(self) -> Vec<u32> {
        match self {
            Self::One(id) => vec![id],
            Self::Many(ids) => ids,
        }
    }
}

impl RawConfig {
    fn checked(self, at: &At<'_>) -> Result<ModelConfig, LoadError> {
        if self.model_type != "mixtral" {
            return Err(at.unsupported("model_type", &self.model_type, "mixtral"));
        }
        self.refuse_what_is_not_computed(at)?;
        let heads = at.size("num_attention_heads", self.num_attention_heads, MAX_HIDDEN)?;
        let kv_heads = at.size(
            "num_key_value_heads",
            self.num_key_value_heads.unwrap_or(self.num_attention_heads),
            MAX_HIDDEN,
        )?;
        let hidden = at.size("hidden_size", self.hidden_size, MAX_HIDDEN)?;
        let head_dim = match self.head_dim {
            Some(found) => at.size("head_dim", found, MAX_HIDDEN)?,
            None => hidden / heads,
        };
        if !heads.is_multiple_of(kv_heads) {
            return Err(at.malformed(format!("{heads} query heads cannot share {kv_heads} key-value heads")));
        }
        if head_dim == 0 || !head_dim.is_multiple_of(2) || head_dim * heads > MAX_HIDDEN {
            return Err(at.malformed(format!("{heads} heads of {head_dim} values cannot be rotated")));
        }
        let experts = at.size("num_local_experts", self.num_local_experts, MAX_EXPERTS as usize)?;
        let most = experts.min(MAX_ROW_EXPERTS);
        let config = ModelConfig {
            family: Family::Mixtral,
            hidden,
            inner: at.size("intermediate_size", self.intermediate_size, MAX_INNER)?,
            layers: at.count("num_hidden_layers", self.num_hidden_layers, MAX_LAYERS)?,
            heads,
            kv_heads,
            head_dim,
            experts: at.count("num_local_experts", self.num_local_experts, MAX_EXPERTS)?,
            top_k: at.size("num_experts_per_tok", self.num_experts_per_tok, most)?,
            vocab: at.size("vocab_size", self.vocab_size, MAX_VOCABULARY)?,
            context: at.size("max_position_embeddings", self.max_position_embeddings, MAX_CONTEXT)?,
            norm_eps: self.norm_eps(at)?,
            rope_theta: self.rope_theta(at)?,
            tied: self.tie_word_embeddings.unwrap_or(false),
            eos: self.eos_token_id.map(OneOrMany::into_vec).unwrap_or_default(),
        };
        Ok(config)
    }

    fn refuse_what_is_not_computed(&self, at: &At<'_>) -> Result<(), LoadError> {
        if let Some(act) = self.hidden_act.as_deref().filter(|act| *act != "silu") {
            return Err(at.unsupported("hidden_act", act, "silu"));
        }
        if self.attention_bias == Some(true) {
            return Err(at.unsupported("attention_bias", "true", "false"));
        }
        if let Some(window) = self.sliding_window.filter(|window| *window < self.max_position_embeddings) {
            return Err(at.unsupported("sliding_window", &window.to_string(), "null"));
        }
        if self.quantization_config.is_some() {
            return Err(at.unsupported("quantization_config", "present", "a checkpoint without it"));
        }
        Ok(())
    }

    fn norm_eps(&self, at: &At<'_>) -> Result<f32, LoadError> {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the arithmetic is f32; checked to be a positive number"
        )]
        let eps = self.rms_norm_eps as f32;
        if eps.is_normal() && eps > 0.0 && eps < 1.0 {
            Ok(eps)
        } else {
            Err(at.malformed(format!("rms_norm_eps {} is not a small positive number", self.rms_norm_eps)))
        }
    }

    fn rope_theta(&self, at: &At<'_>) -> Result<f64, LoadError> {
        for rope in [&self.rope_parameters, &self.rope_scaling].into_iter().flatten() {
            if let Some(kind) = rope.rope_type.as_deref().filter(|kind| *kind != "default") {
                return Err(at.unsupported("rope_type", kind, "default"));
            }
        }
        let inner = self.rope_parameters.as_ref().and_then(|rope| rope.rope_theta);
        if let (Some(a), Some(b)) = (inner, self.rope_theta)
            && a.to_bits() != b.to_bits()
        {
            return Err(at.malformed(format!("rope_parameters says rope_theta {a}, the top level says {b}")));
        }
        let theta = inner.or(self.rope_theta).unwrap_or(MIXTRAL_ROPE_THETA);
        if theta.is_finite() && theta >= 1.0 {
            Ok(theta)
        } else {
            Err(at.malformed(format!("rope_theta {theta} is not a number of at least 1")))
        }
    }
}

/// Where a fault was found.
struct At<'a>(&'a Path);

impl At<'_> {
    fn malformed(&self, reason: String) -> LoadError {
        LoadError::Malformed { file: self.0.to_path_buf(), reason }
    }

    fn unsupported(&self, key: &'static str, found: &str, expected: &str) -> LoadError {
        LoadError::Unsupported {
            file: self.0.to_path_buf(),
            key,
            found: found.chars().take(80).collect(),
            expected: expected.to_owned(),
        }
    }

    fn size(&self, what: &'static str, found: u64, limit: usize) -> Result<usize, LoadError> {
        match usize::try_from(found) {
            Ok(0) => Err(self.malformed(format!("{what} is 0"))),
            Ok(size) if size <= limit => Ok(size),
            _ => Err(LoadError::TooLarge {
                file: self.0.to_path_buf(),
                what,
                found,
                limit: u64::try_from(limit).unwrap_or(u64::MAX),
            }),
        }
    }

    fn count(&self, what: &'static str, found: u64, limit: u32) -> Result<u32, LoadError> {
        match u32::try_from(found) {
            Ok(0) => Err(self.malformed(format!("{what} is 0"))),
            Ok(count) if count <= limit => Ok(count),
            _ => Err(LoadError::TooLarge { file: self.0.to_path_buf(), what, found, limit: limit.into() }),
        }
    }
}

/// What `MixtralConfig` takes where config.json says nothing.
const MIXTRAL_ROPE_THETA: f64 = 1e6;
