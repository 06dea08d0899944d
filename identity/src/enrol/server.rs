//! The router's side, up to the proof.

use counterfoil_spec::entry::Role;
use counterfoil_spec::ids::{Hash, NetId, NodeId, RouterId, Signature};
use counterfoil_spec::limits::MAX_VKEY_BYTES;
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::time::Seconds;
use data_encoding::BASE64;

use super::message::{Challenge, ENROL_VERSION, Enrolled, Hello, Proof};
use super::proof::{Purpose, Transcript};
use super::proved::{NodeFacts, Proved};
use super::store::{Claim, TokenStore};
use super::token::TokenFacts;
use crate::certificate::authority::{CaFault, IssuingCa, LeafRequest};
use crate::certificate::binding::binding_input;
use crate::certificate::request::requested_key;
use crate::certificate::verify::{Refused, refused};
use crate::digest::{self, context};
use crate::key::VerifyKey;
use crate::random;

/// What the router offers to whoever proves itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EnrolOffer {
    /// The network.
    pub net_id: NetId,
    /// The router.
    pub router_id: RouterId,
    /// The last second of the certificate.
    pub not_after: Seconds,
    /// Its generation; 1 for a first certificate.
    pub generation: u64,
}

/// A hello that was accepted; the challenge is out.
#[derive(Debug, Clone)]
pub struct EnrolServer {
    offer: EnrolOffer,
    token: TokenFacts,
    hello: Hello,
    challenge: Challenge,
    identity: VerifyKey,
    tls_key: VerifyKey,
    log_key: VerifyKey,
}

impl EnrolServer {
    /// Looks at a hello under the token that it names.
    ///
    /// # Errors
    /// [`Refused`] with an enrolment refusal or `CertWeakKey`.
    pub fn begin(
        hello: Hello,
        offer: EnrolOffer,
        tokens: &dyn TokenStore,
        now: Seconds,
    ) -> Result<(Self, Challenge), Refused> {
        Self::begin_with(hello, offer, tokens, now, random::hash())
    }

    /// The same with a nonce that the caller drew; it must be used for one challenge only.
    ///
    /// # Errors
    /// As [`Self::begin`].
    pub fn begin_with(
        hello: Hello,
        offer: EnrolOffer,
        tokens: &dyn TokenStore,
        now: Seconds,
        nonce: Hash,
    ) -> Result<(Self, Challenge), Refused> {
        if hello.version != ENROL_VERSION {
            let detail = format!("enrolment version {}; {ENROL_VERSION} is spoken here", hello.version);
            return Err(refused(Refusal::EnrolShape, detail));
        }
        let token = tokens.find(&hello.token_id).ok_or_else(|| {
            refused(Refusal::EnrolToken, "no such join token here; ask the router's operator for a new one")
        })?;
        if now >= token.expires {
            return Err(refused(Refusal::EnrolExpired, "the join token has expired; ask for a new one"));
        }
        let identity = strong(hello.identity_key)?;
        let tls_key = strong(hello.tls_key)?;
        let log_key = log_key(&hello.log_vkey)?;
        if identity == tls_key || identity == log_key || tls_key == log_key {
            return Err(refused(Refusal::EnrolShape, "identity, TLS and log keys must be three keys"));
        }
        let challenge = Challenge {
            nonce,
            router_id: offer.router_id,
            not_after: offer.not_after,
            generation: offer.generation,
        };
        let server = Self { offer, token, hello, challenge: challenge.clone(), identity, tls_key, log_key };
        Ok((server, challenge))
    }

