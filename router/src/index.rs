//! Which entries are about whom and what, in sled: derived from a log, safe to delete, rebuilt by itself.
//!
//! ```text
//! trees "request", "account", "node", "model":  id (16 or 32 bytes) ‖ entry index (u64, big-endian)  ->  nothing
//! tree "owner":  id of a key, or serial of a payment (16 bytes)  ->  the account that it is of (32 bytes)
//! ```
//!
//! Time has no tree: entries stand in the order of their times, so a place in time is found in the log itself.
//! A router has its own small index ([`crate::projection`]) open while it runs, so this one is made by whoever looks
//! into a log, beside it, under a lock of its own.

use std::fs::File;
use std::path::{Path, PathBuf};

use counterfoil_audit::{LogError, LogReader};
use counterfoil_spec::entry::{Body, Leaf};
use counterfoil_spec::ids::{AccountId, ManifestId, NodeId, Serial};
use counterfoil_spec::payload::Payload;

use crate::projection::{Layout, ProjectionError, Store, aside};
use subjects::subjects;

mod subjects;

pub use crate::projection::Found;

const LAYOUT: Layout = Layout { version: 1, cache_bytes: 16 * 1024 * 1024 };
/// Entries between two notes of how far the index has come.
const NOTE_EVERY: u64 = 1024;

/// Whom or what entries are looked for by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// A request: its work entries and its own.
    Request(Serial),
    /// An account: what it asked for, its keys, lots and payments.
    Account(AccountId),
    /// A node: its work, credits, consents, uptime and refusals.
    Node(NodeId),
    /// A model: what it was asked for, and that it was published.
    Model(ManifestId),
}

impl Subject {
    const fn tree(&self) -> Tree {
        match self {
            Self::Request(_) => Tree::Request,
            Self::Account(_) => Tree::Account,
            Self::Node(_) => Tree::Node,
            Self::Model(_) => Tree::Model,
        }
    }

    fn id(&self) -> &[u8] {
        match self {
            Self::Request(id) => id.as_bytes(),
            Self::Account(id) => id.as_bytes(),
            Self::Node(id) => id.as_bytes(),
            Self::Model(id) => id.as_bytes(),
        }
    }

