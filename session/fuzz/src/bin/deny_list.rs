//! A deny list, alone and under the router's signature.
#![no_main]

use counterfoil_identity::{Denials, VerifyKey};
use counterfoil_session_fuzz::{flipped, mark, network};
use counterfoil_spec::deny::{DenyList, MinEpoch, SignedDenyList};
use counterfoil_spec::encode::{from_canonical, signing_input, to_canonical};
use counterfoil_spec::ids::NetId;
use counterfoil_spec::limits::{
    MAX_CLOCK_SKEW_S, MAX_CONTROL_BYTES, MAX_DENIED_CONSENTS, MAX_DENIED_EPOCHS, MAX_DENIED_NODES,
    MAX_DENIED_SERIALS, MAX_DENY_LIFE_S,
};
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::time::Seconds;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    if let Ok(signed) = from_canonical::<SignedDenyList>(input, MAX_CONTROL_BYTES) {
        assert_eq!(to_canonical(&signed), input);
        // There is one signature of the router's for a list.
        let right = signed == sign(signed.list.clone()) && is_good(&signed.list);
        assert_eq!(take(&mut Denials::default(), &signed).is_ok(), right);
        judge(signed.list);
    }
    if let Ok(list) = from_canonical::<DenyList>(input, MAX_CONTROL_BYTES) {
        assert_eq!(to_canonical(&list), input);
        judge(list);
    }
});

fn judge(list: DenyList) {
    let signed = sign(list.clone());
    let mut denials = Denials::default();
    let taken = take(&mut denials, &signed);
    assert_eq!(taken.is_ok(), is_good(&list), "{taken:?}");
    if taken.is_err() {
        return assert_eq!((taken.err(), denials.last()), (Some(Refusal::CertDenyList), None));
    }
    assert_eq!(denials.last(), Some(&signed));
    names_what_it_names(&list);
    let end = list.next_update.plus(MAX_CLOCK_SKEW_S);
    assert!(denials.is_fresh(end) && !denials.is_fresh(end.plus(1)));

    let net = network();
    let (bytes, mut fresh) = (to_canonical(&signed), Denials::default());
    let bit = mark(&bytes) % (bytes.len() * 8);
    let changed = from_canonical::<SignedDenyList>(&flipped(&bytes, bit), MAX_CONTROL_BYTES);
    assert!(changed.is_err() || take(&mut fresh, &changed.expect("it was read")).is_err(), "bit {bit}");
    assert!(fresh.take(signed.clone(), (&net.node.public(), &net.net_id()), NOW).is_err());
    assert!(fresh.take(signed, (&net.router.public(), &net.elsewhere.net_id()), NOW).is_err());

    // It does not go back, nor two ways at once.
    let mut names = list.names.clone();
    if names.consents.pop().is_none() {
        names.epochs = vec![MinEpoch { node: net.node.public().node_id(), epoch: u64::MAX }];
    }
    let back = |epoch, names| sign(DenyList { epoch, names, ..list.clone() });
    if names != list.names {
        assert_eq!(take(&mut denials, &back(list.epoch, names)), Err(Refusal::CertDenyBack));
    }
    if let Some(epoch) = list.epoch.checked_sub(1) {
        assert_eq!(take(&mut denials, &back(epoch, list.names.clone())), Err(Refusal::CertDenyBack));
    }
}

fn sign(list: DenyList) -> SignedDenyList {
    let input = signing_input("deny-list", &network().net_id(), &[&to_canonical(&list)]);
    SignedDenyList { sig: network().router.sign(&input), list }
}

fn take(denials: &mut Denials, signed: &SignedDenyList) -> Result<(), Refusal> {
    let by: (&VerifyKey, &NetId) = (&network().router.public(), &network().net_id());
    denials.take(signed.clone(), by, NOW).map(drop).map_err(|refused| refused.refusal)
}

/// The checks of `spec/identity.md`, said again.
fn is_good(list: &DenyList) -> bool {
    let names = &list.names;
    let rises = |keys: Vec<&[u8]>| keys.windows(2).all(|pair| pair[0] < pair[1]);
    rises(names.nodes.iter().map(|id| id.as_bytes().as_slice()).collect())
        && rises(names.serials.iter().map(|id| id.as_bytes().as_slice()).collect())
        && rises(names.consents.iter().map(|id| id.as_bytes().as_slice()).collect())
        && rises(names.epochs.iter().map(|own| own.node.as_bytes().as_slice()).collect())
        && names.nodes.len() <= MAX_DENIED_NODES
        && names.serials.len() <= MAX_DENIED_SERIALS
        && names.consents.len() <= MAX_DENIED_CONSENTS
        && names.epochs.len() <= MAX_DENIED_EPOCHS
        && u128::from(list.issued.0) <= u128::from(NOW.0 + MAX_CLOCK_SKEW_S)
        && list.issued <= list.next_update
        && list.next_update.0 - list.issued.0 <= MAX_DENY_LIFE_S
}

fn names_what_it_names(list: &DenyList) {
    let (names, nobody) = (&list.names, network().join.public().node_id());
    assert!(names.nodes.iter().all(|node| names.denies_node(node) && names.denies(node, &[])));
    assert!(names.serials.iter().all(|serial| names.denies(&nobody, serial.as_bytes())));
    assert!(names.consents.iter().all(|cti| names.denies_consent(cti)));
    assert!(names.epochs.iter().all(|own| names.min_epoch(&own.node) == own.epoch));
    assert_eq!(names.denies_node(&nobody), names.nodes.contains(&nobody));
}

/// When the lists of the vectors come.
const NOW: Seconds = Seconds(1_800_000_000);
