use std::hash::{BuildHasherDefault, DefaultHasher};
use std::net::{Ipv4Addr, Ipv6Addr};

use super::*;

type Fixed = BuildHasherDefault<DefaultHasher>;

const LIMITS: Limits = Limits {
    arriving: 4,
    unproved: 2,
    of_prefix: 2,
    unproved_rate: Rate { per_s: 2, burst: 3 },
    prefix_rate: Rate { per_s: 4, burst: 3 },
    retry_rate: Rate { per_s: 2, burst: 2 },
    prefixes: 8,
    handshake_ms: 0,
    arrival_ms: 0,
};

fn gate(limits: Limits) -> Gate<Fixed> {
    Gate::with_hasher(limits, Fixed::default())
}

/// Host `host` of the prefix `net`.
fn ip(net: u8, host: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(192, 0, net, host))
}

/// Comes and is known at once.
fn passes(gate: &mut Gate<Fixed>, from: IpAddr, address: Address, now_ms: u64) -> Verdict {
    let verdict = gate.knock(from, address, now_ms);
    if let Verdict::Enter(entrant) = verdict {
        gate.left(entrant);
    }
    verdict
}

fn enters(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Enter(_))
}

#[test]
fn a_prefix_is_a_24_of_ipv4_and_a_56_of_ipv6() {
    assert_eq!(Prefix::of(ip(2, 1)), Prefix::of(ip(2, 254)));
    assert_ne!(Prefix::of(ip(2, 1)), Prefix::of(ip(3, 1)));
    let six = |text: &str| Prefix::of(IpAddr::V6(text.parse::<Ipv6Addr>().unwrap()));
    assert_eq!(six("2001:db8:1:200::1"), six("2001:db8:1:2ff:ffff::9"));
    assert_ne!(six("2001:db8:1:200::1"), six("2001:db8:1:300::1"));
    assert_eq!(six("::ffff:192.0.2.7"), Prefix::of(ip(2, 9)));
    // The 56 bits that an IPv4 prefix would have, were it one of IPv6.
    assert_ne!(six("0:0:c0:200::1"), Prefix::of(ip(2, 1)));
}

#[test]
fn a_quiet_router_asks_nobody_for_proof() {
    let mut gate = gate(LIMITS);
    assert!((0..3).all(|n| enters(passes(&mut gate, ip(n, 1), Address::Unproved, 0))));
    assert_eq!(passes(&mut gate, ip(9, 1), Address::Unproved, 0), Verdict::Prove);
    // Two a second: the next is there after half of one.
    assert_eq!(passes(&mut gate, ip(9, 1), Address::Unproved, 499), Verdict::Prove);
    assert!(enters(passes(&mut gate, ip(9, 1), Address::Unproved, 500)));
}

#[test]
fn beyond_the_retries_nothing_is_answered() {
    let mut gate = gate(LIMITS);
    let verdicts: Vec<Verdict> = (0..6).map(|n| passes(&mut gate, ip(n, 1), Address::Unproved, 0)).collect();
    assert!(verdicts[..3].iter().all(|v| enters(*v)));
    let crowded = Verdict::Ignore(Refusal::SessionCrowded);
    assert_eq!(verdicts[3..], [Verdict::Prove, Verdict::Prove, crowded]);
}

#[test]
fn slow_handshakes_without_proof_hold_few_places() {
    let mut gate = gate(LIMITS);
    let slow: Vec<Verdict> = (0..2).map(|n| gate.knock(ip(n, 1), Address::Unproved, 0)).collect();
    assert!(slow.iter().all(|v| enters(*v)));
    assert_eq!(gate.knock(ip(5, 1), Address::Unproved, 0), Verdict::Prove);
    // Who proves its address finds the other places free.
    assert!(enters(gate.knock(ip(5, 1), Address::Proved, 0)));
    let Verdict::Enter(first) = slow[0] else { panic!("{slow:?}") };
    gate.left(first);
    assert!(enters(gate.knock(ip(6, 1), Address::Unproved, 0)));
    assert_eq!(gate.arriving(), 3);
}

#[test]
fn one_prefix_begins_no_more_than_its_rate() {
    let mut gate = gate(LIMITS);
    let mut from = |host, now_ms| passes(&mut gate, ip(7, host), Address::Proved, now_ms);
    assert!((0..3).all(|host| enters(from(host, 1000))));
    assert_eq!(from(3, 1000), Verdict::Refuse(Refusal::SessionPrefix));
    assert_eq!(from(3, 1249), Verdict::Refuse(Refusal::SessionPrefix));
    assert!(enters(from(3, 1250)));
    // Another is not touched by it.
    assert!(enters(passes(&mut gate, ip(8, 1), Address::Proved, 1250)));
}

#[test]
fn one_prefix_does_not_take_all_places() {
    let mut gate = gate(LIMITS);
    assert!((0..2).all(|host| enters(gate.knock(ip(7, host), Address::Proved, 0))));
    assert_eq!(gate.knock(ip(7, 3), Address::Proved, 0), Verdict::Refuse(Refusal::SessionPrefix));
    assert!((0..2).all(|host| enters(gate.knock(ip(8, host), Address::Proved, 0))));
    assert_eq!(gate.knock(ip(9, 1), Address::Proved, 0), Verdict::Refuse(Refusal::SessionCrowded));
    assert_eq!(gate.arriving(), 4);
}

#[test]
fn false_addresses_use_up_no_bucket_of_the_true_ones() {
    let mut gate = gate(LIMITS);
    for now_ms in 0..10_000 {
        let _ = passes(&mut gate, ip(7, 1), Address::Unproved, now_ms);
    }
    assert!((0..3).all(|host| enters(passes(&mut gate, ip(7, host), Address::Proved, 10_000))));
}

#[test]
fn a_place_is_given_back_once() {
    let mut gate = gate(LIMITS);
    let Verdict::Enter(entrant) = gate.knock(ip(7, 1), Address::Proved, 0) else { panic!("not let in") };
    gate.left(entrant);
    gate.left(entrant);
    assert_eq!(gate.arriving(), 0);
}

#[test]
fn a_clock_that_stands_or_is_behind_fills_nothing() {
    let rate = Rate { per_s: 1000, burst: 1 };
    let mut bucket = Bucket::full(rate);
    assert!(bucket.take(rate, 50));
    assert!(!bucket.take(rate, 50));
    assert!(!bucket.take(rate, 40));
    assert!(bucket.take(rate, 51));
    assert!(!bucket.take(rate, 51));
}

#[test]
fn the_table_does_not_grow_and_keeps_who_is_over() {
    let mut gate = gate(LIMITS);
    let places = gate.prefixes.places();
    assert_eq!(places, 8);
    while enters(passes(&mut gate, ip(7, 1), Address::Proved, 0)) {}
    // Everybody else comes once, so whoever is over its rate is the last to be forgotten.
    for net in 0..=255_u8 {
        for other in 0..16 {
            let from = IpAddr::V4(Ipv4Addr::new(10, other, net, 1));
            assert!(enters(passes(&mut gate, from, Address::Proved, 0)));
        }
    }
    assert_eq!(gate.prefixes.places(), places);
    assert_eq!(passes(&mut gate, ip(7, 2), Address::Proved, 0), Verdict::Refuse(Refusal::SessionPrefix));
    // Once its bucket is full again, it is as if it had never come.
    assert!(enters(passes(&mut gate, ip(7, 2), Address::Proved, 750)));
}
