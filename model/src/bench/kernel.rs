//! One matrix product, beside candle's of the same weights and rows.

use std::hint::black_box;

use candle_core::{DType, Device, Tensor};

use super::Rate;
use crate::arithmetic::Computing;
use crate::dtype::ElementType;
use crate::error::{ComputeError, LoadError};
use crate::layout::Laid;
use crate::mapping::Span;
use crate::matrix::{CandleMatrix, Matrix};
use crate::quant;
use crate::rows::Rows;

/// Several matrices of one type and shape, so many that they do not stay in the processor's caches, and some rows.
pub struct Products {
    ours: Vec<Matrix>,
    theirs: Vec<Theirs>,
    rows: Rows,
    tensor: Tensor,
    bytes: usize,
    next: usize,
}

/// As candle keeps a matrix.
enum Theirs {
    Quantised(CandleMatrix),
    /// `(inner, outputs)`, a view of `(outputs, inner)`
    Float(Tensor),
}

/// Why there is nothing to be timed.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// Weights that cannot be made.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A product that cannot be computed.
    #[error(transparent)]
    Compute(#[from] ComputeError),
    /// What candle says.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
    /// A shape that the type has not.
    #[error("rows of {inner} values are no blocks of {dtype}")]
    Blocks {
        /// The name of the element type.
        dtype: &'static str,
        /// Values in a row.
        inner: usize,
    },
}

impl Products {
    /// Makes matrices of `(outputs, inner)` that take at least `bytes` together, and `rows` rows.
    ///
    /// # Errors
    /// [`BenchError`].
    pub fn new(
        dtype: ElementType,
        (outputs, inner): (usize, usize),
        rows: usize,
        bytes: usize,
    ) -> Result<Self, BenchError> {
        let blocks = BenchError::Blocks { dtype: dtype.name(), inner };
        let row = dtype.row_bytes(inner).filter(|row| *row > 0).ok_or(blocks)?;
        let stored = blocks_of(outputs * row);
        let mut values = vec![0.0; outputs * inner];
        quant::widen(dtype, &stored, &mut values);
        let computing = Computing::default();
        let copies = bytes.div_ceil((outputs * row).max(1)).max(1);
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..copies {
            let bytes = Span::owned(stored.clone());
            ours.push(Matrix::of(Laid { dtype, shape: [outputs, inner], bytes }, &computing));
            theirs.push(match CandleMatrix::of(dtype, &stored, (outputs, inner)) {
                Some(matrix) => Theirs::Quantised(matrix?),
                None => Theirs::Float(Tensor::from_slice(&values, (outputs, inner), &Device::Cpu)?.t()?),
            });
        }
        let x: Vec<f32> = (0..rows * inner).map(|at| noise(at + 12_345)).collect();
        let tensor = Tensor::from_slice(&x, (rows, inner), &Device::Cpu)?.to_dtype(DType::F32)?;
        Ok(Self { ours, theirs, rows: Rows::from_values(inner, x)?, tensor, bytes: outputs * row, next: 0 })
    }

    /// The next `repeats` matrices by this crate: bytes of weights.
    ///
    /// # Errors
    /// [`BenchError::Compute`].
    pub fn ours(&mut self, repeats: usize, clock: &dyn Fn() -> u64) -> Result<Rate, BenchError> {
        let start = clock();
        for _ in 0..repeats {
            if let Some(matrix) = self.ours.get(self.next % self.ours.len()) {
                black_box(matrix.apply(black_box(&self.rows))?);
            }
            self.next += 1;
        }
        Ok(Rate::since(start, clock(), self.bytes * repeats))
    }

    /// The same by candle.
    ///
    /// # Errors
    /// [`BenchError::Candle`].
    pub fn candle(&mut self, repeats: usize, clock: &dyn Fn() -> u64) -> Result<Rate, BenchError> {
        let start = clock();
        for _ in 0..repeats {
            black_box(match self.theirs.get(self.next % self.theirs.len()) {
                Some(Theirs::Quantised(matrix)) => Some(matrix.apply(&self.tensor)?),
                Some(Theirs::Float(matrix)) => Some(self.tensor.matmul(matrix)?),
                None => None,
            });
            self.next += 1;
        }
        Ok(Rate::since(start, clock(), self.bytes * repeats))
    }

    /// How many matrices there are.
    #[must_use]
    pub fn copies(&self) -> usize {
        self.ours.len()
    }
}

/// Numbers within ±1 without a pattern.
fn noise(at: usize) -> f32 {
    let mixed = u64::try_from(at).unwrap_or(0).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    f32::from(u16::try_from(mixed >> 48).unwrap_or(0)) / 32_768.0 - 1.0
}

/// Blocks with every bit in use, but for those that would make a 16-bit scale or an f32 large: with the second highest
/// bit of each second byte gone, none is above 1.
fn blocks_of(bytes: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> =
        (0..bytes.div_ceil(4)).flat_map(|at| noise(at).to_le_bytes()).take(bytes).collect();
    for byte in bytes.iter_mut().skip(1).step_by(2) {
        *byte &= 0xbb;
    }
    bytes
}
