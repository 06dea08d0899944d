//! The true shapes of four published models, as their `config.json` give them.
//!
//! The texts under `model/seed` hold the keys that say something about the arithmetic, with the values of the originals
//! (`mistralai/Mixtral-8x7B-v0.1`, `deepseek-ai/DeepSeek-V2-Lite`, `Qwen/Qwen1.5-MoE-A2.7B`, `databricks/dbrx-base`, and
//! those that were trained on from them, which differ in the ids that end an answer). They are read like any other.

use std::path::Path;

use crate::config::ModelConfig;

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
        ModelConfig::parse(Path::new(self.name()), self.text().as_bytes(), None)
            .expect("the embedded configurations are parsed by a test")
    }

    /// Its `config.json`.
    const fn text(self) -> &'static str {
        match self {
            Self::Mixtral8x7b => include_str!("../../seed/mixtral-8x7b.json"),
            Self::DeepseekV2Lite => include_str!("../../seed/deepseek-v2-lite.json"),
            Self::Qwen15Moe => include_str!("../../seed/qwen1.5-moe.json"),
            Self::Dbrx => include_str!("../../seed/dbrx.json"),
        }
    }
}
