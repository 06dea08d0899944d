//! A weight matrix, kept as it is stored.

use crate::arithmetic::Arithmetic;
use crate::dtype::ElementType;
use crate::error::{ComputeError, LoadError};
use crate::expert::ExpertPart;
use crate::kernel::{
    self, Path, Product, QuantisedIsa, QuantisedProduct, StoredProduct, WIDENED_ROWS, quantised_product,
};
use crate::layout::{Laid, lay};
use crate::mapping::Span;
use crate::rows::Rows;
use crate::weights::Located;

mod operand;

pub(crate) use operand::Operand;

/// `(outputs, inner)`, as checkpoints store the weight of a linear layer without bias.
///
/// Quantised weights are multiplied with quantised activations, floats with floats: a product widens a few rows at a
/// time to f32, so that memory holds no more than the file. What is widened has the same bits each time, and the sums
/// are those of one kernel.
pub(crate) struct Matrix {
    outputs: usize,
    inner: usize,
    values: Values,
}

enum Values {
    /// Widened when they were loaded.
    Wide(Vec<f32>),
    /// As they are stored, widened on the way.
    Stored { dtype: ElementType, bytes: Span },
    /// As they are stored, multiplied by the canonical kernel.
    Quantised { dtype: ElementType, bytes: Span },
}

impl Matrix {
    /// Takes a tensor, if all its values are finite.
    pub(crate) fn load(found: &Located<'_>, arithmetic: Arithmetic) -> Result<Self, LoadError> {
        Ok(Self::of(lay(found)?, arithmetic))
    }

    /// Takes a matrix of an expert, if all its values are finite.
    pub(crate) fn load_part(part: &ExpertPart, arithmetic: Arithmetic) -> Result<Self, LoadError> {
        Ok(Self::of(part.lay()?, arithmetic))
    }

    pub(crate) fn of(laid: Laid, arithmetic: Arithmetic) -> Self {
        let Laid { dtype, shape: [outputs, inner], bytes } = laid;
        let in_place = dtype == ElementType::F32 && as_floats(bytes.bytes()).is_some();
        let values = if !in_place && is_widened(dtype, outputs * inner) {
            Values::Wide(widened(dtype, bytes.bytes(), outputs * inner))
        } else if dtype.is_float() || arithmetic == Arithmetic::Widened {
            Values::Stored { dtype, bytes }
        } else {
            Values::Quantised { dtype, bytes }
        };
        Self { outputs, inner, values }
    }

    /// Takes `(outputs, inner)` values.
    #[cfg(test)]
    pub(crate) fn from_values(outputs: usize, inner: usize, values: Vec<f32>) -> Self {
        assert_eq!(values.len(), outputs * inner);
        Self { outputs, inner, values: Values::Wide(values) }
    }

    /// `x · Wᵀ`: `(rows, inner)` to `(rows, outputs)`.
    pub(crate) fn apply(&self, x: &Rows) -> Result<Rows, ComputeError> {
        self.multiply(&Operand::of(x))
    }

    /// The same of rows that other matrices are multiplied with too.
    pub(crate) fn multiply(&self, x: &Operand<'_>) -> Result<Rows, ComputeError> {
        self.multiply_band(x, 0, self.outputs)
    }

    /// The `count` outputs from `first` on: `(rows, inner)` to `(rows, count)`.
    pub(crate) fn apply_band(&self, x: &Rows, first: usize, count: usize) -> Result<Rows, ComputeError> {
        self.multiply_band(&Operand::of(x), first, count)
    }

    fn multiply_band(&self, x: &Operand<'_>, first: usize, count: usize) -> Result<Rows, ComputeError> {
        x.expect_width(self.inner)?;
        let past =
            ComputeError::Shape { what: "rows of a matrix", expected: self.outputs, found: first + count };
        let mut y = Rows::zeros(x.len(), count);
        let inner = self.inner;
        let band =
            |dtype: ElementType, bytes| cut(bytes, dtype.row_bytes(inner).unwrap_or(0), (first, count));
        if let Some(values) = self.floats() {
            let w = values.get(first * inner..(first + count) * inner).ok_or(past)?;
            kernel::product(Path::widest(), Product { x: x.rows()?.values(), w, y: y.values_mut(), inner });
            return Ok(y);
        }
        match &self.values {
            Values::Wide(_) => {}
            Values::Stored { dtype, bytes } => {
                let w = band(*dtype, bytes.bytes()).ok_or(past)?;
                let mut scratch = vec![0.0; WIDENED_ROWS * inner];
                let (x, y, scratch) = (x.rows()?.values(), y.values_mut(), scratch.as_mut_slice());
                kernel::stored_product(
                    Path::widest(),
                    StoredProduct { x, dtype: *dtype, w, y, inner, scratch },
                );
            }
            Values::Quantised { dtype, bytes } => {
                let w = band(*dtype, bytes.bytes()).ok_or(past)?;
                let job = QuantisedProduct { x: x.packed()?, w, dtype: *dtype, y: y.values_mut() };
                quantised_product(QuantisedIsa::fastest(), job);
            }
        }
        Ok(y)
    }

