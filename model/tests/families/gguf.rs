//! From GGUF, against the same judge, and against safetensors to the bit.

use serde::Deserialize;

use counterfoil_model::{Activations, Arithmetic, ComputeError, Feed, Routing, Rows};

use super::judged::{Model, Parity, bits, fixture};

/// `fixtures/gguf/index.json`
#[derive(Deserialize)]
struct Index {
    files: Vec<File>,
}

#[derive(Deserialize)]
struct File {
    file: String,
    parity: String,
}

/// As it is in f32, so that another program's f32 arithmetic is what it is compared with.
fn agrees(name: &str) {
    let (file, parity) = files(name);
    Model::open_as(&file, Arithmetic::Widened).agrees_with(&parity, name);
}

fn files(name: &str) -> (String, Parity) {
    let index: Index = fixture("gguf/index.json");
    let file = index.files.into_iter().find(|file| file.file == format!("gguf/{name}.gguf")).unwrap();
    let parity: Parity = fixture(&file.parity);
    (file.file, parity)
}

/// Half of the positions are within this squared error. Others may be further off, where a choice of experts flips.
#[test]
fn the_canonical_arithmetic_stays_near_the_judge() {
    for (name, most_wrong) in
        [("mixtral-quantised", 12), ("qwen-quantised", 4), ("deepseek-quantised", 11), ("dbrx-quantised", 8)]
    {
        let (file, parity) = files(name);
        let (mut errors, wrong) = Model::open(&file).errors_against(&parity);
        errors.sort_by(f64::total_cmp);
        let median = errors[errors.len() / 2];
        assert!(median <= 5e-3, "{name}: {median:e}");
        assert!(wrong <= most_wrong, "{name}: {wrong} argmaxes");
    }
}

#[test]
fn mixtral_agrees_with_transformers() {
    agrees("mixtral");
}

#[test]
fn mixtral_of_the_oldest_files_agrees_with_transformers() {
    agrees("mixtral-old");
}

#[test]
fn mixtral_quantised_agrees_with_transformers() {
    agrees("mixtral-quantised");
}

#[test]
fn qwen2_moe_agrees_with_transformers() {
    agrees("qwen");
}

#[test]
fn qwen2_moe_quantised_with_gate_and_up_in_one_agrees_with_transformers() {
    agrees("qwen-quantised");
}

#[test]
fn deepseek_v2_agrees_with_transformers() {
    agrees("deepseek-lite");
}

#[test]
fn deepseek_v2_of_older_files_agrees_with_transformers() {
    agrees("deepseek-old");
}

#[test]
fn deepseek_v2_quantised_agrees_with_transformers() {
    agrees("deepseek-quantised");
}

#[test]
fn dbrx_agrees_with_transformers() {
    agrees("dbrx");
}

#[test]
fn dbrx_quantised_agrees_with_transformers() {
    agrees("dbrx-quantised");
}

#[test]
fn the_same_weights_give_the_same_bits_from_either_kind_of_file() {
    let ids: Vec<u32> = (0..48).map(|i| i * 11 % 64).collect();
    for (gguf, folder) in [
        ("mixtral", "mixtral"),
        ("mixtral-old", "mixtral-tied"),
        ("qwen", "qwen"),
        ("deepseek-lite", "deepseek-lite"),
        ("dbrx", "dbrx"),
    ] {
        let gguf = Model::open(&format!("gguf/{gguf}.gguf"));
        let folder = Model::open(&format!("families/{folder}"));
        let name = gguf.checkpoint.name();
        assert_eq!(bits(&gguf.logits(&ids)), bits(&folder.logits(&ids)), "{name}");
    }
}

#[test]
fn quantised_weights_give_the_same_bits_in_chunks_and_over_banks() {
    for name in ["mixtral-quantised", "qwen-quantised", "deepseek-quantised", "dbrx-quantised"] {
        let model = Model::open(&format!("gguf/{name}.gguf"));
        let ids: Vec<u32> = (0..24).map(|i| i * 5 % 32).collect();
        let whole = bits(&model.logits(&ids));
        assert_eq!(bits(&model.logits_in_chunks(&ids, 1)), whole, "{name}");
        assert_eq!(bits(&model.logits_spread(&ids, 3)), whole, "{name}");
    }
}

/// The normed rows and the routing of the first layer with experts.
fn frame(model: &Model) -> (u32, Rows, Routing) {
    let mut rows = model.decoder.embed(&[3, 1, 4, 1, 5, 9, 2, 6]).unwrap();
    for layer in 0..model.decoder.config().layers {
        if let Feed::Experts { normed, routing } = model.decoder.gate(layer, &mut rows).unwrap() {
            return (layer, normed, routing);
        }
    }
    panic!("no layer has experts");
}

#[test]
fn experts_given_activations_answer_with_the_bits_of_experts_given_rows() {
    for name in ["mixtral-quantised", "qwen-quantised", "deepseek-quantised", "dbrx-quantised"] {
        let model = Model::open(&format!("gguf/{name}.gguf"));
        let (layer, rows, routing) = frame(&model);
        assert!(model.bank.takes_activations(layer, 0), "{name}");
        let given_rows = model.bank.forward(layer, &rows, &routing).unwrap().into_vectors();
        let made = Activations::of(&rows).unwrap();
        let (bytes, scales) = (made.bytes().to_vec(), made.scales().to_vec());
        let sent = Activations::from_parts(rows.width(), bytes, scales).unwrap();
        let given_activations = model.bank.forward_quantised(layer, &sent, &routing).unwrap().into_vectors();
        assert_eq!(bits(&given_activations), bits(&given_rows), "{name}");
    }
}

#[test]
fn experts_of_floats_or_multiplied_as_floats_refuse_activations() {
    let widened = Model::open_as("gguf/qwen-quantised.gguf", Arithmetic::Widened);
    for model in [Model::open("gguf/qwen.gguf"), widened] {
        let (layer, rows, routing) = frame(&model);
        assert!(!model.bank.takes_activations(layer, 0));
        let activations = Activations::of(&rows).unwrap();
        let refused = model.bank.forward_quantised(layer, &activations, &routing);
        assert_eq!(refused, Err(ComputeError::FloatWeights));
    }
}
