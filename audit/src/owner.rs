//! The end of the log and who may move it: takes what waits, gives it its place, signs it, writes it as one group, and
//! answers. A thread of its own does so for those who do not wait; a caller who waits anyway does it itself where nobody
//! else does, and so spares two changes of threads.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use counterfoil_identity::Signer;
use counterfoil_spec::entry::Role;
use counterfoil_spec::payload::{Payload, RotatedKey};
use counterfoil_spec::time::Now;

use crate::chain::{Author, ChainTip, Drafts, Framed, NewEntry};
use crate::cost::evidence;
use crate::error::LogError;
use crate::log_keys::LogKeys;
use crate::merkle::{Frontier, Head};
use crate::note::NoteVerifier;
use crate::publish::Shared;
use crate::scan::wide;
use crate::segment;
use crate::store::SegmentWriter;
use crate::writer::Appended;

/// Entries in one append.
pub const MAX_APPEND_ENTRIES: usize = 65_536;
/// Bytes of leaves in one append.
pub const MAX_APPEND_BYTES: usize = 64 << 20;
/// Entries after which no further append joins a group.
const GROUP_ENTRIES: usize = 4096;
/// Bytes of leaves after which no further append joins a group.
const GROUP_BYTES: usize = 16 << 20;
/// Bytes of memory that each buffer keeps from one group to the next.
const KEPT_BYTES: usize = 4 << 20;

/// Called once with where the entries are, or why they are nowhere.
pub(crate) type Reply = Box<dyn FnOnce(Result<Appended, LogError>) + Send>;

/// What callers send.
pub(crate) enum Command {
    /// Append and answer.
    Append {
        /// In this order, all or none.
        entries: Vec<NewEntry>,
        /// The answer.
        reply: Reply,
    },
    /// Stop.
    Close,
}

/// Everything that one thread at a time touches.
pub(crate) struct Owner {
    pub(crate) author: Author,
    pub(crate) tip: ChainTip,
    pub(crate) tree: Frontier,
    pub(crate) segments: SegmentWriter,
    pub(crate) now: Now,
    pub(crate) shared: Arc<Shared>,
    pub(crate) buffers: Buffers,
}

/// What is written anew for each group.
#[derive(Default)]
pub(crate) struct Buffers {
    drafts: Drafts,
    framed: Framed,
}

/// Appends on their way into one group, beside their drafts.
struct Group {
    tip: ChainTip,
    keys: Arc<LogKeys>,
    replies: Vec<(usize, Reply)>,
}

impl Owner {
    /// Adds one append to a group, or answers why it cannot be.
    fn join(&mut self, group: &mut Group, entries: Vec<NewEntry>, reply: Reply) {
        let count = entries.len();
        let keys = self.keyed(&group.keys, &entries);
        match keys.and_then(|keys| Ok((keys, self.draft(group.tip, entries)?))) {
            Ok((keys, tip)) => {
                group.keys = keys;
                group.tip = tip;
                group.replies.push((count, reply));
            }
            Err(e) => reply(Err(e)),
        }
    }

    fn keys(&self) -> Arc<LogKeys> {
        Arc::clone(&self.shared.lock().signing.keys)
    }

    /// The log's keys after some more entries, which may change them only as a verifier will find it right.
    fn keyed(&self, keys: &Arc<LogKeys>, entries: &[NewEntry]) -> Result<Arc<LogKeys>, LogError> {
        let mut keys = Arc::clone(keys);
        let first = self.tree.size() + wide(self.buffers.drafts.len());
        for (index, entry) in (first..).zip(entries) {
            let before = Arc::clone(&keys);
            match &entry.payload {
                Payload::KeyRotation(rotation) if rotation.of == RotatedKey::Log => {
                    let next = keys.next(rotation)?;
                    Arc::make_mut(&mut keys).apply(index, &entry.payload)?;
                    // A head that this key cannot sign could never be published.
                    let at_hand = &self.shared.lock().signing.at_hand;
                    if !at_hand.iter().any(|signer| *signer.verifier() == next) {
                        return Err(LogError::LogKeyMissing { vkey: next.to_string() });
                    }
                    signed_by_all(entry, before.in_use().map(|key| &key.vkey).chain([&next]))?;
                }
                Payload::LogKeyRetired(_) => {
                    Arc::make_mut(&mut keys).apply(index, &entry.payload)?;
                    signed_by_all(entry, keys.in_use().map(|key| &key.vkey))?;
                }
                _ => {}
            }
        }
        Ok(keys)
    }

