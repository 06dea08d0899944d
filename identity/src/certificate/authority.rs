//! The network root, the router's issuing CA and the leaves that it issues.
//!
//! ```text
//! root  10 years, self-signed, CN = net_id, critical CA:TRUE pathLen 1, critical keyCertSign
//! └ CA  at most 90 days, CN = "issuing CA", critical CA:TRUE pathLen 0, critical keyCertSign
//!   └ leaf at most 24 h, empty subject, one SPIFFE id, NodeBinding
//! ```
//!
//! The signing keys are our own signers, handed to rcgen through its signing trait.

use std::fmt;
use std::sync::Arc;

use counterfoil_spec::entry::Role;
use counterfoil_spec::ids::{NetId, NodeId, Serial, Signature};
use counterfoil_spec::limits::{
    MAX_CA_CERT_LIFE_S, MAX_LEAF_CERT_LIFE_S, MAX_LEAF_DNS_NAMES, NOT_BEFORE_MARGIN_S,
};
use counterfoil_spec::time::Seconds;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyUsagePurpose, SanType, SerialNumber, SubjectPublicKeyInfo,
};
use rustls::pki_types::CertificateDer;
use x509_parser::time::ASN1Time;

use super::binding::{BINDING_OID, NodeBinding, binding_input, role_oid};
use super::credentials::{Chain, TlsKey};
use super::issued::IssuedCa;
use super::profile::{self, CaCert};
use super::verify::{Refused, TrustDomain};
use crate::key::{KeyFault, VerifyKey};
use crate::pem::PemFault;
use crate::random;
use crate::signer::{CertificateSigner, SignFault, Signer};

/// Why a certificate was not made.
#[derive(Debug, thiserror::Error)]
pub enum CaFault {
    /// A key and a certificate that do not belong together.
    #[error("the certificate is not of this key; load the two files that were written together")]
    KeyMismatch,
    /// A root that is asked to certify its own key as an issuing CA's.
    #[error("the network root's own key cannot be an issuing CA's; make another key for it")]
    OwnKey,
    /// A certificate that is not what its place in the chain asks for.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The request asks for longer than the rules or the CA allow.
    #[error("ends at {wanted}, later than {latest} allows; ask for a shorter life or renew the issuing CA")]
    TooLong {
        /// Seconds since the epoch.
        wanted: u64,
        /// Seconds since the epoch.
        latest: u64,
    },
    /// The request ends before it begins.
    #[error("ends at {0}, which has passed")]
    Past(u64),
    /// The TLS key is not usable.
    #[error("TLS key: {0}")]
    TlsKey(KeyFault),
    /// The identity key did not sign for this TLS key, role, generation and end.
    #[error("the node binding's signature does not verify under the identity key")]
    Binding,
    /// More DNS names than allowed, or names on a node's certificate.
    #[error("only a router's certificate names DNS hosts, at most {MAX_LEAF_DNS_NAMES}")]
    DnsNames,
    /// A role that has no certificates.
    #[error("the network root has no leaf certificate")]
    Role,
    /// A chain file that cannot be read.
    #[error("certificate chain: {0}")]
    Pem(#[from] PemFault),
    /// A chain file without exactly two certificates.
    #[error("a chain file holds the leaf and the issuing CA, two certificates; found {0}")]
    ChainLength(usize),
    /// The certificate library refused.
    #[error("certificate: {0}")]
    Encoding(#[from] rcgen::Error),
    /// The key did not sign.
    #[error(transparent)]
    Sign(#[from] SignFault),
    /// Bytes that are no certificate.
    #[error("not a certificate that can be read; enrol again to get a new one")]
    Unreadable,
    /// A time that X.509 cannot express.
    #[error("the time {0} cannot stand in a certificate")]
    Time(u64),
}

/// The network root: its key and its self-signed certificate.
pub struct Root {
    key: Arc<dyn Signer>,
    der: Vec<u8>,
}

impl Root {
    /// Makes a root whose certificate is valid for `life_s` seconds.
    ///
    /// # Errors
    /// [`CaFault::Time`] where the end cannot be expressed, [`CaFault::Sign`] where the key does not sign.
    pub fn create(key: impl Into<Arc<dyn Signer>>, now: Seconds, life_s: u64) -> Result<Self, CaFault> {
        let key = key.into();
        let params = ca_params(&key.public().net_id().to_string(), 1, now, now.plus(life_s))?;
        let der = certificate(&*key, |signer| Ok(params.self_signed(signer)?.der().to_vec()))?;
        Ok(Self { key, der })
    }

    /// Puts a root together from its two files.
    ///
    /// # Errors
    /// [`CaFault::KeyMismatch`] or [`CaFault::Refused`].
    pub fn from_parts(key: impl Into<Arc<dyn Signer>>, der: Vec<u8>) -> Result<Self, CaFault> {
        let key = key.into();
        let domain = TrustDomain::new(&der)?;
        if domain.root_key() == &key.public() { Ok(Self { key, der }) } else { Err(CaFault::KeyMismatch) }
    }

    /// The certificate.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The network that it founds.
    #[must_use]
    pub fn net_id(&self) -> NetId {
        self.key.public().net_id()
    }

    /// The key, for the genesis entry.
    #[must_use]
    pub const fn key(&self) -> &Arc<dyn Signer> {
        &self.key
    }

    /// Certifies a router's issuing CA for 90 days.
    ///
    /// # Errors
    /// [`CaFault`].
    pub fn issue_ca(&self, ca_key: impl Into<Arc<dyn Signer>>, now: Seconds) -> Result<IssuingCa, CaFault> {
        let ca_key = ca_key.into();
        let der = self.certify_ca(&ca_key.public(), now)?;
        IssuingCa::from_parts(ca_key, der, &TrustDomain::new(&self.der)?)
    }

    /// The certificate of an issuing CA whose key is elsewhere, for 90 days.
    ///
    /// # Errors
    /// [`CaFault`]; [`CaFault::OwnKey`] where the root would certify itself.
    pub fn certify_ca(&self, ca_key: &VerifyKey, now: Seconds) -> Result<Vec<u8>, CaFault> {
        if *ca_key == self.key.public() {
            return Err(CaFault::OwnKey);
        }
        let root = TrustDomain::new(&self.der)?;
        let end = Seconds(now.plus(MAX_CA_CERT_LIFE_S).0.min(root.not_after().0));
        let mut params = ca_params("issuing CA", 0, now, end)?;
        params.use_authority_key_identifier_extension = true;
        let subject = SubjectPublicKeyInfo::from_der(&ca_key.spki_der())?;
        certificate(&*self.key, |signer| {
            let issuer = Issuer::from_ca_cert_der(&CertificateDer::from(self.der.as_slice()), signer)?;
            Ok(params.signed_by(&subject, &issuer)?.der().to_vec())
        })
    }
}

impl fmt::Debug for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Root({})", self.net_id())
    }
}

/// A router's issuing CA.
pub struct IssuingCa {
    key: Arc<dyn Signer>,
    der: Vec<u8>,
    domain: TrustDomain,
    facts: CaCert,
}

impl IssuingCa {
    /// Puts a CA together from its two files.
    ///
    /// # Errors
    /// [`CaFault::KeyMismatch`] or [`CaFault::Refused`].
    pub fn from_parts(
        key: impl Into<Arc<dyn Signer>>,
        der: Vec<u8>,
        domain: &TrustDomain,
    ) -> Result<Self, CaFault> {
        let key = key.into();
        let facts: CaCert = profile::issuing_ca(&der, domain)?;
        if facts.key != key.public() {
            return Err(CaFault::KeyMismatch);
        }
        Ok(Self { key, der, domain: domain.clone(), facts })
    }

