//! What a router keeps of join tokens, and the one step by which a token is used.

use counterfoil_spec::ids::{Hash, NodeId, Serial};
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::time::Seconds;

use super::message::Enrolled;
use super::token::TokenFacts;

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

    /// Keeps the answer for a claim that was first, once the log has what came of it.
    fn answered(&self, claim: &Claim, answer: &Enrolled);

    /// Gives the token back that this claim used, where nothing came of it.
    fn release(&self, claim: &Claim);
}
