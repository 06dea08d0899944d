//! What is not a checkpoint is refused with the file, the tensor and the reason, and nothing large is allocated.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use counterfoil_model::reference::logits;
use counterfoil_model::{Checkpoint, Decoder, ExpertBank, LoadError, Manifest};
use serde_json::{Value, json};
use tempfile::TempDir;

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tiny-mixtral").join(name)
}

/// A copy of tiny-mixtral to spoil.
struct Copy(TempDir);

impl Copy {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        for name in ["config.json", "model.safetensors"] {
            std::fs::copy(source(name), folder.path().join(name)).unwrap();
        }
        Self(folder)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn set(self, key: &str, value: Value) -> Self {
        let mut config: Value =
            serde_json::from_slice(&std::fs::read(self.file("config.json")).unwrap()).unwrap();
        config.as_object_mut().unwrap().insert(key.to_owned(), value);
        self.write("config.json", config.to_string().as_bytes())
    }

    fn unset(self, key: &str) -> Self {
        let mut config: Value =
            serde_json::from_slice(&std::fs::read(self.file("config.json")).unwrap()).unwrap();
        config.as_object_mut().unwrap().remove(key);
        self.write("config.json", config.to_string().as_bytes())
    }

    fn write(self, name: &str, bytes: &[u8]) -> Self {
        std::fs::write(self.file(name), bytes).unwrap();
        self
    }

    /// Saves all tensors anew, as `change` leaves them.
    fn tensors(self, change: impl FnOnce(&mut BTreeMap<String, Tensor>)) -> Self {
        let mut all = loaded();
        change(&mut all);
        let all: std::collections::HashMap<String, Tensor> = all.into_iter().collect();
        std::fs::remove_file(self.file("model.safetensors")).unwrap();
        candle_core::safetensors::save(&all, self.file("model.safetensors")).unwrap();
        self
    }

    fn open(&self) -> Result<Checkpoint, LoadError> {
        Checkpoint::open(self.0.path())
    }

    /// What opening says.
    fn refused(&self) -> LoadError {
        self.open().err().unwrap()
    }

    /// The message without the folder.
    fn message(&self) -> String {
        self.refused().to_string().replace(&self.0.path().display().to_string(), "")
    }
}

fn loaded() -> BTreeMap<String, Tensor> {
    candle_core::safetensors::load(source("model.safetensors"), &Device::Cpu).unwrap().into_iter().collect()
}

fn all_logits(checkpoint: &Checkpoint) -> Vec<f32> {
    let bank = ExpertBank::load(checkpoint, checkpoint.config().all_experts()).unwrap();
    let decoder = Decoder::load(checkpoint).unwrap();
    logits(&decoder, &mut &bank, &[1, 2, 3, 4]).unwrap().into_values()
}

const GATE: &str = "model.layers.2.block_sparse_moe.gate.weight";
const EXPERT: &str = "model.layers.1.block_sparse_moe.experts.4.w3.weight";

#[test]
fn a_folder_that_is_not_there_is_named() {
    let error = Checkpoint::open(Path::new("/nonexistent/model")).err().unwrap();
    assert!(
        matches!(&error, LoadError::Io { file, .. } if file == Path::new("/nonexistent/model/config.json")),
        "{error}"
    );
}

#[test]
fn weights_that_are_not_there_are_named() {
    let copy = Copy::new();
    std::fs::remove_file(copy.file("model.safetensors")).unwrap();
    let want = copy.file("model.safetensors");
    assert!(matches!(copy.refused(), LoadError::Io { file, .. } if file == want));
}

