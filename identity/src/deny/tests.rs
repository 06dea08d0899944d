use super::*;
use crate::key::SecretKey;
use counterfoil_spec::ids::NodeId;

const NOW: Seconds = Seconds(1_800_000_000);

fn router() -> SecretKey {
    SecretKey::from_seed([0x14; 32])
}

fn net() -> NetId {
    SecretKey::from_seed([1; 32]).public().net_id()
}

fn names(nodes: &[u8]) -> DenyNames {
    DenyNames { nodes: nodes.iter().map(|n| NodeId::from_bytes([*n; 32])).collect(), ..DenyNames::default() }
}

fn signed(list: DenyList, key: &SecretKey) -> SignedDenyList {
    let sig = key.sign(&input(&list, &net()));
    SignedDenyList { list, sig }
}

fn list(epoch: u64, nodes: &[u8]) -> DenyList {
    DenyList { epoch, issued: NOW, next_update: NOW.plus(60), names: names(nodes) }
}

fn taken(denials: &mut Denials, list: DenyList) -> Result<Taken, Refusal> {
    let signed = signed(list, &router());
    denials.take(signed, (&router().public(), &net()), NOW).map_err(|r| r.refusal)
}

//= spec/identity.md#the-deny-list
//= type=test
//# A node MUST make these checks in this order and MUST refuse at the first that fails:
#[test]
fn a_list_that_the_router_did_not_sign_so_is_refused() {
    let fresh = || Denials::default();
    assert_eq!(taken(&mut fresh(), list(1, &[1, 2])), Ok(Taken::Changed));
    assert_eq!(taken(&mut fresh(), list(1, &[2, 1])), Err(Refusal::CertDenyList));
    let keys = (&router().public(), &net());
    let good = sign_deny_list(1, names(&[1]), NOW, (&router(), &net())).unwrap();
    assert_eq!(fresh().take(good.clone(), keys, NOW), Ok(Taken::Changed));
    let forged = signed(list(1, &[1]), &SecretKey::from_seed([0x15; 32]));
    assert_eq!(fresh().take(forged, keys, NOW).unwrap_err().refusal, Refusal::CertDenyList);
    let mut changed = good.clone();
    changed.list.names = names(&[]);
    assert_eq!(fresh().take(changed, keys, NOW).unwrap_err().refusal, Refusal::CertDenyList);
    let elsewhere = SecretKey::from_seed([2; 32]).public().net_id();
    let refused = fresh().take(good, (keys.0, &elsewhere), NOW).unwrap_err().refusal;
    assert_eq!(refused, Refusal::CertDenyList);
}

#[test]
fn a_list_of_the_future_or_for_too_long_is_refused() {
    let at = |issued: u64, next_update: u64| DenyList {
        issued: Seconds(NOW.0 + issued),
        next_update: Seconds(NOW.0 + next_update),
        ..list(1, &[])
    };
    let said = |issued, next| taken(&mut Denials::default(), at(issued, next));
    assert_eq!(said(60, 120), Ok(Taken::Changed));
    assert_eq!(said(61, 121), Err(Refusal::CertDenyList));
    assert_eq!(said(0, 61), Err(Refusal::CertDenyList));
    assert_eq!(said(1, 0), Err(Refusal::CertDenyList));
    assert_eq!(said(0, 0), Ok(Taken::Changed));
}

#[test]
fn a_list_that_goes_back_is_refused_and_changes_nothing() {
    let mut known = Denials::default();
    assert_eq!(taken(&mut known, list(4, &[1])), Ok(Taken::Changed));
    let before = known.clone();
    assert_eq!(taken(&mut known, list(3, &[])), Err(Refusal::CertDenyBack));
    assert_eq!(taken(&mut known, list(4, &[])), Err(Refusal::CertDenyBack));
    assert_eq!(known, before);
    assert_eq!(taken(&mut known, list(4, &[1])), Ok(Taken::Same));
    assert_eq!(taken(&mut known, list(6, &[])), Ok(Taken::Changed));
    assert_eq!(known.names(), Some(&names(&[])));
    let kept = Denials::known(before.last().unwrap().clone());
    assert_eq!(kept, before);
}

#[test]
fn a_list_is_fresh_until_a_minute_after_its_next_update() {
    let mut known = Denials::default();
    assert!(!known.is_fresh(Seconds(0)));
    let sign = |now| sign_deny_list(1, names(&[]), now, (&router(), &net())).unwrap();
    let (key, net) = (router().public(), net());
    known.take(sign(NOW), (&key, &net), NOW).unwrap();
    assert!(known.is_fresh(NOW.plus(120)));
    assert!(!known.is_fresh(NOW.plus(121)));
    // The same again makes it last longer, an older signature of it no shorter.
    assert_eq!(known.take(sign(NOW.plus(20)), (&key, &net), NOW.plus(20)), Ok(Taken::Same));
    assert_eq!(known.take(sign(NOW), (&key, &net), NOW.plus(20)), Ok(Taken::Same));
    assert!(known.is_fresh(NOW.plus(140)));
    assert!(!known.is_fresh(NOW.plus(141)));
}
