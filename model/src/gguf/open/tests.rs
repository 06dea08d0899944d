//! A GGUF file of a checkpoint's weights is the checkpoint: the same configuration, the same values in the same order.

use std::path::{Path, PathBuf};

use std::sync::Arc;

use proptest::prelude::*;

use super::{Opened, open, opened};
use crate::config::ModelConfig;
use crate::error::LoadError;
use crate::gguf::{Gguf, Outline, Setting, Stored, Value};
use crate::layout::lay;
use crate::mapping::Mapping;
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

fn in_memory(files: Vec<Vec<u8>>) -> Result<Opened, LoadError> {
    let mapped = files.into_iter().map(|bytes| (PathBuf::from("a.gguf"), Mapping::Owned(Arc::new(bytes))));
    opened(Path::new("a.gguf"), mapped.collect())
}

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(fixtures().join(name)).unwrap()
}

/// Opens what may be broken, and lays out all that is there.
fn opens_or_refuses(bytes: Vec<u8>) -> bool {
    let Ok(opened) = in_memory(vec![bytes]) else { return false };
    for tensor in tensors(&opened.config) {
        let _ = opened.weights.locate(&opened.config, Naming::Gguf, tensor).and_then(|found| lay(&found));
    }
    true
}

#[test]
fn cut_off_anywhere_it_is_refused() {
    for name in ["gguf/deepseek-old.gguf", "tokenizers/llama/model.gguf"] {
        let all = bytes(name);
        let end = Gguf::parse(Path::new(name), &all).unwrap();
        let end = end.tensors().iter().map(|entry| entry.offset + entry.bytes).max().unwrap();
        for end in (0..end).step_by(61).chain(end - 40..end) {
            assert!(!opens_or_refuses(all[..end].to_vec()), "{name} {end}");
        }
        assert!(opens_or_refuses(all[..end].to_vec()), "{name}");
    }
}

proptest! {
    #[test]
    fn no_change_of_bytes_panics(
        name in proptest::sample::select(vec!["gguf/deepseek-quantised.gguf", "gguf/dbrx.gguf", "tokenizers/qwen2/model.gguf"]),
        changes in proptest::collection::vec((0..14_000usize, any::<u8>()), 1..4),
    ) {
        let mut bytes = bytes(name);
        for (at, to) in changes {
            bytes[at] = to;
        }
        opens_or_refuses(bytes);
    }
}

/// The file written anew in two, with another setting where one is given.
fn halves(name: &str, second: Option<&str>) -> Vec<Vec<u8>> {
    let all = bytes(name);
    let file = Gguf::parse(Path::new(name), &all).unwrap();
    let half = file.tensors().len() / 2;
    let count = u32::try_from(file.tensors().len()).unwrap();
    let mut files = Vec::new();
    for (number, tensors) in [&file.tensors()[..half], &file.tensors()[half..]].into_iter().enumerate() {
        let mut outline = Outline::new("llama");
        if number == 0 {
            for key in file.keys().filter(|key| *key != "general.architecture") {
                let value = match file.setting(key).unwrap() {
                    Value::Unsigned(v) => Setting::U32(u32::try_from(v).unwrap()),
                    Value::Single(v) => Setting::Single(v),
                    Value::Text(v) => Setting::Text(v.to_owned()),
                    Value::Flag(v) => Setting::Flag(v),
                    other => panic!("{other:?}"),
                };
                outline.set(key, value).unwrap();
            }
        }
        outline.set("split.no", Setting::U32(u32::try_from(number).unwrap())).unwrap();
        outline.set("split.count", Setting::U32(2)).unwrap();
        outline.set("split.tensors.count", Setting::U32(count)).unwrap();
        for entry in tensors {
            let Stored::As(dtype) = entry.stored else { panic!("{entry:?}") };
            let name =
                if entry.name == "output_norm.weight" { second.unwrap_or(&entry.name) } else { &entry.name };
            outline.tensor(name, &entry.shape, dtype).unwrap();
        }
        let mut writer = outline.begin(Vec::new()).unwrap();
        for entry in tensors {
            writer.write(&all[entry.offset..entry.offset + entry.bytes]).unwrap();
        }
        files.push(writer.finish().unwrap());
    }
    files
}

#[test]
fn a_set_of_files_is_one_model() {
    let whole = gguf("mixtral.gguf").unwrap();
    let set = in_memory(halves("gguf/mixtral.gguf", None)).unwrap();
    assert_eq!(set.config, whole.config);
    for tensor in tensors(&whole.config) {
        let found = bits(&set.config, &set.weights, Naming::Gguf, tensor);
        assert_eq!(found, bits(&whole.config, &whole.weights, Naming::Gguf, tensor), "{tensor:?}");
    }
    let told = in_memory(halves("gguf/mixtral.gguf", Some("token_embd.weight"))).map(|_| ()).unwrap_err();
    assert!(told.to_string().contains("tensor token_embd.weight is also in"), "{told}");
    assert!(in_memory(halves("gguf/mixtral.gguf", None)[..1].to_vec()).is_err());
}

#[test]
fn sets_are_found_on_disk_by_any_of_their_names() {
    let folder = tempfile::TempDir::new().unwrap();
    let names = ["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"];
    for (name, bytes) in names.into_iter().zip(halves("gguf/mixtral.gguf", None)) {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    }
    for name in names {
        assert_eq!(open(&folder.path().join(name)).unwrap().weights.files().len(), 2);
    }
    std::fs::remove_file(folder.path().join(names[1])).unwrap();
    let error = open(&folder.path().join(names[0])).map(|_| ()).unwrap_err();
    assert!(matches!(error, LoadError::Io { file, .. } if file.ends_with(names[1])));
}

#[test]
fn types_that_are_not_computed_with_are_told_where_a_tensor_is_wanted() {
    let mut bytes = bytes("gguf/mixtral.gguf");
    let name = b"blk.0.attn_output.weight";
    let at = bytes.windows(name.len()).position(|window| window == name).unwrap() + name.len();
    // Two dimensions, and then the type: bf16 becomes i16, which is as wide.
    bytes[at + 4 + 16] = 25;
    let opened = in_memory(vec![bytes]).unwrap();
    let error =
        opened.weights.locate(&opened.config, Naming::Gguf, Tensor::Output(0)).map(|_| ()).unwrap_err();
    assert!(
        matches!(error, LoadError::TensorType { tensor, found, .. } if tensor.as_bytes() == name && found == "i16")
    );
}