    /// Drafts entries behind those that are drafted, all or none.
    fn draft(&mut self, mut tip: ChainTip, entries: Vec<NewEntry>) -> Result<ChainTip, LogError> {
        let count = entries.len();
        if count > MAX_APPEND_ENTRIES {
            return Err(LogError::GroupTooLarge { entries: count, bytes: 0 });
        }
        let now = (self.now)();
        let drafts = &mut self.buffers.drafts;
        let (mark, before) = (drafts.mark(), drafts.leaf_bytes());
        for entry in entries {
            let mut drafted = self.author.draft(&mut tip, entry, now, drafts);
            let bytes = drafts.leaf_bytes() - before;
            if drafted.is_ok() && bytes > MAX_APPEND_BYTES {
                drafted = Err(LogError::GroupTooLarge { entries: count, bytes });
            }
            if let Err(e) = drafted {
                drafts.back_to(mark);
                return Err(e);
            }
        }
        Ok(tip)
    }

    /// Writes a group and answers everybody in it.
    fn settle(&mut self, group: Group) {
        let mut first = self.tree.size();
        let outcome = self.commit(group.tip, group.keys);
        for (count, reply) in group.replies {
            let appended = Appended { first, count: wide(count) };
            first += appended.count;
            reply(outcome.clone().map(|()| appended));
        }
    }

    /// Commits what is drafted, and forgets the drafts whatever comes of it.
    fn commit(&mut self, tip: ChainTip, keys: Arc<LogKeys>) -> Result<(), LogError> {
        let mut buffers = std::mem::take(&mut self.buffers);
        let outcome = self.commit_from(&mut buffers, tip, keys);
        buffers.drafts.clear(KEPT_BYTES);
        buffers.framed.clear(KEPT_BYTES);
        self.buffers = buffers;
        outcome
    }

    fn commit_from(
        &mut self,
        buffers: &mut Buffers,
        tip: ChainTip,
        keys: Arc<LogKeys>,
    ) -> Result<(), LogError> {
        //= spec/audit-log.md#recovery
        //# After an error of `fdatasync` a writer MUST append and sign nothing more (`DurabilityLost`).
        if let Some(lost) = self.shared.lock().lost.clone() {
            return Err(lost);
        }
        let Buffers { drafts, framed } = buffers;
        if drafts.len() == 0 {
            return Ok(());
        }
        self.author.frame(drafts, framed)?;
        let mut tree = self.tree.clone();
        for leaf in &framed.leaves {
            tree.push(*leaf, |_, _, _| {});
        }
        let head = Head { size: tree.size(), root: tree.root() };
        framed.frames.extend_from_slice(&segment::commit(&head));
        //= spec/audit-log.md#segments
        //# A writer MUST make a group and its commit frame durable before it acknowledges any entry of the group.
        let written = self.segments.append(self.tree.size(), &framed.frames);
        if let Err(e @ LogError::DurabilityLost { .. }) = &written {
            self.shared.change(|board| board.lost = Some(e.clone()));
        }
        written?;
        self.tree = tree;
        self.tip = tip;
        self.shared.commit(head, keys);
        Ok(())
    }

    /// Appends one group.
    pub(crate) fn append_now(&mut self, entries: Vec<NewEntry>) -> Result<Appended, LogError> {
        let (first, count) = (self.tree.size(), wide(entries.len()));
        let keys = self.keyed(&self.keys(), &entries)?;
        let tip = self.draft(self.tip, entries)?;
        self.commit(tip, keys)?;
        Ok(Appended { first, count })
    }
}

/// Whether each of these keys signs an entry beside its author.
fn signed_by_all<'a>(entry: &NewEntry, keys: impl Iterator<Item = &'a NoteVerifier>) -> Result<(), LogError> {
    for vkey in keys {
        let is_it = |(role, key): &(Role, Arc<dyn Signer>)| *role == Role::Log && key.public() == *vkey.key();
        if !entry.co_signers.iter().any(is_it) {
            return Err(LogError::LogKeyUnsigned { vkey: vkey.to_string() });
        }
    }
    Ok(())
}

