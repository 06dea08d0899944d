//! The pool rule `per-account`, whatever people do.

use counterfoil_spec::amount::{Cents, MicroUsd};
use counterfoil_spec::ids::{Hash, Serial};
use counterfoil_spec::payload::{Payload, PoolRule, Prune, Refund, Rules};
use proptest::prelude::*;

use super::closing::three_providers;
use super::fixture::{Log, account, midnight, node, provider};
use crate::settle::{AsOf, CloseError, Closed, Period, Quarter};
use crate::{Ledger, founding_rules};

const EARNINGS: &str = include_str!("../../../docs/earnings.md");
const SECRET: Hash = Hash::from_bytes([0x5e; 32]);
const QUARTERS: [&str; 3] = ["2026Q4", "2027Q1", "2027Q2"];
const PLANS: [&str; 3] = ["explorer", "builder", "operator"];
/// The coalition's account, the node that it registered, and one that it did not.
const PAYER: u8 = 1;
const REGISTERED: u8 = 1;
const UNREGISTERED: u8 = 2;

#[derive(Debug, Clone)]
enum Step {
    Pay { account: u8, plan: usize },
    Serve { account: u8, tokens: u64, forwards: (u64, u64) },
    Refund { payment: usize, part: u64 },
    Up { seconds: u32 },
    Attest { node: u8, tier: u8 },
    Wait { days: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (1..5_u8, 0..3_usize).prop_map(|(account, plan)| Step::Pay { account, plan }),
        5 => (1..5_u8, 1..400_000_u64, (0..9_u64, 1..9_u64))
            .prop_map(|(account, tokens, forwards)| Step::Serve { account, tokens, forwards }),
        1 => (0..8_usize, 1..=100_u64).prop_map(|(payment, part)| Step::Refund { payment, part }),
        1 => (0..=3_600_u32).prop_map(|seconds| Step::Up { seconds }),
        1 => (1..5_u8, 1..=4_u8).prop_map(|(node, tier)| Step::Attest { node, tier }),
        3 => (1..40_u64).prop_map(|days| Step::Wait { days }),
    ]
}

fn by_account(log: &mut Log) {
    let version = log.ledger.rules().version + 1;
    log.write(Rules { pool_rule: PoolRule::PerAccount, ..founding_rules(version) });
}

fn close(log: &mut Log, quarter: &str) -> Closed {
    let ends = quarter.parse::<Quarter>().unwrap().end();
    log.turn(ends.max(log.now()));
    let closed = log.period(quarter, log.size()).unwrap().close(AsOf::Final(ends)).unwrap();
    log.write(closed.statement(&SECRET));
    closed
}

/// Everything that happened, and what the coalition paid.
struct Played {
    log: Log,
    closed: Vec<Closed>,
    paid: u64,
}

