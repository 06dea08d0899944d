//! What the arithmetic of a model needs to know besides its weights, as a type that cannot be wrong.
//!
//! It is read from a Hugging Face `config.json` (`config/hf.rs`), and wherever it comes from it goes through
//! [`ModelConfig::bounded`], which holds it to the named limits and to what can be computed.

mod bounds;
mod dbrx;
mod deepseek_v2;
mod field;
mod gguf;
mod hf;
mod mixtral;
mod qwen2_moe;
mod rope;

use minicbor::{Decode, Encode};

pub(crate) use field::{At, json};

/// A model family: which definition the arithmetic follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Family {
    /// Mixtral: RMS norm, grouped-query attention without bias, renormalised top-k, no shared expert.
    #[n(1)]
    Mixtral,
    /// DeepSeek-V2: latent attention with YaRN, dense first layers, shared experts.
    #[n(2)]
    DeepseekV2,
    /// Qwen2-MoE (Qwen1.5-MoE): biases on queries, keys and values, a shared expert behind a sigmoid gate.
    #[n(3)]
    Qwen2Moe,
    /// DBRX: layer norm, clipped fused projections, renormalised top-k.
    #[n(4)]
    Dbrx,
}

impl Family {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Mixtral, Self::DeepseekV2, Self::Qwen2Moe, Self::Dbrx];

    /// Its name, as in `model_type` of Hugging Face.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mixtral => "mixtral",
            Self::DeepseekV2 => "deepseek_v2",
            Self::Qwen2Moe => "qwen2_moe",
            Self::Dbrx => "dbrx",
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
    /// Decoder layers.
    pub layers: u32,
    /// Token ids.
    pub vocab: usize,
    /// Positions that the model knows.
    pub context: usize,
    /// Added to the mean square, or the variance, in a norm.
    pub norm_eps: f32,
    /// Whether the embedding is the output matrix too.
    pub tied: bool,
    /// Token ids that end an answer.
    pub eos: Vec<u32>,
    /// How rows attend.
    pub attention: Attention,
    /// How queries and keys are rotated.
    pub rope: RopeShape,
    /// Which norm.
    pub norm: NormKind,
    /// Values between a routed expert's two halves.
    pub inner: usize,
    /// Experts in each MoE layer.
    pub experts: u32,
    /// Experts that each row uses in an MoE layer.
    pub top_k: usize,
    /// What an expert's weight is made of.
    pub gate: GateRule,
    /// The layers that have no experts, where there are any.
    pub dense: Option<DenseLayers>,
    /// The expert that every row of an MoE layer uses, where there is one.
    pub shared: Option<Shared>,
}

/// Attention of one layer.
#[derive(Debug, Clone, PartialEq)]
pub enum Attention {
    /// Grouped-query attention.
    Grouped {
        /// Query heads.
        heads: usize,
        /// Key-value heads; divides `heads`.
        kv_heads: usize,
        /// Values of one head.
        head_dim: usize,
        /// Whether queries, keys and values have a bias.
        bias: bool,
        /// Queries, keys and values are cut to ± this before they are rotated.
        clip: Option<f32>,
    },
    /// Multi-head latent attention: keys and values are products of one latent vector for each position.
    Latent {
        /// Query heads.
        heads: usize,
        /// Values of the queries' own latent; the query is projected at once where there is none.
        q_lora: Option<usize>,
        /// Values of the latent that keys and values are made of.
        kv_lora: usize,
        /// Values of a head that are not rotated.
        nope: usize,
        /// Values of a head that are; its key is shared by the heads.
        rope: usize,
        /// Values of a head's output.
        value: usize,
    },
}

impl Attention {
    /// Query heads.
    #[must_use]
    pub const fn heads(&self) -> usize {
        match self {
            Self::Grouped { heads, .. } | Self::Latent { heads, .. } => *heads,
        }
    }

