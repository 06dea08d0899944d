//! One row of quantised weights, unpacked into bytes and scales: the form in which it meets every row of activations.
//!
//! A weight is `scale · factor · (byte − offset) + minimum`: the offset is one number for the type, scale and minimum
//! belong to 32 weights, the factor, an integer that only `q6_k` has, to 16. Layouts are those of llama.cpp's
//! `ggml-common.h`; the bits within a block are named at each type.
#![expect(clippy::indexing_slicing, reason = "blocks are arrays whose sizes the types state")]

use crate::dtype::ElementType;
use crate::kernel::activation::BLOCK;

/// One row, reused from row to row.
#[derive(Debug, Default)]
pub(crate) struct Unpacked {
    /// `(inner)`
    pub(crate) bytes: Vec<u8>,
    /// `(inner / 32)`
    pub(crate) scales: Vec<f32>,
    /// `(inner / 16)`, empty where the type has none
    pub(crate) factors: Vec<i8>,
    /// `(inner / 32)`, empty where the type has none
    pub(crate) minimums: Vec<f32>,
}

/// What all rows of a type have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Form {
    /// Taken from each byte.
    pub(crate) offset: u8,
    /// Whether each 16 weights have a factor.
    pub(crate) has_factors: bool,
    /// Whether blocks have a minimum.
    pub(crate) has_minimum: bool,
}

/// The form of a type; `None` for floats.
pub(crate) const fn form(dtype: ElementType) -> Option<Form> {
    let (offset, has_factors, has_minimum) = match dtype {
        ElementType::F32 | ElementType::F16 | ElementType::Bf16 => return None,
        ElementType::Q8_0 => (128, false, false),
        ElementType::Q4_0 => (8, false, false),
        ElementType::Q5_0 => (16, false, false),
        ElementType::Q5_1 | ElementType::Q4K | ElementType::Q5K => (0, false, true),
        ElementType::Q6K => (32, true, false),
    };
    Some(Form { offset, has_factors, has_minimum })
}

impl Unpacked {
    /// Room for rows of `inner` weights.
    pub(crate) fn for_rows(inner: usize, form: Form) -> Self {
        Self {
            bytes: vec![0; inner],
            scales: vec![0.0; inner / BLOCK],
            factors: vec![0; if form.has_factors { inner / 16 } else { 0 }],
            minimums: vec![0.0; if form.has_minimum { inner / BLOCK } else { 0 }],
        }
    }
}

/// Unpacks one stored row. Floats leave everything as it is.
#[inline(always)]
pub(crate) fn unpack(dtype: ElementType, row: &[u8], into: &mut Unpacked) {
    let Unpacked { bytes, scales, factors, minimums } = into;
    match dtype {
        ElementType::F32 | ElementType::F16 | ElementType::Bf16 => {}
        ElementType::Q8_0 => q8_0(row, bytes, scales),
        ElementType::Q4_0 => q4_0(row, bytes, scales),
        ElementType::Q5_0 => q5::<22, 6>(row, bytes, scales, &mut []),
        ElementType::Q5_1 => q5::<24, 8>(row, bytes, scales, minimums),
        ElementType::Q4K => q4_k(row, bytes, scales, minimums),
        ElementType::Q5K => q5_k(row, bytes, scales, minimums),
        ElementType::Q6K => q6_k(row, bytes, scales, factors),
    }
}

/// `{d: f16, q: i8[32]}`; a byte is `q + 128`.
#[inline(always)]
fn q8_0(row: &[u8], bytes: &mut [u8], scales: &mut [f32]) {
    for ((block, out), scale) in row.as_chunks::<34>().0.iter().zip(bytes.as_chunks_mut::<32>().0).zip(scales)
    {
        *scale = f16(block[0], block[1]);
        for (out, q) in out.iter_mut().zip(&block[2..34]) {
            *out = q ^ 0x80;
        }
    }
}

/// `{d: f16, q: u8[16]}`; weight `j` is the low half of `q[j]`, weight `j + 16` the high one.
#[inline(always)]
fn q4_0(row: &[u8], bytes: &mut [u8], scales: &mut [f32]) {
    for ((block, out), scale) in row.as_chunks::<18>().0.iter().zip(bytes.as_chunks_mut::<32>().0).zip(scales)
    {
        *scale = f16(block[0], block[1]);
        let (low, high) = out.split_at_mut(16);
        for ((low, high), q) in low.iter_mut().zip(high).zip(&block[2..18]) {
            (*low, *high) = (q & 15, q >> 4);
        }
    }
}

/// `{d: f16, m: f16 (Q5_1 alone), fifth bits: u32, q: u8[16]}`; the fifth bit of weight `j` is bit `j`.
#[inline(always)]
fn q5<const BYTES: usize, const Q: usize>(
    row: &[u8],
    bytes: &mut [u8],
    scales: &mut [f32],
    minimums: &mut [f32],
) {
    for (at, (block, out)) in row.as_chunks::<BYTES>().0.iter().zip(bytes.as_chunks_mut::<32>().0).enumerate()
    {
        scales[at] = f16(block[0], block[1]);
        if let Some(minimum) = minimums.get_mut(at) {
            *minimum = f16(block[2], block[3]);
        }
        let fifth = u32::from_le_bytes([block[Q - 4], block[Q - 3], block[Q - 2], block[Q - 1]]);
        let q = &block[Q..Q + 16];
        for j in 0..16 {
            out[j] = q[j] & 15 | u8::from(fifth >> j & 1 == 1) << 4;
            out[j + 16] = q[j] >> 4 | u8::from(fifth >> (j + 16) & 1 == 1) << 4;
        }
    }
}

