//! Keys, notes and leaf hashes that the targets make, and bytes with one bit changed.

use std::sync::Arc;

use counterfoil_audit::NoteSigner;
use counterfoil_audit::checkpoint::Checkpoint;
use counterfoil_audit::merkle::{Head, leaf_hash, root_of};
use counterfoil_audit::note::WitnessSigner;
use counterfoil_identity::SecretKey;
use counterfoil_spec::ids::Hash;

/// The log of every target. No vector has its key.
pub const ORIGIN: &str = "fuzzed.example/log";

/// The log's key.
#[must_use]
pub fn log() -> NoteSigner {
    NoteSigner::new(ORIGIN, Arc::new(SecretKey::from_seed([0x91; 32]))).expect("a name")
}

/// A witness's key.
#[must_use]
pub fn witness(n: u8) -> WitnessSigner {
    WitnessSigner::new(&format!("w{n}.example"), Arc::new(SecretKey::from_seed([n; 32]))).expect("a name")
}

/// Leaf hashes, of which one is of `leaf`.
#[must_use]
pub fn hashes(count: u8, place: u8, leaf: &[u8]) -> Vec<Hash> {
    (0..count).map(|n| if n == place { leaf_hash(leaf) } else { leaf_hash(&[n]) }).collect()
}

/// The signed checkpoint over leaf hashes.
#[must_use]
pub fn note(hashes: &[Hash]) -> String {
    let head = Head { size: hashes.len() as u64, root: root_of(hashes) };
    Checkpoint { origin: ORIGIN.to_owned(), head }.sign(&log()).expect("a key in memory signs")
}

/// One bit flipped, which one the bytes themselves say.
#[must_use]
pub fn changed(bytes: &[u8]) -> Vec<u8> {
    let sum = bytes.iter().fold(7_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(*byte)));
    let bit = sum % (bytes.len() * 8);
    let mut out = bytes.to_vec();
    out[bit / 8] ^= 1 << (bit % 8);
    out
}
