//! The strict profile: every field and extension is compared with the only form that this network issues.
//!
//! webpki proves a path and stops there (it does not look at KeyUsage, for one); what it leaves open is closed here.
//! Simple extensions are compared byte for byte, which is stricter and shorter than interpreting them.

use counterfoil_spec::entry::Role;
use counterfoil_spec::ids::{NetId, NodeId, Signature};
use counterfoil_spec::limits::{MAX_CA_CERT_LIFE_S, MAX_CERT_BYTES, MAX_LEAF_DNS_NAMES, NOT_BEFORE_MARGIN_S};
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::time::Seconds;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension, X509Extension};
use x509_parser::prelude::FromDer;
use x509_parser::x509::{AlgorithmIdentifier, X509Version};

use super::binding::{BINDING_OID, NodeBinding};
use super::verify::{Refused, TrustDomain, refused};
use crate::key::{KeyFault, VerifyKey};

/// What a root says.
pub(crate) struct RootCert {
    pub(crate) key: VerifyKey,
    pub(crate) key_id: [u8; 20],
    pub(crate) validity: Validity,
}

/// What an issuing CA says.
pub(crate) struct CaCert {
    pub(crate) key: VerifyKey,
    pub(crate) key_id: [u8; 20],
    pub(crate) serial: [u8; 16],
    pub(crate) validity: Validity,
}

/// What a leaf says.
pub(crate) struct LeafCert {
    pub(crate) net_id: NetId,
    pub(crate) role: Role,
    pub(crate) usage_role: Role,
    pub(crate) id: NodeId,
    pub(crate) binding: NodeBinding,
    pub(crate) tls_spki: Vec<u8>,
    pub(crate) serial: [u8; 16],
    pub(crate) validity: Validity,
}

/// Both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Validity {
    pub(crate) not_before: Seconds,
    pub(crate) not_after: Seconds,
}

impl Validity {
    pub(crate) const fn life_s(&self) -> u64 {
        self.not_after.0.saturating_sub(self.not_before.0)
    }

    /// Whether an instant lies in it.
    pub(crate) fn holds(&self, now: Seconds) -> bool {
        self.not_before <= now && now <= self.not_after
    }
}

pub(crate) fn root(der: &[u8]) -> Result<RootCert, Refused> {
    let cert = parse(der)?;
    let key = subject_key(&cert)?;
    signed_by(&cert, &key)?;
    let found = Extensions::of(&cert)?;
    found.only(&[Slot::KeyUsage, Slot::Basic, Slot::SubjectKeyId])?;
    found.exact(Slot::KeyUsage, true, KEY_CERT_SIGN)?;
    found.exact(Slot::Basic, true, CA_PATH_1)?;
    let key_id = found.subject_key_id()?;
    serial(&cert)?;
    Ok(RootCert { key, key_id, validity: validity(&cert)? })
}

pub(crate) fn issuing_ca(der: &[u8], domain: &TrustDomain) -> Result<CaCert, Refused> {
    certified_by(der, domain.root_key(), Some(domain.root_key_id()))
}

/// An issuing CA's certificate, where of its root the key is known and perhaps the key identifier.
pub(crate) fn certified_by(
    der: &[u8],
    root_key: &VerifyKey,
    root_key_id: Option<&[u8; 20]>,
) -> Result<CaCert, Refused> {
    let cert = parse(der)?;
    let key = subject_key(&cert)?;
    signed_by(&cert, root_key)?;
    let found = Extensions::of(&cert)?;
    found.only(&[Slot::KeyUsage, Slot::Basic, Slot::SubjectKeyId, Slot::AuthorityKeyId])?;
    found.exact(Slot::KeyUsage, true, KEY_CERT_SIGN)?;
    found.exact(Slot::Basic, true, CA_PATH_0)?;
    let authority = found.authority_key_id()?;
    if root_key_id.is_some_and(|want| *want != authority) {
        return Err(not_the_issuer());
    }
    let key_id = found.subject_key_id()?;
    let serial = serial(&cert)?;
    let validity = validity(&cert)?;
    if validity.life_s() > MAX_CA_CERT_LIFE_S + NOT_BEFORE_MARGIN_S {
        return Err(refused(Refusal::CertLifetime, "the issuing CA is valid for more than 90 days"));
    }
    Ok(CaCert { key, key_id, serial, validity })
}

