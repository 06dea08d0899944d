//! The one writer of a log: many callers, one owner thread, one `fdatasync` for each group of appends.

use std::fmt;
use std::fs::File;
use std::path::PathBuf;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use counterfoil_identity::Signer;
use counterfoil_spec::entry::Role;
use counterfoil_spec::ids::{Hash, NetId};
use counterfoil_spec::time::Now;

use crate::chain::NewEntry;
#[cfg(test)]
use crate::disk::Disk;
use crate::disk::LocalDisk;
use crate::error::LogError;
use crate::log_keys::LogKeys;
use crate::merkle::Head;
use crate::note::NoteSigner;
use crate::owner::{Command, Desk, Queue, Reply};
use crate::publish::Shared;
use crate::recover;

/// Appends that may wait for the owner thread.
pub const MAX_QUEUED_APPENDS: usize = 4096;

/// Where a log is and who writes it.
#[derive(Clone)]
pub struct LogConfig {
    /// The `log` folder; made where it is missing.
    pub dir: PathBuf,
    /// The network.
    pub net_id: NetId,
    /// The router's or node's identity key.
    pub author: Arc<dyn Signer>,
    /// In what capacity that key signs.
    pub role: Role,
    /// The log's own key; its name is the origin.
    pub note: NoteSigner,
    /// What the first entry says.
    pub genesis: GenesisFacts,
    /// What can be tuned.
    pub options: LogOptions,
}

/// What the genesis entry says beyond what the configuration says already.
#[derive(Clone)]
pub struct GenesisFacts {
    /// SPKI DER of the network root's key.
    pub root_spki: Vec<u8>,
    /// The hash of the next root's key, in a router's log.
    pub next_root_hash: Option<Hash>,
    /// ISO 4217 code.
    pub currency: String,
    /// The network root's key. Needed for a router's first start, unused after it.
    pub root: Option<Arc<dyn Signer>>,
}

/// What can be tuned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogOptions {
    /// A segment that has reached this many bytes is followed by a new one.
    pub segment_bytes: u64,
    /// The shortest time between two checkpoints, unless somebody waits for one.
    pub publish_every: Duration,
    /// Entries up to which a log is checked as a whole before it opens. A longer one opens once its end is, and signs no
    /// head before the rest is.
    pub checked_at_open: u64,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self { segment_bytes: 256 << 20, publish_every: Duration::from_millis(200), checked_at_open: 1 << 18 }
    }
}

/// What opening found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened {
    /// Entries, with a genesis just written.
    pub size: u64,
    /// Bytes after the last commit that were cut off: a group that was never acknowledged.
    pub torn_bytes: u64,
    /// Whether the log was begun just now.
    pub fresh: bool,
    /// Published tiles that were missing or wrong and were written again.
    pub repaired_tiles: u64,
    /// Entries that are checked before the next head is signed, and not yet.
    pub unchecked: u64,
    /// Entries that were removed just now, because a `prune` of the log says so.
    pub removed: u64,
}

/// Where appended entries are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// The index of the first.
    pub first: u64,
    /// How many; they follow each other.
    pub count: u64,
}

/// A handle on the open log; clones share it. The last one to go closes it.
#[derive(Clone)]
pub struct LogWriter {
    inner: Arc<Inner>,
}

impl fmt::Debug for LogWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogWriter").field("head", &self.head()).finish_non_exhaustive()
    }
}

pub(crate) struct Inner {
    pub(crate) shared: Arc<Shared>,
    pub(crate) desk: Arc<Desk>,
    /// Guards the way to the owner thread and the threads themselves; taken to clone the sender or to close.
    pub(crate) running: Mutex<Option<Running>>,
}

pub(crate) struct Running {
    pub(crate) commands: SyncSender<Command>,
    pub(crate) owner: JoinHandle<()>,
    pub(crate) publisher: JoinHandle<()>,
    /// Held while the log is open.
    pub(crate) lock: File,
}

impl LogWriter {
    /// Opens a log, or begins it with a genesis entry. Blocks while the log is read and checked, of a long one its end.
    ///
    /// # Errors
    /// [`LogError`]; nothing on disk was changed where it is `Locked`, `Corrupt`, `SignedStateAhead`,
    /// `SignedStateDiffers` or `GenesisDiffers`.
    pub fn open(config: LogConfig, now: Now) -> Result<(Self, Opened), LogError> {
        Self::open_with(config, Vec::new(), now)
    }

    /// The same for a log whose key was changed, or is about to be: beside the configured key there are `more` at hand. Which of
    /// all of them sign its heads, its entries say.
    ///
    /// # Errors
    /// As [`LogWriter::open`], and `LogKeyMissing`.
    pub fn open_with(config: LogConfig, more: Vec<NoteSigner>, now: Now) -> Result<(Self, Opened), LogError> {
        let (inner, opened) = recover::open((config, more), now, Arc::new(LocalDisk))?;
        Ok((Self { inner: Arc::new(inner) }, opened))
    }

