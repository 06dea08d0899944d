//! The chain, the authorities and what they issue.

use counterfoil_spec::deny::root::RootDenyList;
use counterfoil_spec::entry::Role;
use counterfoil_spec::ids::{RouterId, Serial};
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::time::Seconds;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, SerialNumber,
};
use rustls::pki_types::CertificateDer;

use super::{Anyone, DAY, NOW, Net, changed, check, date, identity, tls_key};
use crate::certificate::authority::{CaFault, IssuingCa, LeafRequest, Root};
use crate::certificate::credentials::Chain;
use crate::certificate::verify::{
    Directory, PinnedRouter, TrustDomain, TrustedRouter, VerifiedPeer, verify_chain,
};
use crate::deny::root::{RootDenials, sign_root_deny_list};
use crate::key::SecretKey;
use crate::signer::CertificateSigner;

#[test]
fn changed_bytes_and_bytes_after_the_end_are_refused() {
    let net = Net::new(1);
    let good = changed(&net, |_| {});
    let mut flipped = good.clone();
    *flipped[0].last_mut().unwrap() ^= 1;
    assert_eq!(check(&net, &flipped, Role::Node, NOW), Err(Refusal::CertUntrusted));
    let mut longer = good.clone();
    longer[0].push(0);
    assert_eq!(check(&net, &longer, Role::Node, NOW), Err(Refusal::CertProfile));
    let mut cut = good;
    cut[0].pop();
    assert_eq!(check(&net, &cut, Role::Node, NOW), Err(Refusal::CertProfile));
}

#[test]
fn chain_must_be_leaf_ca_and_at_most_this_root() {
    let net = Net::new(1);
    let good = changed(&net, |_| {});
    let id = identity().public().node_id();
    let with = |chain: &[Vec<u8>]| check(&net, chain, Role::Node, NOW).map(|p| p.id());
    let root = net.root.der().to_vec();
    assert_eq!(with(&[good[0].clone(), good[1].clone(), root.clone()]), Ok(id));
    assert_eq!(with(&good[..1]), Err(Refusal::CertUntrusted));
    assert_eq!(with(&[]), Err(Refusal::CertUntrusted));
    assert_eq!(with(&[good[0].clone(), root]), Err(Refusal::CertUntrusted));
    let other = Net::new(5);
    assert_eq!(
        with(&[good[0].clone(), good[1].clone(), other.root.der().to_vec()]),
        Err(Refusal::CertUntrusted)
    );
    assert_eq!(with(&[good[0].clone(), other.ca.der().to_vec()]), Err(Refusal::CertUntrusted));
    assert_eq!(check(&other, &good, Role::Node, NOW), Err(Refusal::CertUntrusted));
    assert_eq!(with(&[good[0].clone(), good[0].clone()]), Err(Refusal::CertUntrusted));
}

/// A CA certificate signed by the root, changed before it is.
pub(super) fn changed_ca(
    net: &Net,
    change: impl FnOnce(&mut CertificateParams),
) -> Result<IssuingCa, CaFault> {
    let key = SecretKey::from_seed([3; 32]);
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "issuing CA");
    params.serial_number = Some(SerialNumber::from_slice(&[0x41; 16]));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.not_before = date(NOW).to_datetime();
    params.not_after = date(NOW.plus(90 * DAY)).to_datetime();
    params.use_authority_key_identifier_extension = true;
    change(&mut params);
    let root = CertificateDer::from(net.root.der());
    let issuer = rcgen::Issuer::from_ca_cert_der(&root, CertificateSigner::new(&**net.root.key())).unwrap();
    let der = params.signed_by(&key, &issuer).unwrap().der().to_vec();
    IssuingCa::from_parts(key, der, &net.domain)
}

#[test]
fn issuing_ca_must_fit_its_place() {
    let net = Net::new(1);
    let with = |change: fn(&mut CertificateParams)| match changed_ca(&net, change) {
        Ok(ca) => Ok(ca.not_after()),
        Err(CaFault::Refused(refused)) => Err(refused.refusal),
        Err(other) => panic!("{other}"),
    };
    assert_eq!(with(|_| {}), Ok(NOW.plus(90 * DAY)));
    assert_eq!(with(|p| p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)), Err(Refusal::CertProfile));
    assert_eq!(with(|p| p.is_ca = IsCa::Ca(BasicConstraints::Constrained(1))), Err(Refusal::CertProfile));
    assert_eq!(with(|p| p.is_ca = IsCa::ExplicitNoCa), Err(Refusal::CertProfile));
    assert_eq!(with(|p| p.key_usages.push(KeyUsagePurpose::CrlSign)), Err(Refusal::CertProfile));
    assert_eq!(with(|p| p.key_usages.clear()), Err(Refusal::CertProfile));
    assert_eq!(
        with(|p| p.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth)),
        Err(Refusal::CertProfile)
    );
    assert_eq!(with(|p| p.use_authority_key_identifier_extension = false), Err(Refusal::CertProfile));
    assert_eq!(with(|p| p.serial_number = Some(SerialNumber::from_slice(&[1]))), Err(Refusal::CertProfile));
    assert_eq!(
        with(|p| p.not_after = date(NOW.plus(90 * DAY + 301)).to_datetime()),
        Err(Refusal::CertLifetime)
    );
}

