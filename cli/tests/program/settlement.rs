//! Quarters that are not over, and the example of three providers.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::harness::{Home, ask as ask_program};
use crate::http::{ask, question};

/// The quarter that runs, such as 2026Q4.
fn running_quarter() -> String {
    let days = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() / 86_400;
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let (mut year, mut day) = (1970, days);
    loop {
        let february = if leap(year) { 29 } else { 28 };
        let quarters = [31 + february + 31, 91, 92, 92];
        for (number, length) in (1..).zip(quarters) {
            if day < length {
                return format!("{year}Q{number}");
            }
            day -= length;
        }
        year += 1;
    }
}

#[test]
fn a_quarter_that_is_not_over_is_shown_and_not_settled() {
    let home = Home::new();
    let program = home.run(&[]);
    ask(program.address(), None, &question(&json!({})));
    let quarter = running_quarter();
    let settle = ["earnings", "settle", "--quarter", &quarter];
    // At the running router and without one it is the same refusal.
    let running = home.ask(&settle);
    program.stop();
    let size = home.log_size();
    for refused in [running, home.ask(&settle)] {
        assert_eq!(refused.code, 2, "{refused:?}");
        assert!(refused.err.contains(&quarter), "{refused:?}");
    }
    let dry = home.json(&["earnings", "settle", "--quarter", &quarter, "--dry-run"]);
    assert_eq!((&dry["quarter"], &dry["dry_run"]), (&json!(quarter), &json!(true)));
    let mut shown = home.json(&["earnings", "show", "--quarter", &quarter]);
    shown["dry_run"] = true.into();
    assert_eq!(shown, dry);
    // The log has no statement to verify, nor has anything to close in a later quarter.
    assert_eq!(home.ask(&["earnings", "verify", "--quarter", &quarter]).code, 1);
    assert_eq!(home.ask(&["earnings", "settle", "--quarter", "2999Q4"]).code, 2);
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
