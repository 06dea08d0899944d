//! `model inspect`, `split`, `synth` and `publish`: what they print, write, refuse and log.

use std::path::Path;

use serde_json::{Value, json};

use crate::harness::{Ended, Home, ask, repository};

const TINY: &str = "model/fixtures/tiny-mixtral";
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

fn document(ended: &Ended) -> Value {
    assert_eq!(ended.code, 0, "{ended:?}");
    serde_json::from_str(&ended.out).unwrap()
}

fn logits(path: &str) -> Value {
    document(&ask(&["model", "logits", path, "--tokens", "1,2,3,5,8", "--json"]))["logits"].take()
}

#[test]
fn inspect_says_what_a_model_is_and_what_it_lacks() {
    let found = document(&ask(&["model", "inspect", &repository(TINY), "--json"]));
    let of = |key: &str| found[key].clone();
    assert_eq!((of("family"), of("experts"), of("experts_in_all")), (json!("mixtral"), json!(5), json!(15)));
    assert_eq!((of("expert_bytes"), of("experts_bytes")), (json!(24_576), json!(368_640)));
    assert_eq!(of("manifest"), Value::Null);
    assert_eq!(found["missing"].as_array().unwrap().len(), 2, "{found}");
    assert_eq!((&found["tiers"][0]["nodes"], &found["tiers"][3]["tier"]), (&json!(1), &json!(4)));
    let plain = ask(&["model", "inspect", &repository(TINY)]);
    for text in
        ["family     mixtral, hugging face folder", "not computed; --hash does", "missing    tokenizer"]
    {
        assert!(plain.out.contains(text), "{}", plain.out);
    }
    let guide = document(&ask(&["model", "inspect", "--json"]));
    assert_eq!(guide["missing"], json!([]));
    assert!(guide["manifest"].is_string());
}

#[test]
fn inspect_of_an_incomplete_folder_names_what_is_not_there() {
    let home = Home::new();
    let folder = home.beside("part");
    std::fs::create_dir(&folder).unwrap();
    std::fs::copy(Path::new(&repository(TINY)).join("config.json"), folder.join("config.json")).unwrap();
    let found = document(&ask(&["model", "inspect", &folder.display().to_string(), "--json"]));
    assert!(found["missing"][0].as_str().unwrap().ends_with("model.safetensors"), "{found}");
    assert_eq!(found["tiers"][0]["nodes"], Value::Null);
    let nothing = ask(&["model", "inspect", &home.beside("nothing").display().to_string()]);
    assert_eq!(nothing.code, 4, "{nothing:?}");
    assert!(nothing.err.contains("config.json"), "{nothing:?}");
}

#[test]
fn split_writes_the_same_model_and_refuses_a_full_folder() {
    let home = Home::new();
    let out = home.beside("cut").display().to_string();
    let made = document(&ask(&["model", "split", &repository(TINY), "--out", &out, "--json"]));
    assert_eq!(made["shard_bytes"], json!(368_640));
    assert_eq!(made["expert_types"], json!([{ "type": "f32", "matrices": 45 }]));
    assert_eq!(logits(&out), logits(&repository(TINY)));
    let found = document(&ask(&["model", "inspect", &out, "--json"]));
    assert_eq!((&found["manifest"], &found["container"]), (&made["manifest"], &json!("split folder")));
    let again = ask(&["model", "split", &repository(TINY), "--out", &out]);
    assert_eq!(again.code, 2, "{again:?}");
    assert!(again.err.contains("--force"), "{again:?}");
    let small = ["model", "split", &repository(TINY), "--out", &out, "--force", "--quant", "q8_0", "--json"];
    let small = document(&ask(&small));
    assert_eq!(small["expert_types"], json!([{ "type": "q8_0", "matrices": 45 }]));
    assert_ne!(small["manifest"], made["manifest"]);
}

