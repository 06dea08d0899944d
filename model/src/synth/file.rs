//! Random weights as one GGUF file, with the settings and names of llama.cpp.

use std::collections::BTreeSet;
use std::path::Path;

use super::Synthetic;
use crate::config::{Attention, Family, ModelConfig, NormKind};
use crate::durable::Fresh;
use crate::gguf::{Outline, Setting, WriteError};
use crate::manifest::{Meter, Progress, wide};
use crate::names::{Naming, Tensor};
use crate::split::{Source, SplitError, unwritten};

/// A tensor of the file; experts of a role lie in one.
struct Stored {
    name: String,
    tensor: Tensor,
    rows: usize,
    bytes: usize,
}

impl Synthetic {
    /// Writes one GGUF file.
    ///
    /// # Errors
    /// [`SplitError`]; then there is no such file.
    pub fn write_gguf(&self, path: &Path, progress: Progress<'_>) -> Result<(), SplitError> {
        let fault = |e| unwritten(path, e);
        let io = |source| SplitError::Io { path: path.to_path_buf(), source };
        let mut outline = outline(self.config()).map_err(fault)?;
        let mut stored = Vec::new();
        let mut seen = BTreeSet::new();
        let experts = self.config.all_experts().flat_map(|(layer, expert)| {
            crate::names::Role::ALL.map(|role| Tensor::Expert(layer, expert, role))
        });
        for tensor in Tensor::dense(&self.config).into_iter().chain(experts) {
            let Some(place) = Naming::Gguf.places(&self.config, tensor).into_iter().next() else { continue };
            if !seen.insert(place.name.clone()) {
                continue;
            }
            let bytes = outline.tensor(&place.name, &place.shape, self.dtype(tensor)?).map_err(fault)?;
            let rows = place.shape.split_last().map_or(1, |(_, outer)| outer.iter().product());
            stored.push(Stored { name: place.name, tensor, rows, bytes });
        }
        let meter = Meter::new(stored.iter().map(|stored| wide(stored.bytes)).sum(), progress);
        let mut writer = outline.begin(Fresh::create(path).map_err(io)?).map_err(fault)?;
        for stored in &stored {
            let dtype = self.dtype(stored.tensor)?;
            self.stream((stored.tensor, &stored.name), (dtype, stored.rows), &mut |bytes| {
                meter.add(bytes.len());
                writer.write(bytes).map_err(fault)
            })?;
        }
        writer.finish().map_err(fault)?.keep().map_err(io)
    }
}

fn outline(config: &ModelConfig) -> Result<Outline, WriteError> {
    let architecture = match config.family {
        Family::Mixtral => "llama",
        Family::DeepseekV2 => "deepseek2",
        Family::Qwen2Moe => "qwen2moe",
        Family::Dbrx => "dbrx",
    };
    let mut outline = Outline::new(architecture);
    let mut set = |rest: &str, value: Setting| outline.set(&format!("{architecture}.{rest}"), value);
    set("block_count", Setting::U32(config.layers))?;
    set("context_length", size(config.context))?;
    set("embedding_length", size(config.hidden))?;
    set("expert_count", Setting::U32(config.experts))?;
    set("expert_used_count", size(config.top_k))?;
    set("expert_weights_scale", Setting::Single(config.gate.scale))?;
    let eps = match config.norm {
        NormKind::Rms => "attention.layer_norm_rms_epsilon",
        NormKind::Layer => "attention.layer_norm_epsilon",
    };
    set(eps, Setting::Single(config.norm_eps))?;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the format has singles; published bases are whole numbers"
    )]
    let single = |value: f64| Setting::Single(value as f32);
    set("rope.freq_base", single(config.rope.theta))?;
    set("rope.dimension_count", size(config.rope.dims))?;
    if let Some(yarn) = config.rope.yarn {
        set("rope.scaling.type", Setting::Text("yarn".to_owned()))?;
        set("rope.scaling.factor", single(yarn.factor))?;
        set("rope.scaling.original_context_length", size(yarn.original))?;
        set("rope.scaling.yarn_log_multiplier", single(yarn.mscale_all_dim / 10.0))?;
    }
    attention(config, &mut set)?;
    feed(config, &mut set)?;
    Ok(outline)
}

type Set<'a> = &'a mut dyn FnMut(&str, Setting) -> Result<(), WriteError>;

fn attention(config: &ModelConfig, set: Set<'_>) -> Result<(), WriteError> {
    match config.attention {
        Attention::Grouped { heads, kv_heads, head_dim, clip, .. } => {
            set("attention.head_count", size(heads))?;
            set("attention.head_count_kv", size(kv_heads))?;
            set("attention.key_length", size(head_dim))?;
            set("attention.value_length", size(head_dim))?;
            if let Some(clip) = clip {
                set("attention.clamp_kqv", Setting::Single(clip))?;
            }
        }
        Attention::Latent { heads, q_lora, kv_lora, nope, rope, value } => {
            set("attention.head_count", size(heads))?;
            set("attention.head_count_kv", Setting::U32(1))?;
            set("attention.key_length", size(kv_lora + rope))?;
            set("attention.value_length", size(kv_lora))?;
            set("attention.key_length_mla", size(nope + rope))?;
            set("attention.value_length_mla", size(value))?;
            set("attention.kv_lora_rank", size(kv_lora))?;
            if let Some(q_lora) = q_lora {
                set("attention.q_lora_rank", size(q_lora))?;
            }
        }
    }
    Ok(())
}

fn feed(config: &ModelConfig, set: Set<'_>) -> Result<(), WriteError> {
    match config.family {
        Family::Mixtral | Family::Dbrx => set("feed_forward_length", size(config.inner))?,
        Family::DeepseekV2 | Family::Qwen2Moe => set("expert_feed_forward_length", size(config.inner))?,
    }
    if let Some(dense) = &config.dense {
        set("leading_dense_block_count", size(dense.layers.len()))?;
        set("feed_forward_length", size(dense.inner))?;
    }
    match config.shared {
        Some(shared) if shared.gated => set("expert_shared_feed_forward_length", size(shared.inner)),
        Some(shared) => set("expert_shared_count", size(shared.inner / config.inner)),
        None => Ok(()),
    }
}

fn size(n: usize) -> Setting {
    Setting::U32(u32::try_from(n).unwrap_or(u32::MAX))
}
