//! The leaf's fields and extensions.

use counterfoil_spec::entry::Role;
use counterfoil_spec::ids::{NetId, NodeId, PublicKey, Signature};
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::time::Seconds;
use data_encoding::HEXLOWER;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType, SerialNumber,
};

use super::{DAY, NOW, Net, changed, check, date, identity, tls_key};
use crate::certificate::authority::{CaFault, LeafRequest, leaf_params};
use crate::certificate::binding::{BINDING_OID, NodeBinding, binding_input, role_oid, tls_spki_hash};
use crate::certificate::credentials::TlsKey;
use crate::enrol::JoinToken;
use crate::key::SecretKey;

fn verdict(change: impl FnOnce(&mut CertificateParams)) -> Result<NodeId, Refusal> {
    let net = Net::new(1);
    check(&net, &changed(&net, change), Role::Node, NOW).map(|peer| peer.id())
}

fn set_binding(params: &mut CertificateParams, change: impl FnOnce(&mut NodeBinding)) {
    let mut binding = NodeBinding::from_der(params.custom_extensions[0].content()).unwrap();
    change(&mut binding);
    params.custom_extensions[0] = CustomExtension::from_oid_content(&BINDING_OID, binding.to_der());
}

fn uri(text: String) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

fn san(net_id: &NetId, kind: &str, id: &NodeId) -> SanType {
    uri(format!("spiffe://{net_id}/{kind}/{id}"))
}

#[test]
fn leaf_of_the_profile_proves_its_identity() {
    let net = Net::new(1);
    let chain = changed(&net, |_| {});
    let peer = check(&net, &chain, Role::Node, NOW).unwrap();
    let key = identity().public();
    assert_eq!((peer.id(), *peer.key(), peer.role()), (key.node_id(), key, Role::Node));
    assert_eq!((peer.net_id(), peer.not_after()), (net.root.net_id(), NOW.plus(DAY)));
    assert_eq!((peer.generation(), peer.cert_serial()[0] & 0xc0), (1, 0x40));
    assert_eq!(peer.tls_spki_hash(), tls_spki_hash(&tls_key().spki_der()));
}

#[test]
fn leaf_is_valid_to_the_last_second_and_not_beyond() {
    let net = Net::new(1);
    let chain = changed(&net, |_| {});
    let id = identity().public().node_id();
    let at = |now| check(&net, &chain, Role::Node, now).map(|p| p.id());
    assert_eq!(at(Seconds(NOW.0 - 300)), Ok(id));
    assert_eq!(at(Seconds(NOW.0 - 301)), Err(Refusal::CertExpired));
    assert_eq!(at(NOW.plus(DAY)), Ok(id));
    assert_eq!(at(NOW.plus(DAY + 1)), Err(Refusal::CertExpired));
}

#[test]
fn subject_must_be_empty() {
    let named = verdict(|p| p.distinguished_name.push(DnType::CommonName, "node"));
    assert_eq!(named, Err(Refusal::CertProfile));
}

#[test]
fn key_usage_must_be_digital_signature_alone() {
    assert_eq!(verdict(|p| p.key_usages.clear()), Err(Refusal::CertProfile));
    assert_eq!(verdict(|p| p.key_usages = vec![KeyUsagePurpose::KeyAgreement]), Err(Refusal::CertProfile));
    assert_eq!(verdict(|p| p.key_usages.push(KeyUsagePurpose::KeyEncipherment)), Err(Refusal::CertProfile));
}

#[test]
fn extended_key_usage_must_be_server_client_and_role_in_order() {
    type Purposes = Vec<ExtendedKeyUsagePurpose>;
    let with = |change: fn(&mut Purposes)| verdict(move |p| change(&mut p.extended_key_usages));
    assert_eq!(with(Vec::clear), Err(Refusal::CertProfile));
    assert_eq!(with(|e| e.truncate(2)), Err(Refusal::CertProfile));
    assert_eq!(with(|e| drop(e.remove(0))), Err(Refusal::CertProfile));
    assert_eq!(with(|e| drop(e.remove(1))), Err(Refusal::CertProfile));
    assert_eq!(with(|e| e.swap(0, 1)), Err(Refusal::CertProfile));
    assert_eq!(with(|e| e.push(ExtendedKeyUsagePurpose::Any)), Err(Refusal::CertProfile));
    let root = ExtendedKeyUsagePurpose::Other(role_oid(Role::Root).to_vec());
    assert_eq!(verdict(|p| p.extended_key_usages[2] = root), Err(Refusal::CertProfile));
}

#[test]
fn role_of_the_usage_must_be_the_role_of_the_name() {
    let router = ExtendedKeyUsagePurpose::Other(role_oid(Role::Router).to_vec());
    assert_eq!(verdict(|p| p.extended_key_usages[2] = router), Err(Refusal::CertRole));
    let id = identity().public().node_id();
    let net_id = Net::new(1).root.net_id();
    assert_eq!(verdict(|p| p.subject_alt_names = vec![san(&net_id, "router", &id)]), Err(Refusal::CertRole));
}