#[test]
fn expired_ca_carries_nothing() {
    let net = Net::new(1);
    let ca = changed_ca(&net, |p| p.not_after = date(NOW.plus(3600)).to_datetime()).unwrap();
    let request = LeafRequest::signed(
        Role::Node,
        &identity(),
        &tls_key(),
        &net.domain.net_id(),
        (1, ca.latest_leaf_end(NOW)),
    )
    .unwrap();
    assert_eq!(request.not_after, NOW.plus(3600));
    let Chain { leaf, ca } = ca.issue_leaf(&request, NOW).unwrap();
    let chain = [leaf, ca];
    let id = identity().public().node_id();
    assert_eq!(check(&net, &chain, Role::Node, NOW.plus(3600)).map(|p| p.id()), Ok(id));
    assert_eq!(check(&net, &chain, Role::Node, NOW.plus(3601)), Err(Refusal::CertExpired));
}

#[test]
fn expired_root_carries_nothing() {
    let root = Root::create(SecretKey::from_seed([1; 32]), Seconds(NOW.0 - 1000), 1010).unwrap();
    let ca = root.issue_ca(SecretKey::from_seed([2; 32]), NOW).unwrap();
    let net = Net { domain: TrustDomain::new(root.der()).unwrap(), root, ca };
    assert_eq!(net.ca.not_after(), NOW.plus(10));
    let chain = changed(&net, |_| {});
    assert_eq!(check(&net, &chain, Role::Node, NOW.plus(11)), Err(Refusal::CertExpired));
}

#[test]
fn ca_key_signing_a_chain_without_the_root_is_refused() {
    let net = Net::new(1);
    let impostor = changed_ca(&Net::new(5), |_| {}).unwrap();
    let error = IssuingCa::from_parts(SecretKey::from_seed([3; 32]), impostor.der().to_vec(), &net.domain);
    assert!(matches!(error, Err(CaFault::Refused(r)) if r.refusal == Refusal::CertUntrusted));
    let own = IssuingCa::from_parts(SecretKey::from_seed([4; 32]), net.ca.der().to_vec(), &net.domain);
    assert!(matches!(own, Err(CaFault::KeyMismatch)));
}

#[test]
fn role_must_be_the_wanted_one_and_the_router_the_pinned_one() {
    let net = Net::new(1);
    let router = SecretKey::from_seed([20; 32]);
    let chain = net.credentials(Role::Router, &router).chain().certificates();
    let with = |want, directory: &dyn Directory| {
        verify_chain(&chain, &net.domain, want, NOW, directory)
            .map(|p| p.id().as_router())
            .map_err(|r| r.refusal)
    };
    let id = router.public().router_id();
    assert_eq!(with(Role::Router, &PinnedRouter(None)), Ok(id));
    assert_eq!(with(Role::Router, &PinnedRouter(Some(id))), Ok(id));
    let other = RouterId::from_bytes([0; 32]);
    assert_eq!(with(Role::Router, &PinnedRouter(Some(other))), Err(Refusal::CertPin));
    assert_eq!(with(Role::Node, &Anyone), Err(Refusal::CertRole));
}

