//! Ed25519 keys: secret ones that are wiped, public ones that were checked for weakness when first met.
//!
//! ```text
//! SPKI DER     30 2a 30 05 06 03 2b 65 70 03 21 00 ‖ key(32)                    RFC 8410
//! PKCS#8 v1    30 2e 02 01 00 30 05 06 03 2b 65 70 04 22 04 20 ‖ seed(32)       RFC 8410, without a public key
//! ```

use std::fmt;
use std::sync::{Arc, OnceLock};

use aws_lc_rs::signature::Ed25519KeyPair;
use counterfoil_spec::ids::{Kid, NetId, NodeId, PublicKey, RouterId, Signature};
use curve25519_dalek::{EdwardsPoint, Scalar};
use ed25519_dalek::{SigningKey, VerifyingKey};
use zeroize::Zeroizing;

use crate::digest::{self, context};
use crate::random;

/// A key that must not be used: small-order, non-canonical, not on the curve or not torsion-free.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "weak Ed25519 key {0}: small-order, mixed-order or not canonically encoded; have its owner make a new one"
)]
pub struct WeakKey(pub PublicKey);

/// A signature that does not verify.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not verify under the key that was expected")]
pub struct BadSignature;

/// Why bytes are not a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    /// PKCS#8 version 2, which carries a public key that not every reader accepts.
    #[error("a PKCS#8 v2 key; write it again as PKCS#8 v1 (48 bytes, no public key inside)")]
    Pkcs8V2,
    /// Not an unencrypted PKCS#8 v1 Ed25519 key.
    #[error("not an unencrypted PKCS#8 v1 Ed25519 private key")]
    NotPkcs8,
    /// Not the SPKI of an Ed25519 key.
    #[error("not the SubjectPublicKeyInfo of an Ed25519 key")]
    NotSpki,
    /// A weak key.
    #[error(transparent)]
    Weak(#[from] WeakKey),
}

/// An Ed25519 secret key. Clones share it, moving it copies nothing, and with the last of them it is wiped.
#[derive(Clone)]
pub struct SecretKey(Arc<Halves>);

struct Halves {
    key: SigningKey,
    /// The same key for AWS-LC, from its first signature on. AWS-LC wipes what it frees.
    pair: OnceLock<Ed25519KeyPair>,
}

impl SecretKey {
    /// A fresh key from the operating system's random source.
    #[must_use]
    pub fn generate() -> Self {
        Self::from_seed(random::bytes::<32>())
    }

    /// The key of a seed.
    #[must_use]
    pub fn from_seed(seed: [u8; 32]) -> Self {
        let seed = Zeroizing::new(seed);
        Self(Arc::new(Halves { key: SigningKey::from_bytes(&seed), pair: OnceLock::new() }))
    }

    /// The seed.
    #[must_use]
    pub fn seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.key.to_bytes())
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> VerifyKey {
        VerifyKey(self.0.key.verifying_key())
    }

    /// Signs a message as it is; the caller has put a domain in front of it.
    ///
    /// A key and a message have one signature (RFC 8032, section 5.1.6); AWS-LC makes it in about half the time that
    /// ed25519-dalek takes.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Signature {
        #[expect(clippy::expect_used, reason = "only another key's public half is refused")]
        let pair = self.0.pair.get_or_init(|| {
            let public = self.0.key.verifying_key();
            Ed25519KeyPair::from_seed_and_public_key(self.0.key.as_bytes(), public.as_bytes())
                .expect("a key pair of its own two halves")
        });
        #[expect(clippy::expect_used, reason = "an Ed25519 signature has 64 bytes")]
        Signature::from_slice(pair.sign(message).as_ref()).expect("a signature of 64 bytes")
    }

    /// PKCS#8 version 1.
    #[must_use]
    pub fn to_pkcs8_der(&self) -> Zeroizing<Vec<u8>> {
        let mut der = Zeroizing::new(Vec::with_capacity(PKCS8_PREFIX.len() + 32));
        der.extend_from_slice(&PKCS8_PREFIX);
        der.extend_from_slice(self.0.key.as_bytes());
        der
    }

    /// Reads PKCS#8 version 1.
    ///
    /// # Errors
    /// [`KeyFault`] for anything else, naming version 2 where it is that.
    pub fn from_pkcs8_der(der: &[u8]) -> Result<Self, KeyFault> {
        if let Some(seed) = der.strip_prefix(&PKCS8_PREFIX).and_then(|s| <[u8; 32]>::try_from(s).ok()) {
            return Ok(Self::from_seed(seed));
        }
        let version_2 = der.get(2..5) == Some(&[0x02, 0x01, 0x01]);
        Err(if version_2 { KeyFault::Pkcs8V2 } else { KeyFault::NotPkcs8 })
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(of {})", self.public().wire())
    }
}

