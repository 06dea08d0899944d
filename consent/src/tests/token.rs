//! Consent tokens: every refusal beside the nearest token that is accepted, and the order of the checks.

use counterfoil_identity::digest::{self, context};
use counterfoil_spec::claims::{ALL, Claims, Purposes, Serving};
use counterfoil_spec::encode::to_canonical;
use counterfoil_spec::ids::{ManifestId, NodeId};
use data_encoding::HEXLOWER;
use proptest::prelude::{ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, proptest};

use super::*;
use crate::cose::{Label, Protected, Sign1, signed_bytes};
use crate::{FrameMac, TOKEN_CHECKS, countersign, sign_receipt};

fn claimed(change: impl FnOnce(&mut Claims)) -> Result<Serial, Refusal> {
    let mut claims = claims();
    change(&mut claims);
    World::new().check(&sign_token(&claims, &node()).unwrap()).map(|p| p.claims().cti)
}

fn headed(change: impl FnOnce(&mut Protected)) -> Result<Serial, Refusal> {
    let mut protected = Protected::of(&node().public().node_id());
    change(&mut protected);
    let (protected, payload) = (protected.to_bytes(), to_canonical(&claims()));
    let signature = node().sign(&signed_bytes(&protected, &net(), &payload));
    World::new().check(&Sign1 { protected, payload, signature }.to_bytes()).map(|p| p.claims().cti)
}

fn placed(change: impl FnOnce(&mut World)) -> Result<Serial, Refusal> {
    let mut world = World::new();
    change(&mut world);
    world.check(&sign_token(&claims(), &node()).unwrap()).map(|p| p.claims().cti)
}

const OK: Result<Serial, Refusal> = Ok(Serial::from_bytes([1; 16]));

#[test]
fn token_in_order_becomes_a_permit_that_says_the_same() {
    let token = sign_token(&claims(), &node()).unwrap();
    let permit = World::new().check(&token).unwrap();
    assert_eq!((permit.claims(), permit.token_bytes()), (&claims(), token.as_slice()));
    assert_eq!(permit.token_hash(), digest::derive(context::CONSENT_TOKEN, &[&token]));
}

#[test]
fn another_algorithm_is_refused() {
    assert_eq!(headed(|_| {}), OK);
    assert_eq!(headed(|h| h.alg = Label::Number(-8)), Err(Refusal::TokenAlg));
    assert_eq!(headed(|h| h.alg = Label::Text("EdDSA".to_owned())), Err(Refusal::TokenAlg));
}

#[test]
fn another_type_is_refused() {
    assert_eq!(headed(|h| h.typ = Label::Text("application/cwt".to_owned())), Err(Refusal::TokenType));
    assert_eq!(headed(|h| h.typ = Label::Number(61)), Err(Refusal::TokenType));
}

#[test]
fn issuer_and_key_id_must_be_the_peer() {
    assert_eq!(headed(|h| h.kid = vec![0; 32]), Err(Refusal::TokenIssuer));
    assert_eq!(headed(|h| h.kid.truncate(31)), Err(Refusal::TokenIssuer));
    assert_eq!(placed(|w| w.peer = NodeId::from_bytes([0; 32])), Err(Refusal::TokenIssuer));
    // The header names the peer and the claims another node.
    let mut claims = claims();
    claims.issuer = NodeId::from_bytes([0; 32]);
    let (protected, payload) = (Protected::of(&node().public().node_id()).to_bytes(), to_canonical(&claims));
    let signature = node().sign(&signed_bytes(&protected, &net(), &payload));
    let token = Sign1 { protected, payload, signature }.to_bytes();
    assert_eq!(World::new().check(&token).map(|_| ()), Err(Refusal::TokenIssuer));
}

#[test]
fn version_network_and_audience_must_be_these() {
    assert_eq!(claimed(|c| c.version = 2), Err(Refusal::TokenVersion));
    assert_eq!(
        claimed(|c| c.net_id = SecretKey::from_seed([2; 32]).public().net_id()),
        Err(Refusal::TokenNet)
    );
    assert_eq!(claimed(|c| c.audience = RouterId::from_bytes([0; 32])), Err(Refusal::TokenAud));
}

