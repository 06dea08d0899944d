//! Control messages of a session: what router and node say to each other on a lane besides dispatches.
//!
//! A message is the canonical CBOR of `[kind, [fields…]]`, carried in a control frame (`spec/session.md`).
//! The node connects, so that it needs no open port; the order of a session is
//!
//! ```text
//! node                                    router
//! Hello                     ->
//!                           <-            Deny (again at each change, and before it is too old)
//! DenyTaken                 ->
//!                           <-            Propose (one per model)
//! Consent                   ->
//!                           <-            Welcome (checked, logged, active)
//! Ready                     ->            (experts are loaded; work may come)
//!                           <-            Open, dispatches…
//! combines…                 ->
//!                           <-            Close
//! Receipt                   ->
//!                           <-            Ack
//!                           <-            Head (of the router's log, some time after)
//! Head                      ->            (of the node's)
//! ```

use minicbor::{Decode, Encode};

use crate::claims::Range;
use crate::deny::SignedDenyList;
use crate::ids::{ManifestId, NodeId, RouterId, Serial, Signature};
use crate::receipt::{Grant, Open};
use crate::refusal::Refusal;
use crate::text::PeerText;
use crate::time::{Millis, Seconds};

/// The protocol version of this crate.
pub const SESSION_VERSION: u16 = 2;

