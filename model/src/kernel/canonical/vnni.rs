//! The canonical product with AVX-512 VNNI: four weight rows at once, by up to eight rows of activations.
//!
//! Of four blocks of a weight row, one register has the first 16 bytes of each and one the last 16. Two `vpdpbusd` with
//! the activations in the same order leave four integers of each block; those of four weight rows are added across to
//! one register whose lane `4 i + r` is the integer of block `i` and weight row `r`. So the four lanes of the
//! definition lie in the register's four quarters, and nothing more is added across until the row ends.
//!
//! `vpdpbusd` takes weight bytes without sign; what the offset adds to them is taken from the integers.

mod blocks;
mod scales;

use std::arch::x86_64::{
    __m128, __m512, __m512i, _MM_HINT_T1, _mm_add_ps, _mm_prefetch, _mm_storeu_ps, _mm512_add_epi32,
    _mm512_add_ps, _mm512_cvtepi32_ps, _mm512_dpbusd_epi32, _mm512_extractf32x4_ps, _mm512_loadu_ps,
    _mm512_loadu_si512, _mm512_mul_ps, _mm512_mullo_epi32, _mm512_setzero_ps, _mm512_setzero_si512,
    _mm512_slli_epi32, _mm512_sub_epi32, _mm512_unpackhi_epi32, _mm512_unpackhi_epi64, _mm512_unpacklo_epi32,
    _mm512_unpacklo_epi64,
};

use self::scales::Scales;
use super::{Job, Q4_0, Q4_K, Q5_0, Q5_1, Q5_K, Q6_K, Q8_0};
use crate::dtype::ElementType;
use crate::kernel::packed::{Quad, Sixteen};

/// A row of activations: its quads, and of each the scales times the sums.
type Row<'a> = (&'a [Quad], &'a [Sixteen<f32>]);

/// Weight rows that are multiplied together.
const ROWS: usize = 4;
/// Rows of activations that meet four weight rows while these are in registers.
const MAX_TILE: usize = 8;

/// How many groups of rows the bytes that are fetched lie ahead.
const AHEAD: usize = 2;

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
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

