//! Configurations of the four families, as their published checkpoints write them, and what is not computed of them.

use std::path::Path;

use serde_json::{Value, json};

use super::*;
use crate::error::LoadError;

fn parse(config: &Value) -> Result<ModelConfig, LoadError> {
    ModelConfig::parse(Path::new("config.json"), config.to_string().as_bytes(), None)
}

fn refused(mut config: Value, change: &Value) -> String {
    let members = config.as_object_mut().unwrap();
    for (key, value) in change.as_object().unwrap() {
        match (members.get_mut(key), value) {
            (Some(Value::Object(inner)), Value::Object(changed)) => inner.extend(changed.clone()),
            _ => drop(members.insert(key.clone(), value.clone())),
        }
    }
    parse(&config).unwrap_err().to_string()
}

fn mixtral() -> Value {
    json!({
        "model_type": "mixtral", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 8, "num_local_experts": 8, "num_experts_per_tok": 2,
        "vocab_size": 32000, "max_position_embeddings": 32768, "rms_norm_eps": 1e-5, "rope_theta": 1e6,
        "hidden_act": "silu", "sliding_window": null, "eos_token_id": 2, "tie_word_embeddings": false
    })
}

fn deepseek() -> Value {
    json!({
        "model_type": "deepseek_v2", "hidden_size": 2048, "intermediate_size": 10944, "moe_intermediate_size": 1408,
        "num_hidden_layers": 27, "num_attention_heads": 16, "num_key_value_heads": 16, "q_lora_rank": null,
        "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128,
        "first_k_dense_replace": 1, "moe_layer_freq": 1, "n_shared_experts": 2, "n_routed_experts": 64,
        "num_experts_per_tok": 6, "routed_scaling_factor": 1.0, "topk_method": "greedy", "n_group": 1,
        "topk_group": 1, "norm_topk_prob": false, "scoring_func": "softmax", "attention_bias": false,
        "vocab_size": 102_400, "max_position_embeddings": 163_840, "rms_norm_eps": 1e-6, "hidden_act": "silu",
        "rope_theta": 10000, "rope_scaling": {
            "type": "yarn", "factor": 40, "original_max_position_embeddings": 4096, "beta_fast": 32,
            "beta_slow": 1, "mscale": 0.707, "mscale_all_dim": 0.707
        }
    })
}

fn qwen() -> Value {
    json!({
        "model_type": "qwen2_moe", "hidden_size": 2048, "intermediate_size": 5632, "moe_intermediate_size": 1408,
        "shared_expert_intermediate_size": 5632, "num_hidden_layers": 24, "num_attention_heads": 16,
        "num_key_value_heads": 16, "num_experts": 60, "num_experts_per_tok": 4, "norm_topk_prob": false,
        "decoder_sparse_step": 1, "vocab_size": 151_936, "max_position_embeddings": 8192, "rms_norm_eps": 1e-6,
        "rope_theta": 1_000_000.0, "hidden_act": "silu", "use_sliding_window": false, "sliding_window": 32768,
        "eos_token_id": 151_643
    })
}

fn dbrx() -> Value {
    json!({
        "model_type": "dbrx", "d_model": 6144, "n_heads": 48, "n_layers": 40, "max_seq_len": 32768,
        "vocab_size": 100_352, "attn_config": {"clip_qkv": 8, "kv_n_heads": 8, "rope_theta": 500_000},
        "ffn_config": {"ffn_hidden_size": 10752, "moe_num_experts": 16, "moe_top_k": 4, "moe_jitter_eps": 0},
        "tie_word_embeddings": false
    })
}

#[test]
fn mixtral_8x7b() {
    let config = parse(&mixtral()).unwrap();
    let attention = Attention::Grouped { heads: 32, kv_heads: 8, head_dim: 128, bias: false, clip: None };
    assert_eq!((config.family, config.attention, config.norm), (Family::Mixtral, attention, NormKind::Rms));
    assert_eq!(config.gate, GateRule { normalise: true, scale: 1.0, groups: None });
    assert_eq!((config.inner, config.experts, config.top_k), (14336, 8, 2));
    assert_eq!((config.dense, config.shared, config.eos), (None, None, vec![2]));
}

