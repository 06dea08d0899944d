//! The tensors of a model's files by name, whatever the container: what lies where, in which type and shape.
//!
//! A container's reader gives a [`Container`]; here they become one table, which is checked as a whole before any
//! tensor is looked at: lengths against shapes, ends against the file, no name twice.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::config::ModelConfig;
use crate::dtype::ElementType;
use crate::error::LoadError;
use crate::mapping::{Mapping, Span};
use crate::names::{Naming, Place, Tensor};

/// One weights file and the tensors that its header lists.
pub(crate) struct Container {
    /// Its path, for what is wrong with it.
    pub(crate) path: PathBuf,
    /// All of its bytes.
    pub(crate) mapping: Mapping,
    /// Name and place of each tensor.
    pub(crate) tensors: Vec<(String, Entry)>,
}

/// One tensor as a header lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Its element type, or the name of one that is not computed with.
    pub(crate) dtype: Result<ElementType, String>,
    /// Its shape, outermost dimension first.
    pub(crate) shape: Vec<usize>,
    /// Its first byte in the file.
    pub(crate) offset: usize,
    /// How many bytes it has.
    pub(crate) len: usize,
}

/// The tensors of one checkpoint.
pub(crate) struct Weights {
    files: Vec<(PathBuf, Mapping)>,
    by_name: BTreeMap<String, (usize, Entry)>,
    /// The file that lists the tensors, for what a missing one is told with.
    listing: PathBuf,
}

/// One tensor as it lies in its file.
pub(crate) struct Stored<'a> {
    /// Its file, numbered as in [`Weights::files`].
    pub(crate) file: usize,
    /// The path of that file.
    pub(crate) path: &'a Path,
    /// Its name there.
    pub(crate) name: &'a str,
    /// Its element type.
    pub(crate) dtype: ElementType,
    /// Its shape, outermost dimension first.
    pub(crate) shape: &'a [usize],
    /// Its first byte in the file.
    pub(crate) offset: usize,
    /// Its bytes.
    pub(crate) bytes: &'a [u8],
    mapping: &'a Mapping,
}

/// A tensor that was looked for, found, and of the shape that the configuration gives it.
pub(crate) struct Located<'a> {
    /// The stored tensor of which it is all or a part.
    pub(crate) stored: Stored<'a>,
    /// Which part.
    pub(crate) place: Place,
    /// `(outputs, inner)` as it is computed with.
    pub(crate) shape: [usize; 2],
}

impl Weights {
    /// Makes one table of several files.
    pub(crate) fn of_files(files: Vec<Container>, listing: PathBuf) -> Result<Self, LoadError> {
        let mut by_name: BTreeMap<String, (usize, Entry)> = BTreeMap::new();
        for (at, file) in files.iter().enumerate() {
            for (name, entry) in &file.tensors {
                entry.check(name, file)?;
                if let Some((other, _)) = by_name.insert(name.clone(), (at, entry.clone())) {
                    let other = files.get(other).map(|f| f.path.display().to_string()).unwrap_or_default();
                    return Err(malformed(&file.path, format!("tensor {name} is also in {other}")));
                }
            }
        }
        let files = files.into_iter().map(|file| (file.path, file.mapping)).collect();
        Ok(Self { files, by_name, listing })
    }

    /// The files, with how many bytes each has.
    pub(crate) fn files(&self) -> impl ExactSizeIterator<Item = (&Path, usize)> {
        self.files.iter().map(|(path, mapping)| (path.as_path(), mapping.bytes().len()))
    }

    /// Lets this process's hold of all files' pages go.
    pub(crate) fn let_go(&self) {
        let all = |mapping: &Mapping| mapping.span(0..mapping.bytes().len());
        self.files.iter().filter_map(|(_, mapping)| all(mapping)).for_each(|span| span.let_go());
    }

    /// The file that lists the tensors.
    pub(crate) fn listing(&self) -> &Path {
        &self.listing
    }

    /// The names of all tensors, ascending.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }

    /// Whether a tensor of this name is stored.
    pub(crate) fn has(&self, tensor: &str) -> bool {
        self.by_name.contains_key(tensor)
    }

