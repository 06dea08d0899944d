//! How a node gets its next certificate: one message and its answer, on its lane, or at the enrolment endpoint where
//! its last certificate has ended.
//!
//! ```text
//! node sig = Ed25519("counterfoil/renew-node/v1\0" ‖ net_id ‖ router_id ‖ TLS exporter ‖ u64be(generation)
//!                    ‖ u64be(notAfter) ‖ csr hash)                                      by the node identity key
//! ```
//!
//! The generation is counted by certificates that were used: a node that never used what it was given asks again for
//! the same one.

use std::sync::Arc;

use counterfoil_spec::encode::signing_input;
use counterfoil_spec::entry::Role;
use counterfoil_spec::ids::{NetId, RouterId, Serial, Signature};
use counterfoil_spec::limits::{
    MAX_CERT_BYTES, MAX_LATE_RENEWAL_S, MAX_LEAF_CERT_LIFE_S, MAX_RENEWALS, RENEWAL_EARLIEST,
};
use counterfoil_spec::message::{Renew, Renewed};
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::time::Seconds;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

use super::client::own_certificate;
use super::server::check_csr;
use crate::certificate::authority::{CaFault, IssuingCa, LeafRequest};
use crate::certificate::binding::binding_input;
use crate::certificate::credentials::{Chain, Credentials, TlsKey};
use crate::certificate::validity::certificate_end;
use crate::certificate::verify::{Refused, TrustDomain, VerifiedPeer, refused};
use crate::digest::{self, context};
use crate::key::{KeyFault, VerifyKey};
use crate::signer::{SignFault, Signer};

/// Where a certificate is asked for: the network, the router, and the connection.
#[derive(Debug, Clone, Copy)]
pub struct RenewAt<'a> {
    /// The network.
    pub net_id: &'a NetId,
    /// The router that TLS has shown.
    pub router_id: &'a RouterId,
    /// The exporter of the connection.
    pub exporter: &'a [u8; 32],
}

impl RenewAt<'_> {
    fn input(&self, (generation, not_after): (u64, Seconds), csr: &[u8]) -> Vec<u8> {
        signing_input(
            "renew-node",
            self.net_id,
            &[
                self.router_id.as_bytes(),
                self.exporter,
                &generation.to_be_bytes(),
                &not_after.0.to_be_bytes(),
                digest::derive(context::CSR, &[csr]).as_bytes(),
            ],
        )
    }
}

/// How a node stands with its router.
#[derive(Debug, Clone, Copy)]
pub struct Standing {
    /// The generation that was used last.
    pub used: u64,
    /// When its certificate was used first, where the log has it.
    pub since: Option<Seconds>,
    /// When its last certificate ended, or ends, at the latest.
    pub ended: Seconds,
    /// Whether it is on the deny list.
    pub denied: bool,
    /// Certificates of the next generation that it was given lately.
    pub issued: u32,
    /// The latest end that a certificate may have now.
    pub latest: Seconds,
}

/// A certificate that somebody asks for who holds the node's identity key. Only [`wanted`] makes one.
#[derive(Debug, Clone)]
pub struct Wanted {
    request: LeafRequest,
    tls_key: VerifyKey,
}

/// A certificate that a node may have; nobody has signed it yet. Only [`Wanted::allow`] makes one.
#[derive(Debug, Clone)]
pub struct Allowed {
    request: LeafRequest,
    at: Seconds,
}

impl Allowed {
    /// Has it signed.
    ///
    /// # Errors
    /// [`Refused`] with `SessionInternal` where the issuing CA cannot.
    pub fn issue(&self, ca: &IssuingCa) -> Result<Renewed, Refused> {
        let chain = ca
            .issue_leaf(&self.request, self.at)
            .map_err(|fault| refused(Refusal::SessionInternal, fault.to_string()))?;
        let half_life = self.request.not_after.0.saturating_sub(self.at.0) / 2;
        Ok(Renewed { leaf: chain.leaf, ca: chain.ca, renew_after: self.at.plus(half_life) })
    }
}

/// Checks what somebody asks for under the identity key that is enrolled; `None` for a node that nobody enrolled. This
/// depends on nothing that changes. Whoever does not hold the key learns nothing.
///
/// # Errors
/// [`Refused`] with the first check that fails.
//= spec/identity.md#renewal
//# A router MUST make these checks in this order and MUST refuse at the first that fails:
pub fn wanted(asked: &Renew, at: &RenewAt<'_>, key: Option<&VerifyKey>) -> Result<Wanted, Refused> {
    let Renew { generation, not_after, .. } = *asked;
    let no_proof =
        || refused(Refusal::EnrolProof, "the proof of the identity key of a node here does not verify");
    let identity = key.ok_or_else(no_proof)?;
    let tls_key = csr_key(&asked.csr)?;
    if tls_key == *identity {
        return Err(refused(Refusal::EnrolCsr, "the request is for the identity key, not for a TLS key"));
    }
    let proved = |input: &[u8], sig: &Signature| identity.verify(input, sig).map_err(|_| no_proof());
    proved(&at.input((generation, not_after), &asked.csr), &asked.node_sig)?;
    let binding = binding_input(at.net_id, Role::Node, &tls_key.spki_der(), generation, not_after);
    proved(&binding, &asked.binding_sig)?;
    let request = LeafRequest {
        role: Role::Node,
        identity: *identity,
        tls_spki: tls_key.spki_der(),
        generation,
        not_after,
        binding_sig: asked.binding_sig,
        dns_names: Vec::new(),
    };
    Ok(Wanted { request, tls_key })
}