#[test]
fn deepseek_v2_lite() {
    let config = parse(&deepseek()).unwrap();
    let attention =
        Attention::Latent { heads: 16, q_lora: None, kv_lora: 512, nope: 128, rope: 64, value: 128 };
    assert_eq!((config.family, &config.attention), (Family::DeepseekV2, &attention));
    assert_eq!(config.dense, Some(DenseLayers { layers: vec![0], inner: 10944 }));
    assert_eq!(config.shared, Some(Shared { inner: 2816, gated: false }));
    assert_eq!(config.gate, GateRule { normalise: false, scale: 1.0, groups: None });
    let yarn = Yarn {
        factor: 40.0,
        original: 4096,
        beta_fast: 32.0,
        beta_slow: 1.0,
        mscale: 0.707,
        mscale_all_dim: 0.707,
    };
    let rope = RopeShape { theta: 1e4, dims: 64, pairing: Pairing::Interleaved, yarn: Some(yarn) };
    assert_eq!(config.rope, rope);
    assert_eq!(config.moe_layers().collect::<Vec<_>>(), (1..27).collect::<Vec<_>>());
    assert_eq!(config.all_experts().count(), 26 * 64);
    assert_eq!(
        (config.has_expert(0, 0), config.has_expert(1, 63), config.has_expert(1, 64)),
        (false, true, false)
    );
}

#[test]
fn yarn_is_read_from_either_place() {
    let mut other = deepseek();
    let members = other.as_object_mut().unwrap();
    let mut scaling = members.remove("rope_scaling").unwrap();
    let theta = members.remove("rope_theta").unwrap();
    let kind = scaling.as_object_mut().unwrap().remove("type").unwrap();
    scaling
        .as_object_mut()
        .unwrap()
        .extend([("rope_type".to_owned(), kind), ("rope_theta".to_owned(), theta)]);
    members.insert("rope_parameters".to_owned(), scaling);
    assert_eq!(parse(&other).unwrap(), parse(&deepseek()).unwrap());
    let disagreeing = json!({"rope_parameters": {"rope_type": "default"}});
    assert_eq!(refused(deepseek(), &disagreeing), "config.json: rope_parameters and rope_scaling disagree");
}

#[test]
fn the_type_of_rotation_may_be_written_under_both_of_its_names() {
    let mut both = deepseek();
    both["rope_scaling"]["rope_type"] = json!("yarn");
    assert_eq!(parse(&both).unwrap(), parse(&deepseek()).unwrap());
    let mut plain = mixtral();
    plain["rope_parameters"] = json!({"type": "default", "rope_type": "default", "rope_theta": 1e6});
    assert_eq!(parse(&plain).unwrap(), parse(&mixtral()).unwrap());
    assert_eq!(
        refused(deepseek(), &json!({"rope_scaling": {"rope_type": "default"}})),
        "config.json: rotation has the rope_type default and the type yarn"
    );
}

#[test]
fn groups_of_the_larger_sibling() {
    let mut config = deepseek();
    let larger = json!({
        "topk_method": "group_limited_greedy", "n_group": 8, "topk_group": 3, "routed_scaling_factor": 16.0,
        "q_lora_rank": 1536
    });
    config.as_object_mut().unwrap().extend(larger.as_object().unwrap().clone());
    let parsed = parse(&config).unwrap();
    let groups = Some(Groups { groups: 8, kept: 3 });
    assert_eq!(parsed.gate, GateRule { normalise: false, scale: 16.0, groups });
    assert!(matches!(parsed.attention, Attention::Latent { q_lora: Some(1536), .. }));
    assert_eq!(
        refused(config.clone(), &json!({"n_group": 7})),
        "config.json: 64 experts are not 7 equal groups"
    );
    assert_eq!(
        refused(config, &json!({"n_group": 64, "topk_group": 5})),
        "config.json: 6 of 5 experts in 5 groups are wanted"
    );
}

#[test]
fn qwen15_moe() {
    let config = parse(&qwen()).unwrap();
    let attention = Attention::Grouped { heads: 16, kv_heads: 16, head_dim: 128, bias: true, clip: None };
    assert_eq!((config.family, &config.attention), (Family::Qwen2Moe, &attention));
    assert_eq!(config.shared, Some(Shared { inner: 5632, gated: true }));
    assert_eq!((config.inner, config.experts, config.top_k, config.dense), (1408, 60, 4, None));
    assert!(!config.gate.normalise);
}