    /// The certificate.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The key, to be kept beside the certificate.
    #[must_use]
    pub const fn key(&self) -> &Arc<dyn Signer> {
        &self.key
    }

    /// Whose CA it is.
    #[must_use]
    pub fn domain(&self) -> &TrustDomain {
        &self.domain
    }

    /// The last second of its validity.
    #[must_use]
    pub fn not_after(&self) -> Seconds {
        self.facts.validity.not_after
    }

    /// The serial number of its certificate.
    #[must_use]
    pub const fn serial(&self) -> Serial {
        Serial::from_bytes(self.facts.serial)
    }

    /// What its certificate says.
    #[must_use]
    pub fn issued(&self) -> IssuedCa {
        IssuedCa::from(&self.facts)
    }

    /// The latest end that a leaf issued now may have.
    #[must_use]
    pub fn latest_leaf_end(&self, now: Seconds) -> Seconds {
        Seconds(now.plus(MAX_LEAF_CERT_LIFE_S).0.min(self.not_after().0))
    }

    /// Issues a leaf.
    ///
    /// # Errors
    /// [`CaFault`] names the rule that the request breaks.
    pub fn issue_leaf(&self, request: &LeafRequest, now: Seconds) -> Result<Chain, CaFault> {
        let latest = self.latest_leaf_end(now);
        if request.not_after > latest {
            return Err(CaFault::TooLong { wanted: request.not_after.0, latest: latest.0 });
        }
        if request.not_after <= now {
            return Err(CaFault::Past(request.not_after.0));
        }
        VerifyKey::from_spki_der(&request.tls_spki).map_err(CaFault::TlsKey)?;
        let names_allowed = if request.role == Role::Router { MAX_LEAF_DNS_NAMES } else { 0 };
        if request.dns_names.len() > names_allowed {
            return Err(CaFault::DnsNames);
        }
        let net_id = self.domain.net_id();
        let input =
            binding_input(&net_id, request.role, &request.tls_spki, request.generation, request.not_after);
        request.identity.verify(&input, &request.binding_sig).map_err(|_| CaFault::Binding)?;
        let leaf = self.sign_leaf(&leaf_params(&net_id, request, now)?, &request.tls_spki)?;
        Ok(Chain { leaf, ca: self.der.clone() })
    }