pub(crate) fn leaf(der: &[u8], ca: &CaCert) -> Result<LeafCert, Refused> {
    let cert = parse(der)?;
    subject_key(&cert)?;
    if cert.subject().iter().next().is_some() {
        return Err(profile("the subject is not empty; a leaf is named by its SPIFFE id alone"));
    }
    let found = Extensions::of(&cert)?;
    if found.slot(Slot::Binding).is_none() {
        return Err(refused(Refusal::CertBinding, "no NodeBinding extension"));
    }
    found.only(&Slot::ALL)?;
    found.exact(Slot::KeyUsage, true, DIGITAL_SIGNATURE)?;
    found.exact(Slot::Basic, true, NOT_CA)?;
    if found.authority_key_id()? != ca.key_id {
        return Err(not_the_issuer());
    }
    found.subject_key_id()?;
    let usage_role = found.usage_role()?;
    if found.slot(Slot::Names).is_none() {
        return Err(refused(Refusal::CertName, "no subject alternative name"));
    }
    let (net_id, role, id) = names(found.required(Slot::Names, true)?)?;
    let binding = NodeBinding::from_der(found.required(Slot::Binding, false)?.value)
        .ok_or_else(|| refused(Refusal::CertBinding, "the NodeBinding extension is malformed"))?;
    Ok(LeafCert {
        net_id,
        role,
        usage_role,
        id,
        binding,
        tls_spki: cert.public_key().raw.to_vec(),
        serial: serial(&cert)?,
        validity: validity(&cert)?,
    })
}

fn parse(der: &[u8]) -> Result<X509Certificate<'_>, Refused> {
    if der.len() > MAX_CERT_BYTES {
        return Err(profile(format!("{} bytes, more than {MAX_CERT_BYTES}", der.len())));
    }
    let (rest, cert) =
        X509Certificate::from_der(der).map_err(|e| profile(format!("not an X.509 certificate: {e}")))?;
    if !rest.is_empty() {
        return Err(profile("bytes after the certificate"));
    }
    if cert.version() != X509Version::V3 {
        return Err(profile("not version 3"));
    }
    if cert.tbs_certificate.issuer_uid.is_some() || cert.tbs_certificate.subject_uid.is_some() {
        return Err(profile("a unique identifier, which nothing here uses"));
    }
    ed25519(&cert.signature_algorithm)?;
    ed25519(&cert.tbs_certificate.signature)?;
    Ok(cert)
}

fn ed25519(algorithm: &AlgorithmIdentifier<'_>) -> Result<(), Refused> {
    if algorithm.algorithm.as_bytes() == OID_ED25519 && algorithm.parameters.is_none() {
        Ok(())
    } else {
        Err(profile("signed with another algorithm than Ed25519"))
    }
}

fn subject_key(cert: &X509Certificate<'_>) -> Result<VerifyKey, Refused> {
    VerifyKey::from_spki_der(cert.public_key().raw).map_err(|fault| match fault {
        KeyFault::Weak(weak) => refused(Refusal::CertWeakKey, weak.to_string()),
        other => profile(format!("subject key: {other}")),
    })
}

fn signed_by(cert: &X509Certificate<'_>, key: &VerifyKey) -> Result<(), Refused> {
    Signature::from_slice(cert.signature_value.data.as_ref())
        .and_then(|sig| key.verify(cert.tbs_certificate.as_ref(), &sig).ok())
        .ok_or_else(|| refused(Refusal::CertUntrusted, "not signed by the network root that is pinned here"))
}

fn serial(cert: &X509Certificate<'_>) -> Result<[u8; 16], Refused> {
    let raw = cert.tbs_certificate.raw_serial();
    <[u8; 16]>::try_from(raw)
        .ok()
        .filter(|s| s.first().is_some_and(|b| b & 0xc0 == 0x40))
        .ok_or_else(|| profile("the serial is not 16 bytes that begin with the bits 01"))
}