#[test]
fn layers_without_experts_are_listed_or_skipped_by_a_step() {
    let dense = |change: Value| {
        let mut config = qwen();
        config.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        parse(&config).unwrap().dense.map(|dense| dense.layers)
    };
    assert_eq!(dense(json!({"mlp_only_layers": [3, 1]})), Some(vec![1, 3]));
    assert_eq!(dense(json!({"decoder_sparse_step": 12})), Some((0..24).filter(|l| l % 12 != 11).collect()));
    assert_eq!(refused(qwen(), &json!({"decoder_sparse_step": 25})), "config.json: no layer has experts");
}

#[test]
fn dbrx_instruct() {
    let config = parse(&dbrx()).unwrap();
    let attention =
        Attention::Grouped { heads: 48, kv_heads: 8, head_dim: 128, bias: false, clip: Some(8.0) };
    assert_eq!((config.family, config.attention, config.norm), (Family::Dbrx, attention, NormKind::Layer));
    let rope = RopeShape { theta: 5e5, dims: 128, pairing: Pairing::Halves, yarn: None };
    assert_eq!((config.rope, config.gate.normalise), (rope, true));
    assert_eq!((config.norm_eps.to_bits(), config.inner, config.top_k), (1e-5_f32.to_bits(), 10752, 4));
}

