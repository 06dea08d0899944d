//! Whatever an order asks for: it is accepted where all of it lies within its consent token, by a second account of
//! what that means, and what is accepted allows nothing beyond.

use std::collections::BTreeSet;

use counterfoil_spec::limits::{MAX_CLOCK_SKEW_S, QUOTA_LEASE_TOKENS};
use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, proptest};

use super::*;

/// A model, first and last layer, first and last expert.
type Plain = (u8, u32, u32, u32, u32);

/// What the operator allows, in small numbers, so that both answers are frequent.
#[derive(Debug, Clone)]
struct Allowed {
    ranges: Vec<Plain>,
    purposes: u32,
    request_tokens: u64,
    day_tokens: u64,
    floor: u64,
    retention: u32,
    life: u64,
}

/// What the router asks for.
#[derive(Debug, Clone)]
struct Asked {
    model: u8,
    ranges: Vec<Plain>,
    purpose: u32,
    tokens: u64,
    price: u64,
    caller_allowed: bool,
    retention: u32,
    /// Seconds from the token's beginning to the present, and on to the deadline.
    after: u64,
    time: u64,
    used_today: u64,
}

fn ranges() -> impl Strategy<Value = Vec<Plain>> {
    let one = (0u8..20, 0u32..5, 0u32..5, 0u32..5, 0u32..5);
    vec(one, 1..4).prop_map(|list| {
        let mut out: Vec<Plain> = Vec::new();
        for (model, a, b, c, d) in list {
            // One in ten is of the other model.
            let next = (u8::from(model < 2), a.min(b), a.max(b), c.min(d), c.max(d));
            if out.iter().all(|one| cells(one).is_disjoint(&cells(&next))) {
                out.push(next);
            }
        }
        out.sort_unstable();
        out
    })
}

fn allowed() -> impl Strategy<Value = Allowed> {
    (ranges(), 1u32..32, 0u64..600, 0u64..900, 0u64..4, 0u32..3, 1u64..40).prop_map(
        |(ranges, purposes, request_tokens, day_tokens, floor, retention, life)| Allowed {
            ranges,
            purposes,
            request_tokens,
            day_tokens,
            floor,
            retention,
            life,
        },
    )
}

fn asked() -> impl Strategy<Value = Asked> {
    let purpose = (0u32..5, any::<bool>()).prop_map(|(bit, one)| if one { 1 << bit } else { bit });
    let limits = (0u64..600, 0u64..5, 0u8..10, 0u32..3);
    (ranges(), purpose, limits, 0u64..120, 0u64..4, 0u64..600).prop_map(
        |(ranges, purpose, (tokens, price, caller, retention), after, time, used_today)| Asked {
            model: ranges.first().map_or(0, |one| one.0),
            ranges,
            purpose,
            tokens,
            price,
            caller_allowed: caller > 0,
            retention,
            after,
            time,
            used_today,
        },
    )
}

fn cells((model, a, b, c, d): &Plain) -> BTreeSet<(u8, u32, u32)> {
    (*a..=*b).flat_map(|layer| (*c..=*d).map(move |expert| (*model, layer, expert))).collect()
}

fn model(number: u8) -> ManifestId {
    if number == 0 { MODEL } else { ManifestId::from_bytes([0xbb; 32]) }
}

fn boxes(list: &[Plain]) -> Vec<Range> {
    let one = |(m, a, b, c, d): &Plain| Range { manifest: model(*m), layers: (*a, *b), experts: (*c, *d) };
    list.iter().map(one).collect()
}

/// The first thing in which an order is not within its token, in the order of `spec/consent.md`.
fn outside(allowed: &Allowed, asked: &Asked) -> Option<Refusal> {
    let within = |one: &Plain| {
        one.0 == asked.model && allowed.ranges.iter().any(|whole| cells(one).is_subset(&cells(whole)))
    };
    let lease = asked.tokens.min(QUOTA_LEASE_TOKENS);
    let end = allowed.life + MAX_CLOCK_SKEW_S;
    let all = [
        (asked.after < end, Refusal::Withdrawn),
        (asked.ranges.iter().all(within), Refusal::Scope),
        ((0..5).any(|bit| asked.purpose == 1 << bit && allowed.purposes >> bit & 1 == 1), Refusal::Purpose),
        (asked.caller_allowed && asked.retention <= allowed.retention, Refusal::Jurisdiction),
        (asked.price >= allowed.floor, Refusal::Price),
        (asked.tokens <= allowed.request_tokens, Refusal::Quota),
        (asked.used_today + lease <= allowed.day_tokens, Refusal::Quota),
        (asked.time > 0, Refusal::Deadline),
    ];
    all.into_iter().find(|(inside, _)| !inside).map(|(_, refusal)| refusal)
}

