//! From a tensor as it lies in a file to rows in the order in which they are computed with.
//!
//! Rows that lie together stay where they are. Others are copied in their own element type, which changes no value;
//! only a quantised matrix that must be turned is widened, as its blocks run along the rows.
#![expect(
    clippy::indexing_slicing,
    reason = "rows are cut from a tensor whose length was checked against its shape"
)]

use crate::dtype::ElementType;
use crate::error::LoadError;
use crate::mapping::Span;
use crate::names::Cut;
use crate::quant::widen;
use crate::scan;
use crate::weights::{Located, Stored, malformed};

/// Rows that lie one after the other.
#[derive(Debug, Clone)]
pub(crate) struct Laid {
    /// Their element type.
    pub(crate) dtype: ElementType,
    /// `(outputs, inner)`
    pub(crate) shape: [usize; 2],
    /// Their bytes.
    pub(crate) bytes: Span,
}

/// Rows of a stored tensor: the first, and how many.
type Piece = (usize, usize);

/// Finds all values finite, and lays the rows out.
pub(crate) fn lay(found: &Located<'_>) -> Result<Laid, LoadError> {
    let stored = &found.stored;
    let wrong = |reason: &str| malformed(stored.path, format!("tensor {} {reason}", stored.name));
    let width = stored.shape.last().copied().unwrap_or(1);
    let row = stored.dtype.row_bytes(width).ok_or_else(|| wrong("has rows of part of a block"))?;
    let pieces = pieces(found.place.cut, stored.bytes.len() / row.max(1));
    let wanted: usize = pieces.iter().map(|(_, count)| count).sum();
    let inside = pieces.iter().all(|(first, count)| {
        let end = first.checked_add(*count).and_then(|end| end.checked_mul(row));
        end.is_some_and(|end| end <= stored.bytes.len())
    });
    let [outputs, inner] = found.shape;
    if !inside || wanted.checked_mul(width) != outputs.checked_mul(inner) {
        return Err(wrong("has other rows than are wanted of it"));
    }
    for (first, count) in &pieces {
        let bytes = &stored.bytes[first * row..(first + count) * row];
        if let Some(at) = scan::not_finite(stored.dtype, bytes) {
            return Err(not_finite(stored, first * width + at));
        }
    }
    let laid = |dtype, bytes| Laid { dtype, shape: found.shape, bytes };
    if found.place.transposed {
        let band = pieces.first().map_or(0, |(_, count)| *count);
        let (dtype, bytes) = gathered(stored, &pieces, row).turnable();
        return Ok(laid(dtype, Span::owned(turned(&bytes, [band, width], dtype.block_bytes()))));
    }
    if let [(first, count)] = pieces[..] {
        let span = stored.span(first * row, (first + count) * row);
        return Ok(laid(stored.dtype, span.ok_or_else(|| wrong("ends before its rows"))?));
    }
    Ok(laid(stored.dtype, Span::owned(gathered(stored, &pieces, row).bytes)))
}

/// The pieces of a cut of `rows` rows, in the order in which they are computed with.
fn pieces(cut: Cut, rows: usize) -> Vec<Piece> {
    match cut {
        Cut::All => vec![(0, rows)],
        Cut::Range { first, count } => vec![(first, count)],
        Cut::Bands { bands, height, first, count } => {
            (0..bands).map(|band| (band * height + first, count)).collect()
        }
        Cut::Paired { height } => {
            let half = height / 2;
            let within = (0..half).map(|i| 2 * i).chain((0..half).map(|i| 2 * i + 1));
            let heads = rows.checked_div(height).unwrap_or(0);
            (0..heads).flat_map(|head| within.clone().map(move |row| (head * height + row, 1))).collect()
        }
    }
}

/// Rows copied together.
struct Gathered<'a> {
    stored: &'a Stored<'a>,
    bytes: Vec<u8>,
}

fn gathered<'a>(stored: &'a Stored<'a>, pieces: &[Piece], row: usize) -> Gathered<'a> {
    let mut bytes = Vec::with_capacity(pieces.iter().map(|(_, count)| count * row).sum());
    for (first, count) in pieces {
        bytes.extend_from_slice(&stored.bytes[first * row..(first + count) * row]);
    }
    Gathered { stored, bytes }
}

impl Gathered<'_> {
    /// The same in a type of which every value stands by itself: blocks are widened, which is exact.
    fn turnable(self) -> (ElementType, Vec<u8>) {
        let dtype = self.stored.dtype;
        if dtype.is_float() {
            return (dtype, self.bytes);
        }
        let mut values = vec![0f32; self.bytes.len() / dtype.block_bytes() * dtype.block_values()];
        widen(dtype, &self.bytes, &mut values);
        (ElementType::F32, values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }
}

/// Every band of `[rows, width]` values turned to `[width, rows]`.
fn turned(bytes: &[u8], [rows, width]: [usize; 2], value: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    for band in bytes.chunks_exact((rows * width * value).max(1)) {
        for column in 0..width {
            for row in 0..rows {
                let at = (row * width + column) * value;
                out.extend_from_slice(&band[at..at + value]);
            }
        }
    }
    out
}

fn not_finite(stored: &Stored<'_>, index: usize) -> LoadError {
    LoadError::NonFinite { file: stored.path.to_path_buf(), tensor: stored.name.to_owned(), index }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paired_rows_are_taken_apart_into_halves() {
        let rows: Vec<usize> = pieces(Cut::Paired { height: 4 }, 8).iter().map(|(row, _)| *row).collect();
        assert_eq!(rows, [0, 2, 1, 3, 4, 6, 5, 7]);
    }

    #[test]
    fn bands_name_the_same_rows_of_each() {
        assert_eq!(pieces(Cut::Bands { bands: 2, height: 5, first: 3, count: 2 }, 10), [(3, 2), (8, 2)]);
    }

    #[test]
    fn each_band_is_turned_by_itself() {
        assert_eq!(turned(&[1, 2, 3, 4, 5, 6, 7, 8], [2, 2], 1), [1, 3, 2, 4, 5, 7, 6, 8]);
        assert_eq!(turned(&[1, 1, 2, 2, 3, 3], [1, 3], 2), [1, 1, 2, 2, 3, 3]);
        assert_eq!(turned(&[1, 1, 2, 2, 3, 3, 4, 4], [2, 2], 2), [1, 1, 3, 3, 2, 2, 4, 4]);
    }
}
