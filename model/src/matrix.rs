//! A weight matrix, kept as it is stored.
#![expect(
    clippy::indexing_slicing,
    reason = "rows of weights and outputs are cut where the shape that was checked has them"
)]

use std::sync::Arc;

use crate::arithmetic::{Arithmetic, Computing};
use crate::dtype::ElementType;
use crate::error::{ComputeError, LoadError};
use crate::expert::ExpertPart;
use crate::kernel::{
    self, Packed, Path, Product, QuantisedIsa, QuantisedProduct, StoredProduct, WIDENED_ROWS,
    quantised_product,
};
use crate::layout::{Laid, lay};
use crate::mapping::Span;
use crate::resident::Residence;
use crate::rows::Rows;
use crate::threads::Threads;
use crate::weights::Located;

mod candle;
mod operand;

pub(crate) use candle::CandleMatrix;
pub(crate) use operand::Operand;

/// `(outputs, inner)`, as checkpoints store the weight of a linear layer without bias.
///
/// Quantised weights are multiplied with quantised activations, floats with floats: a product widens a few rows at a
/// time to f32, so that memory holds no more than the file. What is widened has the same bits each time, and the sums
/// are those of one kernel.
pub(crate) struct Matrix {
    outputs: usize,
    inner: usize,
    values: Arc<Values>,
    threads: Threads,
}

enum Values {
    /// Widened when they were loaded.
    Wide(Vec<f32>),
    /// As they are stored, widened on the way.
    Stored { dtype: ElementType, bytes: Span },
    /// As they are stored, multiplied by the canonical kernel.
    Quantised { dtype: ElementType, bytes: Span },
    /// The same, multiplied by candle.
    Candle { dtype: ElementType, bytes: Span, matrix: CandleMatrix },
}

impl Matrix {
    /// Takes a tensor, if all its values are finite.
    pub(crate) fn load(found: &Located<'_>, computing: &Computing) -> Result<Self, LoadError> {
        let mut laid = lay(found)?;
        if !is_widened(laid.dtype, laid.shape[0] * laid.shape[1]) {
            [laid.bytes] = Residence::of_process().settle([laid.bytes]);
        }
        Ok(Self::of(laid, computing))
    }

    /// The same of one whose rows are only looked up, so that it stays in its file.
    pub(crate) fn load_table(found: &Located<'_>, computing: &Computing) -> Result<Self, LoadError> {
        Ok(Self::of(lay(found)?, computing))
    }

    /// Takes a matrix of an expert, if all its values are finite.
    pub(crate) fn load_part(part: &ExpertPart, computing: &Computing) -> Result<Self, LoadError> {
        Ok(Self::of(part.lay()?, computing))
    }

    pub(crate) fn of(laid: Laid, computing: &Computing) -> Self {
        let Laid { dtype, shape: [outputs, inner], bytes } = laid;
        let in_place = dtype == ElementType::F32 && as_floats(bytes.bytes()).is_some();
        let values = if !in_place && is_widened(dtype, outputs * inner) {
            Values::Wide(widened(dtype, bytes.bytes(), outputs * inner))
        } else if dtype.is_float() || computing.arithmetic == Arithmetic::Widened {
            Values::Stored { dtype, bytes }
        } else if computing.arithmetic == Arithmetic::Candle {
            by_candle(dtype, bytes, (outputs, inner))
        } else {
            Values::Quantised { dtype, bytes }
        };
        Self { outputs, inner, values: Arc::new(values), threads: computing.threads.clone() }
    }

    /// Takes `(outputs, inner)` values.
    #[cfg(test)]
    pub(crate) fn from_values(outputs: usize, inner: usize, values: Vec<f32>) -> Self {
        assert_eq!(values.len(), outputs * inner);
        let threads = Threads::of_process();
        Self { outputs, inner, values: Arc::new(Values::Wide(values)), threads }
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
        if first.checked_add(count).is_none_or(|end| end > self.outputs) {
            let (expected, found) = (self.outputs, first.saturating_add(count));
            return Err(ComputeError::Shape { what: "rows of a matrix", expected, found });
        }
        if let Values::Candle { matrix, .. } = &*self.values {
            return matrix.multiply(x.rows()?, (first, count));
        }
        self.multiply_parts(x, (first, count), self.parts(x.len(), count))
    }