/// Four weight rows, cut into units: four blocks of 32, or one of 256. What is past the last whole unit stands in
/// `last`, filled up with zeros.
struct Group<'a, const UNIT: usize> {
    units: [&'a [[u8; UNIT]]; ROWS],
    last: Option<[[u8; UNIT]; ROWS]>,
    /// Bytes from a unit to the same one of the rows to be fetched.
    ahead: usize,
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn all<const T: u8, const UNIT: usize>(job: Job<'_>, y: &mut [f32]) {
    let rows = job.x.activations().len();
    for c in (0..job.outputs).step_by(ROWS) {
        let count = ROWS.min(job.outputs - c);
        let group = Group::<UNIT>::of(job, c);
        let mut r = 0;
        while r < rows {
            let y = &mut y[r * job.outputs + c..];
            let at = (r, count);
            r += match rows - r {
                1 => tile::<T, UNIT, 1>(job, &group, at, y),
                2 => tile::<T, UNIT, 2>(job, &group, at, y),
                3 => tile::<T, UNIT, 3>(job, &group, at, y),
                4 | 5 => tile::<T, UNIT, 4>(job, &group, at, y),
                6 | 7 => tile::<T, UNIT, 6>(job, &group, at, y),
                _ => tile::<T, UNIT, MAX_TILE>(job, &group, at, y),
            };
        }
    }
}

impl<'a, const UNIT: usize> Group<'a, UNIT> {
    /// The four rows from `c` on; past the end the last one stands again.
    fn of(job: Job<'a>, c: usize) -> Self {
        let row = |r: usize| &job.w[(c + r).min(job.outputs - 1) * job.row_bytes..][..job.row_bytes];
        let cut = [row(0).as_chunks(), row(1).as_chunks(), row(2).as_chunks(), row(3).as_chunks()];
        let last = cut.iter().any(|(_, rest)| !rest.is_empty()).then(|| {
            cut.map(|(_, rest)| {
                let mut filled = [0; UNIT];
                filled[..rest.len()].copy_from_slice(rest);
                filled
            })
        });
        Self { units: cut.map(|(units, _)| units), last, ahead: AHEAD * ROWS * job.row_bytes }
    }
}

/// Four weight rows by `R` rows of activations; gives `R`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn tile<const T: u8, const UNIT: usize, const R: usize>(
    job: Job<'_>,
    group: &Group<'_, UNIT>,
    (r, count): (usize, usize),
    y: &mut [f32],
) -> usize {
    let x: [Row<'_>; R] = std::array::from_fn(|i| job.x.row(r + i));
    let mut sums = [[_mm512_setzero_ps(); 2]; R];
    let [a, b, c, d] = group.units;
    let mut quad = 0;
    for (((a, b), c), d) in a.iter().zip(b).zip(c).zip(d) {
        if r == 0 {
            for row in [a, b, c, d] {
                fetch::<UNIT>(row, group.ahead);
            }
        }
        quad += unit::<T, UNIT, R>([a, b, c, d], (&x, quad), &mut sums);
    }
    if let Some([a, b, c, d]) = &group.last {
        unit::<T, UNIT, R>([a, b, c, d], (&x, quad), &mut sums);
    }
    for i in 0..R {
        let [dots, minimums] = sums[i];
        let mut total = tree(dots);
        if job.form.has_minimum {
            total = _mm_add_ps(total, tree(minimums));
        }
        let mut four = [0f32; ROWS];
        // SAFETY: the array has room for four floats; the store needs no alignment.
        #[expect(unsafe_code, reason = "the intrinsic takes a pointer")]
        unsafe {
            _mm_storeu_ps(four.as_mut_ptr(), total);
        }
        y[i * job.outputs..][..count].copy_from_slice(&four[..count]);
    }
    R
}

/// Asks for the bytes that lie `ahead` of a unit, which the next group will be at: the processor does not guess that the
/// next four rows are wanted when it sees four rows being read side by side. They are brought as near as the second
/// level: the first has too few places for lines that are on their way from memory, and asking for it directly reads at
/// half the speed (9 instead of 17 GB/s for `q6_k` with one thread of a Zen 4).
#[target_feature(enable = "avx512f")]
#[inline]
fn fetch<const UNIT: usize>(unit: &[u8; UNIT], ahead: usize) {
    let start = unit.as_ptr().wrapping_add(ahead);
    for line in (0..UNIT).step_by(64) {
        // A hint reads nothing, whatever the address.
        _mm_prefetch::<_MM_HINT_T1>(start.wrapping_add(line).cast());
    }
}

/// One unit of each row; gives how many quads of blocks it has.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
fn unit<const T: u8, const UNIT: usize, const R: usize>(
    w: [&[u8; UNIT]; ROWS],
    (x, first): (&[Row<'_>; R], usize),
    sums: &mut [[__m512; 2]; R],
) -> usize {
    let scales = scales::of::<T, UNIT>(w);
    let quads = if T >= Q4_K { 2 } else { 1 };
    for half in 0..quads {
        let w = [
            blocks::of::<T, UNIT>(w[0], half),
            blocks::of::<T, UNIT>(w[1], half),
            blocks::of::<T, UNIT>(w[2], half),
            blocks::of::<T, UNIT>(w[3], half),
        ];
        let Scales { scale, factors, minimum } = scales.quad(half);
        for i in 0..R {
            let [dots, minimums] = &mut sums[i];
            let (x, block_sums) = (&x[i].0[first + half], x[i].1);
            let integers = if T == Q6_K { with_factors(&w, x, factors) } else { integers::<T>(&w, x) };
            let scale = _mm512_mul_ps(scale, floats(&x.scales));
            *dots = _mm512_add_ps(*dots, _mm512_mul_ps(_mm512_cvtepi32_ps(integers), scale));
            if matches!(T, Q5_1 | Q4_K | Q5_K) {
                let block_sums = floats(&block_sums[first + half].0);
                *minimums = _mm512_add_ps(*minimums, _mm512_mul_ps(minimum, block_sums));
            }
        }
    }
    quads
}

/// The integers of four blocks of four weight rows.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
fn integers<const T: u8>(w: &[[__m512i; 2]; ROWS], x: &Quad) -> __m512i {
    let [first, last] = [signed(&x.halves[0]), signed(&x.halves[1])];
    let zero = _mm512_setzero_si512();
    let all = across([
        _mm512_dpbusd_epi32(_mm512_dpbusd_epi32(zero, w[0][0], first), w[0][1], last),
        _mm512_dpbusd_epi32(_mm512_dpbusd_epi32(zero, w[1][0], first), w[1][1], last),
        _mm512_dpbusd_epi32(_mm512_dpbusd_epi32(zero, w[2][0], first), w[2][1], last),
        _mm512_dpbusd_epi32(_mm512_dpbusd_epi32(zero, w[3][0], first), w[3][1], last),
    ]);
    let sums = whole(&x.sums);
    match T {
        Q8_0 => _mm512_sub_epi32(all, _mm512_slli_epi32::<7>(sums)),
        Q4_0 => _mm512_sub_epi32(all, _mm512_slli_epi32::<3>(sums)),
        Q5_0 => _mm512_sub_epi32(all, _mm512_slli_epi32::<4>(sums)),
        _ => all,
    }
}

/// The same where each half of a block has a factor; the offset is 32.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
fn with_factors(w: &[[__m512i; 2]; ROWS], x: &Quad, factors: [__m512i; 2]) -> __m512i {
    let zero = _mm512_setzero_si512();
    let mut all = zero;
    for half in 0..2 {
        let bytes = signed(&x.halves[half]);
        let dots = across([
            _mm512_dpbusd_epi32(zero, w[0][half], bytes),
            _mm512_dpbusd_epi32(zero, w[1][half], bytes),
            _mm512_dpbusd_epi32(zero, w[2][half], bytes),
            _mm512_dpbusd_epi32(zero, w[3][half], bytes),
        ]);
        let dots = _mm512_sub_epi32(dots, _mm512_slli_epi32::<5>(whole(&x.half_sums[half])));
        all = _mm512_add_epi32(all, _mm512_mullo_epi32(dots, factors[half]));
    }
    all
}

/// Adds the four integers of each quarter: lane `4 i + r` of the result is the sum over quarter `i` of register `r`.
#[target_feature(enable = "avx512f")]
#[inline]
fn across([a, b, c, d]: [__m512i; ROWS]) -> __m512i {
    let ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    let cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
    _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd))
}

/// The tree over the four quarters, for each weight row.
#[target_feature(enable = "avx512f")]
#[inline]
fn tree(sums: __m512) -> __m128 {
    let even = _mm_add_ps(_mm512_extractf32x4_ps::<0>(sums), _mm512_extractf32x4_ps::<2>(sums));
    let odd = _mm_add_ps(_mm512_extractf32x4_ps::<1>(sums), _mm512_extractf32x4_ps::<3>(sums));
    _mm_add_ps(even, odd)
}

#[target_feature(enable = "avx512f")]
#[inline]
fn floats(from: &[f32; 16]) -> __m512 {
    // SAFETY: sixteen floats are read from an array of sixteen; the load needs no alignment.
    #[expect(unsafe_code, reason = "the intrinsic takes a pointer")]
    unsafe {
        _mm512_loadu_ps(from.as_ptr())
    }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn whole(from: &[i32; 16]) -> __m512i {
    // SAFETY: 64 bytes are read from an array of sixteen integers; the load needs no alignment.
    #[expect(unsafe_code, reason = "the intrinsic takes a pointer")]
    unsafe {
        _mm512_loadu_si512(from.as_ptr().cast())
    }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn signed(from: &[i8; 64]) -> __m512i {
    // SAFETY: 64 bytes are read from an array of 64; the load needs no alignment.
    #[expect(unsafe_code, reason = "the intrinsic takes a pointer")]
    unsafe {
        _mm512_loadu_si512(from.as_ptr().cast())
    }
}
