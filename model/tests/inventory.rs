//! What is said of a model before it is loaded, whole or not.

use std::path::{Path, PathBuf};

use counterfoil_model::{Checkpoint, Decoder, Fit, Inventory};
use tempfile::TempDir;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

#[test]
fn sizes_are_those_of_the_files() {
    let found = Inventory::open(&fixture("tiny-mixtral")).unwrap();
    let checkpoint = Checkpoint::open(&fixture("tiny-mixtral")).unwrap();
    assert_eq!(found.config, *checkpoint.config());
    assert_eq!(found.expert_bytes(), 3 * 64 * 32 * 4);
    assert_eq!(found.experts_bytes(), checkpoint.manifest().shard_bytes());
    assert_eq!(found.layers.iter().map(|layer| layer.experts).collect::<Vec<_>>(), [5, 5, 5]);
    assert_eq!(
        found.missing,
        [
            "tokenizer: it computes logits and cannot talk",
            "chat template: it completes text and holds no conversation"
        ]
    );
    assert!(Decoder::load(&checkpoint).is_ok());
}

#[test]
fn a_node_holds_whole_experts() {
    let found = Inventory::open(&fixture("tiny-mixtral")).unwrap();
    let expert = found.expert_bytes();
    assert_eq!(found.fit(7 * expert), Fit { experts: 7, layers: 1, nodes: Some(3) });
    assert_eq!(found.fit(15 * expert), Fit { experts: 15, layers: 3, nodes: Some(1) });
    assert_eq!(found.fit(expert - 1), Fit { experts: 0, layers: 0, nodes: None });
}

#[test]
fn a_file_that_is_not_there_is_named_with_what_would_be_in_it() {
    let folder = TempDir::new().unwrap();
    std::fs::copy(fixture("tiny-mixtral/config.json"), folder.path().join("config.json")).unwrap();
    let found = Inventory::open(folder.path()).unwrap();
    let file = format!("file {}", folder.path().join("model.safetensors").display());
    assert_eq!(found.missing.first(), Some(&file));
    assert_eq!(found.missing.get(1).map(String::as_str), Some("tensor model.embed_tokens.weight"));
    assert_eq!((found.experts_bytes(), found.fit(1 << 40).nodes), (0, None));
}

#[test]
fn the_embedded_model_lacks_nothing() {
    assert_eq!(Inventory::guide().unwrap().missing, Vec::<String>::new());
}

#[test]
fn gguf_files_tell_their_element_types() {
    let found = Inventory::open(&fixture("gguf/qwen-quantised.gguf")).unwrap();
    assert!(found.types.iter().any(|size| size.of_experts && !size.dtype.is_float()), "{:?}", found.types);
    assert_eq!(found.container, "gguf");
}