#[test]
fn basic_constraints_must_say_no_ca() {
    assert_eq!(verdict(|p| p.is_ca = IsCa::NoCa), Err(Refusal::CertProfile));
    let ca = IsCa::Ca(BasicConstraints::Unconstrained);
    assert_eq!(verdict(|p| p.is_ca = ca), Err(Refusal::CertProfile));
}

#[test]
fn authority_key_identifier_must_be_there() {
    assert_eq!(verdict(|p| p.use_authority_key_identifier_extension = false), Err(Refusal::CertProfile));
}

#[test]
fn serial_must_be_sixteen_bytes_that_begin_with_01() {
    let with = |bytes: &[u8]| verdict(|p| p.serial_number = Some(SerialNumber::from_slice(bytes)));
    assert_eq!(with(&[0x41; 15]), Err(Refusal::CertProfile));
    assert_eq!(with(&[0x41; 17]), Err(Refusal::CertProfile));
    assert_eq!(with(&[0x3f; 16]), Err(Refusal::CertProfile));
    assert_eq!(with(&[0x41; 16]), Ok(identity().public().node_id()));
}

#[test]
fn name_must_be_one_spiffe_id_of_this_network() {
    let (net, id) = (Net::new(1).root.net_id(), identity().public().node_id());
    let with = |names: Vec<SanType>| verdict(|p| p.subject_alt_names = names);
    assert_eq!(with(vec![san(&net, "node", &id)]), Ok(id));
    assert_eq!(with(vec![]), Err(Refusal::CertName));
    assert_eq!(with(vec![san(&net, "node", &id), san(&net, "node", &id)]), Err(Refusal::CertName));
    assert_eq!(with(vec![san(&Net::new(5).root.net_id(), "node", &id)]), Err(Refusal::CertName));
    assert_eq!(with(vec![san(&net, "root", &id)]), Err(Refusal::CertName));
    for text in [
        format!("spiffe://{net}/node/{id}/"),
        format!("spiffe://{net}/node/{}", id.to_string().to_uppercase()),
        format!("SPIFFE://{net}/node/{id}"),
        format!("spiffe://{net}/node"),
        format!("https://{net}/node/{id}"),
    ] {
        assert_eq!(with(vec![uri(text.clone())]), Err(Refusal::CertName), "{text}");
    }
    let dns = || SanType::DnsName("node.example".try_into().unwrap());
    assert_eq!(with(vec![san(&net, "node", &id), dns()]), Err(Refusal::CertName));
    assert_eq!(with(vec![dns()]), Err(Refusal::CertName));
    let ip = SanType::IpAddress([127, 0, 0, 1].into());
    assert_eq!(with(vec![san(&net, "node", &id), ip]), Err(Refusal::CertName));
}

#[test]
fn id_must_be_the_hash_of_the_identity_key() {
    let net = Net::new(1).root.net_id();
    let other = SecretKey::from_seed([10; 32]).public().node_id();
    assert_eq!(verdict(|p| p.subject_alt_names = vec![san(&net, "node", &other)]), Err(Refusal::CertId));
}

#[test]
fn node_binding_must_be_there_and_well_formed() {
    assert_eq!(verdict(|p| p.custom_extensions.clear()), Err(Refusal::CertBinding));
    let short = CustomExtension::from_oid_content(&BINDING_OID, vec![0x04, 1, 1]);
    assert_eq!(verdict(|p| p.custom_extensions[0] = short), Err(Refusal::CertBinding));
    assert_eq!(verdict(|p| p.custom_extensions[0].set_criticality(true)), Err(Refusal::CertProfile));
}

#[test]
fn node_binding_covers_key_role_generation_end_and_network() {
    let (net, other) = (Net::new(1).root.net_id(), Net::new(5).root.net_id());
    let end = NOW.plus(DAY);
    let bind = |net: &NetId, role, tls: &TlsKey, generation, end| -> Signature {
        identity().sign(&binding_input(net, role, &tls.spki_der(), generation, end))
    };
    let with = |sig: Signature| verdict(|p| set_binding(p, |b| b.signature = sig));
    let id = identity().public().node_id();
    assert_eq!(with(bind(&net, Role::Node, &tls_key(), 1, end)), Ok(id));
    assert_eq!(with(bind(&other, Role::Node, &tls_key(), 1, end)), Err(Refusal::CertBinding));
    assert_eq!(with(bind(&net, Role::Router, &tls_key(), 1, end)), Err(Refusal::CertBinding));
    assert_eq!(with(bind(&net, Role::Node, &TlsKey::generate(), 1, end)), Err(Refusal::CertBinding));
    assert_eq!(with(bind(&net, Role::Node, &tls_key(), 2, end)), Err(Refusal::CertBinding));
    assert_eq!(with(bind(&net, Role::Node, &tls_key(), 1, end.plus(1))), Err(Refusal::CertBinding));
    assert_eq!(verdict(|p| set_binding(p, |b| b.generation = 2)), Err(Refusal::CertBinding));
    let later = |p: &mut CertificateParams| p.not_after = date(end.plus(60)).to_datetime();
    assert_eq!(verdict(later), Err(Refusal::CertBinding));
}