    /// The node that wants to join.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.identity.node_id()
    }

    /// The verifier key that it names for its own log.
    #[must_use]
    pub fn log_vkey(&self) -> &str {
        &self.hello.log_vkey
    }

    /// Its identity key, its TLS key and its log's key. Whether it holds the last one nothing proves.
    #[must_use]
    pub const fn keys(&self) -> [VerifyKey; 3] {
        [self.identity, self.tls_key, self.log_key]
    }

    /// Checks a proof over the connection that `exporter` comes from; nothing is used and nothing changes.
    ///
    /// # Errors
    /// [`Refused`] with an enrolment refusal; nobody is known by then.
    //= spec/identity.md#enrolment
    //# A router MUST verify node sig, token sig and binding before it uses the token (`E_PROOF`).
    pub fn prove(self, proof: &Proof, exporter: &[u8; 32], now: Seconds) -> Result<Proved, Refused> {
        if now >= self.token.expires {
            return Err(refused(Refusal::EnrolExpired, "the join token has expired; ask for a new one"));
        }
        check_csr(&proof.csr, &self.tls_key)?;
        let net_id = &self.offer.net_id;
        let transcript =
            Transcript { net_id, hello: &self.hello, challenge: &self.challenge, exporter, csr: &proof.csr };
        let Challenge { generation, not_after, .. } = self.challenge;
        let binding = binding_input(net_id, Role::Node, &self.tls_key.spki_der(), generation, not_after);
        let proved = |key: &VerifyKey, input: &[u8], sig: &Signature, whose: &str| {
            key.verify(input, sig).map_err(|_| {
                refused(Refusal::EnrolProof, format!("the proof of the {whose} does not verify"))
            })
        };
        proved(&self.identity, &transcript.input(Purpose::Node), &proof.node_sig, "identity key")?;
        proved(&self.token.key, &transcript.input(Purpose::Token), &proof.token_sig, "join token")?;
        proved(&self.identity, &binding, &proof.binding_sig, "certificate's binding")?;
        let claim = Claim {
            token_id: self.token.token_id,
            node: self.identity.node_id(),
            csr_hash: digest::derive(context::CSR, &[&proof.csr]),
        };
        let facts = NodeFacts {
            node: claim.node,
            key: self.identity,
            log_vkey: self.hello.log_vkey.clone(),
            token_id: claim.token_id,
            generation,
            recovery_hash: self.hello.recovery_hash,
        };
        let Self { identity, tls_key, challenge, .. } = self;
        Ok(Proved { claim, facts, identity, tls_key, challenge, binding_sig: proof.binding_sig })
    }
}

/// A request that the TLS key of the hello signed; nothing else in it matters.
pub(super) fn check_csr(der: &[u8], tls_key: &VerifyKey) -> Result<(), Refused> {
    let asked = requested_key(der).map_err(|fault| refused(Refusal::EnrolCsr, fault.to_string()))?;
    if asked == *tls_key {
        Ok(())
    } else {
        Err(refused(Refusal::EnrolCsr, "the request is for another key than the hello's TLS key"))
    }
}

/// Issues the certificate that a challenge asked for, to whoever signed its binding.
pub(super) fn issue(
    (identity, tls_key): (VerifyKey, &VerifyKey),
    challenge: &Challenge,
    binding_sig: Signature,
    ca: &IssuingCa,
    (min_epoch, now): (u64, Seconds),
) -> Result<Enrolled, Refused> {
    let request = LeafRequest {
        role: Role::Node,
        identity,
        tls_spki: tls_key.spki_der(),
        generation: challenge.generation,
        not_after: challenge.not_after,
        binding_sig,
        dns_names: Vec::new(),
    };
    let chain = ca.issue_leaf(&request, now).map_err(|fault| {
        let ours = !matches!(fault, CaFault::Binding);
        let refusal = if ours { Refusal::SessionInternal } else { Refusal::EnrolProof };
        refused(refusal, fault.to_string())
    })?;
    let half_life = challenge.not_after.0.saturating_sub(now.0) / 2;
    Ok(Enrolled {
        leaf: chain.leaf,
        ca: chain.ca,
        root: ca.domain().root_der().to_vec(),
        min_epoch,
        renew_after: now.plus(half_life),
    })
}

pub(super) fn strong(key: counterfoil_spec::ids::PublicKey) -> Result<VerifyKey, Refused> {
    VerifyKey::from_wire(key).map_err(|weak| refused(Refusal::CertWeakKey, weak.to_string()))
}

/// The Ed25519 key of a C2SP verifier key `<name>+<hash, 8 hex digits>+<base64 of 01 ‖ key>`.
fn log_key(vkey: &str) -> Result<VerifyKey, Refused> {
    let shape = || refused(Refusal::EnrolShape, "the log's verifier key is not a C2SP Ed25519 one");
    if vkey.len() > MAX_VKEY_BYTES || vkey.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(shape());
    }
    let mut parts = vkey.splitn(3, '+');
    let (name, hash, key) = match (parts.next(), parts.next(), parts.next()) {
        (Some(name), Some(hash), Some(key)) => (name, hash, key),
        _ => return Err(shape()),
    };
    let hex = hash.len() == 8 && hash.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let raw = BASE64.decode(key.as_bytes()).map_err(|_| shape())?;
    match raw.split_first() {
        Some((1, key)) if !name.is_empty() && hex => {
            strong(counterfoil_spec::ids::PublicKey::from_slice(key).ok_or_else(shape)?)
        }
        _ => Err(shape()),
    }
}
