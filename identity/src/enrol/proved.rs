//! The router's side after the proof: the token is used, the log written and the certificate issued, or none of these.

use counterfoil_spec::ids::{Hash, NodeId, Serial, Signature};
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::time::Seconds;

use super::message::{Challenge, Enrolled};
use super::server::issue;
use super::store::{Claim, Consumed, TokenStore};
use crate::certificate::authority::IssuingCa;
use crate::certificate::verify::{Refused, refused};
use crate::key::VerifyKey;

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

/// Somebody who holds the identity key, the TLS key and the join token, on this connection. Only
/// [`EnrolServer::prove`](super::EnrolServer::prove) makes one.
#[derive(Debug, Clone)]
pub struct Proved {
    pub(super) claim: Claim,
    pub(super) facts: NodeFacts,
    pub(super) identity: VerifyKey,
    pub(super) tls_key: VerifyKey,
    pub(super) challenge: Challenge,
    pub(super) binding_sig: Signature,
}

/// What the last step needs of the world.
pub struct Finish<'a> {
    /// Who signs.
    pub ca: &'a IssuingCa,
    /// Where join tokens are kept.
    pub tokens: &'a dyn TokenStore,
    /// Whether these facts contradict what the log has: the key or its key id stands there for somebody else.
    pub collides: &'a dyn Fn(&NodeFacts) -> bool,
    /// Writes the facts to the log; they are durable where it succeeds.
    pub record: &'a dyn Fn(NodeFacts) -> Result<(), Refused>,
    /// The lowest consent epoch that will be accepted of this node.
    pub min_epoch: u64,
    /// The present.
    pub now: Seconds,
}

impl Proved {
    /// What will be logged.
    #[must_use]
    pub const fn facts(&self) -> &NodeFacts {
        &self.facts
    }

    /// Uses the token, issues the certificate and has the log say so, in this order; only then is there an answer.
    /// Where one of these fails the token is free again. The same claim gets the answer that it got.
    ///
    /// # Errors
    /// [`Refused`] with an enrolment refusal, with what `record` says, or with `SessionInternal` where the issuing CA
    /// cannot sign.
    pub fn enrol(self, with: &Finish<'_>) -> Result<Enrolled, Refused> {
        let claim = self.claim;
        match with.tokens.consume(&claim, with.now) {
            Err(refusal) => Err(refused(refusal, "the join token cannot be used; ask for a new one")),
            Ok(Consumed::Again(enrolled)) => Ok(*enrolled),
            Ok(Consumed::First) => {
                let enrolled = self.issued(with).inspect_err(|_| with.tokens.release(&claim))?;
                with.tokens.answered(&claim, &enrolled);
                Ok(enrolled)
            }
        }
    }

    fn issued(self, with: &Finish<'_>) -> Result<Enrolled, Refused> {
        if (with.collides)(&self.facts) {
            let detail = "this identity key, or one with the same key id, is enrolled already";
            return Err(refused(Refusal::EnrolCollision, detail));
        }
        let Self { facts, identity, tls_key, challenge, binding_sig, .. } = self;
        let at = (with.min_epoch, with.now);
        let enrolled = issue((identity, &tls_key), &challenge, binding_sig, with.ca, at)?;
        (with.record)(facts)?;
        Ok(enrolled)
    }
}