#[test]
fn expired_at_the_instant_give_or_take_the_skew() {
    assert_eq!(placed(|w| w.now = NOW.plus(DAY + 59)), OK);
    assert_eq!(placed(|w| w.now = NOW.plus(DAY + 60)), Err(Refusal::TokenExpired));
}

#[test]
fn not_yet_valid_more_than_the_skew_before() {
    assert_eq!(placed(|w| w.now = Seconds(NOW.0 - 60)), OK);
    assert_eq!(placed(|w| w.now = Seconds(NOW.0 - 61)), Err(Refusal::TokenNotYet));
    assert_eq!(claimed(|c| c.issued = NOW.plus(60)), OK);
    assert_eq!(claimed(|c| c.issued = NOW.plus(61)), Err(Refusal::TokenNotYet));
}

#[test]
fn life_is_at_most_thirty_days() {
    assert_eq!(claimed(|c| c.expires = NOW.plus(30 * DAY)), OK);
    assert_eq!(claimed(|c| c.expires = NOW.plus(30 * DAY + 1)), Err(Refusal::TokenLifetime));
    assert_eq!(claimed(|c| c.expires = NOW), Err(Refusal::TokenLifetime));
    let early = |c: &mut Claims| (c.not_before, c.expires) = (Seconds(NOW.0 - 1), NOW.plus(30 * DAY));
    assert_eq!(claimed(early), Err(Refusal::TokenLifetime));
    let signed_early = |c: &mut Claims| (c.issued, c.expires) = (Seconds(NOW.0 - 1), NOW.plus(30 * DAY));
    assert_eq!(claimed(signed_early), Err(Refusal::TokenLifetime));
}

#[test]
fn stale_deny_list_decides_nothing() {
    assert_eq!(placed(|w| w.deny_list_until = Some(Seconds(NOW.0 - 60))), OK);
    assert_eq!(placed(|w| w.deny_list_until = Some(Seconds(NOW.0 - 61))), Err(Refusal::TokenStale));
}

#[test]
fn withdrawn_id_and_low_epoch_are_refused() {
    assert_eq!(placed(|w| w.withdrawn = vec![serial(2)]), OK);
    assert_eq!(placed(|w| w.withdrawn = vec![serial(1)]), Err(Refusal::TokenRevoked));
    assert_eq!(placed(|w| w.min_epoch = 5), Err(Refusal::TokenEpoch));
}

#[test]
fn signature_must_be_the_nodes_over_this_network() {
    assert_eq!(
        World::new().check(&sign_token(&claims(), &router()).unwrap()).map(|_| ()),
        Err(Refusal::TokenSig)
    );
    assert_eq!(placed(|w| w.peer_key = router().public()), Err(Refusal::TokenSig));
    let (protected, payload) = (Protected::of(&claims().issuer).to_bytes(), to_canonical(&claims()));
    let other = SecretKey::from_seed([2; 32]).public().net_id();
    let signature = node().sign(&signed_bytes(&protected, &other, &payload));
    let token = Sign1 { protected, payload, signature }.to_bytes();
    assert_eq!(World::new().check(&token).map(|_| ()), Err(Refusal::TokenSig));
}

