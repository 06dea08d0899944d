//! The router's side.

use counterfoil_spec::entry::Role;
use counterfoil_spec::ids::{Hash, NetId, NodeId, RouterId, Serial, Signature};
use counterfoil_spec::limits::{MAX_CERT_BYTES, MAX_VKEY_BYTES};
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::time::Seconds;
use data_encoding::BASE64;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

use super::message::{Challenge, ENROL_VERSION, Enrolled, Hello, Proof};
use super::proof::{Purpose, Transcript};
use super::token::TokenFacts;
use crate::certificate::authority::{IssuingCa, LeafRequest};
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

/// Who uses a join token: the same claim may come again for a while and gets the same answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// The token.
    pub token_id: Serial,
    /// The node.
    pub node: NodeId,
    /// BLAKE3 derive_key("counterfoil v1 csr", the certificate request).
    pub csr_hash: Hash,
}

/// What became of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Consumed {
    /// The token was free and is used by this claim now.
    First,
    /// This claim used it within `ENROL_REPEAT_S`; the answer that it got.
    Again(Box<Enrolled>),
}

/// Where join tokens are kept.
pub trait TokenStore: Send + Sync {
    /// The public facts of a token.
    fn find(&self, token_id: &Serial) -> Option<TokenFacts>;

    /// Uses the token for this claim: an atomic compare-and-swap, so that of two claims at most one is first.
    ///
    /// # Errors
    /// `EnrolToken` for an unknown token, `EnrolUsed` for one that another claim used, or this one too long ago.
    fn consume(&self, claim: &Claim, now: Seconds) -> Result<Consumed, Refusal>;

    /// Keeps the answer that the first claim got.
    fn answered(&self, claim: &Claim, answer: &Enrolled);
}

/// What enters the log of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeFacts {
    /// Its id.
    pub node: NodeId,
    /// Its identity key.
    pub key: VerifyKey,
    /// The verifier key of its own log.
    pub log_vkey: String,
    /// The join token that it used.
    pub token_id: Serial,
    /// The generation of its certificate.
    pub generation: u64,
    /// The commitment to its recovery key.
    pub recovery_hash: Hash,
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
}

/// What the last step needs of the world.
pub struct Finish<'a> {
    /// 32 bytes exported from this connection's TLS.
    pub exporter: &'a [u8; 32],
    /// Who signs.
    pub ca: &'a IssuingCa,
    /// Where join tokens are kept.
    pub tokens: &'a dyn TokenStore,
    /// Whether a key, its id or its key id is already in the log.
    pub collides: &'a dyn Fn(&VerifyKey) -> bool,
    /// The lowest consent epoch that will be accepted of this node.
    pub min_epoch: u64,
    /// The present.
    pub now: Seconds,
}

/// An enrolment that succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// The answer.
    pub enrolled: Enrolled,
    /// What to log; nothing where the answer is one given before.
    pub facts: Option<NodeFacts>,
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
        let server = Self { offer, token, hello, challenge: challenge.clone(), identity, tls_key };
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

    /// Checks a proof, uses the token and issues the certificate.
    ///
    /// # Errors
    /// [`Refused`] with an enrolment refusal; the token is used only if the proof was in order.
    pub fn finish(self, proof: &Proof, with: &Finish<'_>) -> Result<Finished, Refused> {
        if with.now >= self.token.expires {
            return Err(refused(Refusal::EnrolExpired, "the join token has expired; ask for a new one"));
        }
        self.check_csr(&proof.csr)?;
        let transcript = Transcript {
            net_id: &self.offer.net_id,
            hello: &self.hello,
            challenge: &self.challenge,
            exporter: with.exporter,
            csr: &proof.csr,
        };
        let proved = |key: &VerifyKey, input: &[u8], sig: &Signature, whose: &str| {
            key.verify(input, sig).map_err(|_| {
                refused(Refusal::EnrolProof, format!("the proof of the {whose} does not verify"))
            })
        };
        proved(&self.identity, &transcript.input(Purpose::Node), &proof.node_sig, "identity key")?;
        proved(&self.token.key, &transcript.input(Purpose::Token), &proof.token_sig, "join token")?;
        let claim = Claim {
            token_id: self.token.token_id,
            node: self.identity.node_id(),
            csr_hash: digest::derive(context::CSR, &[&proof.csr]),
        };
        match with.tokens.consume(&claim, with.now) {
            Err(refusal) => Err(refused(refusal, "the join token cannot be used; ask for a new one")),
            Ok(Consumed::Again(enrolled)) => Ok(Finished { enrolled: *enrolled, facts: None }),
            Ok(Consumed::First) => self.issue(proof, &claim, with),
        }
    }

    fn issue(self, proof: &Proof, claim: &Claim, with: &Finish<'_>) -> Result<Finished, Refused> {
        if (with.collides)(&self.identity) {
            let detail = "this identity key, or one with the same key id, is enrolled already";
            return Err(refused(Refusal::EnrolCollision, detail));
        }
        let request = LeafRequest {
            role: Role::Node,
            identity: self.identity,
            tls_spki: self.tls_key.spki_der(),
            generation: self.challenge.generation,
            not_after: self.challenge.not_after,
            binding_sig: proof.binding_sig,
            dns_names: Vec::new(),
        };
        let chain = with
            .ca
            .issue_leaf(&request, with.now)
            .map_err(|fault| refused(Refusal::EnrolProof, fault.to_string()))?;
        let half_life = self.challenge.not_after.0.saturating_sub(with.now.0) / 2;
        let enrolled = Enrolled {
            leaf: chain.leaf,
            ca: chain.ca,
            root: with.ca.domain().root_der().to_vec(),
            min_epoch: with.min_epoch,
            renew_after: with.now.plus(half_life),
        };
        with.tokens.answered(claim, &enrolled);
        let facts = NodeFacts {
            node: claim.node,
            key: self.identity,
            log_vkey: self.hello.log_vkey,
            token_id: claim.token_id,
            generation: self.challenge.generation,
            recovery_hash: self.hello.recovery_hash,
        };
        Ok(Finished { enrolled, facts: Some(facts) })
    }

    /// A request that the TLS key of the hello signed; nothing else in it matters.
    fn check_csr(&self, der: &[u8]) -> Result<(), Refused> {
        let fault = |detail: &str| refused(Refusal::EnrolCsr, detail);
        if der.len() > MAX_CERT_BYTES {
            return Err(fault("longer than a certificate may be"));
        }
        let (rest, csr) =
            X509CertificationRequest::from_der(der).map_err(|_| fault("not a PKCS#10 request"))?;
        if !rest.is_empty() {
            return Err(fault("bytes after the request"));
        }
        if csr.certification_request_info.subject_pki.raw != self.tls_key.spki_der() {
            return Err(fault("the request is for another key than the hello's TLS key"));
        }
        Signature::from_slice(csr.signature_value.data.as_ref())
            .and_then(|sig| self.tls_key.verify(csr.certification_request_info.raw, &sig).ok())
            .ok_or_else(|| fault("the request is not signed by its own key"))
    }
}

fn strong(key: counterfoil_spec::ids::PublicKey) -> Result<VerifyKey, Refused> {
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