impl Wanted {
    /// The key that the certificate would be for.
    #[must_use]
    pub const fn tls_key(&self) -> &VerifyKey {
        &self.tls_key
    }

    /// Says whether a node that stands so may have the certificate.
    ///
    /// # Errors
    /// [`Refused`] with the first check that fails.
    //= spec/identity.md#renewal
    //# A router MUST make these checks in this order and MUST refuse at the first that fails:
    pub fn allow(self, standing: &Standing, now: Seconds) -> Result<Allowed, Refused> {
        let Standing { used, ended, denied, latest, .. } = *standing;
        let LeafRequest { generation, not_after, .. } = self.request;
        if denied {
            return Err(refused(Refusal::CertDenied, "this node is on the deny list"));
        }
        if now > ended.plus(MAX_LATE_RENEWAL_S) {
            let detail =
                format!("its last certificate ended at {}, over 30 days ago: enrol it anew", ended.0);
            return Err(refused(Refusal::EnrolLate, detail));
        }
        if used.checked_add(1) != Some(generation) {
            let detail = format!("generation {generation} is asked for, and {used} was used last");
            return Err(refused(Refusal::EnrolGeneration, detail));
        }
        in_time(standing, now)?;
        lasts(not_after, latest, now)?;
        Ok(Allowed { request: self.request, at: now })
    }
}

/// Whether a node comes neither too early nor too often: of what it was given the log has an entry for each first use.
fn in_time(standing: &Standing, now: Seconds) -> Result<(), Refused> {
    let Standing { since, ended, issued, .. } = *standing;
    let from = since.map(|since| since.plus(ended.0.saturating_sub(since.0) / RENEWAL_EARLIEST));
    if let Some(from) = from.filter(|from| now < *from) {
        let detail = format!("its certificate has just been used; come back at {}", from.0);
        return Err(refused(Refusal::EnrolRate, detail));
    }
    if issued >= MAX_RENEWALS {
        return Err(refused(Refusal::EnrolRate, format!("{issued} of this generation were given lately")));
    }
    Ok(())
}

/// Whether a certificate's end is one that a router gives.
fn lasts(not_after: Seconds, latest: Seconds, now: Seconds) -> Result<(), Refused> {
    if not_after > latest {
        let detail = format!("until {}, and {} is the latest now", not_after.0, latest.0);
        return Err(refused(Refusal::CertLifetime, detail));
    }
    if not_after <= now {
        let detail = format!("a certificate until {}, while it is {} here", not_after.0, now.0);
        return Err(refused(Refusal::EnrolShape, detail));
    }
    let least = now.plus(latest.0.saturating_sub(now.0) / 2);
    if not_after < least {
        let detail = format!("until {}, and {} is the earliest end now", not_after.0, least.0);
        return Err(refused(Refusal::CertLifetime, detail));
    }
    Ok(())
}

/// The key of a request that this key signed; nothing else in it matters.
fn csr_key(der: &[u8]) -> Result<VerifyKey, Refused> {
    let fault = |detail: &str| refused(Refusal::EnrolCsr, detail);
    if der.len() > MAX_CERT_BYTES {
        return Err(fault("longer than a certificate may be"));
    }
    let (_, csr) = X509CertificationRequest::from_der(der).map_err(|_| fault("not a PKCS#10 request"))?;
    let key = VerifyKey::from_spki_der(csr.certification_request_info.subject_pki.raw);
    let key = key.map_err(|e| match e {
        KeyFault::Weak(weak) => refused(Refusal::CertWeakKey, weak.to_string()),
        other => fault(&other.to_string()),
    })?;
    check_csr(der, &key)?;
    Ok(key)
}

/// Whether a certificate that a node shows is the one that it may use, and whether it is used for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// The one that was used last.
    Again,
    /// Nobody has shown one of its generation before; that it is used is to be logged.
    First,
}

