//! Writing a file: first all of its head, then one tensor after the other as their bytes come.

use std::collections::BTreeSet;
use std::io::{self, Write};

use super::table::number;
use super::value::Kind;
use super::{DEFAULT_ALIGNMENT, MAGIC};
use crate::dtype::ElementType;
use crate::manifest::wide;

/// Why a file was not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A tensor's rows are no whole blocks, or it has no dimension, or too many values to count.
    #[error("a tensor of shape {shape:?} cannot be stored as {}", dtype.name())]
    Shape {
        /// The shape.
        shape: Vec<usize>,
        /// The type.
        dtype: ElementType,
    },
    /// Two tensors or two settings of one name.
    #[error("{0} is there twice")]
    Twice(String),
    /// More bytes than the outline's tensors have.
    #[error("more bytes than all tensors have")]
    TooMany,
    /// Fewer bytes than the outline's tensors have.
    #[error("the bytes end inside tensor {0}")]
    TooFew(String),
}

/// The value of a setting to be written.
#[derive(Debug, Clone, PartialEq)]
pub enum Setting {
    /// 32 unsigned bits.
    U32(u32),
    /// A single.
    Single(f32),
    /// True or false.
    Flag(bool),
    /// A text.
    Text(String),
    /// Texts.
    Texts(Vec<String>),
    /// Singles.
    Singles(Vec<f32>),
    /// Signed integers of 32 bits.
    Integers(Vec<i32>),
}

/// What a file will hold.
#[derive(Debug, Clone, Default)]
pub struct Outline {
    settings: Vec<(String, Setting)>,
    tensors: Vec<Planned>,
    names: BTreeSet<String>,
}

#[derive(Debug, Clone)]
struct Planned {
    name: String,
    shape: Vec<usize>,
    dtype: ElementType,
    bytes: usize,
}

impl Outline {
    /// Nothing yet but the architecture.
    #[must_use]
    pub fn new(architecture: &str) -> Self {
        let mut outline = Self::default();
        outline.settings.push(("general.architecture".to_owned(), Setting::Text(architecture.to_owned())));
        outline
    }

    /// Adds a setting.
    ///
    /// # Errors
    /// [`WriteError::Twice`].
    pub fn set(&mut self, key: &str, value: Setting) -> Result<(), WriteError> {
        if self.settings.iter().any(|(other, _)| other == key) {
            return Err(WriteError::Twice(key.to_owned()));
        }
        self.settings.push((key.to_owned(), value));
        Ok(())
    }

    /// Adds a tensor, its shape with the outermost dimension first, and tells its bytes.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn tensor(&mut self, name: &str, shape: &[usize], dtype: ElementType) -> Result<usize, WriteError> {
        let rows = shape
            .split_last()
            .map(|(row, outer)| (row, outer.iter().try_fold(1usize, |n, d| n.checked_mul(*d))));
        let bytes =
            rows.and_then(|(row, rows)| dtype.row_bytes(*row)?.checked_mul(rows?)).filter(|bytes| *bytes > 0);
        let Some(bytes) = bytes else {
            return Err(WriteError::Shape { shape: shape.to_vec(), dtype });
        };
        if !self.names.insert(name.to_owned()) {
            return Err(WriteError::Twice(name.to_owned()));
        }
        self.tensors.push(Planned { name: name.to_owned(), shape: shape.to_vec(), dtype, bytes });
        Ok(bytes)
    }

    /// Writes the head. The bytes of the tensors follow in the order in which they were added.
    ///
    /// # Errors
    /// [`WriteError::Io`].
    pub fn begin<W: Write>(self, mut out: W) -> Result<Writer<W>, WriteError> {
        let mut head = MAGIC.to_vec();
        head.extend(3u32.to_le_bytes());
        head.extend(wide(self.tensors.len()).to_le_bytes());
        head.extend(wide(self.settings.len()).to_le_bytes());
        for (key, value) in &self.settings {
            put_text(&mut head, key);
            put(&mut head, value);
        }
        let mut offset = 0;
        for tensor in &self.tensors {
            put_text(&mut head, &tensor.name);
            head.extend(u32::try_from(tensor.shape.len()).unwrap_or(u32::MAX).to_le_bytes());
            for dimension in tensor.shape.iter().rev() {
                head.extend(wide(*dimension).to_le_bytes());
            }
            head.extend(number(tensor.dtype).to_le_bytes());
            head.extend(wide(offset).to_le_bytes());
            offset += tensor.bytes.next_multiple_of(DEFAULT_ALIGNMENT);
        }
        head.resize(head.len().next_multiple_of(DEFAULT_ALIGNMENT), 0);
        out.write_all(&head)?;
        let ahead: Vec<(String, usize)> = self.tensors.into_iter().rev().map(|t| (t.name, t.bytes)).collect();
        Ok(Writer { out, ahead, written: 0 })
    }
}

