//! Work receipts: the cumulative statement of what one node did for one request, signed by both halves.
//!
//! ```text
//! receipt    = [ body: bstr, node_sig: bstr(64), router_sig: bstr(64), include_by: uint ms ]
//! node_sig   = Ed25519("counterfoil/receipt/v1\0" ‖ net_id ‖ body)
//! router_sig = Ed25519("counterfoil/receipt-ack/v1\0" ‖ net_id ‖ BLAKE3(body ‖ node_sig) ‖ u64be(include_by))
//! ```

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::ids::{Hash, ManifestId, NodeId, RouterId, Serial, Signature};
use crate::time::Millis;

/// What the node says it did; cumulative, so that a later receipt of the same serial replaces an earlier one.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[cbor(map)]
pub struct ReceiptBody {
    /// The serial of the [`Open`] that ordered the work.
    #[n(1)]
    pub serial: Serial,
    /// BLAKE3 derive_key("counterfoil v1 open", canonical bytes of the [`Open`]).
    #[n(2)]
    pub open_hash: Hash,
    /// Who worked.
    #[n(3)]
    pub node: NodeId,
    /// Who ordered.
    #[n(4)]
    pub router: RouterId,
    /// On which model.
    #[n(5)]
    pub manifest: ManifestId,
    /// Under which consent token.
    #[n(6)]
    pub cti: Serial,
    /// (position, layer, expert) outputs that the router counts as having entered a sum.
    #[n(7)]
    pub forwards: u64,
    /// Outputs made, counting hedges that lost and drafts that were rejected.
    #[n(8)]
    pub made: u64,
    /// Keyed BLAKE3 over the rows in and out, in (layer, position) order; the key never reaches a log.
    #[n(9)]
    pub transcript: Hash,
    /// When the request was opened at the node.
    #[n(10)]
    pub opened: Millis,
    /// When this receipt was made.
    #[n(11)]
    pub closed: Millis,
    /// The sum of the node's own compute time, in microseconds.
    #[n(12)]
    pub compute_us: u64,
}

/// A receipt with both signatures.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct Receipt {
    /// Canonical bytes of a [`ReceiptBody`].
    #[cbor(n(0), with = "minicbor::bytes")]
    #[serde(with = "hex_bytes")]
    pub body: Vec<u8>,
    /// The node's half.
    #[n(1)]
    pub node_sig: Signature,
    /// The router's half.
    #[n(2)]
    pub router_sig: Signature,
    /// By when the router promises to have logged it.
    #[n(3)]
    pub include_by: Millis,
}

/// The router's signed order for work on one request; one per node.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[cbor(map)]
pub struct Open {
    /// Unique per (request, node).
    #[n(1)]
    pub serial: Serial,
    /// The request.
    #[n(2)]
    pub request: Serial,
    /// Who is asked.
    #[n(3)]
    pub node: NodeId,
    /// Who asks.
    #[n(4)]
    pub router: RouterId,
    /// BLAKE3 derive_key("counterfoil v1 grant", canonical bytes of the grant).
    #[n(5)]
    pub grant_hash: Hash,
    /// The list price, micro-units per 1,000 tokens.
    #[n(6)]
    pub list_price_micro_per_1k: u64,
    /// The router's statement that the caller is within the countries of the consent token.
    #[n(7)]
    pub caller_allowed: bool,
    /// Seconds for which activations may be kept.
    #[n(8)]
    pub retention_s: u32,
    /// One purpose bit.
    #[n(9)]
    pub purpose: crate::claims::Purposes,
    /// The origin of the router's log, where the receipt will stand.
    #[n(10)]
    pub origin: String,
    /// When it was signed.
    #[n(11)]
    pub issued: Millis,
}

/// What a request may use of a node: a subset of a consent token, for a while.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[cbor(map)]
pub struct Grant {
    /// The number by which frames name this grant on its lane; unique among the open ones.
    #[n(1)]
    pub slot: u32,
    /// Rising by one with each grant on a lane.
    #[n(2)]
    pub seq: u64,
    /// The request.
    #[n(3)]
    pub request: Serial,
    /// The consent token that it narrows.
    #[n(4)]
    pub cti: Serial,
    /// The model.
    #[n(5)]
    pub manifest: ManifestId,
    /// Sorted, disjoint, each within the token.
    #[n(6)]
    pub ranges: Vec<crate::claims::Range>,
    /// Prompt and completion tokens that may be computed.
    #[n(7)]
    pub max_tokens: u64,
    /// After this instant no dispatch is accepted.
    #[n(8)]
    pub deadline: Millis,
    /// One purpose bit.
    #[n(9)]
    pub purpose: crate::claims::Purposes,
    /// 32 random bytes that key the transcript; never logged.
    #[n(10)]
    pub transcript_key: Hash,
}

/// Byte strings in JSON as lowercase hexadecimal.
pub(crate) mod hex_bytes {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&data_encoding::HEXLOWER.encode(bytes))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(d)?;
        data_encoding::HEXLOWER.decode(text.as_bytes()).map_err(serde::de::Error::custom)
    }
}
