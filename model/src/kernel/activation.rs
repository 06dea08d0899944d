//! Activations as the canonical kernel takes them: signed bytes in blocks of 32, each block with one f32 scale.
//!
//! ```text
//! m = max |x| over the block;  m < 2⁻¹⁰⁰: scale 0, every byte 0
//! scale = m / 127;  byte = x · (127 / m), rounded to the nearest integer, ties to even
//! ```
//!
//! Every operation is f32 and rounded by itself, so the bytes are the same on every machine. They lie within ±127.
#![expect(
    clippy::indexing_slicing,
    reason = "indices are bounded by the block and row counts made at the entry"
)]

use crate::error::ComputeError;
use crate::rows::Rows;

/// Values that share a scale.
pub(crate) const BLOCK: usize = 32;
/// Blocks whose greatest value is below this are taken as zero: 127 divided by it is still finite.
const LEAST: f32 = f32::from_bits((127 - 100) << 23);
/// 1.5 · 2²³: added to a small number it rounds that to an integer, ties to even, and leaves it in the low bits.
const ROUNDING: f32 = 12_582_912.0;

/// Rows of activations as signed bytes, 32 of which share an f32 scale: 1.125 bytes a value.
///
/// They are what a product with quantised weights is computed from, whoever makes them. So an expert that is given
/// the [`Activations::of`] some rows, computed here or sent as [bytes](Self::bytes) and [scales](Self::scales) and
/// [put together](Self::from_parts) elsewhere, answers with the same bits as one that is given the rows themselves
/// ([`ExpertBank::takes_activations`](crate::ExpertBank::takes_activations) says which experts can).
#[derive(Debug, Clone, PartialEq)]
pub struct Activations {
    width: usize,
    /// `(rows, width)`, within ±127
    bytes: Vec<i8>,
    /// `(rows, width / 32)`, finite, not below +0
    scales: Vec<f32>,
}

/// One row of [`Activations`].
#[derive(Clone, Copy)]
pub(crate) struct ActivationRow<'a> {
    /// `(width)`
    pub(crate) bytes: &'a [i8],
    /// `(width / 32)`
    pub(crate) scales: &'a [f32],
}

/// Why bytes and scales are no [`Activations`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadActivations {
    /// The width is no whole number of blocks of 32 values, or the counts of bytes and scales do not fit it.
    #[error("{bytes} bytes and {scales} scales are not rows of {width} values in blocks of 32")]
    Shape {
        /// Values in a row.
        width: usize,
        /// How many bytes there are.
        bytes: usize,
        /// How many scales there are.
        scales: usize,
    },
    /// A byte is −128, which no quantised value is.
    #[error("byte {index} is -128")]
    Byte {
        /// Its place among the bytes.
        index: usize,
    },
    /// A scale is NaN, infinite or negative, −0 included.
    #[error("scale {index} is negative or not finite")]
    Scale {
        /// Its place among the scales.
        index: usize,
    },
}

impl Activations {
    /// Quantises rows.
    ///
    /// # Errors
    /// [`ComputeError::Shape`] where a row is no whole number of blocks of 32 values, [`ComputeError::NonFinite`].
    pub fn of(rows: &Rows) -> Result<Self, ComputeError> {
        let width = rows.width();
        if width == 0 || !width.is_multiple_of(BLOCK) {
            return Err(ComputeError::Shape {
                what: "values in blocks of 32",
                expected: BLOCK,
                found: width,
            });
        }
        let values = rows.values();
        let mut bytes = vec![0i8; values.len()];
        let mut scales = vec![0f32; values.len() / BLOCK];
        let (blocks, _) = values.as_chunks::<BLOCK>();
        let (outs, _) = bytes.as_chunks_mut::<BLOCK>();
        for (at, ((x, out), scale)) in blocks.iter().zip(outs).zip(&mut scales).enumerate() {
            let row = at * BLOCK / width;
            *scale = quantise(x, out).ok_or(ComputeError::NonFinite { what: "activations", row })?;
        }
        Ok(Self { width, bytes, scales })
    }

