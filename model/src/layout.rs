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
use crate::kernel::{self, Path};
use crate::mapping::Span;
use crate::names::Cut;
use crate::quant;
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
    let ends = || wrong("ends before its rows");
    let piece = |first: usize, count: usize| stored.span(first * row, (first + count) * row).ok_or_else(ends);
    let finite = |bytes: &Span, first: usize| match quant::first_non_finite(stored.dtype, bytes.bytes()) {
        None => Ok(()),
        Some(at) => Err(not_finite(stored, first * width + at)),
    };
    let bytes = if let [(first, count)] = pieces[..] {
        let bytes = piece(first, count)?;
        bytes.warm();
        finite(&bytes, first)?;
        bytes
    } else {
        for (first, count) in &pieces {
            let bytes = piece(*first, *count)?;
            bytes.warm();
            finite(&bytes, *first)?;
        }
        Span::owned(gathered(stored, &pieces, row))
    };
    if found.place.transposed {
        let laid = Laid { dtype: stored.dtype, shape: [wanted, width], bytes };
        let laid = laid.turned(pieces.first().map_or(0, |(_, count)| *count));
        return Ok(Laid { shape: found.shape, ..laid });
    }
    Ok(Laid { dtype: stored.dtype, shape: found.shape, bytes })
}

impl Laid {
    /// Every band of `height` rows turned, so that its columns are rows.
    pub(crate) fn turned(self, height: usize) -> Self {
        let [rows, width] = self.shape;
        let (dtype, bytes) = if self.dtype.is_float() {
            (self.dtype, turned(self.bytes.bytes(), [height, width], self.dtype.block_bytes()))
        } else {
            let mut values = vec![0.0; rows * width];
            kernel::widen(Path::widest(), (self.dtype, self.bytes.bytes(), &mut values));
            let bytes: Vec<u8> = values.into_iter().flat_map(f32::to_le_bytes).collect();
            (ElementType::F32, turned(&bytes, [height, width], size_of::<f32>()))
        };
        let bands = rows.checked_div(height).unwrap_or(0);
        Self { dtype, shape: [bands * width, height], bytes: Span::owned(bytes) }
    }
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

/// Copies rows together.
fn gathered(stored: &Stored<'_>, pieces: &[Piece], row: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(pieces.iter().map(|(_, count)| count * row).sum());
    for (first, count) in pieces {
        bytes.extend_from_slice(&stored.bytes[first * row..(first + count) * row]);
    }
    bytes
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
