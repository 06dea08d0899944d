//! The settings of a GGUF file (llama.cpp, `src/models/{llama,deepseek2,qwen2moe,dbrx}.cpp`, `conversion/*.py`).
//!
//! What a file does not say goes by its architecture, as it does there: whether the kept probabilities are divided by
//! their sum, which values are rotated together, what has a bias. Values that are rotated together are told as they
//! stand in the checkpoint from which the file was made, since reordered rows are put back when they are read.

use counterfoil_spec::limits::{MAX_CONTEXT, MAX_EXPERTS, MAX_HIDDEN, MAX_INNER, MAX_LAYERS, MAX_VOCABULARY};

use super::{
    At, Attention, DenseLayers, Family, GateRule, Groups, ModelConfig, NormKind, Pairing, RopeShape, Shared,
    Yarn,
};
use crate::error::LoadError;
use crate::gguf::Gguf;

impl ModelConfig {
    /// Reads the settings of a model. `files` are those of its set, and the first one's settings count.
    pub(crate) fn of_gguf(files: &[Gguf<'_>], eos: Vec<u32>) -> Result<Self, LoadError> {
        let Some(file) = files.first() else {
            return Err(LoadError::Io { file: "gguf".into(), source: std::io::ErrorKind::NotFound.into() });
        };
        let at = At(file.path());
        let architecture = file.text("general.architecture")?;
        let architecture =
            architecture.ok_or_else(|| at.malformed("general.architecture is missing".to_owned()))?;
        let family = match architecture {
            "llama" => Family::Mixtral,
            "deepseek2" => Family::DeepseekV2,
            "qwen2moe" => Family::Qwen2Moe,
            "dbrx" => Family::Dbrx,
            other => {
                let expected = "llama with experts, deepseek2, qwen2moe or dbrx";
                return Err(at.unsupported("general.architecture", other, expected));
            }
        };
        let keys = Keys { file, files, at, architecture, family };
        keys.refuse_what_is_not_computed()?;
        keys.config(eos)?.bounded(&at)
    }
}

/// The settings under the architecture's name.
struct Keys<'a> {
    file: &'a Gguf<'a>,
    files: &'a [Gguf<'a>],
    at: At<'a>,
    architecture: &'a str,
    family: Family,
}