    /// Puts rows together from what was sent of them: `(rows, width)` bytes and `(rows, width / 32)` scales.
    ///
    /// # Errors
    /// [`BadActivations`] for what [`Self::of`] makes of no rows.
    pub fn from_parts(width: usize, bytes: Vec<i8>, scales: Vec<f32>) -> Result<Self, BadActivations> {
        let fits = width > 0
            && width.is_multiple_of(BLOCK)
            && bytes.len().is_multiple_of(width)
            && scales.len() == bytes.len() / BLOCK;
        if !fits {
            return Err(BadActivations::Shape { width, bytes: bytes.len(), scales: scales.len() });
        }
        if let Some(index) = bytes.iter().position(|byte| *byte == i8::MIN) {
            return Err(BadActivations::Byte { index });
        }
        if let Some(index) = scales.iter().position(|scale| !scale.is_finite() || scale.is_sign_negative()) {
            return Err(BadActivations::Scale { index });
        }
        Ok(Self { width, bytes, scales })
    }

    /// Values in a row.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// How many rows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len() / self.width
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// `(rows, width)` bytes, row by row.
    #[must_use]
    pub fn bytes(&self) -> &[i8] {
        &self.bytes
    }

    /// `(rows, width / 32)` scales, row by row.
    #[must_use]
    pub fn scales(&self) -> &[f32] {
        &self.scales
    }

    /// Bytes and scales, so that their memory can be used again.
    #[must_use]
    pub fn into_parts(self) -> (Vec<i8>, Vec<f32>) {
        (self.bytes, self.scales)
    }

    /// Copies of the rows at these indices, in this order.
    ///
    /// # Errors
    /// [`ComputeError::Shape`] for an index past the end.
    pub fn gather(&self, indices: &[usize]) -> Result<Self, ComputeError> {
        let mut bytes = Vec::with_capacity(indices.len() * self.width);
        let mut scales = Vec::with_capacity(indices.len() * self.width / BLOCK);
        for at in indices {
            if *at >= self.len() {
                let what = "a row below the row count";
                return Err(ComputeError::Shape { what, expected: self.len(), found: *at });
            }
            let row = self.row(*at);
            bytes.extend_from_slice(row.bytes);
            scales.extend_from_slice(row.scales);
        }
        Ok(Self { width: self.width, bytes, scales })
    }

    /// One row, which must be there.
    pub(crate) fn row(&self, at: usize) -> ActivationRow<'_> {
        let cut = |per: usize| at * self.width / per..(at + 1) * self.width / per;
        ActivationRow { bytes: &self.bytes[cut(1)], scales: &self.scales[cut(BLOCK)] }
    }
}