#[test]
fn sharded_weights_give_the_same_model() {
    let whole = Copy::new();
    let copy = Copy::new();
    std::fs::remove_file(copy.file("model.safetensors")).unwrap();
    let mut map = BTreeMap::new();
    let mut shards = [std::collections::HashMap::new(), std::collections::HashMap::new()];
    for (at, (name, tensor)) in loaded().into_iter().enumerate() {
        map.insert(name.clone(), format!("part-{}.safetensors", at % 2));
        shards[at % 2].insert(name, tensor);
    }
    for (at, shard) in shards.iter().enumerate() {
        candle_core::safetensors::save(shard, copy.file(&format!("part-{at}.safetensors"))).unwrap();
    }
    let index = |map: &BTreeMap<String, String>| json!({"metadata": {}, "weight_map": map}).to_string();
    let copy = copy.write("model.safetensors.index.json", index(&map).as_bytes());
    let (one, two) = (whole.open().unwrap(), copy.open().unwrap());
    // The files are others, and what lies in them is the same.
    let hashes = |of: &Checkpoint| of.manifest().experts().map(|(_, r)| r.hash).collect::<Vec<_>>();
    assert_eq!((one.manifest().dense(), hashes(&one)), (two.manifest().dense(), hashes(&two)));
    assert_ne!(one.manifest_id(), two.manifest_id());
    assert_eq!(all_logits(&one), all_logits(&two));

    map.insert(GATE.to_owned(), "../part-0.safetensors".to_owned());
    let copy = copy.write("model.safetensors.index.json", index(&map).as_bytes());
    assert_eq!(
        copy.message(),
        "/model.safetensors.index.json: \"../part-0.safetensors\" is not the plain name of a file in this folder"
    );
}

#[test]
fn a_file_name_that_no_manifest_may_carry_is_refused_before_anything_is_hashed() {
    let copy = Copy::new();
    std::fs::rename(copy.file("model.safetensors"), copy.file("a:b.safetensors")).unwrap();
    let map: BTreeMap<String, &str> = loaded().into_keys().map(|name| (name, "a:b.safetensors")).collect();
    let index = json!({ "weight_map": map }).to_string();
    let (copy, want) = (copy.write("model.safetensors.index.json", index.as_bytes()), "a:b.safetensors");
    assert!(matches!(copy.refused(), LoadError::FileName { file, limit: 200 } if file == copy.file(want)));
}

#[test]
fn an_index_that_names_a_tensor_in_the_wrong_file_is_refused() {
    let copy = Copy::new().write(
        "model.safetensors.index.json",
        json!({"weight_map": {"lm_head.weight": "model.safetensors", "extra": "model.safetensors"}})
            .to_string()
            .as_bytes(),
    );
    let file = copy.file("model.safetensors");
    assert!(
        matches!(copy.refused(), LoadError::TensorMissing { file: f, tensor } if f == file && tensor == "extra")
    );
}

#[test]
fn half_precision_weights_are_widened_exactly() {
    for dtype in [DType::BF16, DType::F16] {
        let narrow = Copy::new().tensors(|all| {
            for tensor in all.values_mut() {
                *tensor = tensor.to_dtype(dtype).unwrap();
            }
        });
        let rounded = Copy::new().tensors(|all| {
            for tensor in all.values_mut() {
                *tensor = tensor.to_dtype(dtype).unwrap().to_dtype(DType::F32).unwrap();
            }
        });
        let (narrow, rounded) = (narrow.open().unwrap(), rounded.open().unwrap());
        assert_eq!(all_logits(&narrow), all_logits(&rounded));
        assert_ne!(narrow.manifest_id(), rounded.manifest_id());
    }
}

#[test]
fn a_missing_expert_is_found_when_the_folder_is_opened() {
    let copy = Copy::new().tensors(|all| drop(all.remove(EXPERT)));
    assert!(matches!(copy.refused(), LoadError::TensorMissing { tensor, .. } if tensor == EXPERT));
}

#[test]
fn a_missing_gate_is_found_when_the_decoder_is_loaded() {
    let checkpoint = Copy::new().tensors(|all| drop(all.remove(GATE))).open().unwrap();
    let error = Decoder::load(&checkpoint).err().unwrap();
    assert!(matches!(error, LoadError::TensorMissing { tensor, .. } if tensor == GATE));
}

#[test]
fn a_tensor_of_another_shape_is_refused_with_both_shapes() {
    let copy = Copy::new().tensors(|all| {
        let turned = all[EXPERT].t().unwrap().contiguous().unwrap();
        all.insert(EXPERT.to_owned(), turned);
    });
    assert_eq!(
        copy.message(),
        format!("/model.safetensors: tensor {EXPERT} has shape [64, 32], the configuration says [32, 64]")
    );
}

#[test]
fn a_tensor_of_integers_is_refused() {
    let copy = Copy::new().tensors(|all| {
        let integers = all[EXPERT].to_dtype(DType::U8).unwrap();
        all.insert(EXPERT.to_owned(), integers);
    });
    assert!(
        matches!(copy.refused(), LoadError::TensorType { tensor, found, .. } if tensor == EXPERT && found == "U8")
    );
}

