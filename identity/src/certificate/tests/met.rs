//! What was met before changes no verdict, and stays within its bounds.

use counterfoil_spec::entry::Role;
use counterfoil_spec::limits::{MAX_MET_CAS, MAX_MET_KEYS, MAX_MET_LEAVES};
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::time::Seconds;
use rcgen::{CustomExtension, Issuer, SubjectPublicKeyInfo};
use rustls::pki_types::CertificateDer;

use super::chain::changed_ca;
use super::{Anyone, DAY, NOW, Net, changed, check, date, identity, tls_key};
use crate::certificate::authority::{IssuingCa, leaf_params};
use crate::certificate::profile;
use crate::certificate::verify::{Directory, Refused, TrustDomain, VerifiedPeer, verify_chain};
use crate::key::SecretKey;
use crate::signer::CertificateSigner;

/// Lets nobody in any more.
struct Nobody;

impl Directory for Nobody {
    fn check(&self, _: &VerifiedPeer) -> Result<(), Refusal> {
        Err(Refusal::CertDenied)
    }
}

fn judged(
    domain: &TrustDomain,
    chain: &[Vec<u8>],
    (want, now): (Role, Seconds),
    directory: &dyn Directory,
) -> Result<VerifiedPeer, Refused> {
    let chain: Vec<_> = chain.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
    verify_chain(&chain, domain, want, now, directory)
}

fn flipped(der: &[u8]) -> Vec<u8> {
    let mut der = der.to_vec();
    *der.last_mut().unwrap() ^= 1;
    der
}

fn chain_of(ca: &IssuingCa, leaf: Vec<u8>) -> Vec<Vec<u8>> {
    vec![leaf, ca.der().to_vec()]
}

/// A good chain of a node and one of a router, and their nearest neighbours.
fn chains(net: &Net) -> Vec<Vec<Vec<u8>>> {
    let node = changed(net, |_| {});
    let router = net.credentials(Role::Router, &SecretKey::from_seed([20; 32])).chain().clone();
    let router = vec![router.leaf, router.ca];
    let [leaf, ca] = [node[0].clone(), node[1].clone()];
    // The same name, key and key identifier under another root; another key under this root; an earlier end.
    let elsewhere = Net { ca: changed_ca(&Net::new(5), |_| {}).unwrap(), ..Net::new(5) };
    let second = net.root.issue_ca(SecretKey::from_seed([40; 32]), NOW).unwrap();
    let short = changed_ca(net, |p| p.not_after = date(NOW.plus(3600)).to_datetime()).unwrap();
    let of = |ca: &IssuingCa| {
        let request = net.request(Role::Node, &identity(), &tls_key());
        let params = leaf_params(&net.domain.net_id(), &request, NOW).unwrap();
        chain_of(ca, ca.sign_leaf(&params, &request.tls_spki).unwrap())
    };
    let longer_life = changed(net, |p| p.not_after = date(NOW.plus(DAY + 1)).to_datetime());
    vec![
        vec![leaf.clone(), ca.clone(), net.root.der().to_vec()],
        vec![flipped(&leaf), ca.clone()],
        vec![[leaf.as_slice(), &[0]].concat(), ca.clone()],
        vec![leaf.clone(), flipped(&ca)],
        vec![leaf.clone(), [ca.as_slice(), &[0]].concat()],
        vec![leaf.clone(), elsewhere.ca.der().to_vec()],
        vec![leaf.clone(), second.der().to_vec()],
        vec![of(&second)[0].clone(), ca.clone()],
        vec![leaf.clone(), leaf],
        of(&second),
        of(&short),
        of(&elsewhere.ca),
        longer_life,
        node,
        router,
    ]
}

//= spec/identity.md#what-was-checked-before
//= type=test
//# It MUST make at each connection the checks that depend on anything else: the validities of root, issuing CA and leaf, the role that is wanted here, and the directory (12).
#[test]
fn every_verdict_is_that_of_a_side_that_met_nothing() {
    let net = Net::new(1);
    let times =
        [0, 1, 300, 301, 3900, 3901, DAY + 300, DAY + 301, 90 * DAY + 300, 90 * DAY + 301, 3652 * DAY + 301];
    let times = times.map(|s| Seconds(NOW.0 - 300 + s));
    let met = TrustDomain::new(net.root.der()).unwrap();
    let (mut accepted, mut refused) = (0, 0);
    let chains = chains(&net);
    // All of it twice: in the second round everything was met that can be.
    for chain in chains.iter().chain(&chains) {
        for at in times {
            for want in [Role::Node, Role::Router] {
                for directory in [&Anyone as &dyn Directory, &Nobody] {
                    let judge = |domain: &TrustDomain| judged(domain, chain, (want, at), directory);
                    let fresh = judge(&TrustDomain::new(net.root.der()).unwrap());
                    assert_eq!(judge(&met), fresh, "{chain:02x?} at {at:?}");
                    if fresh.is_ok() { accepted += 1 } else { refused += 1 }
                }
            }
        }
    }
    // Three chains of nodes and one of a router at seven instants, one of a CA with a short life at three; twice.
    assert_eq!((accepted, accepted + refused), (2 * (4 * 7 + 3), 2 * 15 * 11 * 2 * 2));
    assert_eq!(met.met().counts(), [3, 4, 2]);
}