fn validity(cert: &X509Certificate<'_>) -> Result<Validity, Refused> {
    let at = |seconds: i64| {
        u64::try_from(seconds).map(Seconds).map_err(|_| profile("a time before 1970 in the validity"))
    };
    let not_before = at(cert.validity().not_before.timestamp())?;
    let not_after = at(cert.validity().not_after.timestamp())?;
    if not_after < not_before {
        return Err(profile("the validity ends before it begins"));
    }
    Ok(Validity { not_before, not_after })
}

/// One SPIFFE id; a router may have DNS names beside it.
fn names(extension: &X509Extension<'_>) -> Result<(NetId, Role, NodeId), Refused> {
    let name = |detail: &str| refused(Refusal::CertName, detail);
    let ParsedExtension::SubjectAlternativeName(san) = extension.parsed_extension() else {
        return Err(profile("the subject alternative names are malformed"));
    };
    if san.general_names.len() > MAX_LEAF_DNS_NAMES + 1 {
        return Err(name("more names than a leaf may have"));
    }
    let mut uri = None;
    let mut dns = 0;
    for general in &san.general_names {
        match general {
            GeneralName::URI(text) if uri.is_none() => uri = Some(*text),
            GeneralName::URI(_) => return Err(name("more than one URI")),
            GeneralName::DNSName(_) => dns += 1,
            _ => return Err(name("a name that is neither the SPIFFE id nor a DNS name")),
        }
    }
    let uri = uri.ok_or_else(|| name("no SPIFFE id"))?;
    let parsed = spiffe(uri).ok_or_else(|| name("the URI is not spiffe://<net_id>/<router or node>/<id>"))?;
    if dns > 0 && parsed.1 == Role::Node {
        return Err(name("a node's certificate names no DNS hosts"));
    }
    Ok(parsed)
}

fn spiffe(uri: &str) -> Option<(NetId, Role, NodeId)> {
    let mut parts = uri.strip_prefix("spiffe://")?.split('/');
    let net_id = parts.next()?.parse().ok()?;
    let role = match parts.next()? {
        "router" => Role::Router,
        "node" => Role::Node,
        _ => return None,
    };
    let id = parts.next()?.parse().ok()?;
    if parts.next().is_some() { None } else { Some((net_id, role, id)) }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    Names,
    KeyUsage,
    ExtendedUsage,
    Basic,
    SubjectKeyId,
    AuthorityKeyId,
    Binding,
}

impl Slot {
    const ALL: [Self; 7] = [
        Self::Names,
        Self::KeyUsage,
        Self::ExtendedUsage,
        Self::Basic,
        Self::SubjectKeyId,
        Self::AuthorityKeyId,
        Self::Binding,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Names => "subject alternative name",
            Self::KeyUsage => "key usage",
            Self::ExtendedUsage => "extended key usage",
            Self::Basic => "basic constraints",
            Self::SubjectKeyId => "subject key identifier",
            Self::AuthorityKeyId => "authority key identifier",
            Self::Binding => "node binding",
        }
    }

    fn of(extension: &X509Extension<'_>) -> Option<Self> {
        if extension.oid.iter().is_some_and(|arcs| arcs.eq(BINDING_OID)) {
            return Some(Self::Binding);
        }
        match extension.oid.as_bytes() {
            [0x55, 0x1d, 14] => Some(Self::SubjectKeyId),
            [0x55, 0x1d, 15] => Some(Self::KeyUsage),
            [0x55, 0x1d, 17] => Some(Self::Names),
            [0x55, 0x1d, 19] => Some(Self::Basic),
            [0x55, 0x1d, 35] => Some(Self::AuthorityKeyId),
            [0x55, 0x1d, 37] => Some(Self::ExtendedUsage),
            _ => None,
        }
    }
}

/// The extensions of one certificate, each at most once.
struct Extensions<'a, 'b>(Vec<(Slot, &'b X509Extension<'a>)>);

