//! A weight matrix.

use candle_core::{DType, Device, Tensor as Candle};

use crate::dtype::ElementType;
use crate::error::{ComputeError, LoadError};
use crate::kernel::{self, Path, Product};
use crate::layout::{Laid, lay};
use crate::rows::Rows;
use crate::weights::{Located, malformed};

/// `(outputs, inner)` f32, as checkpoints store the weight of a linear layer without bias.
pub(crate) struct Matrix {
    outputs: usize,
    inner: usize,
    values: Vec<f32>,
}

impl Matrix {
    /// Loads and widens a tensor.
    pub(crate) fn load(found: &Located<'_>) -> Result<Self, LoadError> {
        let [outputs, inner] = found.shape;
        Ok(Self { outputs, inner, values: floats(found)? })
    }

    /// Takes `(outputs, inner)` values.
    #[cfg(test)]
    pub(crate) fn from_values(outputs: usize, inner: usize, values: Vec<f32>) -> Self {
        assert_eq!(values.len(), outputs * inner);
        Self { outputs, inner, values }
    }

    /// `x · Wᵀ`: `(rows, inner)` to `(rows, outputs)`.
    pub(crate) fn apply(&self, x: &Rows) -> Result<Rows, ComputeError> {
        x.expect_width(self.inner)?;
        let mut y = Rows::zeros(x.len(), self.outputs);
        kernel::product(
            Path::widest(),
            Product { x: x.values(), w: &self.values, y: y.values_mut(), inner: self.inner },
        );
        Ok(y)
    }

    /// One row of the matrix; `None` past the end.
    pub(crate) fn row(&self, at: usize) -> Option<&[f32]> {
        self.values.chunks_exact(self.inner).nth(at)
    }

    /// How many rows it has.
    pub(crate) fn outputs(&self) -> usize {
        self.outputs
    }

    /// Bytes in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.values.len() * size_of::<f32>()
    }
}

/// A tensor's values, widened to f32.
pub(crate) fn floats(found: &Located<'_>) -> Result<Vec<f32>, LoadError> {
    let laid = lay(found)?;
    let wrong =
        |reason: String| malformed(found.stored.path, format!("tensor {}: {reason}", found.stored.name));
    widened(&laid).map_err(|e| wrong(e.to_string()))
}

/// Widening to f32 is exact, so it does not matter who does it; candle does.
fn widened(laid: &Laid) -> candle_core::Result<Vec<f32>> {
    let dtype = match laid.dtype {
        ElementType::F32 => DType::F32,
        ElementType::F16 => DType::F16,
        ElementType::Bf16 => DType::BF16,
        other => candle_core::bail!("{} is not computed with", other.name()),
    };
    let [outputs, inner] = laid.shape;
    Candle::from_raw_buffer(laid.bytes.bytes(), dtype, &[outputs, inner], &Device::Cpu)?
        .to_dtype(DType::F32)?
        .flatten_all()?
        .to_vec1()
}