    fn key(&self, index: u64) -> Vec<u8> {
        [self.id(), &index.to_be_bytes()].concat()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tree {
    Request,
    Account,
    Node,
    Model,
}

/// Why entries could not be looked up.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The index, where a fresh one cannot be made either.
    #[error(transparent)]
    Store(#[from] ProjectionError),
    /// The lock beside it.
    #[error("{path}: {source}")]
    Lock {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// The index of one log, at its end.
#[derive(Debug)]
pub struct Index {
    trees: [sled::Tree; 4],
    owners: sled::Tree,
    applied: u64,
    found: Found,
    store: Store,
    _lock: File,
}

impl Index {
    /// Opens the index at `path` and follows `log` to its end. What cannot be opened or is not of this log is moved
    /// aside and made anew from the log's first entry. Waits for another process that has it open.
    ///
    /// # Errors
    /// [`IndexError`]; a damaged index is none.
    pub fn open(
        path: &Path,
        log: &LogReader,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Self, IndexError> {
        let mut index = Self::locked(path, lock(path)?, log)?;
        if let Err(IndexError::Store(e)) = index.follow(log, progress) {
            tracing::warn!(error = %e, "the index is made anew");
            let Self { _lock: lock, .. } = index;
            aside(path)?;
            index = Self { found: Found::Aside, ..Self::locked(path, lock, log)? };
        }
        index.follow(log, progress)?;
        Ok(index)
    }

    /// Moves the index at `path` aside, for the next [`Index::open`] to make it anew. Says whether there was one.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn discard(path: &Path) -> Result<bool, IndexError> {
        let _lock = lock(path)?;
        Ok(aside(path)?)
    }

    fn locked(path: &Path, lock: File, log: &LogReader) -> Result<Self, ProjectionError> {
        let trees = |db: &sled::Db| {
            let named = |name: &str| db.open_tree(name);
            let trees = [named("request")?, named("account")?, named("node")?, named("model")?];
            Ok((trees, named("owner")?))
        };
        let ((trees, owners), store, applied, found) = Store::open(path, LAYOUT, log, trees)?;
        Ok(Self { trees, owners, applied, found, store, _lock: lock })
    }

    fn follow(&mut self, log: &LogReader, progress: &mut dyn FnMut(u64, u64)) -> Result<(), IndexError> {
        let size = log.size();
        let done = log.stream(self.applied, size, |index, bytes| {
            let (_, body) = Leaf::read(bytes).map_err(|source| LogError::BadEntry { index, source })?;
            self.apply(index, &body).map_err(|e| self.store.fault(e))?;
            if index.is_multiple_of(NOTE_EVERY) || index + 1 == size {
                self.store.note(index + 1, &body.serial)?;
                progress(index, size);
            }
            Ok::<(), IndexError>(())
        });
        match done {
            Ok(()) => self.applied = size,
            Err(IndexError::Store(_)) => self.store.spoil(),
            Err(_) => {}
        }
        done
    }

    /// Applied twice, an entry gives the same keys, so a note may lag behind.
    fn apply(&self, index: u64, body: &Body) -> Result<(), sled::Error> {
        let mut found = subjects(body);
        match &body.payload {
            Payload::KeyCreated(p) => self.own(&p.key_id, &p.account)?,
            Payload::Payment(p) => self.own(&body.serial, &p.account)?,
            Payload::KeyRevoked(p) => found.extend(self.owner(&p.key_id)?),
            Payload::Refund(p) => found.extend(self.owner(&p.payment)?),
            Payload::Chargeback(p) => found.extend(self.owner(&p.payment)?),
            _ => {}
        }
        for subject in found {
            self.tree(subject.tree()).insert(subject.key(index), &[])?;
        }
        Ok(())
    }

    fn own(&self, thing: &Serial, account: &AccountId) -> Result<(), sled::Error> {
        self.owners.insert(thing.as_bytes(), account.as_bytes()).map(drop)
    }

    fn owner(&self, thing: &Serial) -> Result<Option<Subject>, sled::Error> {
        let found = self.owners.get(thing.as_bytes())?;
        Ok(found.and_then(|id| AccountId::from_slice(&id)).map(Subject::Account))
    }

    fn tree(&self, tree: Tree) -> &sled::Tree {
        let [request, account, node, model] = &self.trees;
        match tree {
            Tree::Request => request,
            Tree::Account => account,
            Tree::Node => node,
            Tree::Model => model,
        }
    }

    /// How many entries it has taken.
    #[must_use]
    pub const fn applied(&self) -> u64 {
        self.applied
    }

    /// How it was found.
    #[must_use]
    pub const fn found(&self) -> Found {
        self.found
    }

    /// The entries about all of these, from `from` up to and without `to`, at most `limit` of them, in the log's order.
    ///
    /// # Errors
    /// [`ProjectionError::Store`].
    pub fn about(
        &self,
        subjects: &[Subject],
        range: std::ops::Range<u64>,
        limit: usize,
    ) -> Result<Vec<u64>, ProjectionError> {
        let Some((first, others)) = subjects.split_first() else {
            return Ok(range.take(limit).collect());
        };
        let fail = |source| self.store.fault(source);
        let mut out = Vec::new();
        for key in self.tree(first.tree()).range(first.key(range.start)..first.key(range.end)).keys() {
            let key = key.map_err(fail)?;
            let Some(index) = key.last_chunk::<8>().copied().map(u64::from_be_bytes) else { continue };
            let mut all = true;
            for other in others {
                all &= self.tree(other.tree()).contains_key(other.key(index)).map_err(fail)?;
            }
            if all {
                if out.len() == limit {
                    break;
                }
                out.push(index);
            }
        }
        Ok(out)
    }
}

/// Held by whoever has the index open: sled's own lock turns a second one away instead of letting it wait.
fn lock(path: &Path) -> Result<File, IndexError> {
    let lock_path = path.with_extension("lock");
    let locked = || {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        let lock = File::options().create(true).append(true).open(&lock_path)?;
        lock.lock()?;
        Ok(lock)
    };
    locked().map_err(|source| IndexError::Lock { path: lock_path.clone(), source })
}

#[cfg(test)]
mod tests;
