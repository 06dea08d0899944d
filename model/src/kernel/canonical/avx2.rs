//! The canonical product with AVX2: a weight row is unpacked once and meets the rows of activations four blocks at a time.

use std::arch::x86_64::{
    __m128, __m256i, _mm_add_epi32, _mm_add_ps, _mm_cvtepi32_ps, _mm_loadu_ps, _mm_mul_ps, _mm_setzero_ps,
    _mm_storeu_ps, _mm256_abs_epi8, _mm256_castsi256_si128, _mm256_extracti128_si256, _mm256_hadd_epi32,
    _mm256_loadu_si256, _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_mullo_epi32, _mm256_set1_epi8,
    _mm256_set1_epi16, _mm256_setr_epi32, _mm256_sign_epi8, _mm256_sub_epi8,
};

use super::{Job, Lanes, block, finish};
use crate::kernel::activation::{ActivationRow, BLOCK};
use crate::kernel::packed::QUAD;
use crate::kernel::unpacked::{Form, Unpacked, unpack};

#[target_feature(enable = "avx2")]
pub(super) fn product(job: Job<'_>, y: &mut [f32]) {
    let x = job.x.activations();
    let mut w = Unpacked::for_rows(x.width(), job.form);
    for (c, stored) in job.w.chunks_exact(job.row_bytes).enumerate() {
        unpack(job.dtype, stored, &mut w);
        for (r, y) in y[c..].iter_mut().step_by(job.outputs).enumerate() {
            let row = x.row(r);
            let lanes = if job.form.has_factors {
                dot::<true>(&w, row, job.form)
            } else {
                dot::<false>(&w, row, job.form)
            };
            *y = finish(lanes, &w, row);
        }
    }
}

/// The lanes of one output.
#[target_feature(enable = "avx2")]
fn dot<const FACTORS: bool>(w: &Unpacked, x: ActivationRow<'_>, form: Form) -> Lanes {
    let offset = _mm256_set1_epi8(form.offset.cast_signed());
    let mut sum = _mm_setzero_ps();
    let (w_quads, x_quads) =
        (w.bytes.as_chunks::<{ QUAD * BLOCK }>().0, x.bytes.as_chunks::<{ QUAD * BLOCK }>().0);
    let (w_scales, x_scales) = (w.scales.as_chunks::<QUAD>().0, x.scales.as_chunks::<QUAD>().0);
    let mut factors = w.factors.as_chunks::<{ 2 * QUAD }>().0.iter();
    let quads = w_quads.iter().zip(x_quads).zip(w_scales.iter().zip(x_scales));
    for ((w_quad, x_quad), (w_scale, x_scale)) in quads {
        let [mut a, mut b, mut c, mut d] = [
            eight(w_quad, x_quad, 0, offset),
            eight(w_quad, x_quad, 1, offset),
            eight(w_quad, x_quad, 2, offset),
            eight(w_quad, x_quad, 3, offset),
        ];
        if FACTORS {
            let factors = factors.next().unwrap_or(&[1; 2 * QUAD]);
            a = times(a, factors, 0);
            b = times(b, factors, 1);
            c = times(c, factors, 2);
            d = times(d, factors, 3);
        }
        let both = _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
        let blocks = _mm_add_epi32(_mm256_castsi256_si128(both), _mm256_extracti128_si256::<1>(both));
        let scale = _mm_mul_ps(four(w_scale), four(x_scale));
        sum = _mm_add_ps(sum, _mm_mul_ps(_mm_cvtepi32_ps(blocks), scale));
    }
    let mut lanes = Lanes::default();
    // SAFETY: the array has room for four floats; the store needs no alignment.
    #[expect(unsafe_code, reason = "the intrinsic takes a pointer")]
    unsafe {
        _mm_storeu_ps(lanes.as_mut_ptr(), sum);
    }
    for b in w_quads.len() * QUAD..x.scales.len() {
        lanes[b % QUAD] += block(w, x, form, b) as f32 * (w.scales[b] * x.scales[b]);
    }
    lanes
}

/// Of block `b` the sums of four products each.
#[target_feature(enable = "avx2")]
fn eight(w: &[u8; QUAD * BLOCK], x: &[i8; QUAD * BLOCK], b: usize, offset: __m256i) -> __m256i {
    // Within ±128; the subtraction wraps where the byte is read as signed, and wraps back.
    let signed = _mm256_sub_epi8(bytes(&w.as_chunks::<BLOCK>().0[b]), offset);
    let x = signed_bytes(&x.as_chunks::<BLOCK>().0[b]);
    // |w| · (x with the sign of w): at most 2 · 128 · 127 in 16 bits, as |x| ≤ 127.
    let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(signed), _mm256_sign_epi8(x, signed));
    _mm256_madd_epi16(pairs, _mm256_set1_epi16(1))
}

/// The sums of block `b`, each times the factor of its half.
#[target_feature(enable = "avx2")]
fn times(sums: __m256i, factors: &[i8; 2 * QUAD], b: usize) -> __m256i {
    let (first, last) = (i32::from(factors[2 * b]), i32::from(factors[2 * b + 1]));
    _mm256_mullo_epi32(sums, _mm256_setr_epi32(first, first, first, first, last, last, last, last))
}

#[target_feature(enable = "avx2")]
fn four(from: &[f32; 4]) -> __m128 {
    // SAFETY: four floats are read from an array of four; the load needs no alignment.
    #[expect(unsafe_code, reason = "the intrinsic takes a pointer")]
    unsafe {
        _mm_loadu_ps(from.as_ptr())
    }
}

#[target_feature(enable = "avx2")]
fn bytes(from: &[u8; BLOCK]) -> __m256i {
    // SAFETY: 32 bytes are read from an array of 32; the load needs no alignment.
    #[expect(unsafe_code, reason = "the intrinsic takes a pointer")]
    unsafe {
        _mm256_loadu_si256(from.as_ptr().cast())
    }
}

#[target_feature(enable = "avx2")]
fn signed_bytes(from: &[i8; BLOCK]) -> __m256i {
    // SAFETY: 32 bytes are read from an array of 32; the load needs no alignment.
    #[expect(unsafe_code, reason = "the intrinsic takes a pointer")]
    unsafe {
        _mm256_loadu_si256(from.as_ptr().cast())
    }
}
