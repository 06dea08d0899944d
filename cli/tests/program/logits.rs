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

/// One test for each model, so that they run side by side and a failure names its model.
macro_rules! same_through_nodes {
    ($($test:ident: $path:literal,)*) => {
        $(#[test]
        fn $test() {
            let want = logits($path, &[]);
            assert_eq!(want["logits"].as_array().unwrap().len(), 7);
            for (nodes, spread) in [("1", "layers"), ("2", "experts"), ("4", "experts")] {
                assert_eq!(logits($path, &["--nodes", nodes, "--spread", spread]), want, "{nodes} nodes");
            }
        })*
    };
}

same_through_nodes! {
    dbrx: "model/fixtures/families/dbrx",
    dbrx_plain: "model/fixtures/families/dbrx-plain",
    deepseek_groups: "model/fixtures/families/deepseek-groups",
    deepseek_lite: "model/fixtures/families/deepseek-lite",
    mixtral: "model/fixtures/families/mixtral",
    mixtral_tied: "model/fixtures/families/mixtral-tied",
    qwen: "model/fixtures/families/qwen",
    qwen_renormalised: "model/fixtures/families/qwen-renormalised",
    gguf_dbrx: "model/fixtures/gguf/dbrx.gguf",
    gguf_dbrx_quantised: "model/fixtures/gguf/dbrx-quantised.gguf",
    gguf_deepseek_lite: "model/fixtures/gguf/deepseek-lite.gguf",
    gguf_deepseek_old: "model/fixtures/gguf/deepseek-old.gguf",
    gguf_deepseek_quantised: "model/fixtures/gguf/deepseek-quantised.gguf",
    gguf_mixtral: "model/fixtures/gguf/mixtral.gguf",
    gguf_mixtral_old: "model/fixtures/gguf/mixtral-old.gguf",
    gguf_mixtral_quantised: "model/fixtures/gguf/mixtral-quantised.gguf",
    gguf_qwen: "model/fixtures/gguf/qwen.gguf",
    gguf_qwen_quantised: "model/fixtures/gguf/qwen-quantised.gguf",
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
