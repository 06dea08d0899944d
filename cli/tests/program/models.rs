//! The catalogue, with a router and without one.

use serde_json::{Value, json};

use crate::harness::{Home, ask};

const CATALOGUE: [&str; 4] = ["mixtral-8x7b", "deepseek-v2-lite", "qwen1.5-moe", "dbrx"];

fn names(models: &Value) -> Vec<&str> {
    models["models"].as_array().unwrap().iter().map(|m| m["name"].as_str().unwrap()).collect()
}

#[test]
fn the_catalogue_needs_no_router() {
    let home = Home::new();
    let found = home.json(&["models"]);
    assert_eq!(names(&found), CATALOGUE);
    assert_eq!((&found["router"]["answers"], &found["router"]["url"]), (&json!(false), &Value::Null));
    assert!(found["models"].as_array().unwrap().iter().all(|m| m["network"].is_null()), "{found}");
    let mixtral = &found["models"][0];
    assert_eq!(mixtral["parameters"]["total"], 46_702_792_704_u64);
    assert_eq!(mixtral["parameters"]["expert"], 176_160_768);
    assert_eq!((&mixtral["licence"], &mixtral["experts_per_token"]), (&json!("Apache-2.0"), &json!(2)));
    let said = home.ask(&["models"]);
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{said:?}");
    assert_eq!(said.out.lines().filter(|line| line.contains("no answer")).count(), 1, "{said:?}");
}

#[test]
fn the_catalogue_is_narrowed_by_use() {
    let home = Home::new();
    assert_eq!(names(&home.json(&["models", "--use", "chat"])), CATALOGUE);
    let code = home.json(&["models", "--use", "code"]);
    assert_eq!(names(&code), ["mixtral-8x7b", "deepseek-v2-lite", "dbrx"]);
    assert_eq!(ask(&["models", "--use", "prose"]).code, 2);
}

#[test]
fn what_could_be_hosted_follows_from_the_memory() {
    let home = Home::new();
    let with = |memory: &str| home.json(&["models", "--max-memory", memory]);
    let none = with("0");
    assert_eq!((&none["machine"]["memory_counted_bytes"], &none["machine"]["tier"]), (&json!(0), &json!(1)));
    let host = |found: &Value| found["models"][2]["sizes"][2]["host"].clone();
    assert_eq!((&host(&none)["experts"], &host(&none)["dense"]), (&json!(0), &json!(false)));
    // Two experts of Qwen1.5-MoE at q4_k, short of a byte: rows of 2048 and of 1408.
    let expert = 2 * 2048 * 1408 / 256 * 144 + 2048 * 1408 / 32 * 22;
    assert_eq!(host(&with(&(2 * expert - 1).to_string()))["experts"], 1);
    assert_eq!(host(&with(&format!("{}B", 2 * expert)))["experts"], 2);
    assert_eq!(with("7.2GB")["machine"]["tier"], 2);
}

#[test]
fn what_the_router_serves_stands_beside_the_catalogue() {
    let home = Home::new();
    let program = home.run(&[]);
    let found = home.json(&["models"]);
    assert_eq!(names(&found), [&CATALOGUE[..], &["guide"]].concat());
    assert_eq!((&found["router"]["answers"], &found["router"]["url"]), (&json!(true), &program.ready["url"]));
    let guide = &found["models"][4];
    assert_eq!((&guide["in_catalogue"], &guide["network"]["available"]), (&json!(false), &json!(true)));
    assert_eq!((&guide["parameters"], &guide["family"]), (&Value::Null, &json!("mixtral")));
    assert_eq!(names(&home.json(&["models", "--use", "chat"])), CATALOGUE);
    let lost = home.json(&["models", "--url", "http://127.0.0.1:1"]);
    assert_eq!((&lost["router"]["answers"], names(&lost).len()), (&json!(false), 4));
    program.stop();
}

#[test]
fn sizes_have_units_on_the_line_and_in_the_file() {
    for bad in ["8G", "-1", "much", "1.5B"] {
        let flag = format!("--max-memory={bad}");
        let ended = ask(&["serve", &flag, "--router", "127.0.0.1:1", "--accept-notice"]);
        assert_eq!(ended.code, 2, "{bad}: {ended:?}");
        assert!(ended.err.contains("--max-memory"), "{ended:?}");
    }
    let home = Home::new();
    std::fs::create_dir_all(home.path()).unwrap();
    let counted = |text: &str| {
        std::fs::write(home.path().join("config.toml"), text).unwrap();
        home.json(&["models"])["machine"]["memory_counted_bytes"].as_u64().unwrap()
    };
    assert_eq!(counted("max_memory = \"8GB\"\n"), 8_000_000_000);
    assert_eq!(counted("max_memory = \"8GiB\"\n"), 8_589_934_592);
    assert_eq!(counted("max_memory = 5000\n"), 5000);
}
