//! A deny list of the root, alone and under the root's signature.
#![no_main]

use counterfoil_identity::{RootDenials, SecretKey, sign_root_deny_list};
use counterfoil_session_fuzz::{flipped, mark, network};
use counterfoil_spec::deny::root::{RootDenyList, SignedRootDenyList};
use counterfoil_spec::encode::{from_canonical, to_canonical};
use counterfoil_spec::ids::{RouterId, Serial};
use counterfoil_spec::limits::{
    MAX_CLOCK_SKEW_S, MAX_CONTROL_BYTES, MAX_DENIED_AUTHORITIES, MAX_DENIED_ROUTERS,
};
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::time::Seconds;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    if let Ok(signed) = from_canonical::<SignedRootDenyList>(input, MAX_CONTROL_BYTES) {
        assert_eq!(to_canonical(&signed), input);
        // There is one signature of the root's for a list.
        let right = signed == sign(signed.list.clone()) && is_good(&signed.list);
        assert_eq!(take(&mut RootDenials::default(), &signed).is_ok(), right);
        judge(signed.list);
    }
    if let Ok(list) = from_canonical::<RootDenyList>(input, MAX_CONTROL_BYTES) {
        assert_eq!(to_canonical(&list), input);
        judge(list);
    }
});

fn judge(list: RootDenyList) {
    let signed = sign(list.clone());
    let mut denials = RootDenials::default();
    let taken = take(&mut denials, &signed);
    assert_eq!(taken.is_ok(), is_good(&list), "{taken:?}");
    if taken.is_err() {
        return assert_eq!((taken.err(), denials.last()), (Some(Refusal::CertDenyList), None));
    }
    assert_eq!(denials.last(), Some(&signed));
    let (router, authority) = (RouterId::from_bytes([0; 32]), Serial::from_bytes([0; 16]));
    assert!(list.routers.iter().all(|named| list.denies(named, &authority)));
    assert!(list.authorities.iter().all(|named| list.denies(&router, named)));
    let named = list.routers.contains(&router) || list.authorities.contains(&authority);
    assert_eq!(list.denies(&router, &authority), named);

    let (bytes, mut fresh) = (to_canonical(&signed), RootDenials::default());
    let bit = mark(&bytes) % (bytes.len() * 8);
    let changed = from_canonical::<SignedRootDenyList>(&flipped(&bytes, bit), MAX_CONTROL_BYTES);
    assert!(changed.is_err() || take(&mut fresh, &changed.expect("it was read")).is_err(), "bit {bit}");
    assert!(fresh.take(signed, &network().router.public(), NOW).is_err());

    // It does not go back, nor two ways at once.
    let mut other = list.clone();
    if other.routers.pop().is_none() {
        other.routers.push(router);
    }
    assert_eq!(take(&mut denials, &sign(other)), Err(Refusal::CertDenyBack));
    if list.epoch > 1 {
        let back = RootDenyList { epoch: list.epoch - 1, ..list };
        assert_eq!(take(&mut denials, &sign(back)), Err(Refusal::CertDenyBack));
    }
}

fn root() -> SecretKey {
    SecretKey::from_seed([0x52; 32])
}

fn sign(list: RootDenyList) -> SignedRootDenyList {
    sign_root_deny_list(list, (&root(), &root().public().net_id())).expect("the key is here")
}

fn take(denials: &mut RootDenials, signed: &SignedRootDenyList) -> Result<(), Refusal> {
    denials.take(signed.clone(), &root().public(), NOW).map(drop).map_err(|refused| refused.refusal)
}

/// The checks of `spec/identity.md`, said again.
fn is_good(list: &RootDenyList) -> bool {
    let rises = |keys: Vec<&[u8]>| keys.windows(2).all(|pair| pair[0] < pair[1]);
    rises(list.routers.iter().map(|id| id.as_bytes().as_slice()).collect())
        && rises(list.authorities.iter().map(|id| id.as_bytes().as_slice()).collect())
        && list.routers.len() <= MAX_DENIED_ROUTERS
        && list.authorities.len() <= MAX_DENIED_AUTHORITIES
        && list.epoch > 0
        && u128::from(list.issued.0) <= u128::from(NOW.0 + MAX_CLOCK_SKEW_S)
}

/// When the lists of the vectors come.
const NOW: Seconds = Seconds(1_800_000_000);