//= spec/identity.md#what-was-checked-before
//= type=test
//# It MUST tell what it has checked by the bytes of the whole certificate or key, not by a name, a number or a key identifier.
#[test]
fn a_leaf_that_was_met_passes_beside_its_own_issuing_ca_alone() {
    let net = Net::new(1);
    let [leaf, ca] = changed(&net, |_| {}).try_into().unwrap();
    let with = |chain: &[Vec<u8>]| check(&net, chain, Role::Node, NOW).map(|p| p.id());
    let id = identity().public().node_id();
    assert_eq!(with(&[leaf.clone(), ca.clone()]), Ok(id));
    assert_eq!(net.domain.met().counts(), [1, 1, 1]);
    assert_eq!(with(&[leaf.clone(), ca.clone()]), Ok(id));
    let second = net.root.issue_ca(SecretKey::from_seed([40; 32]), NOW).unwrap();
    for other in [flipped(&ca), second.der().to_vec()] {
        assert_eq!(with(&[leaf.clone(), other]), Err(Refusal::CertUntrusted));
    }
    assert_eq!(with(&[flipped(&leaf), ca]), Err(Refusal::CertUntrusted));
    assert_eq!(net.domain.met().counts(), [1, 1, 1]);
}

#[test]
fn who_is_not_let_in_is_not_remembered_and_who_was_is_asked_after_again() {
    let net = Net::new(1);
    let chain = changed(&net, |_| {});
    let with = |directory: &dyn Directory| {
        judged(&net.domain, &chain, (Role::Node, NOW), directory).map(|p| p.id()).map_err(|r| r.refusal)
    };
    assert_eq!(with(&Nobody), Err(Refusal::CertDenied));
    assert_eq!(net.domain.met().counts(), [1, 0, 0]);
    assert_eq!(with(&Anyone), Ok(identity().public().node_id()));
    assert_eq!(net.domain.met().counts(), [1, 1, 1]);
    assert_eq!(with(&Nobody), Err(Refusal::CertDenied));
}

#[test]
fn another_network_has_met_nobody() {
    let (net, other) = (Net::new(1), Net::new(5));
    let chain = changed(&net, |_| {});
    assert!(judged(&net.domain.clone(), &chain, (Role::Node, NOW), &Anyone).is_ok());
    assert_eq!(net.domain.met().counts(), [1, 1, 1], "clones share what they met");
    assert_eq!(check(&other, &chain, Role::Node, NOW), Err(Refusal::CertUntrusted));
    assert_eq!(other.domain.met().counts(), [0, 0, 0]);
}

//= spec/identity.md#what-was-checked-before
//= type=test
//# What it remembers MUST be bounded, and MUST NOT be a reason to refuse: where it has not checked something before, or one of these checks fails, it makes all checks in their order.
#[test]
fn what_is_remembered_is_bounded_and_what_was_forgotten_passes() {
    let net = Net::new(1);
    let first = changed(&net, |_| {});
    let met = net.domain.met();
    assert!(check(&net, &first, Role::Node, NOW).is_ok());
    let peer = judged(&net.domain, &first, (Role::Node, NOW), &Anyone).unwrap();
    let ca = met.ca(&first[1], NOW).unwrap();
    let validity = profile::leaf(&first[0], &ca.cert).map(|leaf| leaf.validity).unwrap();
    for n in 0..MAX_MET_LEAVES {
        met.enter_leaf(&n.to_be_bytes(), validity, ca.clone(), &peer);
    }
    assert_eq!(met.counts(), [1, MAX_MET_LEAVES, 1]);
    assert_eq!(met.peer(&first[0], &first[1], NOW), None);
    assert_eq!(check(&net, &first, Role::Node, NOW), Ok(peer));
    for seed in 0..=u8::try_from(MAX_MET_CAS).unwrap() {
        let ca = net.root.issue_ca(SecretKey::from_seed([100 + seed; 32]), NOW).unwrap();
        let request = net.request(Role::Node, &identity(), &tls_key());
        let chain = ca.issue_leaf(&request, NOW).unwrap();
        assert!(check(&net, &[chain.leaf, chain.ca], Role::Node, NOW).is_ok());
    }
    assert_eq!(met.counts(), [MAX_MET_CAS, MAX_MET_LEAVES, 1]);
    assert!(met.ca(&first[1], NOW).is_none());
    const { assert!(MAX_MET_KEYS >= MAX_MET_LEAVES) };
}

#[test]
fn a_leaf_that_the_root_signed_itself_is_refused() {
    let net = Net::new(1);
    let request = net.request(Role::Node, &identity(), &tls_key());
    let mut params = leaf_params(&net.domain.net_id(), &request, NOW).unwrap();
    let key_id = profile::issuing_ca(net.ca.der(), &net.domain).map(|ca| ca.key_id).unwrap();
    params.use_authority_key_identifier_extension = false;
    let names_the_ca = [&[0x30, 22, 0x80, 20], key_id.as_slice()].concat();
    params.custom_extensions.push(CustomExtension::from_oid_content(&[2, 5, 29, 35], names_the_ca));
    let root = CertificateDer::from(net.root.der());
    let issuer = Issuer::from_ca_cert_der(&root, CertificateSigner::new(&**net.root.key())).unwrap();
    let subject = SubjectPublicKeyInfo::from_der(&request.tls_spki).unwrap();
    let leaf = params.signed_by(&subject, &issuer).unwrap().der().to_vec();
    assert_eq!(check(&net, &chain_of(&net.ca, leaf), Role::Node, NOW), Err(Refusal::CertUntrusted));
    let by_the_ca = net.ca.sign_leaf(&params, &request.tls_spki).unwrap();
    let id = identity().public().node_id();
    assert_eq!(check(&net, &chain_of(&net.ca, by_the_ca), Role::Node, NOW).map(|p| p.id()), Ok(id));
}