/// Takes the bytes of tensors.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    /// The tensors not yet complete, the next one last.
    ahead: Vec<(String, usize)>,
    /// Bytes of the next one that are written.
    written: usize,
}

impl<W: Write> Writer<W> {
    /// Writes the next bytes; they may end in the middle of a tensor, and reach over several.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn write(&mut self, mut bytes: &[u8]) -> Result<(), WriteError> {
        while !bytes.is_empty() {
            let size = self.ahead.last().map(|(_, size)| *size).ok_or(WriteError::TooMany)?;
            let (now, later) = bytes.split_at(bytes.len().min(size - self.written));
            self.out.write_all(now)?;
            self.written += now.len();
            bytes = later;
            if self.written == size {
                let padding = size.next_multiple_of(DEFAULT_ALIGNMENT) - size;
                self.out.write_all(&vec![0; padding])?;
                self.ahead.pop();
                self.written = 0;
            }
        }
        Ok(())
    }

    /// Ends the file and gives back what it was written to.
    ///
    /// # Errors
    /// [`WriteError::TooFew`] where a tensor is not complete.
    pub fn finish(mut self) -> Result<W, WriteError> {
        if let Some((name, _)) = self.ahead.pop() {
            return Err(WriteError::TooFew(name));
        }
        self.out.flush()?;
        Ok(self.out)
    }
}

fn put(head: &mut Vec<u8>, value: &Setting) {
    let kind = |kind: Kind| kind.number().to_le_bytes();
    match value {
        Setting::U32(v) => head.extend(kind(Kind::U32).into_iter().chain(v.to_le_bytes())),
        Setting::Single(v) => head.extend(kind(Kind::Single).into_iter().chain(v.to_le_bytes())),
        Setting::Flag(v) => head.extend(kind(Kind::Flag).into_iter().chain([u8::from(*v)])),
        Setting::Text(text) => {
            head.extend(kind(Kind::Text));
            put_text(head, text);
        }
        Setting::Texts(texts) => {
            put_array(head, Kind::Text, texts.len());
            texts.iter().for_each(|text| put_text(head, text));
        }
        Setting::Singles(values) => {
            put_array(head, Kind::Single, values.len());
            head.extend(values.iter().flat_map(|v| v.to_le_bytes()));
        }
        Setting::Integers(values) => {
            put_array(head, Kind::I32, values.len());
            head.extend(values.iter().flat_map(|v| v.to_le_bytes()));
        }
    }
}

fn put_array(head: &mut Vec<u8>, kind: Kind, count: usize) {
    head.extend(Kind::Array.number().to_le_bytes());
    head.extend(kind.number().to_le_bytes());
    head.extend(wide(count).to_le_bytes());
}

fn put_text(head: &mut Vec<u8>, text: &str) {
    head.extend(wide(text.len()).to_le_bytes());
    head.extend(text.as_bytes());
}
