//! Rows of activations.
#![expect(clippy::indexing_slicing, reason = "indices are bounded by the row count")]

use crate::error::ComputeError;

/// `(rows, width)` f32 values, row by row.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Rows {
    width: usize,
    values: Vec<f32>,
}

impl Rows {
    /// `rows` rows of zeros.
    #[must_use]
    pub fn zeros(rows: usize, width: usize) -> Self {
        Self { width, values: vec![0.0; rows * width] }
    }

    /// Takes values that are already laid out row by row.
    ///
    /// # Errors
    /// [`ComputeError::Shape`] where they are not whole rows.
    pub fn from_values(width: usize, values: Vec<f32>) -> Result<Self, ComputeError> {
        if width == 0 || !values.len().is_multiple_of(width) {
            return Err(ComputeError::Shape {
                what: "values of whole rows",
                expected: width,
                found: values.len(),
            });
        }
        Ok(Self { width, values })
    }

    /// Values in one row.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// How many rows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.values.len().checked_div(self.width).unwrap_or(0)
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// One row; `None` past the end.
    #[must_use]
    pub fn row(&self, at: usize) -> Option<&[f32]> {
        (at < self.len()).then(|| &self.values[at * self.width..(at + 1) * self.width])
    }

    /// The rows, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.values.chunks_exact(self.width.max(1))
    }

    /// All values, row by row.
    #[must_use]
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// All values, row by row.
    #[must_use]
    pub fn into_values(self) -> Vec<f32> {
        self.values
    }

    /// Appends the rows of `other`, so that several requests share one frame.
    ///
    /// # Errors
    /// [`ComputeError::Shape`] where the widths differ.
    pub fn append(&mut self, other: &Self) -> Result<(), ComputeError> {
        if self.is_empty() {
            self.width = other.width;
        }
        other.expect_width(self.width)?;
        self.values.extend_from_slice(&other.values);
        Ok(())
    }

    /// Adds `other` value by value: the residual connection.
    ///
    /// # Errors
    /// [`ComputeError::Shape`] where the shapes differ.
    pub fn add(&mut self, other: &Self) -> Result<(), ComputeError> {
        other.expect_width(self.width)?;
        if self.values.len() != other.values.len() {
            return Err(ComputeError::Shape { what: "rows", expected: self.len(), found: other.len() });
        }
        for (a, b) in self.values.iter_mut().zip(&other.values) {
            *a += b;
        }
        Ok(())
    }

    /// A copy of the rows from `start` up to, but without, `end`; cut to what there is.
    #[must_use]
    pub fn slice(&self, start: usize, end: usize) -> Self {
        let end = end.min(self.len());
        let start = start.min(end);
        Self { width: self.width, values: self.values[start * self.width..end * self.width].to_vec() }
    }

    /// Copies of the rows at these indices, in this order.
    ///
    /// # Errors
    /// [`ComputeError::Shape`] for an index past the end.
    pub fn gather(&self, indices: &[usize]) -> Result<Self, ComputeError> {
        let mut values = Vec::with_capacity(indices.len() * self.width);
        for at in indices {
            let row = self.row(*at).ok_or(ComputeError::Shape {
                what: "a row below the row count",
                expected: self.len(),
                found: *at,
            })?;
            values.extend_from_slice(row);
        }
        Ok(Self { width: self.width, values })
    }

    /// Refuses NaN and infinities.
    ///
    /// # Errors
    /// [`ComputeError::NonFinite`] names the first row that has one.
    pub fn check_finite(&self, what: &'static str) -> Result<(), ComputeError> {
        match self.iter().position(|row| !row.iter().all(|v| v.is_finite())) {
            Some(row) => Err(ComputeError::NonFinite { what, row }),
            None => Ok(()),
        }
    }

    pub(crate) fn expect_width(&self, width: usize) -> Result<(), ComputeError> {
        if self.width == width {
            Ok(())
        } else {
            Err(ComputeError::Shape { what: "values in a row", expected: width, found: self.width })
        }
    }

    pub(crate) fn row_mut(&mut self, at: usize) -> &mut [f32] {
        &mut self.values[at * self.width..(at + 1) * self.width]
    }

    pub(crate) fn values_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }
}
