//! What matrices are multiplied with.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::sync::Arc;

use crate::error::ComputeError;
use crate::kernel::{Activations, Packed};
use crate::rows::Rows;

/// Rows, quantised at most once however many matrices they meet; or rows that came quantised.
pub(crate) struct Operand<'a> {
    /// `(rows, width)`; `None` where only activations were given
    rows: Option<Cow<'a, Rows>>,
    packed: OnceCell<Arc<Packed>>,
}

impl<'a> Operand<'a> {
    /// Rows of floats.
    pub(crate) fn of(rows: &'a Rows) -> Self {
        Self { rows: Some(Cow::Borrowed(rows)), packed: OnceCell::new() }
    }

    /// Rows that are quantised.
    pub(crate) fn of_activations(activations: &Activations) -> Self {
        Self { rows: None, packed: Arc::new(Packed::of(activations.clone())).into() }
    }

    /// How many rows there are.
    pub(crate) fn len(&self) -> usize {
        let packed = || self.packed.get().map_or(0, |packed| packed.activations().len());
        self.rows.as_ref().map_or_else(packed, |rows| rows.len())
    }

    /// Whether there is no row.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Refuses rows of another width.
    pub(crate) fn expect_width(&self, expected: usize) -> Result<(), ComputeError> {
        let packed = || self.packed.get().map_or(0, |packed| packed.activations().width());
        match self.rows.as_ref().map_or_else(packed, |rows| rows.width()) {
            found if found == expected => Ok(()),
            found => Err(ComputeError::Shape { what: "values in a row", expected, found }),
        }
    }

    /// The rows as floats.
    pub(crate) fn rows(&self) -> Result<&Rows, ComputeError> {
        self.rows.as_deref().ok_or(ComputeError::FloatWeights)
    }

    /// The rows quantised. Rows of no whole blocks and rows that are not finite are refused.
    pub(crate) fn packed(&self) -> Result<&Arc<Packed>, ComputeError> {
        if let Some(packed) = self.packed.get() {
            return Ok(packed);
        }
        let packed = Arc::new(Packed::of(Activations::of(self.rows()?)?));
        Ok(self.packed.get_or_init(|| packed))
    }

    /// Copies of the rows at these indices: quantised where that is enough and was done, or as floats.
    pub(crate) fn gather(
        &self,
        indices: &[usize],
        quantised: bool,
    ) -> Result<Operand<'static>, ComputeError> {
        if quantised {
            return Ok(Operand { rows: None, packed: Arc::new(self.packed()?.gather(indices)?).into() });
        }
        Ok(Operand { rows: Some(Cow::Owned(self.rows()?.gather(indices)?)), packed: OnceCell::new() })
    }
}
