//! The worked examples of `spec/settlement.md` and `docs/earnings.md`.

use std::fmt::Write as _;

use counterfoil_spec::amount::{Cents, MicroTokens, MicroUsd, TokenCount};
use counterfoil_spec::encode::to_canonical;
use counterfoil_spec::ids::Hash;

use super::fixture::{node, provider};
use crate::settle::{Closed, ProviderShare, leaf_hash, rules_hash};
use crate::split::{Split, split};
use crate::{credits, founding_rules};

const SPEC: &str = include_str!("../../../spec/settlement.md");
const EARNINGS: &str = include_str!("../../../docs/earnings.md");

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// Asserts that a document shows these bytes, however it breaks the lines.
fn shows(what: &str, bytes: &[u8]) {
    let bare: String = SPEC.split_whitespace().collect();
    assert!(bare.contains(&hex(bytes)), "{what} is {}", hex(bytes));
}

fn example() -> Closed {
    let share = |n: u8, cents, tokens: u64, tier: u64, hours: u64| ProviderShare {
        provider: provider(n),
        onboarded: true,
        nodes: Vec::new(),
        cents: Cents(cents),
        micro_tokens: MicroTokens(tokens * 1_000_000),
        weighted: MicroTokens(tokens * tier * 1_000_000),
        uptime_s: hours * 3_600,
    };
    Closed {
        quarter: "2026Q4".parse().unwrap(),
        first: 0,
        end: 4_096,
        rules_hash: rules_hash(&founding_rules(1)),
        revenue: MicroUsd(1_500_000_000),
        pool: Cents(105_000),
        carry_micro: 0,
        corrected: Cents(0),
        shares: vec![
            share(0x11, 76_295, 500_000, 4, 720),
            share(0x12, 24_850, 200_000, 3, 500),
            share(0x13, 3_855, 50_000, 1, 300),
        ],
    }
}

#[test]
fn the_specification_shows_the_bytes_of_its_example() {
    let secret = Hash::from_bytes([0x5e; 32]);
    let closed = example();
    let leaf = &closed.leaves(&secret)[0];
    shows("the rules hash", closed.rules_hash.as_bytes());
    shows("the leaf", &to_canonical(leaf));
    shows("the leaf's hash", leaf_hash(leaf).as_bytes());
    shows("the statement", &to_canonical(&closed.statement(&secret)));
}

#[test]
fn the_specification_shows_the_credits_of_its_example() {
    let forwards = [(node(1), 4), (node(2), 8), (node(3), 12)];
    let micro: Vec<_> =
        credits(TokenCount(10), &forwards).unwrap().iter().map(|c| c.micro_tokens.0).collect();
    assert_eq!(micro, [1_666_667, 3_333_333, 5_000_000]);
    assert!(SPEC.contains("1,666,667,\n3,333,333 and 5,000,000 micro-tokens"));
}

/// Each part is printed rounded to the nearest cent.
#[test]
fn the_guide_to_earnings_shows_the_parts_of_each_share() {
    let shares = example().shares;
    let hours: u64 = shares.iter().map(|s| s.uptime_s).sum();
    let weighted: u64 = shares.iter().map(|s| s.weighted.0).sum();
    let nearest = |pool: u128, part: u64, of: u64| {
        (2 * pool * u128::from(part) + u128::from(of)) / (2 * u128::from(of))
    };
    let dollars = |cents: u128| format!("${}.{:02}", cents / 100, cents % 100);
    for (name, share) in ["A", "B", "C"].into_iter().zip(&shares) {
        let tier = share.weighted.0 / share.micro_tokens.0;
        let row = format!(
            "| {name} | {},000 × {tier} | {} h | {} | {} | **{}** |",
            share.micro_tokens.0 / 1_000_000_000,
            share.uptime_s / 3_600,
            dollars(nearest(10_500, share.uptime_s, hours)),
            dollars(nearest(94_500, share.weighted.0, weighted)),
            dollars(u128::try_from(share.cents.0).unwrap()),
        );
        assert!(EARNINGS.contains(&row), "{row}");
    }
}

#[test]
fn the_guide_to_earnings_shows_what_split_prints() {
    let begin = EARNINGS.find("{\"pool_cents\"").unwrap();
    let end = EARNINGS.find("\n$ counterfoil earnings split").unwrap();
    let input: Split = serde_json::from_str(&EARNINGS[begin..end]).unwrap();
    let output = serde_json::to_string(&split(&input, 1_000).unwrap()).unwrap();
    assert!(EARNINGS.contains(&output), "{output}");
}
