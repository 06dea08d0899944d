//! Reading a file's head from its first byte to its last, with every count compared with what is left.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use counterfoil_spec::limits::{
    MAX_GGUF_DEPTH, MAX_GGUF_DIMENSIONS, MAX_GGUF_HEADER_BYTES, MAX_GGUF_KEY_BYTES, MAX_GGUF_NAME_BYTES,
    MAX_GGUF_SETTINGS, MAX_GGUF_TENSORS,
};

use super::MAGIC;
use super::table::{Entry, Stored};
use super::value::{Array, Kind, Value};
use crate::error::LoadError;
use crate::manifest::wide;

/// One row of the tensor table, not yet placed in the file.
pub(super) struct Row<'a> {
    name: &'a str,
    shape: Vec<usize>,
    stored: Stored,
    offset: u64,
}

impl Row<'_> {
    pub(super) fn placed(
        self,
        reader: &Reader<'_, '_>,
        start: usize,
        alignment: usize,
    ) -> Result<Entry, LoadError> {
        let wrong = |reason: String| reader.malformed(format!("tensor {}: {reason}", self.name));
        let values = self.shape.iter().try_fold(1usize, |all, dimension| all.checked_mul(*dimension));
        let bytes = match (self.stored.block(), self.shape.last(), values) {
            (_, _, None) | (_, None, _) => None,
            (None, ..) => Some(0),
            (Some((block, _)), Some(row), _) if !row.is_multiple_of(block) => {
                return Err(wrong(format!("rows of {row} values are no whole blocks of {block}")));
            }
            (Some((block, size)), _, Some(values)) => (values / block).checked_mul(size),
        };
        let bytes = bytes.ok_or_else(|| wrong(format!("shape {:?} is too large to count", self.shape)))?;
        if !self.offset.is_multiple_of(wide(alignment)) {
            return Err(wrong(format!("offset {} is no multiple of {alignment}", self.offset)));
        }
        let offset = usize::try_from(self.offset).ok().and_then(|offset| start.checked_add(offset));
        let end = offset.and_then(|offset| offset.checked_add(bytes));
        let (Some(offset), Some(end)) = (offset, end) else {
            return Err(wrong(format!("offset {} is too large to count", self.offset)));
        };
        if end > reader.whole {
            return Err(wrong(format!("ends at byte {end} of a file of {}", reader.whole)));
        }
        Ok(Entry { name: self.name.to_owned(), shape: self.shape, stored: self.stored, offset, bytes })
    }
}

pub(super) struct Reader<'a, 'p> {
    pub(super) path: &'p Path,
    /// Bytes of the whole file.
    pub(super) whole: usize,
    /// The bytes in which the head must lie.
    pub(super) head: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Reader<'a, '_> {
    fn malformed(&self, reason: String) -> LoadError {
        LoadError::Malformed { file: self.path.to_path_buf(), reason }
    }

    fn too_large(&self, what: &'static str, found: u64, limit: usize) -> LoadError {
        let limit = wide(limit);
        LoadError::TooLarge { file: self.path.to_path_buf(), what, found, limit }
    }

    /// The head goes on where there is no more of it: past the file, or past what a head may have.
    fn ends(&self, reason: String) -> LoadError {
        if self.head.len() < self.whole {
            return self.too_large("bytes of header", wide(self.whole), MAX_GGUF_HEADER_BYTES);
        }
        self.malformed(reason)
    }

    fn left(&self) -> usize {
        self.head.len() - self.at
    }

    fn take(&mut self, count: usize, what: &str) -> Result<&'a [u8], LoadError> {
        let taken = self.at.checked_add(count).and_then(|end| self.head.get(self.at..end));
        let Some(taken) = taken else {
            if self.head.len() < self.whole {
                let whole = wide(self.whole);
                return Err(self.too_large("bytes of header", whole, MAX_GGUF_HEADER_BYTES));
            }
            return Err(self.malformed(format!("the file ends inside {what}, at byte {}", self.whole)));
        };
        self.at += count;
        Ok(taken)
    }