#[test]
fn ranges_must_be_sorted_disjoint_and_the_right_way_round() {
    let with = |ranges: Vec<Range>| claimed(move |c| c.ranges = ranges);
    assert_eq!(with(vec![range((0, ALL), (0, ALL))]), OK);
    assert_eq!(with(vec![range((0, 1), (0, 7)), range((2, 3), (0, 7))]), OK);
    assert_eq!(with(vec![range((0, 1), (0, 3)), range((0, 1), (4, 7))]), OK);
    assert_eq!(with(vec![]), Err(Refusal::TokenRange));
    assert_eq!(with(vec![range((1, 0), (0, 7))]), Err(Refusal::TokenRange));
    assert_eq!(with(vec![range((0, 1), (7, 6))]), Err(Refusal::TokenRange));
    assert_eq!(with(vec![range((2, 3), (0, 7)), range((0, 1), (0, 7))]), Err(Refusal::TokenRange));
    assert_eq!(with(vec![range((0, 1), (0, 7)), range((0, 1), (0, 7))]), Err(Refusal::TokenRange));
    assert_eq!(with(vec![range((0, 2), (0, 7)), range((2, 3), (0, 7))]), Err(Refusal::TokenRange));
    let many = |n: u32| (0..n).map(|i| range((i, i), (0, 0))).collect::<Vec<_>>();
    assert_eq!(with(many(32)), OK);
    // The decoder refuses a 65th range before it is looked at.
    assert_eq!(with(many(65)), Err(Refusal::TokenCanon));
}

#[test]
fn model_must_be_published() {
    let other = Range { manifest: ManifestId::from_bytes([0xbb; 32]), ..range((0, 0), (0, 0)) };
    assert_eq!(claimed(|c| c.ranges.push(other)), Err(Refusal::TokenModel));
}

#[test]
fn purpose_must_be_some_and_known() {
    assert_eq!(claimed(|c| c.purposes = Purposes::KNOWN), OK);
    assert_eq!(claimed(|c| c.purposes = Purposes::default()), Err(Refusal::TokenPurpose));
    let unknown: Purposes = minicbor::decode(&[0x18, 0x21]).unwrap();
    assert_eq!(claimed(|c| c.purposes = unknown), Err(Refusal::TokenPurpose));
}

#[test]
fn values_must_lie_in_their_domains() {
    assert_eq!(claimed(|c| c.delegation_depth = 1), Err(Refusal::TokenValue));
    assert_eq!(claimed(|c| c.serving = Serving::default()), Err(Refusal::TokenValue));
    assert_eq!(claimed(|c| c.serving = minicbor::decode(&[0x10]).unwrap()), Err(Refusal::TokenValue));
    assert_eq!(claimed(|c| c.price_floor.currency = "usd".to_owned()), Err(Refusal::TokenValue));
    assert_eq!(claimed(|c| c.price_floor.currency = "EURO".to_owned()), Err(Refusal::TokenValue));
    let countries = |list: &[&str]| {
        let list = list.iter().map(ToString::to_string).collect();
        claimed(move |c| c.callers.countries = list)
    };
    assert_eq!(countries(&[]), OK);
    assert_eq!(countries(&["FR", "DE"]), Err(Refusal::TokenValue));
    assert_eq!(countries(&["DE", "DE"]), Err(Refusal::TokenValue));
    assert_eq!(countries(&["de"]), Err(Refusal::TokenValue));
    assert_eq!(countries(&["DEU"]), Err(Refusal::TokenValue));
}

#[test]
fn other_forms_of_the_same_token_are_refused() {
    let token = sign_token(&claims(), &node()).unwrap();
    let fault = |bytes: &[u8]| World::new().check(bytes).map(|p| p.claims().cti);
    assert_eq!(fault(&token), OK);
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = token.clone();
        change(&mut bytes);
        fault(&bytes)
    };
    assert_eq!(&token[..4], &[0xd2, 0x84, 0x58, 76], "tag 18, four members, a header of 76 bytes");
    assert_eq!(with(&|t| t.push(0)), Err(Refusal::TokenCanon));
    assert_eq!(with(&|t| t.truncate(t.len() - 1)), Err(Refusal::TokenCanon));
    assert_eq!(with(&|t| drop(t.drain(..1))), Err(Refusal::TokenCanon), "no tag");
    assert_eq!(with(&|t| t[0] = 0xd1), Err(Refusal::TokenCanon), "tag 17");
    assert_eq!(with(&|t| drop(t.splice(0..1, [0xd8, 18]))), Err(Refusal::TokenCanon), "a long tag");
    assert_eq!(with(&|t| drop(t.splice(2..4, [0x59, 0, 76]))), Err(Refusal::TokenCanon), "a long length");
    let unprotected = 4 + 76;
    assert_eq!(token[unprotected], 0xa0);
    assert_eq!(
        with(&|t| drop(t.splice(unprotected..=unprotected, [0xa1, 0x01, 0x01]))),
        Err(Refusal::TokenCanon),
        "an unprotected header"
    );
    assert_eq!(with(&|t| t[1] = 0x85), Err(Refusal::TokenCanon), "five members");
    assert_eq!(fault(&[]), Err(Refusal::TokenCanon));
    assert_eq!(fault(&vec![0; 4097]), Err(Refusal::TokenCanon));
}

