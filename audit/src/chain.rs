//! An author's chain: from what an author wants to say to signed leaves.

use std::sync::Arc;

use counterfoil_identity::{SignFault, Signer};
use counterfoil_spec::encode::append_canonical;
use counterfoil_spec::entry::{
    Anchor, Body, ENTRY_VERSION, EntrySignature, Role, append_leaf, entry_signing_input,
};
use counterfoil_spec::ids::{Hash, Kid, NetId, Serial};
use counterfoil_spec::limits::{MAX_LEAF_BYTES, MAX_LEAF_SIGNATURES};
use counterfoil_spec::payload::Payload;
use counterfoil_spec::time::Millis;

use crate::error::LogError;
use crate::glance::chain_hash;
use crate::kinds::may_author;
use crate::merkle::leaf_hash;
use crate::segment;

/// Entries from which on more than one thread signs.
const PARALLEL_SIGNATURES: usize = 16;

/// What an author wants logged.
#[derive(Clone)]
pub struct NewEntry {
    /// Unique in the log for its kind.
    pub serial: Serial,
    /// What happened.
    pub payload: Payload,
    /// Who signs besides the author.
    pub co_signers: Vec<(Role, Arc<dyn Signer>)>,
    /// Another log's head, where the author wants to state it.
    pub anchor: Option<Anchor>,
}

impl NewEntry {
    /// An entry that its author alone signs.
    #[must_use]
    pub fn new(serial: Serial, payload: impl Into<Payload>) -> Self {
        Self { serial, payload: payload.into(), co_signers: Vec::new(), anchor: None }
    }
}

/// The end of one author's chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ChainTip {
    /// The sequence number of the next entry.
    pub(crate) seq: u64,
    /// The hash of the last body, or zeros.
    pub(crate) prev: Hash,
    /// The time of the log's last entry, whoever wrote it.
    pub(crate) time: Millis,
}

impl ChainTip {
    pub(crate) const fn new() -> Self {
        Self { seq: 0, prev: Hash::from_bytes([0; 32]), time: Millis(0) }
    }
}

/// Who writes a log.
pub(crate) struct Author {
    pub(crate) key: Arc<dyn Signer>,
    pub(crate) kid: Kid,
    pub(crate) role: Role,
    pub(crate) origin: String,
    pub(crate) net_id: NetId,
    /// How many may sign side by side. Asking the system takes as long as a signature, so it is asked once.
    pub(crate) threads: usize,
}

/// Bodies in their places in the chain, one behind the other, not yet signed.
#[derive(Default)]
pub(crate) struct Drafts {
    bodies: Vec<u8>,
    each: Vec<Draft>,
    leaf_bytes: usize,
}

struct Draft {
    /// Where its body ends.
    end: usize,
    co_signers: Vec<(Role, Arc<dyn Signer>)>,
}

/// How much was drafted at some point.
#[derive(Clone, Copy)]
pub(crate) struct Mark {
    bodies: usize,
    each: usize,
    leaf_bytes: usize,
}

impl Drafts {
    pub(crate) fn len(&self) -> usize {
        self.each.len()
    }

    /// How long their leaves will be.
    pub(crate) const fn leaf_bytes(&self) -> usize {
        self.leaf_bytes
    }

    pub(crate) fn mark(&self) -> Mark {
        Mark { bodies: self.bodies.len(), each: self.each.len(), leaf_bytes: self.leaf_bytes }
    }

    /// Forgets what was drafted since.
    pub(crate) fn back_to(&mut self, mark: Mark) {
        self.bodies.truncate(mark.bodies);
        self.each.truncate(mark.each);
        self.leaf_bytes = mark.leaf_bytes;
    }

    /// Forgets all of them and keeps the memory for the next, unless that is more than `kept_bytes`.
    pub(crate) fn clear(&mut self, kept_bytes: usize) {
        self.back_to(Mark { bodies: 0, each: 0, leaf_bytes: 0 });
        self.bodies.shrink_to(kept_bytes);
        self.each.shrink_to(kept_bytes / size_of::<Draft>());
    }
}

/// How long the leaf of a body is.
const fn leaf_bytes(body: usize, signatures: usize) -> usize {
    let head = match body {
        0..=23 => 1,
        24..=0xff => 2,
        0x100..=0xffff => 3,
        _ => 5,
    };
    // One array head around body and signatures, one around the signatures; 77 bytes for each of those.
    2 + head + body + 77 * signatures
}

/// The frames of a group's entries, and the hashes of its leaves.
#[derive(Default)]
pub(crate) struct Framed {
    pub(crate) frames: Vec<u8>,
    pub(crate) leaves: Vec<Hash>,
}