fn play(steps: &[Step]) -> Played {
    let mut log = Log::new(midnight(2026, 10, 1));
    by_account(&mut log);
    for n in 1..5 {
        log.open(n);
    }
    log.register(0x10, &[REGISTERED]);
    log.register(0x20, &[3, 4]);
    let (mut payments, mut closed, mut paid) = (Vec::new(), Vec::new(), 0);
    for step in steps {
        match *step {
            Step::Pay { account: n, plan } => {
                let price = log.ledger.rules().plans[plan].price;
                let (payment, _) = log.pay(account(n), PLANS[plan]);
                payments.push((payment, price.0));
                paid += if n == PAYER { price.0 } else { 0 };
            }
            Step::Serve { account: n, tokens, forwards: (own, other) } => {
                let free = log.ledger.balance(&account(n), log.now()).available.0;
                let nodes = if n == PAYER { [REGISTERED, UNREGISTERED] } else { [3, 4] };
                let by = [(nodes[0], 4 * own), (nodes[1], 4 * other)];
                log.serve(account(n), tokens.min(free), &by);
            }
            Step::Refund { payment, part } if !payments.is_empty() => {
                let place = payment % payments.len();
                let (payment, left) = &mut payments[place];
                let amount = *left * part / 100;
                *left -= amount;
                let payment = *payment;
                log.write(Refund { payment, amount: MicroUsd(amount) });
            }
            // Nodes of the coalition are never up, since that is paid for by everybody.
            Step::Up { seconds } => {
                let hour = counterfoil_spec::time::Seconds(log.now().0 / 3_600 * 3_600);
                log.up(hour, &[(3, seconds)]);
            }
            Step::Attest { node, tier } => log.attest(node, tier),
            Step::Wait { days } => {
                let to = log.now().plus(days * 86_400);
                if let Some(quarter) = QUARTERS.get(closed.len())
                    && to >= quarter.parse::<Quarter>().unwrap().end()
                {
                    closed.push(close(&mut log, quarter));
                }
                log.turn(to.max(log.now()));
            }
            Step::Refund { .. } => {}
        }
    }
    while let Some(quarter) = QUARTERS.get(closed.len()) {
        closed.push(close(&mut log, quarter));
    }
    Played { log, closed, paid }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn an_account_and_its_nodes_never_get_back_more_than_they_paid(
        steps in prop::collection::vec(step(), 0..80),
    ) {
        let Played { log, closed, paid } = play(&steps);
        let own = [provider(0x10), provider(UNREGISTERED)];
        let shares = closed.iter().flat_map(|c| &c.shares);
        let taken: i64 = shares.filter(|s| own.contains(&s.provider)).map(|s| s.cents.0).sum();
        // 70% of what was paid, of which a tenth goes by uptime.
        prop_assert!(i128::from(taken) * 10_000 <= i128::from(paid) * 63 / 100, "{taken} cents of {paid}");
        for closed in &closed {
            let shared: i64 = closed.shares.iter().map(|s| s.cents.0).sum();
            prop_assert_eq!(shared, closed.pool.0);
        }
        let mut again = Ledger::default();
        for (index, body) in log.entries.iter().enumerate() {
            again.apply(index as u64, body).unwrap();
        }
        prop_assert_eq!(&again, &log.ledger);
        prop_assert_eq!(log.faults(), vec![]);
    }

    /// Micro-tokens are neither made nor lost on the way into a statement.
    #[test]
    fn micro_tokens_of_a_quarter_are_its_paid_tokens(steps in prop::collection::vec(step(), 0..80)) {
        let Played { log, closed, .. } = play(&steps);
        for closed in &closed {
            let range = usize::try_from(closed.first).unwrap()..usize::try_from(closed.end).unwrap();
            let tokens: u64 = log.entries[range].iter().map(|body| match &body.payload {
                Payload::Inference(entry) => entry.debits.iter().map(|d| d.tokens.0).sum(),
                _ => 0,
            }).sum();
            let micro: u64 = closed.shares.iter().map(|s| s.micro_tokens.0).sum();
            prop_assert_eq!(micro, tokens * 1_000_000);
        }
    }
}

/// The worked quarter of `docs/earnings.md`: the rule comes into force before its end.
#[test]
fn the_worked_quarter_by_account_is_that_of_the_guide() {
    let mut log = three_providers();
    by_account(&mut log);
    let closed = close(&mut log, "2026Q4");
    assert_eq!((closed.pool, closed.carry_micro), (Cents(73_499), 315_010_000));
    // $78.75 of October's and $315.00 of November's tokens, and a tenth of all.
    let by_uptime = 78_750_000 + 315_000_000 + 105_000_000;
    assert!(EARNINGS.contains(&format!("by uptime ({})", dollars(by_uptime / 10_000))));
    let hours: u64 = closed.shares.iter().map(|s| s.uptime_s).sum();
    for ((name, accounts), share) in [("A", 50), ("B", 20), ("C", 5)].into_iter().zip(&closed.shares) {
        let service = accounts * 3_150_000_u64;
        let uptime = by_uptime * share.uptime_s / hours;
        assert_eq!(u64::try_from(share.cents.0).unwrap(), (service + uptime) / 10_000);
        let [service, uptime] = [service, uptime].map(|micro| dollars(micro / 10_000));
        let cents = dollars(u64::try_from(share.cents.0).unwrap());
        let row = format!("| {name} | {accounts} accounts | {service} | {uptime} | **{cents}** |");
        assert!(EARNINGS.contains(&row), "{row}");
    }
}

fn dollars(cents: u64) -> String {
    format!("${}.{:02}", cents / 100, cents % 100)
}