    /// The same in so many parts, each for a thread to take.
    fn multiply_parts(
        &self,
        x: &Operand<'_>,
        (first, count): (usize, usize),
        parts: usize,
    ) -> Result<Rows, ComputeError> {
        let (inner, rows) = (self.inner, x.len());
        if parts <= 1 {
            let mut y = Rows::zeros(rows, count);
            let x = if self.takes_activations() {
                Factor::Packed(x.packed()?)
            } else {
                Factor::Floats(x.rows()?)
            };
            self.values.multiply(x, (first, count), inner, y.values_mut());
            return Ok(y);
        }
        let step = count.div_ceil(parts).next_multiple_of(PART_ROWS);
        let values = Arc::clone(&self.values);
        let cut = move |at: usize| (first + at * step, step.min(count - at * step));
        let of_part = move |x: Factor<'_>, at: usize| {
            let mut y = vec![0.0; rows * cut(at).1];
            values.multiply(x, cut(at), inner, &mut y);
            y
        };
        let parts = count.div_ceil(step);
        let made = if self.takes_activations() {
            let x = Arc::clone(x.packed()?);
            self.threads.map(parts, move |at| of_part(Factor::Packed(&x), at))
        } else {
            let x = x.rows()?.clone();
            self.threads.map(parts, move |at| of_part(Factor::Floats(&x), at))
        };
        let mut y = Vec::with_capacity(rows * count);
        for row in 0..rows {
            for part in &made {
                let width = part.len() / rows;
                y.extend_from_slice(&part[row * width..(row + 1) * width]);
            }
        }
        Rows::from_values(count, y)
    }

    /// In how many parts a product is worth to be computed.
    fn parts(&self, rows: usize, count: usize) -> usize {
        let work = rows * count * self.inner;
        if work < 2 * PART_PRODUCTS || !self.threads.any_idle() {
            return 1;
        }
        (work / PART_PRODUCTS).min(PARTS_PER_THREAD * self.threads.count())
    }

    /// Whether it is multiplied with quantised activations, so that it needs no rows of floats.
    pub(crate) fn takes_activations(&self) -> bool {
        matches!(*self.values, Values::Quantised { .. })
    }

    /// Writes one row of the matrix to `out`; false past the end.
    pub(crate) fn row(&self, at: usize, out: &mut [f32]) -> bool {
        if at >= self.outputs || out.len() != self.inner {
            return false;
        }
        match &*self.values {
            Values::Wide(values) => copy(values.get(at * self.inner..(at + 1) * self.inner), out),
            Values::Stored { dtype, bytes }
            | Values::Quantised { dtype, bytes }
            | Values::Candle { dtype, bytes, .. } => {
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
        match &*self.values {
            Values::Wide(values) => size_of_val(values.as_slice()),
            Values::Stored { bytes, .. } | Values::Quantised { bytes, .. } | Values::Candle { bytes, .. } => {
                bytes.bytes().len()
            }
        }
    }
}

/// What values are multiplied with.
enum Factor<'a> {
    Floats(&'a Rows),
    Packed(&'a Packed),
}

impl Values {
    /// The `count` outputs from `first` on, which are there, into `(rows, count)`.
    fn multiply(&self, x: Factor<'_>, (first, count): (usize, usize), inner: usize, y: &mut [f32]) {
        let stored = |dtype: ElementType, bytes: &'_ Span| {
            let row = dtype.row_bytes(inner).unwrap_or(0);
            first * row..((first + count) * row).min(bytes.bytes().len())
        };
        match (self, x) {
            (Self::Quantised { dtype, bytes }, Factor::Packed(x)) => {
                let w = &bytes.bytes()[stored(*dtype, bytes)];
                quantised_product(QuantisedIsa::fastest(), QuantisedProduct { x, w, dtype: *dtype, y });
            }
            (_, Factor::Floats(x)) => {
                let (x, path) = (x.values(), Path::widest());
                if let Some(values) = self.floats() {
                    let w = &values[first * inner..(first + count) * inner];
                    kernel::product(path, Product { x, w, y, inner });
                } else if let Self::Stored { dtype, bytes } = self {
                    let (dtype, w) = (*dtype, &bytes.bytes()[stored(*dtype, bytes)]);
                    let scratch = &mut vec![0.0; WIDENED_ROWS * inner];
                    kernel::stored_product(path, StoredProduct { x, dtype, w, y, inner, scratch });
                }
            }
            // Quantised values are only multiplied with packed rows, and those only with them.
            (_, Factor::Packed(_)) => {}
        }
    }

    fn floats(&self) -> Option<&[f32]> {
        match self {
            Self::Wide(values) => Some(values),
            Self::Stored { dtype: ElementType::F32, bytes } => as_floats(bytes.bytes()),
            Self::Stored { .. } | Self::Quantised { .. } | Self::Candle { .. } => None,
        }
    }
}

/// Weights for candle; floats it multiplies as we do.
fn by_candle(dtype: ElementType, bytes: Span, shape: (usize, usize)) -> Values {
    #[expect(
        clippy::expect_used,
        reason = "whole blocks in a shape that was checked when they were laid out"
    )]
    match CandleMatrix::of(dtype, bytes.bytes(), shape) {
        Some(matrix) => Values::Candle { matrix: matrix.expect("candle takes whole blocks"), dtype, bytes },
        None => Values::Stored { dtype, bytes },
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

/// Products of two values that are worth a part of their own: some ten microseconds.
const PART_PRODUCTS: usize = 1 << 18;
/// So that a thread which is not run for a while leaves little for the others to wait for.
const PARTS_PER_THREAD: usize = 4;
/// Weight rows of a part are a multiple of what the kernels compute together.
const PART_ROWS: usize = 4;

/// Up to so many values are widened when they are loaded: 4 MiB.
const MAX_WIDENED_VALUES: usize = 1 << 20;

#[cfg(test)]
mod tests;
