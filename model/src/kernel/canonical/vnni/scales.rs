//! Scales, factors and minimums of one unit of four weight rows, lane `4 i + r` for block `i` and row `r`.

use std::arch::x86_64::{
    __m128i, __m512, __m512i, _mm_and_si128, _mm_cvtph_ps, _mm_loadu_si128, _mm_or_si128, _mm_set1_epi32,
    _mm_setr_epi8, _mm_setr_epi16, _mm_shuffle_epi8, _mm_srli_epi32, _mm_unpackhi_epi32, _mm_unpackhi_epi64,
    _mm_unpacklo_epi32, _mm_unpacklo_epi64, _mm256_setr_epi16, _mm512_broadcast_f32x4, _mm512_cvtepi8_epi32,
    _mm512_cvtepi32_ps, _mm512_cvtepu8_epi32, _mm512_cvtph_ps, _mm512_mul_ps, _mm512_setzero_ps,
    _mm512_setzero_si512, _mm512_sub_ps,
};

use super::{Q4_0, Q4_K, Q5_0, Q5_1, Q5_K, Q8_0, ROWS};

/// Those of one quad of blocks; what a type has not is zero.
#[derive(Clone, Copy)]
pub(super) struct Scales {
    pub(super) scale: __m512,
    /// Of the first and the last halves of the blocks.
    pub(super) factors: [__m512i; 2],
    pub(super) minimum: __m512,
}

/// Those of a unit.
pub(super) struct UnitScales([Scales; 2]);

