//! Identifiers, hashes, keys and signatures as fixed-length byte strings.
//!
//! On the wire every one of these is a CBOR byte string of exactly its length. For people, the 32-byte ids are
//! written as 52 characters of lowercase RFC 4648 base32 without padding (trailing bits zero), the 16-byte ids and
//! the hashes as lowercase hexadecimal.

use std::fmt;
use std::str::FromStr;

use data_encoding::{Encoding, HEXLOWER};

/// A text form that does not name an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} must be {expected}; found {found:?}")]
pub struct IdSyntax {
    /// Which id was being read.
    pub what: &'static str,
    /// What it must look like.
    pub expected: &'static str,
    /// The text that was found, cut to 80 characters.
    pub found: String,
}

/// RFC 4648 base32, lowercase, no padding; decoding refuses non-zero trailing bits.
fn base32() -> Encoding {
    let mut spec = data_encoding::Specification::new();
    spec.symbols.push_str("abcdefghijklmnopqrstuvwxyz234567");
    #[expect(clippy::expect_used, reason = "the alphabet is a constant")]
    spec.encoding().expect("a fixed alphabet of 32 distinct symbols")
}

fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}

macro_rules! fixed_bytes {
    ($(#[$doc:meta])* $name:ident, $len:literal, $what:literal, $text:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $len]);

        impl $name {
            /// Its length in bytes.
            pub const LEN: usize = $len;

            /// Takes the raw bytes.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }

            /// The raw bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }

            /// Reads a slice of exactly the right length; `None` for any other.
            #[must_use]
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                <[u8; $len]>::try_from(bytes).ok().map(Self)
            }
        }

        impl AsRef<[u8]> for $name {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl<C> minicbor::Encode<C> for $name {
            fn encode<W: minicbor::encode::Write>(
                &self,
                e: &mut minicbor::Encoder<W>,
                _: &mut C,
            ) -> Result<(), minicbor::encode::Error<W::Error>> {
                e.bytes(&self.0)?;
                Ok(())
            }
        }

        impl<'b, C> minicbor::Decode<'b, C> for $name {
            fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
                let at = d.position();
                Self::from_slice(d.bytes()?).ok_or_else(|| {
                    minicbor::decode::Error::message(concat!($what, " has the wrong length")).at(at)
                })
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = String::deserialize(d)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        $text!($name, $len, $what);
    };
}

macro_rules! text_base32 {
    ($name:ident, $len:literal, $what:literal) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&base32().encode(&self.0))
            }
        }

        impl FromStr for $name {
            type Err = IdSyntax;

            fn from_str(text: &str) -> Result<Self, IdSyntax> {
                base32().decode(text.as_bytes()).ok().and_then(|b| Self::from_slice(&b)).ok_or_else(|| {
                    IdSyntax {
                        what: $what,
                        expected: "52 characters of lowercase base32 without padding",
                        found: cut(text),
                    }
                })
            }
        }
    };
}

macro_rules! text_hex {
    ($name:ident, $len:literal, $what:literal) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&HEXLOWER.encode(&self.0))
            }
        }

        impl FromStr for $name {
            type Err = IdSyntax;

            fn from_str(text: &str) -> Result<Self, IdSyntax> {
                HEXLOWER.decode(text.as_bytes()).ok().and_then(|b| Self::from_slice(&b)).ok_or_else(|| {
                    IdSyntax {
                        what: $what,
                        expected: concat!($len, " bytes as lowercase hexadecimal"),
                        found: cut(text),
                    }
                })
            }
        }
    };
}

fixed_bytes!(
    /// The network: BLAKE3 derive_key("counterfoil v1 network-id", SPKI DER of the genesis root key).
    NetId, 32, "network id", text_base32
);
fixed_bytes!(
    /// A node: BLAKE3 derive_key("counterfoil v1 node-id", SPKI DER of its node identity key).
    NodeId, 32, "node id", text_base32
);
fixed_bytes!(
    /// A router: derived as a node id is, from the router identity key.
    RouterId, 32, "router id", text_base32
);
fixed_bytes!(
    /// An account, 32 random bytes or a derived pseudonym.
    AccountId, 32, "account id", text_base32
);
fixed_bytes!(
    /// A payout identity that owns nodes.
    ProviderId, 32, "provider id", text_base32
);
fixed_bytes!(
    /// A model: BLAKE3 derive_key("counterfoil v1 manifest", canonical manifest bytes).
    ManifestId, 32, "manifest id", text_hex
);
fixed_bytes!(
    /// A 32-byte digest whose function the field that holds it names.
    Hash, 32, "hash", text_hex
);
fixed_bytes!(
    /// A unique number of a request, receipt, entry, lot, key or consent token: 16 random bytes.
    Serial, 16, "serial", text_hex
);
fixed_bytes!(
    /// The first 8 bytes of BLAKE3 derive_key("counterfoil v1 key-id", raw Ed25519 public key).
    Kid, 8, "key id", text_hex
);
fixed_bytes!(
    /// A raw Ed25519 public key as it stands on the wire; not yet checked for weakness.
    PublicKey, 32, "public key", text_hex
);
fixed_bytes!(
    /// A raw Ed25519 signature.
    Signature, 64, "signature", text_hex
);

impl RouterId {
    /// The same 32 bytes read as a node's id, where a source of weights may be either.
    #[must_use]
    pub const fn as_node(&self) -> NodeId {
        NodeId(self.0)
    }
}

impl NodeId {
    /// The same 32 bytes read as a router's id; both are derived alike and told apart by role.
    #[must_use]
    pub const fn as_router(&self) -> RouterId {
        RouterId(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thirty_two_bytes_are_fifty_two_characters() {
        let id = NodeId::from_bytes([0xff; 32]);
        assert_eq!(id.to_string(), format!("{}q", "7".repeat(51)));
        assert_eq!(id.to_string().parse::<NodeId>(), Ok(id));
    }

    #[test]
    fn non_zero_trailing_bits_are_refused() {
        let text = "7".repeat(52);
        assert_eq!(
            text.parse::<NodeId>(),
            Err(IdSyntax {
                what: "node id",
                expected: "52 characters of lowercase base32 without padding",
                found: text
            })
        );
    }

    #[test]
    fn uppercase_is_refused() {
        let text = "7".repeat(51) + "Q";
        assert_eq!(text.parse::<NodeId>().map_err(|e| e.what), Err("node id"));
    }
}
