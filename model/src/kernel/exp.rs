//! The exponential and what is made of it.

/// `e^x` by one stated polynomial, so that it has the same bits on every machine.
///
/// `n = round(x / ln 2)`, `r = x − n · ln 2` in two parts of which the first product is exact, then the Taylor
/// polynomial of degree 7 in `r` (`|r| ≤ ln 2 / 2`, truncation below 6e-9) by Horner's rule, times `2ⁿ`.
/// Below −87 the result is the value at −87 (1.6e-38), above 88 the value at 88; NaN stays NaN.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    let x = x.clamp(-87.0, 88.0);
    // Adding and taking away 1.5 · 2^23 rounds to an integer, ties to even, and leaves it in the low bits.
    let shifted = x * std::f32::consts::LOG2_E + ROUNDING;
    let n = shifted - ROUNDING;
    let r = (x - n * LN_2_HIGH) - n * LN_2_LOW;
    let mut sum = TAYLOR[0];
    for c in &TAYLOR[1..] {
        sum = sum * r + c;
    }
    f32::from_bits(sum.to_bits().wrapping_add(shifted.to_bits() << 23))
}

/// `1 / (1 + exp(−x))`
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

#[inline(always)]
pub(super) fn gated_all((gate, up): (&mut [f32], &[f32])) {
    for (g, u) in gate.iter_mut().zip(up) {
        *g = *g / (1.0 + exp(-*g)) * u;
    }
}

/// 1.5 · 2^23.
const ROUNDING: f32 = 12_582_912.0;
/// 355/512: nine bits, so that its product with an integer below 2^15 is exact.
const LN_2_HIGH: f32 = 355.0 / 512.0;
/// ln 2 − 355/512.
const LN_2_LOW: f32 = -2.121_944_4e-4;
/// 1/7!, 1/6!, … 1/1!, 1/0!.
const TAYLOR: [f32; 8] = [1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 1.0 / 2.0, 1.0, 1.0];
