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
    /// [`BadActivations`] for shapes, bytes and scales that [`Self::of`] never makes.
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
mod tests;
