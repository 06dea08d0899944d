//! Entries about what was asked, answered and done, and by whom.

use minicbor::{Decode, Encode};
use serde::Serialize;

use crate::amount::{MicroTokens, TokenCount};
use crate::ids::{AccountId, Hash, ManifestId, NodeId, Serial};
use crate::receipt::Receipt;
use crate::time::{Millis, Seconds};

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(index_only)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model's end token or a stop string.
    #[n(1)]
    Stop,
    /// The token limit.
    #[n(2)]
    Length,
    /// The client went away; what was generated is billed.
    #[n(3)]
    Disconnected,
    /// It failed; nothing is billed.
    #[n(4)]
    Failed,
    /// The process ended while it ran; nothing is billed. Written at the next start.
    #[n(5)]
    Crashed,
}

/// Tokens taken from a lot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, Serialize)]
pub struct Debit {
    /// The lot.
    #[n(0)]
    pub lot: Serial,
    /// How many.
    #[n(1)]
    pub tokens: TokenCount,
}

/// A node's share of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, Serialize)]
pub struct Credit {
    /// The node.
    #[n(0)]
    pub node: NodeId,
    /// Its forwards that entered a sum and are receipted.
    #[n(1)]
    pub forwards: u64,
    /// Its share of the request's tokens.
    #[n(2)]
    pub micro_tokens: MicroTokens,
}

/// `inference`: one request with its token accounting; the entry's serial is the request's.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct Inference {
    /// BLAKE3 keyed with a salt from the vault, of the rendered prompt.
    #[n(1)]
    pub prompt_commitment: Hash,
    /// BLAKE3 keyed with the same salt, of the output text.
    #[n(2)]
    pub output_commitment: Hash,
    /// The model.
    #[n(3)]
    pub manifest: ManifestId,
    /// The account.
    #[n(4)]
    pub account: AccountId,
    /// The API key; absent for keyless use on loopback.
    #[n(5)]
    pub key_id: Option<Serial>,
    /// Prompt tokens.
    #[n(6)]
    pub prompt_tokens: TokenCount,
    /// Those of them that were not computed again.
    #[n(7)]
    pub cached_tokens: TokenCount,
    /// Completion tokens.
    #[n(8)]
    pub completion_tokens: TokenCount,
    /// Positions that went through the layers.
    #[n(9)]
    pub positions: u64,
    /// The price, micro-units per 1,000 tokens.
    #[n(10)]
    pub price_micro_per_1k: u64,
    /// Which lots paid, in the order in which they were debited; empty for an unmetered account.
    #[n(11)]
    pub debits: Vec<Debit>,
    /// When the request arrived.
    #[n(12)]
    pub started: Millis,
    /// When its last token was made.
    #[n(13)]
    pub ended: Millis,
    /// Why it ended.
    #[n(14)]
    pub finish: FinishReason,
    /// The serials of its work entries, in node order.
    #[n(15)]
    pub works: Vec<Serial>,
    /// Who did how much, in node order.
    #[n(16)]
    pub credits: Vec<Credit>,
    /// Forwards that entered a sum and that no receipt covers.
    #[n(17)]
    pub unreceipted: u64,
    /// The node that a failed request failed on.
    #[n(18)]
    pub failed_node: Option<NodeId>,
}

/// `work`: one countersigned receipt; the entry's serial is the receipt's.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct Work {
    /// The receipt.
    #[n(1)]
    pub receipt: Receipt,
    /// The request that it belongs to.
    #[n(2)]
    pub request: Serial,
}

/// Seconds that one node was up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, Serialize)]
pub struct NodeUptime {
    /// The node.
    #[n(0)]
    pub node: NodeId,
    /// At most 3,600.
    #[n(1)]
    pub seconds: u32,
}

/// `uptime`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct Uptime {
    /// The hour's first second.
    #[n(1)]
    pub hour: Seconds,
    /// Sorted by node; seconds since the last entry for the same hour.
    #[n(2)]
    pub nodes: Vec<NodeUptime>,
}

/// `tombstone`: salts were erased, so nobody can check the commitments any more that were keyed with them.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct Tombstone {
    /// Of these requests, at most [`crate::limits::MAX_TOMBSTONE_REQUESTS`]; none where the next says it.
    #[n(1)]
    pub requests: Vec<Serial>,
    /// Of all requests that started before this.
    #[n(2)]
    pub before: Option<Millis>,
}

/// Kinds whose old entries may be removed: inference, work, uptime, refusal. What stands in entries of the others is needed to
/// read those that follow.
pub const REMOVABLE_KINDS: [u16; 4] = [20, 21, 22, 31];

/// How many entries of one kind were removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, Serialize)]
pub struct RemovedKind {
    /// Its number.
    #[n(0)]
    pub kind: u16,
    /// How many, at least one.
    #[n(1)]
    pub count: u64,
}

/// `prune`: old entries are removed, and which.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct Prune {
    /// The end of the prune before it; 0 in the first.
    #[n(1)]
    pub first: u64,
    /// The index after the last entry that may be missing; a multiple of 256.
    #[n(2)]
    pub end: u64,
    /// Entries of removable kinds in that range that stay, since their request or hour goes on behind it: ascending, at most
    /// [`crate::limits::MAX_PRUNE_KEPT`].
    #[n(3)]
    pub kept: Vec<u64>,
    /// How many of each kind, ascending.
    #[n(4)]
    pub removed: Vec<RemovedKind>,
    /// BLAKE3 derive_key("counterfoil v1 removed", u64be index ‖ leaf hash, of each in order).
    #[n(5)]
    pub hash: Hash,
    /// For how many days entries are kept, from the statement of their quarter on.
    #[n(6)]
    pub kept_days: u64,
}

impl Prune {
    /// How many entries it removes.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.removed.iter().fold(0, |sum, of| sum.saturating_add(of.count))
    }
}

/// `quota-lease`: what an order has taken of its UTC day's tokens, in the node's own log; the last entry of an order
/// holds.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct QuotaLease {
    /// The order's serial.
    #[n(1)]
    pub order: Serial,
    /// The consent token whose quota it is.
    #[n(2)]
    pub cti: Serial,
    /// When the order was taken; it names the UTC day.
    #[n(3)]
    pub opened: Millis,
    /// Tokens reserved, all leases of the order together.
    #[n(4)]
    pub leased: TokenCount,
    /// Tokens used; present once the order is over.
    #[n(5)]
    pub used: Option<TokenCount>,
}
