//! Orders and grants under one consent token.

use counterfoil_spec::claims::ALL;
use proptest::prelude::{ProptestConfig, prop_assert, proptest};

use super::*;
use crate::grant_hash;

/// Checks an order whose parts were changed before the router signed it.
fn ordered(change: impl FnOnce(&mut Open, &mut Grant)) -> Result<Serial, Refusal> {
    at(NOW.millis(), &Usage::new(), change)
}

fn at(now: Millis, usage: &Usage, change: impl FnOnce(&mut Open, &mut Grant)) -> Result<Serial, Refusal> {
    let (mut open, mut grant) = (open(), grant());
    change(&mut open, &mut grant);
    judge(&permit(), &sign_open(open, grant, &router(), &net()).unwrap(), now, usage)
}

fn judge(permit: &Permit, order: &SignedOpen, now: Millis, usage: &Usage) -> Result<Serial, Refusal> {
    permit
        .check_open(order, &router().public(), &net(), now, usage)
        .map(|g| g.serial())
        .map_err(|Refused { refusal, .. }| refusal)
}

const OK: Result<Serial, Refusal> = Ok(Serial::from_bytes([60; 16]));

#[test]
fn order_in_order_becomes_an_active_grant() {
    let active = active();
    assert_eq!((active.slot(), active.seq(), active.request()), (9, 1, serial(50)));
    assert_eq!((active.manifest(), active.max_tokens(), active.cti()), (MODEL, 600, serial(1)));
    assert_eq!((active.open_hash(), active.order()), (open_hash(&order().open), &order()));
    assert_eq!(order().open.grant_hash, grant_hash(&grant()));
    assert!(active.allows(0, 0) && active.allows(1, 7));
    assert!(!active.allows(2, 0), "in the consent token, not in the grant");
    assert!(!active.allows(0, 8));
}

#[test]
fn order_must_be_the_routers_for_this_grant() {
    assert_eq!(ordered(|_, _| {}), OK);
    let forged = sign_open(open(), grant(), &node(), &net()).unwrap();
    assert_eq!(judge(&permit(), &forged, NOW.millis(), &Usage::new()), Err(Refusal::Grant));
    let elsewhere =
        sign_open(open(), grant(), &router(), &SecretKey::from_seed([2; 32]).public().net_id()).unwrap();
    assert_eq!(judge(&permit(), &elsewhere, NOW.millis(), &Usage::new()), Err(Refusal::Grant));
    let mut swapped = order();
    swapped.grant.max_tokens += 1;
    assert_eq!(judge(&permit(), &swapped, NOW.millis(), &Usage::new()), Err(Refusal::Grant));
    let mut changed = order();
    changed.open.list_price_micro_per_1k += 1;
    assert_eq!(judge(&permit(), &changed, NOW.millis(), &Usage::new()), Err(Refusal::Grant));
}

#[test]
fn order_and_grant_must_name_the_same_parties_and_request() {
    assert_eq!(ordered(|o, _| o.node = NodeId::from_bytes([0; 32])), Err(Refusal::Grant));
    assert_eq!(ordered(|o, _| o.router = RouterId::from_bytes([0; 32])), Err(Refusal::Grant));
    assert_eq!(ordered(|_, g| g.cti = serial(2)), Err(Refusal::Grant));
    assert_eq!(ordered(|_, g| g.request = serial(51)), Err(Refusal::Grant));
    assert_eq!(ordered(|o, _| o.purpose = Purposes::CODE), Err(Refusal::Grant));
    assert_eq!(ordered(|o, _| o.origin.clear()), Err(Refusal::Grant));
    assert_eq!(ordered(|o, _| o.origin = "o".repeat(200)), OK);
    assert_eq!(ordered(|o, _| o.origin = "o".repeat(201)), Err(Refusal::Grant));
    assert_eq!(ordered(|_, g| g.ranges.clear()), Err(Refusal::Grant));
}

#[test]
fn grant_must_stay_within_the_consent_token() {
    let with = |ranges: Vec<Range>| ordered(move |_, g| g.ranges = ranges);
    assert_eq!(with(vec![range((0, 3), (0, 7))]), OK);
    assert_eq!(with(vec![range((0, 4), (0, 7))]), Err(Refusal::Scope));
    assert_eq!(with(vec![range((0, 3), (0, 8))]), Err(Refusal::Scope));
    assert_eq!(with(vec![range((0, ALL), (0, ALL))]), Err(Refusal::Scope));
    let other = ManifestId::from_bytes([0xbb; 32]);
    assert_eq!(ordered(|_, g| g.manifest = other), Err(Refusal::Scope));
    assert_eq!(ordered(|_, g| g.ranges[0].manifest = other), Err(Refusal::Scope));
}