#[test]
fn longest_token_is_the_limit() {
    let with = |countries: usize| {
        let mut claims = claims();
        let all = ('A'..='Z').flat_map(|a| ('A'..='Z').map(move |b| format!("{a}{b}")));
        claims.callers.countries = all.take(countries).collect();
        claims.ranges = (0..64).map(|i| range((i, i), (0, 0))).collect();
        let token = sign_token(&claims, &node()).unwrap();
        (token.len(), World::new().check(&token).map(|p| p.claims().cti))
    };
    let (len, accepted) = with(200);
    assert_eq!((len <= 4096, accepted), (true, OK), "{len}");
    let (len, refused) = with(600);
    assert_eq!((len > 4096, refused), (true, Err(Refusal::TokenCanon)), "{len}");
}

type Change = fn(&mut Protected, &mut Claims, &mut World);

/// Every check after the structure, in the normative order, as a change that fails it.
fn faults() -> Vec<(Refusal, Change)> {
    vec![
        (Refusal::TokenAlg, |h, _, _| h.alg = Label::Number(-8)),
        (Refusal::TokenType, |h, _, _| h.typ = Label::Number(61)),
        (Refusal::TokenIssuer, |h, _, _| h.kid = vec![0; 32]),
        (Refusal::TokenVersion, |_, c, _| c.version = 2),
        (Refusal::TokenNet, |_, c, _| c.net_id = NetId::from_bytes([0; 32])),
        (Refusal::TokenAud, |_, c, _| c.audience = RouterId::from_bytes([0; 32])),
        (Refusal::TokenExpired, |_, c, _| c.expires = Seconds(NOW.0 - 100)),
        (Refusal::TokenNotYet, |_, c, _| c.issued = NOW.plus(100)),
        (Refusal::TokenLifetime, |_, c, _| c.not_before = Seconds(NOW.0 - 31 * DAY)),
        (Refusal::TokenStale, |_, _, w| w.deny_list_until = Some(Seconds(0))),
        (Refusal::TokenRevoked, |_, c, w| w.withdrawn = vec![c.cti]),
        (Refusal::TokenEpoch, |_, c, _| c.epoch = 3),
        (Refusal::TokenSig, |_, _, w| w.peer_key = SecretKey::from_seed([99; 32]).public()),
        (Refusal::TokenRange, |_, c, _| c.ranges[0].layers = (3, 0)),
        (Refusal::TokenModel, |_, c, _| {
            c.ranges = vec![Range { manifest: ManifestId::from_bytes([0xbb; 32]), ..range((0, 0), (0, 0)) }];
        }),
        (Refusal::TokenPurpose, |_, c, _| c.purposes = Purposes::default()),
        (Refusal::TokenValue, |_, c, _| c.delegation_depth = 1),
    ]
}

