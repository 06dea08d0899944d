//! From a chain of certificates to a [`VerifiedPeer`]: webpki's path, then the strict profile, the node binding, the
//! lifetime and the directory. The first failure refuses; there is no fallback.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use counterfoil_spec::entry::Role;
use counterfoil_spec::ids::{Hash, NetId, NodeId, RouterId};
use counterfoil_spec::limits::{MAX_LEAF_CERT_LIFE_S, NOT_BEFORE_MARGIN_S};
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::time::Seconds;
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use super::binding::{binding_input_of_hash, tls_spki_hash};
use super::met::{Met, MetCa};
use super::profile::{self, CaCert, LeafCert, RootCert, Validity};
use crate::deny::root::RootDenials;
use crate::key::VerifyKey;

/// A refusal with what was found and what was expected, for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{refusal}: {detail}")]
pub struct Refused {
    /// Which.
    pub refusal: Refusal,
    /// In words.
    pub detail: String,
}

pub(crate) fn refused(refusal: Refusal, detail: impl Into<String>) -> Refused {
    Refused { refusal, detail: detail.into() }
}

/// One network as its root certificate defines it.
#[derive(Clone)]
pub struct TrustDomain {
    der: CertificateDer<'static>,
    anchor: TrustAnchor<'static>,
    key: VerifyKey,
    key_id: [u8; 20],
    validity: Validity,
    met: Arc<Met>,
}

impl TrustDomain {
    /// Reads a root certificate; whether it is the right one is for the caller to compare by [`Self::net_id`].
    ///
    /// # Errors
    /// [`Refused`] where it is not the root certificate of a network.
    pub fn new(root_der: &[u8]) -> Result<Self, Refused> {
        let root = profile::root(root_der)?;
        let der = CertificateDer::from(root_der.to_vec());
        let anchor = anchor_from_trusted_cert(&der)
            .map_err(|e| refused(Refusal::CertProfile, format!("not a trust anchor: {e}")))?
            .to_owned();
        let RootCert { key, key_id, validity } = root;
        Ok(Self { der, anchor, key, key_id, validity, met: Arc::default() })
    }

    /// The network.
    #[must_use]
    pub fn net_id(&self) -> NetId {
        self.key.net_id()
    }

    /// The root certificate.
    #[must_use]
    pub fn root_der(&self) -> &[u8] {
        &self.der
    }

    /// The root's key.
    #[must_use]
    pub const fn root_key(&self) -> &VerifyKey {
        &self.key
    }

    /// The last second of the root certificate.
    #[must_use]
    pub const fn not_after(&self) -> Seconds {
        self.validity.not_after
    }

    pub(crate) const fn root_key_id(&self) -> &[u8; 20] {
        &self.key_id
    }

    #[cfg(test)]
    pub(crate) fn met(&self) -> &Met {
        &self.met
    }
}

impl fmt::Debug for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TrustDomain({})", self.net_id())
    }
}

/// Whom this side knows: whether an id was enrolled, is denied, or is the one that was pinned.
pub trait Directory: Send + Sync {
    /// Lets a peer pass of whose certificates all else was checked.
    ///
    /// # Errors
    /// `CertUnknown` for an id that no entry enrolled, `CertDenied` for a denied id or serial, `CertPin` for another
    /// router than the pinned one.
    fn check(&self, peer: &VerifiedPeer) -> Result<(), Refusal>;
}

/// A node's directory: the router that it pinned, or any router of the network where it pinned none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PinnedRouter(pub Option<RouterId>);

impl Directory for PinnedRouter {
    fn check(&self, peer: &VerifiedPeer) -> Result<(), Refusal> {
        match (peer.role, self.0) {
            (Role::Router, Some(pin)) if peer.id.as_router() != pin => Err(Refusal::CertPin),
            (Role::Router, _) => Ok(()),
            _ => Err(Refusal::CertRole),
        }
    }
}

/// The same, but for the routers that the network root denies.
#[derive(Debug, Clone)]
pub struct TrustedRouter {
    /// The router that was pinned.
    pub pin: PinnedRouter,
    /// What the root says.
    pub denied: RootDenials,
}