#[test]
fn a_changed_shard_computes_nothing() {
    let home = Home::new();
    let out = home.beside("cut");
    let made = ask(&["model", "split", &repository(TINY), "--out", &out.display().to_string()]);
    assert_eq!(made.code, 0, "{made:?}");
    let path = out.join("shards/0-0.shard");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let refused = ask(&["model", "logits", &out.display().to_string(), "--tokens", "1"]);
    assert_eq!(refused.code, 4, "{refused:?}");
    assert!(refused.err.contains("0-0.shard: chunk 0 is not what the manifest says"), "{refused:?}");
}

#[test]
fn publish_logs_once_through_the_home_or_its_router() {
    let home = Home::new();
    home.json(&["identity", "init"]);
    let source = format!("tests/tiny@{COMMIT}");
    let publish = ["model", "publish", &repository(TINY), "--name", "tiny", "--source", &source];
    let said = home.json(&publish);
    assert_eq!((&said["model"]["name"], &said["model"]["family"]), (&json!("tiny"), &json!("mixtral")));
    assert_eq!(said["model"]["source"], json!({ "repository": "tests/tiny", "revision": COMMIT }));
    assert_eq!(said["model"]["size"]["shard_bytes"], json!(368_640));
    assert!(said["entry"].is_u64(), "{said}");
    assert_eq!(home.json(&publish)["entry"], Value::Null);
    assert_eq!(home.payloads("model-published"), [said["model"].clone()]);
    let other = repository("model/fixtures/families/qwen");
    let taken = home.ask(&["model", "publish", &other, "--name", "tiny"]);
    assert_eq!(taken.code, 2, "{taken:?}");
    assert!(taken.err.contains("the name \"tiny\" is that of model"), "{taken:?}");

    let program = home.run(&["--nodes", "1"]);
    let renamed = home.json(&["model", "publish", &repository(TINY), "--name", "tiny-2"]);
    assert_eq!((&renamed["model"]["name"], &renamed["model"]["source"]), (&json!("tiny-2"), &Value::Null));
    program.stop();
    let names: Vec<Value> =
        home.payloads("model-published").iter().map(|entry| entry["name"].clone()).collect();
    assert_eq!(names, ["tiny", "guide", "tiny-2"]);
    home.assert_logs_verify();
}

#[test]
fn publish_refuses_a_branch_and_a_folder_that_is_no_home() {
    let home = Home::new();
    home.json(&["identity", "init"]);
    let branch = home.ask(&["model", "publish", &repository(TINY), "--source", "tests/tiny@main"]);
    assert_eq!(branch.code, 2, "{branch:?}");
    assert!(branch.err.contains("one commit"), "{branch:?}");
    let nowhere = Home::new().ask(&["model", "publish", &repository(TINY)]);
    assert_eq!(nowhere.code, 4, "{nowhere:?}");
}

#[test]
fn synth_refuses_what_cannot_be_made() {
    let home = Home::new();
    let out = home.beside("made").display().to_string();
    let shallow = ask(&["model", "synth", "--like", "deepseek-v2-lite", "--layers", "1", "--out", &out]);
    assert_eq!(shallow.code, 2, "{shallow:?}");
    assert!(shallow.err.contains("2 are the fewest"), "{shallow:?}");
    assert!(!home.beside("made").exists());
    assert_eq!(ask(&["model", "synth", "--like", "unknown", "--out", &out]).code, 2);
}

#[test]
fn a_model_is_hashed_once_for_the_router_and_all_local_nodes() {
    let home = Home::new();
    let model = home.roomy_model();
    let kept = |folder: &Path| std::fs::read_dir(folder.join("manifests")).map_or(0, Iterator::count);
    let program = home.run(&[&model]);
    assert_eq!(kept(&home.path()), 1);
    assert_eq!([1, 2].map(|node| kept(&home.path().join(format!("nodes/{node}")))), [0, 0]);
    program.stop();
}
