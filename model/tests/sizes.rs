//! What a model's configuration says about its size is what its files hold and what its makers publish.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use std::path::{Path, PathBuf};

use counterfoil_model::{Checkpoint, ElementType, Existing, Like, ModelConfig, Quant, split};
use safetensors::SafeTensors;
use tempfile::TempDir;

const FAMILIES: [&str; 8] = [
    "dbrx",
    "dbrx-plain",
    "deepseek-groups",
    "deepseek-lite",
    "mixtral",
    "mixtral-tied",
    "qwen",
    "qwen-renormalised",
];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/families").join(name)
}

/// (values of all tensors, values of routed experts), by the names and shapes in the files.
fn counted(checkpoint: &Checkpoint) -> (u64, u64) {
    let (mut all, mut experts) = (0, 0);
    for (path, _) in checkpoint.files() {
        let bytes = std::fs::read(path).unwrap();
        for (name, tensor) in SafeTensors::deserialize(&bytes).unwrap().tensors() {
            let values: u64 = tensor.shape().iter().map(|n| u64::try_from(*n).unwrap()).product();
            all += values;
            if name.contains(".experts.") {
                experts += values;
            }
        }
    }
    (all, experts)
}

#[test]
fn parameters_are_the_values_in_the_files() {
    for name in FAMILIES {
        let checkpoint = Checkpoint::open(&fixture(name)).unwrap();
        let found = checkpoint.config().parameters();
        assert_eq!((found.total(), found.experts), counted(&checkpoint), "{name}");
    }
}

#[test]
fn weight_bytes_are_those_of_a_split() {
    for name in FAMILIES {
        let checkpoint = Checkpoint::open(&fixture(name)).unwrap();
        let source = checkpoint.shard(checkpoint.config().moe_layers().last().unwrap(), 0).unwrap();
        let source = source.parts.first().unwrap().dtype;
        for quant in [Quant::Keep, Quant::Q8_0, Quant::Q4K] {
            let at = TempDir::new().unwrap();
            let (_, plan) =
                split(&checkpoint, quant, (&at.path().join("cut"), Existing::Refuse), &|_, _| ()).unwrap();
            let found = checkpoint.config().weight_bytes(quant, source);
            assert_eq!(
                (found.dense, found.experts),
                (plan.dense_bytes, plan.shard_bytes),
                "{name} {quant:?}"
            );
        }
    }
}

fn config(like: Like) -> ModelConfig {
    like.config()
}

#[test]
fn an_expert_of_the_four_models() {
    let expert = |like| config(like).parameters().expert;
    // Three matrices of hidden × inner.
    assert_eq!(expert(Like::Mixtral8x7b), 3 * 4096 * 14_336);
    assert_eq!(expert(Like::DeepseekV2Lite), 3 * 2048 * 1408);
    assert_eq!(expert(Like::Qwen15Moe), 3 * 2048 * 1408);
    assert_eq!(expert(Like::Dbrx), 3 * 6144 * 10_752);
    assert_eq!(Like::ALL.map(|l| (expert(l) + 50_000) / 100_000), [1762, 87, 87, 1982]);
}

/// The counts of the weights on Hugging Face, which their makers round: Mixtral 46.7 and 12.9 ("Mixtral of Experts",
/// Mistral AI, 2023), DeepSeek-V2-Lite 15.7 (its card, which counts 2.4 active without the embeddings), Qwen1.5-MoE 14.3
/// and 2.7 (its card), DBRX 132 and 36 (its card).
#[test]
fn totals_are_those_that_their_makers_publish() {
    let close =
        |found: u64, millions: u64| found.abs_diff(millions * 1_000_000) * 200 <= millions * 1_000_000;
    let published = [(46_700, 12_900), (15_700, 2_660), (14_300, 2_700), (131_600, 36_500)];
    for (like, (total, active)) in Like::ALL.into_iter().zip(published) {
        let found = config(like).parameters();
        assert!(close(found.total(), total) && close(found.active, active), "{} {found:?}", like.name());
    }
    // An embedding and a head of 102,400 × 2,048 values are what the card leaves out.
    let lite = config(Like::DeepseekV2Lite).parameters();
    assert!((2_200_000_000..2_450_000_000).contains(&(lite.active - 2 * 102_400 * 2048)), "{lite:?}");
}

#[test]
fn bytes_follow_the_rows() {
    let bytes = |like, quant| config(like).weight_bytes(quant, ElementType::Bf16).expert;
    let values = 3 * 2048 * 1408;
    assert_eq!(bytes(Like::Qwen15Moe, Quant::Keep), 2 * values);
    assert_eq!(bytes(Like::Qwen15Moe, Quant::Q8_0), values / 32 * 34);
    // Rows of 2048 are blocks of 256 in 144 bytes; rows of 1408 are not, and become blocks of 32 in 22.
    assert_eq!(bytes(Like::Qwen15Moe, Quant::Q4K), values / 3 * 2 / 256 * 144 + values / 3 / 32 * 22);
    assert_eq!(bytes(Like::Mixtral8x7b, Quant::Q4K), 3 * 4096 * 14_336 / 256 * 144);
}
