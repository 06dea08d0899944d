use counterfoil_spec::amount::{Cents, MicroTokens, MicroUsd, TokenCount};
use counterfoil_spec::ids::{Hash, ProviderId, Serial};
use counterfoil_spec::payload::{AccountOpened, Lot, LotSource, PoolRule, Rules, Statement};
use counterfoil_spec::time::Seconds;

use super::fixture::{Log, account, midnight, node, provider};
use crate::settle::{
    AsOf, CloseError, Closed, Period, ProviderShare, Quarter, leaf_hash, path, root_from_path,
};
use crate::{MoneyAccount, WorkError, founding_rules};

const SECRET: Hash = Hash::from_bytes([0x5e; 32]);
const HOUR: u64 = 3_600;

fn close(log: &Log, quarter: &str) -> Closed {
    let after = quarter.parse::<Quarter>().unwrap().end();
    log.period(quarter, log.size()).unwrap().close(AsOf::Final(after)).unwrap()
}

fn cents(closed: &Closed) -> Vec<i64> {
    closed.shares.iter().map(|s| s.cents.0).collect()
}

/// Writes the statement of a quarter that is over.
fn book(log: &mut Log, quarter: &str) -> Statement {
    let statement = close(log, quarter).statement(&SECRET);
    log.write(statement.clone());
    statement
}

/// Hours of uptime for nodes, from the log's present on; the log is then at the end of the longest.
fn run_hours(log: &mut Log, hours: &[(u8, u64)]) {
    let longest = hours.iter().map(|(_, h)| *h).max().unwrap();
    for n in 0..longest {
        let hour = log.now();
        let up: Vec<_> = hours.iter().filter(|(_, h)| n < *h).map(|(node, _)| (*node, 3_600)).collect();
        log.up(hour, &up);
        log.turn(hour.plus(HOUR));
    }
}

/// 100 Explorer subscribers, three months, three providers of one node each.
pub(super) fn three_providers() -> Log {
    let mut log = Log::new(midnight(2026, 10, 1));
    for n in [1, 2, 3] {
        log.register(0x10 + n, &[n]);
    }
    let subscribers: Vec<_> = (100..200).map(|n| log.open(n)).collect();
    for subscriber in &subscribers {
        log.pay(*subscriber, "explorer");
    }
    for (n, tier) in [(1, 4), (2, 3), (3, 1)] {
        log.attest(n, tier);
    }
    for (place, subscriber) in subscribers.iter().enumerate() {
        let served = if place < 50 {
            1
        } else if place < 70 {
            2
        } else {
            3
        };
        let tokens = match served {
            1 | 2 => 10_000,
            _ if place < 75 => 10_000,
            _ => continue,
        };
        log.serve(*subscriber, tokens, &[(served, 400)]);
    }
    run_hours(&mut log, &[(1, 720), (2, 500), (3, 300)]);
    for month in [11, 12] {
        log.turn(midnight(2026, month, 1));
        for subscriber in &subscribers {
            log.pay(*subscriber, "explorer");
        }
    }
    log.turn(midnight(2027, 1, 1));
    log
}

#[test]
fn a_quarter_of_100_subscribers_and_three_providers_closes_to_the_cent() {
    let log = three_providers();
    let closed = close(&log, "2026Q4");
    assert_eq!(closed.revenue, MicroUsd(1_500_000_000));
    assert_eq!((closed.pool, closed.carry_micro), (Cents(105_000), 0));
    let share = |n: u8, cents, tokens: u64, tier: u64, hours: u64| ProviderShare {
        provider: provider(0x10 + n),
        onboarded: true,
        nodes: vec![node(n)],
        cents: Cents(cents),
        micro_tokens: MicroTokens(tokens * 1_000_000),
        weighted: MicroTokens(tokens * tier * 1_000_000),
        uptime_s: hours * HOUR,
    };
    assert_eq!(
        closed.shares,
        [
            share(1, 76_295, 500_000, 4, 720),
            share(2, 24_850, 200_000, 3, 500),
            share(3, 3_855, 50_000, 1, 300)
        ]
    );
    assert_eq!(log.faults(), []);
}