    #[cfg(test)]
    pub(crate) fn open_on(
        config: LogConfig,
        now: Now,
        disk: Arc<dyn Disk>,
    ) -> Result<(Self, Opened), LogError> {
        let (inner, opened) = recover::open((config, Vec::new()), now, disk)?;
        Ok((Self { inner: Arc::new(inner) }, opened))
    }

    fn commands(&self) -> Result<SyncSender<Command>, LogError> {
        let running = self.inner.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.as_ref().map(|r| r.commands.clone()).ok_or(LogError::Closed)
    }

    /// Appends entries one after the other, all or none; they are durable when this returns.
    ///
    /// # Errors
    /// [`LogError`]; nothing was appended.
    pub fn append(&self, entries: Vec<NewEntry>) -> Result<Appended, LogError> {
        let commands = self.commands()?;
        let entries = match self.inner.desk.append_here(entries) {
            Ok(outcome) => return outcome,
            Err(entries) => entries,
        };
        let (send, receive) = sync_channel(1);
        let reply: Reply = Box::new(move |result| {
            // The receiver waits below; a failed send means that it is gone, and nobody is told.
            let _ = send.send(result);
        });
        self.inner.desk.send(&commands, entries, reply, Queue::Wait);
        receive.recv().map_err(|_| LogError::Closed)?
    }

    /// As [`LogWriter::append`], without waiting: `then` is called on the writer's thread and must not block.
    pub fn append_then(
        &self,
        entries: Vec<NewEntry>,
        then: Box<dyn FnOnce(Result<Appended, LogError>) + Send>,
    ) {
        let commands = match self.commands() {
            Ok(commands) => commands,
            Err(e) => return then(Err(e)),
        };
        self.inner.desk.send(&commands, entries, then, Queue::Refuse);
    }

    /// The log's keys, as the entries up to the last commit tell.
    #[must_use]
    pub fn keys(&self) -> Arc<LogKeys> {
        Arc::clone(&self.inner.shared.lock().signing.keys)
    }

    /// Has a key at hand, so that it can be let follow the one in use.
    pub fn hold(&self, signer: NoteSigner) {
        self.inner.shared.change(|board| {
            let at_hand = &mut board.signing.at_hand;
            if !at_hand.iter().any(|held| held.verifier() == signer.verifier()) {
                at_hand.push(signer);
            }
        });
    }

    /// Forgets the keys at hand that sign no heads.
    pub fn let_go(&self) {
        self.inner.shared.change(|board| {
            let keys = Arc::clone(&board.signing.keys);
            // A head from before the last entry may still be on its way to be signed.
            let least = board.published.size;
            let needed = |held: &NoteSigner| {
                keys.all().any(|k| k.vkey == *held.verifier() && k.until.is_none_or(|until| least < until))
            };
            board.signing.at_hand.retain(needed);
        });
    }

    /// The last commit.
    #[must_use]
    pub fn head(&self) -> Head {
        self.inner.shared.lock().head
    }

    /// The head of the published checkpoint.
    #[must_use]
    pub fn published(&self) -> Head {
        self.inner.shared.lock().published
    }

    /// The published checkpoint: a signed note. It may be behind [`LogWriter::head`].
    #[must_use]
    pub fn checkpoint(&self) -> String {
        self.inner.shared.lock().note.clone()
    }

    /// Waits until everything committed so far is published and gives the checkpoint.
    ///
    /// # Errors
    /// Why it could not be published.
    pub fn publish(&self) -> Result<String, LogError> {
        let (mut size, mut attempts) = (0, 0);
        self.inner.shared.change(|board| {
            size = board.head.size;
            attempts = board.attempts;
            board.wanted = board.wanted.max(size);
        });
        self.inner.shared.wait(|board| {
            if board.published.size >= size {
                return Some(Ok(board.note.clone()));
            }
            // An attempt that failed since says what stands in the way.
            let failed = board.publish_failed.as_ref().filter(|_| board.attempts > attempts);
            let failed = board.lost.as_ref().or(failed);
            failed.cloned().map(Err).or_else(|| board.closed.then_some(Err(LogError::Closed)))
        })
    }

    /// Stops taking appends, publishes the last head and lets the log go. Later calls, also of clones, get
    /// [`LogError::Closed`].
    ///
    /// # Errors
    /// Why the last head could not be published; it stands in the segments all the same.
    pub fn close(&self) -> Result<Head, LogError> {
        self.inner.close();
        let board = self.inner.shared.lock();
        match board.lost.as_ref().or(board.publish_failed.as_ref()) {
            Some(e) => Err(e.clone()),
            None => Ok(board.head),
        }
    }
}

impl Inner {
    fn close(&self) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Running { commands, owner, publisher, lock }) = running else { return };
        // The owner also stops when every sender is gone; the command ends it while an append holds one.
        let _ = commands.send(Command::Close);
        drop(commands);
        // A callback that drops the last handle runs on the owner thread, which cannot wait for itself.
        if owner.thread().id() != std::thread::current().id() {
            let _ = owner.join();
            self.shared.change(|board| board.closing = true);
            let _ = publisher.join();
        } else {
            self.shared.change(|board| board.closing = true);
        }
        drop(lock);
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests;
