//! Whether every value is a number.

use super::float::{bf16, f16};
use crate::dtype::ElementType;

/// The flat index of the first value that is not finite; of a quantised block, its first value.
///
/// Only scales and floats are looked at: whatever the bits of a block's values, its products with finite f16 scales
/// lie far inside f32.
pub fn first_non_finite(dtype: ElementType, bytes: &[u8]) -> Option<usize> {
    match dtype {
        ElementType::F32 => found::<4>(bytes, |b| f32::from_le_bytes(*b).is_finite()),
        ElementType::F16 => found::<2>(bytes, |b| f16(u16::from_le_bytes(*b)).is_finite()),
        ElementType::Bf16 => found::<2>(bytes, |b| bf16(u16::from_le_bytes(*b)).is_finite()),
        ElementType::Q8_0 => found::<34>(bytes, |[a, b, ..]| finite(*a, *b)),
        ElementType::Q4_0 => found::<18>(bytes, |[a, b, ..]| finite(*a, *b)),
        ElementType::Q5_0 => found::<22>(bytes, |[a, b, ..]| finite(*a, *b)),
        ElementType::Q5_1 => found::<24>(bytes, |[a, b, c, d, ..]| finite(*a, *b) & finite(*c, *d)),
        ElementType::Q4K => found::<144>(bytes, |[a, b, c, d, ..]| finite(*a, *b) & finite(*c, *d)),
        ElementType::Q5K => found::<176>(bytes, |[a, b, c, d, ..]| finite(*a, *b) & finite(*c, *d)),
        ElementType::Q6K => found::<210>(bytes, |[.., a, b]| finite(*a, *b)),
    }
    .map(|block| block * dtype.block_values())
}

/// Whether an f16 is finite: its exponent is not all ones.
#[inline(always)]
fn finite(low: u8, high: u8) -> bool {
    u16::from_le_bytes([low, high]) & 0x7c00 != 0x7c00
}

/// The first block that `good` does not hold for. Runs of blocks are looked at without a branch between them.
fn found<const BYTES: usize>(bytes: &[u8], good: impl Fn(&[u8; BYTES]) -> bool) -> Option<usize> {
    let (blocks, _) = bytes.as_chunks::<BYTES>();
    for (run, blocks) in blocks.chunks(RUN).enumerate() {
        if !blocks.iter().fold(true, |all, block| all & good(block)) {
            return blocks.iter().position(|block| !good(block)).map(|at| run * RUN + at);
        }
    }
    None
}

const RUN: usize = 4096;
