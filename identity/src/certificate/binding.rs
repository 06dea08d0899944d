//! The node binding: the identity key's own word that a TLS key speaks for it.
//!
//! ```text
//! extension 1.3.6.1.4.1.32473.1.1, not critical, value = OCTET STRING of 105 bytes:
//!     version(1) = 01 ‖ identity key(32) ‖ generation u64be(8) ‖ signature(64)
//! signature = Ed25519("counterfoil/node-binding/v1\0" ‖ net_id ‖ role(1) ‖ tls hash(32) ‖ u64be(generation)
//!             ‖ u64be(notAfter in seconds))
//! tls hash = BLAKE3 derive_key("counterfoil v1 tls-spki", SPKI DER of the TLS key)
//! ```
//!
//! A stolen issuing CA alone can therefore impersonate nobody: it lacks the identity key.

use counterfoil_spec::encode::signing_input;
use counterfoil_spec::entry::Role;
use counterfoil_spec::ids::{Hash, NetId, PublicKey, Signature};
use counterfoil_spec::time::Seconds;

use crate::digest::{self, context};

/// What an identity key signs to let a TLS key speak for it until `not_after`.
#[must_use]
pub fn binding_input(
    net_id: &NetId,
    role: Role,
    tls_spki: &[u8],
    generation: u64,
    not_after: Seconds,
) -> Vec<u8> {
    binding_input_of_hash(net_id, role, &tls_spki_hash(tls_spki), generation, not_after)
}

pub(crate) fn binding_input_of_hash(
    net_id: &NetId,
    role: Role,
    tls_hash: &Hash,
    generation: u64,
    not_after: Seconds,
) -> Vec<u8> {
    signing_input(
        "node-binding",
        net_id,
        &[&[role.number()], tls_hash.as_bytes(), &generation.to_be_bytes(), &not_after.0.to_be_bytes()],
    )
}

pub(crate) fn tls_spki_hash(tls_spki: &[u8]) -> Hash {
    digest::derive(context::TLS_SPKI, &[tls_spki])
}

/// The extension's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NodeBinding {
    pub(crate) identity: PublicKey,
    pub(crate) generation: u64,
    pub(crate) signature: Signature,
}

impl NodeBinding {
    pub(crate) fn to_der(&self) -> Vec<u8> {
        let mut der = HEAD.to_vec();
        der.extend_from_slice(self.identity.as_bytes());
        der.extend_from_slice(&self.generation.to_be_bytes());
        der.extend_from_slice(self.signature.as_bytes());
        der
    }

    pub(crate) fn from_der(der: &[u8]) -> Option<Self> {
        let (identity, rest) = der.strip_prefix(&HEAD)?.split_at_checked(32)?;
        let (generation, signature) = rest.split_at_checked(8)?;
        Some(Self {
            identity: PublicKey::from_slice(identity)?,
            generation: u64::from_be_bytes(generation.try_into().ok()?),
            signature: Signature::from_slice(signature)?,
        })
    }
}

/// OCTET STRING, 105 bytes, and the version.
const HEAD: [u8; 3] = [0x04, 105, 1];

/// The extension's object identifier.
pub(crate) const BINDING_OID: [u64; 9] = [1, 3, 6, 1, 4, 1, 32473, 1, 1];

/// The extended key usage of a role.
pub(crate) const fn role_oid(role: Role) -> [u64; 9] {
    [1, 3, 6, 1, 4, 1, 32473, 2, role.number() as u64]
}
