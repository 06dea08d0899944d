//! Stored values to f32, exactly as llama.cpp's reference code gives them.
#![expect(clippy::indexing_slicing, reason = "constant indices into arrays of constant length")]

use std::array::from_fn;
use std::hint::black_box;

use super::float::{bf16, f16};
use super::unpack_scales;
use crate::dtype::ElementType;

/// Every value, or every block, in turn. A function given as an argument would be called through a shim that knows
/// nothing of the caller's instruction set, so this is no function.
macro_rules! each {
    ($bytes:ident, $out:ident, $one:ident $(, $hidden:path)?) => {{
        let (bytes, _) = $bytes.as_chunks();
        let (out, _) = $out.as_chunks_mut();
        for (bytes, out) in bytes.iter().zip(out) {
            $(let bytes = $hidden(bytes);)?
            $one(bytes, out);
        }
    }};
}

/// Writes the values of whole blocks. `out` holds as many values as `bytes` stores.
///
/// The loops are plain, to be compiled for the instruction set of the caller; no operation is fused, so the bits do
/// not depend on it.
#[inline(always)]
pub fn widen(dtype: ElementType, bytes: &[u8], out: &mut [f32]) {
    debug_assert_eq!(dtype.row_bytes(out.len()), Some(bytes.len()), "blocks of {}", dtype.name());
    // Where blocks lie is hidden from the compiler, which would otherwise take one value each of many blocks into a
    // vector instead of many values of one.
    match dtype {
        ElementType::F32 => each!(bytes, out, f32_le),
        ElementType::F16 => each!(bytes, out, f16_le),
        ElementType::Bf16 => each!(bytes, out, bf16_le),
        ElementType::Q8_0 => each!(bytes, out, q8_0, black_box),
        ElementType::Q4_0 => each!(bytes, out, q4_0, black_box),
        ElementType::Q5_0 => each!(bytes, out, q5_0, black_box),
        ElementType::Q5_1 => each!(bytes, out, q5_1, black_box),
        ElementType::Q4K => each!(bytes, out, q4_k, black_box),
        ElementType::Q5K => each!(bytes, out, q5_k, black_box),
        ElementType::Q6K => each!(bytes, out, q6_k, black_box),
    }
}

#[inline(always)]
fn f32_le(bytes: &[u8; 4], out: &mut [f32; 1]) {
    *out = [f32::from_le_bytes(*bytes)];
}

#[inline(always)]
fn f16_le(bytes: &[u8; 2], out: &mut [f32; 1]) {
    *out = [f16(u16::from_le_bytes(*bytes))];
}

#[inline(always)]
fn bf16_le(bytes: &[u8; 2], out: &mut [f32; 1]) {
    *out = [bf16(u16::from_le_bytes(*bytes))];
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
    let (out, _) = out.as_chunks_mut::<16>();
    out[0] = from_fn(|l| (f32::from(q[l] & 15) - 8.0) * d);
    out[1] = from_fn(|l| (f32::from(q[l] >> 4) - 8.0) * d);
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
    from_fn(|run| (d * f32::from(scales[run]), dmin * f32::from(offsets[run])))
}

#[inline(always)]
fn q4_k(block: &[u8; 144], out: &mut [f32; 256]) {
    let [d0, d1, m0, m1, rest @ ..] = block;
    let (Some((packed, _)), Some(nibbles)) = (rest.split_first_chunk(), rest.last_chunk::<128>()) else {
        return;
    };
    let runs = runs([*d0, *d1], [*m0, *m1], packed);
    let (nibbles, _) = nibbles.as_chunks::<16>();
    let (out, _) = out.as_chunks_mut::<16>();
    for (at, q) in nibbles.iter().enumerate() {
        let (pair, part, q) = (at / 2, at % 2, black_box(q));
        let ((low, low_less), (high, high_less)) = (runs[2 * pair], runs[2 * pair + 1]);
        out[4 * pair + part] = from_fn(|l| low * f32::from(q[l] & 15) - low_less);
        out[4 * pair + 2 + part] = from_fn(|l| high * f32::from(q[l] >> 4) - high_less);
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
    let (nibbles, _) = nibbles.as_chunks::<16>();
    let (pairs, _) = pairs.as_chunks::<16>();
    let (out, _) = out.as_chunks_mut::<16>();
    for (run, (out, scale)) in out.iter_mut().zip(scales).enumerate() {
        let (half, quarter, part) = (run / 8, run / 2 % 4, run % 2);
        let nibbles = black_box(&nibbles[4 * half + 2 * (quarter % 2) + part]);
        let pairs = &pairs[2 * half + part];
        let d = d * f32::from(scale.cast_signed());
        *out = from_fn(|l| {
            let nibble = nibbles[l] >> (4 * (quarter / 2)) & 15;
            let q = nibble | (pairs[l] >> (2 * quarter) & 3) << 4;
            d * f32::from(i16::from(q) - 32)
        });
    }
}
