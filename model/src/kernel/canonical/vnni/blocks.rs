//! Four blocks of a stored weight row as unsigned bytes in two registers: the first 16 of each block, the last 16 of each.

use std::arch::x86_64::{
    __m128i, __m256i, __m512i, _mm_cvtsi128_si64, _mm_extract_epi64, _mm_loadu_si128, _mm_setr_epi8,
    _mm_setr_epi32, _mm_shuffle_epi8, _mm256_loadu_si256, _mm512_and_si512, _mm512_broadcast_i64x4,
    _mm512_castsi128_si512, _mm512_castsi256_si512, _mm512_inserti32x4, _mm512_inserti64x4,
    _mm512_loadu_si512, _mm512_mask_add_epi8, _mm512_or_si512, _mm512_permutex2var_epi64, _mm512_set1_epi8,
    _mm512_setr_epi64, _mm512_sllv_epi64, _mm512_srli_epi16, _mm512_srlv_epi64, _mm512_test_epi8_mask,
    _mm512_xor_si512,
};

use super::{Q4_0, Q4_K, Q5_0, Q5_1, Q5_K, Q8_0};

/// Quad `half` of a unit.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
pub(super) fn of<const T: u8, const UNIT: usize>(unit: &[u8; UNIT], half: usize) -> [__m512i; 2] {
    match T {
        Q8_0 => q8_0(unit),
        Q4_0 => nibbles::<18, 2>(unit),
        Q5_0 => q5::<22, 6>(unit),
        Q5_1 => q5::<24, 8>(unit),
        Q4_K => q4_k(&unit[16 + 64 * half..]),
        Q5_K => q5_k(unit, half),
        _ => q6_k(unit, half),
    }
}

#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn q8_0(unit: &[u8]) -> [__m512i; 2] {
    let pair = |first: usize| {
        let low = _mm512_castsi256_si512(half_register(&unit[34 * first + 2..]));
        _mm512_inserti64x4::<1>(low, half_register(&unit[34 * first + 36..]))
    };
    let sign = _mm512_set1_epi8(i8::MIN);
    let (low, high) = (pair(0), pair(2));
    let [first, last] = halves(low, high);
    [_mm512_xor_si512(first, sign), _mm512_xor_si512(last, sign)]
}

/// Nibbles of four blocks that lie `q` bytes within blocks of `BYTES`: low ones are weights 0 to 15.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn nibbles<const BYTES: usize, const Q: usize>(unit: &[u8]) -> [__m512i; 2] {
    let both = _mm512_castsi128_si512(quarter(&unit[Q..]));
    let both = _mm512_inserti32x4::<1>(both, quarter(&unit[BYTES + Q..]));
    let both = _mm512_inserti32x4::<2>(both, quarter(&unit[2 * BYTES + Q..]));
    let both = _mm512_inserti32x4::<3>(both, quarter(&unit[3 * BYTES + Q..]));
    low_and_high(both)
}

/// The fifth bits lie just before the nibbles: bits 0 to 15 belong to the first half.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[inline]
fn q5<const BYTES: usize, const Q: usize>(unit: &[u8]) -> [__m512i; 2] {
    let [first, last] = nibbles::<BYTES, Q>(unit);
    let word = |b: usize| {
        let at = b * BYTES + Q - 4;
        i32::from_le_bytes([unit[at], unit[at + 1], unit[at + 2], unit[at + 3]])
    };
    let by_half = _mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15);
    let bits = _mm_shuffle_epi8(_mm_setr_epi32(word(0), word(1), word(2), word(3)), by_half);
    let masks = [_mm_cvtsi128_si64(bits), _mm_extract_epi64::<1>(bits)].map(i64::cast_unsigned);
    let sixteen = _mm512_set1_epi8(16);
    [
        _mm512_mask_add_epi8(first, masks[0], first, sixteen),
        _mm512_mask_add_epi8(last, masks[1], last, sixteen),
    ]
}

/// 64 bytes whose low nibbles are blocks 0 and 2 and whose high ones are blocks 1 and 3.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn q4_k(bytes: &[u8]) -> [__m512i; 2] {
    let [low, high] = low_and_high(register(bytes));
    interleaved(low, high)
}

