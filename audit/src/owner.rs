//! The owner thread: takes what waits, gives it its place, signs it, writes it as one group, and answers.

use std::sync::Arc;
use std::sync::mpsc::Receiver;

use counterfoil_spec::time::Now;

use crate::chain::{Author, ChainTip, Draft, NewEntry};
use crate::cost::evidence;
use crate::error::LogError;
use crate::merkle::{Frontier, Head, leaf_hash};
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

/// Everything that only the owner thread touches.
pub(crate) struct Owner {
    pub(crate) author: Author,
    pub(crate) tip: ChainTip,
    pub(crate) tree: Frontier,
    pub(crate) segments: SegmentWriter,
    pub(crate) now: Now,
    pub(crate) shared: Arc<Shared>,
}

/// Appends on their way into one group.
struct Group {
    tip: ChainTip,
    drafts: Vec<Draft>,
    bytes: usize,
    replies: Vec<(usize, Reply)>,
}

impl Owner {
    /// Works until told to stop or until nobody can send any more.
    pub(crate) fn run(mut self, commands: &Receiver<Command>) {
        while let Ok(Command::Append { entries, reply }) = commands.recv() {
            let mut group = Group { tip: self.tip, drafts: Vec::new(), bytes: 0, replies: Vec::new() };
            let mut close = false;
            evidence(|| self.join(&mut group, entries, reply));
            while group.drafts.len() < GROUP_ENTRIES && group.bytes < GROUP_BYTES {
                match commands.try_recv() {
                    Ok(Command::Append { entries, reply }) => {
                        evidence(|| self.join(&mut group, entries, reply));
                    }
                    Ok(Command::Close) => {
                        close = true;
                        break;
                    }
                    Err(_) => break,
                }
            }
            evidence(|| self.settle(group));
            if close {
                return;
            }
        }
    }

    /// Adds one append to a group, or answers why it cannot be.
    fn join(&self, group: &mut Group, entries: Vec<NewEntry>, reply: Reply) {
        match self.draft(group.tip, entries) {
            Ok((tip, drafts, bytes)) => {
                group.tip = tip;
                group.bytes += bytes;
                group.replies.push((drafts.len(), reply));
                group.drafts.extend(drafts);
            }
            Err(e) => reply(Err(e)),
        }
    }

    fn draft(
        &self,
        mut tip: ChainTip,
        entries: Vec<NewEntry>,
    ) -> Result<(ChainTip, Vec<Draft>, usize), LogError> {
        let count = entries.len();
        if count > MAX_APPEND_ENTRIES {
            return Err(LogError::GroupTooLarge { entries: count, bytes: 0 });
        }
        let now = (self.now)();
        let mut bytes = 0;
        let mut drafts = Vec::with_capacity(count);
        for entry in entries {
            let draft = self.author.draft(&mut tip, entry, now)?;
            bytes += draft.leaf_bytes();
            if bytes > MAX_APPEND_BYTES {
                return Err(LogError::GroupTooLarge { entries: count, bytes });
            }
            drafts.push(draft);
        }
        Ok((tip, drafts, bytes))
    }

    /// Writes a group and answers everybody in it.
    fn settle(&mut self, group: Group) {
        let mut first = self.tree.size();
        let outcome = self.commit(group.tip, group.drafts);
        for (count, reply) in group.replies {
            let appended = Appended { first, count: wide(count) };
            first += appended.count;
            reply(outcome.clone().map(|()| appended));
        }
    }

    fn commit(&mut self, tip: ChainTip, drafts: Vec<Draft>) -> Result<(), LogError> {
        //= spec/audit-log.md#recovery
        //# After an error of `fdatasync` a writer MUST append and sign nothing more (`DurabilityLost`).
        if let Some(lost) = self.shared.lock().lost.clone() {
            return Err(lost);
        }
        if drafts.is_empty() {
            return Ok(());
        }
        let mut tree = self.tree.clone();
        let mut frames = Vec::new();
        for leaf in self.author.sign(drafts)? {
            segment::push_entry(&mut frames, &leaf);
            tree.push(leaf_hash(&leaf), |_, _, _| {});
        }
        let head = Head { size: tree.size(), root: tree.root() };
        frames.extend_from_slice(&segment::commit(&head));
        //= spec/audit-log.md#segments
        //# A writer MUST make a group and its commit frame durable before it acknowledges any entry of the group.
        let written = self.segments.append(self.tree.size(), &frames);
        if let Err(e @ LogError::DurabilityLost { .. }) = &written {
            self.shared.change(|board| board.lost = Some(e.clone()));
        }
        written?;
        self.tree = tree;
        self.tip = tip;
        self.shared.change(|board| board.head = head);
        Ok(())
    }

    /// Appends before the thread runs.
    pub(crate) fn append_now(&mut self, entries: Vec<NewEntry>) -> Result<(), LogError> {
        let (tip, drafts, _) = self.draft(self.tip, entries)?;
        self.commit(tip, drafts)
    }
}