#[test]
fn the_base_of_dbrx_is_the_one_in_attn_config() {
    let mut config = dbrx();
    let written = json!({"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}});
    config.as_object_mut().unwrap().extend(written.as_object().unwrap().clone());
    assert_eq!(parse(&config).unwrap(), parse(&dbrx()).unwrap());
    config["attn_config"].as_object_mut().unwrap().remove("rope_theta");
    assert!((parse(&config).unwrap().rope.theta - 1e4).abs() < 1e-9);
}

#[test]
fn dbrx_leaves_out_what_is_its_default() {
    let mut config = dbrx();
    config["ffn_config"] = json!({});
    config["attn_config"] = json!({});
    let parsed = parse(&config).unwrap();
    assert_eq!((parsed.inner, parsed.experts, parsed.top_k, parsed.gate.normalise), (3584, 4, 1, true));
    assert!(matches!(parsed.attention, Attention::Grouped { kv_heads: 1, clip: None, .. }));
    config["ffn_config"] = json!({"moe_normalize_expert_weights": null});
    assert!(!parse(&config).unwrap().gate.normalise);
}

#[test]
fn what_is_left_out_is_what_transformers_takes_and_null_is_not_left_out() {
    let without = |mut config: Value, key: &str| {
        config.as_object_mut().unwrap().remove(key);
        parse(&config).unwrap()
    };
    let with = |mut config: Value, key: &str, value: Value| {
        config[key] = value;
        parse(&config).unwrap()
    };
    let kv_heads = |config: ModelConfig| config.attention.kv_heads();
    assert_eq!(kv_heads(without(mixtral(), "num_key_value_heads")), 8);
    assert_eq!(kv_heads(with(mixtral(), "num_key_value_heads", Value::Null)), 32);
    let mut many = qwen();
    many["num_attention_heads"] = json!(32);
    assert_eq!(kv_heads(without(many, "num_key_value_heads")), 16);
    let query = |config: ModelConfig| match config.attention {
        Attention::Latent { q_lora, .. } => q_lora,
        Attention::Grouped { .. } => panic!("{config:?}"),
    };
    assert_eq!(
        (query(without(deepseek(), "q_lora_rank")), query(parse(&deepseek()).unwrap())),
        (Some(1536), None)
    );
    let shared = without(deepseek(), "n_shared_experts").shared;
    assert_eq!(shared, Some(Shared { inner: 2816, gated: false }));
    for key in ["routed_scaling_factor", "topk_method"] {
        assert_eq!(without(deepseek(), key), parse(&deepseek()).unwrap());
    }
    assert_eq!(without(mixtral(), "eos_token_id").eos, [2]);
    assert_eq!(with(mixtral(), "eos_token_id", Value::Null).eos, Vec::<u32>::new());
    assert_eq!((parse(&deepseek()).unwrap().eos, without(qwen(), "eos_token_id").eos), (vec![2], vec![]));
}

#[test]
fn null_is_refused_where_transformers_knows_no_none() {
    let malformed = |config: Value, change: Value| {
        let message = refused(config, &change);
        assert!(message.contains("invalid type: null"), "{message}");
    };
    malformed(qwen(), json!({"num_key_value_heads": null}));
    malformed(deepseek(), json!({"n_shared_experts": null}));
    malformed(deepseek(), json!({"first_k_dense_replace": null}));
    malformed(deepseek(), json!({"topk_method": null}));
}

#[test]
fn what_is_not_computed_is_refused_by_its_key() {
    let only = |config: Value, change: Value, expected: &str| {
        let (key, found) = change.as_object().unwrap().iter().next().unwrap();
        let found = match found {
            Value::Object(inner) => inner.values().next().unwrap().clone(),
            other => other.clone(),
        };
        let found = found.to_string().replace('"', "");
        let message = refused(config, &change);
        let wanted = format!(" is {found}, and only {expected} is supported; use another checkpoint");
        assert!(message.starts_with("config.json: ") && message.ends_with(&wanted), "{key}: {message}");
    };
    only(mixtral(), json!({"attention_bias": true}), "false");
    only(mixtral(), json!({"rope_scaling": {"type": "linear"}}), "default");
    only(deepseek(), json!({"norm_topk_prob": true}), "false");
    only(deepseek(), json!({"moe_layer_freq": 2}), "1");
    only(deepseek(), json!({"scoring_func": "sigmoid"}), "softmax");
    only(deepseek(), json!({"topk_method": "noaux_tc"}), "greedy or group_limited_greedy");
    only(deepseek(), json!({"attention_bias": true}), "false");
    only(deepseek(), json!({"mlp_bias": true}), "false");
    only(deepseek(), json!({"num_key_value_heads": 8}), "16");
    only(deepseek(), json!({"rope_scaling": {"type": "dynamic"}}), "default or yarn");
    only(deepseek(), json!({"rope_scaling": {"attention_factor": 2}}), "null");
    only(deepseek(), json!({"rope_scaling": {"truncate": false}}), "true");
    only(qwen(), json!({"use_sliding_window": true}), "false");
    only(qwen(), json!({"hidden_act": "gelu"}), "silu");
    only(qwen(), json!({"rope_scaling": {"type": "yarn"}}), "default");
    only(dbrx(), json!({"tie_word_embeddings": true}), "false");
    only(dbrx(), json!({"ffn_config": {"moe_normalize_expert_weights": 2.0}}), "1.0");
}

#[test]
fn numbers_that_cannot_be_are_refused() {
    let reason = |config: Value, change: Value| refused(config, &change);
    assert_eq!(
        reason(deepseek(), json!({"qk_rope_head_dim": 63})),
        "config.json: 16 heads of 63 values cannot be rotated"
    );
    assert_eq!(
        reason(deepseek(), json!({"routed_scaling_factor": -1.0})),
        "config.json: a gate's scale of -1 is not a positive number"
    );
    assert_eq!(
        reason(deepseek(), json!({"rope_scaling": {"factor": 0.5}})),
        "config.json: yarn's factor 0.5 is not from 1 to 65536"
    );
    assert_eq!(
        reason(deepseek(), json!({"rope_scaling": {"beta_fast": 0.5}})),
        "config.json: yarn's beta_fast 0.5 and beta_slow 1 are no range of turns"
    );
    assert_eq!(reason(deepseek(), json!({"first_k_dense_replace": 27})), "config.json: no layer has experts");
    assert_eq!(
        reason(deepseek(), json!({"n_shared_experts": 1000})),
        "config.json: n_shared_experts is 1408000, more than the limit of 1048576"
    );
    assert_eq!(
        reason(dbrx(), json!({"attn_config": {"clip_qkv": 0}})),
        "config.json: values cannot be cut to ±0"
    );
    assert_eq!(
        reason(dbrx(), json!({"n_heads": 7000})),
        "config.json: 7000 heads of 0 values cannot be rotated"
    );
}
