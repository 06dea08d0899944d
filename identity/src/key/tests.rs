use data_encoding::HEXLOWER;

use super::*;

fn wire(hex: &str) -> PublicKey {
    hex.parse().unwrap()
}

/// The eight multiples of a point of order eight of edwards25519, from the curve equation
/// `-x² + y² = 1 + d·x²·y²` with `d = -121665/121666` over 2²⁵⁵ − 19.
const SMALL_ORDER: [&str; 8] = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
];

/// Encodings that a lax decoder reads as points: y = p, p + 1, p + 3 and p + 18, and x = 0 with its sign bit set.
const NON_CANONICAL: [&str; 6] = [
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "f0ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0100000000000000000000000000000000000000000000000000000000000080",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
];

/// The base point plus a point of order eight, four and two.
const MIXED_ORDER: [&str; 3] = [
    "98519eadf35b995233b51b5cd23e9cc5a28b639b5a4af0ec903cb960d81b7819",
    "9bad33f580df7ecc49df5342bac8145d5bedc40f573d1b067f3c4ce449689a15",
    "9599999999999999999999999999999999999999999999999999999999999999",
];

#[test]
fn small_order_keys_are_weak() {
    for hex in SMALL_ORDER {
        assert_eq!(VerifyKey::from_wire(wire(hex)), Err(WeakKey(wire(hex))));
    }
}

#[test]
fn non_canonical_keys_are_weak() {
    for hex in NON_CANONICAL {
        assert_eq!(VerifyKey::from_wire(wire(hex)), Err(WeakKey(wire(hex))));
    }
}

#[test]
fn mixed_order_keys_are_weak() {
    for hex in MIXED_ORDER {
        assert_eq!(VerifyKey::from_wire(wire(hex)), Err(WeakKey(wire(hex))));
    }
}

#[test]
fn point_off_the_curve_is_weak() {
    // y = 2 has no x.
    let key = wire(&format!("02{}", "00".repeat(31)));
    assert_eq!(VerifyKey::from_wire(key), Err(WeakKey(key)));
}

#[test]
fn base_point_is_a_key() {
    let key = wire("5866666666666666666666666666666666666666666666666666666666666666");
    assert_eq!(VerifyKey::from_wire(key).map(|k| k.wire()), Ok(key));
}

#[test]
fn first_example_of_rfc_8032_is_reproduced() {
    let seed = HEXLOWER.decode(b"9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60").unwrap();
    let key = SecretKey::from_seed(seed.try_into().unwrap());
    assert_eq!(key.public().wire(), wire("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"));
    let sig = "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b";
    assert_eq!(key.sign(b""), sig.parse().unwrap());
    assert_eq!(key.public().verify(b"", &sig.parse().unwrap()), Ok(()));
}

#[test]
fn signatures_are_those_of_another_implementation() {
    use ed25519_dalek::Signer as _;
    for n in 0..=255u8 {
        let theirs = SigningKey::from_bytes(&[n; 32]);
        let message: Vec<u8> = (0..n).map(|at| at.wrapping_mul(n)).collect();
        let ours = SecretKey::from_seed([n; 32]);
        assert_eq!(*ours.clone().sign(&message).as_bytes(), theirs.sign(&message).to_bytes(), "seed {n}");
        assert_eq!(ours.sign(&message), ours.clone().sign(&message));
    }
}

#[test]
fn signature_of_another_message_is_refused() {
    let key = SecretKey::from_seed([1; 32]);
    let sig = key.sign(b"one");
    assert_eq!(key.public().verify(b"one", &sig), Ok(()));
    assert_eq!(key.public().verify(b"two", &sig), Err(BadSignature));
    assert_eq!(SecretKey::from_seed([2; 32]).public().verify(b"one", &sig), Err(BadSignature));
}

#[test]
fn signature_with_s_plus_the_group_order_is_refused() {
    let key = SecretKey::from_seed([1; 32]);
    let mut bytes = *key.sign(b"one").as_bytes();
    let order = HEXLOWER.decode(b"edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010").unwrap();
    let mut carry = 0u16;
    for (s, l) in bytes[32..].iter_mut().zip(order) {
        let sum = u16::from(*s) + u16::from(l) + carry;
        *s = sum.to_le_bytes()[0];
        carry = sum >> 8;
    }
    assert_eq!(key.public().verify(b"one", &Signature::from_bytes(bytes)), Err(BadSignature));
}

#[test]
fn pkcs8_v1_is_forty_eight_bytes_and_is_read_back() {
    let key = SecretKey::from_seed([7; 32]);
    let der = key.to_pkcs8_der();
    assert_eq!(HEXLOWER.encode(&der), format!("302e020100300506032b657004220420{}", "07".repeat(32)));
    assert_eq!(SecretKey::from_pkcs8_der(&der).map(|k| k.public()), Ok(key.public()));
}

#[test]
fn pkcs8_v2_is_named() {
    let mut der = SecretKey::from_seed([7; 32]).to_pkcs8_der().to_vec();
    der[4] = 1;
    assert_eq!(SecretKey::from_pkcs8_der(&der).map(|_| ()), Err(KeyFault::Pkcs8V2));
}

#[test]
fn bytes_after_a_key_are_refused() {
    let mut der = SecretKey::from_seed([7; 32]).to_pkcs8_der().to_vec();
    der.push(0);
    assert_eq!(SecretKey::from_pkcs8_der(&der).map(|_| ()), Err(KeyFault::NotPkcs8));
}

#[test]
fn spki_is_read_back_and_its_neighbours_are_refused() {
    let key = SecretKey::from_seed([7; 32]).public();
    let mut der = key.spki_der();
    assert_eq!(der.len(), 44);
    assert_eq!(VerifyKey::from_spki_der(&der), Ok(key));
    // X25519 (1.3.101.110) instead of Ed25519.
    der[8] = 0x6e;
    assert_eq!(VerifyKey::from_spki_der(&der), Err(KeyFault::NotSpki));
    let mut weak = key.spki_der();
    weak[12..].fill(0);
    assert_eq!(VerifyKey::from_spki_der(&weak), Err(KeyFault::Weak(WeakKey(PublicKey::from_bytes([0; 32])))));
}

/// The worked example of `spec/identity.md`.
#[test]
fn ids_of_the_worked_example() {
    let key = SecretKey::from_seed([7; 32]).public();
    assert_eq!(key.wire().to_string(), "ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c");
    assert_eq!(key.node_id().to_string(), "6htncmjsxw2sj7d65izbnk7shyy4ftf2ggqiuwkassedsjuib3fa");
    assert_eq!(key.net_id().to_string(), "5dcaay4tu6unds3osw34kimyo52kuauwz3vje4quuay4tzicqgjq");
    assert_eq!(key.kid().to_string(), "44263294f7830699");
    assert_eq!(key.router_id().as_bytes(), key.node_id().as_bytes());
}

#[test]
fn debug_shows_no_secret() {
    let key = SecretKey::from_seed([7; 32]);
    assert_eq!(format!("{key:?}"), format!("SecretKey(of {})", key.public().wire()));
}