    fn u32(&mut self, what: &str) -> Result<u32, LoadError> {
        let bytes = self.take(4, what)?;
        Ok(bytes.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes)))
    }

    fn u64(&mut self, what: &str) -> Result<u64, LoadError> {
        let bytes = self.take(8, what)?;
        Ok(bytes.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes)))
    }

    /// A count of things of at least `least` bytes each, that are all still to come.
    fn count(&mut self, what: &'static str, least: usize, limit: usize) -> Result<usize, LoadError> {
        let found = self.u64(what)?;
        let count = usize::try_from(found).unwrap_or(usize::MAX);
        if count > limit {
            return Err(self.too_large(what, found, limit));
        }
        if count.checked_mul(least).is_none_or(|bytes| bytes > self.left()) {
            return Err(self.ends(format!("{found} {what} do not fit the {} bytes left", self.left())));
        }
        Ok(count)
    }

    fn text(&mut self, what: &'static str, limit: usize) -> Result<&'a [u8], LoadError> {
        let length = self.count(what, 1, limit)?;
        self.take(length, what)
    }

    fn name(&mut self, what: &'static str, limit: usize) -> Result<&'a str, LoadError> {
        let bytes = self.text(what, limit)?;
        let name = std::str::from_utf8(bytes).ok().filter(|name| !name.is_empty());
        name.ok_or_else(|| {
            let shown: String = String::from_utf8_lossy(bytes).chars().take(40).collect();
            self.malformed(format!("{shown:?} is no name ({what})"))
        })
    }

    pub(super) fn counts(&mut self) -> Result<(usize, usize), LoadError> {
        if self.take(4, "the magic")? != MAGIC {
            return Err(self.malformed("the file does not begin with GGUF".to_owned()));
        }
        let version = self.u32("the version")?;
        let unsupported = |found: String| LoadError::Unsupported {
            file: self.path.to_path_buf(),
            key: "version",
            found,
            expected: "little-endian 2 or 3".to_owned(),
        };
        match version {
            2 | 3 => {}
            _ if matches!(version.swap_bytes(), 1..=3) => {
                return Err(unsupported(format!("big-endian {}", version.swap_bytes())));
            }
            _ => return Err(unsupported(version.to_string())),
        }
        Ok((
            self.count("tensors", LEAST_TENSOR_BYTES, MAX_GGUF_TENSORS)?,
            self.count("settings", LEAST_SETTING_BYTES, MAX_GGUF_SETTINGS)?,
        ))
    }

    pub(super) fn settings(&mut self, count: usize) -> Result<BTreeMap<&'a str, Value<'a>>, LoadError> {
        let mut settings = BTreeMap::new();
        for _ in 0..count {
            let key = self.name("bytes of a key", MAX_GGUF_KEY_BYTES)?;
            let kind = self.kind(key)?;
            let value = self.value(key, kind)?;
            if settings.insert(key, value).is_some() {
                return Err(self.malformed(format!("{key} is set twice")));
            }
        }
        Ok(settings)
    }

    fn kind(&mut self, key: &str) -> Result<Kind, LoadError> {
        let number = self.u32(key)?;
        Kind::of(number).ok_or_else(|| self.malformed(format!("{key} has the unknown type {number}")))
    }

    fn value(&mut self, key: &str, kind: Kind) -> Result<Value<'a>, LoadError> {
        match kind.size() {
            Some(size) => {
                let bytes = self.take(size, key)?;
                kind.scalar(bytes).ok_or_else(|| self.malformed(format!("{key} is neither true nor false")))
            }
            None if kind == Kind::Array => self.array(key, MAX_GGUF_DEPTH).map(Value::Array),
            None => {
                let bytes = self.text("bytes of a text", usize::MAX)?;
                let text = std::str::from_utf8(bytes);
                text.map(Value::Text).map_err(|_| self.malformed(format!("{key} is not UTF-8")))
            }
        }
    }

    /// Goes over an array and all that lies in it.
    fn array(&mut self, key: &str, depth: usize) -> Result<Array<'a>, LoadError> {
        if depth == 0 {
            return Err(self.malformed(format!("{key} is nested deeper than {MAX_GGUF_DEPTH}")));
        }
        let kind = self.kind(key)?;
        let count = self.count("values in an array", kind.least(), usize::MAX)?;
        let from = self.at;
        match kind.size() {
            Some(size) => {
                self.take(count * size, key)?;
            }
            None => {
                for _ in 0..count {
                    if kind == Kind::Array {
                        self.array(key, depth - 1)?;
                    } else {
                        self.text("bytes of a text", usize::MAX)?;
                    }
                }
            }
        }
        Ok(Array { kind, count, bytes: self.head.get(from..self.at).unwrap_or_default() })
    }

    pub(super) fn rows(&mut self, count: usize) -> Result<Vec<Row<'a>>, LoadError> {
        // At most as many as the bytes left allow.
        let mut rows = Vec::with_capacity(count);
        let mut names = BTreeSet::new();
        for _ in 0..count {
            let row = self.row()?;
            if !names.insert(row.name) {
                return Err(self.malformed(format!("tensor {} is there twice", row.name)));
            }
            rows.push(row);
        }
        Ok(rows)
    }

    fn row(&mut self) -> Result<Row<'a>, LoadError> {
        let name = self.name("bytes of a tensor's name", MAX_GGUF_NAME_BYTES)?;
        let dimensions = self.u32(name)?;
        let count = usize::try_from(dimensions).unwrap_or(usize::MAX);
        if count == 0 || count > MAX_GGUF_DIMENSIONS {
            return Err(self.malformed(format!("tensor {name} has {dimensions} dimensions")));
        }
        let mut shape = Vec::with_capacity(count);
        for _ in 0..count {
            let found = self.u64(name)?;
            let dimension = usize::try_from(found).ok().filter(|dimension| *dimension > 0);
            shape.push(
                dimension
                    .ok_or_else(|| self.malformed(format!("tensor {name} has a dimension of {found}")))?,
            );
        }
        shape.reverse();
        let stored = Stored::of(self.u32(name)?);
        Ok(Row { name, shape, stored, offset: self.u64(name)? })
    }
}

/// A name of one byte, one dimension, a type and an offset.
const LEAST_TENSOR_BYTES: usize = 9 + 4 + 8 + 4 + 8;
/// A key of one byte, a type and a byte.
const LEAST_SETTING_BYTES: usize = 9 + 4 + 1;