    pub(crate) fn sign_leaf(&self, params: &CertificateParams, tls_spki: &[u8]) -> Result<Vec<u8>, CaFault> {
        let subject = SubjectPublicKeyInfo::from_der(tls_spki)?;
        certificate(&*self.key, |signer| {
            let issuer = Issuer::from_ca_cert_der(&CertificateDer::from(self.der.as_slice()), signer)?;
            Ok(params.signed_by(&subject, &issuer)?.der().to_vec())
        })
    }
}

impl fmt::Debug for IssuingCa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IssuingCa({:?} of {})", self.key.public(), self.domain.net_id())
    }
}

/// What a leaf certificate is to say; the identity key has signed it.
#[derive(Debug, Clone)]
pub struct LeafRequest {
    /// Router or node.
    pub role: Role,
    /// The identity key.
    pub identity: VerifyKey,
    /// SPKI DER of the TLS key, made anew for each certificate.
    pub tls_spki: Vec<u8>,
    /// Rising with each certificate of this identity.
    pub generation: u64,
    /// The last second of its validity.
    pub not_after: Seconds,
    /// By the identity key over [`binding_input`].
    pub binding_sig: Signature,
    /// DNS names of a router; empty for a node.
    pub dns_names: Vec<String>,
}

impl LeafRequest {
    /// A request that the identity key signs here, for whoever holds both keys.
    ///
    /// # Errors
    /// [`SignFault`] where the identity key does not sign.
    pub fn signed(
        role: Role,
        identity: &dyn Signer,
        tls: &TlsKey,
        net_id: &NetId,
        (generation, not_after): (u64, Seconds),
    ) -> Result<Self, SignFault> {
        let tls_spki = tls.spki_der();
        let input = binding_input(net_id, role, &tls_spki, generation, not_after);
        let (identity, binding_sig) = (identity.public(), identity.sign(&input)?);
        Ok(Self { role, identity, tls_spki, generation, not_after, binding_sig, dns_names: Vec::new() })
    }
}

/// Makes a certificate with a signer, and tells a signer's fault from the library's.
pub(super) fn certificate(
    key: &dyn Signer,
    make: impl FnOnce(&CertificateSigner<'_>) -> Result<Vec<u8>, rcgen::Error>,
) -> Result<Vec<u8>, CaFault> {
    let signer = CertificateSigner::new(key);
    make(&signer).map_err(|error| signer.fault().map_or(CaFault::Encoding(error), CaFault::Sign))
}

/// The SPIFFE id of a leaf.
pub(crate) fn spiffe_id(net_id: &NetId, role: Role, id: &NodeId) -> Option<String> {
    let kind = match role {
        Role::Router => "router",
        Role::Node => "node",
        Role::Root | Role::Log => return None,
    };
    Some(format!("spiffe://{net_id}/{kind}/{id}"))
}

pub(crate) fn leaf_params(
    net_id: &NetId,
    request: &LeafRequest,
    now: Seconds,
) -> Result<CertificateParams, CaFault> {
    let uri = spiffe_id(net_id, request.role, &request.identity.node_id()).ok_or(CaFault::Role)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.serial_number = Some(serial_number());
    set_validity(&mut params, now, request.not_after)?;
    params.subject_alt_names.push(SanType::URI(uri.try_into()?));
    for name in &request.dns_names {
        params.subject_alt_names.push(SanType::DnsName(name.as_str().try_into()?));
    }
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
        ExtendedKeyUsagePurpose::Other(role_oid(request.role).to_vec()),
    ];
    params.use_authority_key_identifier_extension = true;
    let binding = NodeBinding {
        identity: request.identity.wire(),
        generation: request.generation,
        signature: request.binding_sig,
    };
    params.custom_extensions.push(CustomExtension::from_oid_content(&BINDING_OID, binding.to_der()));
    Ok(params)
}

fn ca_params(name: &str, path_len: u8, now: Seconds, end: Seconds) -> Result<CertificateParams, CaFault> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.serial_number = Some(serial_number());
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(path_len));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    set_validity(&mut params, now, end)?;
    Ok(params)
}

fn set_validity(params: &mut CertificateParams, now: Seconds, end: Seconds) -> Result<(), CaFault> {
    let date = |s: u64| {
        let seconds = i64::try_from(s).map_err(|_| CaFault::Time(s))?;
        ASN1Time::from_timestamp(seconds).map(|t| t.to_datetime()).map_err(|_| CaFault::Time(s))
    };
    params.not_before = date(now.0.saturating_sub(NOT_BEFORE_MARGIN_S))?;
    params.not_after = date(end.0)?;
    Ok(())
}

/// Sixteen bytes of which 126 bits are random: the first two bits are 01, so that the DER integer is positive and
/// never shorter.
fn serial_number() -> SerialNumber {
    let mut bytes = random::bytes::<16>();
    if let Some(first) = bytes.first_mut() {
        *first = (*first & 0x3f) | 0x40;
    }
    SerialNumber::from_slice(&bytes)
}
