//! Quantised blocks: to f32 and back.
//!
//! The layouts are those of llama.cpp's `ggml-common.h`, the arithmetic that of its `dequantize_row_*`: a value is
//! `d · q`, `d · q + m` or `(d · scale) · q − (dmin · offset)`, every operation rounded to f32 by itself.
//!
//! ```text
//! q8_0  d f16 ‖ 32 i8
//! q4_0  d f16 ‖ 16 bytes: values 0‥15 in the low nibbles, 16‥31 in the high ones, minus 8
//! q5_0  d f16 ‖ u32 of fifth bits ‖ nibbles as q4_0, minus 16
//! q5_1  d f16 ‖ m f16 ‖ u32 of fifth bits ‖ nibbles as q4_0
//! q4_k  d f16 ‖ dmin f16 ‖ 12 bytes: eight 6-bit scales and offsets ‖ 4 × 32 bytes of nibbles, low before high
//! q5_k  d f16 ‖ dmin f16 ‖ 12 bytes ‖ 32 bytes of fifth bits, bit s for run s ‖ 128 bytes of nibbles
//! q6_k  128 bytes of nibbles ‖ 64 bytes of upper bit pairs ‖ 16 i8 scales ‖ d f16; minus 32
//! ```

mod finite;
mod float;
mod quantise;
mod widen;

pub use finite::first_non_finite;
pub use quantise::{Unquantisable, quantise};
pub use widen::widen;

#[cfg(test)]
mod tests;

/// The eight 6-bit scales and the eight 6-bit offsets of a `q4_k` or `q5_k` block.
///
/// Bytes 0‥3 hold scales 0‥3 and bytes 4‥7 offsets 0‥3 in their lower six bits; bytes 8‥11 hold the lower four bits of
/// scales (low nibble) and offsets (high nibble) 4‥7, whose upper two bits are the upper bits of bytes 0‥3 and 4‥7.
#[inline(always)]
fn unpack_scales(packed: &[u8; 12]) -> ([u8; 8], [u8; 8]) {
    let [s0, s1, s2, s3, m0, m1, m2, m3, b0, b1, b2, b3] = *packed;
    let scale = |both: u8, upper: u8| (both & 15) | (upper >> 6 << 4);
    let offset = |both: u8, upper: u8| (both >> 4) | (upper >> 6 << 4);
    (
        [s0 & 63, s1 & 63, s2 & 63, s3 & 63, scale(b0, s0), scale(b1, s1), scale(b2, s2), scale(b3, s3)],
        [m0 & 63, m1 & 63, m2 & 63, m3 & 63, offset(b0, m0), offset(b1, m1), offset(b2, m2), offset(b3, m3)],
    )
}

/// The reverse of [`unpack_scales`]; every value is below 64.
fn pack_scales(scales: [u8; 8], offsets: [u8; 8]) -> [u8; 12] {
    let [s0, s1, s2, s3, s4, s5, s6, s7] = scales;
    let [m0, m1, m2, m3, m4, m5, m6, m7] = offsets;
    let first = |low: u8, high: u8| low | (high >> 4 << 6);
    let both = |scale: u8, offset: u8| (scale & 15) | (offset << 4);
    [
        first(s0, s4),
        first(s1, s5),
        first(s2, s6),
        first(s3, s7),
        first(m0, m4),
        first(m1, m5),
        first(m2, m6),
        first(m3, m7),
        both(s4, m4),
        both(s5, m5),
        both(s6, m6),
        both(s7, m7),
    ]
}
