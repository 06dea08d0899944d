//! One expert as it lies in files: three matrices, each a contiguous range of bytes of one file.

use crate::dtype::ElementType;
use crate::error::LoadError;
use crate::expert::ExpertPart;
use crate::names::Cut;
use crate::weights::{Located, Stored, malformed};

/// The bytes of one expert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard<'a> {
    /// Gate, up and down, in the order of [`Role::ALL`](crate::Role::ALL).
    pub parts: [ShardPart<'a>; 3],
}

/// One matrix of an expert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardPart<'a> {
    /// Its file, numbered as in [`Checkpoint::files`](crate::Checkpoint::files).
    pub file: usize,
    /// Its first byte in that file.
    pub offset: u64,
    /// Its element type.
    pub dtype: ElementType,
    /// Rows of the matrix as it is computed with.
    pub outputs: usize,
    /// Values of such a row.
    pub inner: usize,
    /// Whether the bytes hold the columns, `(inner, outputs)`.
    pub transposed: bool,
    /// Its bytes.
    pub bytes: &'a [u8],
}

impl Shard<'_> {
    /// At most so many of its bytes, gate ‖ up ‖ down, from one of them on.
    #[must_use]
    pub fn copy(&self, from: u64, length: usize) -> Vec<u8> {
        let mut out = Vec::new();
        let mut skip = usize::try_from(from).unwrap_or(usize::MAX);
        for part in &self.parts {
            let bytes = part.bytes.get(skip..).unwrap_or_default();
            skip = skip.saturating_sub(part.bytes.len());
            let left = length - out.len();
            out.extend_from_slice(bytes.get(..left.min(bytes.len())).unwrap_or_default());
        }
        out
    }

    /// Bytes of the three matrices.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.parts.iter().map(|part| u64::try_from(part.bytes.len()).unwrap_or(u64::MAX)).sum()
    }

    /// Whether there is no byte; never so for an expert of a model.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<'a> ShardPart<'a> {
    /// Takes a matrix of an expert where it was found.
    pub(crate) fn of(found: &Located<'a>) -> Result<Self, LoadError> {
        let stored = &found.stored;
        let not_one = |reason: &str| malformed(stored.path, format!("tensor {} {reason}", stored.name));
        let width = stored.shape.last().copied().unwrap_or(1);
        let row = stored.dtype.row_bytes(width).ok_or_else(|| not_one("has rows of part of a block"))?;
        let range = match found.place.cut {
            Cut::All => Some(0..stored.bytes.len()),
            Cut::Range { first, count } => {
                let ends = first.checked_mul(row).zip(count.checked_mul(row));
                ends.and_then(|(from, len)| Some(from..from.checked_add(len)?))
            }
            Cut::Bands { .. } | Cut::Paired { .. } => None,
        };
        let range = range.ok_or_else(|| not_one("does not keep an expert in one piece"))?;
        let from = range.start;
        let bytes = stored.bytes.get(range).ok_or_else(|| not_one("ends before the expert's rows"))?;
        let [outputs, inner] = found.shape;
        Ok(Self {
            file: stored.file,
            offset: u64::try_from(stored.offset + from).unwrap_or(u64::MAX),
            dtype: stored.dtype,
            outputs,
            inner,
            transposed: found.place.transposed,
            bytes,
        })
    }

    /// The same with its bytes kept alive.
    pub(crate) fn kept(&self, stored: &Stored<'_>) -> Result<ExpertPart, LoadError> {
        let from = usize::try_from(self.offset).unwrap_or(usize::MAX).saturating_sub(stored.offset);
        let bytes = stored.span(from, from.saturating_add(self.bytes.len()));
        let bytes =
            bytes.ok_or_else(|| malformed(stored.path, format!("tensor {} ends early", stored.name)))?;
        Ok(ExpertPart {
            path: stored.path.to_path_buf(),
            name: stored.name.to_owned(),
            dtype: self.dtype,
            shape: [self.outputs, self.inner],
            transposed: self.transposed,
            before: from / self.dtype.block_bytes() * self.dtype.block_values(),
            bytes,
        })
    }
}