#[test]
fn purpose_must_be_one_that_was_consented_to() {
    let with = |purpose| ordered(move |o, g| (o.purpose, g.purpose) = (purpose, purpose));
    assert_eq!(with(Purposes::CODE), OK);
    assert_eq!(with(Purposes::EMBEDDING), Err(Refusal::Purpose));
    assert_eq!(with(Purposes::CHAT.with(Purposes::CODE)), Err(Refusal::Purpose));
    assert_eq!(with(Purposes::default()), Err(Refusal::Purpose));
}

#[test]
fn caller_and_retention_must_be_consented_to() {
    assert_eq!(ordered(|o, _| o.caller_allowed = false), Err(Refusal::Jurisdiction));
    assert_eq!(ordered(|o, _| o.retention_s = 1), Err(Refusal::Jurisdiction));
}

#[test]
fn list_price_must_reach_the_floor() {
    assert_eq!(ordered(|o, _| o.list_price_micro_per_1k = 5000), OK);
    assert_eq!(ordered(|o, _| o.list_price_micro_per_1k = 4999), Err(Refusal::Price));
}

#[test]
fn tokens_must_fit_the_quota_of_request_and_day() {
    assert_eq!(ordered(|_, g| g.max_tokens = 1000), OK);
    assert_eq!(ordered(|_, g| g.max_tokens = 1001), Err(Refusal::Quota));
    let mut usage = Usage::new();
    usage.restore(NOW.0 / DAY, 10_000 - 256);
    assert_eq!(at(NOW.millis(), &usage, |_, _| {}), OK);
    usage.restore(NOW.0 / DAY, 1);
    assert_eq!(at(NOW.millis(), &usage, |_, _| {}), Err(Refusal::Quota));
    assert_eq!(
        at(NOW.millis(), &usage, |_, g| g.max_tokens = 255),
        OK,
        "a lease is never larger than the grant"
    );
}

#[test]
fn deadline_must_lie_ahead_and_the_order_be_recent() {
    let end = NOW.plus(30).millis();
    let fresh = |o: &mut Open, _: &mut Grant| o.issued = end;
    assert_eq!(at(Millis(end.0 - 1), &Usage::new(), fresh), OK);
    assert_eq!(at(end, &Usage::new(), fresh), Err(Refusal::Deadline));
    let issued = |at: u64| ordered(move |o, _| o.issued = Millis(at));
    let now = NOW.millis().0;
    assert_eq!(issued(now - 60_000), OK);
    assert_eq!(issued(now - 60_001), Err(Refusal::Deadline));
    assert_eq!(issued(now + 60_000), OK);
    assert_eq!(issued(now + 60_001), Err(Refusal::Deadline));
}

#[test]
fn deadline_never_outlives_the_consent_token() {
    let late = NOW.plus(DAY + 59).millis();
    let far = |o: &mut Open, g: &mut Grant| {
        o.issued = late;
        g.deadline = Millis(u64::MAX);
    };
    let (mut open, mut grant) = (open(), grant());
    far(&mut open, &mut grant);
    let order = sign_open(open, grant, &router(), &net()).unwrap();
    let active = permit().check_open(&order, &router().public(), &net(), late, &Usage::new()).unwrap();
    let end = NOW.plus(DAY + 60).millis();
    assert_eq!(active.deadline(), end);
    assert_eq!((active.in_time(Millis(end.0 - 1)), active.in_time(end)), (true, false));
    assert_eq!(at(end, &Usage::new(), |o, _| o.issued = end), Err(Refusal::Withdrawn));
    let early = Seconds(NOW.0 - 61).millis();
    assert_eq!(at(early, &Usage::new(), |o, _| o.issued = early), Err(Refusal::Withdrawn));
}

#[test]
fn same_order_is_worked_once() {
    let mut usage = Usage::new();
    usage.begin(&active(), NOW.millis());
    usage.end(&serial(60));
    assert_eq!(at(NOW.millis(), &usage, |_, _| {}), Err(Refusal::Replay));
    assert_eq!(at(NOW.millis(), &usage, |o, _| o.serial = serial(61)), Ok(serial(61)));
}

