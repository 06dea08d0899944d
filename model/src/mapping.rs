//! Bytes that are kept alive by whoever looks at them: mapped from disk, part of the program, or owned.

use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memmap2::{Mmap, UncheckedAdvice};

use crate::error::LoadError;
use crate::resident::Resident;

/// A file's bytes; copies share them.
#[derive(Debug, Clone)]
pub(crate) enum Mapping {
    /// A file on disk.
    File(Arc<Mmap>),
    /// A file inside the program.
    Embedded(&'static [u8]),
    /// Bytes that were laid out anew.
    Owned(Arc<Vec<u8>>),
    /// Bytes that were copied out of a file.
    Resident(Arc<Resident>),
}

impl Mapping {
    /// Maps a file.
    pub(crate) fn open(path: PathBuf) -> Result<Self, LoadError> {
        let io = |source| LoadError::Io { file: path.clone(), source };
        let file = open_regular(&path).map_err(io)?;
        // SAFETY: the map is only ever read, as bytes, which have no invalid values. Weights are written once and
        // then named by their hash; whoever cuts the file short under a running program ends that program.
        #[expect(unsafe_code, reason = "weights may be more than memory holds")]
        let map = unsafe { Mmap::map(&file) }.map_err(io)?;
        Ok(Self::File(Arc::new(map)))
    }

    /// All of them.
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::File(map) => map,
            Self::Embedded(bytes) => bytes,
            Self::Owned(bytes) => bytes,
            Self::Resident(copied) => copied.bytes(),
        }
    }

    /// Some of them; `None` past the end.
    pub(crate) fn span(&self, range: Range<usize>) -> Option<Span> {
        self.bytes().get(range.clone())?;
        Some(Span { mapping: self.clone(), range })
    }
}

/// Opens a file that has an end: from a pipe or a device nothing may ever come.
fn open_regular(path: &Path) -> std::io::Result<File> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(not_regular());
    }
    File::open(path)
}

/// What is said of a pipe, a device or a folder.
pub(crate) fn not_regular() -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidInput, "not a regular file")
}

/// Some bytes of a mapping, which they keep alive.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    mapping: Mapping,
    range: Range<usize>,
}

impl Span {
    /// Bytes of its own.
    pub(crate) fn owned(bytes: Vec<u8>) -> Self {
        let range = 0..bytes.len();
        Self { mapping: Mapping::Owned(Arc::new(bytes)), range }
    }

    /// The bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.mapping.bytes().get(self.range.clone()).unwrap_or_default()
    }

    /// Whether they are a file's, mapped.
    pub(crate) const fn is_of_file(&self) -> bool {
        matches!(self.mapping, Mapping::File(_))
    }

    /// Lets this process's hold of a file's pages go; they come back when they are looked at.
    pub(crate) fn let_go(&self) {
        #[cfg(target_os = "linux")]
        if let Mapping::File(map) = &self.mapping {
            let Range { start, end } = self.range;
            // SAFETY: the map is of a file and never written, so the same bytes are read from the file again.
            #[expect(unsafe_code, reason = "a mapping of a file cannot be told to forget pages otherwise")]
            let told = unsafe { map.unchecked_advise_range(UncheckedAdvice::DontNeed, start, end - start) };
            // Where it is not done, the system does it when memory is short.
            let _ = told;
        }
    }

    /// Brings a file's pages into memory and into this process's page table in one call. Where the system has none, or this
    /// is not asked for, they come one by one while the values are looked at in loading.
    pub(crate) fn warm(&self) {
        #[cfg(target_os = "linux")]
        if let Mapping::File(map) = &self.mapping {
            let Range { start, end } = self.range;
            // An older kernel refuses, and that is all that it does.
            let _ = map.advise_range(memmap2::Advice::PopulateRead, start, end - start);
        }
    }
}