impl<'a, 'b> Extensions<'a, 'b> {
    fn of(cert: &'b X509Certificate<'a>) -> Result<Self, Refused> {
        let mut found: Vec<(Slot, &X509Extension<'a>)> = Vec::new();
        for extension in cert.extensions() {
            let Some(slot) = Slot::of(extension) else {
                return Err(profile(format!("an extension that nothing here uses: {}", extension.oid)));
            };
            if found.iter().any(|(s, _)| *s == slot) {
                return Err(profile(format!("two extensions of one kind: {}", slot.name())));
            }
            found.push((slot, extension));
        }
        Ok(Self(found))
    }

    fn slot(&self, slot: Slot) -> Option<&'b X509Extension<'a>> {
        self.0.iter().find(|(s, _)| *s == slot).map(|(_, e)| *e)
    }

    fn only(&self, allowed: &[Slot]) -> Result<(), Refused> {
        match self.0.iter().find(|(s, _)| !allowed.contains(s)) {
            Some((slot, _)) => Err(profile(format!("{} does not belong here", slot.name()))),
            None => Ok(()),
        }
    }

    fn required(&self, slot: Slot, critical: bool) -> Result<&'b X509Extension<'a>, Refused> {
        let extension = self.slot(slot).ok_or_else(|| profile(format!("{} is missing", slot.name())))?;
        if extension.critical == critical {
            Ok(extension)
        } else {
            let must = if critical { "must" } else { "must not" };
            Err(profile(format!("{} {must} be critical", slot.name())))
        }
    }

    fn exact(&self, slot: Slot, critical: bool, value: &[u8]) -> Result<(), Refused> {
        if self.required(slot, critical)?.value == value {
            Ok(())
        } else {
            Err(profile(format!("{} says something else than it must", slot.name())))
        }
    }

    fn subject_key_id(&self) -> Result<[u8; 20], Refused> {
        let value = self.required(Slot::SubjectKeyId, false)?.value;
        value
            .strip_prefix(&[0x04, 20])
            .and_then(|id| id.try_into().ok())
            .ok_or_else(|| profile("the subject key identifier is not 20 bytes"))
    }

    fn authority_key_id(&self) -> Result<[u8; 20], Refused> {
        let value = self.required(Slot::AuthorityKeyId, false)?.value;
        value
            .strip_prefix(&[0x30, 22, 0x80, 20])
            .and_then(|id| id.try_into().ok())
            .ok_or_else(|| profile("the authority key identifier is not 20 bytes"))
    }

    fn usage_role(&self) -> Result<Role, Refused> {
        let value = self.required(Slot::ExtendedUsage, false)?.value;
        match value.strip_prefix(USAGES) {
            Some([2]) => Ok(Role::Router),
            Some([3]) => Ok(Role::Node),
            _ => Err(profile(
                "the extended key usage is not serverAuth, clientAuth and one role, in this order",
            )),
        }
    }
}

fn not_the_issuer() -> Refused {
    profile("the authority key identifier is not the issuer's key identifier")
}

fn profile(detail: impl Into<String>) -> Refused {
    refused(Refusal::CertProfile, detail)
}

/// 1.3.101.112, without tag and length.
const OID_ED25519: &[u8] = &[0x2b, 0x65, 0x70];
/// BIT STRING with bit 0.
const DIGITAL_SIGNATURE: &[u8] = &[0x03, 0x02, 0x07, 0x80];
/// BIT STRING with bit 5.
const KEY_CERT_SIGN: &[u8] = &[0x03, 0x02, 0x02, 0x04];
/// SEQUENCE {}: CA:FALSE by default.
const NOT_CA: &[u8] = &[0x30, 0x00];
/// SEQUENCE { TRUE, 1 }.
const CA_PATH_1: &[u8] = &[0x30, 0x06, 0x01, 0x01, 0xff, 0x02, 0x01, 0x01];
/// SEQUENCE { TRUE, 0 }.
const CA_PATH_0: &[u8] = &[0x30, 0x06, 0x01, 0x01, 0xff, 0x02, 0x01, 0x00];
/// SEQUENCE { serverAuth, clientAuth, 1.3.6.1.4.1.32473.2.… } up to the last arc, which is the role's number.
const USAGES: &[u8] = &[
    0x30, 0x20, 0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01, 0x06, 0x08, 0x2b, 0x06, 0x01,
    0x05, 0x05, 0x07, 0x03, 0x02, 0x06, 0x0a, 0x2b, 0x06, 0x01, 0x04, 0x01, 0x81, 0xfd, 0x59, 0x02,
];
