//! Certificate requests: whose they must be, and that nothing else in them matters.

use rcgen::{BasicConstraints, CertificateParams, CustomExtension, DnType, IsCa, KeyUsagePurpose, SanType};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::proof::{Purpose, Transcript};
use super::*;
use crate::certificate::binding::binding_input;

#[test]
fn request_must_be_signed_by_the_tls_key_of_the_hello() {
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let stage = Stage::new();
        let (server, _, mut proof) = stage.proved();
        change(&mut proof.csr);
        stage.finish(server, &proof).map(|_| ())
    };
    assert_eq!(with(&|csr| *csr = TlsKey::generate().csr().unwrap()), Err(Refusal::EnrolCsr));
    assert_eq!(with(&|csr| *csr.last_mut().unwrap() ^= 1), Err(Refusal::EnrolCsr));
    assert_eq!(with(&|csr| csr.push(0)), Err(Refusal::EnrolCsr));
    assert_eq!(with(&|csr| csr.truncate(20)), Err(Refusal::EnrolCsr));
    assert_eq!(with(&|csr| *csr = vec![0x30; 5000]), Err(Refusal::EnrolCsr));
}

/// A request of the stage's TLS key that asks for whatever a certificate may say.
fn greedy() -> Vec<u8> {
    let router = "spiffe://aaaa/router/bbbb";
    let mut params = CertificateParams::new(vec!["router.example".to_owned()]).unwrap();
    params.subject_alt_names.push(SanType::URI(router.try_into().unwrap()));
    params.distinguished_name.push(DnType::CommonName, "the router");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
        .custom_extensions
        .push(CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 32473, 9], vec![5, 0]));
    params.serialize_request(&SecretKey::from_seed([41; 32])).unwrap().der().to_vec()
}

/// What a certificate says, but for its serial number and its signature.
fn said(leaf: &[u8]) -> (String, Vec<(String, bool, Vec<u8>)>) {
    let (_, leaf) = X509Certificate::from_der(leaf).unwrap();
    let facts = [
        leaf.subject().to_string(),
        leaf.issuer().to_string(),
        format!("{:?}", leaf.validity()),
        format!("{:?}", leaf.public_key().raw),
    ];
    let extension =
        |e: &x509_parser::extensions::X509Extension<'_>| (e.oid.to_string(), e.critical, e.value.to_vec());
    (facts.join("; "), leaf.extensions().iter().map(extension).collect())
}

//= spec/identity.md#enrolment
//= type=test
//# MUST take nothing but that key from it.
#[test]
fn nothing_but_the_key_is_taken_from_a_request() {
    let plain = Stage::new();
    let (server, _, proof) = plain.proved();
    let plainly = plain.finish(server, &proof).unwrap();
    let stage = Stage::new();
    let hello = stage.client().hello().clone();
    let (server, challenge) = stage.begin(&hello).unwrap();
    let (net_id, csr) = (stage.net.root.net_id(), greedy());
    let t =
        Transcript { net_id: &net_id, hello: &hello, challenge: &challenge, exporter: &EXPORTER, csr: &csr };
    let node_sig = t.sign(Purpose::Node, &stage.identity).unwrap();
    let token_sig = t.sign(Purpose::Token, stage.token.key()).unwrap();
    let spki = stage.tls_key.spki_der();
    let binding = binding_input(&net_id, Role::Node, &spki, challenge.generation, challenge.not_after);
    let proof = Proof { csr: csr.clone(), node_sig, token_sig, binding_sig: stage.identity.sign(&binding) };
    let greedily = stage.finish(server, &proof).unwrap();
    assert_eq!(said(&greedily.leaf), said(&plainly.leaf));
    let (_, proving, _) = stage.proved();
    let joined = proving.on_enrolled(&greedily, NOW).map(|j| j.node);
    assert_eq!(joined, Ok(stage.identity.public().node_id()));
}