/// One block; gives its scale, or `None` where a value is not finite.
fn quantise(x: &[f32; BLOCK], out: &mut [i8; BLOCK]) -> Option<f32> {
    // As integers the bits of magnitudes have the order of the magnitudes, with infinity and NaN above all others.
    let greatest = x.iter().fold(0u32, |m, v| m.max(v.to_bits() & 0x7fff_ffff));
    if greatest >= f32::INFINITY.to_bits() {
        return None;
    }
    let greatest = f32::from_bits(greatest);
    if greatest < LEAST {
        out.fill(0);
        return Some(0.0);
    }
    let inverse = 127.0 / greatest;
    for (byte, value) in out.iter_mut().zip(x) {
        let [low, ..] = (value * inverse + ROUNDING).to_bits().to_le_bytes();
        *byte = low.cast_signed();
    }
    Some(greatest / 127.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(values: [f32; BLOCK]) -> Activations {
        Activations::of(&Rows::from_values(BLOCK, values.to_vec()).unwrap()).unwrap()
    }

    #[test]
    fn halves_go_to_the_even_byte() {
        let mut x = [0f32; BLOCK];
        (x[0], x[1], x[2], x[3], x[4]) = (127.0, 0.5, 1.5, -2.5, -127.0);
        let row = one(x);
        assert_eq!(row.bytes()[..5], [127, 0, 2, -2, -127]);
        assert_eq!(row.scales(), [1.0]);
    }

    #[test]
    fn bytes_stay_within_127_whatever_the_greatest_value() {
        for bits in (LEAST.to_bits()..f32::MAX.to_bits()).step_by(9_999_991) {
            let mut x = [0f32; BLOCK];
            x[7] = -f32::from_bits(bits);
            assert_eq!(one(x).bytes()[7], -127, "{bits:x}");
        }
    }

    #[test]
    fn bytes_are_those_of_rounding_to_the_nearest_even_integer() {
        for seed in 0..2_000u32 {
            let bits = |at: u32| (seed * 32 + at).wrapping_mul(2_654_435_761);
            let x: [f32; BLOCK] =
                std::array::from_fn(|at| f32::from_bits(bits(u32::try_from(at).unwrap()) & 0xbfff_ffff));
            let made = one(x);
            let greatest = x.iter().fold(0f32, |m, v| m.max(v.abs()));
            for (byte, value) in made.bytes().iter().zip(x) {
                assert_eq!(
                    f32::from(*byte).to_bits(),
                    ((value * (127.0 / greatest)).round_ties_even() + 0.0).to_bits()
                );
            }
        }
    }

    #[test]
    fn a_block_of_next_to_nothing_is_zero() {
        let below = f32::from_bits(LEAST.to_bits() - 1);
        assert_eq!(one([below; BLOCK]).scales(), [0.0]);
        assert_eq!(one([below; BLOCK]).bytes(), [0; BLOCK]);
        assert_eq!(one([LEAST; BLOCK]).bytes(), [127; BLOCK]);
        assert_eq!(one([-0.0; BLOCK]).bytes(), [0; BLOCK]);
    }

    #[test]
    fn rows_are_whole_blocks() {
        let refused = ComputeError::Shape { what: "values in blocks of 32", expected: 32, found: 33 };
        assert_eq!(Activations::of(&Rows::zeros(1, 33)), Err(refused));
        assert_eq!(Activations::of(&Rows::zeros(2, 64)).unwrap().len(), 2);
    }

    #[test]
    fn a_row_that_is_not_finite_is_refused_and_named() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut values = vec![1.0; 3 * 64];
            values[64 + 40] = bad;
            let refused = ComputeError::NonFinite { what: "activations", row: 1 };
            assert_eq!(Activations::of(&Rows::from_values(64, values).unwrap()), Err(refused));
        }
    }

    #[test]
    fn parts_are_taken_back_as_they_were() {
        let values = (0..192u8).map(|v| f32::from(v) - 90.0).collect();
        let made = Activations::of(&Rows::from_values(64, values).unwrap()).unwrap();
        let (bytes, scales) = made.clone().into_parts();
        assert_eq!(Activations::from_parts(64, bytes, scales), Ok(made));
    }

    #[test]
    fn parts_that_no_rows_give_are_refused() {
        let of = |width, bytes: Vec<i8>, scales| Activations::from_parts(width, bytes, scales);
        assert_eq!(of(32, vec![-127; 64], vec![0.0, f32::MAX]).unwrap().len(), 2);
        assert_eq!(
            of(32, vec![0; 32], vec![]),
            Err(BadActivations::Shape { width: 32, bytes: 32, scales: 0 })
        );
        assert_eq!(of(0, vec![], vec![]), Err(BadActivations::Shape { width: 0, bytes: 0, scales: 0 }));
        assert_eq!(
            of(48, vec![0; 96], vec![0.0; 3]),
            Err(BadActivations::Shape { width: 48, bytes: 96, scales: 3 })
        );
        assert_eq!(
            of(64, vec![0; 96], vec![0.0; 3]),
            Err(BadActivations::Shape { width: 64, bytes: 96, scales: 3 })
        );
        let mut bytes = vec![1; 64];
        bytes[33] = -128;
        assert_eq!(of(32, bytes, vec![1.0; 2]), Err(BadActivations::Byte { index: 33 }));
        for bad in [f32::NAN, f32::INFINITY, -1.0, -0.0] {
            assert_eq!(of(32, vec![1; 64], vec![1.0, bad]), Err(BadActivations::Scale { index: 1 }), "{bad}");
        }
    }

    #[test]
    fn rows_are_gathered_in_the_order_asked_for() {
        let values: Vec<f32> = (0..96u8).map(|v| f32::from(v / 32 + 1)).collect();
        let made = Activations::of(&Rows::from_values(32, values).unwrap()).unwrap();
        let two = made.gather(&[2, 0]).unwrap();
        assert_eq!(two.scales(), [3.0 / 127.0, 1.0 / 127.0]);
        assert_eq!(two.bytes(), [127; 64]);
        let what = "a row below the row count";
        assert_eq!(made.gather(&[3]), Err(ComputeError::Shape { what, expected: 3, found: 3 }));
    }
}
