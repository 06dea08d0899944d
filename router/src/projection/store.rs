//! A sled database that follows from a log: begun anew wherever there is doubt about the one that is there.
//!
//! ```text
//! <path>/         the database
//! <path>.open     there while a process has it open
//! <path>.aside    the last one that was not gone on with
//! tree "meta":  "version"  ->  u64, big-endian
//!               "applied"  ->  entries taken (u64, big-endian) ‖ serial of the last one (16 bytes)
//! ```
//!
//! sled 0.34 does not sync what it flushes, and may end the process over what it reads. So the files are synced here when
//! the database is closed, and one that was open when a process died is not read again.

use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use counterfoil_audit::LogReader;
use counterfoil_spec::ids::Serial;

use super::ProjectionError;

const VERSION: &[u8] = b"version";
const APPLIED: &[u8] = b"applied";

/// How a projection was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// As it was left, and of this log.
    Whole,
    /// Not there.
    Fresh,
    /// Damaged, left open, of another version or of another log; moved aside.
    Aside,
}

/// What a database is to be, for the one there to be gone on with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    /// The version of its trees.
    pub(crate) version: u64,
    /// Bytes of cache; a log itself is read through the system's page cache.
    pub(crate) cache_bytes: u64,
}

/// An open database. Its trees must be dropped before it.
#[derive(Debug)]
pub(crate) struct Store {
    path: PathBuf,
    db: Option<sled::Db>,
    meta: Option<sled::Tree>,
    spoilt: bool,
}

impl Store {
    /// Opens the database at `path` with its trees, and says how many entries of `log` it has taken.
    ///
    /// # Errors
    /// [`ProjectionError`] where a fresh one cannot be made either.
    pub(crate) fn open<T>(
        path: &Path,
        layout: Layout,
        log: &LogReader,
        trees: impl Fn(&sled::Db) -> Result<T, sled::Error>,
    ) -> Result<(T, Self, u64, Found), ProjectionError> {
        let store = |source| ProjectionError::Store { path: path.to_owned(), source };
        let mut found = if path.exists() { Found::Whole } else { Found::Fresh };
        if marker(path).exists() {
            tracing::warn!(path = %path.display(), "a process ended while it had the index open; the index is made anew");
            aside(path)?;
            found = Found::Aside;
        }
        mark(path).map_err(|source| ProjectionError::Mark { path: marker(path), source })?;
        let opened = Self::open_as_is(path, layout, log, &trees);
        let (trees, opened, applied) = match opened {
            Ok(opened) => opened,
            Err(e) => {
                tracing::warn!(path = %path.display(), error = %e, "the index is made anew");
                aside(path)?;
                found = Found::Aside;
                Self::open_as_is(path, layout, log, &trees).map_err(store)?
            }
        };
        Ok((trees, opened, applied, found))
    }

    fn open_as_is<T>(
        path: &Path,
        layout: Layout,
        log: &LogReader,
        trees: &impl Fn(&sled::Db) -> Result<T, sled::Error>,
    ) -> Result<(T, Self, u64), sled::Error> {
        let db = sled::Config::new().path(path).cache_capacity(layout.cache_bytes).open()?;
        let (all, meta) = (trees(&db)?, db.open_tree("meta")?);
        let version = layout.version.to_be_bytes();
        let applied = match meta.get(VERSION)? {
            Some(found) if found.as_ref() == version => applied(&meta, log)?,
            None if meta.is_empty() => {
                meta.insert(VERSION, &version)?;
                0
            }
            _ => return Err(foreign("it is of another version")),
        };
        let (db, meta) = (Some(db), Some(meta));
        Ok((all, Self { path: path.to_owned(), db, meta, spoilt: false }, applied))
    }

    /// Notes how many entries were taken, and the last one's serial.
    ///
    /// # Errors
    /// [`ProjectionError::Store`].
    pub(crate) fn note(&self, taken: u64, last: &Serial) -> Result<(), ProjectionError> {
        let value = [taken.to_be_bytes().as_slice(), last.as_bytes()].concat();
        let noted = self.meta.as_ref().map(|meta| meta.insert(APPLIED, value)).transpose();
        noted.map(drop).map_err(|e| self.fault(e))
    }

    /// What sled said of this database.
    pub(crate) fn fault(&self, source: sled::Error) -> ProjectionError {
        ProjectionError::Store { path: self.path.clone(), source }
    }

    /// It is not gone on with after this.
    pub(crate) const fn spoil(&mut self) {
        self.spoilt = true;
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        drop((self.meta.take(), self.db.take()));
        if self.spoilt || std::thread::panicking() {
            return;
        }
        if let Err(error) = sync(&self.path).and_then(|()| std::fs::remove_file(marker(&self.path))) {
            tracing::warn!(path = %self.path.display(), %error, "the index will be made anew");
        }
    }
}

/// A log that went on from an older copy of itself has other entries where this one's were.
fn applied(meta: &sled::Tree, log: &LogReader) -> Result<u64, sled::Error> {
    let Some(value) = meta.get(APPLIED)? else { return Ok(0) };
    let (taken, serial) =
        value.split_at_checked(8).ok_or_else(|| foreign("it does not say how far it came"))?;
    let taken =
        taken.try_into().map(u64::from_be_bytes).map_err(|_| foreign("it does not say how far it came"))?;
    let last = taken.checked_sub(1).and_then(|last| log.entry(last).ok());
    match last {
        Some((_, body)) if body.serial.as_bytes() == serial => Ok(taken),
        Some(_) => Err(foreign("it is of another log")),
        None => Err(foreign("it is ahead of the log")),
    }
}

fn foreign(reason: &str) -> sled::Error {
    sled::Error::Unsupported(reason.to_owned())
}

fn beside(path: &Path, what: &str) -> PathBuf {
    path.with_extension(what)
}

fn marker(path: &Path) -> PathBuf {
    beside(path, "open")
}

/// Durable before the database is touched, or a power failure could take the mark alone.
fn mark(path: &Path) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(path);
    std::fs::create_dir_all(folder)?;
    File::create(marker(path))?.sync_all()?;
    File::open(folder)?.sync_all()
}

fn sync(folder: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() { sync(&path)? } else { File::open(&path)?.sync_all()? }
    }
    File::open(folder)?.sync_all()
}

/// Moves what lies there aside, in the place of what was moved there before. Says whether there was anything.
///
/// # Errors
/// [`ProjectionError::Aside`].
pub(crate) fn aside(path: &Path) -> Result<bool, ProjectionError> {
    let to = beside(path, "aside");
    let kind = |path: &Path| match std::fs::symlink_metadata(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        there => there.map(|there| Some(there.is_dir())),
    };
    let moved = || {
        if kind(path)?.is_none() {
            return Ok(false);
        }
        match kind(&to)? {
            Some(true) => std::fs::remove_dir_all(&to)?,
            Some(false) => std::fs::remove_file(&to)?,
            None => {}
        }
        std::fs::rename(path, &to)?;
        Ok(true)
    };
    moved().map_err(|source| ProjectionError::Aside { path: path.to_owned(), source })
}