    /// Whether it is multiplied with quantised activations, so that it needs no rows of floats.
    pub(crate) fn takes_activations(&self) -> bool {
        matches!(self.values, Values::Quantised { .. })
    }

    /// Writes one row of the matrix to `out`; false past the end.
    pub(crate) fn row(&self, at: usize, out: &mut [f32]) -> bool {
        if at >= self.outputs || out.len() != self.inner {
            return false;
        }
        match &self.values {
            Values::Wide(values) => copy(values.get(at * self.inner..(at + 1) * self.inner), out),
            Values::Stored { dtype, bytes } | Values::Quantised { dtype, bytes } => {
                let row = dtype.row_bytes(self.inner).unwrap_or(0);
                let found = bytes.bytes().get(at * row..(at + 1) * row);
                found.is_some_and(|bytes| {
                    kernel::widen(Path::widest(), (*dtype, bytes, out));
                    true
                })
            }
        }
    }

    /// How many rows it has.
    pub(crate) fn outputs(&self) -> usize {
        self.outputs
    }

    /// Bytes in memory, mapped ones too.
    pub(crate) fn bytes(&self) -> usize {
        match &self.values {
            Values::Wide(values) => size_of_val(values.as_slice()),
            Values::Stored { bytes, .. } | Values::Quantised { bytes, .. } => bytes.bytes().len(),
        }
    }

    fn floats(&self) -> Option<&[f32]> {
        match &self.values {
            Values::Wide(values) => Some(values),
            Values::Stored { dtype: ElementType::F32, bytes } => as_floats(bytes.bytes()),
            Values::Stored { .. } | Values::Quantised { .. } => None,
        }
    }
}

/// Bytes that a matrix stored in so many takes in memory, mapped or not.
pub(crate) fn resident_bytes(
    dtype: ElementType,
    [outputs, inner]: [usize; 2],
    stored: usize,
    transposed: bool,
) -> usize {
    let values = outputs.saturating_mul(inner);
    // A quantised matrix is widened to be turned.
    if is_widened(dtype, values) || (transposed && !dtype.is_float()) {
        values.saturating_mul(size_of::<f32>())
    } else {
        stored
    }
}

/// Whether a matrix is widened when it is loaded: 16-bit floats, where that takes little.
const fn is_widened(dtype: ElementType, values: usize) -> bool {
    dtype.is_float() && values <= MAX_WIDENED_VALUES
}

/// A tensor's values, widened to f32 and found finite.
pub(crate) fn floats(found: &Located<'_>) -> Result<Vec<f32>, LoadError> {
    let Laid { dtype, shape: [outputs, inner], bytes } = lay(found)?;
    Ok(widened(dtype, bytes.bytes(), outputs * inner))
}

fn widened(dtype: ElementType, bytes: &[u8], count: usize) -> Vec<f32> {
    let mut values = vec![0.0; count];
    kernel::widen(Path::widest(), (dtype, bytes, &mut values));
    values
}

/// `count` rows of bytes from row `first` on; `None` past the end.
fn cut(bytes: &[u8], row: usize, (first, count): (usize, usize)) -> Option<&[u8]> {
    bytes.get(first * row..(first + count) * row)
}

fn copy(from: Option<&[f32]>, out: &mut [f32]) -> bool {
    from.map(|from| out.copy_from_slice(from)).is_some()
}

/// The values themselves, where they lie as this processor keeps them.
fn as_floats(bytes: &[u8]) -> Option<&[f32]> {
    if cfg!(target_endian = "big") {
        return None;
    }
    // SAFETY: every pattern of 32 bits is an f32, and `align_to` gives in the middle only what is aligned.
    #[expect(unsafe_code, reason = "f32 weights are used where they are mapped")]
    let (before, values, after) = unsafe { bytes.align_to::<f32>() };
    (before.is_empty() && after.is_empty()).then_some(values)
}

/// Up to so many values are widened when they are loaded: 4 MiB.
const MAX_WIDENED_VALUES: usize = 1 << 20;

#[cfg(test)]
mod tests;