#[test]
fn first_failure_wins_for_every_pair() {
    //= spec/consent.md#order-of-checks
    //= type=test
    //# A router MUST make these checks in this order and MUST refuse at the first that fails:
    let all = faults();
    let listed: Vec<Refusal> =
        std::iter::once(Refusal::TokenCanon).chain(all.iter().map(|(refusal, _)| *refusal)).collect();
    assert_eq!(listed, TOKEN_CHECKS);
    for (i, (first, one)) in all.iter().enumerate() {
        for (second, two) in &all[i..] {
            let (mut header, mut claims, mut world) =
                (Protected::of(&claims().issuer), claims(), World::new());
            two(&mut header, &mut claims, &mut world);
            one(&mut header, &mut claims, &mut world);
            let (protected, payload) = (header.to_bytes(), to_canonical(&claims));
            let signature = node().sign(&signed_bytes(&protected, &world.net_id, &payload));
            let token = Sign1 { protected, payload, signature }.to_bytes();
            assert_eq!(world.check(&token).map(|_| ()), Err(*first), "{first} before {second}");
        }
    }
}

/// The worked example of `spec/consent.md`, byte for byte.
#[test]
fn worked_example_of_the_specification() {
    let spec: String = include_str!("../../../spec/consent.md").split_whitespace().collect();
    let token = sign_token(&claims(), &node()).unwrap();
    let (receipt, node_sig) = sign_receipt(&receipt_body(), &node(), &net()).unwrap();
    let both = countersign(&receipt, &node_sig, &node().public(), &router(), &net()).unwrap();
    let mac = FrameMac::new(&[1; 32], &Hash::from_bytes([2; 32])).mac(b"header");
    for (what, bytes) in [
        ("header", Protected::of(&claims().issuer).to_bytes()),
        ("claims", to_canonical(&claims())),
        ("signature", token[token.len() - 64..].to_vec()),
        ("tokenhash", permit().token_hash().as_bytes().to_vec()),
        ("Open", to_canonical(&order().open)),
        ("opensig", order().sig.as_bytes().to_vec()),
        ("receiptbody", receipt),
        ("node_sig", node_sig.as_bytes().to_vec()),
        ("router_sig", both.router_sig.as_bytes().to_vec()),
        ("```text", mac.to_vec()),
    ] {
        let line = format!("{what}{}", HEXLOWER.encode(&bytes));
        assert!(spec.contains(&line), "{line}");
    }
    assert!(spec.contains(&format!("promisestologby{}:", both.include_by.0)));
}

fn ranges() -> impl Strategy<Value = Vec<Range>> {
    proptest::collection::btree_set((0u32..20, 0u32..20, 0u32..20, 0u32..20), 1..6).prop_map(|set| {
        let mut out: Vec<Range> = Vec::new();
        for (a, b, c, d) in set {
            let next = range((a.min(b), a.max(b)), (c.min(d), c.max(d)));
            if out.iter().all(|r| !r.overlaps(&next)) {
                out.push(next);
            }
        }
        out.sort_unstable();
        out
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_is_signed_is_what_is_read(
        ranges in ranges(),
        cti in any::<[u8; 16]>(),
        quota in any::<(u64, u32, u64, u32, u64)>(),
        life in 1u64..=30 * 86_400,
        bits in 1u32..32,
    ) {
        let mut claims = claims();
        claims.ranges = ranges;
        claims.cti = Serial::from_bytes(cti);
        claims.quota.tokens_per_day = TokenCount(quota.0);
        claims.quota.concurrent = quota.1;
        claims.quota.tokens_per_request = TokenCount(quota.2);
        claims.quota.requests_per_s = quota.3;
        claims.quota.bytes_per_s = quota.4;
        claims.expires = NOW.plus(life);
        claims.purposes = Purposes::from_bits(bits).unwrap();
        let read = World::new().check(&sign_token(&claims, &node()).unwrap()).map(|p| p.claims().clone());
        prop_assert_eq!(read, Ok(claims));
    }

    #[test]
    fn no_flipped_bit_is_accepted(at in any::<proptest::sample::Index>(), bit in 0u8..8) {
        let mut token = sign_token(&claims(), &node()).unwrap();
        let at = at.index(token.len());
        token[at] ^= 1 << bit;
        prop_assert!(World::new().check(&token).is_err());
    }

    #[test]
    fn no_bytes_make_the_check_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert_eq!(World::new().check(&bytes).map(|_| ()), Err(Refusal::TokenCanon));
    }
}
