//! The canonical product with AVX-512 VNNI: two blocks of 32 in one register, so that its sixteen lanes are the
//! sixteen lanes of the definition.

use std::arch::x86_64::{
    __m512, __m512i, _mm512_add_epi32, _mm512_add_ps, _mm512_cvtepi32_ps, _mm512_dpbusd_epi32, _mm512_loadu_ps,
    _mm512_loadu_si512, _mm512_mul_ps, _mm512_permutexvar_ps, _mm512_set1_epi32, _mm512_setr_epi32,
    _mm512_setzero_ps, _mm512_storeu_ps,
};

use super::{Column, Job, finish, last_block};
use crate::kernel::activation::{ActivationRow, BLOCK, BLOCK_LANES};
use crate::kernel::unpacked::{Unpacked, unpack};

/// Values, and lanes, of two blocks.
const PAIR: usize = 2 * BLOCK;
const LANES: usize = 2 * BLOCK_LANES;

/// One weight row by all rows of activations; `S` scales to a block.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn column<const S: usize>(job: Job<'_>, stored: &[u8], scratch: &mut Unpacked, out: Column<'_>) {
    unpack(job.dtype, stored, scratch);
    for (r, y) in out.enumerate() {
        let row = job.x.row(r);
        let mut lanes = pairs::<S>(scratch, row);
        last_block::<S>(scratch, row, job.form, &mut lanes);
        *y = finish(lanes, scratch, row);
    }
}

/// The lanes of one output over all whole pairs of blocks.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn pairs<const S: usize>(w: &Unpacked, x: ActivationRow<'_>) -> [f32; LANES] {
    // A register holds the scales of 16 / S blocks; `pick` spreads those of one pair over its lanes.
    let (first, step) = match S {
        1 => (_mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1), _mm512_set1_epi32(2)),
        _ => (_mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3), _mm512_set1_epi32(4)),
    };
    let mut sum = _mm512_setzero_ps();
    let groups = w.bytes.chunks(LANES / S * BLOCK).zip(x.bytes.chunks(LANES / S * BLOCK));
    let corrections = x.corrections.chunks(LANES / S * BLOCK_LANES);
    let scales = w.scales.chunks(LANES).zip(x.scales.chunks(LANES / S));
    for (((w_bytes, x_bytes), corrections), (w_scales, x_scales)) in groups.zip(corrections).zip(scales) {
        let scales = _mm512_mul_ps(first_sixteen(w_scales), repeated::<S>(x_scales));
        let mut pick = first;
        let bytes = w_bytes.as_chunks::<PAIR>().0.iter().zip(x_bytes.as_chunks::<PAIR>().0);
        for ((w_bytes, x_bytes), correction) in bytes.zip(corrections.as_chunks::<LANES>().0) {
            let dot = _mm512_dpbusd_epi32(integers(correction), bytes_of(w_bytes), signed_bytes_of(x_bytes));
            let scale = _mm512_permutexvar_ps(pick, scales);
            sum = _mm512_add_ps(sum, _mm512_mul_ps(_mm512_cvtepi32_ps(dot), scale));
            pick = _mm512_add_epi32(pick, step);
        }
    }
    let mut lanes = [0f32; LANES];
    // SAFETY: the array has room for sixteen floats; the store needs no alignment.
    #[expect(unsafe_code, reason = "the intrinsic takes a pointer")]
    unsafe {
        _mm512_storeu_ps(lanes.as_mut_ptr(), sum);
    }
    lanes
}

/// Up to sixteen scales, the rest zero.
#[target_feature(enable = "avx512f")]
fn first_sixteen(scales: &[f32]) -> __m512 {
    match scales.first_chunk::<LANES>() {
        Some(whole) => floats(whole),
        None => {
            let mut padded = [0f32; LANES];
            for (to, from) in padded.iter_mut().zip(scales) {
                *to = *from;
            }
            floats(&padded)
        }
    }
}

/// Scales of up to 16 / S blocks, each `S` times.
#[target_feature(enable = "avx512f")]
fn repeated<const S: usize>(scales: &[f32]) -> __m512 {
    if S == 1 {
        return first_sixteen(scales);
    }
    let twice = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
    _mm512_permutexvar_ps(twice, first_sixteen(scales))
}

#[target_feature(enable = "avx512f")]
fn floats(from: &[f32; LANES]) -> __m512 {
    // SAFETY: sixteen floats are read from an array of sixteen; the load needs no alignment.
    #[expect(unsafe_code, reason = "the intrinsic takes a pointer")]
    unsafe {
        _mm512_loadu_ps(from.as_ptr())
    }
}

#[target_feature(enable = "avx512f")]
fn integers(from: &[i32; LANES]) -> __m512i {
    // SAFETY: 64 bytes are read from an array of sixteen integers; the load needs no alignment.
    #[expect(unsafe_code, reason = "the intrinsic takes a pointer")]
    unsafe {
        _mm512_loadu_si512(from.as_ptr().cast())
    }
}

#[target_feature(enable = "avx512f")]
fn bytes_of(from: &[u8; PAIR]) -> __m512i {
    // SAFETY: 64 bytes are read from an array of 64; the load needs no alignment.
    #[expect(unsafe_code, reason = "the intrinsic takes a pointer")]
    unsafe {
        _mm512_loadu_si512(from.as_ptr().cast())
    }
}

#[target_feature(enable = "avx512f")]
fn signed_bytes_of(from: &[i8; PAIR]) -> __m512i {
    // SAFETY: 64 bytes are read from an array of 64; the load needs no alignment.
    #[expect(unsafe_code, reason = "the intrinsic takes a pointer")]
    unsafe {
        _mm512_loadu_si512(from.as_ptr().cast())
    }
}