#[test]
fn each_provider_proves_its_leaf_against_the_statement() {
    let closed = close(&three_providers(), "2026Q4");
    let statement = closed.statement(&SECRET);
    let hashes: Vec<_> = closed.leaves(&SECRET).iter().map(leaf_hash).collect();
    for (place, leaf) in hashes.iter().enumerate() {
        let path = path(&hashes, place).unwrap();
        assert_eq!(root_from_path(leaf, place, 3, &path), Some(statement.root));
    }
    assert_ne!(closed.statement(&Hash::from_bytes([1; 32])).root, statement.root);
}

#[test]
fn closing_twice_gives_the_same_statement() {
    let mut log = three_providers();
    let first = book(&mut log, "2026Q4");
    log.turn(midnight(2027, 1, 15));
    log.serve(account(100), 7, &[(1, 4)]);
    let again = log.period("2026Q4", log.size()).unwrap();
    assert_eq!(again.booked(), Some(&first));
    let closed = again.close(AsOf::Final(log.now())).unwrap();
    assert_eq!(closed.statement(&SECRET), first);
    assert!(closed.agrees_with(&Statement { root: SECRET, ..first.clone() }));
    assert!(!closed.agrees_with(&Statement { pool: Cents(first.pool.0 + 1), ..first }));
}

#[test]
fn a_statement_moves_what_was_recognised_out_of_deferred_money() {
    let mut log = three_providers();
    book(&mut log, "2026Q4");
    assert_eq!(
        log.ledger.money_book().accounts(),
        [
            (MoneyAccount::Received, -1_500_000_000),
            (MoneyAccount::Deferred, 0),
            (MoneyAccount::Providers, 1_050_000_000),
            (MoneyAccount::Carried, 0),
            (MoneyAccount::Platform, 450_000_000),
        ]
    );
}

#[test]
fn an_unfinished_quarter_is_refused_but_for_a_dry_run() {
    let mut log = Log::new(midnight(2026, 10, 1));
    let account = log.open(1);
    log.pay(account, "explorer");
    let quarter: Quarter = "2026Q4".parse().unwrap();
    let period = log.period("2026Q4", log.size()).unwrap();
    let last = Seconds(quarter.end().0 - 1);
    assert_eq!(
        period.close(AsOf::Final(last)),
        Err(CloseError::Unfinished { quarter, ends: midnight(2027, 1, 1) })
    );
    assert_eq!(period.close(AsOf::Final(quarter.end())).map(|c| c.revenue), Ok(MicroUsd(5_000_000)));
    // One day of 31: 161,290.32… micro-dollars.
    let dry = period.close(AsOf::DryRun(midnight(2026, 10, 2))).unwrap();
    assert_eq!(dry.revenue, MicroUsd(161_290));
}

#[test]
fn tokens_from_free_lots_mint_nothing() {
    let mut log = Log::new(midnight(2026, 10, 1));
    let account = log.open(1);
    log.grant_free(account);
    log.pay(account, "explorer");
    // Both lots expire on 1 December; the free one has the lower serial. 50,000 tokens come from it.
    log.serve(account, 50_003, &[(1, 4), (2, 8)]);
    let closed = close(&log, "2026Q4");
    let minted: Vec<_> = closed.shares.iter().map(|s| s.micro_tokens.0).collect();
    assert_eq!(minted, [1_000_000, 2_000_000]);
}

#[test]
fn tokens_of_unmetered_and_unpaid_accounts_mint_nothing_and_the_pool_carries_over() {
    let mut log = Log::new(midnight(2026, 10, 1));
    let paying = log.open(1);
    log.pay(paying, "explorer");
    log.write(AccountOpened { account: account(2), metered: false, country: None });
    log.serve(account(2), 10, &[(1, 4)]);
    let account = log.open(3);
    let unpaid = Lot {
        lot: Serial::from_bytes([0; 16]),
        account,
        tokens: TokenCount(10),
        source: LotSource::Unpaid,
        payment: None,
        starts: log.now(),
        expires: midnight(2026, 12, 1),
    };
    log.lot(account, unpaid);
    log.serve(account, 10, &[(1, 4)]);
    let closed = close(&log, "2026Q4");
    assert_eq!(closed.shares.iter().map(|s| s.micro_tokens.0).collect::<Vec<_>>(), [0]);
    assert_eq!((closed.pool, closed.carry_micro), (Cents(0), 3_500_000));
}