#[test]
fn fractions_are_not_rounded_up_for_anybody() {
    // $5.00 leave $3.15 for three nodes: 78.75, 78.75 and 157.5 cents.
    let mut log = Log::new(midnight(2026, 10, 1));
    by_account(&mut log);
    let account = log.open(1);
    log.pay(account, "explorer");
    log.serve(account, 1_000, &[(1, 4), (2, 4), (3, 8)]);
    let closed = close(&mut log, "2026Q4");
    assert_eq!(closed.shares.iter().map(|s| s.cents.0).collect::<Vec<_>>(), [78, 78, 157]);
    assert_eq!((closed.pool, closed.carry_micro), (Cents(313), 370_000));
}

#[test]
fn what_nobody_used_waits_for_the_end_of_its_lot_and_then_goes_by_uptime() {
    let mut log = Log::new(midnight(2026, 12, 1));
    by_account(&mut log);
    log.register(0x10, &[1]);
    let account = log.open(1);
    log.pay(account, "explorer");
    let hour = log.now();
    log.up(hour, &[(1, 60)]);
    // The tenth that goes by uptime; the lot ends on 1 February.
    let first = close(&mut log, "2026Q4");
    assert_eq!((first.pool, first.carry_micro), (Cents(35), 3_150_000));
    let hour = log.now();
    log.up(hour, &[(1, 60)]);
    assert_eq!(close(&mut log, "2027Q1").pool, Cents(315));
}

#[test]
fn a_refund_of_another_account_is_taken_from_what_goes_by_uptime_first() {
    let mut log = Log::new(midnight(2026, 10, 1));
    by_account(&mut log);
    log.register(0x10, &[1]);
    let [one, two] = [1, 2].map(|n| log.open(n));
    let (payment, _) = log.pay(one, "explorer");
    log.serve(one, 10, &[(2, 4)]);
    close(&mut log, "2026Q4");
    // The ten per cent that found nobody up, 35 cents, were carried and make up for a part of the 350.
    log.write(Refund { payment, amount: MicroUsd(5_000_000) });
    log.pay(two, "builder");
    log.serve(two, 10, &[(3, 4)]);
    let hour = log.now();
    log.up(hour, &[(1, 60)]);
    let closed = close(&mut log, "2027Q1");
    // $20.00 leave $14.00, less $3.50, with $0.35: $10.85, where $12.60 are asked for.
    let own: Vec<_> = closed.shares.iter().map(|s| (s.nodes.clone(), s.cents.0)).collect();
    assert_eq!(own, [(vec![node(3)], 1_085), (vec![node(1)], 0)]);
    assert_eq!((closed.pool, closed.carry_micro), (Cents(1_085), 0));
}

//= spec/settlement.md#per-account
//= type=test
//# A quarter MUST NOT be closed under this rule where an entry before it was removed that may have debited a lot that had not
//# ended when the quarter began
#[test]
fn work_for_an_open_lot_that_was_removed_is_missed() {
    let mut log = Log::new(midnight(2026, 12, 1));
    by_account(&mut log);
    let account = log.open(1);
    log.pay(account, "explorer");
    let served = log.size() + 1;
    log.serve(account, 10, &[(1, 4)]);
    close(&mut log, "2026Q4");
    log.turn(midnight(2027, 2, 2));
    let prune = |log: &mut Log| {
        log.write(Prune {
            first: 0,
            end: 256,
            kept: Vec::new(),
            removed: Vec::new(),
            hash: SECRET,
            kept_days: 0,
        })
    };
    let _: Serial = prune(&mut log);
    let replay = |log: &Log, quarter: &str| {
        let mut period =
            Period::new(quarter.parse().unwrap(), log.ledger.statements(), log.size()).unwrap().with_lots();
        for (index, body) in log.entries.iter().enumerate() {
            if index as u64 == served {
                period.removed(served);
            } else {
                period.apply(index as u64, body).unwrap();
            }
        }
        period.close(AsOf::Final(log.now()))
    };
    log.turn(midnight(2027, 4, 1));
    let quarter = "2027Q1".parse().unwrap();
    assert_eq!(replay(&log, "2027Q1"), Err(CloseError::LotsRemoved { quarter, entry: served }));
    // A quarter later the lot had ended before it began.
    close(&mut log, "2027Q1");
    log.turn(midnight(2027, 7, 1));
    assert_eq!(replay(&log, "2027Q2").map(|closed| closed.pool), Ok(Cents(0)));
}
