//! The canonical product with AVX2: one weight row after the other, by up to four rows of activations.
//!
//! A weight row is read from its front to its end, once for each four rows of activations, so that with one row of them
//! the processor sees one stream of weights and fetches ahead of it. A register holds a block. Its products with the
//! activations are added by pairs (`vpmaddubsw`) and then across, until the integers of four blocks lie in one register
//! in the order of the blocks, which is that of the four lanes of the definition.
//!
//! `vpmaddubsw` takes weight bytes without sign. Where those are small, the offset is taken from the integers
//! afterwards; those of `q8_0` are not, so there the sign moves to the activation.

mod blocks;
mod scales;

use std::arch::x86_64::{
    __m128, __m128i, __m256i, _mm_add_epi32, _mm_add_ps, _mm_cvtepi32_ps, _mm_loadu_ps, _mm_loadu_si128,
    _mm_madd_epi16, _mm_mul_ps, _mm_set1_epi16, _mm_setzero_ps, _mm_slli_epi32, _mm_storeu_ps, _mm_sub_epi32,
    _mm256_abs_epi8, _mm256_castsi256_si128, _mm256_extracti128_si256, _mm256_hadd_epi16, _mm256_hadd_epi32,
    _mm256_loadu_si256, _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_set1_epi16, _mm256_sign_epi8,
};

use self::scales::{Factors, Scales};
use super::{Job, Lanes, Q4_0, Q4_K, Q5_0, Q5_1, Q5_K, Q6_K, Q8_0, tree};
use crate::dtype::ElementType;
use crate::kernel::activation::BLOCK;
use crate::kernel::packed::{NarrowQuad, QUAD};

/// Rows of activations that meet a weight row while a part of it is in registers.
const MAX_TILE: usize = 4;

#[target_feature(enable = "avx2,f16c")]
pub(super) fn product(job: Job<'_>, y: &mut [f32]) {
    match job.dtype {
        ElementType::F32 | ElementType::F16 | ElementType::Bf16 => {}
        ElementType::Q8_0 => all::<Q8_0, 136>(job, y),
        ElementType::Q4_0 => all::<Q4_0, 72>(job, y),
        ElementType::Q5_0 => all::<Q5_0, 88>(job, y),
        ElementType::Q5_1 => all::<Q5_1, 96>(job, y),
        ElementType::Q4K => all::<Q4_K, 144>(job, y),
        ElementType::Q5K => all::<Q5_K, 176>(job, y),
        ElementType::Q6K => all::<Q6_K, 210>(job, y),
    }
}

/// A weight row, cut into units: four blocks of 32, or one of 256. What is past the last whole unit stands in `last`,
/// filled up with zeros.
struct Row<'a, const UNIT: usize> {
    units: &'a [[u8; UNIT]],
    last: Option<[u8; UNIT]>,
}

#[target_feature(enable = "avx2,f16c")]
fn all<const T: u8, const UNIT: usize>(job: Job<'_>, y: &mut [f32]) {
    let rows = job.x.activations().len();
    for (c, stored) in job.w.chunks_exact(job.row_bytes).enumerate() {
        let (units, rest) = stored.as_chunks();
        let last = (!rest.is_empty()).then(|| {
            let mut filled = [0; UNIT];
            filled[..rest.len()].copy_from_slice(rest);
            filled
        });
        let row = Row::<UNIT> { units, last };
        let mut r = 0;
        while r < rows {
            let y = &mut y[r * job.outputs + c..];
            r += match rows - r {
                1 => tile::<T, UNIT, 1>(job, &row, r, y),
                2 => tile::<T, UNIT, 2>(job, &row, r, y),
                3 => tile::<T, UNIT, 3>(job, &row, r, y),
                _ => tile::<T, UNIT, MAX_TILE>(job, &row, r, y),
            };
        }
    }
}

/// One weight row by the `R` rows of activations from `r` on; gives `R`.
#[target_feature(enable = "avx2,f16c")]
fn tile<const T: u8, const UNIT: usize, const R: usize>(
    job: Job<'_>,
    row: &Row<'_, UNIT>,
    r: usize,
    y: &mut [f32],
) -> usize {
    let x: [&[NarrowQuad]; R] = std::array::from_fn(|i| job.x.narrow_row(r + i));
    let mut sums = [[_mm_setzero_ps(); 2]; R];
    let mut quad = 0;
    for unit in row.units.iter().chain(&row.last) {
        quad += step::<T, UNIT, R>(unit, (&x, quad), &mut sums);
    }
    for i in 0..R {
        let [dot, minimum] = sums[i];
        let total = tree(lanes(dot));
        y[i * job.outputs] = if job.form.has_minimum { total + tree(lanes(minimum)) } else { total };
    }
    R
}

