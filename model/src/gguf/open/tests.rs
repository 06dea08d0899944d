//! A GGUF file of a checkpoint's weights is the checkpoint: the same configuration, the same values in the same order.

use std::path::{Path, PathBuf};

use super::{Opened, open};
use crate::config::ModelConfig;
use crate::error::LoadError;
use crate::layout::lay;
use crate::names::{Naming, Role, Tensor};
use crate::quant::widen;
use crate::safetensors;
use crate::weights::Weights;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

fn gguf(name: &str) -> Result<Opened, LoadError> {
    open(&fixtures().join("gguf").join(name))
}

fn folder(name: &str) -> (ModelConfig, Weights) {
    let folder = fixtures().join("families").join(name);
    let config = std::fs::read(folder.join("config.json")).unwrap();
    (
        ModelConfig::parse(&folder.join("config.json"), &config, None).unwrap(),
        safetensors::open(&folder).unwrap(),
    )
}

fn tensors(config: &ModelConfig) -> Vec<Tensor> {
    let experts = config.all_experts();
    let experts = experts.flat_map(|(layer, e)| Role::ALL.map(|role| Tensor::Expert(layer, e, role)));
    Tensor::dense(config).into_iter().chain(experts).collect()
}

/// The bits of all values as they are computed with.
fn bits(config: &ModelConfig, weights: &Weights, naming: Naming, tensor: Tensor) -> Vec<u32> {
    let laid = lay(&weights.locate(config, naming, tensor).unwrap()).unwrap();
    let mut values = vec![0f32; laid.shape[0] * laid.shape[1]];
    widen(laid.dtype, laid.bytes.bytes(), &mut values);
    values.iter().map(|v| v.to_bits()).collect()
}

#[test]
fn a_file_of_a_checkpoints_weights_has_its_values() {
    let pairs = [
        ("mixtral.gguf", "mixtral"),
        ("mixtral-old.gguf", "mixtral-tied"),
        ("qwen.gguf", "qwen"),
        ("deepseek-lite.gguf", "deepseek-lite"),
        ("dbrx.gguf", "dbrx"),
    ];
    for (file, checkpoint) in pairs {
        let (mut config, weights) = folder(checkpoint);
        let opened = gguf(file).unwrap();
        config.eos = opened.config.eos.clone();
        assert_eq!(opened.config, config, "{file}");
        for tensor in tensors(&config) {
            let theirs = bits(&config, &weights, Naming::Hf, tensor);
            assert_eq!(bits(&config, &opened.weights, Naming::Gguf, tensor), theirs, "{file} {tensor:?}");
        }
    }
}

#[test]
fn every_tensor_of_quantised_files_is_found() {
    for name in ["mixtral", "qwen", "deepseek", "dbrx"] {
        let opened = gguf(&format!("{name}-quantised.gguf")).unwrap();
        for tensor in tensors(&opened.config) {
            let values = bits(&opened.config, &opened.weights, Naming::Gguf, tensor);
            assert!(values.iter().any(|bits| *bits != 0), "{name} {tensor:?}");
        }
    }
}

#[test]
fn keys_and_values_are_found_in_the_older_tensor() {
    let opened = gguf("deepseek-old.gguf").unwrap();
    assert!(!opened.weights.names().any(|name| name.contains("attn_k_b")));
    for tensor in tensors(&opened.config) {
        bits(&opened.config, &opened.weights, Naming::Gguf, tensor);
    }
}

#[test]
fn a_model_without_experts_is_told_apart() {
    let path = fixtures().join("kinds.gguf");
    let told = open(&path).map(|_| ()).unwrap_err().to_string();
    assert!(told.contains("expert_count is missing, and only a model with experts"), "{told}");
}
