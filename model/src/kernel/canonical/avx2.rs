//! The canonical product with AVX2: each block gives the eight lanes of one of two registers.

use std::arch::x86_64::{
    __m256, __m256i, _mm256_abs_epi8, _mm256_add_ps, _mm256_cvtepi32_ps, _mm256_loadu_ps, _mm256_loadu_si256,
    _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_mul_ps, _mm256_set1_epi8, _mm256_set1_epi16,
    _mm256_setzero_ps, _mm256_sign_epi8, _mm256_storeu_ps, _mm256_sub_epi8,
};

use super::{Column, Job, finish};
use crate::kernel::activation::{ActivationRow, BLOCK, BLOCK_LANES};
use crate::kernel::unpacked::{Unpacked, unpack};

/// One weight row by all rows of activations; `S` scales to a block.
#[target_feature(enable = "avx2")]
pub(super) fn column<const S: usize>(job: Job<'_>, stored: &[u8], scratch: &mut Unpacked, out: Column<'_>) {
    unpack(job.dtype, stored, scratch);
    for (r, y) in out.enumerate() {
        let row = job.x.row(r);
        *y = finish(blocks::<S>(scratch, row, job.form.offset), scratch, row);
    }
}

/// The lanes of one output.
#[target_feature(enable = "avx2")]
fn blocks<const S: usize>(w: &Unpacked, x: ActivationRow<'_>, offset: u8) -> [f32; 2 * BLOCK_LANES] {
    let offset = _mm256_set1_epi8(i8::from_le_bytes([offset]));
    let ones = _mm256_set1_epi16(1);
    let mut sums = [_mm256_setzero_ps(), _mm256_setzero_ps()];
    let bytes = w.bytes.as_chunks::<BLOCK>().0.iter().zip(x.bytes.as_chunks::<BLOCK>().0);
    let scales = w.scales.as_chunks::<S>().0.iter().zip(x.scales);
    for (b, ((w_bytes, x_bytes), (w_scales, x_scale))) in bytes.zip(scales).enumerate() {
        // Within ±128; the subtraction wraps where the byte is read as signed, and wraps back.
        let signed = _mm256_sub_epi8(bytes_of(w_bytes), offset);
        // |w| · (x with the sign of w): at most 2 · 128 · 127 in 16 bits, as |x| ≤ 127.
        let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(signed), _mm256_sign_epi8(signed_bytes_of(x_bytes), signed));
        let dot = _mm256_cvtepi32_ps(_mm256_madd_epi16(pairs, ones));
        let lanes: [f32; BLOCK_LANES] =
            std::array::from_fn(|j| w_scales.get(j * S / BLOCK_LANES).copied().unwrap_or(0.0) * x_scale);
        let [even, odd] = &mut sums;
        let sum = if b % 2 == 0 { even } else { odd };
        *sum = _mm256_add_ps(*sum, _mm256_mul_ps(dot, floats(&lanes)));
    }
    let mut out = [0f32; 2 * BLOCK_LANES];
    for (to, sum) in out.as_chunks_mut::<BLOCK_LANES>().0.iter_mut().zip(sums) {
        // SAFETY: the array has room for eight floats; the store needs no alignment.
        #[expect(unsafe_code, reason = "the intrinsic takes a pointer")]
        unsafe {
            _mm256_storeu_ps(to.as_mut_ptr(), sum);
        }
    }
    out
}

#[target_feature(enable = "avx2")]
fn floats(from: &[f32; BLOCK_LANES]) -> __m256 {
    // SAFETY: eight floats are read from an array of eight; the load needs no alignment.
    #[expect(unsafe_code, reason = "the intrinsic takes a pointer")]
    unsafe {
        _mm256_loadu_ps(from.as_ptr())
    }
}

#[target_feature(enable = "avx2")]
fn bytes_of(from: &[u8; BLOCK]) -> __m256i {
    // SAFETY: 32 bytes are read from an array of 32; the load needs no alignment.
    #[expect(unsafe_code, reason = "the intrinsic takes a pointer")]
    unsafe {
        _mm256_loadu_si256(from.as_ptr().cast())
    }
}

#[target_feature(enable = "avx2")]
fn signed_bytes_of(from: &[i8; BLOCK]) -> __m256i {
    // SAFETY: 32 bytes are read from an array of 32; the load needs no alignment.
    #[expect(unsafe_code, reason = "the intrinsic takes a pointer")]
    unsafe {
        _mm256_loadu_si256(from.as_ptr().cast())
    }
}
