//! Quarters that are not over, and the example of three providers.

use serde_json::{Value, json};

use crate::harness::{Home, ask as ask_program};
use crate::http::{ask, question};

#[test]
fn a_quarter_that_is_not_over_is_shown_and_not_settled() {
    let home = Home::new();
    let program = home.run(&[]);
    ask(program.address(), None, &question(&json!({})));
    program.stop();
    let size = home.log_size();
    // The program's clock is the machine's, so the quarter that runs is not known here; this one is far off.
    let refused = home.ask(&["earnings", "settle", "--quarter", "2999Q4"]);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.err.contains("2999Q4"), "{refused:?}");
    let dry = home.json(&["earnings", "settle", "--quarter", "2999Q4", "--dry-run"]);
    assert_eq!((&dry["quarter"], &dry["dry_run"]), (&json!("2999Q4"), &json!(true)));
    assert_eq!(home.json(&["earnings", "show", "--quarter", "2999Q4"])["quarter"], "2999Q4");
    assert_eq!(home.ask(&["earnings", "verify", "--quarter", "2999Q4"]).code, 1);
    assert_eq!(home.ask(&["earnings", "show", "--quarter", "2999Q5"]).code, 2);
    assert_eq!(home.log_size(), size);
}

#[test]
fn the_example_of_three_providers_is_exact() {
    let home = Home::new();
    let file = home.beside("split.json");
    let path = file.display().to_string();
    let split = |input: &Value| {
        std::fs::write(&file, input.to_string()).unwrap();
        ask_program(&["earnings", "split", "--input", &path, "--json"])
    };
    let provider = |id: &str, tokens: u64, hours: u64, tier: u64| json!({ "id": id, "tokens": tokens, "uptime_s": hours * 3600, "tier": tier });
    let providers =
        [provider("a", 500_000, 720, 4), provider("b", 200_000, 500, 3), provider("c", 50_000, 300, 1)];
    let done = split(&json!({ "pool_cents": 105_000, "providers": providers }));
    assert_eq!(done.code, 0, "{done:?}");
    let shares: Value = serde_json::from_str(&done.out).unwrap();
    let cents =
        |at: usize| (shares["providers"][at]["id"].clone(), shares["providers"][at]["total_cents"].clone());
    assert_eq!(
        [cents(0), cents(1), cents(2)],
        [(json!("a"), json!(76_295)), (json!("b"), json!(24_850)), (json!("c"), json!(3_855))]
    );
    assert_eq!(split(&json!({ "pool_cents": 105_000.5, "providers": providers })).code, 2);
    assert_eq!(split(&json!({ "pool_cents": 105_000 })).code, 2);
    std::fs::remove_file(&file).unwrap();
    assert_eq!(ask_program(&["earnings", "split", "--input", &path, "--json"]).code, 4);
}
