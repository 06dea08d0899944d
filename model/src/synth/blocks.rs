//! Random weights made as the blocks that they are stored in: no float is rounded to get there.
//!
//! A value is about evenly spread around 0; how wide is chosen for each matrix, so that a row of products of values
//! near 1 is near 1 too and activations stay within bounds however many layers follow.

use crate::dtype::ElementType;

/// Turns random bytes into blocks of this type whose values have about this root mean square.
///
/// `bytes` is a whole number of blocks.
pub(super) fn shape(dtype: ElementType, rms: f32, bytes: &mut [u8]) {
    match dtype {
        ElementType::F32 => floats::<4>(Bits { mantissa: 23, bias: 127 }, rms, bytes),
        ElementType::F16 => floats::<2>(Bits { mantissa: 10, bias: 15 }, rms, bytes),
        ElementType::Bf16 => floats::<2>(Bits { mantissa: 7, bias: 127 }, rms, bytes),
        // Bytes, nibbles and five bits are taken as they come; what is written is the scale in front of them.
        ElementType::Q8_0 => scaled(dtype, bytes, &[half(rms / BYTE_RMS)]),
        ElementType::Q4_0 => scaled(dtype, bytes, &[half(rms / NIBBLE_RMS)]),
        ElementType::Q5_0 => scaled(dtype, bytes, &[half(rms / FIVE_BITS_RMS)]),
        ElementType::Q5_1 => {
            let scale = rms / FIVE_BITS_RMS;
            scaled(dtype, bytes, &[half(scale), half(-15.5 * scale)]);
        }
        ElementType::Q4K => k_blocks(dtype, bytes, rms / (NIBBLE_RMS * SUB_SCALE_MEAN), 7.5),
        ElementType::Q5K => k_blocks(dtype, bytes, rms / (FIVE_BITS_RMS * SUB_SCALE_MEAN), 15.5),
        ElementType::Q6K => {
            // ql, qh, then sixteen signed scales, of which only small magnitudes are kept, then d.
            for block in bytes.chunks_exact_mut(dtype.block_bytes()) {
                for scale in block.iter_mut().skip(192).take(16) {
                    *scale = 32 | (*scale & 31);
                }
                let scale = half(rms / (SIX_BITS_RMS * SUB_SCALE_MEAN));
                for (to, from) in block.iter_mut().skip(208).zip(scale) {
                    *to = from;
                }
            }
        }
    }
}

/// A float's fields.
struct Bits {
    mantissa: u32,
    bias: i32,
}

/// Keeps sign and mantissa of each value and gives it one of four exponents.
fn floats<const N: usize>(bits: Bits, rms: f32, bytes: &mut [u8]) {
    // Magnitudes are even within an octave, and the octave is one of four below 2^(top + 1).
    let mut top = 0_i32;
    let mut octave = rms / OCTAVES_RMS;
    while octave < 1.0 {
        octave *= 2.0;
        top -= 1;
    }
    while octave >= 2.0 {
        octave /= 2.0;
        top += 1;
    }
    let top = u32::try_from((bits.bias + top).max(4)).unwrap_or(4);
    for value in bytes.chunks_exact_mut(N) {
        let mut raw = value.iter().rev().fold(0_u32, |raw, byte| raw << 8 | u32::from(*byte));
        let sign = raw >> (8 * u32::try_from(N).unwrap_or(4) - 1) << (8 * u32::try_from(N).unwrap_or(4) - 1);
        let exponent = top - (raw >> bits.mantissa & 3);
        raw = sign | exponent << bits.mantissa | raw & ((1 << bits.mantissa) - 1);
        for (to, from) in value.iter_mut().zip(raw.to_le_bytes()) {
            *to = from;
        }
    }
}

/// Blocks of 32 that begin with one or two halves.
fn scaled(dtype: ElementType, bytes: &mut [u8], head: &[[u8; 2]]) {
    for block in bytes.chunks_exact_mut(dtype.block_bytes()) {
        for (to, from) in block.iter_mut().zip(head.iter().flatten()) {
            *to = *from;
        }
    }
}

/// Blocks of 256: d, dmin, twelve bytes with eight 6-bit scales and eight 6-bit offsets, then quants.
///
/// Each scale is 32 to 63 and its offset is the same number, so that with dmin = `middle` · d a value is
/// d · scale · (q − middle).
fn k_blocks(dtype: ElementType, bytes: &mut [u8], d: f32, middle: f32) {
    let head = [half(d), half(d * middle)];
    for block in bytes.chunks_exact_mut(dtype.block_bytes()) {
        for (to, from) in block.iter_mut().zip(head.iter().flatten()) {
            *to = *from;
        }
        // Bytes 0 to 3 hold scales 0 to 3 with the upper bits of scales 4 to 7 on top, bytes 4 to 7 the offsets the
        // same way, bytes 8 to 11 the lower nibbles of scales and offsets 4 to 7.
        for j in 0..4 {
            let low = block.get(4 + j).copied().unwrap_or(0) & 31 | 32;
            let high = block.get(8 + j).copied().unwrap_or(0) & 31 | 32;
            let packed = [(4 + j, low | high >> 4 << 6), (8 + j, low | high >> 4 << 6)];
            for (at, byte) in packed.into_iter().chain([(12 + j, high & 15 | (high & 15) << 4)]) {
                if let Some(to) = block.get_mut(at) {
                    *to = byte;
                }
            }
        }
    }
}

/// The bits of a positive or negative f16 near a value, little-endian.
fn half(value: f32) -> [u8; 2] {
    half::f16::from_f32(value).to_le_bytes()
}

/// Of the integers −128 to 127.
const BYTE_RMS: f32 = 73.9;
/// Of 16 steps around their middle.
const NIBBLE_RMS: f32 = 4.61;
/// Of 32 steps around their middle.
const FIVE_BITS_RMS: f32 = 9.23;
/// Of 64 steps around their middle.
const SIX_BITS_RMS: f32 = 18.5;
/// Of the 6-bit scales that are used.
const SUB_SCALE_MEAN: f32 = 48.0;
/// Of values in the four octaves below 2.
const OCTAVES_RMS: f32 = 0.88;
