//! `model logits`: what nodes compute together is what one process computes, bit for bit.

use serde_json::Value;

use crate::harness::{ask, repository};

fn logits(model: &str, more: &[&str]) -> Value {
    let folder = repository(model);
    let done = ask(&[&["model", "logits", &folder, "--tokens", "1,2,3,5,8,13,21", "--json"], more].concat());
    assert_eq!(done.code, 0, "{more:?}: {done:?}");
    serde_json::from_str(&done.out).unwrap()
}

fn assert_nodes_agree(spread: &str) {
    const MODEL: &str = "model/fixtures/tiny-mixtral";
    let want = logits(MODEL, &[]);
    assert_eq!(want["logits"].as_array().unwrap().len(), 7);
    for nodes in ["1", "2", "3"] {
        assert_eq!(logits(MODEL, &["--nodes", nodes, "--spread", spread]), want, "{nodes} nodes");
    }
}

#[test]
fn are_the_same_with_layers_dealt_to_one_two_and_three_nodes() {
    assert_nodes_agree("layers");
}

#[test]
fn are_the_same_with_experts_dealt_to_one_two_and_three_nodes() {
    assert_nodes_agree("experts");
}

#[test]
fn differ_between_models_and_refuse_what_is_not_in_the_vocabulary() {
    let guide = logits("model/guide/checkpoint", &[]);
    assert_ne!(guide["logits"], logits("model/fixtures/tiny-mixtral", &[])["logits"]);
    let folder = repository("model/guide/checkpoint");
    let of = |tokens: &str| ask(&["model", "logits", &folder, "--tokens", tokens]).code;
    assert_eq!((of("1535"), of("1536")), (0, 2));
    assert_eq!(ask(&["model", "logits", &folder, "--tokens", "1", "--nodes", "0"]).code, 2);
    assert_eq!(ask(&["model", "logits", &repository("model"), "--tokens", "1"]).code, 4);
}