#[test]
fn a_weight_that_is_not_finite_is_refused_with_its_place() {
    let checkpoint = Copy::new().tensors(|all| {
        let mut values: Vec<f32> = all[EXPERT].flatten_all().unwrap().to_vec1().unwrap();
        values[77] = f32::NAN;
        all.insert(EXPERT.to_owned(), Tensor::from_vec(values, (32, 64), &Device::Cpu).unwrap());
    });
    let checkpoint = checkpoint.open().unwrap();
    assert!(ExpertBank::load(&checkpoint, [(1, 3)]).is_ok_and(|bank| bank.has(1, 3)));
    let error = ExpertBank::load(&checkpoint, [(1, 4)]).err().unwrap();
    assert!(matches!(error, LoadError::NonFinite { tensor, index: 77, .. } if tensor == EXPERT));
}

//= spec/model.md#weights
//= type=test
//# A header of more than 32 MiB MUST be refused before it is parsed
#[test]
fn hostile_headers_are_errors() {
    let header = |length: u64, json: &str| [length.to_le_bytes().as_slice(), json.as_bytes()].concat();
    let exact = |json: &str| header(json.len() as u64, json);
    let reason = |bytes: &[u8]| Copy::new().write("model.safetensors", bytes).message();
    assert_eq!(reason(&[]), "/model.safetensors: shorter than a safetensors header");
    assert_eq!(reason(&[0; 7]), "/model.safetensors: shorter than a safetensors header");
    assert_eq!(
        reason(&header(u64::MAX, "{}")),
        "/model.safetensors: bytes of header is 18446744073709551615, more than the limit of 33554432"
    );
    let malformed = |bytes: &[u8]| {
        let copy = Copy::new().write("model.safetensors", bytes);
        matches!(copy.refused(), LoadError::Malformed { file, .. } if file == copy.file("model.safetensors"))
    };
    assert!(malformed(&header(1000, "{}")), "a header past the end");
    assert!(malformed(&exact("[1, 2")), "no JSON");
    assert!(malformed(&exact(&"[".repeat(100_000))), "deep JSON");
    let tensor = |shape: &str, offsets: &str| {
        exact(&format!(r#"{{"a": {{"dtype": "F32", "shape": {shape}, "data_offsets": {offsets}}}}}"#))
    };
    assert!(malformed(&tensor("[4]", "[0, 16]")), "bytes that are not there");
    assert!(malformed(&tensor("[4611686018427387904, 4]", "[0, 0]")), "a product that overflows");
    assert!(malformed(&tensor("[1]", "[18446744073709551612, 0]")), "an end before the start");
    assert!(malformed(&tensor("[0]", "[4, 4]")), "a gap");
}

#[test]
fn hostile_configurations_are_errors() {
    let reason = |key: &str, value: Value| Copy::new().set(key, value).message();
    assert_eq!(
        reason("model_type", json!("llama")),
        "/config.json: model_type is llama, and only mixtral, deepseek_v2, qwen2_moe or dbrx is supported; \
         use another checkpoint"
    );
    assert_eq!(
        reason("hidden_act", json!("gelu")),
        "/config.json: hidden_act is gelu, and only silu is supported; use another checkpoint"
    );
    assert_eq!(
        reason("sliding_window", json!(64)),
        "/config.json: sliding_window is 64, and only null is supported; use another checkpoint"
    );
    assert_eq!(
        reason("rope_scaling", json!({"type": "yarn", "factor": 4.0})),
        "/config.json: rope_type is yarn, and only default is supported; use another checkpoint"
    );
    assert_eq!(
        reason("quantization_config", json!({"bits": 4})),
        "/config.json: quantization_config is present, and only a checkpoint without it is supported; \
         use another checkpoint"
    );
    assert_eq!(
        reason("rope_theta", json!(5e5)),
        "/config.json: rope_parameters says rope_theta 10000, the top level says 500000"
    );
    assert_eq!(
        reason("num_key_value_heads", json!(3)),
        "/config.json: 4 query heads cannot share 3 key-value heads"
    );
    assert_eq!(
        reason("num_hidden_layers", json!(4_000_000_000_u64)),
        "/config.json: num_hidden_layers is 4000000000, more than the limit of 512"
    );
    assert_eq!(
        reason("num_experts_per_tok", json!(6)),
        "/config.json: num_experts_per_tok is 6, more than the limit of 5"
    );
    assert_eq!(reason("hidden_size", json!(0)), "/config.json: hidden_size is 0");
    assert_eq!(reason("head_dim", json!(15)), "/config.json: 4 heads of 15 values cannot be rotated");
    assert_eq!(
        reason("rms_norm_eps", json!(-1.0)),
        "/config.json: a norm's eps of -1 is not a small positive number"
    );
    assert_eq!(
        reason("eos_token_id", json!([1, 128])),
        "/config.json: eos_token_id 128 is outside the vocabulary"
    );
}

#[test]
fn rope_theta_is_read_from_either_place() {
    let theta = |copy: Copy| copy.open().unwrap().config().rope.theta;
    let close = |a: f64, b: f64| (a - b).abs() < 1e-9;
    assert!(close(theta(Copy::new().unset("rope_theta")), 1e4));
    assert!(close(theta(Copy::new().unset("rope_parameters")), 1e4));
    assert!(close(theta(Copy::new().unset("rope_theta").unset("rope_parameters")), 1e6));
}

#[test]
fn an_expert_that_the_model_does_not_have_is_refused() {
    let checkpoint = Copy::new().open().unwrap();
    let load =
        |layer, expert| ExpertBank::load(&checkpoint, [(layer, expert)]).map(|bank| bank.weight_bytes());
    assert_eq!(load(2, 4).unwrap(), 3 * 64 * 32 * 4);
    assert!(matches!(
        load(3, 0),
        Err(LoadError::NoSuchExpert { layer: 3, expert: 0, layers: 3, experts: 5, .. })
    ));
    assert!(matches!(load(0, 5), Err(LoadError::NoSuchExpert { layer: 0, expert: 5, .. })));
}

#[test]
fn tied_embeddings_are_the_output_matrix() {
    let tied =
        Copy::new().set("tie_word_embeddings", json!(true)).tensors(|all| drop(all.remove("lm_head.weight")));
    let untied = Copy::new().tensors(|all| {
        let embedding = all["model.embed_tokens.weight"].clone();
        all.insert("lm_head.weight".to_owned(), embedding);
    });
    assert_eq!(all_logits(&tied.open().unwrap()), all_logits(&untied.open().unwrap()));
}

#[test]
fn the_manifest_changes_where_a_weight_does_and_nowhere_else() {
    let before = Copy::new().open().unwrap();
    let change = |name: &'static str| {
        let copy = Copy::new().tensors(|all| {
            let changed = (&all[name] * 2.0).unwrap();
            all.insert(name.to_owned(), changed);
        });
        copy.open().unwrap().manifest().clone()
    };
    // Saved again by the same hand, so that tensors lie in the same order.
    let again = Copy::new().tensors(|_| ()).open().unwrap();
    let (again, expert, gate) = (again.manifest(), change(EXPERT), change(GATE));
    let hashes = |manifest: &Manifest| manifest.experts().map(|(_, r)| r.hash).collect::<Vec<_>>();
    let differing: Vec<usize> =
        (0..15).filter(|at| hashes(again).get(*at) != hashes(&expert).get(*at)).collect();
    assert_eq!(differing, [9]);
    assert_eq!(hashes(before.manifest()), hashes(again));
    assert_eq!(again.expert(1, 4).map(|record| record.size), Some(3 * 64 * 32 * 4));
    assert_eq!((again.expert(1, 5), again.expert(3, 0)), (None, None));
    assert_eq!((again.dense() == expert.dense(), again.dense() == gate.dense()), (true, false));
    assert_eq!(hashes(again), hashes(&gate));
    assert_eq!((again.config(), again.vocabulary()), (gate.config(), gate.vocabulary()));
}

#[test]
fn settings_that_are_not_computed_with_do_not_change_the_manifest() {
    let id = |copy: Copy| copy.open().unwrap().manifest_id();
    assert_eq!(id(Copy::new()), id(Copy::new().set("initializer_range", json!(0.5))));
    assert_ne!(id(Copy::new()), id(Copy::new().set("rms_norm_eps", json!(1e-6))));
}

#[test]
fn guide_is_named_and_has_thirty_two_experts() {
    let guide = Checkpoint::guide().unwrap();
    assert_eq!(guide.name(), "guide");
    assert_eq!(guide.manifest().experts().count(), 32);
    assert_eq!(guide.manifest_id(), guide.manifest().id());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("guide/checkpoint");
    assert_eq!(Checkpoint::open(&folder).unwrap().manifest_id(), guide.manifest_id());
}
