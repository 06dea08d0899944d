//! From safetensors, against Hugging Face transformers; `fixtures/families.py` wrote down what it says.

use super::judged::{Model, Parity, bits, fixture};

/// What `fixtures/families/*` are, besides their weights.
const FAMILIES: [&str; 8] = [
    "mixtral",
    "mixtral-tied",
    "qwen",
    "qwen-renormalised",
    "deepseek-lite",
    "deepseek-groups",
    "dbrx",
    "dbrx-plain",
];

fn agrees(name: &str) {
    let model = Model::open(&format!("families/{name}"));
    let parity: Parity = fixture(&format!("families/{name}/parity.json"));
    model.agrees_with(&parity, name);
}

#[test]
fn mixtral_agrees_with_transformers() {
    agrees("mixtral");
}

#[test]
fn mixtral_with_tied_embeddings_agrees_with_transformers() {
    agrees("mixtral-tied");
}

#[test]
fn qwen2_moe_agrees_with_transformers() {
    agrees("qwen");
}

#[test]
fn qwen2_moe_renormalised_with_a_dense_layer_agrees_with_transformers() {
    agrees("qwen-renormalised");
}

#[test]
fn deepseek_v2_without_a_queries_latent_agrees_with_transformers() {
    agrees("deepseek-lite");
}

#[test]
fn deepseek_v2_with_groups_and_a_queries_latent_agrees_with_transformers() {
    agrees("deepseek-groups");
}

#[test]
fn dbrx_agrees_with_transformers() {
    agrees("dbrx");
}

#[test]
fn dbrx_without_clipping_and_normalisation_agrees_with_transformers() {
    agrees("dbrx-plain");
}

#[test]
fn one_position_at_a_time_gives_the_bits_of_all_at_once() {
    for name in FAMILIES {
        let model = Model::open(&format!("families/{name}"));
        let ids: Vec<u32> = (0..40).map(|i| i * 7 % 64).collect();
        let whole = model.logits(&ids);
        for chunk in [1, 7] {
            assert_eq!(bits(&model.logits_in_chunks(&ids, chunk)), bits(&whole), "{name} by {chunk}");
        }
    }
}

#[test]
fn sequences_in_one_batch_get_the_bits_that_they_get_alone() {
    for name in FAMILIES {
        let model = Model::open(&format!("families/{name}"));
        let (first, second): (Vec<u32>, Vec<u32>) = ((0..9).collect(), (20..33).rev().collect());
        for layer in 0..model.decoder.config().layers {
            let mut alone = model.attended(layer, &[&first]);
            alone.append(&model.attended(layer, &[&second])).unwrap();
            let together = model.attended(layer, &[&first, &second]);
            assert_eq!(bits(&together), bits(&alone), "{name} layer {layer}");
        }
    }
}

#[test]
fn experts_spread_over_banks_give_the_bits_of_one_bank() {
    for name in FAMILIES {
        let model = Model::open(&format!("families/{name}"));
        let ids: Vec<u32> = (0..24).map(|i| i * 5 % 64).collect();
        let whole = bits(&model.logits(&ids));
        for banks in 2..=3 {
            assert_eq!(bits(&model.logits_spread(&ids, banks)), whole, "{name} over {banks} banks");
        }
    }
}