    /// Heads whose keys are cached: one latent serves all heads.
    #[must_use]
    pub const fn kv_heads(&self) -> usize {
        match self {
            Self::Grouped { kv_heads, .. } => *kv_heads,
            Self::Latent { .. } => 1,
        }
    }
}

/// Rotary position embedding.
#[derive(Debug, Clone, PartialEq)]
pub struct RopeShape {
    /// The base of the frequencies.
    pub theta: f64,
    /// Values of a head that are rotated; even.
    pub dims: usize,
    /// Which values of a head are turned together.
    pub pairing: Pairing,
    /// How the frequencies are stretched to a longer context.
    pub yarn: Option<Yarn>,
}

/// Which values of a head are turned together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pairing {
    /// Value `i` of the first half and value `i` of the second.
    Halves,
    /// Values `2i` and `2i + 1`.
    Interleaved,
}

/// The numbers of YaRN.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Yarn {
    /// How many times longer the context is than the one trained first.
    pub factor: f64,
    /// Positions of the context trained first.
    pub original: usize,
    /// Turns over the original context from which on a frequency is kept.
    pub beta_fast: f64,
    /// Turns below which a frequency is divided by the factor.
    pub beta_slow: f64,
    /// Weight of the logarithm in the multiplier of cosines and sines; 0 where nothing is said.
    pub mscale: f64,
    /// Weight of the logarithm in the softmax scale; 0 where nothing is said.
    pub mscale_all_dim: f64,
}

/// Which norm stands before attention, before experts and at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormKind {
    /// Root mean square.
    Rms,
    /// Mean and variance, with a weight and no bias.
    Layer,
}

/// What an expert's weight is made of its probability. The probabilities are a softmax over all experts.
#[derive(Debug, Clone, PartialEq)]
pub struct GateRule {
    /// Whether the kept probabilities are divided by their sum.
    pub normalise: bool,
    /// What each weight is multiplied by.
    pub scale: f32,
    /// Experts are chosen from the best groups only.
    pub groups: Option<Groups>,
}

/// Groups of experts of equal size, in order; a group is as good as its best expert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Groups {
    /// How many there are; divides the number of experts.
    pub groups: usize,
    /// How many are kept.
    pub kept: usize,
}

/// Layers with a plain feed-forward part instead of gate and experts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DenseLayers {
    /// Which, ascending; not empty, and not all of the model.
    pub layers: Vec<u32>,
    /// Values between the two halves.
    pub inner: usize,
}

/// An expert that every row of an MoE layer uses besides those that the gate chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shared {
    /// Values between its two halves.
    pub inner: usize,
    /// Whether its output is multiplied by the sigmoid of a gate of its own.
    pub gated: bool,
}

impl ModelConfig {
    /// The layers that have a gate and experts, ascending.
    pub fn moe_layers(&self) -> impl ExactSizeIterator<Item = u32> + use<> {
        let layers: Vec<u32> = (0..self.layers).filter(|layer| !self.is_dense(*layer)).collect();
        layers.into_iter()
    }

    /// Whether this layer has a plain feed-forward part instead of gate and experts.
    #[must_use]
    pub fn is_dense(&self, layer: u32) -> bool {
        self.dense.as_ref().is_some_and(|dense| dense.layers.binary_search(&layer).is_ok())
    }

    /// Every (layer, expert) of the model, ascending.
    pub fn all_experts(&self) -> impl Iterator<Item = (u32, u16)> + use<> {
        let experts = u16::try_from(self.experts).unwrap_or(u16::MAX);
        self.moe_layers().flat_map(move |layer| (0..experts).map(move |expert| (layer, expert)))
    }

    /// Whether the model has this expert in this layer.
    #[must_use]
    pub fn has_expert(&self, layer: u32, expert: u16) -> bool {
        layer < self.layers && !self.is_dense(layer) && u32::from(expert) < self.experts
    }
}

#[cfg(test)]
mod tests;
