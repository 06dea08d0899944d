//! Scales, minimums and factors of one unit of a weight row, lane `i` for block `i` of a quad.

use std::arch::x86_64::{
    __m128, __m128i, __m256i, _mm_cvtepi8_epi16, _mm_cvtepi32_ps, _mm_cvtepu8_epi32, _mm_cvtph_ps,
    _mm_cvtsi32_si128, _mm_cvtsi64_si128, _mm_mul_ps, _mm_set1_epi16, _mm_set1_ps, _mm_setr_epi16,
    _mm_setzero_ps, _mm_setzero_si128, _mm_xor_ps, _mm256_broadcastsi128_si256, _mm256_setr_epi64x,
    _mm256_setzero_si256, _mm256_shuffle_epi8,
};

use super::{Q4_0, Q4_K, Q5_0, Q5_1, Q5_K, Q8_0, QUAD};

/// Those of one quad of blocks; what a type has not is zero.
#[derive(Clone, Copy)]
pub(super) struct Scales {
    pub(super) scale: __m128,
    pub(super) minimum: __m128,
}

/// The factors of the halves of four blocks.
pub(super) struct Factors {
    /// First and last half of each block in turn, 16 bits each.
    pub(super) halves: __m128i,
    /// For each block a register whose first eight numbers are the first half's factor and whose last eight the last's.
    pub(super) blocks: [__m256i; QUAD],
}

/// Those of a unit: of its first quad, and of its second where it has one.
#[target_feature(enable = "avx2,f16c")]
#[inline]
pub(super) fn of<const T: u8, const UNIT: usize>(unit: &[u8; UNIT]) -> [Scales; 2] {
    let zero = _mm_setzero_ps();
    let one = |scale| [Scales { scale, minimum: zero }; 2];
    match T {
        Q8_0 => one(halfs::<34, 0>(unit)),
        Q4_0 => one(halfs::<18, 0>(unit)),
        Q5_0 => one(halfs::<22, 0>(unit)),
        Q5_1 => [Scales { scale: halfs::<24, 0>(unit), minimum: halfs::<24, 2>(unit) }; 2],
        Q4_K | Q5_K => sixes(unit),
        _ => {
            let half = i16::from_le_bytes([unit[208], unit[209]]);
            one(_mm_cvtph_ps(_mm_set1_epi16(half)))
        }
    }
}

/// The f16 that lies `AT` bytes within each of four blocks of `BYTES`.
#[target_feature(enable = "avx2,f16c")]
#[inline]
fn halfs<const BYTES: usize, const AT: usize>(unit: &[u8]) -> __m128 {
    let half = |i: usize| i16::from_le_bytes([unit[i * BYTES + AT], unit[i * BYTES + AT + 1]]);
    _mm_cvtph_ps(_mm_setr_epi16(half(0), half(1), half(2), half(3), 0, 0, 0, 0))
}

/// Of a block of 256 with six-bit scales and minimums; `spec/kernel.md` says where their bits lie.
#[target_feature(enable = "avx2,f16c")]
#[inline]
fn sixes(unit: &[u8]) -> [Scales; 2] {
    let word = |at: usize| u32::from_le_bytes([unit[at], unit[at + 1], unit[at + 2], unit[at + 3]]);
    let half = |at: usize| _mm_cvtph_ps(_mm_set1_epi16(i16::from_le_bytes([unit[at], unit[at + 1]])));
    let (d, d_min, low, middle, high) = (half(0), half(2), word(4), word(8), word(12));
    let upper = |bits: u32| bits >> 2 & 0x3030_3030;
    let six = 0x3f3f_3f3f;
    let scales = [low & six, high & 0x0f0f_0f0f | upper(low)];
    let minimums = [middle & six, high >> 4 & 0x0f0f_0f0f | upper(middle)];
    let quad = |half: usize| Scales {
        scale: _mm_mul_ps(d, floats(scales[half])),
        minimum: _mm_xor_ps(_mm_mul_ps(d_min, floats(minimums[half])), _mm_set1_ps(-0.0)),
    };
    [quad(0), quad(1)]
}

/// Four bytes as floats.
#[target_feature(enable = "avx2")]
#[inline]
fn floats(bytes: u32) -> __m128 {
    _mm_cvtepi32_ps(_mm_cvtepu8_epi32(_mm_cvtsi32_si128(bytes.cast_signed())))
}

impl Factors {
    /// Those of quad `half` of a `q6_k` block, which begin at byte 192.
    #[target_feature(enable = "avx2")]
    #[inline]
    pub(super) fn of(unit: &[u8], half: usize) -> Self {
        let stored = unit[192 + 8 * half..].first_chunk().map_or(0, |eight| i64::from_le_bytes(*eight));
        let halves = _mm_cvtepi8_epi16(_mm_cvtsi64_si128(stored));
        let twice = _mm256_broadcastsi128_si256(halves);
        let block = |first: i64| {
            // Two bytes of a factor, eight times: those at `first` in the low half, those after them in the high one.
            let (low, high) = (first | (first + 1) << 8, (first + 2) | (first + 3) << 8);
            let (low, high) = (low * 0x0001_0001_0001_0001, high * 0x0001_0001_0001_0001);
            _mm256_shuffle_epi8(twice, _mm256_setr_epi64x(low, low, high, high))
        };
        Self { halves, blocks: [block(0), block(4), block(8), block(12)] }
    }

    /// Of a type that has none.
    #[target_feature(enable = "avx2")]
    #[inline]
    pub(super) fn none() -> Self {
        Self { halves: _mm_setzero_si128(), blocks: [_mm256_setzero_si256(); QUAD] }
    }
}