impl Framed {
    /// As [`Drafts::clear`].
    pub(crate) fn clear(&mut self, kept_bytes: usize) {
        self.frames.clear();
        self.leaves.clear();
        self.frames.shrink_to(kept_bytes);
        self.leaves.shrink_to(kept_bytes / size_of::<Hash>());
    }
}

impl Author {
    /// Gives an entry its place behind `tip`, which moves on. After an error `drafts` may have a part of it.
    pub(crate) fn draft(
        &self,
        tip: &mut ChainTip,
        entry: NewEntry,
        now: Millis,
        drafts: &mut Drafts,
    ) -> Result<(), LogError> {
        let count = 1 + entry.co_signers.len();
        if count > MAX_LEAF_SIGNATURES {
            return Err(LogError::TooManySigners { count, limit: MAX_LEAF_SIGNATURES });
        }
        let kind = entry.payload.kind();
        if !may_author(kind, self.role) {
            return Err(LogError::WrongAuthor { kind, role: self.role });
        }
        //= spec/audit-log.md#entries
        //# A writer whose clock went back MUST repeat the time of the last entry.
        let time = now.max(tip.time);
        let body = Body {
            version: ENTRY_VERSION,
            author: self.kid,
            seq: tip.seq,
            prev: tip.prev,
            time,
            serial: entry.serial,
            payload: entry.payload,
            anchor: entry.anchor,
        };
        let start = drafts.bodies.len();
        append_canonical(&body, &mut drafts.bodies);
        let body = drafts.bodies.get(start..).unwrap_or_default();
        let len = leaf_bytes(body.len(), count);
        if len > MAX_LEAF_BYTES {
            return Err(LogError::LeafTooLong { len, limit: MAX_LEAF_BYTES });
        }
        *tip = ChainTip { seq: tip.seq + 1, prev: chain_hash(body), time };
        drafts.leaf_bytes += len;
        drafts.each.push(Draft { end: drafts.bodies.len(), co_signers: entry.co_signers });
        Ok(())
    }

    /// Signs drafts and appends their frames and the hashes of their leaves, in the same order.
    pub(crate) fn frame(&self, drafts: &Drafts, out: &mut Framed) -> Result<(), SignFault> {
        let all = drafts.each.as_slice();
        if self.threads < 2 || all.len() < PARALLEL_SIGNATURES {
            return self.frame_share(drafts, 0, all, out);
        }
        let share = all.len().div_ceil(self.threads);
        let (own, others) = all.split_at(share);
        std::thread::scope(|scope| {
            let mut start = own.last().map_or(0, |draft| draft.end);
            let mut workers = Vec::new();
            for part in others.chunks(share) {
                let from = start;
                workers.push(scope.spawn(move || {
                    let mut framed = Framed::default();
                    self.frame_share(drafts, from, part, &mut framed).map(|()| framed)
                }));
                start = part.last().map_or(start, |draft| draft.end);
            }
            let mut done = self.frame_share(drafts, 0, own, out);
            for worker in workers {
                #[expect(clippy::expect_used, reason = "signing does not panic")]
                let part = worker.join().expect("a signing thread ended");
                done = done.and(part.map(|part| {
                    out.frames.extend_from_slice(&part.frames);
                    out.leaves.extend_from_slice(&part.leaves);
                }));
            }
            done
        })
    }

    /// The same for some drafts that follow each other; the body of the first begins at `start`.
    fn frame_share(
        &self,
        drafts: &Drafts,
        mut start: usize,
        share: &[Draft],
        out: &mut Framed,
    ) -> Result<(), SignFault> {
        let (mut signatures, mut leaf) = (Vec::with_capacity(MAX_LEAF_SIGNATURES), Vec::new());
        for draft in share {
            let body = drafts.bodies.get(start..draft.end).unwrap_or_default();
            start = draft.end;
            signatures.clear();
            signatures.push(self.signature(self.role, &self.key, body)?);
            for (role, key) in &draft.co_signers {
                signatures.push(self.signature(*role, key, body)?);
            }
            leaf.clear();
            append_leaf(body, &signatures, &mut leaf);
            segment::push_entry(&mut out.frames, &leaf);
            out.leaves.push(leaf_hash(&leaf));
        }
        Ok(())
    }

    fn signature(&self, role: Role, key: &Arc<dyn Signer>, body: &[u8]) -> Result<EntrySignature, SignFault> {
        let kid = if Arc::ptr_eq(key, &self.key) { self.kid } else { key.public().kid() };
        let input = entry_signing_input(&self.net_id, &self.origin, role, &kid, body);
        Ok(EntrySignature { role, kid, sig: key.sign(&input)? })
    }
}

#[cfg(test)]
mod tests;