#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn q5_k(unit: &[u8], half: usize) -> [__m512i; 2] {
    let [low, high] = low_and_high(register(&unit[48 + 64 * half..]));
    let fifths = _mm512_broadcast_i64x4(half_register(&unit[16..]));
    // Bit s of a byte belongs to block s of eight: of four, blocks 0 and 2 for the low nibbles, 1 and 3 for the high.
    let (first, third) = if half == 0 {
        (0x0101_0101_0101_0101, 0x0404_0404_0404_0404)
    } else {
        (0x1010_1010_1010_1010, 0x4040_4040_4040_4040)
    };
    let even = _mm512_setr_epi64(first, first, first, first, third, third, third, third);
    let odd = _mm512_setr_epi64(
        first << 1,
        first << 1,
        first << 1,
        first << 1,
        third << 1,
        third << 1,
        third << 1,
        third << 1,
    );
    let sixteen = _mm512_set1_epi8(16);
    let low = _mm512_mask_add_epi8(low, _mm512_test_epi8_mask(fifths, even), low, sixteen);
    let high = _mm512_mask_add_epi8(high, _mm512_test_epi8_mask(fifths, odd), high, sixteen);
    interleaved(low, high)
}

#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn q6_k(unit: &[u8], half: usize) -> [__m512i; 2] {
    let [low, high] = low_and_high(register(&unit[64 * half..]));
    let pairs = _mm512_broadcast_i64x4(half_register(&unit[128 + 32 * half..]));
    let upper = _mm512_set1_epi8(0x30);
    // Bit pair s of a byte belongs to block s; it is brought to bits 4 and 5.
    let up = _mm512_sllv_epi64(pairs, _mm512_setr_epi64(4, 4, 4, 4, 2, 2, 2, 2));
    let down = _mm512_srlv_epi64(pairs, _mm512_setr_epi64(0, 0, 0, 0, 2, 2, 2, 2));
    halves(
        _mm512_or_si512(low, _mm512_and_si512(up, upper)),
        _mm512_or_si512(high, _mm512_and_si512(down, upper)),
    )
}

#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn low_and_high(both: __m512i) -> [__m512i; 2] {
    let nibble = _mm512_set1_epi8(15);
    [_mm512_and_si512(both, nibble), _mm512_and_si512(_mm512_srli_epi16::<4>(both), nibble)]
}

/// Of blocks 0 and 1 in one register and 2 and 3 in another, each block whole: the first and the last halves.
#[target_feature(enable = "avx512f")]
#[inline]
fn halves(low: __m512i, high: __m512i) -> [__m512i; 2] {
    let first = _mm512_setr_epi64(0, 1, 4, 5, 8, 9, 12, 13);
    let last = _mm512_setr_epi64(2, 3, 6, 7, 10, 11, 14, 15);
    [_mm512_permutex2var_epi64(low, first, high), _mm512_permutex2var_epi64(low, last, high)]
}

/// The same of blocks 0 and 2 in one register, 1 and 3 in the other.
#[target_feature(enable = "avx512f")]
#[inline]
fn interleaved(even: __m512i, odd: __m512i) -> [__m512i; 2] {
    let first = _mm512_setr_epi64(0, 1, 8, 9, 4, 5, 12, 13);
    let last = _mm512_setr_epi64(2, 3, 10, 11, 6, 7, 14, 15);
    [_mm512_permutex2var_epi64(even, first, odd), _mm512_permutex2var_epi64(even, last, odd)]
}

#[target_feature(enable = "avx512f")]
#[inline]
fn register(from: &[u8]) -> __m512i {
    assert!(from.len() >= 64, "a register");
    // SAFETY: 64 bytes are read from a slice of at least as many; the load needs no alignment.
    #[expect(unsafe_code, reason = "the intrinsic takes a pointer")]
    unsafe {
        _mm512_loadu_si512(from.as_ptr().cast())
    }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn half_register(from: &[u8]) -> __m256i {
    assert!(from.len() >= 32, "half a register");
    // SAFETY: 32 bytes are read from a slice of at least as many; the load needs no alignment.
    #[expect(unsafe_code, reason = "the intrinsic takes a pointer")]
    unsafe {
        _mm256_loadu_si256(from.as_ptr().cast())
    }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn quarter(from: &[u8]) -> __m128i {
    assert!(from.len() >= 16, "a quarter of a register");
    // SAFETY: 16 bytes are read from a slice of at least as many; the load needs no alignment.
    #[expect(unsafe_code, reason = "the intrinsic takes a pointer")]
    unsafe {
        _mm_loadu_si128(from.as_ptr().cast())
    }
}
