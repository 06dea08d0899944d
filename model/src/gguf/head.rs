//! The head of a file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use counterfoil_spec::limits::{MAX_GGUF_ALIGNMENT, MAX_GGUF_HEADER_BYTES};

use super::DEFAULT_ALIGNMENT;
use super::reader::Reader;
use super::table::Entry;
use super::value::{Array, Value};
use crate::error::LoadError;

/// The head of a file: its settings, borrowed from the bytes, and its tensor table.
#[derive(Debug)]
pub struct Gguf<'a> {
    path: PathBuf,
    settings: BTreeMap<&'a str, Value<'a>>,
    tensors: Vec<Entry>,
}

impl<'a> Gguf<'a> {
    /// Reads the head of a whole file.
    ///
    /// # Errors
    /// [`LoadError`] names the file, the key or tensor, and the reason. What a tensor's type is does not matter here.
    pub fn parse(path: &Path, bytes: &'a [u8]) -> Result<Self, LoadError> {
        //= spec/model.md#weights
        //# A header of more than 32 MiB MUST be refused before it is parsed, and every length and offset in it MUST be
        //# compared with the file before it is used.
        let head = bytes.get(..MAX_GGUF_HEADER_BYTES).unwrap_or(bytes);
        let mut reader = Reader { path, whole: bytes.len(), head, at: 0 };
        let (tensors, settings) = reader.counts()?;
        let settings = reader.settings(settings)?;
        let rows = reader.rows(tensors)?;
        let mut this = Self { path: path.to_path_buf(), settings, tensors: Vec::new() };
        let alignment = this.alignment()?;
        let start = reader.at.next_multiple_of(alignment);
        this.tensors =
            rows.into_iter().map(|row| row.placed(&reader, start, alignment)).collect::<Result<_, _>>()?;
        this.refuse_overlaps(bytes.len())?;
        Ok(this)
    }

    /// The file, as it was named.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The tensors in the order of the file's table.
    #[must_use]
    pub fn tensors(&self) -> &[Entry] {
        &self.tensors
    }

    /// The tensors, owned.
    #[must_use]
    pub fn into_tensors(self) -> Vec<Entry> {
        self.tensors
    }

    /// The keys of all settings, ascending.
    pub fn keys(&self) -> impl Iterator<Item = &'a str> {
        self.settings.keys().copied()
    }

    /// The value of a setting.
    #[must_use]
    pub fn setting(&self, key: &str) -> Option<Value<'a>> {
        self.settings.get(key).copied()
    }

    /// A setting that is a text.
    ///
    /// # Errors
    /// [`LoadError::Malformed`] where it is something else; so with the other kinds below.
    pub fn text(&self, key: &str) -> Result<Option<&'a str>, LoadError> {
        self.expected(key, "a text", |value| if let Value::Text(text) = value { Some(text) } else { None })
    }

    /// A setting that is an integer and not negative.
    ///
    /// # Errors
    /// As [`Self::text`].
    pub fn unsigned(&self, key: &str) -> Result<Option<u64>, LoadError> {
        self.expected(key, "a whole number", |value| value.unsigned())
    }

    /// A setting that is a float.
    ///
    /// # Errors
    /// As [`Self::text`].
    pub fn float(&self, key: &str) -> Result<Option<f64>, LoadError> {
        self.expected(key, "a float", |value| value.float())
    }

    /// A setting that is true or false.
    ///
    /// # Errors
    /// As [`Self::text`].
    pub fn flag(&self, key: &str) -> Result<Option<bool>, LoadError> {
        self.expected(
            key,
            "true or false",
            |value| if let Value::Flag(flag) = value { Some(flag) } else { None },
        )
    }

    /// A setting that is an array.
    ///
    /// # Errors
    /// As [`Self::text`].
    pub fn array(&self, key: &str) -> Result<Option<Array<'a>>, LoadError> {
        self.expected(
            key,
            "an array",
            |value| if let Value::Array(array) = value { Some(array) } else { None },
        )
    }

    fn expected<T>(
        &self,
        key: &str,
        what: &str,
        read: impl Fn(Value<'a>) -> Option<T>,
    ) -> Result<Option<T>, LoadError> {
        let Some(value) = self.setting(key) else { return Ok(None) };
        read(value).map(Some).ok_or_else(|| self.malformed(format!("{key} is not {what}")))
    }

    /// What is wrong with the file.
    pub(crate) fn malformed(&self, reason: String) -> LoadError {
        LoadError::Malformed { file: self.path.clone(), reason }
    }

    fn alignment(&self) -> Result<usize, LoadError> {
        let Some(found) = self.unsigned("general.alignment")? else { return Ok(DEFAULT_ALIGNMENT) };
        let alignment =
            usize::try_from(found).ok().filter(|a| *a <= MAX_GGUF_ALIGNMENT && a.is_power_of_two());
        alignment.ok_or_else(|| {
            self.malformed(format!(
                "general.alignment {found} is not a power of two up to {MAX_GGUF_ALIGNMENT}"
            ))
        })
    }

    /// Also gives tensors of unknown size the bytes up to what follows.
    fn refuse_overlaps(&mut self, whole: usize) -> Result<(), LoadError> {
        let mut order: Vec<&mut Entry> = self.tensors.iter_mut().collect();
        order.sort_by_key(|entry| (entry.offset, entry.bytes));
        let mut next: Option<(usize, String)> = None;
        let mut overlap = None;
        for entry in order.into_iter().rev() {
            let limit = next.as_ref().map_or(whole, |(offset, _)| *offset);
            if entry.stored.block().is_none() {
                entry.bytes = limit - entry.offset;
            }
            if entry.offset + entry.bytes > limit {
                let other = next.map(|(_, name)| name).unwrap_or_default();
                overlap = Some(format!("tensors {} and {other} overlap", entry.name));
                break;
            }
            next = Some((entry.offset, entry.name.clone()));
        }
        overlap.map_or(Ok(()), |reason| Err(self.malformed(reason)))
    }
}