#[test]
fn first_failure_wins_for_every_pair() {
    //= spec/consent.md#orders-and-grants
    //= type=test
    //# A node MUST make these checks before it works, in this order, and MUST refuse at the first that fails.
    type Change = fn(&mut Open, &mut Grant, &mut Usage);
    let begun = |u: &mut Usage, n: u8| {
        let order = sign_open(Open { serial: serial(n), ..open() }, grant(), &router(), &net()).unwrap();
        let active = permit().check_open(&order, &router().public(), &net(), NOW.millis(), &Usage::new());
        u.begin(&active.unwrap(), NOW.millis());
    };
    let busy: Change = |_, _, _| {};
    let replay: Change = |_, _, _| {};
    let all: Vec<(Refusal, Change)> = vec![
        (Refusal::Grant, |_, g, _| g.cti = serial(2)),
        (Refusal::Scope, |_, g, _| g.ranges[0].layers = (0, 9)),
        (Refusal::Purpose, |o, g, _| (o.purpose, g.purpose) = (Purposes::EMBEDDING, Purposes::EMBEDDING)),
        (Refusal::Jurisdiction, |o, _, _| o.caller_allowed = false),
        (Refusal::Price, |o, _, _| o.list_price_micro_per_1k = 0),
        (Refusal::Quota, |_, g, _| g.max_tokens = 1001),
        (Refusal::Busy, busy),
        (Refusal::Deadline, |_, g, _| g.deadline = NOW.millis()),
        (Refusal::Replay, replay),
        (Refusal::Unsettled, |_, _, u| (0..9).for_each(|n| u.receipt_sent(serial(n), NOW.millis()))),
    ];
    let apply =
        |(refusal, change): &(Refusal, Change), o: &mut Open, g: &mut Grant, u: &mut Usage| match refusal {
            Refusal::Busy => (100..102).for_each(|n| begun(u, n)),
            Refusal::Replay => {
                begun(u, 60);
                u.end(&serial(60));
            }
            _ => change(o, g, u),
        };
    for (i, one) in all.iter().enumerate() {
        for two in &all[i..] {
            let (mut open, mut grant, mut usage) = (open(), grant(), Usage::new());
            apply(two, &mut open, &mut grant, &mut usage);
            apply(one, &mut open, &mut grant, &mut usage);
            let order = sign_open(open, grant, &router(), &net()).unwrap();
            let verdict = judge(&permit(), &order, NOW.millis(), &usage);
            assert_eq!(verdict, Err(one.0), "{} before {}", one.0, two.0);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever a grant asks for, what it allows once accepted lies within the consent token.
    #[test]
    fn active_grant_is_a_subset_of_its_permit(
        token in proptest::collection::vec((0u32..6, 0u32..6, 0u32..6, 0u32..6), 1..4),
        asked in proptest::collection::vec((0u32..6, 0u32..6, 0u32..6, 0u32..6), 1..4),
    ) {
        let boxes = |list: &[(u32, u32, u32, u32)]| {
            let mut out: Vec<Range> = Vec::new();
            for (a, b, c, d) in list {
                let next = range((*a.min(b), *a.max(b)), (*c.min(d), *c.max(d)));
                if out.iter().all(|r| !r.overlaps(&next)) {
                    out.push(next);
                }
            }
            out.sort_unstable();
            out
        };
        let mut claims = claims();
        claims.ranges = boxes(&token);
        let permit = World::new().check(&sign_token(&claims, &node()).unwrap()).unwrap();
        let mut grant = grant();
        grant.ranges = boxes(&asked);
        let order = sign_open(open(), grant, &router(), &net()).unwrap();
        let checked = permit.check_open(&order, &router().public(), &net(), NOW.millis(), &Usage::new());
        let inside = |l, e| permit.claims().ranges.iter().any(|r| r.contains(&MODEL, l, e));
        let everywhere = (0..8).flat_map(|l| (0..8).map(move |e| (l, e)));
        let accepted = checked.is_ok();
        match checked {
            Ok(active) => {
                for (l, e) in everywhere.clone() {
                    prop_assert!(!active.allows(l, e) || inside(l, e), "{l} {e}");
                }
            }
            Err(refused) => {
                prop_assert!(refused.refusal == Refusal::Scope);
            }
        }
        // The same by counting: every expert of each range that is asked for stands in one range of the token.
        let lies = |(l, e): (u32, u32), (a, b, c, d): (u32, u32, u32, u32)| a <= l && l <= b && c <= e && e <= d;
        let plain = |r: &Range| (r.layers.0, r.layers.1, r.experts.0, r.experts.1);
        let token: Vec<_> = boxes(&token).iter().map(plain).collect();
        let naive = boxes(&asked).iter().map(plain).all(|asked| {
            let cells: Vec<_> = everywhere.clone().filter(|cell| lies(*cell, asked)).collect();
            token.iter().any(|one| cells.iter().all(|cell| lies(*cell, *one)))
        });
        prop_assert!(accepted == naive, "accepted {accepted}, by counting {naive}");
    }
}
