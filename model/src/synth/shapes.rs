//! The true shapes of four published models, as their configurations give them.

use crate::config::{
    Attention, DenseLayers, Family, GateRule, ModelConfig, NormKind, Pairing, RopeShape, Shared, Yarn,
};

/// A published model whose shapes are known here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Like {
    /// Mixtral 8x7B.
    Mixtral8x7b,
    /// DeepSeek-V2-Lite.
    DeepseekV2Lite,
    /// Qwen1.5-MoE-A2.7B.
    Qwen15Moe,
    /// DBRX.
    Dbrx,
}

impl Like {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Mixtral8x7b, Self::DeepseekV2Lite, Self::Qwen15Moe, Self::Dbrx];

    /// What it is called on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mixtral8x7b => "mixtral-8x7b",
            Self::DeepseekV2Lite => "deepseek-v2-lite",
            Self::Qwen15Moe => "qwen1.5-moe",
            Self::Dbrx => "dbrx",
        }
    }

    /// The configuration, with all layers.
    #[must_use]
    pub fn config(self) -> ModelConfig {
        match self {
            Self::Mixtral8x7b => mixtral(),
            Self::DeepseekV2Lite => deepseek(),
            Self::Qwen15Moe => qwen(),
            Self::Dbrx => dbrx(),
        }
    }
}

/// `mistralai/Mixtral-8x7B-v0.1`
fn mixtral() -> ModelConfig {
    ModelConfig {
        family: Family::Mixtral,
        hidden: 4096,
        layers: 32,
        vocab: 32_000,
        context: 32_768,
        norm_eps: 1e-5,
        tied: false,
        eos: vec![2],
        attention: grouped(32, 8),
        rope: halves(1e6),
        norm: NormKind::Rms,
        inner: 14_336,
        experts: 8,
        top_k: 2,
        gate: GateRule { normalise: true, scale: 1.0, groups: None },
        dense: None,
        shared: None,
    }
}

/// `deepseek-ai/DeepSeek-V2-Lite`
fn deepseek() -> ModelConfig {
    let yarn = Yarn {
        factor: 40.0,
        original: 4096,
        beta_fast: 32.0,
        beta_slow: 1.0,
        mscale: 0.707,
        mscale_all_dim: 0.707,
    };
    ModelConfig {
        family: Family::DeepseekV2,
        hidden: 2048,
        layers: 27,
        vocab: 102_400,
        context: 163_840,
        norm_eps: 1e-6,
        tied: false,
        eos: vec![100_001],
        attention: Attention::Latent {
            heads: 16,
            q_lora: None,
            kv_lora: 512,
            nope: 128,
            rope: 64,
            value: 128,
        },
        rope: RopeShape { theta: 1e4, dims: 64, pairing: Pairing::Interleaved, yarn: Some(yarn) },
        norm: NormKind::Rms,
        inner: 1408,
        experts: 64,
        top_k: 6,
        gate: GateRule { normalise: false, scale: 1.0, groups: None },
        dense: Some(DenseLayers { layers: vec![0], inner: 10_944 }),
        shared: Some(Shared { inner: 2816, gated: false }),
    }
}

/// `Qwen/Qwen1.5-MoE-A2.7B`
fn qwen() -> ModelConfig {
    ModelConfig {
        family: Family::Qwen2Moe,
        hidden: 2048,
        layers: 24,
        vocab: 151_936,
        context: 8192,
        norm_eps: 1e-6,
        tied: false,
        eos: vec![151_643],
        attention: Attention::Grouped { heads: 16, kv_heads: 16, head_dim: 128, bias: true, clip: None },
        rope: halves(1e6),
        norm: NormKind::Rms,
        inner: 1408,
        experts: 60,
        top_k: 4,
        gate: GateRule { normalise: false, scale: 1.0, groups: None },
        dense: None,
        shared: Some(Shared { inner: 5632, gated: true }),
    }
}

/// `databricks/dbrx-base`
fn dbrx() -> ModelConfig {
    ModelConfig {
        family: Family::Dbrx,
        hidden: 6144,
        layers: 40,
        vocab: 100_352,
        context: 32_768,
        norm_eps: 1e-5,
        tied: false,
        eos: vec![100_257],
        attention: Attention::Grouped { heads: 48, kv_heads: 8, head_dim: 128, bias: false, clip: Some(8.0) },
        rope: halves(5e5),
        norm: NormKind::Layer,
        inner: 10_752,
        experts: 16,
        top_k: 4,
        gate: GateRule { normalise: true, scale: 1.0, groups: None },
        dense: None,
        shared: None,
    }
}

fn grouped(heads: usize, kv_heads: usize) -> Attention {
    Attention::Grouped { heads, kv_heads, head_dim: 128, bias: false, clip: None }
}

fn halves(theta: f64) -> RopeShape {
    RopeShape { theta, dims: 128, pairing: Pairing::Halves, yarn: None }
}