impl Directory for TrustedRouter {
    fn check(&self, peer: &VerifiedPeer) -> Result<(), Refusal> {
        if self.denied.denies(peer) { Err(Refusal::CertDenied) } else { self.pin.check(peer) }
    }
}

/// Who is at the other end, proved. Only [`verify_chain`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedPeer {
    role: Role,
    id: NodeId,
    key: VerifyKey,
    net_id: NetId,
    not_after: Seconds,
    cert_serial: [u8; 16],
    ca_serial: [u8; 16],
    generation: u64,
    tls_spki_hash: Hash,
}

impl VerifiedPeer {
    /// Its id; a router's is read with [`NodeId::as_router`].
    #[must_use]
    pub const fn id(&self) -> NodeId {
        self.id
    }

    /// Its identity key.
    #[must_use]
    pub const fn key(&self) -> &VerifyKey {
        &self.key
    }

    /// Router or node.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }

    /// The network.
    #[must_use]
    pub const fn net_id(&self) -> NetId {
        self.net_id
    }

    /// The last second of its certificate; the connection must end by then.
    #[must_use]
    pub const fn not_after(&self) -> Seconds {
        self.not_after
    }

    /// The serial of its certificate.
    #[must_use]
    pub const fn cert_serial(&self) -> &[u8; 16] {
        &self.cert_serial
    }

    /// The serial of the issuing CA's certificate.
    #[must_use]
    pub const fn ca_serial(&self) -> &[u8; 16] {
        &self.ca_serial
    }

    /// The generation of its certificate.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// The hash of its TLS key that the node binding covers.
    #[must_use]
    pub const fn tls_spki_hash(&self) -> Hash {
        self.tls_spki_hash
    }
}

/// Checks what a peer sent in its TLS Certificate message: the leaf, the issuing CA, and optionally the root.
///
/// # Errors
/// [`Refused`] with the first check that fails.
pub fn verify_chain(
    chain: &[CertificateDer<'_>],
    domain: &TrustDomain,
    want: Role,
    now: Seconds,
    directory: &dyn Directory,
) -> Result<VerifiedPeer, Refused> {
    //= spec/identity.md#checking-a-peer
    //# A side MUST make these checks in this order and MUST refuse at the first that fails:
    let (leaf, ca) = match chain {
        [leaf, ca] => (leaf, ca),
        [leaf, ca, root] if root.as_ref() == domain.root_der() => (leaf, ca),
        _ => {
            return Err(refused(
                Refusal::CertUntrusted,
                "expected a leaf, its issuing CA and at most this root",
            ));
        }
    };
    //= spec/identity.md#what-was-checked-before
    //# A side MAY leave out what depends on nothing but bytes that it has checked before:
    let known = domain.met.peer(leaf, ca, now).filter(|p| p.role == want && domain.validity.holds(now));
    if let Some(peer) = known {
        return let_in(peer, directory);
    }
    let ca = issued(leaf, ca, domain, want, now)?;
    let der = leaf;
    let leaf = profile::leaf(der, &ca.cert)?;
    let peer = bound((&leaf, &ca.cert), domain, want)?;
    if leaf.validity.life_s() > MAX_LEAF_CERT_LIFE_S + NOT_BEFORE_MARGIN_S {
        return Err(refused(
            Refusal::CertLifetime,
            format!("valid for {} s, more than {MAX_LEAF_CERT_LIFE_S}", leaf.validity.life_s()),
        ));
    }
    let peer = let_in(peer, directory)?;
    domain.met.enter_leaf(der, leaf.validity, ca, &peer);
    Ok(peer)
}

fn let_in(peer: VerifiedPeer, directory: &dyn Directory) -> Result<VerifiedPeer, Refused> {
    directory.check(&peer).map_err(|refusal| refused(refusal, format!("{} is not let in here", peer.id)))?;
    Ok(peer)
}

/// The issuing CA over which a path leads from the leaf to the root, with its profile and life.
fn issued(
    leaf: &CertificateDer<'_>,
    ca: &CertificateDer<'_>,
    domain: &TrustDomain,
    want: Role,
    now: Seconds,
) -> Result<Arc<MetCa>, Refused> {
    if !domain.validity.holds(now) {
        return Err(refused(Refusal::CertExpired, "outside the validity of the network root"));
    }
    let end = EndEntityCert::try_from(leaf)
        .map_err(|e| refused(Refusal::CertProfile, format!("not a certificate that webpki reads: {e}")))?;
    if let Some(met) = domain.met.ca(ca, now)
        && path(&end, (&met.anchor, &[]), want, now) == Ok(0)
    {
        return Ok(met);
    }
    let between = path(&end, (&domain.anchor, std::slice::from_ref(ca)), want, now)
        .map_err(|e| refused(path_refusal(&e), format!("no path to the network root: {e}")))?;
    if between != 1 {
        return Err(refused(Refusal::CertUntrusted, "the leaf was not signed by the issuing CA beside it"));
    }
    let cert = profile::issuing_ca(ca, domain)?;
    let anchor = anchor_from_trusted_cert(ca)
        .map_err(|e| refused(Refusal::CertProfile, format!("not an issuer: {e}")))?
        .to_owned();
    let met = Arc::new(MetCa::new(ca, anchor, cert));
    domain.met.enter_ca(&met);
    Ok(met)
}

/// Leads a path from a leaf to an anchor; how many issuers lie between them.
fn path(
    end: &EndEntityCert<'_>,
    (anchor, between): (&TrustAnchor<'_>, &[CertificateDer<'_>]),
    want: Role,
    now: Seconds,
) -> Result<usize, webpki::Error> {
    let usage = if want == Role::Node { KeyUsage::client_auth() } else { KeyUsage::server_auth() };
    let at = UnixTime::since_unix_epoch(Duration::from_secs(now.0));
    let (algorithms, anchors) = (&[webpki::aws_lc_rs::ED25519], std::slice::from_ref(anchor));
    end.verify_for_usage(algorithms, anchors, between, at, usage, None, None)
        .map(|path| path.intermediate_certificates().count())
}

