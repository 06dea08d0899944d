//! Random models compute finite values through all their layers, and are the same wherever they are made.

use super::{Like, Synthetic};
use crate::bank::ExpertBank;
use crate::checkpoint::Checkpoint;
use crate::config::{Attention, DenseLayers, Shared};
use crate::decoder::Decoder;
use crate::dtype::ElementType;
use crate::reference::logits;
use crate::rows::Rows;
use crate::split::Existing;

/// A model of the family with few and small layers, whose rows still are whole blocks of 256.
fn small(like: Like, dtype: ElementType) -> Synthetic {
    let mut config = like.config();
    (config.hidden, config.inner, config.vocab, config.layers) = (256, 160, 64, 12);
    (config.experts, config.top_k, config.eos, config.context) = (3, 2, Vec::new(), 4096);
    match &mut config.attention {
        Attention::Grouped { heads, kv_heads, head_dim, .. } => (*heads, *kv_heads, *head_dim) = (4, 2, 64),
        Attention::Latent { heads, kv_lora, nope, rope, value, .. } => {
            (*heads, *kv_lora, *nope, *rope, *value) = (4, 64, 32, 32, 64);
        }
    }
    config.rope.dims = if config.rope.yarn.is_some() { 32 } else { 64 };
    if let Some(dense) = &mut config.dense {
        *dense = DenseLayers { layers: vec![0], inner: 512 };
    }
    if let Some(shared) = &mut config.shared {
        *shared = Shared { inner: 320, ..*shared };
    }
    Synthetic { config, like, dtype, seed: 7 }
}

fn computed(checkpoint: &Checkpoint) -> Rows {
    let decoder = Decoder::load(checkpoint).unwrap();
    let bank = ExpertBank::load(checkpoint, checkpoint.config().all_experts()).unwrap();
    logits(&decoder, &mut &bank, &[1, 2, 3, 5, 8]).unwrap()
}

/// The root mean square of logits, which are finite.
fn spread(rows: &Rows) -> f32 {
    let values: Vec<f32> = rows.iter().flatten().copied().collect();
    assert!(values.iter().all(|value| value.is_finite()));
    let count = f32::from(u16::try_from(values.len()).unwrap());
    (values.iter().map(|value| value * value).sum::<f32>() / count).sqrt()
}

#[test]
fn logits_are_near_one_after_all_layers_in_every_family_and_type() {
    for like in Like::ALL {
        // Making files durable is what takes long here, so only one family is made in every type.
        let all: &[ElementType] = match like {
            Like::Qwen15Moe => &ElementType::ALL,
            _ => &[ElementType::Q4K, ElementType::F16],
        };
        for dtype in all {
            let at = tempfile::tempdir().unwrap();
            let model = small(like, *dtype);
            model.write((at.path(), Existing::Refuse), &|_, _| ()).unwrap();
            let checkpoint = Checkpoint::open(at.path()).unwrap();
            assert_eq!(checkpoint.config(), model.config());
            let spread = spread(&computed(&checkpoint));
            assert!((0.2..5.0).contains(&spread), "{} in {}: {spread}", like.name(), dtype.name());
        }
    }
}

#[test]
fn a_seed_gives_the_same_model_and_another_seed_another() {
    let id = |seed| {
        let at = tempfile::tempdir().unwrap();
        let model = Synthetic { seed, ..small(Like::Qwen15Moe, ElementType::Q4K) };
        model.write((at.path(), Existing::Refuse), &|_, _| ()).unwrap()
    };
    assert_eq!(id(1), id(1));
    assert_ne!(id(1), id(2));
}

#[test]
fn a_gguf_file_tells_the_same_configuration_and_computes() {
    for like in Like::ALL {
        let at = tempfile::tempdir().unwrap();
        let path = at.path().join("model.gguf");
        let model = small(like, ElementType::Q4K);
        model.write_gguf(&path, &|_, _| ()).unwrap();
        let checkpoint = Checkpoint::open(&path).unwrap();
        assert_eq!(checkpoint.config(), model.config(), "{}", like.name());
        assert!((0.2..5.0).contains(&spread(&computed(&checkpoint))), "{}", like.name());
    }
}

#[test]
fn a_depth_without_experts_is_refused() {
    let of = |like, layers| Synthetic::new(like, Some(layers), ElementType::Q4K, 0).map(|m| m.config.layers);
    assert_eq!(of(Like::Qwen15Moe, 1), Ok(1));
    assert_eq!(
        of(Like::DeepseekV2Lite, 1).unwrap_err().to_string(),
        "1 layers; deepseek-v2-lite has 27, and 2 are the fewest with experts"
    );
    assert!(of(Like::Dbrx, 41).is_err());
}

#[test]
fn true_shapes_have_their_published_sizes() {
    let values = |like: Like| {
        let config = like.config();
        3 * config.hidden * config.inner
    };
    assert_eq!(Like::ALL.map(values), [176_160_768, 8_650_752, 8_650_752, 198_180_864]);
}
