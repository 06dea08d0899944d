//! How a node comes by manifests and shards: what stands on a fetch stream (`spec/session.md`, Fetching).
//!
//! ```text
//! asker                                            answerer
//! u32 LE length ‖ canonical CBOR of FetchRequest ->
//!                                                <-  u32 LE length ‖ canonical CBOR of FetchHeader
//!                                                <-  as many bytes as the offer says
//! 01 for every chunk that was taken              ->
//! ```

use minicbor::{Decode, Encode};

use crate::ids::{ManifestId, NodeId};
use crate::refusal::Refusal;
use crate::text::PeerText;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum FetchRequest {
    /// The canonical bytes of a manifest.
    #[n(1)]
    Manifest(#[n(0)] ManifestId),
    /// The shard of one expert.
    #[n(2)]
    Shard(#[n(0)] ShardRequest),
    /// The canonical bytes of the [`Repository`] where the model's files lie.
    #[n(3)]
    Repository(#[n(0)] ManifestId),
}

/// Which shard, from where in it, and from whom not.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ShardRequest {
    /// The model.
    #[n(1)]
    pub manifest: ManifestId,
    /// The layer.
    #[n(2)]
    pub layer: u32,
    /// The expert.
    #[n(3)]
    pub expert: u32,
    /// The first chunk that is wanted; all up to the last follow.
    #[n(4)]
    pub first_chunk: u32,
    /// Routers and nodes that are not to be the source; at most [`crate::limits::MAX_FETCH_NOT_FROM`].
    #[n(5)]
    pub not_from: Vec<NodeId>,
}

/// How an answer begins.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum FetchHeader {
    /// Bytes follow.
    #[n(1)]
    Offer(#[n(0)] FetchOffer),
    /// Nothing follows.
    #[n(2)]
    Refused(#[n(0)] Refusal, #[n(1)] PeerText),
}

/// Whose bytes follow and how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct FetchOffer {
    /// The router or node that the bytes come from, also where a router relays them.
    #[n(1)]
    pub from: NodeId,
    /// How many bytes follow.
    #[n(2)]
    pub length: u64,
}

/// A repository of the form that Hugging Face has, at one commit.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Repository {
    /// `owner/name`.
    #[n(1)]
    pub repo: String,
    /// The commit, 40 hexadecimal digits.
    #[n(2)]
    pub revision: String,
}
