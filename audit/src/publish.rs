//! Publishing: what was committed is read back from disk, hashed again, put into tiles, and only then signed.
//!
//! Order: durable segment → leaf hashes recomputed from the bytes read back → tiles written → `state/signed`
//! durable → signature → `checkpoint` renamed into place → superseded partial tiles deleted.

use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use counterfoil_spec::ids::Hash;

use crate::checkpoint::{self, Checkpoint};
use crate::cost::evidence;
use crate::disk::Disk;
use crate::error::LogError;
use crate::history::Behind;
use crate::merkle::Head;
use crate::note::NoteSigner;
use crate::scan::{self, Position};
use crate::segment;
use crate::stage::TileStage;
use crate::state;
use crate::store::{Replace, replace};

/// What the writer's threads tell each other and their callers.
#[derive(Debug, Clone)]
pub(crate) struct Board {
    /// The last commit.
    pub(crate) head: Head,
    /// The head of the published checkpoint.
    pub(crate) published: Head,
    /// The published checkpoint.
    pub(crate) note: String,
    /// Why nothing is appended any more.
    pub(crate) lost: Option<LogError>,
    /// Why the last attempt to publish failed, and how many did.
    pub(crate) publish_failed: Option<LogError>,
    pub(crate) attempts: u64,
    /// Somebody waits for a checkpoint of this size.
    pub(crate) wanted: u64,
    /// The publisher has nothing to do until something is committed.
    pub(crate) awaits_commit: bool,
    /// The last head was committed.
    pub(crate) closing: bool,
    /// Nothing is published any more.
    pub(crate) closed: bool,
}

impl Board {
    fn is_waited_for(&self) -> bool {
        self.wanted > self.published.size
    }
}

/// The board behind its lock.
pub(crate) struct Shared {
    /// Guards the board; held for as long as it takes to copy from it or write to it, never during IO.
    board: Mutex<Board>,
    changed: Condvar,
}

impl Shared {
    pub(crate) fn new(board: Board) -> Arc<Self> {
        Arc::new(Self { board: Mutex::new(board), changed: Condvar::new() })
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Board)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    /// Moves the head. Nobody is woken who does not wait for that: each group would cost a change of threads.
    pub(crate) fn commit(&self, head: Head) {
        let mut board = self.lock();
        board.head = head;
        if std::mem::take(&mut board.awaits_commit) {
            drop(board);
            self.changed.notify_all();
        }
    }

    /// Waits until `done` gives a value.
    pub(crate) fn wait<T>(&self, mut done: impl FnMut(&mut Board) -> Option<T>) -> T {
        let mut board = self.lock();
        loop {
            if let Some(value) = done(&mut board) {
                return value;
            }
            board = self.changed.wait(board).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits until `until`, or until somebody wants a checkpoint or the log is closing.
    fn rest(&self, until: Instant) {
        let mut board = self.lock();
        while !(board.is_waited_for() || board.closing || board.lost.is_some()) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            (board, _) = self.changed.wait_timeout(board, left).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Reads back, tiles, signs.
pub(crate) struct Publisher {
    pub(crate) dir: PathBuf,
    pub(crate) origin: Hash,
    pub(crate) signer: NoteSigner,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) stage: TileStage,
    pub(crate) at: Position,
    /// What is to be checked before anything is signed.
    pub(crate) behind: Option<Behind>,
}

impl Publisher {
    /// Publishes a head that is committed. After an error everything can be tried again.
    pub(crate) fn publish(&mut self, head: &Head) -> Result<String, LogError> {
        if self.stage.tree.size() < head.size {
            let (stage, at) = (self.stage.clone(), self.at);
            if let Err(e) = self.read_back(head) {
                (self.stage, self.at) = (stage, at);
                return Err(e);
            }
        }
        if self.stage.tree.root() != head.root {
            return Err(LogError::SignedStateDiffers { size: head.size });
        }
        //= spec/audit-log.md#published-files
        //# A checkpoint MUST NOT be published while a tile of its size is missing.
        self.stage.put_partials()?;
        let signed = Checkpoint { origin: self.signer.verifier().name().to_owned(), head: *head };
        let text = state::render(&signed);
        replace(&*self.disk, &self.dir.join(state::FILE), text.as_bytes(), Replace::Durable)?;
        let note = signed.sign(&self.signer)?;
        replace(&*self.disk, &self.dir.join(checkpoint::FILE), note.as_bytes(), Replace::Ordered)?;
        self.stage.drop_superseded()?;
        Ok(note)
    }

    fn read_back(&mut self, head: &Head) -> Result<(), LogError> {
        let segments = segment::list(&self.dir).map_err(LogError::store("list", &self.dir))?;
        scan::walk(&segments, &self.origin, &mut self.at, head.size, &mut self.stage)
    }

    /// Publishes until the log is closed, at most once per `every` unless somebody waits.
    pub(crate) fn run(mut self, shared: &Shared, every: Duration) {
        if self.check_behind(shared) {
            self.publish_until_closed(shared, every);
        }
        shared.change(|board| board.closed = true);
    }

    /// Checks what was not when the log opened, and publishes then, as opening does; false where nothing may be signed.
    fn check_behind(&mut self, shared: &Shared) -> bool {
        //= spec/audit-log.md#recovery
        //# It MUST NOT sign a head before it has checked those entries and their tiles, and MUST append and sign nothing more where an
        //# entry is damaged.
        let Some(behind) = self.behind.take() else { return true };
        let outcome = evidence(|| behind.check(&self.dir, &self.origin, &self.disk)).and_then(|()| {
            let board = shared.lock().clone();
            match board.lost {
                Some(lost) => Err(lost),
                None => Ok((board.head, evidence(|| self.publish(&board.head))?)),
            }
        });
        let sound = outcome.is_ok();
        shared.change(|board| match outcome {
            Ok((head, note)) => {
                board.published = head;
                board.note = note;
            }
            Err(e) => {
                tracing::error!(error = %e, "the log was not found sound; nothing more is appended or signed");
                board.lost = Some(e);
            }
        });
        sound
    }

    fn publish_until_closed(&mut self, shared: &Shared, every: Duration) {
        // What opened has published.
        shared.rest(Instant::now() + every);
        loop {
            let (head, closing) = shared.wait(|board| {
                let due = board.head.size > board.published.size;
                board.awaits_commit = !(due || board.closing || board.lost.is_some());
                (!board.awaits_commit).then_some((board.head, board.closing))
            });
            let begun = Instant::now();
            let stop = shared.lock().lost.is_some();
            if stop || (closing && shared.lock().published == head) {
                return;
            }
            let outcome = evidence(|| self.publish(&head));
            let failed = outcome.is_err();
            shared.change(|board| {
                board.attempts += 1;
                match outcome {
                    Ok(note) => {
                        board.published = head;
                        board.note = note;
                        board.publish_failed = None;
                    }
                    Err(e) => {
                        tracing::error!(error = %e, size = head.size, "the log's head was not published");
                        if !matches!(
                            e,
                            LogError::DiskFull { .. } | LogError::Store { .. } | LogError::Sign(_)
                        ) {
                            board.lost = Some(e.clone());
                        }
                        board.publish_failed = Some(e);
                        // Who waits is told; the next attempt comes in its time.
                        board.wanted = 0;
                    }
                }
            });
            if failed && closing {
                return;
            }
            shared.rest(begun + every);
        }
    }
}
