//! People who try to take out more than they put in, under both pool rules, through real entries.
//!
//! 100 subscribers pay $5 for October. 20 of them ask nothing; 79 use a fifth of their tokens, at one honest node of tier 1 that
//! is up for ten hours. The last one is the attacker's, and so is the node of tier 4. The pool is $350.00.

use counterfoil_spec::amount::Cents;
use counterfoil_spec::ids::{AccountId, NodeId, ProviderId};
use counterfoil_spec::payload::{AccountOpened, NodeUptime, PoolRule, ProviderRegistered, Rules, Uptime};

use super::fixture::{Log, account, midnight, node, provider};
use crate::founding_rules;
use crate::settle::{AsOf, Closed, Quarter};

const EARNINGS: &str = include_str!("../../../docs/earnings.md");
const HONEST: u8 = 1;
const OWN: u8 = 2;
const HOURS: u64 = 10;

/// What the attacker does beside paying.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attack {
    /// Burns all tokens of the subscription at the own node.
    OwnNode,
    /// Opens a thousand accounts and burns their free tokens at the own node.
    FreeAccounts,
    /// Keeps fifty nodes up that nobody registered.
    PhantomNodes,
    /// The same, registered as one provider.
    PhantomProvider,
    /// The same, as ten providers.
    PhantomProviders,
}

/// An account or node beyond those of the fixture.
fn wide(n: u16) -> [u8; 32] {
    let mut bytes = [0xa0; 32];
    bytes[..2].copy_from_slice(&n.to_be_bytes());
    bytes
}

fn phantom(n: u16) -> NodeId {
    NodeId::from_bytes(wide(n))
}

fn network(rule: PoolRule, attack: Attack) -> Log {
    let mut log = Log::new(midnight(2026, 10, 1));
    log.write(Rules { pool_rule: rule, ..founding_rules(2) });
    log.register(0xe0, &[HONEST]);
    log.register(0xe1, &[OWN]);
    log.attest(OWN, 4);
    for n in 100..200 {
        let subscriber = log.open(n);
        log.pay(subscriber, "explorer");
        if n < 179 {
            log.serve(subscriber, 100_000, &[(HONEST, 400)]);
        }
    }
    match attack {
        Attack::OwnNode => {
            log.serve(account(199), 500_000, &[(OWN, 400)]);
        }
        Attack::FreeAccounts => free_accounts(&mut log),
        Attack::PhantomNodes => {}
        Attack::PhantomProvider => phantoms(&mut log, 1),
        Attack::PhantomProviders => phantoms(&mut log, 10),
    }
    for _ in 0..HOURS {
        let hour = log.now();
        let mut nodes = vec![NodeUptime { node: node(HONEST), seconds: 3_600 }];
        if !matches!(attack, Attack::OwnNode | Attack::FreeAccounts) {
            nodes.extend((0..50).map(|n| NodeUptime { node: phantom(n), seconds: 3_600 }));
        }
        nodes.sort_unstable_by_key(|n| n.node);
        log.write(Uptime { hour, nodes });
        log.turn(hour.plus(3_600));
    }
    log.turn(midnight(2027, 1, 1));
    log
}

fn free_accounts(log: &mut Log) {
    for n in 0..1_000 {
        let account = AccountId::from_bytes(wide(n));
        log.write(AccountOpened { account, metered: true, country: None });
        log.grant_free(account);
        log.serve(account, 50_000, &[(OWN, 400)]);
    }
}

/// Registers the fifty nodes evenly under so many payout identities.
fn phantoms(log: &mut Log, providers: u16) {
    for n in 0..providers {
        log.write(ProviderRegistered {
            provider: ProviderId::from_bytes(wide(n)),
            nodes: (0..50).filter(|node| node % providers == n).map(phantom).collect(),
            accounts: Vec::new(),
            affiliated: false,
        });
    }
}

fn closed(rule: PoolRule, attack: Attack) -> Closed {
    let log = network(rule, attack);
    assert_eq!(log.faults(), []);
    let quarter: Quarter = "2026Q4".parse().unwrap();
    log.period("2026Q4", log.size()).unwrap().close(AsOf::Final(quarter.end())).unwrap()
}

/// What everybody but the honest provider gets, in cents.
fn taken(closed: &Closed) -> i64 {
    closed.shares.iter().filter(|s| s.provider != provider(0xe0)).map(|s| s.cents.0).sum()
}

fn dollars(cents: i64) -> String {
    format!("${}.{:02}", cents / 100, cents % 100)
}

#[test]
fn farmers_get_back_what_the_guide_says() {
    let cases = [
        (
            Attack::OwnNode,
            "all tokens of one subscription, at the subscriber's own tier-4 node",
            500,
            6_364,
            315,
        ),
        (Attack::FreeAccounts, "a thousand free accounts, at the same node", 0, 0, 0),
        (Attack::PhantomNodes, "50 idle nodes, always up, that no provider registered", 0, 0, 0),
        (Attack::PhantomProvider, "the same, registered as one provider", 0, 1_750, 5_057),
        (Attack::PhantomProviders, "the same, registered as ten providers", 0, 3_182, 9_190),
    ];
    for (attack, what, paid, pro_rata, per_account) in cases {
        let [by_pool, by_account] =
            [PoolRule::ProRata, PoolRule::PerAccount].map(|rule| closed(rule, attack));
        assert_eq!((taken(&by_pool), taken(&by_account)), (pro_rata, per_account), "{attack:?}");
        assert_eq!(by_pool.pool, Cents(35_000));
        let row =
            format!("| {what} | {} | {} | {} |", dollars(paid), dollars(pro_rata), dollars(per_account));
        println!("{row}");
        assert!(EARNINGS.contains(&row), "{row}");
    }
}

#[test]
fn tokens_that_nobody_paid_for_mint_nothing_under_either_rule() {
    for rule in [PoolRule::ProRata, PoolRule::PerAccount] {
        let closed = closed(rule, Attack::FreeAccounts);
        let minted: Vec<_> = closed.shares.iter().map(|s| (s.provider, s.micro_tokens.0)).collect();
        assert_eq!(minted, [(provider(0xe0), 7_900_000_000_000), (provider(0xe1), 0)]);
    }
}
