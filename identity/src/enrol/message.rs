//! The messages of enrolment: canonical CBOR of `[kind, [fields…]]`.

use counterfoil_spec::encode::{DecodeError, from_canonical, to_canonical};
use counterfoil_spec::ids::{Hash, NodeId, PublicKey, RouterId, Serial, Signature};
use counterfoil_spec::limits::MAX_ENROL_BYTES;
use counterfoil_spec::message::{Renew, Renewal};
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::text::PeerText;
use counterfoil_spec::time::Seconds;
use minicbor::{Decode, Encode};

/// The version of enrolment that this crate speaks.
pub(crate) const ENROL_VERSION: u16 = 1;

/// What a joining node says.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum ClientMessage {
    /// First.
    #[n(1)]
    Hello(#[n(0)] Hello),
    /// Second.
    #[n(2)]
    Proof(#[n(0)] Proof),
    /// In the place of all that: a node is to be denied.
    #[n(3)]
    Recover(#[n(0)] Recover),
    /// In the place of all that: a member whose certificate has ended wants the next one.
    #[n(4)]
    Renew(#[n(0)] NodeId, #[n(1)] Renew),
}

/// What the router says.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum ServerMessage {
    /// An answer to a hello.
    #[n(1)]
    Challenge(#[n(0)] Challenge),
    /// An answer to a proof.
    #[n(2)]
    Enrolled(#[n(0)] Enrolled),
    /// No, with what was found and expected.
    #[n(3)]
    Refused(#[n(0)] Refusal, #[n(1)] PeerText),
    /// An answer to a recovery: the epoch of a deny list that names the node.
    #[n(4)]
    Denied(#[n(0)] u64),
    /// An answer to who wants the next certificate.
    #[n(5)]
    Renewal(#[n(0)] Renewal),
}

macro_rules! canonical {
    ($name:ident) => {
        impl $name {
            /// The bytes that travel.
            #[must_use]
            pub fn to_bytes(&self) -> Vec<u8> {
                to_canonical(self)
            }

            /// Reads at most `MAX_ENROL_BYTES`.
            ///
            /// # Errors
            /// [`DecodeError`] for bytes that are not exactly one message.
            pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
                from_canonical(bytes, MAX_ENROL_BYTES)
            }
        }
    };
}

canonical!(ClientMessage);
canonical!(ServerMessage);

/// Who wants to join, and by which token.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Hello {
    /// Always 1.
    #[n(1)]
    pub version: u16,
    /// The join token's id.
    #[n(2)]
    pub token_id: Serial,
    /// The node identity key.
    #[n(3)]
    pub identity_key: PublicKey,
    /// The TLS key of the certificate that is wanted.
    #[n(4)]
    pub tls_key: PublicKey,
    /// BLAKE3 derive_key("counterfoil v1 recovery-key", the recovery public key).
    #[n(5)]
    pub recovery_hash: Hash,
    /// The C2SP verifier key of the node's own log.
    #[n(6)]
    pub log_vkey: String,
    /// 32 random bytes.
    #[n(7)]
    pub nonce: Hash,
}

/// What the node must sign for.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Challenge {
    /// 32 random bytes.
    #[n(1)]
    pub nonce: Hash,
    /// The router that asks.
    #[n(2)]
    pub router_id: RouterId,
    /// The last second of the certificate that will be issued.
    #[n(3)]
    pub not_after: Seconds,
    /// Its generation.
    #[n(4)]
    pub generation: u64,
}

/// That the node holds all three keys.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Proof {
    /// PKCS#10, self-signed by the TLS key; only its public key is used.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub csr: Vec<u8>,
    /// By the node identity key, purpose `enrol-node`.
    #[n(2)]
    pub node_sig: Signature,
    /// By the join token's key, purpose `enrol-token`.
    #[n(3)]
    pub token_sig: Signature,
    /// By the node identity key, purpose `node-binding`, for the certificate.
    #[n(4)]
    pub binding_sig: Signature,
}

/// That a node be denied, by whoever holds its recovery key.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Recover {
    /// Which.
    #[n(1)]
    pub node: NodeId,
    /// The recovery key, whose hash its enrolment has.
    #[n(2)]
    pub key: PublicKey,
    /// By that key, purpose `recover`.
    #[n(3)]
    pub sig: Signature,
}

/// The certificate.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Enrolled {
    /// DER.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub leaf: Vec<u8>,
    /// DER of the issuing CA.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub ca: Vec<u8>,
    /// DER of the network root.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub root: Vec<u8>,
    /// The lowest consent epoch that the router will accept of this node.
    #[n(4)]
    pub min_epoch: u64,
    /// When to ask for the next certificate.
    #[n(5)]
    pub renew_after: Seconds,
}
