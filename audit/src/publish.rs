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
use crate::log_keys::LogKeys;
use crate::merkle::Head;
use crate::note::{NoteSigner, NoteVerifier};
use crate::scan::{self, Position, Visit};
use crate::segment;
use crate::stage::TileStage;
use crate::state;
use crate::store::{Replace, replace};
use crate::succession::{self, Lines};

/// What the writer's threads tell each other and their callers.
#[derive(Debug, Clone)]
pub(crate) struct Board {
    /// The last commit.
    pub(crate) head: Head,
    /// The head of the published checkpoint.
    pub(crate) published: Head,
    /// The published checkpoint.
    pub(crate) note: String,
    /// The log's keys as the entries up to the last commit tell, and those of them that can sign here.
    pub(crate) signing: Signing,
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

/// The keys of a log's heads.
#[derive(Debug, Clone)]
pub(crate) struct Signing {
    pub(crate) keys: Arc<LogKeys>,
    pub(crate) at_hand: Vec<NoteSigner>,
}

impl Signing {
    /// Whoever signs a head of this size.
    pub(crate) fn signers(&self, size: u64) -> Result<Vec<NoteSigner>, LogError> {
        let of = |vkey| self.at_hand.iter().find(|signer| signer.verifier() == vkey).cloned();
        let missing = |vkey: &NoteVerifier| LogError::LogKeyMissing { vkey: vkey.to_string() };
        self.keys.at(size).map(|key| of(&key.vkey).ok_or_else(|| missing(&key.vkey))).collect()
    }
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
    pub(crate) fn commit(&self, head: Head, keys: Arc<LogKeys>) {
        let mut board = self.lock();
        board.head = head;
        board.signing.keys = keys;
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
    pub(crate) name: String,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) stage: TileStage,
    pub(crate) at: Position,
    /// What is to be checked before anything is signed.
    pub(crate) behind: Option<Behind>,
    /// The entries of the succession file, and the size of the last head that one was published for.
    pub(crate) lines: Lines,
    pub(crate) told: u64,
}

/// Reads back into the tiles, and notes what the succession file needs.
struct ReadBack<'a> {
    stage: &'a mut TileStage,
    lines: &'a mut Lines,
}

impl Visit for ReadBack<'_> {
    fn leaf(&mut self, index: u64, leaf: &[u8]) -> Result<(), LogError> {
        self.lines.see(index, leaf);
        self.stage.leaf(index, leaf)
    }

    fn removed(&mut self, index: u64, hash: Hash) -> Result<(), LogError> {
        self.stage.removed(index, hash)
    }

    fn commit(&mut self, head: &Head) -> bool {
        self.stage.commit(head)
    }
}

impl Publisher {
    /// Publishes a head that is committed. After an error everything can be tried again.
    pub(crate) fn publish(&mut self, head: &Head, signing: &Signing) -> Result<String, LogError> {
        let signers = signing.signers(head.size)?;
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
        //= spec/audit-log.md#succession
        //# A writer MUST publish it before the first head that the newer key signs.
        self.tell_succession(head.size)?;
        let signed = Checkpoint { origin: self.name.clone(), head: *head };
        let text = state::render(&signed);
        replace(&*self.disk, &self.dir.join(state::FILE), text.as_bytes(), Replace::Durable)?;
        //= spec/audit-log.md#keys-of-the-log
        //# A head MUST be signed by every key that signs heads of its size.
        let note = signed.sign_by(&signers)?;
        replace(&*self.disk, &self.dir.join(checkpoint::FILE), note.as_bytes(), Replace::Ordered)?;
        self.stage.drop_superseded()?;
        Ok(note)
    }

    fn read_back(&mut self, head: &Head) -> Result<(), LogError> {
        let segments = segment::list(&self.dir).map_err(LogError::store("list", &self.dir))?;
        let mut visit = ReadBack { stage: &mut self.stage, lines: &mut self.lines };
        scan::walk(&segments, &self.origin, &mut self.at, head.size, &mut visit)
    }

    /// Whoever reads a head finds how its key came to be the log's.
    fn tell_succession(&mut self, size: u64) -> Result<(), LogError> {
        if self.lines.sizes().any(|at| self.told < at && at <= size)
            && let Some(text) = self.lines.text(size)
        {
            replace(&*self.disk, &self.dir.join(succession::FILE), text.as_bytes(), Replace::Ordered)?;
        }
        self.told = size;
        Ok(())
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
                None => Ok((board.head, evidence(|| self.publish(&board.head, &board.signing))?)),
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
            let (head, signing, closing) = shared.wait(|board| {
                let due = board.head.size > board.published.size;
                board.awaits_commit = !(due || board.closing || board.lost.is_some());
                let now = || (board.head, board.signing.clone(), board.closing);
                (!board.awaits_commit).then(now)
            });
            let begun = Instant::now();
            let stop = shared.lock().lost.is_some();
            if stop || (closing && shared.lock().published == head) {
                return;
            }
            let outcome = evidence(|| self.publish(&head, &signing));
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
