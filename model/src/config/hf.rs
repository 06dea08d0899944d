//! `config.json` of Hugging Face transformers: what the families share, and which of them it is.

use std::path::Path;

use serde::Deserialize;

use super::{At, Family, ModelConfig, dbrx, deepseek_v2, json, mixtral, qwen2_moe};
use crate::error::LoadError;

impl ModelConfig {
    /// Reads `config.json`, and the end-of-answer ids of `generation_config.json` where there is one.
    pub(crate) fn parse(
        file: &Path,
        bytes: &[u8],
        generation: Option<(&Path, &[u8])>,
    ) -> Result<Self, LoadError> {
        let at = At(file);
        let kind: Kind = json(file, bytes)?;
        if kind.quantization_config.is_some() {
            return Err(at.unsupported("quantization_config", "present", "a checkpoint without it"));
        }
        let mut config = match kind.model_type.as_str() {
            "mixtral" => json::<mixtral::Raw>(file, bytes)?.config(&at),
            "deepseek_v2" => json::<deepseek_v2::Raw>(file, bytes)?.config(&at),
            "qwen2_moe" => json::<qwen2_moe::Raw>(file, bytes)?.config(&at),
            "dbrx" => json::<dbrx::Raw>(file, bytes)?.config(&at),
            other => Err(at.unsupported("model_type", other, "mixtral, deepseek_v2, qwen2_moe or dbrx")),
        }?;
        config.tied = kind.tie_word_embeddings.unwrap_or(false);
        config.eos = match kind.eos_token_id {
            Written::Here(eos) => eos.map(OneOrMany::into_vec).unwrap_or_default(),
            Written::LeftOut => default_eos(config.family),
        };
        if let Some((file, bytes)) = generation
            && let Some(eos) = json::<Generation>(file, bytes)?.eos_token_id
        {
            config.eos = eos.into_vec();
        }
        config.bounded(&at)
    }
}

/// The keys that all families have; the rest are about one family, or about training.
#[derive(Deserialize)]
struct Kind {
    model_type: String,
    tie_word_embeddings: Option<bool>,
    quantization_config: Option<serde_json::Value>,
    #[serde(default)]
    eos_token_id: Written,
}

/// Told apart: left out is the family's default, `null` is none.
#[derive(Deserialize, Default)]
#[serde(from = "Option<OneOrMany>")]
enum Written {
    #[default]
    LeftOut,
    Here(Option<OneOrMany>),
}

impl From<Option<OneOrMany>> for Written {
    fn from(eos: Option<OneOrMany>) -> Self {
        Self::Here(eos)
    }
}

fn default_eos(family: Family) -> Vec<u32> {
    match family {
        Family::Mixtral | Family::DeepseekV2 => vec![2],
        Family::Qwen2Moe | Family::Dbrx => Vec::new(),
    }
}

#[derive(Deserialize)]
struct Generation {
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
