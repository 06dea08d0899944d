//! The settings of a file, architecture by architecture; a wrong one is named.

use std::path::Path;

use crate::config::{
    Attention, DenseLayers, Family, GateRule, Groups, ModelConfig, NormKind, Pairing, RopeShape, Shared, Yarn,
};
use crate::dtype::ElementType;
use crate::error::LoadError;
use crate::gguf::{Gguf, Outline, Setting};

/// Settings under the architecture's name, and the rows of the embedding.
#[derive(Clone)]
struct Written {
    architecture: &'static str,
    settings: Vec<(&'static str, Setting)>,
    vocab: usize,
    extra: Option<&'static str>,
}

impl Written {
    fn set(mut self, key: &'static str, value: Setting) -> Self {
        self.settings.retain(|(other, _)| *other != key);
        self.settings.push((key, value));
        self
    }

    fn unset(mut self, key: &str) -> Self {
        self.settings.retain(|(other, _)| *other != key);
        self
    }

    fn numbers(mut self, all: &[(&'static str, u32)]) -> Self {
        self.settings.extend(all.iter().map(|(key, number)| (*key, Setting::U32(*number))));
        self
    }

    fn read(&self) -> Result<ModelConfig, LoadError> {
        let mut outline = Outline::new(self.architecture);
        for (key, value) in &self.settings {
            outline.set(&format!("{}.{key}", self.architecture), value.clone()).unwrap();
        }
        let mut bytes = outline.tensor("token_embd.weight", &[self.vocab, 1], ElementType::F16).unwrap();
        if let Some(extra) = self.extra {
            bytes += outline.tensor(extra, &[1], ElementType::F16).unwrap();
        }
        let mut writer = outline.begin(Vec::new()).unwrap();
        writer.write(&vec![0; bytes]).unwrap();
        let bytes = writer.finish().unwrap();
        ModelConfig::of_gguf(&[Gguf::parse(Path::new("a.gguf"), &bytes)?], vec![2])
    }

    fn told(&self) -> String {
        self.read().unwrap_err().to_string()
    }
}

fn written(architecture: &'static str, vocab: usize, eps: &'static str) -> Written {
    let settings = vec![(eps, Setting::Single(1e-6))];
    Written { architecture, settings, vocab, extra: Some("output.weight") }
}

/// Mixtral 8x7B as its files describe it.
fn mixtral() -> Written {
    let file = written("llama", 32_000, "attention.layer_norm_rms_epsilon").numbers(&[
        ("block_count", 32),
        ("context_length", 32_768),
        ("embedding_length", 4096),
        ("feed_forward_length", 14_336),
        ("attention.head_count", 32),
        ("attention.head_count_kv", 8),
        ("expert_count", 8),
        ("expert_used_count", 2),
        ("rope.dimension_count", 128),
    ]);
    file.set("rope.freq_base", Setting::Single(1e6))
}

/// DeepSeek-V2-Lite as newer files describe it.
fn deepseek() -> Written {
    let file = written("deepseek2", 102_400, "attention.layer_norm_rms_epsilon").numbers(&[
        ("block_count", 27),
        ("context_length", 163_840),
        ("embedding_length", 2048),
        ("feed_forward_length", 10_944),
        ("expert_feed_forward_length", 1408),
        ("attention.head_count", 16),
        ("attention.head_count_kv", 1),
        ("attention.key_length", 576),
        ("attention.value_length", 512),
        ("attention.key_length_mla", 192),
        ("attention.value_length_mla", 128),
        ("attention.kv_lora_rank", 512),
        ("expert_count", 64),
        ("expert_used_count", 6),
        ("expert_shared_count", 2),
        ("leading_dense_block_count", 1),
        ("rope.dimension_count", 64),
        ("rope.scaling.original_context_length", 4096),
    ]);
    file.set("rope.freq_base", Setting::Single(1e4))
        .set("rope.scaling.type", Setting::Text("yarn".to_owned()))
        .set("rope.scaling.factor", Setting::Single(40.0))
        .set("rope.scaling.yarn_log_multiplier", Setting::Single(0.0707))
        .set("expert_weights_scale", Setting::Single(1.0))
}

/// Qwen1.5-MoE-A2.7B.
fn qwen() -> Written {
    let file = written("qwen2moe", 151_936, "attention.layer_norm_rms_epsilon").numbers(&[
        ("block_count", 24),
        ("context_length", 8192),
        ("embedding_length", 2048),
        ("feed_forward_length", 5632),
        ("expert_feed_forward_length", 1408),
        ("expert_shared_feed_forward_length", 5632),
        ("attention.head_count", 16),
        ("attention.head_count_kv", 16),
        ("expert_count", 60),
        ("expert_used_count", 4),
    ]);
    file.set("rope.freq_base", Setting::Single(1e6))
}

/// DBRX.
fn dbrx() -> Written {
    let file = written("dbrx", 100_352, "attention.layer_norm_epsilon").numbers(&[
        ("block_count", 40),
        ("context_length", 32_768),
        ("embedding_length", 6144),
        ("feed_forward_length", 10_752),
        ("attention.head_count", 48),
        ("attention.head_count_kv", 8),
        ("expert_count", 16),
        ("expert_used_count", 4),
    ]);
    file.set("rope.freq_base", Setting::Single(5e5)).set("attention.clamp_kqv", Setting::Single(8.0))
}

#[test]
fn mixtral_is_read() {
    let expected = ModelConfig {
        family: Family::Mixtral,
        hidden: 4096,
        layers: 32,
        vocab: 32_000,
        context: 32_768,
        norm_eps: 1e-6,
        tied: false,
        eos: vec![2],
        attention: Attention::Grouped { heads: 32, kv_heads: 8, head_dim: 128, bias: false, clip: None },
        rope: RopeShape { theta: 1e6, dims: 128, pairing: Pairing::Halves, yarn: None },
        norm: NormKind::Rms,
        inner: 14_336,
        experts: 8,
        top_k: 2,
        gate: GateRule { normalise: true, scale: 1.0, groups: None },
        dense: None,
        shared: None,
    };
    assert_eq!(mixtral().read().unwrap(), expected);
    let tied = Written { extra: None, ..mixtral() };
    assert_eq!(tied.read().unwrap(), ModelConfig { tied: true, ..expected.clone() });
    let each = mixtral().set("feed_forward_length", Setting::Integers(vec![14_336; 32]));
    assert_eq!(each.read().unwrap(), expected);
}

#[test]
fn yarn_without_a_logarithm_multiplier_is_that_of_llama_cpp() {
    let silent = deepseek().unset("rope.scaling.yarn_log_multiplier").read().unwrap().rope;
    let yarn = silent.yarn.unwrap();
    assert_eq!((yarn.mscale.to_bits(), yarn.mscale_all_dim.to_bits()), (0f64.to_bits(), 1f64.to_bits()));
    // Both are `1 + 0.1 ln 40` there, and the softmax scale takes its square.
    assert_eq!(silent.softmax_factor().to_bits(), 1.873_854_207_092_626_5_f64.to_bits());
    let zero = deepseek().set("rope.scaling.yarn_log_multiplier", Setting::Single(0.0));
    assert_eq!(zero.read().unwrap().rope, silent);
    let factor = deepseek().set("rope.scaling.attn_factor", Setting::Single(0.5)).told();
    assert!(factor.contains("rope.scaling.attn_factor is 0.5, and only 1 is supported"), "{factor}");
}

#[test]
fn deepseek_v2_lite_is_read_from_newer_and_older_files() {
    let yarn = Yarn {
        factor: 40.0,
        original: 4096,
        beta_fast: 32.0,
        beta_slow: 1.0,
        mscale: 0.707,
        mscale_all_dim: 0.707,
    };
    let read = deepseek().read().unwrap();
    assert_eq!(
        read.attention,
        Attention::Latent { heads: 16, q_lora: None, kv_lora: 512, nope: 128, rope: 64, value: 128 }
    );
    assert_eq!(
        read.rope,
        RopeShape { theta: 1e4, dims: 64, pairing: Pairing::Interleaved, yarn: Some(yarn) }
    );
    assert_eq!(read.gate, GateRule { normalise: false, scale: 1.0, groups: None });
    assert_eq!(read.dense, Some(DenseLayers { layers: vec![0], inner: 10_944 }));
    assert_eq!(read.shared, Some(Shared { inner: 2816, gated: false }));
    assert_eq!((read.inner, read.experts, read.top_k), (1408, 64, 6));
    let older = deepseek()
        .unset("attention.key_length_mla")
        .unset("attention.value_length_mla")
        .set("attention.key_length", Setting::U32(192))
        .set("attention.value_length", Setting::U32(128))
        .set("attention.head_count_kv", Setting::U32(16));
    assert_eq!(older.read().unwrap(), read);
}

#[test]
fn groups_are_read_where_some_are_left_out() {
    let groups = |count, used| {
        let file = deepseek().numbers(&[("expert_group_count", count), ("expert_group_used_count", used)]);
        file.read().map(|config| config.gate.groups).map_err(|e| e.to_string())
    };
    assert_eq!(groups(8, 3), Ok(Some(Groups { groups: 8, kept: 3 })));
    assert_eq!(groups(1, 1), Ok(None));
    assert_eq!(groups(8, 8), Ok(None));
    assert!(groups(7, 3).unwrap_err().contains("64 experts are not 7 equal groups"));
}

#[test]
fn qwen_is_read() {
    let read = qwen().read().unwrap();
    assert_eq!((read.family, read.norm), (Family::Qwen2Moe, NormKind::Rms));
    assert_eq!(
        read.attention,
        Attention::Grouped { heads: 16, kv_heads: 16, head_dim: 128, bias: true, clip: None }
    );
    assert_eq!(read.rope.pairing, Pairing::Halves);
    assert_eq!(read.gate, GateRule { normalise: false, scale: 1.0, groups: None });
    assert_eq!((read.inner, read.shared), (1408, Some(Shared { inner: 5632, gated: true })));
    let older = qwen().unset("expert_feed_forward_length").unset("expert_shared_feed_forward_length");
    assert_eq!(older.read().unwrap(), read);
}

#[test]
fn dbrx_is_read() {
    let read = dbrx().read().unwrap();
    assert_eq!((read.family, read.norm), (Family::Dbrx, NormKind::Layer));
    assert_eq!(
        read.attention,
        Attention::Grouped { heads: 48, kv_heads: 8, head_dim: 128, bias: false, clip: Some(8.0) }
    );
    assert_eq!(read.rope.theta.to_bits(), 5e5f64.to_bits());
    assert_eq!(read.gate, GateRule { normalise: true, scale: 1.0, groups: None });
}

#[test]
fn what_is_not_computed_is_refused_by_name() {
    let has = |file: Written, reason: &str| assert!(file.told().contains(reason), "{}", file.told());
    has(Written { architecture: "mamba", ..mixtral() }, "general.architecture is mamba");
    has(mixtral().unset("expert_count"), "expert_count is missing");
    has(mixtral().set("expert_count", Setting::U32(0)), "expert_count is 0");
    has(mixtral().numbers(&[("expert_gating_func", 2)]), "expert_gating_func is 2");
    has(mixtral().set("expert_weights_norm", Setting::Flag(false)), "expert_weights_norm is false");
    has(deepseek().set("expert_weights_norm", Setting::Flag(true)), "expert_weights_norm is true");
    has(mixtral().numbers(&[("attention.sliding_window", 4096)]), "attention.sliding_window is 4096");
    has(
        mixtral().set("rope.scaling.type", Setting::Text("linear".to_owned())),
        "rope.scaling.type is linear",
    );
    has(mixtral().set("rope.scaling.type", Setting::Text("yarn".to_owned())), "rope.scaling.type is yarn");
    has(mixtral().numbers(&[("attention.value_length", 64)]), "attention.value_length is 64");
    has(Written { extra: Some("rope_freqs.weight"), ..mixtral() }, "rope_freqs.weight is present");
}

#[test]
fn settings_that_are_missing_or_absurd_are_refused_by_name() {
    let has = |file: Written, reason: &str| assert!(file.told().contains(reason), "{}", file.told());
    for key in
        ["block_count", "context_length", "embedding_length", "attention.head_count", "expert_used_count"]
    {
        has(mixtral().unset(key), &format!("llama.{key} is missing"));
    }
    has(deepseek().unset("attention.kv_lora_rank"), "deepseek2.attention.kv_lora_rank is missing");
    has(deepseek().unset("rope.scaling.factor"), "deepseek2.rope.scaling.factor is missing");
    has(mixtral().set("block_count", Setting::U32(u32::MAX)), "block_count is 4294967295, more than");
    has(mixtral().set("expert_count", Setting::U32(1 << 20)), "expert_count is 1048576, more than");
    has(mixtral().set("expert_used_count", Setting::U32(9)), "top_k is 9, more than");
    has(mixtral().set("embedding_length", Setting::U32(0)), "embedding_length is 0");
    has(
        mixtral().set("block_count", Setting::Text("32".to_owned())),
        "llama.block_count is not a whole number",
    );
    has(mixtral().set("rope.freq_base", Setting::Single(f32::NAN)), "rope_theta NaN");
    has(
        mixtral().set("attention.head_count", Setting::Integers(vec![32, 16])),
        "is not one whole number for all layers",
    );
    has(
        deepseek().set("rope.dimension_count", Setting::U32(200)),
        "200 of a key's 192 values are to be rotated",
    );
    has(Written { vocab: 1 << 21, ..mixtral() }, "vocabulary is 2097152, more than");
}