    /// Whether a tensor of this name is stored in this file.
    pub(crate) fn has_in(&self, tensor: &str, path: &Path) -> bool {
        let file = self.by_name.get(tensor).and_then(|(file, _)| self.files.get(*file));
        file.is_some_and(|(found, _)| found == path)
    }

    /// One tensor as it is stored, whatever its shape.
    pub(crate) fn find(&self, tensor: &str) -> Result<Stored<'_>, LoadError> {
        let missing = || LoadError::TensorMissing { file: self.listing.clone(), tensor: tensor.to_owned() };
        let (name, (file, entry)) = self.by_name.get_key_value(tensor).ok_or_else(missing)?;
        let (path, mapping) = self.files.get(*file).ok_or_else(missing)?;
        let dtype = entry.dtype.clone().map_err(|found| LoadError::TensorType {
            file: path.clone(),
            tensor: tensor.to_owned(),
            found,
        })?;
        let bytes = mapping.bytes().get(entry.offset..entry.offset + entry.len).ok_or_else(missing)?;
        let (file, offset, shape) = (*file, entry.offset, entry.shape.as_slice());
        Ok(Stored { file, path, name, dtype, shape, offset, bytes, mapping })
    }

    /// Looks for a tensor in the places where this naming keeps it.
    pub(crate) fn locate(
        &self,
        config: &ModelConfig,
        naming: Naming,
        tensor: Tensor,
    ) -> Result<Located<'_>, LoadError> {
        let mut places = naming.places(config, tensor);
        let at = places.iter().position(|place| self.by_name.contains_key(&place.name)).unwrap_or(0);
        let place = places.swap_remove(at);
        let stored = self.find(&place.name)?;
        if !same_shape(stored.shape, &place.shape) {
            return Err(LoadError::TensorShape {
                file: stored.path.to_path_buf(),
                tensor: place.name,
                found: stored.shape.to_vec(),
                expected: place.shape,
            });
        }
        Ok(Located { stored, place, shape: tensor.shape(config) })
    }
}

impl<'a> Stored<'a> {
    /// All bytes of its file.
    pub(crate) fn file_bytes(&self) -> &'a [u8] {
        self.mapping.bytes()
    }

    /// Some of its bytes, kept alive; `None` past its end.
    pub(crate) fn span(&self, from: usize, to: usize) -> Option<Span> {
        self.bytes.get(from..to)?;
        self.mapping.span(self.offset + from..self.offset + to)
    }
}

impl Entry {
    /// Whether a header's claims agree with each other and with the file.
    fn check(&self, name: &str, file: &Container) -> Result<(), LoadError> {
        let wrong = |reason: String| malformed(&file.path, format!("tensor {name} {reason}"));
        let end = self.offset.checked_add(self.len);
        if end.is_none_or(|end| end > file.mapping.bytes().len()) {
            return Err(wrong("does not lie in the file".to_owned()));
        }
        let Ok(dtype) = self.dtype else { return Ok(()) };
        let (outer, inner) = match self.shape.split_last() {
            Some((inner, outer)) => (outer, *inner),
            None => ([].as_slice(), 1),
        };
        let rows = outer.iter().try_fold(1_usize, |rows, n| rows.checked_mul(*n));
        let bytes = dtype.row_bytes(inner).zip(rows).and_then(|(row, rows)| row.checked_mul(rows));
        if bytes == Some(self.len) {
            return Ok(());
        }
        Err(wrong(format!("of {} and shape {:?} cannot have {} bytes", dtype.name(), self.shape, self.len)))
    }
}

/// Whether two shapes differ at most in dimensions of 1, which writers leave out or not. Rows are the same then.
fn same_shape(a: &[usize], b: &[usize]) -> bool {
    let real = |shape: &[usize]| shape.iter().copied().filter(|n| *n != 1).collect::<Vec<_>>();
    a == b || (a.last() == b.last() && real(a) == real(b))
}

pub(crate) fn malformed(file: &Path, reason: String) -> LoadError {
    LoadError::Malformed { file: file.to_path_buf(), reason }
}