/// The owner, and the way to it.
pub(crate) struct Desk {
    /// Guards the end of the log: whoever holds it commits a group, also while the disk makes that durable. Empty once
    /// the log is closed.
    owner: Mutex<Option<Owner>>,
    /// Appends that were sent to the thread and are not in a group yet: what is sent later must not overtake them.
    waiting: AtomicUsize,
}

impl Desk {
    pub(crate) fn new(owner: Owner) -> Arc<Self> {
        Arc::new(Self { owner: Mutex::new(Some(owner)), waiting: AtomicUsize::new(0) })
    }

    fn owner(&self) -> MutexGuard<'_, Option<Owner>> {
        self.owner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends on the caller's thread; gives the entries back where somebody else is at it or comes first.
    pub(crate) fn append_here(
        &self,
        entries: Vec<NewEntry>,
    ) -> Result<Result<Appended, LogError>, Vec<NewEntry>> {
        let mut owner = match self.owner.try_lock() {
            Ok(owner) => owner,
            Err(TryLockError::Poisoned(owner)) => owner.into_inner(),
            Err(TryLockError::WouldBlock) => return Err(entries),
        };
        match owner.as_mut() {
            Some(_) if self.waiting.load(Ordering::SeqCst) > 0 => Err(entries),
            Some(owner) => Ok(evidence(|| owner.append_now(entries))),
            None => Ok(Err(LogError::Closed)),
        }
    }

    /// Sends an append to the thread, and waits for room in its queue where told to.
    pub(crate) fn send(
        &self,
        commands: &SyncSender<Command>,
        entries: Vec<NewEntry>,
        reply: Reply,
        queue: Queue,
    ) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let append = Command::Append { entries, reply };
        let sent = match queue {
            Queue::Wait => commands.send(append).map_err(|unsent| TrySendError::Disconnected(unsent.0)),
            Queue::Refuse => commands.try_send(append),
        };
        let Err(unsent) = sent else { return };
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        let (command, why) = match unsent {
            TrySendError::Full(command) => (command, LogError::Overloaded),
            TrySendError::Disconnected(command) => (command, LogError::Closed),
        };
        if let Command::Append { reply, .. } = command {
            reply(Err(why));
        }
    }

    /// Works until told to stop or until nobody can send any more.
    pub(crate) fn run(&self, commands: &Receiver<Command>) {
        while let Ok(Command::Append { entries, reply }) = commands.recv() {
            let mut held = self.owner();
            let Some(owner) = held.as_mut() else { return };
            if self.commit_waiting(owner, commands, entries, reply).is_break() {
                break;
            }
        }
        *self.owner() = None;
    }

    /// Commits an append and what waits behind it as one group.
    fn commit_waiting(
        &self,
        owner: &mut Owner,
        commands: &Receiver<Command>,
        entries: Vec<NewEntry>,
        reply: Reply,
    ) -> ControlFlow<()> {
        let mut group = Group { tip: owner.tip, keys: owner.keys(), replies: Vec::new() };
        let mut flow = ControlFlow::Continue(());
        let join = |owner: &mut Owner, group: &mut Group, entries, reply| {
            self.waiting.fetch_sub(1, Ordering::SeqCst);
            evidence(|| owner.join(group, entries, reply));
        };
        join(owner, &mut group, entries, reply);
        while owner.buffers.drafts.len() < GROUP_ENTRIES && owner.buffers.drafts.leaf_bytes() < GROUP_BYTES {
            match commands.try_recv() {
                Ok(Command::Append { entries, reply }) => join(owner, &mut group, entries, reply),
                Ok(Command::Close) => {
                    flow = ControlFlow::Break(());
                    break;
                }
                Err(_) => break,
            }
        }
        evidence(|| owner.settle(group));
        flow
    }
}

/// What to do about a queue that is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Queue {
    /// Wait until there is room.
    Wait,
    /// Answer [`LogError::Overloaded`].
    Refuse,
}
