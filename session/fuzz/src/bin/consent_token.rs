//! A consent token, and its claims under the node's own signature.
#![no_main]

use counterfoil_consent::{claimed, sign_token};
use counterfoil_session_fuzz::{Network, PRESENT, flipped, mark, network};
use counterfoil_spec::claims::{Claims, Range};
use counterfoil_spec::encode::{from_canonical, to_canonical};
use counterfoil_spec::limits::{MAX_CLOCK_SKEW_S, MAX_CONSENT_BYTES, MAX_CONSENT_LIFE_S, MAX_CONSENT_RANGES};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    judge(input);
    let claims = claimed(input).or_else(|| from_canonical(input, MAX_CONSENT_BYTES).ok());
    let Some(claims) = claims else { return };
    let token = sign_token(&claims, &network().node).expect("a key in memory signs");
    assert_eq!(claimed(&token), (token.len() <= MAX_CONSENT_BYTES).then_some(claims));
    judge(&token);
});

fn judge(token: &[u8]) {
    let net = network();
    let Ok(permit) = net.check(token, PRESENT) else { return };
    assert_eq!(permit.token_bytes(), token);
    let payload = to_canonical(permit.claims());
    assert!(token.windows(payload.len()).any(|window| window == payload), "it says what was accepted");
    within_the_rules(permit.claims());
    let bit = mark(token) % (token.len() * 8);
    assert!(net.check(&flipped(token, bit), PRESENT).is_err(), "bit {bit}");
    assert!(net.check(&token[..token.len() - 1], PRESENT).is_err());
    assert!(net.check(&[token, b"\0"].concat(), PRESENT).is_err());
    assert!(!net.accepted_by_others(token, PRESENT));
    let end = permit.claims().expires.plus(MAX_CLOCK_SKEW_S);
    assert!(net.check(token, end).is_err(), "accepted at {}", end.0);
}

/// The checks of `spec/consent.md`, said again.
fn within_the_rules(claims: &Claims) {
    let net = network();
    assert_eq!(
        (claims.issuer, claims.audience),
        (net.node.public().node_id(), net.router.public().router_id())
    );
    assert_eq!((claims.version, claims.net_id, claims.delegation_depth), (1, net.net_id(), 0));
    assert!(PRESENT.0 < claims.expires.0 + MAX_CLOCK_SKEW_S);
    assert!(claims.not_before.0.max(claims.issued.0) <= PRESENT.0 + MAX_CLOCK_SKEW_S);
    assert!(claims.not_before < claims.expires);
    assert!(claims.expires.0 - claims.not_before.0.min(claims.issued.0) <= MAX_CONSENT_LIFE_S);
    assert!(claims.cti != Network::WITHDRAWN && claims.epoch >= Network::MIN_EPOCH);
    let ranges = &claims.ranges;
    assert!(!ranges.is_empty() && ranges.len() <= MAX_CONSENT_RANGES);
    for (i, a) in ranges.iter().enumerate() {
        assert_eq!(a.manifest, Network::MODEL);
        assert!(a.layers.0 <= a.layers.1 && a.experts.0 <= a.experts.1);
        assert!(ranges[i + 1..].iter().all(|b| apart(a, b)), "{a:?} and another share an expert");
    }
    assert!(claims.purposes.bits() != 0 && claims.serving.bits() != 0);
    assert!(claims.price_floor.currency.bytes().all(|b| b.is_ascii_uppercase()));
    assert!(claims.callers.countries.iter().all(|c| c.len() == 2));
}

fn apart(a: &Range, b: &Range) -> bool {
    let shared = |(a, b): (u32, u32), (c, d): (u32, u32)| a.max(c) <= b.min(d);
    !(shared(a.layers, b.layers) && shared(a.experts, b.experts))
}