#[test]
fn a_node_without_a_provider_earns_by_tokens_and_not_by_uptime() {
    let mut log = Log::new(midnight(2026, 10, 1));
    log.register(0x10, &[1]);
    let account = log.open(1);
    log.pay(account, "explorer");
    log.serve(account, 10, &[(1, 4), (2, 4)]);
    run_hours(&mut log, &[(1, 2), (2, 2)]);
    let closed = close(&log, "2026Q4");
    let own = ProviderId::from_bytes(*node(2).as_bytes());
    let shares: Vec<_> =
        closed.shares.iter().map(|s| (s.provider, s.onboarded, s.uptime_s, s.cents.0)).collect();
    // 350 cents: 35 by uptime to the one that is onboarded, 157.5 each by tokens; the half cent by lower id.
    assert_eq!(shares, [(own, false, 0, 158), (provider(0x10), true, 2 * HOUR, 192)]);
}

#[test]
fn nodes_of_one_provider_count_an_hour_once() {
    let mut log = Log::new(midnight(2026, 10, 1));
    log.register(0x10, &[1, 2]);
    let hour = log.now();
    log.up(hour, &[(1, 1_000), (2, 1_500)]);
    log.up(hour, &[(1, 1_000)]);
    log.turn(hour.plus(HOUR));
    log.up(hour.plus(HOUR), &[(2, 10)]);
    assert_eq!(close(&log, "2026Q4").shares[0].uptime_s, 2_010);
}

#[test]
fn the_latest_registration_owns_a_node() {
    let mut log = Log::new(midnight(2026, 10, 1));
    log.register(0x10, &[1, 2]);
    log.register(0x11, &[2]);
    log.register(0x10, &[1]);
    let owned = |log: &Log| {
        let closed = close(log, "2026Q4");
        closed.shares.into_iter().map(|s| (s.provider, s.nodes)).collect::<Vec<_>>()
    };
    assert_eq!(owned(&log), [(provider(0x10), vec![node(1)]), (provider(0x11), vec![node(2)])]);
    log.register(0x11, &[]);
    assert_eq!(owned(&log), [(provider(0x10), vec![node(1)]), (provider(0x11), vec![])]);
}

//= spec/settlement.md#providers
//= type=test
//# A provider MUST NOT be registered under the id of a node that worked and belongs to nobody.
#[test]
fn a_provider_cannot_take_the_id_of_somebody_elses_node() {
    let mut log = Log::new(midnight(2026, 10, 1));
    log.register(2, &[1]);
    log.write(AccountOpened { account: account(1), metered: false, country: None });
    log.serve(account(1), 10, &[(2, 4)]);
    let period = log.period("2026Q4", log.size()).unwrap();
    assert_eq!(period.close(AsOf::Final(midnight(2027, 1, 1))), Err(CloseError::ProviderIsNode(provider(2))));
}

#[test]
fn fractions_carry_into_the_next_pool_and_work_belongs_by_index() {
    let mut log = Log::new(midnight(2026, 12, 31));
    let account = log.open(1);
    log.pay(account, "explorer");
    log.serve(account, 10, &[(1, 4)]);
    log.turn(midnight(2027, 1, 1));
    // ⌊5,000,000 / 31⌋ = 161,290; 70% = 112,903 micro: 11 cents and 2,903.
    let statement = book(&mut log, "2026Q4");
    assert_eq!((statement.first, statement.end), (0, log.size() - 1));
    assert_eq!((statement.pool, statement.carry_micro), (Cents(11), 2_903));
    log.serve(account, 20, &[(2, 4)]);
    log.turn(midnight(2027, 4, 1));
    // 4,838,710 × 70% = 3,387,097 and the 2,903 make 339 cents.
    let next = close(&log, "2027Q1");
    assert_eq!(next.first, statement.end);
    assert_eq!((next.revenue, next.pool, next.carry_micro), (MicroUsd(4_838_710), Cents(339), 0));
    assert_eq!(
        next.shares.iter().map(|s| (s.nodes.clone(), s.cents.0)).collect::<Vec<_>>(),
        [(vec![node(2)], 339)]
    );
}

