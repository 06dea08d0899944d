//! Four blocks of a stored weight row, a register each: bytes without sign, but for `q8_0`, whose bytes have one.

use std::arch::x86_64::{
    __m128i, __m256i, _mm_loadu_si128, _mm_srli_epi16, _mm256_and_si256, _mm256_cmpeq_epi8,
    _mm256_loadu_si256, _mm256_or_si256, _mm256_set_m128i, _mm256_set1_epi8, _mm256_set1_epi32,
    _mm256_set1_epi64x, _mm256_setr_epi64x, _mm256_shuffle_epi8, _mm256_slli_epi16, _mm256_srli_epi16,
};

use super::{Q4_0, Q4_K, Q5_0, Q5_1, Q5_K, Q8_0, QUAD};
use crate::kernel::activation::BLOCK;

/// Quad `half` of a unit.
#[target_feature(enable = "avx2")]
#[inline]
pub(super) fn of<const T: u8, const UNIT: usize>(unit: &[u8; UNIT], half: usize) -> [__m256i; QUAD] {
    match T {
        Q8_0 => [register(&unit[2..]), register(&unit[36..]), register(&unit[70..]), register(&unit[104..])],
        Q4_0 => [nibbles(&unit[2..]), nibbles(&unit[20..]), nibbles(&unit[38..]), nibbles(&unit[56..])],
        Q5_0 => fifths::<22, 2, UNIT>(unit),
        Q5_1 => fifths::<24, 4, UNIT>(unit),
        Q4_K => q4_k(&unit[16 + 2 * BLOCK * half..]),
        Q5_K => q5_k(unit, half),
        _ => q6_k(unit, half),
    }
}

/// 16 bytes whose low nibbles are weights 0 to 15.
#[target_feature(enable = "avx2")]
#[inline]
fn nibbles(from: &[u8]) -> __m256i {
    let both = half_register(from);
    _mm256_and_si256(_mm256_set_m128i(_mm_srli_epi16::<4>(both), both), _mm256_set1_epi8(15))
}

/// Blocks of `BYTES` whose fifth bits begin at `AT`.
#[target_feature(enable = "avx2")]
#[inline]
fn fifths<const BYTES: usize, const AT: usize, const UNIT: usize>(unit: &[u8; UNIT]) -> [__m256i; QUAD] {
    [
        with_fifths(&unit[AT..]),
        with_fifths(&unit[BYTES + AT..]),
        with_fifths(&unit[2 * BYTES + AT..]),
        with_fifths(&unit[3 * BYTES + AT..]),
    ]
}

/// The same after four bytes of fifth bits, bit `j` for weight `j`.
#[target_feature(enable = "avx2")]
#[inline]
fn with_fifths(from: &[u8]) -> __m256i {
    let bits = i32::from_le_bytes([from[0], from[1], from[2], from[3]]);
    // Each byte gets the byte that its bit is in, then the bit alone is looked at.
    let places = _mm256_setr_epi64x(0, 0x0101_0101_0101_0101, 0x0202_0202_0202_0202, 0x0303_0303_0303_0303);
    let bit = _mm256_set1_epi64x(i64::from_le_bytes([1, 2, 4, 8, 16, 32, 64, 128]));
    let spread = _mm256_and_si256(_mm256_shuffle_epi8(_mm256_set1_epi32(bits), places), bit);
    let fifth = _mm256_and_si256(_mm256_cmpeq_epi8(spread, bit), _mm256_set1_epi8(16));
    _mm256_or_si256(nibbles(&from[4..]), fifth)
}

/// 64 bytes whose low nibbles are blocks 0 and 2 and whose high ones are blocks 1 and 3.
#[target_feature(enable = "avx2")]
#[inline]
fn q4_k(from: &[u8]) -> [__m256i; QUAD] {
    let ([a, b], [c, d]) = (low_and_high(register(from)), low_and_high(register(&from[BLOCK..])));
    [a, b, c, d]
}

/// As [`q4_k`]; bit `s` of the byte of a weight has its fifth bit in block `s` of eight.
#[target_feature(enable = "avx2")]
#[inline]
fn q5_k(unit: &[u8], half: usize) -> [__m256i; QUAD] {
    let fifths = register(&unit[16..]);
    let [a, b, c, d] = q4_k(&unit[48 + 2 * BLOCK * half..]);
    let sixteen = _mm256_set1_epi8(16);
    // Bits that a shift brings from the neighbouring byte are not where it is looked.
    let shifted = if half == 0 {
        [
            _mm256_slli_epi16::<4>(fifths),
            _mm256_slli_epi16::<3>(fifths),
            _mm256_slli_epi16::<2>(fifths),
            _mm256_slli_epi16::<1>(fifths),
        ]
    } else {
        [
            fifths,
            _mm256_srli_epi16::<1>(fifths),
            _mm256_srli_epi16::<2>(fifths),
            _mm256_srli_epi16::<3>(fifths),
        ]
    };
    let with = |w, bits| _mm256_or_si256(w, _mm256_and_si256(bits, sixteen));
    [with(a, shifted[0]), with(b, shifted[1]), with(c, shifted[2]), with(d, shifted[3])]
}

/// Of four blocks the low nibbles are two of them and the high ones the other two; bit pair `s` of a byte of upper bits
/// belongs to block `s`.
#[target_feature(enable = "avx2")]
#[inline]
fn q6_k(unit: &[u8], half: usize) -> [__m256i; QUAD] {
    let pairs = register(&unit[128 + BLOCK * half..]);
    let lows = &unit[2 * BLOCK * half..];
    let ([a, c], [b, d]) = (low_and_high(register(lows)), low_and_high(register(&lows[BLOCK..])));
    let upper = _mm256_set1_epi8(0x30);
    let with = |w, bits| _mm256_or_si256(w, _mm256_and_si256(bits, upper));
    [
        with(a, _mm256_slli_epi16::<4>(pairs)),
        with(b, _mm256_slli_epi16::<2>(pairs)),
        with(c, pairs),
        with(d, _mm256_srli_epi16::<2>(pairs)),
    ]
}

#[target_feature(enable = "avx2")]
#[inline]
fn low_and_high(both: __m256i) -> [__m256i; 2] {
    let nibble = _mm256_set1_epi8(15);
    [_mm256_and_si256(both, nibble), _mm256_and_si256(_mm256_srli_epi16::<4>(both), nibble)]
}

#[target_feature(enable = "avx2")]
#[inline]
fn register(from: &[u8]) -> __m256i {
    assert!(from.len() >= 32, "a register");
    // SAFETY: 32 bytes are read from a slice of at least as many; the load needs no alignment.
    #[expect(unsafe_code, reason = "the intrinsic takes a pointer")]
    unsafe {
        _mm256_loadu_si256(from.as_ptr().cast())
    }
}

#[target_feature(enable = "avx2")]
#[inline]
fn half_register(from: &[u8]) -> __m128i {
    assert!(from.len() >= 16, "half a register");
    // SAFETY: 16 bytes are read from a slice of at least as many; the load needs no alignment.
    #[expect(unsafe_code, reason = "the intrinsic takes a pointer")]
    unsafe {
        _mm_loadu_si128(from.as_ptr().cast())
    }
}
