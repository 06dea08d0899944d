//! Activations as the canonical kernel takes them: signed bytes in blocks of 32, each block with one f32 scale.
//!
//! ```text
//! m = max |x| over the block;  m < 2⁻¹⁰⁰: scale 0, every byte 0
//! scale = m / 127;  byte = x · (127 / m), rounded to the nearest integer, ties to even
//! ```
//!
//! Every operation is f32 and rounded by itself, so the bytes are the same on every machine. They lie within ±127.
#![expect(clippy::indexing_slicing, reason = "indices are bounded by the block and row counts made at the entry")]

use crate::rows::Rows;

/// Values that share a scale.
pub(crate) const BLOCK: usize = 32;
/// Partial sums of one block's products: lane `j` has values `4j` to `4j + 3`.
pub(crate) const BLOCK_LANES: usize = 8;
/// Blocks whose greatest value is below this are taken as zero: 127 divided by it is still finite.
const LEAST: f32 = f32::from_bits((127 - 100) << 23);

/// Rows of activations, quantised.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Activations {
    width: usize,
    /// `(rows, width)`, within ±127
    bytes: Vec<i8>,
    /// `(rows, width / 32)`
    scales: Vec<f32>,
    /// What is taken from each weight byte.
    offset: u8,
    /// `(rows, width / 4)`: −offset times the sum of each four bytes, where a sum over unsigned weight bytes starts
    corrections: Vec<i32>,
    /// `(rows, width / 32)`: the scale times the sum of the block's bytes, for weights that have a minimum
    block_sums: Vec<f32>,
}

/// One row of [`Activations`].
#[derive(Clone, Copy)]
pub(crate) struct ActivationRow<'a> {
    pub(crate) bytes: &'a [i8],
    pub(crate) scales: &'a [f32],
    pub(crate) corrections: &'a [i32],
    pub(crate) block_sums: &'a [f32],
}

impl Activations {
    /// Quantises `(rows, width)` finite values for weights that are stored with `offset`. `None` where a row is no
    /// whole number of blocks.
    pub(crate) fn of(rows: &Rows, offset: u8) -> Option<Self> {
        let width = rows.width();
        if width == 0 || !width.is_multiple_of(BLOCK) {
            return None;
        }
        let values = rows.values();
        let mut bytes = vec![0i8; values.len()];
        let mut scales = vec![0f32; values.len() / BLOCK];
        let (blocks, _) = values.as_chunks::<BLOCK>();
        let (outs, _) = bytes.as_chunks_mut::<BLOCK>();
        for ((x, out), scale) in blocks.iter().zip(outs).zip(&mut scales) {
            *scale = quantise(x, out);
        }
        Some(Self::of_parts(width, bytes, scales, offset))
    }

    /// Takes bytes and scales that were made as [`Self::of`] makes them.
    fn of_parts(width: usize, bytes: Vec<i8>, scales: Vec<f32>, offset: u8) -> Self {
        let sum = |bytes: &[i8]| bytes.iter().map(|b| i32::from(*b)).sum::<i32>();
        let (fours, _) = bytes.as_chunks::<4>();
        let corrections = fours.iter().map(|four| -i32::from(offset) * sum(four)).collect();
        let (blocks, _) = bytes.as_chunks::<BLOCK>();
        let block_sums = blocks.iter().zip(&scales).map(|(block, scale)| scale * sum(block) as f32).collect();
        Self { width, bytes, scales, offset, corrections, block_sums }
    }

    /// The offset that they were corrected for.
    pub(crate) fn offset(&self) -> u8 {
        self.offset
    }

    /// How many rows there are.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() / self.width
    }

    /// Values in a row.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// One row.
    pub(crate) fn row(&self, at: usize) -> ActivationRow<'_> {
        let cut = |per: usize| at * self.width / per..(at + 1) * self.width / per;
        ActivationRow {
            bytes: &self.bytes[cut(1)],
            scales: &self.scales[cut(BLOCK)],
            corrections: &self.corrections[cut(4)],
            block_sums: &self.block_sums[cut(BLOCK)],
        }
    }
}

/// One block; gives its scale.
fn quantise(x: &[f32; BLOCK], out: &mut [i8; BLOCK]) -> f32 {
    let greatest = x.iter().fold(0f32, |m, v| m.max(v.abs()));
    if greatest < LEAST {
        out.fill(0);
        return 0.0;
    }
    let inverse = 127.0 / greatest;
    for (byte, value) in out.iter_mut().zip(x) {
        #[expect(clippy::cast_possible_truncation, reason = "|value · inverse| rounds to at most 127")]
        let rounded = (value * inverse).round_ties_even() as i8;
        *byte = rounded;
    }
    greatest / 127.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(values: [f32; BLOCK]) -> Activations {
        Activations::of(&Rows::from_values(BLOCK, values.to_vec()).unwrap(), 8).unwrap()
    }

    #[test]
    fn halves_go_to_the_even_byte() {
        let mut x = [0f32; BLOCK];
        (x[0], x[1], x[2], x[3], x[4]) = (127.0, 0.5, 1.5, -2.5, -127.0);
        let row = one(x);
        assert_eq!(row.row(0).bytes[..5], [127, 0, 2, -2, -127]);
        assert_eq!(row.row(0).scales, [1.0]);
        assert_eq!(row.row(0).corrections[..2], [-8 * 127, 8 * 127]);
        assert_eq!(row.row(0).block_sums, [0.0]);
    }

    #[test]
    fn bytes_stay_within_127_whatever_the_greatest_value() {
        for bits in (LEAST.to_bits()..f32::MAX.to_bits()).step_by(9_999_991) {
            let mut x = [0f32; BLOCK];
            x[7] = -f32::from_bits(bits);
            assert_eq!(one(x).row(0).bytes[7], -127, "{bits:x}");
        }
    }

    #[test]
    fn a_block_of_next_to_nothing_is_zero() {
        let below = f32::from_bits(LEAST.to_bits() - 1);
        assert_eq!(one([below; BLOCK]).row(0).scales, [0.0]);
        assert_eq!(one([below; BLOCK]).row(0).bytes, [0; BLOCK]);
        assert_eq!(one([LEAST; BLOCK]).row(0).bytes, [127; BLOCK]);
        assert_eq!(one([-0.0; BLOCK]).row(0).bytes, [0; BLOCK]);
    }

    #[test]
    fn rows_are_whole_blocks() {
        assert_eq!(Activations::of(&Rows::zeros(1, 33), 0), None);
        assert_eq!(Activations::of(&Rows::zeros(2, 64), 0).unwrap().len(), 2);
    }
}
