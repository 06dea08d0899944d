//! BLAKE3 with a named context for every use, so that no two uses share an input space.
//!
//! ```text
//! derive(context, parts) = BLAKE3.derive_key(context, part ‖ part ‖ …)          32 bytes
//! keyed(key, parts)      = BLAKE3.keyed_hash(key, part ‖ part ‖ …)              32 bytes
//! ```
//!
//! Parts are concatenated as they are: where one of them has a variable length, the caller puts it last.

use counterfoil_spec::ids::Hash;

/// The contexts of the network, by what they are for.
pub mod context {
    /// A node's or router's id, from the SPKI DER of its identity key.
    pub const NODE_ID: &str = "counterfoil v1 node-id";
    /// The network's id, from the SPKI DER of its genesis root key.
    pub const NETWORK_ID: &str = "counterfoil v1 network-id";
    /// A key id, from the raw key.
    pub const KEY_ID: &str = "counterfoil v1 key-id";
    /// The commitment to the next root, from its SPKI DER.
    pub const NEXT_ROOT: &str = "counterfoil v1 next-root";
    /// The commitment to a recovery key, from the raw key.
    pub const RECOVERY_KEY: &str = "counterfoil v1 recovery-key";
    /// What a node binding says of a TLS key, from its SPKI DER.
    pub const TLS_SPKI: &str = "counterfoil v1 tls-spki";
    /// What an enrolment proof says of a certificate request, from its DER.
    pub const CSR: &str = "counterfoil v1 csr";
    /// What an enrolment proof says of the first message, from its canonical bytes.
    pub const ENROL_HELLO: &str = "counterfoil v1 enrol-hello";
    /// The check bytes of a join token.
    pub const JOIN_TOKEN: &str = "counterfoil v1 join-token";
    /// An author's chain in a log, from the author's previous body.
    pub const AUTHOR_CHAIN: &str = "counterfoil v1 author-chain";
    /// What a prune removes, from the indexes and leaf hashes.
    pub const REMOVED: &str = "counterfoil v1 removed";
    /// A model, from its canonical manifest.
    pub const MANIFEST: &str = "counterfoil v1 manifest";
    /// The rules of money, from their canonical bytes.
    pub const RULES: &str = "counterfoil v1 rules";
    /// An API key, from the text that the client sends.
    pub const API_KEY: &str = "counterfoil v1 api-key";
    /// A consent token, from its bytes.
    pub const CONSENT_TOKEN: &str = "counterfoil v1 consent-token";
    /// Where a provider's money goes, from a salt and the account or address.
    pub const PAYOUT_DESTINATION: &str = "counterfoil v1 payout-destination";
    /// What a payment service knows by an id, from that id.
    pub const PAYMENT_SERVICE: &str = "counterfoil v1 payment-service";
    /// The words that an operator saw.
    pub const NOTICE: &str = "counterfoil v1 notice";
    /// An order for work, from its canonical bytes.
    pub const OPEN: &str = "counterfoil v1 open";
    /// A grant, from its canonical bytes.
    pub const GRANT: &str = "counterfoil v1 grant";
    /// The key of a lane's frame MAC, from the TLS exporter's bytes and the consent token's hash.
    pub const FRAME_MAC: &str = "counterfoil v1 frame-mac";
}

/// The 32-byte digest of some parts in a context.
#[must_use]
pub fn derive(context: &'static str, parts: &[&[u8]]) -> Hash {
    finish(blake3::Hasher::new_derive_key(context), parts)
}

/// The 32-byte keyed digest of some parts.
#[must_use]
pub fn keyed(key: &Hash, parts: &[&[u8]]) -> Hash {
    finish(blake3::Hasher::new_keyed(key.as_bytes()), parts)
}

/// The plain digest of some parts; only where a format says so.
#[must_use]
pub fn plain(parts: &[&[u8]]) -> Hash {
    finish(blake3::Hasher::new(), parts)
}

fn finish(mut hasher: blake3::Hasher, parts: &[&[u8]]) -> Hash {
    for part in parts {
        hasher.update(part);
    }
    Hash::from_bytes(*hasher.finalize().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn context_and_key_separate_digests() {
        let all = [
            derive(context::NODE_ID, &[b"x"]),
            derive(context::NETWORK_ID, &[b"x"]),
            keyed(&Hash::from_bytes([0; 32]), &[b"x"]),
            plain(&[b"x"]),
        ];
        for (i, a) in all.iter().enumerate() {
            for b in &all[i + 1..] {
                assert_ne!(a, b);
            }
        }
    }

    #[test]
    fn parts_are_concatenated() {
        assert_eq!(derive(context::OPEN, &[b"ab", b"c"]), derive(context::OPEN, &[b"a", b"bc"]));
        assert_eq!(plain(&[b"abc"]).as_bytes(), blake3::hash(b"abc").as_bytes());
    }
}
