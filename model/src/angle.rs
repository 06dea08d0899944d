//! Powers, sines and cosines for the rotary tables, f64, with the same bits on every machine.
//!
//! The platform's own functions differ in the last place between C libraries, so that two routers would rotate by
//! different angles. These use only additions, products, divisions and rounding, which IEEE 754 fixes.
#![expect(clippy::indexing_slicing, reason = "the argument's quadrant indexes four cases")]

/// `base^exponent` for `base ≥ 1` and `0 ≤ exponent ≤ 1`, within a few units in the last place.
pub(crate) fn power(base: f64, exponent: f64) -> f64 {
    exp(exponent * ln(base))
}

/// Natural logarithm of a positive number: `ln 2 · e + 2 artanh((m − 1)/(m + 1))` with `m` near 1.
pub(crate) fn ln(x: f64) -> f64 {
    let (mut m, mut e) = (x, 0.0);
    while m > std::f64::consts::SQRT_2 {
        m /= 2.0;
        e += 1.0;
    }
    while m < std::f64::consts::FRAC_1_SQRT_2 {
        m *= 2.0;
        e -= 1.0;
    }
    let s = (m - 1.0) / (m + 1.0);
    let square = s * s;
    // |s| < 0.172, so the next term is below 1e-18.
    let mut sum = 0.0;
    for k in (0..11).rev() {
        sum = sum * square + 1.0 / f64::from(2 * k + 1);
    }
    e * std::f64::consts::LN_2 + 2.0 * s * sum
}

/// `e^x` for `0 ≤ x < 700`: `x = n ln 2 + r`, then the Taylor polynomial of degree 14 in `r`.
fn exp(x: f64) -> f64 {
    let n = (x / std::f64::consts::LN_2).round();
    let r = (x - n * LN_2_HIGH) - n * LN_2_LOW;
    let mut sum = 1.0;
    for k in (1..15).rev() {
        sum = 1.0 + sum * r / f64::from(k);
    }
    let mut left = n;
    while left >= 1.0 {
        sum *= 2.0;
        left -= 1.0;
    }
    sum
}

/// Sine and cosine of an angle of at least 0 and at most 2^20, in radians.
///
/// The angle is brought into ±π/4 by multiples of π/2 in two parts, the first short enough for exact products; then
/// Taylor polynomials whose next term is below 1e-18.
pub(crate) fn sine_cosine(angle: f64) -> (f64, f64) {
    let n = (angle * std::f64::consts::FRAC_2_PI).round();
    let r = (angle - n * HALF_PI_HIGH) - n * HALF_PI_LOW;
    let square = r * r;
    let (mut sine, mut cosine) = (1.0, 1.0);
    for k in (1..10).rev() {
        let k = f64::from(2 * k);
        sine = 1.0 - sine * square / (k * (k + 1.0));
        cosine = 1.0 - cosine * square / (k * (k - 1.0));
    }
    let sine = sine * r;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 ≤ n ≤ 2^20")]
    let quadrant = n as usize % 4;
    [(sine, cosine), (cosine, -sine), (-sine, -cosine), (-cosine, sine)][quadrant]
}

/// ln 2 cut after 32 bits of significand.
const LN_2_HIGH: f64 = f64::from_bits(std::f64::consts::LN_2.to_bits() & !0x1f_ffff);
/// What that leaves of ln 2: the cut bits, and the part of ln 2 beyond an f64 (2.3190468138462996e-17).
const LN_2_LOW: f64 = std::f64::consts::LN_2 - LN_2_HIGH + 2.319_046_813_846_299_6e-17;
/// π/2 cut after 32 bits of significand.
const HALF_PI_HIGH: f64 = f64::from_bits(std::f64::consts::FRAC_PI_2.to_bits() & !0x1f_ffff);
/// What that leaves of π/2: the cut bits, and the part of π/2 beyond an f64 (6.123233995736766e-17).
const HALF_PI_LOW: f64 = std::f64::consts::FRAC_PI_2 - HALF_PI_HIGH + 6.123_233_995_736_766e-17;

#[cfg(test)]
mod tests {
    use super::{ln, power, sine_cosine};

    /// The platform's functions are within a unit in the last place of the truth; so must these be, nearly.
    fn close(ours: f64, theirs: f64) -> bool {
        (ours - theirs).abs() <= 1e-14 * theirs.abs().max(1e-3)
    }

    #[test]
    fn powers_of_the_rotary_bases() {
        for base in [1.0, 1e4, 5e5, 1e6] {
            for i in 0..64 {
                let exponent = f64::from(i) / 64.0;
                assert!(close(power(base, exponent), base.powf(exponent)), "{base}^{exponent}");
            }
        }
    }

    #[test]
    fn logarithms_on_both_sides_of_one() {
        for x in [1e-6, 0.1, 0.5, 0.999, 1.0, 1.001, 2.0, 40.0, 163_840.0, 1e9] {
            assert!((ln(x) - f64::ln(x)).abs() <= 1e-14 * f64::ln(x).abs().max(1e-3), "ln {x}");
        }
    }

    #[test]
    fn sines_over_the_whole_range() {
        for i in 0..200_000_u32 {
            let angle = f64::from(i) * 5.242_88;
            let (sine, cosine) = sine_cosine(angle);
            assert!((sine - angle.sin()).abs() < 1e-14, "sin {angle}");
            assert!((cosine - angle.cos()).abs() < 1e-14, "cos {angle}");
        }
    }

    #[test]
    fn quadrants_are_exact_at_zero() {
        assert_eq!(sine_cosine(0.0), (0.0, 1.0));
    }
}
