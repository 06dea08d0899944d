//! From GGUF, against the same judge, and against safetensors to the bit.

use serde::Deserialize;

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

fn agrees(name: &str) {
    let index: Index = fixture("gguf/index.json");
    let file = index.files.into_iter().find(|file| file.file == format!("gguf/{name}.gguf")).unwrap();
    let parity: Parity = fixture(&file.parity);
    Model::open(&file.file).agrees_with(&parity, name);
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