impl UnitScales {
    /// Those of its first or second quad.
    #[inline(always)]
    pub(super) fn quad(&self, half: usize) -> Scales {
        let [first, second] = self.0;
        if half == 0 { first } else { second }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
pub(super) fn of<const T: u8, const UNIT: usize>(w: [&[u8; UNIT]; ROWS]) -> UnitScales {
    let none = Scales {
        scale: _mm512_setzero_ps(),
        factors: [_mm512_setzero_si512(); 2],
        minimum: _mm512_setzero_ps(),
    };
    match T {
        Q8_0 => UnitScales([Scales { scale: halfs::<34, 0, UNIT>(w), ..none }; 2]),
        Q4_0 => UnitScales([Scales { scale: halfs::<18, 0, UNIT>(w), ..none }; 2]),
        Q5_0 => UnitScales([Scales { scale: halfs::<22, 0, UNIT>(w), ..none }; 2]),
        Q5_1 => {
            let (scale, minimum) = (halfs::<24, 0, UNIT>(w), halfs::<24, 2, UNIT>(w));
            UnitScales([Scales { scale, minimum, ..none }; 2])
        }
        Q4_K | Q5_K => sixes(w, none),
        _ => q6_k(w, none),
    }
}

/// The f16 that lies `AT` bytes within each of four blocks of `BYTES`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[inline]
fn halfs<const BYTES: usize, const AT: usize, const UNIT: usize>(w: [&[u8; UNIT]; ROWS]) -> __m512 {
    let half = |i: usize, r: usize| i16::from_le_bytes([w[r][i * BYTES + AT], w[r][i * BYTES + AT + 1]]);
    _mm512_cvtph_ps(_mm256_setr_epi16(
        half(0, 0),
        half(0, 1),
        half(0, 2),
        half(0, 3),
        half(1, 0),
        half(1, 1),
        half(1, 2),
        half(1, 3),
        half(2, 0),
        half(2, 1),
        half(2, 2),
        half(2, 3),
        half(3, 0),
        half(3, 1),
        half(3, 2),
        half(3, 3),
    ))
}

/// Of a block of 256 with six-bit scales and minimums; `spec/kernel.md` says where their bits lie.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[inline]
fn sixes<const UNIT: usize>(w: [&[u8; UNIT]; ROWS], none: Scales) -> UnitScales {
    // Each row begins with d, dmin and three words of scales; words are brought together by kind.
    let [a, b, c, d] = [words(w[0]), words(w[1]), words(w[2]), words(w[3])];
    let (ab, cd) = (_mm_unpacklo_epi32(a, b), _mm_unpacklo_epi32(c, d));
    let (ab_high, cd_high) = (_mm_unpackhi_epi32(a, b), _mm_unpackhi_epi32(c, d));
    let (halfs, low) = (_mm_unpacklo_epi64(ab, cd), _mm_unpackhi_epi64(ab, cd));
    let (middle, high) = (_mm_unpacklo_epi64(ab_high, cd_high), _mm_unpackhi_epi64(ab_high, cd_high));
    let order = _mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15);
    let halfs = _mm_shuffle_epi8(halfs, order);
    let d = _mm512_broadcast_f32x4(_mm_cvtph_ps(halfs));
    let d_min = _mm512_broadcast_f32x4(_mm_cvtph_ps(_mm_unpackhi_epi64(halfs, halfs)));
    let six = _mm_set1_epi32(0x3f3f_3f3f);
    let nibble = _mm_set1_epi32(0x0f0f_0f0f);
    let top = _mm_set1_epi32(0x3030_3030);
    let upper = |bits: __m128i| _mm_and_si128(_mm_srli_epi32::<2>(bits), top);
    let scales = [_mm_and_si128(low, six), _mm_or_si128(_mm_and_si128(high, nibble), upper(low))];
    let high = _mm_and_si128(_mm_srli_epi32::<4>(high), nibble);
    let minimums = [_mm_and_si128(middle, six), _mm_or_si128(high, upper(middle))];
    let quad = |half: usize| {
        let minimum = _mm512_mul_ps(d_min, turned(minimums[half]));
        Scales {
            scale: _mm512_mul_ps(d, turned(scales[half])),
            minimum: _mm512_sub_ps(_mm512_setzero_ps(), minimum),
            ..none
        }
    };
    UnitScales([quad(0), quad(1)])
}

/// Four bytes of each of four rows, as floats in the order of lanes.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[inline]
fn turned(bytes: __m128i) -> __m512 {
    _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_shuffle_epi8(bytes, by_block())))
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[inline]
fn q6_k<const UNIT: usize>(w: [&[u8; UNIT]; ROWS], none: Scales) -> UnitScales {
    let half = |r: usize| i16::from_le_bytes([w[r][208], w[r][209]]);
    let d = _mm_cvtph_ps(_mm_setr_epi16(half(0), half(1), half(2), half(3), 0, 0, 0, 0));
    let scale = _mm512_broadcast_f32x4(d);
    // Sixteen factors of each row: first and last half of each of eight blocks in turn.
    let even_odd = _mm_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15);
    let row = |r: usize| _mm_shuffle_epi8(words(&w[r][192..]), even_odd);
    let [a, b, c, d] = [row(0), row(1), row(2), row(3)];
    let (ab, cd) = (_mm_unpacklo_epi32(a, b), _mm_unpacklo_epi32(c, d));
    let (ab_high, cd_high) = (_mm_unpackhi_epi32(a, b), _mm_unpackhi_epi32(c, d));
    let integers = |bytes: __m128i| _mm512_cvtepi8_epi32(_mm_shuffle_epi8(bytes, by_block()));
    let first = [integers(_mm_unpacklo_epi64(ab, cd)), integers(_mm_unpackhi_epi64(ab, cd))];
    let last =
        [integers(_mm_unpacklo_epi64(ab_high, cd_high)), integers(_mm_unpackhi_epi64(ab_high, cd_high))];
    UnitScales([
        Scales { scale, factors: [first[0], last[0]], ..none },
        Scales { scale, factors: [first[1], last[1]], ..none },
    ])
}

/// From four bytes of each row to four rows of each byte.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[inline]
fn by_block() -> __m128i {
    _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15)
}

#[target_feature(enable = "avx512f")]
#[inline]
fn words(from: &[u8]) -> __m128i {
    assert!(from.len() >= 16, "four words");
    // SAFETY: 16 bytes are read from a slice of at least as many; the load needs no alignment.
    #[expect(unsafe_code, reason = "the intrinsic takes a pointer")]
    unsafe {
        _mm_loadu_si128(from.as_ptr().cast())
    }
}