/// Looks at the certificate that a node shows. `used` is the generation that counts for it now, and `certificate` the serial
/// number of that one's, where it was shown before.
///
/// # Errors
/// [`Refused`] with `CertSuperseded`.
//= spec/identity.md#renewal
//# A router MUST refuse a node's certificate of another generation than the one that was used last and the one that follows it, and another certificate of the one that was used last (`C_SUPERSEDED`).
pub fn shown(peer: &VerifiedPeer, used: u64, certificate: Option<Serial>) -> Result<Shown, Refused> {
    let generation = peer.generation();
    if used.checked_add(1) == Some(generation) {
        return Ok(Shown::First);
    }
    match certificate {
        // An enrolment logged the generation, and nobody has shown one of it.
        None if generation == used => return Ok(Shown::First),
        Some(serial) if generation == used && serial.as_bytes() == peer.cert_serial() => {
            return Ok(Shown::Again);
        }
        _ => {}
    }
    let detail = format!(
        "a certificate of generation {generation}, and {used} was used last: a copy of this node's keys is in use elsewhere"
    );
    Err(refused(Refusal::CertSuperseded, detail))
}

/// A node that wants its next certificate; holds the TLS key of that until the answer is there.
pub struct Renewing {
    identity: Arc<dyn Signer>,
    tls_key: TlsKey,
    domain: TrustDomain,
    router: RouterId,
    generation: u64,
    not_after: Seconds,
}

impl Renewing {
    /// The certificate that follows the one which the node has now, for as long a life as there is; a router that allows
    /// less says how much.
    ///
    /// # Errors
    /// [`Refused`] where what the node has is no certificate of its own.
    pub fn after(
        last: &Credentials,
        identity: Arc<dyn Signer>,
        domain: &TrustDomain,
        router: RouterId,
        now: Seconds,
    ) -> Result<Self, Refused> {
        let unreadable = |e: CaFault| refused(Refusal::CertProfile, e.to_string());
        let end = certificate_end(&last.chain().leaf).map_err(unreadable)?;
        // It may be over; who it is for can be read from it all the same.
        let me = own_certificate(last.chain(), domain, &identity.public(), end)?;
        Ok(Self {
            identity,
            tls_key: TlsKey::generate(),
            domain: domain.clone(),
            router,
            generation: me.generation().saturating_add(1),
            not_after: now.plus(MAX_LEAF_CERT_LIFE_S),
        })
    }

    /// The same in the place of the certificate which the node has now: that one was never used.
    #[must_use]
    pub fn unused(mut self) -> Self {
        self.generation = self.generation.saturating_sub(1);
        self
    }

    /// The same with an earlier end; nothing where it is no earlier.
    #[must_use]
    pub fn ending(mut self, latest: Seconds) -> Option<Self> {
        (latest < self.not_after).then(|| {
            self.not_after = latest;
            self
        })
    }

    /// The network of the router that is asked.
    #[must_use]
    pub fn net_id(&self) -> NetId {
        self.domain.net_id()
    }

    /// The router that is asked.
    #[must_use]
    pub const fn router(&self) -> RouterId {
        self.router
    }

    /// The TLS key of the certificate that is wanted.
    #[must_use]
    pub const fn tls_key(&self) -> &TlsKey {
        &self.tls_key
    }

    /// What is asked, over the connection that `exporter` comes from.
    ///
    /// # Errors
    /// [`Refused`] where a key of this side does not sign; nothing was sent.
    pub fn ask(&self, exporter: &[u8; 32]) -> Result<Renew, Refused> {
        let unsigned = |fault: SignFault| refused(Refusal::SessionInternal, fault.to_string());
        let csr = self.tls_key.csr().map_err(|e| refused(Refusal::EnrolCsr, e.to_string()))?;
        let (net_id, generation, not_after) = (self.domain.net_id(), self.generation, self.not_after);
        let at = RenewAt { net_id: &net_id, router_id: &self.router, exporter };
        let node_sig = self.identity.sign(&at.input((generation, not_after), &csr)).map_err(unsigned)?;
        let binding = binding_input(&net_id, Role::Node, &self.tls_key.spki_der(), generation, not_after);
        let binding_sig = self.identity.sign(&binding).map_err(unsigned)?;
        Ok(Renew { csr, generation, not_after, node_sig, binding_sig })
    }

    /// Takes the certificate, after checking that it is the one which was asked for.
    ///
    /// # Errors
    /// [`Refused`] with the first thing that is wrong.
    pub fn on_renewed(&self, renewed: &Renewed, now: Seconds) -> Result<Credentials, Refused> {
        let chain = Chain { leaf: renewed.leaf.clone(), ca: renewed.ca.clone() };
        let me = own_certificate(&chain, &self.domain, &self.identity.public(), now)?;
        if me.tls_spki_hash() != crate::certificate::binding::tls_spki_hash(&self.tls_key.spki_der()) {
            return Err(refused(Refusal::CertBinding, "the certificate is for another TLS key"));
        }
        Ok(Credentials::new(chain, &self.tls_key))
    }
}

#[cfg(test)]
mod tests;