/// `{d: f16, dmin: f16, six bits × 16: u8[12], q: u8[128]}`; 32 bytes of `q` hold two sub-blocks, low halves first.
#[inline(always)]
fn q4_k(row: &[u8], bytes: &mut [u8], scales: &mut [f32], minimums: &mut [f32]) {
    let outs = bytes.as_chunks_mut::<256>().0;
    for (at, (block, out)) in row.as_chunks::<144>().0.iter().zip(outs).enumerate() {
        k_scales(block, &mut scales[8 * at..8 * at + 8], &mut minimums[8 * at..8 * at + 8]);
        for (q, out) in block[16..144].as_chunks::<32>().0.iter().zip(out.as_chunks_mut::<64>().0) {
            for j in 0..32 {
                (out[j], out[j + 32]) = (q[j] & 15, q[j] >> 4);
            }
        }
    }
}

/// As [`q4_k`] with the fifth bits before `q`: bit `s` of byte `j` belongs to weight `j` of sub-block `s`.
#[inline(always)]
fn q5_k(row: &[u8], bytes: &mut [u8], scales: &mut [f32], minimums: &mut [f32]) {
    let outs = bytes.as_chunks_mut::<256>().0;
    for (at, (block, out)) in row.as_chunks::<176>().0.iter().zip(outs).enumerate() {
        k_scales(block, &mut scales[8 * at..8 * at + 8], &mut minimums[8 * at..8 * at + 8]);
        let fifth = &block[16..48];
        let parts = block[48..176].as_chunks::<32>().0.iter().zip(out.as_chunks_mut::<64>().0);
        for (pair, (q, out)) in parts.enumerate() {
            for j in 0..32 {
                let fifth = fifth[j] >> (2 * pair);
                (out[j], out[j + 32]) = (q[j] & 15 | (fifth & 1) << 4, q[j] >> 4 | (fifth >> 1 & 1) << 4);
            }
        }
    }
}

/// `{low four bits: u8[128], high two bits: u8[64], scales: i8[16], d: f16}`. Of 128 weights, 64 bytes of low bits hold
/// weights 0 to 63 in their low halves and 64 to 127 in the high ones; byte `j` of 32 high bytes has the bits of
/// weights `j`, `j + 32`, `j + 64` and `j + 96` from the lowest pair up.
#[inline(always)]
fn q6_k(row: &[u8], bytes: &mut [u8], scales: &mut [f32], factors: &mut [i8]) {
    let outs = bytes.as_chunks_mut::<256>().0;
    for (at, (block, out)) in row.as_chunks::<210>().0.iter().zip(outs).enumerate() {
        scales[8 * at..8 * at + 8].fill(f16(block[208], block[209]));
        for (factor, stored) in factors[16 * at..16 * at + 16].iter_mut().zip(&block[192..208]) {
            *factor = stored.cast_signed();
        }
        for (half, out) in out.as_chunks_mut::<128>().0.iter_mut().enumerate() {
            let (low, high) = (&block[64 * half..][..64], &block[128 + 32 * half..][..32]);
            for j in 0..32 {
                out[j] = low[j] & 15 | (high[j] & 3) << 4;
                out[j + 32] = low[j + 32] & 15 | (high[j] >> 2 & 3) << 4;
                out[j + 64] = low[j] >> 4 | (high[j] >> 4 & 3) << 4;
                out[j + 96] = low[j + 32] >> 4 | (high[j] >> 6) << 4;
            }
        }
    }
}

/// The eight scales and minimums of a block of 256. Of `s[12]`, sub-blocks 0 to 3 have their six bits in `s[j]` and
/// `s[j + 4]`; sub-blocks 4 to 7 four bits in the halves of `s[j + 4]` and two above those of sub-block `j − 4`.
#[inline(always)]
fn k_scales(block: &[u8], scales: &mut [f32], minimums: &mut [f32]) {
    let (d, dmin) = (f16(block[0], block[1]), f16(block[2], block[3]));
    let s = &block[4..16];
    for j in 0..4 {
        scales[j] = d * f32::from(s[j] & 63);
        minimums[j] = -(dmin * f32::from(s[j + 4] & 63));
        scales[j + 4] = d * f32::from(s[j + 8] & 15 | s[j] >> 6 << 4);
        minimums[j + 4] = -(dmin * f32::from(s[j + 8] >> 4 | s[j + 4] >> 6 << 4));
    }
}

/// A binary16 as an f32, exactly, without a branch: the bits are moved into an f32 that is 2¹¹² times too small.
#[inline(always)]
pub(crate) fn f16(low: u8, high: u8) -> f32 {
    let half = u32::from(u16::from_le_bytes([low, high]));
    let magnitude = (half & 0x7fff) << 13;
    let value = f32::from_bits(magnitude) * f32::from_bits((127 + 112) << 23);
    // Exponent 31 is infinity or NaN; the product would make a finite number of it.
    let special = if half & 0x7c00 == 0x7c00 { 0x7f80_0000 } else { 0 };
    f32::from_bits(value.to_bits() | special | (half & 0x8000) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_widens_exactly() {
        for bits in 0..=u16::MAX {
            let [low, high] = bits.to_le_bytes();
            let (ours, theirs) = (f16(low, high), half::f16::from_bits(bits).to_f32());
            assert!(ours.to_bits() == theirs.to_bits() || ours.is_nan() && theirs.is_nan(), "{bits:04x}");
        }
    }
}