#[test]
fn a_refund_of_recognised_money_is_a_deficit_that_later_pools_make_up() {
    let mut log = Log::new(midnight(2026, 10, 1));
    let account = log.open(1);
    let (payment, _) = log.pay(account, "explorer");
    log.serve(account, 10, &[(1, 4)]);
    log.turn(midnight(2027, 1, 1));
    assert_eq!(book(&mut log, "2026Q4").pool, Cents(350));
    log.refund(payment, 5);
    log.turn(midnight(2027, 4, 1));
    let statement = book(&mut log, "2027Q1");
    assert_eq!(
        (statement.revenue, statement.pool, statement.carry_micro),
        (MicroUsd(0), Cents(0), -3_500_000)
    );
    log.pay(account, "builder");
    log.serve(account, 10, &[(1, 4)]);
    log.turn(midnight(2027, 7, 1));
    let closed = close(&log, "2027Q2");
    assert_eq!((closed.pool, closed.carry_micro), (Cents(1_050), 0));
}

#[test]
fn an_hour_across_two_quarters_counts_once() {
    let mut log = Log::new(midnight(2026, 12, 31));
    log.register(0x10, &[1]);
    log.turn(Seconds(midnight(2027, 1, 1).0 - HOUR));
    let hour = log.now();
    log.up(hour, &[(1, 2_000)]);
    log.turn(midnight(2027, 1, 1));
    book(&mut log, "2026Q4");
    log.up(hour, &[(1, 3_000)]);
    log.turn(midnight(2027, 4, 1));
    assert_eq!(close(&log, "2027Q1").shares[0].uptime_s, 1_600);
}

//= spec/settlement.md#the-quarter
//= type=test
//# Quarters MUST be closed one after the other, each once, and not before they are over.
#[test]
fn quarters_are_closed_one_after_the_other() {
    let mut log = Log::new(midnight(2026, 10, 1));
    log.turn(midnight(2027, 1, 1));
    book(&mut log, "2026Q4");
    let refused = log.period("2027Q2", log.size()).err();
    let (expected, found) = ("2027Q1".parse().unwrap(), "2027Q2".parse().unwrap());
    assert_eq!(refused, Some(CloseError::OutOfOrder { expected, found }));
    assert_eq!(cents(&close(&log, "2027Q1")), Vec::<i64>::new());
}

#[test]
fn an_end_that_the_log_has_not_reached_is_refused() {
    let log = Log::new(midnight(2026, 10, 1));
    let period = log.period("2026Q4", 3).unwrap();
    assert_eq!(
        period.close(AsOf::Final(midnight(2027, 1, 1))),
        Err(CloseError::EntriesMissing { applied: 2, end: 3 })
    );
}

#[test]
fn the_per_account_pool_asks_for_who_served_which_lot() {
    let mut log = Log::new(midnight(2026, 10, 1));
    log.write(Rules { pool_rule: PoolRule::PerAccount, ..founding_rules(2) });
    let mut period = Period::new("2026Q4".parse().unwrap(), &[], log.size()).unwrap();
    for (index, body) in log.entries.iter().enumerate() {
        period.apply(index as u64, body).unwrap();
    }
    assert_eq!(period.close(AsOf::Final(midnight(2027, 1, 1))), Err(CloseError::LotsNotKept));
}

#[test]
fn credits_without_their_receipt_are_not_settled() {
    let mut log = Log::new(midnight(2026, 10, 1));
    log.write(AccountOpened { account: account(1), metered: false, country: None });
    let mut asked = log.ask(account(1), 10, &[(1, 4)]);
    let (work, _) = asked.works.pop().unwrap();
    log.post(asked);
    assert_eq!(
        log.period("2026Q4", log.size()).err(),
        Some(CloseError::Work { index: log.size() - 1, error: WorkError::NotOfRequest(work) })
    );
}