impl Keys<'_> {
    fn key(&self, rest: &str) -> String {
        format!("{}.{rest}", self.architecture)
    }

    /// A whole number; some files give one for each layer, which must then agree.
    fn number(&self, rest: &str) -> Result<Option<u64>, LoadError> {
        let key = self.key(rest);
        let Some(crate::gguf::Value::Array(array)) = self.file.setting(&key) else {
            return self.file.unsigned(&key);
        };
        let mixed = || self.at.malformed(format!("{key} is not one whole number for all layers"));
        let mut numbers = array.integers().ok_or_else(mixed)?;
        let first = numbers.next().ok_or_else(mixed)?;
        if numbers.any(|number| number != first) {
            return Err(mixed());
        }
        u64::try_from(first).map(Some).map_err(|_| mixed())
    }

    fn size(&self, rest: &'static str, limit: usize) -> Result<usize, LoadError> {
        let found = self.number(rest)?.ok_or_else(|| self.missing(rest))?;
        self.at.size(rest, found, limit)
    }

    fn size_or(&self, rest: &'static str, limit: usize, other: usize) -> Result<usize, LoadError> {
        self.number(rest)?.map_or(Ok(other), |found| self.at.size(rest, found, limit))
    }

    fn float(&self, rest: &str) -> Result<Option<f64>, LoadError> {
        self.file.float(&self.key(rest))
    }

    fn missing(&self, rest: &str) -> LoadError {
        self.at.malformed(format!("{} is missing", self.key(rest)))
    }

    fn has(&self, tensor: &str) -> bool {
        self.files.iter().any(|file| file.tensors().iter().any(|entry| entry.name == tensor))
    }

    fn refuse_what_is_not_computed(&self) -> Result<(), LoadError> {
        // Softmax, by its number or by saying nothing.
        let gating = self.number("expert_gating_func")?.filter(|function| *function > 1);
        if let Some(other) = gating {
            return Err(self.at.unsupported("expert_gating_func", &other.to_string(), "softmax (1)"));
        }
        let normalised = self.file.flag(&self.key("expert_weights_norm"))?;
        self.at.only("expert_weights_norm", normalised.as_ref(), &self.normalised())?;
        if let Some(experts) = self.number("expert_count")?.filter(|experts| *experts == 0) {
            return Err(self.at.unsupported("expert_count", &experts.to_string(), "a model with experts"));
        }
        if self.number("expert_count")?.is_none() {
            return Err(self.at.unsupported("expert_count", "missing", "a model with experts"));
        }
        let context = self.number("context_length")?.unwrap_or(u64::MAX);
        let window = self.number("attention.sliding_window")?.filter(|window| (1..context).contains(window));
        if let Some(window) = window {
            return Err(self.at.unsupported("attention.sliding_window", &window.to_string(), "none"));
        }
        if self.has("rope_freqs.weight") {
            return Err(self.at.unsupported("rope_freqs.weight", "present", "none"));
        }
        Ok(())
    }

    /// Whether the kept probabilities are divided by their sum.
    const fn normalised(&self) -> bool {
        matches!(self.family, Family::Mixtral | Family::Dbrx)
    }

    fn config(&self, eos: Vec<u32>) -> Result<ModelConfig, LoadError> {
        let hidden = self.size("embedding_length", MAX_HIDDEN)?;
        let layers = self.at.count("block_count", self.required("block_count")?, MAX_LAYERS)?;
        let attention = self.attention(hidden)?;
        let eps = match self.family {
            Family::Dbrx => "attention.layer_norm_epsilon",
            _ => "attention.layer_norm_rms_epsilon",
        };
        let eps = self.float(eps)?.ok_or_else(|| self.missing(eps))?;
        let scale = self.float("expert_weights_scale")?.filter(|scale| *scale != 0.0).unwrap_or(1.0);
        Ok(ModelConfig {
            family: self.family,
            hidden,
            layers,
            vocab: self.vocabulary()?,
            context: self.size("context_length", MAX_CONTEXT)?,
            norm_eps: self.at.narrow("layer_norm_epsilon", eps)?,
            tied: !self.has("output.weight"),
            eos,
            rope: self.rope(&attention)?,
            attention,
            norm: if self.family == Family::Dbrx { NormKind::Layer } else { NormKind::Rms },
            inner: self.inner()?,
            experts: self.at.count("expert_count", self.required("expert_count")?, MAX_EXPERTS)?,
            top_k: self.size("expert_used_count", usize::try_from(MAX_EXPERTS).unwrap_or(usize::MAX))?,
            gate: GateRule {
                normalise: self.normalised(),
                scale: self.at.narrow("expert_weights_scale", scale)?,
                groups: self.groups()?,
            },
            dense: self.dense(layers)?,
            shared: self.shared()?,
        })
    }

    fn required(&self, rest: &str) -> Result<u64, LoadError> {
        self.number(rest)?.ok_or_else(|| self.missing(rest))
    }

    /// The rows of the embedding; a list of tokens may be shorter, as matrices are padded.
    fn vocabulary(&self) -> Result<usize, LoadError> {
        let tensors = self.files.iter().flat_map(|file| file.tensors());
        let rows =
            tensors.filter(|entry| entry.name == "token_embd.weight").find_map(|entry| entry.shape.first());
        let missing = || LoadError::TensorMissing {
            file: self.file.path().to_path_buf(),
            tensor: "token_embd.weight".to_owned(),
        };
        let rows = rows.ok_or_else(missing)?;
        let rows = self.at.size("vocabulary", u64::try_from(*rows).unwrap_or(u64::MAX), MAX_VOCABULARY)?;
        let listed = self.file.array("tokenizer.ggml.tokens")?.map_or(0, |tokens| tokens.len());
        if listed > rows {
            return Err(self.at.malformed(format!(
                "tokenizer.ggml.tokens has {listed} tokens and token_embd.weight {rows} rows"
            )));
        }
        Ok(rows)
    }

    fn attention(&self, hidden: usize) -> Result<Attention, LoadError> {
        let heads = self.size("attention.head_count", MAX_HIDDEN)?;
        if self.family == Family::DeepseekV2 {
            return self.latent(heads);
        }
        let head_dim = self.size_or("attention.key_length", MAX_HIDDEN, hidden / heads)?;
        let value = self.size_or("attention.value_length", MAX_HIDDEN, head_dim)?;
        if value != head_dim {
            let found = value.to_string();
            return Err(self.at.unsupported("attention.value_length", &found, "that of keys"));
        }
        let clip = match self.family {
            Family::Dbrx => self.float("attention.clamp_kqv")?.filter(|clip| *clip != 0.0),
            _ => None,
        };
        Ok(Attention::Grouped {
            heads,
            kv_heads: self.size_or("attention.head_count_kv", MAX_HIDDEN, heads)?,
            head_dim,
            bias: self.family == Family::Qwen2Moe,
            clip: clip.map(|clip| self.at.narrow("attention.clamp_kqv", clip)).transpose()?,
        })
    }

    /// Newer files describe the attention over latents that llama.cpp computes, and what a head has beside it; older
    /// ones only what a head has.
    fn latent(&self, heads: usize) -> Result<Attention, LoadError> {
        let either = |new: &'static str, old: &'static str| {
            if self.number(new)?.is_some() { self.size(new, MAX_HIDDEN) } else { self.size(old, MAX_HIDDEN) }
        };
        let key = either("attention.key_length_mla", "attention.key_length")?;
        let value = either("attention.value_length_mla", "attention.value_length")?;
        let rope = self.size("rope.dimension_count", MAX_HIDDEN)?;
        let nope = key
            .checked_sub(rope)
            .ok_or_else(|| self.at.malformed(format!("{rope} of a key's {key} values are to be rotated")))?;
        let q_lora = self.number("attention.q_lora_rank")?.filter(|rank| *rank > 0);
        let q_lora =
            q_lora.map(|rank| self.at.size("attention.q_lora_rank", rank, MAX_HIDDEN)).transpose()?;
        let kv_lora = self.size("attention.kv_lora_rank", MAX_HIDDEN)?;
        Ok(Attention::Latent { heads, q_lora, kv_lora, nope, rope, value })
    }

    fn rope(&self, attention: &Attention) -> Result<RopeShape, LoadError> {
        let (dims, pairing) = match attention {
            Attention::Grouped { head_dim, .. } => (*head_dim, Pairing::Halves),
            Attention::Latent { rope, .. } => (*rope, Pairing::Interleaved),
        };
        let yarn = match self.file.text(&self.key("rope.scaling.type"))? {
            None | Some("none") => None,
            Some("yarn") if self.family == Family::DeepseekV2 => Some(self.yarn()?),
            Some(other) => {
                return Err(self.at.unsupported("rope.scaling.type", other, "none (or yarn for deepseek2)"));
            }
        };
        for key in ["rope.scale_linear", "rope.scaling.attn_factor"] {
            if let Some(scale) = self.float(key)?.filter(|scale| scale.to_bits() != 1f64.to_bits()) {
                return Err(self.at.unsupported(key, &scale.to_string(), "1"));
            }
        }
        Ok(RopeShape {
            theta: self.float("rope.freq_base")?.unwrap_or(ROPE_THETA),
            dims: self.size_or("rope.dimension_count", MAX_HIDDEN, dims)?,
            pairing,
            yarn,
        })
    }

    fn yarn(&self) -> Result<Yarn, LoadError> {
        let needed = |rest: &str| self.float(rest)?.ok_or_else(|| self.missing(rest));
        // A tenth of `mscale_all_dim`, for history's sake; the models that have it set `mscale` to the same. The tenth
        // is taken in decimal, so that 0.0707 gives the double nearest to 0.707.
        let tenth = self.float("rope.scaling.yarn_log_multiplier")?.unwrap_or(0.0);
        let written: f64 = format!("{tenth}e1").parse().unwrap_or(tenth * 10.0);
        // Where nothing is said, llama.cpp multiplies cosines and sines, and the root of the softmax scale, by
        // `1 + 0.1 ln factor` (`llama-context.cpp` and `models/deepseek2.cpp`): weights of "nothing" and of 1.
        let (mscale, mscale_all_dim) = if written.abs() > 0.0 { (written, written) } else { (0.0, 1.0) };
        Ok(Yarn {
            factor: needed("rope.scaling.factor")?,
            original: self.size("rope.scaling.original_context_length", MAX_CONTEXT)?,
            beta_fast: self.float("rope.scaling.yarn_beta_fast")?.unwrap_or(32.0),
            beta_slow: self.float("rope.scaling.yarn_beta_slow")?.unwrap_or(1.0),
            mscale,
            mscale_all_dim,
        })
    }

    fn inner(&self) -> Result<usize, LoadError> {
        match self.family {
            Family::Mixtral | Family::Dbrx => self.size("feed_forward_length", MAX_INNER),
            Family::DeepseekV2 => self.size("expert_feed_forward_length", MAX_INNER),
            Family::Qwen2Moe if self.number("expert_feed_forward_length")?.is_some() => {
                self.size("expert_feed_forward_length", MAX_INNER)
            }
            // As many experts as a row uses were as wide as one dense layer.
            Family::Qwen2Moe => {
                let used = self.size("expert_used_count", MAX_INNER)?;
                Ok(self.size("feed_forward_length", MAX_INNER)? / used)
            }
        }
    }

    fn groups(&self) -> Result<Option<Groups>, LoadError> {
        let limit = usize::try_from(MAX_EXPERTS).unwrap_or(usize::MAX);
        let Some(found) = self.number("expert_group_count")?.filter(|groups| *groups > 1) else {
            return Ok(None);
        };
        let groups = self.at.size("expert_group_count", found, limit)?;
        let kept = self.size_or("expert_group_used_count", groups, groups)?;
        Ok((kept < groups).then_some(Groups { groups, kept }))
    }

    fn dense(&self, layers: u32) -> Result<Option<DenseLayers>, LoadError> {
        if self.family != Family::DeepseekV2 {
            return Ok(None);
        }
        let leading = self.number("leading_dense_block_count")?.unwrap_or(0);
        let leading = u32::try_from(leading).unwrap_or(u32::MAX).min(layers);
        if leading == 0 {
            return Ok(None);
        }
        let inner = self.size("feed_forward_length", MAX_INNER)?;
        Ok(Some(DenseLayers { layers: (0..leading).collect(), inner }))
    }

    fn shared(&self) -> Result<Option<Shared>, LoadError> {
        match self.family {
            Family::Mixtral | Family::Dbrx => Ok(None),
            Family::Qwen2Moe => {
                let rest = "expert_shared_feed_forward_length";
                let rest = if self.number(rest)?.is_some() { rest } else { "feed_forward_length" };
                Ok(Some(Shared { inner: self.size(rest, MAX_INNER)?, gated: true }))
            }
            Family::DeepseekV2 => match self.number("expert_shared_count")?.unwrap_or(0) {
                0 => Ok(None),
                count => {
                    let inner = count.saturating_mul(self.required("expert_feed_forward_length")?);
                    let inner = self.at.size("expert_shared_count", inner, MAX_INNER)?;
                    Ok(Some(Shared { inner, gated: false }))
                }
            },
        }
    }
}

/// What llama.cpp takes where a file says nothing.
const ROPE_THETA: f64 = 1e4;

#[cfg(test)]
mod tests;