fn permit_of(allowed: &Allowed) -> Permit {
    let mut claims = claims();
    claims.ranges = boxes(&allowed.ranges);
    claims.purposes = Purposes::from_bits(allowed.purposes).unwrap();
    claims.quota.tokens_per_request = TokenCount(allowed.request_tokens);
    claims.quota.tokens_per_day = TokenCount(allowed.day_tokens);
    claims.price_floor.micro_per_1k = MicroUsd(allowed.floor);
    claims.callers.retention_s = allowed.retention;
    claims.expires = NOW.plus(allowed.life);
    let key = node().public();
    let expect = Expectation {
        net_id: &net(),
        peer: &key.node_id(),
        peer_key: &key,
        audience: &router().public().router_id(),
        now: NOW,
        deny_list_until: None,
        min_epoch: 0,
        withdrawn: &|_| false,
        model_known: &|_| true,
    };
    check_token(&sign_token(&claims, &node()).unwrap(), &expect).unwrap()
}

fn order_of(asked: &Asked, now: Millis) -> SignedOpen {
    let purpose = Purposes::from_bits(asked.purpose).unwrap();
    let grant = Grant {
        manifest: model(asked.model),
        ranges: boxes(&asked.ranges),
        max_tokens: asked.tokens,
        deadline: now.plus(asked.time * 1000),
        purpose,
        ..grant()
    };
    let open = Open {
        purpose,
        list_price_micro_per_1k: asked.price,
        caller_allowed: asked.caller_allowed,
        retention_s: asked.retention,
        issued: now,
        ..open()
    };
    sign_open(open, grant, &router(), &net()).unwrap()
}

/// What stands in the way of most random orders is taken away, so that some are within their token in everything.
fn narrowed(allowed: &Allowed, mut asked: Asked, keep: u8) -> Asked {
    if keep & 1 == 0 {
        let (m, a, b, c, d) = allowed.ranges[0];
        (asked.model, asked.ranges) = (m, vec![(m, a, b.min(a + 1), c.max(d.saturating_sub(1)), d)]);
    }
    if keep & 2 == 0 {
        asked.purpose = 1 << allowed.purposes.trailing_zeros();
    }
    if keep & 4 == 0 {
        (asked.price, asked.retention) = (allowed.floor, allowed.retention);
    }
    if keep & 8 == 0 {
        asked.tokens = asked.tokens.min(allowed.request_tokens);
        let lease = asked.tokens.min(QUOTA_LEASE_TOKENS);
        asked.used_today = asked.used_today.min(allowed.day_tokens.saturating_sub(lease));
    }
    if keep & 16 == 0 {
        asked.after = asked.after.min(allowed.life + MAX_CLOCK_SKEW_S - 1);
    }
    asked
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn accepted_is_what_lies_within_the_token_and_allows_no_more(
        allowed in allowed(),
        asked in asked(),
        keep in 0u8..32,
    ) {
        let asked = narrowed(&allowed, asked, keep);
        let (permit, now) = (permit_of(&allowed), NOW.plus(asked.after).millis());
        let mut usage = Usage::new();
        usage.restore(now.seconds().0 / DAY, asked.used_today);
        let order = order_of(&asked, now);
        let checked = permit.check_open(&order, &router().public(), &net(), now, &usage);
        prop_assert_eq!(checked.as_ref().err().map(|refused| refused.refusal), outside(&allowed, &asked));

        let Ok(active) = checked else { return Ok(()) };
        let claims = permit.claims();
        let reach = allowed.ranges.iter().flat_map(cells).collect::<BTreeSet<_>>();
        for (layer, expert) in (0..6).flat_map(|layer| (0..6).map(move |expert| (layer, expert))) {
            let inside = reach.contains(&(asked.model, layer, expert));
            prop_assert!(!active.allows(layer, expert) || inside, "layer {layer}, expert {expert}");
        }
        prop_assert!(claims.purposes.allows(active.purpose()));
        prop_assert!(active.max_tokens() <= claims.quota.tokens_per_request.0);
        prop_assert!(active.deadline() <= claims.expires.plus(MAX_CLOCK_SKEW_S).millis());
        prop_assert_eq!((active.cti(), active.node(), active.router()), (claims.cti, claims.issuer, claims.audience));
        usage.begin(&active, now);
        prop_assert!(usage.tokens_in_day(now) <= claims.quota.tokens_per_day.0);
    }
}