/// One unit; gives how many quads of blocks it has.
#[target_feature(enable = "avx2,f16c")]
#[inline]
fn step<const T: u8, const UNIT: usize, const R: usize>(
    unit: &[u8; UNIT],
    (x, first): (&[&[NarrowQuad]; R], usize),
    sums: &mut [[__m128; 2]; R],
) -> usize {
    let quads = if T >= Q4_K { 2 } else { 1 };
    let scales = scales::of::<T, UNIT>(unit);
    for (half, Scales { scale, minimum }) in scales.into_iter().enumerate().take(quads) {
        let w = blocks::of::<T, UNIT>(unit, half);
        let factors = if T == Q6_K { Factors::of(unit, half) } else { Factors::none() };
        for i in 0..R {
            let x = &x[i][first + half];
            let integers = match T {
                Q8_0 => signed(&w, x),
                Q6_K => with_factors(&w, x, &factors),
                Q4_0 => _mm_sub_epi32(small(&w, x), offset::<8>(x)),
                Q5_0 => _mm_sub_epi32(small(&w, x), offset::<16>(x)),
                _ => small(&w, x),
            };
            let [dot, minimums] = &mut sums[i];
            *dot =
                _mm_add_ps(*dot, _mm_mul_ps(_mm_cvtepi32_ps(integers), _mm_mul_ps(scale, four(&x.scales))));
            if matches!(T, Q5_1 | Q4_K | Q5_K) {
                *minimums = _mm_add_ps(*minimums, _mm_mul_ps(minimum, four(&x.block_sums)));
            }
        }
    }
    quads
}

/// The integers of four blocks whose bytes are at most 31: added in 16 bits as long as they fit, 8 · 31 · 127 < 2¹⁵.
#[target_feature(enable = "avx2")]
#[inline]
fn small(w: &[__m256i; QUAD], x: &NarrowQuad) -> __m128i {
    let [a, b, c, d] = [pairs(w[0], x, 0), pairs(w[1], x, 1), pairs(w[2], x, 2), pairs(w[3], x, 3)];
    let eights = _mm256_hadd_epi16(_mm256_hadd_epi16(a, b), _mm256_hadd_epi16(c, d));
    both(_mm256_madd_epi16(eights, _mm256_set1_epi16(1)))
}

#[target_feature(enable = "avx2")]
#[inline]
fn pairs(w: __m256i, x: &NarrowQuad, b: usize) -> __m256i {
    _mm256_maddubs_epi16(w, block(&x.bytes[b]))
}

/// The integers of four blocks of signed bytes: |w| · (x with the sign of w), as |x| is at most 127.
#[target_feature(enable = "avx2")]
#[inline]
fn signed(w: &[__m256i; QUAD], x: &NarrowQuad) -> __m128i {
    let ones = _mm256_set1_epi16(1);
    let fours = |b: usize| {
        let x = _mm256_sign_epi8(block(&x.bytes[b]), w[b]);
        _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_abs_epi8(w[b]), x), ones)
    };
    across([fours(0), fours(1), fours(2), fours(3)])
}

/// The integers of four blocks whose halves have factors; the offset is 32.
#[target_feature(enable = "avx2")]
#[inline]
fn with_factors(w: &[__m256i; QUAD], x: &NarrowQuad, factors: &Factors) -> __m128i {
    let fours = |b: usize| _mm256_madd_epi16(pairs(w[b], x, b), factors.blocks[b]);
    let all = across([fours(0), fours(1), fours(2), fours(3)]);
    _mm_sub_epi32(all, _mm_slli_epi32::<5>(_mm_madd_epi16(halves(&x.half_sums), factors.halves)))
}

/// The offset times the sums of the blocks' bytes.
#[target_feature(enable = "avx2")]
#[inline]
fn offset<const OFFSET: i16>(x: &NarrowQuad) -> __m128i {
    _mm_madd_epi16(halves(&x.half_sums), _mm_set1_epi16(OFFSET))
}

/// Adds the eight integers of each register: lane `i` of the result is the sum of register `i`.
#[target_feature(enable = "avx2")]
#[inline]
fn across([a, b, c, d]: [__m256i; QUAD]) -> __m128i {
    both(_mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d)))
}

/// The sum of the two halves of a register.
#[target_feature(enable = "avx2")]
#[inline]
fn both(of: __m256i) -> __m128i {
    _mm_add_epi32(_mm256_castsi256_si128(of), _mm256_extracti128_si256::<1>(of))
}

#[target_feature(enable = "avx2")]
#[inline]
fn lanes(of: __m128) -> Lanes {
    let mut lanes = Lanes::default();
    // SAFETY: the array has room for four floats; the store needs no alignment.
    #[expect(unsafe_code, reason = "the intrinsic takes a pointer")]
    unsafe {
        _mm_storeu_ps(lanes.as_mut_ptr(), of);
    }
    lanes
}

#[target_feature(enable = "avx2")]
#[inline]
fn four(from: &[f32; QUAD]) -> __m128 {
    // SAFETY: four floats are read from an array of four; the load needs no alignment.
    #[expect(unsafe_code, reason = "the intrinsic takes a pointer")]
    unsafe {
        _mm_loadu_ps(from.as_ptr())
    }
}

#[target_feature(enable = "avx2")]
#[inline]
fn halves(from: &[i16; 2 * QUAD]) -> __m128i {
    // SAFETY: 16 bytes are read from an array of eight integers; the load needs no alignment.
    #[expect(unsafe_code, reason = "the intrinsic takes a pointer")]
    unsafe {
        _mm_loadu_si128(from.as_ptr().cast())
    }
}

#[target_feature(enable = "avx2")]
#[inline]
fn block(from: &[i8; BLOCK]) -> __m256i {
    // SAFETY: 32 bytes are read from an array of 32; the load needs no alignment.
    #[expect(unsafe_code, reason = "the intrinsic takes a pointer")]
    unsafe {
        _mm256_loadu_si256(from.as_ptr().cast())
    }
}