/// What a node says.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum NodeMessage {
    /// The first message.
    #[n(1)]
    Hello(#[n(0)] NodeHello),
    /// An answer to a proposal.
    #[n(2)]
    Consent(#[cbor(n(0), with = "minicbor::bytes")] Vec<u8>),
    /// An answer to a proposal: no.
    #[n(3)]
    Decline(#[n(0)] ManifestId, #[n(1)] PeerText),
    /// The experts under this consent id are loaded.
    #[n(4)]
    Ready(#[n(0)] Serial),
    /// The cumulative receipt of an open request.
    #[n(5)]
    Receipt(#[n(0)] NodeReceipt),
    /// The request on this slot is refused.
    #[n(6)]
    Refuse(#[n(0)] SlotRefusal),
    /// The operator withdrew a consent token.
    #[n(7)]
    Revoke(#[n(0)] Serial),
    /// An answer to a ping.
    #[n(8)]
    Pong(#[n(0)] u64),
    /// The node wants no more work and will leave once nothing is open.
    #[n(9)]
    Drain,
    /// How far the node is with fetching what it was proposed or welcomed to host.
    #[n(10)]
    Progress(#[n(0)] Progress),
    /// What its operator allows has changed.
    #[n(11)]
    Terms(#[n(0)] Terms),
    /// It asks for its next certificate.
    #[n(12)]
    Renew(#[n(0)] Renew),
    /// The deny list of this epoch was taken.
    #[n(13)]
    DenyTaken(#[n(0)] u64),
    /// The newest head of its log, which has the router's now.
    #[n(14)]
    Head(#[n(0)] LogHead),
}

/// What a router says.
#[expect(
    clippy::large_enum_variant,
    reason = "a message lives for one send; the largest kind is the most frequent"
)]
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum RouterMessage {
    /// What the router would like the node to host.
    #[n(1)]
    Propose(#[n(0)] Proposal),
    /// A consent token was checked and is active.
    #[n(2)]
    Welcome(#[n(0)] Welcome),
    /// A consent token or a session was refused.
    #[n(3)]
    Refused(#[n(0)] Refusal, #[n(1)] PeerText),
    /// Work is ordered.
    #[n(4)]
    Open(#[n(0)] SignedOpen),
    /// No more dispatches on this slot; a receipt is wanted. `used` counts the forwards that entered a sum.
    #[n(5)]
    Close(#[n(0)] CloseSlot),
    /// The router's half of a receipt.
    #[n(6)]
    Ack(#[n(0)] ReceiptAck),
    /// A probe.
    #[n(7)]
    Ping(#[n(0)] u64),
    /// The router is going away in good order.
    #[n(8)]
    Drain,
    /// What is refused from here on, and for how long that holds.
    #[n(9)]
    Deny(#[n(0)] SignedDenyList),
    /// The node's next certificate, or why it gets none.
    #[n(10)]
    Renewal(#[n(0)] Renewal),
    /// Answers on this slot came and entered no sum: those of others did in their place.
    #[n(11)]
    Unused(#[n(0)] UnusedForwards),
    /// The newest head of its log, to be kept in the node's.
    #[n(12)]
    Head(#[n(0)] LogHead),
}

/// The head of a log that its other side keeps.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct LogHead {
    /// The checkpoint: a C2SP signed note, whole.
    #[n(1)]
    pub note: String,
    /// The verifier key of the log, the newest in use.
    #[n(2)]
    pub vkey: String,
    /// The log's succession file, where its key was changed.
    #[n(3)]
    pub succession: Option<String>,
}

/// The first message of a session.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct NodeHello {
    /// [`SESSION_VERSION`].
    #[n(1)]
    pub version: u16,
    /// Bytes of weights that the node is willing to hold.
    #[n(2)]
    pub max_weight_bytes: u64,
    /// Requests at a time.
    #[n(3)]
    pub concurrent: u32,
    /// Models whose weights the node has at hand.
    #[n(4)]
    pub models: Vec<ManifestId>,
    /// Its clock, so that a skew is told in words.
    #[n(5)]
    pub now: Millis,
    /// The models that its operator's policy names, by the names that clients ask for; it is proposed no other.
    /// A node that does not say is proposed any.
    #[n(6)]
    pub wants: Option<Vec<String>>,
}

/// How far a node is with the shards of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Progress {
    /// The model.
    #[n(1)]
    pub manifest: ManifestId,
    /// Shards that are at hand.
    #[n(2)]
    pub shards: u64,
    /// Shards that are to be at hand; 0 while the manifest comes.
    #[n(3)]
    pub wanted_shards: u64,
    /// Bytes of shards that are at hand, those that have begun to come included.
    #[n(4)]
    pub bytes: u64,
    /// Bytes that are to be at hand.
    #[n(5)]
    pub wanted_bytes: u64,
}

/// What a node asks for when its certificate is half over: on its lane, or at the enrolment endpoint where it has ended.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Renew {
    /// PKCS#10, self-signed by a fresh TLS key; only its public key is used.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub csr: Vec<u8>,
    /// The generation after the one that was used last.
    #[n(2)]
    pub generation: u64,
    /// The last second of the certificate that is wanted.
    #[n(3)]
    pub not_after: Seconds,
    /// By the node identity key, purpose `renew-node`.
    #[n(4)]
    pub node_sig: Signature,
    /// By the node identity key, purpose `node-binding`, for the certificate.
    #[n(5)]
    pub binding_sig: Signature,
}

/// What comes of it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Renewal {
    /// The certificate.
    #[n(1)]
    Renewed(#[n(0)] Renewed),
    /// No: why, what was found and expected, and the latest end that a certificate may have now.
    #[n(2)]
    Refused(#[n(0)] Refusal, #[n(1)] PeerText, #[n(2)] Seconds),
}

/// A node's next certificate.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Renewed {
    /// DER.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub leaf: Vec<u8>,
    /// DER of the issuing CA.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub ca: Vec<u8>,
    /// When to ask for the one after it.
    #[n(3)]
    pub renew_after: Seconds,
}

/// What a node's operator allows from now on.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Terms {
    /// Consent tokens of the node below this epoch are void.
    #[n(1)]
    pub min_epoch: u64,
    /// The models that may be proposed, by name; any where it does not say.
    #[n(2)]
    pub wants: Option<Vec<String>>,
    /// Requests at a time.
    #[n(3)]
    pub concurrent: u32,
}

/// What a router proposes; the node's policy decides.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Proposal {
    /// The model.
    #[n(1)]
    pub manifest: ManifestId,
    /// The name that clients ask for.
    #[n(2)]
    pub name: String,
    /// The experts.
    #[n(3)]
    pub ranges: Vec<Range>,
    /// The list price, micro-units per 1,000 tokens.
    #[n(4)]
    pub list_price_micro_per_1k: u64,
    /// ISO 4217 code.
    #[n(5)]
    pub currency: String,
    /// The router that the token is for.
    #[n(6)]
    pub router: RouterId,
    /// The lowest epoch that the router will accept.
    #[n(7)]
    pub min_epoch: u64,
}

/// A consent token is active.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Welcome {
    /// Which.
    #[n(1)]
    pub cti: Serial,
    /// The index of its entry in the router's log.
    #[n(2)]
    pub entry: u64,
    /// When to send the next one.
    #[n(3)]
    pub renew_after: Seconds,
}

/// An order with its signature and the grant that it commits to.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SignedOpen {
    /// The order.
    #[n(1)]
    pub open: Open,
    /// By the router's identity key, purpose `open`, over the order's canonical bytes.
    #[n(2)]
    pub sig: Signature,
    /// What may be used.
    #[n(3)]
    pub grant: Grant,
}

/// The end of a request at one node.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct CloseSlot {
    /// The grant's slot.
    #[n(1)]
    pub slot: u32,
    /// Forwards that entered a sum; the node checks that it made at least as many.
    #[n(2)]
    pub used: u64,
    /// Whether the request was given up.
    #[n(3)]
    pub cancelled: bool,
}

/// Forwards that were answered for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct UnusedForwards {
    /// The grant's slot.
    #[n(1)]
    pub slot: u32,
    /// How many, beside those that were said before.
    #[n(2)]
    pub forwards: u64,
}

/// A receipt's first half.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct NodeReceipt {
    /// The grant's slot.
    #[n(1)]
    pub slot: u32,
    /// Canonical bytes of a [`crate::receipt::ReceiptBody`].
    #[cbor(n(2), with = "minicbor::bytes")]
    pub body: Vec<u8>,
    /// The node's half.
    #[n(3)]
    pub node_sig: Signature,
    /// Whether the request is closed at the node.
    #[n(4)]
    pub last: bool,
}

/// A receipt's second half.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ReceiptAck {
    /// The receipt's serial.
    #[n(1)]
    pub serial: Serial,
    /// The router's half.
    #[n(2)]
    pub router_sig: Signature,
    /// By when the router promises to have logged it.
    #[n(3)]
    pub include_by: Millis,
}

/// A refusal of one request.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SlotRefusal {
    /// The grant's slot.
    #[n(1)]
    pub slot: u32,
    /// Why.
    #[n(2)]
    pub refusal: Refusal,
    /// What was found and what was expected, for people.
    #[n(3)]
    pub detail: PeerText,
    /// The node that refuses, for the log.
    #[n(4)]
    pub node: NodeId,
}
