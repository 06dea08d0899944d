//! A weight matrix.

use crate::error::{ComputeError, LoadError};
use crate::kernel::{self, Path, Product};
use crate::rows::Rows;
use crate::weights::Weights;

/// `(outputs, inner)` f32, as checkpoints store the weight of a linear layer without bias.
pub(crate) struct Matrix {
    outputs: usize,
    inner: usize,
    values: Vec<f32>,
}

impl Matrix {
    /// Loads and widens the tensor of this name.
    pub(crate) fn load(weights: &Weights, tensor: &str, shape: [usize; 2]) -> Result<Self, LoadError> {
        let [outputs, inner] = shape;
        Ok(Self { outputs, inner, values: weights.floats(tensor, &shape)? })
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
