//! What is in a folder beyond the model, and what of it is not whole, is named.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot be set up fails")]

use std::path::{Path, PathBuf};

use counterfoil_model::{Checkpoint, Existing, LoadError, Quant, split};
use serde_json::{Value, json};
use tempfile::TempDir;

fn family(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/families").join(name)
}

/// What opening a family's folder says with one setting changed.
fn changed(name: &str, key: &str, value: Value) -> Result<Checkpoint, String> {
    let folder = TempDir::new().unwrap();
    for entry in std::fs::read_dir(family(name)).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    let file = folder.path().join("config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    config.as_object_mut().unwrap().insert(key.to_owned(), value);
    std::fs::write(&file, config.to_string()).unwrap();
    Checkpoint::open(folder.path()).map_err(|e| e.to_string())
}

fn refused(name: &str, key: &str, value: Value) -> String {
    changed(name, key, value).err().unwrap()
}

#[test]
fn a_tensor_that_nothing_would_be_computed_with_is_refused() {
    for (name, key, value, tensor) in [
        ("mixtral", "num_hidden_layers", json!(1), "model.layers.1.block_sparse_moe.experts.0.w1.weight"),
        ("mixtral", "num_local_experts", json!(3), "model.layers.0.block_sparse_moe.experts.3.w1.weight"),
        ("mixtral", "tie_word_embeddings", json!(true), "lm_head.weight"),
        ("deepseek-lite", "n_shared_experts", json!(0), "model.layers.1.mlp.shared_experts.down_proj.weight"),
        ("qwen", "qkv_bias", json!(false), "model.layers.0.self_attn.k_proj.bias"),
    ] {
        let said = refused(name, key, value);
        assert!(said.contains(&format!("tensor {tensor}")), "{name} {key}: {said}");
        assert!(said.contains("has no place in the model that the configuration describes"), "{said}");
    }
    assert!(
        changed("mixtral", "tie_word_embeddings", json!(false)).is_ok_and(|c| c.name().starts_with(".tmp"))
    );
}

fn header(tensor: Value, data: usize) -> String {
    let folder = TempDir::new().unwrap();
    std::fs::copy(family("mixtral").join("config.json"), folder.path().join("config.json")).unwrap();
    let text = json!({ "first": { "dtype": "F32", "shape": [2], "data_offsets": [0, 8] }, "second": tensor });
    let text = text.to_string();
    let mut bytes = u64::try_from(text.len()).unwrap().to_le_bytes().to_vec();
    bytes.extend_from_slice(text.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    std::fs::write(folder.path().join("model.safetensors"), bytes).unwrap();
    match Checkpoint::open(folder.path()).err().unwrap() {
        LoadError::Malformed { file, reason } if file.ends_with("model.safetensors") => reason,
        other => panic!("{other}"),
    }
}

#[test]
fn a_wrong_header_names_its_tensor() {
    let with = |dtype: &str, shape: Value, offsets: Value| {
        header(json!({ "dtype": dtype, "shape": shape, "data_offsets": offsets }), 16)
    };
    assert_eq!(
        with("F32", json!([3]), json!([8, 16])),
        "tensor second of type \"F32\" and shape [3] cannot have bytes 8 to 16 of 16"
    );
    assert_eq!(
        with("F32", json!([u64::MAX, 4]), json!([8, 16])),
        format!("tensor second of type \"F32\" and shape [{}, 4] cannot have bytes 8 to 16 of 16", u64::MAX)
    );
    assert_eq!(with("F31", json!([2]), json!([8, 16])), "tensor second has the unknown type \"F31\"");
    assert_eq!(with("F32", json!([2]), json!([-8, 16])), "tensor second has no two data_offsets");
    assert_eq!(with("F32", json!([-2]), json!([8, 16])), "tensor second has no shape of whole numbers");
    assert_eq!(
        with("F32", json!([2]), json!([4, 12])),
        "tensor second begins at byte 4, and the one before it ends at 8"
    );
}

#[test]
fn a_split_that_is_not_whole_names_the_file() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("split");
    let source = Checkpoint::open(&family("mixtral")).unwrap();
    split(&source, Quant::Keep, (&out, Existing::Refuse), &|_, _| ()).unwrap();
    let shard = out.join("shards/1-2.shard");
    let size = std::fs::metadata(&shard).unwrap().len();
    let found = |checkpoint: &Checkpoint| match checkpoint.shard(1, 2).err().unwrap() {
        LoadError::ShardMissing { file, found, expected } => {
            assert_eq!((file, expected), (shard.clone(), size));
            found
        }
        other => panic!("{other}"),
    };
    std::fs::OpenOptions::new().write(true).open(&shard).unwrap().set_len(size - 1).unwrap();
    assert_eq!(found(&Checkpoint::open(&out).unwrap()), Some(size - 1));
    std::fs::remove_file(&shard).unwrap();
    assert_eq!(found(&Checkpoint::open(&out).unwrap()), None);
    // The manifest is written last.
    std::fs::rename(out.join("manifest.cbor"), out.join(".counterfoil-split")).unwrap();
    let unfinished = Checkpoint::open(&out).err().unwrap();
    assert!(matches!(unfinished, LoadError::Unfinished { folder } if folder == out));
}