fn path_refusal(error: &webpki::Error) -> Refusal {
    use webpki::Error as E;
    match error {
        E::CertExpired { .. } | E::CertNotValidYet { .. } => Refusal::CertExpired,
        E::BadDer
        | E::TrailingData(_)
        | E::UnsupportedCertVersion
        | E::RequiredEkuNotFoundContext(_)
        | E::EmptyEkuExtension
        | E::CaUsedAsEndEntity
        | E::UnsupportedCriticalExtension
        | E::InvalidCertValidity => Refusal::CertProfile,
        _ => Refusal::CertUntrusted,
    }
}

/// Network, role, id and node binding agree with each other and with what is wanted.
fn bound(
    (leaf, ca): (&LeafCert, &CaCert),
    domain: &TrustDomain,
    want: Role,
) -> Result<VerifiedPeer, Refused> {
    if leaf.net_id != domain.net_id() {
        return Err(refused(Refusal::CertName, format!("a certificate of the network {}", leaf.net_id)));
    }
    if leaf.role != leaf.usage_role {
        return Err(refused(Refusal::CertRole, "the SPIFFE id and the key usage name different roles"));
    }
    if leaf.role != want {
        return Err(refused(Refusal::CertRole, format!("a {:?}, where a {want:?} was expected", leaf.role)));
    }
    let key = match domain.met.key(&leaf.binding.identity) {
        Some(key) => key,
        None => VerifyKey::from_wire(leaf.binding.identity)
            .map_err(|weak| refused(Refusal::CertWeakKey, weak.to_string()))?,
    };
    if key.node_id() != leaf.id {
        return Err(refused(Refusal::CertId, format!("{} is not the id of the identity key", leaf.id)));
    }
    let tls_spki_hash = tls_spki_hash(&leaf.tls_spki);
    let input = binding_input_of_hash(
        &domain.net_id(),
        leaf.role,
        &tls_spki_hash,
        leaf.binding.generation,
        leaf.validity.not_after,
    );
    key.verify(&input, &leaf.binding.signature)
        .map_err(|_| refused(Refusal::CertBinding, "the identity key did not sign for this TLS key"))?;
    Ok(VerifiedPeer {
        role: leaf.role,
        id: leaf.id,
        key,
        net_id: leaf.net_id,
        not_after: leaf.validity.not_after,
        cert_serial: leaf.serial,
        ca_serial: ca.serial,
        generation: leaf.binding.generation,
        tls_spki_hash,
    })
}
