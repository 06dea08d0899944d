//! The index from requests to log entries, in sled: derived from the log, safe to delete, rebuilt by itself.
//!
//! ```text
//! tree "request":  request serial (16 bytes)  ->  entry index (u64, big-endian)
//! tree "work":     receipt serial (16 bytes)  ->  entry index (u64, big-endian)
//! ```
//!
//! What follows from a log is kept in sled alone, in a [`store`], and nothing else is.

mod store;

use std::path::{Path, PathBuf};

use counterfoil_audit::LogReader;
use counterfoil_spec::entry::Body;
use counterfoil_spec::ids::Serial;
use counterfoil_spec::payload::Payload;

pub use store::Found;
pub(crate) use store::{Layout, Store, aside};

const LAYOUT: Layout = Layout { version: 1, cache_bytes: 4 * 1024 * 1024 };

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
    /// The mark of an open index could not be written.
    #[error("{path}: {source}; nothing is lost, the index follows from the log: make the folder writable")]
    Mark {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// The open index.
#[derive(Debug)]
pub(crate) struct Projection {
    requests: sled::Tree,
    works: sled::Tree,
    applied: u64,
    failed: bool,
    store: Store,
}

impl Projection {
    /// Opens the index of a log. One that cannot be opened, or that is not of this log, is moved aside and begun anew.
    ///
    /// # Errors
    /// [`ProjectionError`] where a fresh one cannot be made either.
    pub(crate) fn open(path: &Path, log: &LogReader) -> Result<Self, ProjectionError> {
        let trees = |db: &sled::Db| Ok((db.open_tree("request")?, db.open_tree("work")?));
        let ((requests, works), store, applied, _) = Store::open(path, LAYOUT, log, trees)?;
        Ok(Self { requests, works, applied, failed: false, store })
    }

    /// Takes the next entry; one that was taken before is passed over. The record does not wait for an index that cannot
    /// be kept up: it is made anew at the next start.
    pub(crate) fn apply(&mut self, index: u64, body: &Body) {
        if index < self.applied || self.failed {
            return;
        }
        let tree = match body.payload {
            Payload::Inference(_) => Some(&self.requests),
            Payload::Work(_) => Some(&self.works),
            _ => None,
        };
        let put = tree.map(|tree| tree.insert(body.serial.as_bytes(), &index.to_be_bytes())).transpose();
        let noted =
            put.map_err(|e| self.store.fault(e)).and_then(|_| self.store.note(index + 1, &body.serial));
        match noted {
            Ok(()) => self.applied = index + 1,
            Err(e) => {
                tracing::error!(error = %e, "the index is not kept up any more; restart to find later requests");
                self.failed = true;
                self.store.spoil();
            }
        }
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
        let found = tree.get(serial.as_bytes()).map_err(|e| self.store.fault(e))?;
        Ok(found.and_then(|v| number(&v)))
    }
}

fn number(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_be_bytes)
}
