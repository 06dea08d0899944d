//! Quarters that another program computed with exact fractions from the specification: `conformance/generator/settlement.py`.

use counterfoil_spec::amount::{Cents, MicroUsd, TokenCount};
use counterfoil_spec::ids::{Hash, Serial};
use counterfoil_spec::payload::{
    Chargeback, Correction, Dispute, Lot, LotSource, Payment, PoolRule, Refund, Rules,
};
use counterfoil_spec::time::Seconds;
use serde_json::{Value, json};

use super::fixture::{Log, account, midnight, provider};
use crate::founding_rules;
use crate::settle::{AsOf, Closed, Quarter};

const VECTORS: &str = include_str!("../../../conformance/quarters.json");
const SECRET: Hash = Hash::from_bytes([0x5e; 32]);

/// Plays events into a log.
struct Player {
    log: Log,
    payments: Vec<Serial>,
    results: Vec<Value>,
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

fn byte(value: &Value) -> u8 {
    u8::try_from(number(value)).unwrap()
}

/// Pairs of a node and a number.
fn pairs(value: &Value) -> Vec<(u8, u64)> {
    value.as_array().unwrap().iter().map(|pair| (byte(&pair[0]), number(&pair[1]))).collect()
}

impl Player {
    fn new() -> Self {
        let mut log = Log::new(midnight(2026, 10, 1));
        for n in 1..=4 {
            log.open(n);
        }
        Self { log, payments: Vec::new(), results: Vec::new() }
    }

    fn play(&mut self, event: &Value) {
        self.log.turn(Seconds(number(&event[1])));
        let log = &mut self.log;
        match event[0].as_str().unwrap() {
            "put" => {
                let rule = if event[2] == "per-account" { PoolRule::PerAccount } else { PoolRule::ProRata };
                let part = |at: usize| u32::try_from(number(&event[at])).unwrap();
                let version = log.ledger.rules().version + 1;
                let (pool_bps, uptime_bps) = (part(3), part(4));
                log.write(Rules { pool_rule: rule, pool_bps, uptime_bps, ..founding_rules(version) });
            }
            "register" => {
                let nodes: Vec<_> = event[3].as_array().unwrap().iter().map(byte).collect();
                log.register(byte(&event[2]), &nodes);
            }
            "attest" => log.attest(byte(&event[2]), byte(&event[3])),
            "up" => {
                let nodes: Vec<_> =
                    pairs(&event[3]).into_iter().map(|(n, s)| (n, u32::try_from(s).unwrap())).collect();
                log.up(Seconds(number(&event[2])), &nodes);
            }
            "serve" => {
                log.serve(account(byte(&event[2])), number(&event[3]), &pairs(&event[4]));
            }
            "refund" => {
                let payment = self.payments[usize::try_from(number(&event[2])).unwrap()];
                log.write(Refund { payment, amount: MicroUsd(number(&event[3])) });
            }
            "dispute" => {
                let payment = self.payments[usize::try_from(number(&event[2])).unwrap()];
                let dispute = Serial::from_bytes([byte(&event[3]); 16]);
                log.write(Chargeback { payment, dispute, amount: MicroUsd(number(&event[4])) });
            }
            "correct" => {
                let quarter = event[2].as_str().unwrap().to_owned();
                let (provider, cents) = (provider(byte(&event[3])), event[4].as_i64().unwrap());
                let claimed = Cents(log.ledger.standing(&quarter, &provider).0 + cents);
                let reason = "counted by hand".to_owned();
                let dispute = log.write(Dispute { quarter, provider, claimed, reason: reason.clone() });
                log.write(Correction { dispute, cents: Cents(cents), reason });
            }
            "pay" => self.pay(event),
            "free" => {
                let (tokens, expires) = (number(&event[3]), number(&event[4]));
                self.lot(byte(&event[2]), None, tokens, number(&event[1]), expires);
            }
            "close" => self.close(event[2].as_str().unwrap()),
            other => panic!("an event {other}"),
        }
    }

    fn pay(&mut self, event: &Value) {
        let (starts, ends) = (number(&event[4]), number(&event[5]));
        let paid = Payment {
            account: account(byte(&event[2])),
            amount: MicroUsd(number(&event[3])),
            plan: "explorer".to_owned(),
            period_start: Seconds(starts),
            period_end: Seconds(ends),
        };
        let payment = self.log.write(paid);
        self.payments.push(payment);
        self.lot(byte(&event[2]), Some(payment), number(&event[6]), starts, number(&event[7]));
    }

    fn lot(&mut self, of: u8, payment: Option<Serial>, tokens: u64, starts: u64, expires: u64) {
        let lot = Lot {
            lot: Serial::from_bytes([0; 16]),
            account: account(of),
            tokens: TokenCount(tokens),
            source: if payment.is_some() { LotSource::Paid } else { LotSource::Free },
            payment,
            starts: Seconds(starts),
            expires: Seconds(expires),
        };
        self.log.lot(account(of), lot);
    }

    fn close(&mut self, quarter: &str) {
        let period = self.log.period(quarter, self.log.size()).unwrap();
        let closed = period.close(AsOf::Final(quarter.parse::<Quarter>().unwrap().end())).unwrap();
        self.log.write(closed.statement(&SECRET));
        self.results.push(shown(&closed));
    }
}

fn shown(closed: &Closed) -> Value {
    let shares = closed
        .shares
        .iter()
        .map(|s| json!([s.provider.as_bytes()[0], s.cents, s.micro_tokens, s.weighted, s.uptime_s]));
    json!({
        "quarter": closed.quarter.to_string(), "revenue": closed.revenue, "pool": closed.pool,
        "carry": closed.carry_micro, "shares": shares.collect::<Vec<_>>(),
    })
}

//= spec/settlement.md#the-quarter
//= type=test
//# Shares MUST sum to the pool.
#[test]
fn quarters_under_both_rules_are_those_that_exact_fractions_give() {
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    let mut tests = 0;
    for group in vectors["testGroups"].as_array().unwrap() {
        for test in group["tests"].as_array().unwrap() {
            let mut player = Player::new();
            test["events"].as_array().unwrap().iter().for_each(|event| player.play(event));
            assert_eq!(json!(player.results), test["quarters"], "test {}: {}", test["tcId"], test["comment"]);
            assert_eq!(player.log.faults(), [], "test {}", test["tcId"]);
            let pools = player.log.ledger.statements().iter().map(|s| s.pool);
            assert!(pools.eq(test["quarters"].as_array().unwrap().iter().map(|r| {
                Cents(r["shares"].as_array().unwrap().iter().map(|s| s[1].as_i64().unwrap()).sum())
            })));
            tests += 1;
        }
    }
    assert_eq!(json!(tests), vectors["numberOfTests"]);
}