/// An Ed25519 public key that was checked for weakness.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct VerifyKey(VerifyingKey);

impl VerifyKey {
    /// Takes a key as it stands on the wire.
    ///
    /// # Errors
    /// [`WeakKey`] for one that is not a canonical encoding of a point of the prime-order group, or that is the
    /// identity.
    pub fn from_wire(key: PublicKey) -> Result<Self, WeakKey> {
        //= spec/identity.md#keys
        //# A reader MUST refuse a public key whose point is of small order or is not torsion-free (`C_WEAK_KEY`).
        let point = VerifyingKey::from_bytes(key.as_bytes()).map_err(|_| WeakKey(key))?;
        if is_canonical(key.as_bytes()) && !point.is_weak() && is_torsion_free(&point.to_edwards()) {
            Ok(Self(point))
        } else {
            Err(WeakKey(key))
        }
    }

    /// Takes the SPKI DER of an Ed25519 key.
    ///
    /// # Errors
    /// [`KeyFault::NotSpki`] or [`KeyFault::Weak`].
    pub fn from_spki_der(der: &[u8]) -> Result<Self, KeyFault> {
        let raw = der.strip_prefix(&SPKI_PREFIX).and_then(PublicKey::from_slice).ok_or(KeyFault::NotSpki)?;
        Ok(Self::from_wire(raw)?)
    }

    /// The 32 bytes of the key.
    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// The raw key.
    #[must_use]
    pub fn wire(&self) -> PublicKey {
        PublicKey::from_bytes(self.0.to_bytes())
    }

    /// Its SPKI DER, 44 bytes.
    #[must_use]
    pub fn spki_der(&self) -> Vec<u8> {
        let mut der = SPKI_PREFIX.to_vec();
        der.extend_from_slice(self.0.as_bytes());
        der
    }

    /// The eight bytes by which log signatures name it.
    #[must_use]
    pub fn kid(&self) -> Kid {
        let hash = digest::derive(context::KEY_ID, &[self.0.as_bytes()]);
        let mut kid = [0; 8];
        for (to, from) in kid.iter_mut().zip(hash.as_bytes()) {
            *to = *from;
        }
        Kid::from_bytes(kid)
    }

    /// The id of the node whose identity key it is.
    #[must_use]
    pub fn node_id(&self) -> NodeId {
        NodeId::from_bytes(*digest::derive(context::NODE_ID, &[&self.spki_der()]).as_bytes())
    }

    /// The id of the router whose identity key it is.
    #[must_use]
    pub fn router_id(&self) -> RouterId {
        self.node_id().as_router()
    }

    /// The id of the network whose genesis root key it is.
    #[must_use]
    pub fn net_id(&self) -> NetId {
        NetId::from_bytes(*digest::derive(context::NETWORK_ID, &[&self.spki_der()]).as_bytes())
    }

    /// Checks a signature strictly (RFC 8032, canonical `S` and `R`, no small-order component).
    ///
    /// # Errors
    /// [`BadSignature`].
    pub fn verify(&self, message: &[u8], signature: &Signature) -> Result<(), BadSignature> {
        let signature = ed25519_dalek::Signature::from_bytes(signature.as_bytes());
        self.0.verify_strict(message, &signature).map_err(|_| BadSignature)
    }
}

impl fmt::Debug for VerifyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyKey({})", self.wire())
    }
}

/// Whether the bytes of a point that is not of small order are the only ones that encode it.
///
/// They are the y coordinate, which has two encodings where it is below 19, and the sign of x, which both signs encode
/// where x is zero. That is so for two points, both of small order.
fn is_canonical(key: &[u8; 32]) -> bool {
    let [low, middle @ .., high] = key;
    *low < 0xed || *high & 0x7f != 0x7f || middle.iter().any(|byte| *byte != 0xff)
}

/// Whether a point lies in the group of the prime order ℓ.
///
/// ℓP is zero exactly where (ℓ − 1)P is −P, and ℓ − 1 is a scalar of few non-zero digits: the product in variable time,
/// which a public key allows, takes two thirds of the constant-time one of `EdwardsPoint::is_torsion_free`.
fn is_torsion_free(point: &EdwardsPoint) -> bool {
    let product = EdwardsPoint::vartime_double_scalar_mul_basepoint(&-Scalar::ONE, point, &Scalar::ZERO);
    product == -point
}

impl rcgen::PublicKeyData for SecretKey {
    fn der_bytes(&self) -> &[u8] {
        self.0.key.as_ref().as_bytes()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ED25519
    }
}

impl rcgen::SigningKey for SecretKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(Self::sign(self, message).as_bytes().to_vec())
    }
}

const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
const PKCS8_PREFIX: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;
