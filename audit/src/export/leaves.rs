//! The leaves of an export: `{ u16be length ‖ leaf }…`.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::path::PathBuf;

use counterfoil_spec::limits::MAX_LEAF_BYTES;

use crate::export::{ExportError, io_error};

/// The file, read from its first leaf to its last.
pub(crate) struct LeavesFile {
    file: BufReader<File>,
    path: PathBuf,
}

impl LeavesFile {
    pub(crate) fn new(file: BufReader<File>, path: PathBuf) -> Self {
        Self { file, path }
    }

    /// Whether nothing comes any more, not even what is no leaf.
    pub(crate) fn is_over(&mut self) -> Result<bool, ExportError> {
        self.file.fill_buf().map(<[u8]>::is_empty).map_err(io_error(&self.path))
    }

    /// The next leaf; none at the end, or where what is left is none.
    pub(crate) fn next(&mut self) -> Result<Option<Vec<u8>>, ExportError> {
        let mut read = |bytes: &mut [u8]| match self.file.read_exact(bytes) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => Ok(false),
            Err(e) => Err(io_error(&self.path)(e)),
        };
        let mut len = [0; 2];
        if !read(&mut len)? {
            return Ok(None);
        }
        let len = usize::from(u16::from_be_bytes(len));
        if len > MAX_LEAF_BYTES {
            return Ok(None);
        }
        let mut leaf = vec![0; len];
        Ok(read(&mut leaf)?.then_some(leaf))
    }
}
