//! Root-mean-square norm (`MixtralRMSNorm` of transformers 5.23, `models/mixtral/modeling_mixtral.py`).

use crate::error::{ComputeError, LoadError};
use crate::kernel::sum_of_squares;
use crate::matrix::floats;
use crate::rows::Rows;
use crate::weights::Located;

/// `y = w · (x / sqrt(mean(x²) + eps))`, all f32.
pub(crate) struct RmsNorm {
    weight: Vec<f32>,
    eps: f32,
}

impl RmsNorm {
    /// Loads the weight.
    pub(crate) fn load(found: &Located<'_>, eps: f32) -> Result<Self, LoadError> {
        Ok(Self { weight: floats(found)?, eps })
    }

    /// `(rows, width)` to the same shape.
    pub(crate) fn apply(&self, x: &Rows) -> Result<Rows, ComputeError> {
        x.expect_width(self.weight.len())?;
        let mut y = x.clone();
        for at in 0..y.len() {
            let row = y.row_mut(at);
            let mean = sum_of_squares(row) / self.weight.len() as f32;
            let inverse = 1.0 / (mean + self.eps).sqrt();
            for (v, w) in row.iter_mut().zip(&self.weight) {
                *v = w * (*v * inverse);
            }
        }
        Ok(y)
    }
}
