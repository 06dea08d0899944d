//! The norms: root mean square (`MixtralRMSNorm` and its like of transformers 5.23) and mean with variance
//! (`torch.nn.LayerNorm` without bias, which DBRX uses).

use crate::config::NormKind;
use crate::error::{ComputeError, LoadError};
use crate::kernel::{sum, sum_of_squares};
use crate::matrix::floats;
use crate::rows::Rows;
use crate::weights::Located;

/// `y = w · (x / sqrt(mean(x²) + eps))`, for a layer norm with the mean taken from `x` first; all f32.
pub(crate) struct Norm {
    kind: NormKind,
    weight: Vec<f32>,
    eps: f32,
}

impl Norm {
    /// Loads the weight.
    pub(crate) fn load(found: &Located<'_>, kind: NormKind, eps: f32) -> Result<Self, LoadError> {
        Ok(Self { kind, weight: floats(found)?, eps })
    }

    /// `(rows, width)` to the same shape.
    pub(crate) fn apply(&self, x: &Rows) -> Result<Rows, ComputeError> {
        x.expect_width(self.weight.len())?;
        let mut y = x.clone();
        for at in 0..y.len() {
            self.apply_row(y.row_mut(at));
        }
        Ok(y)
    }

    /// One row of the norm's width in place.
    pub(crate) fn apply_row(&self, row: &mut [f32]) {
        let width = self.weight.len() as f32;
        if self.kind == NormKind::Layer {
            let mean = sum(row) / width;
            row.iter_mut().for_each(|v| *v -= mean);
        }
        let mean = sum_of_squares(row) / width;
        let inverse = 1.0 / (mean + self.eps).sqrt();
        for (v, w) in row.iter_mut().zip(&self.weight) {
            *v = w * (*v * inverse);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normed(kind: NormKind, eps: f32) -> Vec<f32> {
        let norm = Norm { kind, weight: vec![1.0, 2.0], eps };
        norm.apply(&Rows::from_values(2, vec![7.0, 1.0]).unwrap()).unwrap().into_values()
    }

    #[test]
    fn root_mean_square() {
        // The mean square of 7 and 1 is 25, with an eps of 24 it is 49.
        assert_eq!(normed(NormKind::Rms, 0.0), [7.0 * 0.2, 2.0 * 0.2]);
        assert_eq!(normed(NormKind::Rms, 24.0), [7.0 * (1.0 / 7.0), 2.0 * (1.0 / 7.0)]);
    }

    #[test]
    fn the_mean_is_taken_away_in_a_layer_norm() {
        // 7 and 1 lie 3 from their mean; with an eps of 7 the variance is 16.
        assert_eq!(normed(NormKind::Layer, 0.0), [3.0 * (1.0 / 3.0), -3.0 * (1.0 / 3.0) * 2.0]);
        assert_eq!(normed(NormKind::Layer, 7.0), [0.75, -1.5]);
    }

    #[test]
    fn rows_of_another_width_are_refused() {
        let norm = Norm { kind: NormKind::Rms, weight: vec![1.0, 2.0], eps: 0.5 };
        let refused = ComputeError::Shape { what: "values in a row", expected: 2, found: 3 };
        assert_eq!(norm.apply(&Rows::zeros(1, 3)), Err(refused));
    }
}
