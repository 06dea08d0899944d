//! Bytes from the operating system's random source.

use counterfoil_spec::ids::{Hash, Serial};

/// `N` random bytes.
#[must_use]
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut out = [0; N];
    #[expect(
        clippy::expect_used,
        reason = "without a random source no key or serial may be made; nothing can go on"
    )]
    getrandom::fill(&mut out).expect("the operating system's random source answers");
    out
}

/// A fresh 16-byte serial.
#[must_use]
pub fn serial() -> Serial {
    Serial::from_bytes(bytes())
}

/// 32 fresh bytes for a salt or a key that is stored as a hash is.
#[must_use]
pub fn hash() -> Hash {
    Hash::from_bytes(bytes())
}
