//! One bit, turned at a place that follows from the input, so that an input always fails in the same way.

/// A number that depends on every byte of the input.
#[must_use]
pub fn mark(input: &[u8]) -> usize {
    // FNV-1a; its lowest bits are the poorest ones.
    let hash = input.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    usize::try_from(hash >> 24).expect("40 bits")
}

/// The bytes with the bit of this number turned, counted on from the first again behind the last.
#[must_use]
pub fn flipped(bytes: &[u8], bit: usize) -> Vec<u8> {
    let mut out = bytes.to_vec();
    let at = bit / 8 % out.len();
    out[at] ^= 1 << (bit % 8);
    out
}