#[test]
fn weak_identity_key_is_refused() {
    let weak = verdict(|p| set_binding(p, |b| b.identity = PublicKey::from_bytes([0; 32])));
    assert_eq!(weak, Err(Refusal::CertWeakKey));
}

#[test]
fn weak_tls_key_is_refused() {
    let net = Net::new(1);
    let request = net.request(Role::Node, &identity(), &tls_key());
    let params = leaf_params(&net.domain.net_id(), &request, NOW).unwrap();
    let mut spki = request.tls_spki;
    spki[12..].fill(0);
    let chain = [net.ca.sign_leaf(&params, &spki).unwrap(), net.ca.der().to_vec()];
    assert_eq!(check(&net, &chain, Role::Node, NOW), Err(Refusal::CertWeakKey));
}

#[test]
fn tls_key_of_another_algorithm_is_refused() {
    let net = Net::new(1);
    let request = net.request(Role::Node, &identity(), &tls_key());
    let params = leaf_params(&net.domain.net_id(), &request, NOW).unwrap();
    let spki = rcgen::PublicKeyData::subject_public_key_info(&KeyPair::generate().unwrap());
    let chain = [net.ca.sign_leaf(&params, &spki).unwrap(), net.ca.der().to_vec()];
    assert_eq!(check(&net, &chain, Role::Node, NOW), Err(Refusal::CertProfile));
}

#[test]
fn other_extensions_and_second_copies_are_refused() {
    let basic = CustomExtension::from_oid_content(&[2, 5, 29, 19], vec![0x30, 0x00]);
    assert_eq!(verdict(|p| p.custom_extensions.push(basic)), Err(Refusal::CertProfile));
    let unknown = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![0x05, 0x00]);
    assert_eq!(verdict(|p| p.custom_extensions.push(unknown)), Err(Refusal::CertProfile));
    let binding = |p: &mut CertificateParams| p.custom_extensions.push(p.custom_extensions[0].clone());
    assert_eq!(verdict(binding), Err(Refusal::CertProfile));
}

#[test]
fn leaf_lives_at_most_a_day() {
    let net = Net::new(1);
    let mut request = LeafRequest::signed(
        Role::Node,
        &identity(),
        &tls_key(),
        &net.domain.net_id(),
        (1, NOW.plus(DAY + 1)),
    )
    .unwrap();
    let params = leaf_params(&net.domain.net_id(), &request, NOW).unwrap();
    let chain = [net.ca.sign_leaf(&params, &request.tls_spki).unwrap(), net.ca.der().to_vec()];
    assert_eq!(check(&net, &chain, Role::Node, NOW), Err(Refusal::CertLifetime));
    let refused = net.ca.issue_leaf(&request, NOW);
    assert!(matches!(refused, Err(CaFault::TooLong { wanted, latest }) if wanted == latest + 1));
    request.not_after = NOW;
    assert!(matches!(net.ca.issue_leaf(&request, NOW), Err(CaFault::Past(at)) if at == NOW.0));
}

/// The worked example of `spec/identity.md`, byte for byte.
#[test]
fn worked_example_of_the_specification() {
    let spec: String = include_str!("../../../../spec/identity.md").split_whitespace().collect();
    let net_id = SecretKey::from_seed([1; 32]).public().net_id();
    let nik = SecretKey::from_seed([7; 32]);
    let input = binding_input(&net_id, Role::Node, &tls_key().spki_der(), 1, NOW.plus(DAY));
    let binding = NodeBinding { identity: nik.public().wire(), generation: 1, signature: nik.sign(&input) };
    for line in [
        format!("networkid{net_id}"),
        format!("NIK{}", nik.public().wire()),
        format!("nodeid{}", nik.public().node_id()),
        format!("kid{}", nik.public().kid()),
        format!("bindinginput{}", HEXLOWER.encode(&input)),
        format!("bindingextension{}", HEXLOWER.encode(&binding.to_der())),
    ] {
        assert!(spec.contains(&line), "{line}");
    }
    let at = spec.find("cfjoin1aei").unwrap();
    let token: JoinToken = spec[at..at + 156].parse().unwrap();
    let seed = SecretKey::from_seed([0x22; 32]);
    assert_eq!((token.net_id(), token.expires()), (net_id, NOW.plus(3600)));
    assert_eq!((token.token_id().as_bytes(), token.facts().key), (&[0x11; 16], seed.public()));
}
