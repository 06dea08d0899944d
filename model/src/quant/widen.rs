//! Stored values to f32, exactly as llama.cpp's reference code gives them.
#![expect(clippy::indexing_slicing, reason = "constant indices into arrays of constant length")]

use super::float::{bf16, f16};
use super::unpack_scales;
use crate::dtype::ElementType;

/// Writes the values of whole blocks. `out` holds as many values as `bytes` stores.
///
/// The loops are plain, to be compiled for the instruction set of the caller; no operation is fused, so the bits do
/// not depend on it.
#[inline(always)]
pub fn widen(dtype: ElementType, bytes: &[u8], out: &mut [f32]) {
    debug_assert_eq!(dtype.row_bytes(out.len()), Some(bytes.len()), "blocks of {}", dtype.name());
    match dtype {
        ElementType::F32 => blocks::<4, 1>(bytes, out, |bytes, [v]| *v = f32::from_le_bytes(*bytes)),
        ElementType::F16 => blocks::<2, 1>(bytes, out, |bytes, [v]| *v = f16(u16::from_le_bytes(*bytes))),
        ElementType::Bf16 => blocks::<2, 1>(bytes, out, |bytes, [v]| *v = bf16(u16::from_le_bytes(*bytes))),
        ElementType::Q8_0 => blocks(bytes, out, q8_0),
        ElementType::Q4_0 => blocks(bytes, out, q4_0),
        ElementType::Q5_0 => blocks(bytes, out, q5_0),
        ElementType::Q5_1 => blocks(bytes, out, q5_1),
        ElementType::Q4K => blocks(bytes, out, q4_k),
        ElementType::Q5K => blocks(bytes, out, q5_k),
        ElementType::Q6K => blocks(bytes, out, q6_k),
    }
}

#[inline(always)]
fn blocks<const BYTES: usize, const VALUES: usize>(
    bytes: &[u8],
    out: &mut [f32],
    one: impl Fn(&[u8; BYTES], &mut [f32; VALUES]),
) {
    let (bytes, _) = bytes.as_chunks::<BYTES>();
    let (out, _) = out.as_chunks_mut::<VALUES>();
    for (bytes, out) in bytes.iter().zip(out) {
        one(bytes, out);
    }
}

#[inline(always)]
fn scale(bytes: [u8; 2]) -> f32 {
    f16(u16::from_le_bytes(bytes))
}

#[inline(always)]
fn q8_0(block: &[u8; 34], out: &mut [f32; 32]) {
    let [d0, d1, q @ ..] = block;
    let d = scale([*d0, *d1]);
    for l in 0..32 {
        out[l] = f32::from(q[l].cast_signed()) * d;
    }
}

#[inline(always)]
fn q4_0(block: &[u8; 18], out: &mut [f32; 32]) {
    let [d0, d1, q @ ..] = block;
    let d = scale([*d0, *d1]);
    for l in 0..16 {
        out[l] = f32::from(i16::from(q[l] & 15) - 8) * d;
        out[l + 16] = f32::from(i16::from(q[l] >> 4) - 8) * d;
    }
}

/// The fifth bit of value `at`, in place.
#[inline(always)]
fn fifth(bits: [u8; 4], at: usize) -> i16 {
    if u32::from_le_bytes(bits) >> at & 1 == 1 { 16 } else { 0 }
}

#[inline(always)]
fn q5_0(block: &[u8; 22], out: &mut [f32; 32]) {
    let [d0, d1, h0, h1, h2, h3, q @ ..] = block;
    let (d, high) = (scale([*d0, *d1]), [*h0, *h1, *h2, *h3]);
    for l in 0..16 {
        out[l] = f32::from((i16::from(q[l] & 15) | fifth(high, l)) - 16) * d;
        out[l + 16] = f32::from((i16::from(q[l] >> 4) | fifth(high, l + 16)) - 16) * d;
    }
}

#[inline(always)]
fn q5_1(block: &[u8; 24], out: &mut [f32; 32]) {
    let [d0, d1, m0, m1, h0, h1, h2, h3, q @ ..] = block;
    let (d, m, high) = (scale([*d0, *d1]), scale([*m0, *m1]), [*h0, *h1, *h2, *h3]);
    for l in 0..16 {
        out[l] = f32::from(i16::from(q[l] & 15) | fifth(high, l)) * d + m;
        out[l + 16] = f32::from(i16::from(q[l] >> 4) | fifth(high, l + 16)) * d + m;
    }
}

/// What the runs of a block are multiplied with, and what is taken away: `(d · scale, dmin · offset)` eight times.
#[inline(always)]
fn runs(d: [u8; 2], dmin: [u8; 2], packed: &[u8; 12]) -> [(f32, f32); 8] {
    let (d, dmin) = (scale(d), scale(dmin));
    let (scales, offsets) = unpack_scales(packed);
    std::array::from_fn(|run| (d * f32::from(scales[run]), dmin * f32::from(offsets[run])))
}

#[inline(always)]
fn q4_k(block: &[u8; 144], out: &mut [f32; 256]) {
    let [d0, d1, m0, m1, rest @ ..] = block;
    let (Some((packed, _)), Some(nibbles)) = (rest.split_first_chunk(), rest.last_chunk::<128>()) else {
        return;
    };
    let runs = runs([*d0, *d1], [*m0, *m1], packed);
    for pair in 0..4 {
        let ((low, low_less), (high, high_less)) = (runs[2 * pair], runs[2 * pair + 1]);
        for l in 0..32 {
            let q = nibbles[32 * pair + l];
            out[64 * pair + l] = low * f32::from(q & 15) - low_less;
            out[64 * pair + 32 + l] = high * f32::from(q >> 4) - high_less;
        }
    }
}

#[inline(always)]
fn q5_k(block: &[u8; 176], out: &mut [f32; 256]) {
    let [d0, d1, m0, m1, rest @ ..] = block;
    let (Some((packed, rest)), Some(nibbles)) = (rest.split_first_chunk(), rest.last_chunk::<128>()) else {
        return;
    };
    let Some(fifths) = rest.first_chunk::<32>() else { return };
    let runs = runs([*d0, *d1], [*m0, *m1], packed);
    for pair in 0..4 {
        let ((low, low_less), (high, high_less)) = (runs[2 * pair], runs[2 * pair + 1]);
        for l in 0..32 {
            let (q, fifth) = (nibbles[32 * pair + l], fifths[l] >> (2 * pair));
            out[64 * pair + l] = low * f32::from(q & 15 | (fifth & 1) << 4) - low_less;
            out[64 * pair + 32 + l] = high * f32::from(q >> 4 | (fifth >> 1 & 1) << 4) - high_less;
        }
    }
}

#[inline(always)]
fn q6_k(block: &[u8; 210], out: &mut [f32; 256]) {
    let [rest @ .., d0, d1] = block;
    let d = scale([*d0, *d1]);
    let (nibbles, rest) = rest.split_at(128);
    let (pairs, scales) = rest.split_at(64);
    for half in 0..2 {
        let (nibbles, pairs) = (&nibbles[64 * half..][..64], &pairs[32 * half..][..32]);
        let (scales, out) = (&scales[8 * half..][..8], &mut out[128 * half..][..128]);
        for quarter in 0..4 {
            for l in 0..32 {
                let nibble = nibbles[32 * (quarter % 2) + l] >> (4 * (quarter / 2)) & 15;
                let q = nibble | (pairs[l] >> (2 * quarter) & 3) << 4;
                let d = d * f32::from(scales[2 * quarter + l / 16].cast_signed());
                out[32 * quarter + l] = d * f32::from(i16::from(q) - 32);
            }
        }
    }
}
