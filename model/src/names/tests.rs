//! Where Hugging Face checkpoints keep tensors that are more than a name.

use super::*;
use crate::config::{Family, GateRule, NormKind, Pairing, RopeShape, Shared};

fn config(family: Family, attention: Attention, shared: Option<Shared>) -> ModelConfig {
    ModelConfig {
        family,
        hidden: 8,
        layers: 2,
        vocab: 10,
        context: 16,
        norm_eps: 1e-5,
        tied: false,
        eos: Vec::new(),
        attention,
        rope: RopeShape { theta: 1e4, dims: 2, pairing: Pairing::Halves, yarn: None },
        norm: NormKind::Rms,
        inner: 6,
        experts: 4,
        top_k: 2,
        gate: GateRule { normalise: true, scale: 1.0, groups: None },
        dense: None,
        shared,
    }
}

fn dbrx() -> ModelConfig {
    let attention = Attention::Grouped { heads: 4, kv_heads: 2, head_dim: 2, bias: false, clip: Some(8.0) };
    config(Family::Dbrx, attention, None)
}

fn deepseek() -> ModelConfig {
    let attention = Attention::Latent { heads: 3, q_lora: None, kv_lora: 5, nope: 4, rope: 2, value: 7 };
    config(Family::DeepseekV2, attention, Some(Shared { inner: 12, gated: false }))
}

#[test]
fn queries_keys_and_values_of_dbrx_lie_in_one_tensor() {
    let cut = |tensor| {
        let place = hf::place(&dbrx(), tensor);
        assert_eq!(place.name, "transformer.blocks.1.norm_attn_norm.attn.Wqkv.weight");
        assert_eq!((place.shape, place.transposed), (vec![16, 8], false));
        place.cut
    };
    assert_eq!(cut(Tensor::Query(1)), Cut::Range { first: 0, count: 8 });
    assert_eq!(cut(Tensor::Key(1)), Cut::Range { first: 8, count: 4 });
    assert_eq!(cut(Tensor::Value(1)), Cut::Range { first: 12, count: 4 });
}

#[test]
fn experts_of_dbrx_lie_in_one_tensor_and_the_last_is_turned() {
    let place = |role| hf::place(&dbrx(), Tensor::Expert(0, 3, role));
    for (role, name) in [(Role::Gate, "w1"), (Role::Up, "v1"), (Role::Down, "w2")] {
        let place = place(role);
        assert_eq!(place.name, format!("transformer.blocks.0.ffn.experts.mlp.{name}"));
        assert_eq!((place.shape, place.cut), (vec![24, 8], Cut::Range { first: 18, count: 6 }));
        assert_eq!(place.transposed, role == Role::Down);
    }
}

#[test]
fn keys_and_values_of_the_latent_lie_in_turn_by_head() {
    let config = deepseek();
    let (key, value) = (Tensor::LatentKey(0), Tensor::LatentValue(0));
    assert_eq!((key.shape(&config), value.shape(&config)), ([15, 4], [21, 5]));
    let (key, value) = (hf::place(&config, key), hf::place(&config, value));
    for place in [&key, &value] {
        assert_eq!(place.name, "model.layers.0.self_attn.kv_b_proj.weight");
        assert_eq!(place.shape, [33, 5]);
    }
    assert_eq!((key.cut, key.transposed), (Cut::Bands { bands: 3, height: 11, first: 0, count: 4 }, true));
    assert_eq!(
        (value.cut, value.transposed),
        (Cut::Bands { bands: 3, height: 11, first: 4, count: 7 }, false)
    );
}

#[test]
fn a_layer_has_the_tensors_of_its_kind() {
    let mut config = deepseek();
    config.dense = Some(crate::config::DenseLayers { layers: vec![0], inner: 20 });
    let all = Tensor::dense(&config);
    assert!(all.contains(&Tensor::Dense(0, Role::Up)) && !all.contains(&Tensor::Gate(0)));
    assert!(all.contains(&Tensor::Shared(1, Role::Up)) && all.contains(&Tensor::Gate(1)));
    assert!(!all.contains(&Tensor::Dense(1, Role::Up)) && !all.contains(&Tensor::SharedGate(1)));
    assert!(!all.contains(&Tensor::Key(1)) && !all.contains(&Tensor::QueryLatent(1)));
    assert_eq!(Tensor::Dense(0, Role::Down).shape(&config), [8, 20]);
    assert_eq!(Tensor::Shared(1, Role::Gate).shape(&config), [12, 8]);
}
