//! Provider leaves: what a statement's root commits to.
//!
//! ```text
//! leaf = { 1: salt(32), 2: provider(32), 3: onboarded, 4: cents, 5: micro-tokens, 6: weighted, 7: uptime s }
//! salt = BLAKE3 keyed hash (key: the quarter's 32 secret bytes) of the provider id
//! leaf hash = SHA-256(00 ‖ leaf)   node = SHA-256(01 ‖ left ‖ right)                     (RFC 6962)
//! ```
//!
//! Leaves stand in the order of the provider ids. Without its salt a leaf cannot be guessed from its hash, so a
//! provider who is given its own leaf and path learns nobody else's figures.

use minicbor::{Decode, Encode};
use serde::Serialize;

use crate::amount::{Cents, MicroTokens};
use crate::ids::{Hash, ProviderId};

/// One provider's part of a closed quarter.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct ProviderLeaf {
    /// BLAKE3 of the provider id, keyed with the quarter's secret.
    #[n(1)]
    pub salt: Hash,
    /// The payout identity, or the id of a node that none has registered.
    #[n(2)]
    pub provider: ProviderId,
    /// Whether a `provider-registered` entry names it.
    #[n(3)]
    pub onboarded: bool,
    /// Its share of the pool.
    #[n(4)]
    pub cents: Cents,
    /// Credits of its nodes for tokens from paid lots.
    #[n(5)]
    pub micro_tokens: MicroTokens,
    /// The same, each credit times the node's tier at its receipt's time.
    #[n(6)]
    pub weighted: MicroTokens,
    /// Seconds of uptime that count.
    #[n(7)]
    pub uptime_s: u64,
}
