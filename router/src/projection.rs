//! The index from requests to log entries, in sled: derived from the log, safe to delete, rebuilt by itself.
//!
//! ```text
//! tree "request":  request serial (16 bytes)  ->  entry index (u64, big-endian)
//! tree "work":     receipt serial (16 bytes)  ->  entry index (u64, big-endian)
//! tree "meta":     "applied"                  ->  entries taken (u64, big-endian)
//! ```
//!
//! sled 0.34 does not sync what it flushes, so this never holds the only copy of anything.

use std::path::{Path, PathBuf};

use counterfoil_spec::entry::Body;
use counterfoil_spec::ids::Serial;
use counterfoil_spec::payload::Payload;

const APPLIED: &[u8] = b"applied";
/// A cache for an index; the log itself is read through the system's page cache.
const CACHE_BYTES: u64 = 4 * 1024 * 1024;

/// Why the index could not be used.
#[derive(Debug, thiserror::Error)]
pub enum ProjectionError {
    /// sled said no.
    #[error("the index at {path}: {source}")]
    Store {
        /// Where it lies.
        path: PathBuf,
        /// What sled said.
        source: sled::Error,
    },
    /// A damaged index could not be moved aside.
    #[error("moving the damaged index at {path} aside: {source}")]
    Aside {
        /// Where it lies.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// The open index.
#[derive(Debug)]
pub(crate) struct Projection {
    path: PathBuf,
    requests: sled::Tree,
    works: sled::Tree,
    meta: sled::Tree,
    applied: u64,
}

impl Projection {
    /// Opens the index for a log of `log_size` entries. One that cannot be opened, or that claims more entries than
    /// the log has, is moved aside and begun anew.
    ///
    /// # Errors
    /// [`ProjectionError`] where a fresh one cannot be made either.
    pub(crate) fn open(path: &Path, log_size: u64) -> Result<Self, ProjectionError> {
        match Self::open_as_is(path) {
            Ok(p) if p.applied <= log_size => return Ok(p),
            Ok(p) => {
                tracing::warn!(path = %path.display(), applied = p.applied, log_size, "the index is ahead of the log; rebuilding it");
            }
            Err(e) => {
                tracing::warn!(error = %e, "the index cannot be opened; rebuilding it");
            }
        }
        let aside = path.with_extension("aside");
        let fail = |source| ProjectionError::Aside { path: path.to_owned(), source };
        if aside.exists() {
            std::fs::remove_dir_all(&aside).map_err(fail)?;
        }
        if path.exists() {
            std::fs::rename(path, &aside).map_err(fail)?;
        }
        Self::open_as_is(path)
    }

    fn open_as_is(path: &Path) -> Result<Self, ProjectionError> {
        let fail = |source| ProjectionError::Store { path: path.to_owned(), source };
        let db = sled::Config::new().path(path).cache_capacity(CACHE_BYTES).open().map_err(fail)?;
        let requests = db.open_tree("request").map_err(fail)?;
        let works = db.open_tree("work").map_err(fail)?;
        let meta = db.open_tree("meta").map_err(fail)?;
        let applied = meta.get(APPLIED).map_err(fail)?.and_then(|v| number(&v)).unwrap_or(0);
        Ok(Self { path: path.to_owned(), requests, works, meta, applied })
    }

    /// Takes the next entry; one that was taken before is passed over.
    ///
    /// # Errors
    /// [`ProjectionError::Store`].
    pub(crate) fn apply(&mut self, index: u64, body: &Body) -> Result<(), ProjectionError> {
        if index < self.applied {
            return Ok(());
        }
        let fail = |source| ProjectionError::Store { path: self.path.clone(), source };
        let tree = match body.payload {
            Payload::Inference(_) => Some(&self.requests),
            Payload::Work(_) => Some(&self.works),
            _ => None,
        };
        if let Some(tree) = tree {
            tree.insert(body.serial.as_bytes(), &index.to_be_bytes()).map_err(fail)?;
        }
        self.applied = index + 1;
        self.meta.insert(APPLIED, &self.applied.to_be_bytes()).map_err(fail)?;
        Ok(())
    }

    /// The entry of a request.
    ///
    /// # Errors
    /// [`ProjectionError::Store`].
    pub(crate) fn entry_of(&self, request: &Serial) -> Result<Option<u64>, ProjectionError> {
        self.find(&self.requests, request)
    }

    /// The `work` entry of a receipt.
    ///
    /// # Errors
    /// [`ProjectionError::Store`].
    pub(crate) fn work_of(&self, receipt: &Serial) -> Result<Option<u64>, ProjectionError> {
        self.find(&self.works, receipt)
    }

    fn find(&self, tree: &sled::Tree, serial: &Serial) -> Result<Option<u64>, ProjectionError> {
        let found = tree
            .get(serial.as_bytes())
            .map_err(|source| ProjectionError::Store { path: self.path.clone(), source })?;
        Ok(found.and_then(|v| number(&v)))
    }
}

fn number(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_be_bytes)
}
