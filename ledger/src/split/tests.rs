use super::*;

use proptest::prelude::*;

fn read(json: &str) -> Split {
    serde_json::from_str(json).unwrap()
}

fn refusal(json: &str) -> SplitError {
    split(&read(json), 1_000).unwrap_err()
}

#[test]
fn three_providers_share_1050_dollars_to_the_cent() {
    let input = read(
        r#"{"pool_cents": 105000, "providers": [
            {"id": "a", "tokens": 500000, "uptime_s": 2592000, "tier": 4},
            {"id": "b", "tokens": 200000, "uptime_s": 1800000, "tier": 3},
            {"id": "c", "tokens": 50000, "uptime_s": 1080000, "tier": 1}]}"#,
    );
    assert_eq!(
        serde_json::to_string(&split(&input, 1_000).unwrap()).unwrap(),
        r#"{"providers":[{"id":"a","total_cents":76295},{"id":"b","total_cents":24850},{"id":"c","total_cents":3855}]}"#
    );
}

#[test]
fn input_order_is_kept() {
    let input = read(
        r#"{"pool_cents": 10, "providers": [{"id": "z", "tokens": 9, "uptime_s": 0}, {"id": "a", "tokens": 1, "uptime_s": 0}]}"#,
    );
    let shares = split(&input, 1_000).unwrap().providers;
    assert_eq!(
        shares.iter().map(|s| (s.id.as_str(), s.total_cents)).collect::<Vec<_>>(),
        [("z", 9), ("a", 1)]
    );
}

#[test]
fn a_missing_tier_is_the_lowest() {
    let one = read(r#"{"pool_cents": 1, "providers": [{"id": "a", "tokens": 9, "uptime_s": 0}]}"#);
    assert_eq!(one.providers[0].tier, 1);
}

#[test]
fn nobody_with_a_claim_receives_nothing() {
    let input = read(r#"{"pool_cents": 10, "providers": [{"id": "a", "tokens": 0, "uptime_s": 0}]}"#);
    assert_eq!(split(&input, 1_000).unwrap().providers[0].total_cents, 0);
    assert_eq!(split(&read(r#"{"pool_cents": 10, "providers": []}"#), 1_000).unwrap().providers, []);
}

#[test]
fn each_bad_figure_is_named() {
    assert_eq!(refusal(r#"{"pool_cents": -1, "providers": []}"#), SplitError::Pool(-1));
    assert_eq!(
        refusal(r#"{"pool_cents": 1000000000000001, "providers": []}"#),
        SplitError::Pool(1_000_000_000_000_001)
    );
    let one = |rest: &str| format!(r#"{{"pool_cents": 1, "providers": [{{"id": "a", {rest}}}]}}"#);
    let id = || "a".to_owned();
    assert_eq!(refusal(&one(r#""tokens": -1, "uptime_s": 0"#)), SplitError::Tokens { id: id(), tokens: -1 });
    assert_eq!(
        refusal(&one(r#""tokens": 1000000000000000001, "uptime_s": 0"#)),
        SplitError::Tokens { id: id(), tokens: 1_000_000_000_000_000_001 }
    );
    assert_eq!(
        refusal(&one(r#""tokens": 1, "uptime_s": -5"#)),
        SplitError::Uptime { id: id(), uptime_s: -5 }
    );
    assert_eq!(
        refusal(&one(r#""tokens": 1, "uptime_s": 31622401"#)),
        SplitError::Uptime { id: id(), uptime_s: 31_622_401 }
    );
    assert_eq!(
        refusal(&one(r#""tokens": 1, "uptime_s": 0, "tier": 0"#)),
        SplitError::Tier { id: id(), tier: 0 }
    );
    assert_eq!(
        refusal(&one(r#""tokens": 1, "uptime_s": 0, "tier": 5"#)),
        SplitError::Tier { id: id(), tier: 5 }
    );
    let twice = r#"{"pool_cents": 1, "providers": [
        {"id": "a", "tokens": 1, "uptime_s": 1}, {"id": "a", "tokens": 1, "uptime_s": 1}]}"#;
    assert_eq!(refusal(twice), SplitError::DuplicateId(id()));
    assert_eq!(
        refusal(r#"{"pool_cents": 1, "providers": [{"id": "", "tokens": 1, "uptime_s": 1}]}"#),
        SplitError::IdLength(1)
    );
}

#[test]
fn most_figures_are_taken() {
    let input = read(
        r#"{"pool_cents": 1000000000000000, "providers": [
            {"id": "a", "tokens": 1000000000000000000, "uptime_s": 31622400, "tier": 4}]}"#,
    );
    assert_eq!(split(&input, 1_000).unwrap().providers[0].total_cents, 1_000_000_000_000_000);
}

#[test]
fn unknown_fields_and_fractions_are_refused_where_they_are_read() {
    for json in [
        r#"{"pool_cents": 1, "providers": [], "currency": "USD"}"#,
        r#"{"pool_cents": 1, "providers": [{"id": "a", "tokens": 1, "uptime_s": 1, "teir": 4}]}"#,
        r#"{"pool_cents": 1.5, "providers": []}"#,
        r#"{"pool_cents": 1, "providers": [{"id": "a", "tokens": 1}]}"#,
    ] {
        let error = serde_json::from_str::<Split>(json).unwrap_err();
        assert_eq!(error.classify(), serde_json::error::Category::Data, "{json}");
    }
}

fn provider() -> impl Strategy<Value = (i64, i64, i64)> {
    let tokens = prop_oneof![Just(0), 0..2_000_000_i64, 0..=MAX_SPLIT_TOKENS];
    let uptime = prop_oneof![Just(0), 0..=MAX_SPLIT_UPTIME_S];
    (tokens, uptime, 1..=4_i64)
}

proptest! {
    #[test]
    fn shares_sum_to_the_pool(
        pool in prop_oneof![0..100_i64, 0..=MAX_SPLIT_POOL_CENTS],
        bps in 0..=10_000_u32,
        of in prop::collection::vec(provider(), 0..40),
    ) {
        let providers: Vec<_> = of.iter().enumerate()
            .map(|(n, (tokens, uptime_s, tier))| SplitProvider { id: n.to_string(), tokens: *tokens, uptime_s: *uptime_s, tier: *tier })
            .collect();
        let claimed = of.iter().any(|(tokens, uptime, _)| *tokens > 0 || *uptime > 0);
        let shares = split(&Split { pool_cents: pool, providers }, bps).unwrap();
        let sum: i64 = shares.providers.iter().map(|s| s.total_cents).sum();
        prop_assert_eq!(sum, if claimed { pool } else { 0 });
        prop_assert!(shares.providers.iter().all(|s| s.total_cents >= 0));
    }

    #[test]
    fn more_tokens_never_earn_less(pool in 0..1_000_000_i64, tokens in 0..1_000_000_i64, more in 0..1_000_i64) {
        let earn = |tokens| {
            let one = |id: &str, tokens| SplitProvider { id: id.to_owned(), tokens, uptime_s: 100, tier: 1 };
            let input = Split { pool_cents: pool, providers: vec![one("a", tokens), one("b", 500_000)] };
            split(&input, 1_000).unwrap().providers[0].total_cents
        };
        prop_assert!(earn(tokens) <= earn(tokens + more));
    }
}
