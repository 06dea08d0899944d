use counterfoil_spec::amount::TokenCount;
use counterfoil_spec::ids::Serial;
use proptest::prelude::*;

use super::fixture::{Log, account, faults, midnight, node};
use crate::settle::AsOf;
use crate::{HoldError, Ledger, credits};

/// What a caller does next.
#[derive(Debug, Clone, Copy)]
enum Step {
    Hold { account: u8, tokens: u64 },
    Post { place: usize, part: u64 },
    Void { place: usize },
    Wait { seconds: u64 },
    Pay { account: u8 },
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..4_u8, 0..300_000_u64).prop_map(|(account, tokens)| Step::Hold { account, tokens }),
        3 => (0..8_usize, 0..=100_u64).prop_map(|(place, part)| Step::Post { place, part }),
        1 => (0..8_usize).prop_map(|place| Step::Void { place }),
        1 => (0..2_000_000_u64).prop_map(|seconds| Step::Wait { seconds }),
        1 => (1..4_u8).prop_map(|account| Step::Pay { account }),
        1 => Just(Step::Crash),
    ]
}

struct Running {
    request: Serial,
    account: u8,
    held: u64,
    started: counterfoil_spec::time::Seconds,
}

/// Runs a schedule against one ledger; the log's `append` asserts the trial balances after every entry.
fn run(steps: &[Step]) -> Log {
    let mut log = Log::new(midnight(2026, 10, 1));
    for n in 1..4 {
        let account = log.open(n);
        log.grant_free(account);
    }
    log.register(0x10, &[1, 2]);
    log.attest(1, 3);
    let mut running = Vec::<Running>::new();
    for step in steps {
        match *step {
            Step::Hold { account: n, tokens } => {
                let (request, now) = (log.serial(), log.now());
                let before = log.ledger.balance(&account(n), now).available.0;
                match log.ledger.hold(&account(n), request, TokenCount(tokens), now) {
                    Ok(()) => {
                        let after = log.ledger.balance(&account(n), now).available.0;
                        assert_eq!(before.checked_sub(tokens), Some(after));
                        running.push(Running { request, account: n, held: tokens, started: now });
                    }
                    Err(HoldError::InsufficientQuota { .. } | HoldError::InFlightBudgetExhausted { .. }) => {
                        assert!(tokens > before);
                    }
                    Err(other) => panic!("{other}"),
                }
            }
            Step::Post { place, part } if !running.is_empty() => {
                let one = running.remove(place % running.len());
                post(&mut log, &one, one.held * part / 100);
            }
            Step::Void { place } if !running.is_empty() => {
                let one = running.remove(place % running.len());
                assert!(log.ledger.void(&one.request));
            }
            Step::Wait { seconds } => {
                let to = log.now().plus(seconds);
                log.turn(to);
            }
            Step::Pay { account: n } => {
                log.pay(account(n), "explorer");
            }
            // No entry knows a hold, so who replays the log after a crash has none.
            Step::Crash => {
                running.clear();
                log.ledger = replayed(&log);
                assert_eq!(log.ledger.in_flight(), 0);
            }
            Step::Post { .. } | Step::Void { .. } => {}
        }
    }
    for one in running {
        log.ledger.void(&one.request);
    }
    log
}

fn replayed(log: &Log) -> Ledger {
    let mut again = Ledger::default();
    for (index, body) in log.entries.iter().enumerate() {
        again.apply(index as u64, body).unwrap();
    }
    again
}

fn post(log: &mut Log, one: &Running, used: u64) {
    // The request is asked anew for the shape of its entry, then posted under the hold that was taken.
    let spare = log.open_spare();
    let mut asked = log.ask(spare, used, &[(1, 4), (2, 12), (3, 4)]);
    log.ledger.void(&asked.request);
    for (_, work) in &mut asked.works {
        work.request = one.request;
    }
    asked.entry.account = account(one.account);
    asked.entry.started = one.started.millis();
    asked.entry.debits = log.ledger.settle(&one.request, TokenCount(used)).unwrap();
    asked.request = one.request;
    log.post(asked);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_interleaving_never_overspends_and_replays_to_the_same_state(
        steps in prop::collection::vec(step(), 0..60),
    ) {
        let log = run(&steps);
        prop_assert_eq!(&replayed(&log), &log.ledger);
        prop_assert_eq!(faults(&log.entries), vec![]);
        prop_assert_eq!(log.ledger.in_flight(), 0);
    }

    //= spec/settlement.md#the-quarter
    //= type=test
    //# Shares MUST sum to the pool.
    #[test]
    fn a_closed_quarter_shares_its_whole_pool(steps in prop::collection::vec(step(), 0..60)) {
        let mut log = run(&steps);
        let after = midnight(2031, 1, 1);
        log.turn(log.now().max(after));
        let closed = log.period("2026Q4", log.size()).unwrap().close(AsOf::Final(log.now())).unwrap();
        let shared: i64 = closed.shares.iter().map(|s| s.cents.0).sum();
        prop_assert_eq!(shared, closed.pool.0);
        prop_assert!((0..10_000).contains(&closed.carry_micro) || closed.pool.0 == 0);
        let again = log.period("2026Q4", log.size()).unwrap().close(AsOf::Final(log.now())).unwrap();
        prop_assert_eq!(again, closed);
    }

    #[test]
    fn credits_conserve_whatever_the_forwards(
        tokens in prop_oneof![0..1_000_u64, 0..u64::MAX / 1_000_000],
        forwards in prop::collection::vec((0..20_u8, prop_oneof![0..50_u64, 0..u64::MAX / 64]), 0..40),
    ) {
        let forwards: Vec<_> = forwards.into_iter().map(|(n, f)| (node(n), f)).collect();
        let credits = credits(TokenCount(tokens), &forwards).unwrap();
        let sum: u64 = credits.iter().map(|c| c.micro_tokens.0).sum();
        let receipted = forwards.iter().any(|(_, f)| *f > 0);
        prop_assert_eq!(sum, if receipted { tokens * 1_000_000 } else { 0 });
        prop_assert!(credits.is_sorted_by(|a, b| a.node < b.node));
    }
}
