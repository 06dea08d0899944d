//! Entries about what the network, its nodes and its models are.

use minicbor::{Decode, Encode};
use serde::Serialize;

use crate::deny::DenyNames;
use crate::ids::{Hash, ManifestId, NodeId, PublicKey, RouterId, Serial};
use crate::time::Seconds;

/// `genesis`: who may write this log and how its heads are signed.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct Genesis {
    /// SPKI DER of the network root's key.
    #[cbor(n(1), with = "minicbor::bytes")]
    #[serde(with = "crate::receipt::hex_bytes")]
    pub root_spki: Vec<u8>,
    /// BLAKE3 derive_key("counterfoil v1 next-root", SPKI DER of the next root's key); absent in a node's log.
    #[n(2)]
    pub next_root_hash: Option<Hash>,
    /// The log's origin, which is the name of its key.
    #[n(3)]
    pub origin: String,
    /// The log's C2SP verifier key.
    #[n(4)]
    pub log_vkey: String,
    /// ISO 4217 code of the network's one currency.
    #[n(5)]
    pub currency: String,
    /// The identity key of the router or node that writes the log.
    #[n(6)]
    pub author_key: PublicKey,
    /// That key's id, as a node or a router by `author_role`.
    #[n(7)]
    pub author_id: NodeId,
    /// 2 router, 3 node: the numbers of [`crate::entry::Role`].
    #[n(8)]
    pub author_role: u8,
}

/// `ca-issued`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct CaIssued {
    /// The certificate, DER.
    #[cbor(n(1), with = "minicbor::bytes")]
    #[serde(with = "crate::receipt::hex_bytes")]
    pub certificate: Vec<u8>,
    /// Its end.
    #[n(2)]
    pub not_after: Seconds,
}

/// `key-rotation`: one of the network's keys takes the place of the one that did its work before.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct KeyRotation {
    /// Whose.
    #[n(1)]
    pub of: RotatedKey,
    /// What takes over: of an issuing CA its certificate, DER; of the log's key the raw public key.
    #[cbor(n(2), with = "minicbor::bytes")]
    #[serde(with = "crate::receipt::hex_bytes")]
    pub successor: Vec<u8>,
}

/// Which of a network's keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(index_only)]
#[serde(rename_all = "kebab-case")]
pub enum RotatedKey {
    /// That of this log's heads.
    #[n(1)]
    Log,
    /// That of the issuing CA.
    #[n(2)]
    IssuingCa,
}

/// `log-key-retired`: a key that another one follows signs no more heads of this log.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct LogKeyRetired {
    /// Which.
    #[n(1)]
    pub key: PublicKey,
}

/// `join-token`: the public half only.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct JoinToken {
    /// Its id.
    #[n(1)]
    pub token_id: Serial,
    /// The public key of its one-time seed.
    #[n(2)]
    pub public_key: PublicKey,
    /// Its end.
    #[n(3)]
    pub expires: Seconds,
}

/// `node-enrolled`: how a node's key enters the log.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct NodeEnrolled {
    /// The node.
    #[n(1)]
    pub node: NodeId,
    /// Its identity key.
    #[n(2)]
    pub identity_key: PublicKey,
    /// The verifier key of its own log.
    #[n(3)]
    pub log_vkey: String,
    /// The join token that it used.
    #[n(4)]
    pub token_id: Serial,
    /// The generation of its first certificate.
    #[n(5)]
    pub generation: u64,
    /// BLAKE3 derive_key("counterfoil v1 recovery-key", the recovery public key).
    #[n(6)]
    pub recovery_hash: Hash,
}

/// `node-renewed`: the generation that a node uses from here on.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct NodeRenewed {
    /// The node.
    #[n(1)]
    pub node: NodeId,
    /// The generation of the certificate.
    #[n(2)]
    pub generation: u64,
    /// Its serial number.
    #[n(3)]
    pub certificate: Serial,
    /// Its end.
    #[n(4)]
    pub not_after: Seconds,
}

/// `consent-granted`: the whole token, so that anybody can check it later.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct ConsentGranted {
    /// The node.
    #[n(1)]
    pub node: NodeId,
    /// The consent id.
    #[n(2)]
    pub cti: Serial,
    /// The COSE_Sign1 bytes.
    #[cbor(n(3), with = "minicbor::bytes")]
    #[serde(with = "crate::receipt::hex_bytes")]
    pub token: Vec<u8>,
}

/// `consent-revoked`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct ConsentRevoked {
    /// The node.
    #[n(1)]
    pub node: NodeId,
    /// The consent id.
    #[n(2)]
    pub cti: Serial,
    /// Consent tokens of the node below this epoch are void.
    #[n(3)]
    pub min_epoch: u64,
}

/// `deny-list`: the whole list after a change.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct DenyListIssued {
    /// One more than that of the entry before; 1 in the first.
    #[n(1)]
    pub epoch: u64,
    /// What is refused from here on.
    #[n(2)]
    pub names: DenyNames,
    /// Why it changed, as the router's operator says.
    #[n(3)]
    pub reason: String,
}

/// `model-published`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct ModelPublished {
    /// Its id.
    #[n(1)]
    pub manifest: ManifestId,
    /// The name that clients ask for.
    #[n(2)]
    pub name: String,
    /// The architecture's family.
    #[n(3)]
    pub family: String,
    /// Layers in all.
    #[n(4)]
    pub layers: u32,
    /// Layers with experts, ascending.
    #[n(5)]
    pub moe_layers: Vec<u32>,
    /// Experts in each of them.
    #[n(6)]
    pub experts: u32,
    /// Experts per token.
    #[n(7)]
    pub top_k: u32,
    /// Where nodes may fetch the same files.
    #[n(8)]
    pub source: Option<ModelSource>,
    /// How large it is.
    #[n(9)]
    pub size: Option<ModelSize>,
}

/// A repository that holds the files which a manifest names.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
pub struct ModelSource {
    /// Owner and name, with a slash between them.
    #[n(0)]
    pub repository: String,
    /// One commit of it, in hexadecimal.
    #[n(1)]
    pub revision: String,
}

/// How large a model is.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
pub struct ModelSize {
    /// Bytes of all its weights files.
    #[n(0)]
    pub file_bytes: u64,
    /// Bytes of all its shards.
    #[n(1)]
    pub shard_bytes: u64,
    /// Element types of its experts, by name.
    #[n(2)]
    pub expert_types: Vec<String>,
}

/// `capacity-attested`: the router measured it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct CapacityAttested {
    /// The node.
    #[n(1)]
    pub node: NodeId,
    /// Bytes proved.
    #[n(2)]
    pub bytes: u64,
    /// 1 to 4.
    #[n(3)]
    pub tier: u8,
    /// Its end.
    #[n(4)]
    pub expires: Seconds,
}

/// `peer-anchor`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct PeerAnchor {
    /// The other log's checkpoint: a C2SP signed note.
    #[n(1)]
    pub note: String,
    /// The other log's verifier key, in the first entry of an origin whose key no other entry introduces.
    #[n(2)]
    pub vkey: Option<String>,
    /// The other log's succession file, where `vkey` follows a key that was known.
    #[n(3)]
    pub succession: Option<String>,
}

/// `refusal`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct RefusalSeen {
    /// Why.
    #[n(1)]
    pub refusal: crate::refusal::Refusal,
    /// Who was refused, where an identity was known.
    #[n(2)]
    pub node: Option<NodeId>,
    /// The router or the node that refused.
    #[n(3)]
    pub by: RouterId,
}
