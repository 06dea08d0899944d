//! Every rule of the profile with the nearest certificate that breaks it, made with the real CA key.

mod chain;
mod leaf;
mod met;

use counterfoil_spec::entry::Role;
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::time::Seconds;
use rcgen::CertificateParams;
use rustls::pki_types::CertificateDer;
use x509_parser::time::ASN1Time;

use super::authority::{IssuingCa, LeafRequest, Root, leaf_params};
use super::credentials::{Credentials, TlsKey};
use super::verify::{Directory, Refused, TrustDomain, VerifiedPeer, verify_chain};
use crate::key::SecretKey;

pub(crate) const NOW: Seconds = Seconds(1_800_000_000);
pub(crate) const DAY: u64 = 86_400;

/// A network with one issuing CA.
pub(crate) struct Net {
    pub(crate) root: Root,
    pub(crate) ca: IssuingCa,
    pub(crate) domain: TrustDomain,
}

impl Net {
    pub(crate) fn new(seed: u8) -> Self {
        let root = Root::create(SecretKey::from_seed([seed; 32]), NOW, 3652 * DAY).unwrap();
        let ca = root.issue_ca(SecretKey::from_seed([seed + 1; 32]), NOW).unwrap();
        let domain = TrustDomain::new(root.der()).unwrap();
        Self { root, ca, domain }
    }

    pub(crate) fn request(&self, role: Role, identity: &SecretKey, tls: &TlsKey) -> LeafRequest {
        LeafRequest::signed(role, identity, tls, &self.domain.net_id(), (1, NOW.plus(DAY))).unwrap()
    }

    pub(crate) fn credentials(&self, role: Role, identity: &SecretKey) -> Credentials {
        let tls = TlsKey::generate();
        let chain = self.ca.issue_leaf(&self.request(role, identity, &tls), NOW).unwrap();
        Credentials::new(chain, &tls)
    }
}

/// Knows everybody.
pub(crate) struct Anyone;

impl Directory for Anyone {
    fn check(&self, _: &VerifiedPeer) -> Result<(), Refusal> {
        Ok(())
    }
}

fn identity() -> SecretKey {
    SecretKey::from_seed([9; 32])
}

fn tls_key() -> TlsKey {
    TlsKey::from_secret(SecretKey::from_seed([8; 32]))
}

fn check(net: &Net, chain: &[Vec<u8>], want: Role, now: Seconds) -> Result<VerifiedPeer, Refusal> {
    let chain: Vec<CertificateDer<'_>> = chain.iter().map(|c| CertificateDer::from(c.as_slice())).collect();
    verify_chain(&chain, &net.domain, want, now, &Anyone).map_err(|Refused { refusal, .. }| refusal)
}

/// A leaf of a node, changed before the CA signs it.
fn changed(net: &Net, change: impl FnOnce(&mut CertificateParams)) -> Vec<Vec<u8>> {
    let request = net.request(Role::Node, &identity(), &tls_key());
    let mut params = leaf_params(&net.domain.net_id(), &request, NOW).unwrap();
    change(&mut params);
    vec![net.ca.sign_leaf(&params, &request.tls_spki).unwrap(), net.ca.der().to_vec()]
}

fn date(at: Seconds) -> ASN1Time {
    ASN1Time::from_timestamp(i64::try_from(at.0).unwrap()).unwrap()
}