//= spec/identity.md#the-roots-deny-list
//= type=test
//# A node MUST NOT open a lane to a router that the list names, by its id or by the CA of its certificate, and MUST end such a lane
//# within a second of taking the list (`C_DENIED`).
#[test]
fn router_that_the_root_denies_by_its_id_or_by_its_ca_is_refused() {
    let net = Net::new(1);
    let router = SecretKey::from_seed([20; 32]);
    let chain = net.credentials(Role::Router, &router).chain().certificates();
    let with = |routers: Vec<RouterId>, authorities: Vec<Serial>| {
        let list = RootDenyList { epoch: 1, issued: NOW, routers, authorities };
        let signed = sign_root_deny_list(list, (&**net.root.key(), &net.root.net_id())).unwrap();
        let with = |pin| {
            let trusted =
                TrustedRouter { pin: PinnedRouter(pin), denied: RootDenials::known(signed.clone()) };
            verify_chain(&chain, &net.domain, Role::Router, NOW, &trusted).map(drop).map_err(|r| r.refusal)
        };
        (with(None), with(Some(RouterId::from_bytes([0; 32]))))
    };
    // Whoever is denied is told so, also where another router was pinned.
    let denied = (Err(Refusal::CertDenied), Err(Refusal::CertDenied));
    let (id, ca) = (router.public().router_id(), net.ca.serial());
    assert_eq!(with(vec![id], vec![]), denied);
    assert_eq!(with(vec![], vec![ca]), denied);
    let others = (RouterId::from_bytes([0; 32]), Serial::from_bytes([0; 16]));
    assert_eq!(with(vec![others.0], vec![others.1]), (Ok(()), Err(Refusal::CertPin)));
}

#[test]
fn directory_has_the_last_word() {
    struct Denies(Vec<u8>);
    impl Directory for Denies {
        fn check(&self, peer: &VerifiedPeer) -> Result<(), Refusal> {
            if peer.cert_serial().as_slice() == self.0 {
                Err(Refusal::CertDenied)
            } else {
                Err(Refusal::CertUnknown)
            }
        }
    }
    let net = Net::new(1);
    let chain: Vec<_> = changed(&net, |_| {}).into_iter().map(CertificateDer::from).collect();
    let peer = verify_chain(&chain, &net.domain, Role::Node, NOW, &Anyone).unwrap();
    let with = |serial: &[u8]| {
        verify_chain(&chain, &net.domain, Role::Node, NOW, &Denies(serial.to_vec())).map_err(|r| r.refusal)
    };
    assert_eq!(with(peer.cert_serial()), Err(Refusal::CertDenied));
    assert_eq!(with(&[]), Err(Refusal::CertUnknown));
}

#[test]
fn router_may_name_dns_hosts_and_a_node_may_not() {
    let net = Net::new(1);
    let mut request = net.request(Role::Router, &identity(), &tls_key());
    request.dns_names = (0..8).map(|i| format!("r{i}.example")).collect();
    let Chain { leaf, ca } = net.ca.issue_leaf(&request, NOW).unwrap();
    assert_eq!(check(&net, &[leaf, ca], Role::Router, NOW).map(|p| p.role()), Ok(Role::Router));
    request.dns_names.push("r8.example".to_owned());
    assert!(matches!(net.ca.issue_leaf(&request, NOW), Err(CaFault::DnsNames)));
    let mut node = net.request(Role::Node, &identity(), &tls_key());
    node.dns_names.push("n.example".to_owned());
    assert!(matches!(net.ca.issue_leaf(&node, NOW), Err(CaFault::DnsNames)));
}

#[test]
fn ca_issues_only_what_the_identity_key_signed() {
    let net = Net::new(1);
    let mut request = net.request(Role::Node, &identity(), &tls_key());
    request.generation = 2;
    assert!(matches!(net.ca.issue_leaf(&request, NOW), Err(CaFault::Binding)));
}

#[test]
fn files_give_the_same_root_and_chain() {
    let net = Net::new(1);
    let root = Root::from_parts(SecretKey::from_seed([1; 32]), net.root.der().to_vec()).unwrap();
    assert_eq!(root.net_id(), net.root.net_id());
    let wrong = Root::from_parts(SecretKey::from_seed([9; 32]), net.root.der().to_vec());
    assert!(matches!(wrong, Err(CaFault::KeyMismatch)));
    let chain = net.credentials(Role::Node, &identity()).chain().clone();
    assert_eq!(Chain::from_pem(&chain.to_pem()).unwrap(), chain);
    let one = crate::pem::encode("CERTIFICATE", &chain.leaf);
    assert!(matches!(Chain::from_pem(&one), Err(CaFault::ChainLength(1))));
}

#[test]
fn root_must_be_the_root_of_a_network() {
    let net = Net::new(1);
    let with = |der: &[u8]| TrustDomain::new(der).map(|d| d.net_id()).map_err(|r| r.refusal);
    assert_eq!(with(net.root.der()), Ok(net.root.net_id()));
    assert_eq!(with(net.ca.der()), Err(Refusal::CertUntrusted));
    let mut flipped = net.root.der().to_vec();
    *flipped.last_mut().unwrap() ^= 1;
    assert_eq!(with(&flipped), Err(Refusal::CertUntrusted));
    assert_eq!(with(&[0x30; 5000]), Err(Refusal::CertProfile));
}
