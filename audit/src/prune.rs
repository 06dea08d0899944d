//! Removes old entries: what a `prune` of the log names, and nothing else.
//!
//! A segment with entries that go is written anew beside itself, with the hash of each leaf in its place, and renamed. So a
//! process that dies leaves the old one or the new one, and the next start goes on with what is left.

use std::collections::HashSet;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use counterfoil_identity::digest::context;
use counterfoil_spec::encode::from_canonical;
use counterfoil_spec::entry::{Body, Leaf};
use counterfoil_spec::ids::{Hash, Serial};
use counterfoil_spec::limits::{MAX_LEAF_BYTES, MAX_PRUNE_KEPT};
use counterfoil_spec::payload::{Payload, Prune, REMOVABLE_KINDS, RemovedKind};
use counterfoil_spec::receipt::ReceiptBody;
use counterfoil_spec::time::{Millis, Seconds};

use crate::disk::{Disk, Existing};
use crate::error::LogError;
use crate::glance::glance;
use crate::merkle::leaf_hash;
use crate::reader::{LogReader, Stored};
use crate::scan::{self, FrameReader, STREAM_CHUNK_BYTES, wide};
use crate::segment::{self, Frame, HEADER_BYTES, SegmentFile};
use crate::store::sync_folder;

/// A request whose entries lie on both sides of an end began before it; clocks of nodes and router may differ by less than this.
const STRADDLE_MS: u64 = 600_000;

/// Whether old entries of a kind may be removed.
#[must_use]
pub fn is_removable(kind: u16) -> bool {
    REMOVABLE_KINDS.contains(&kind)
}

/// The hash over what is removed, entry by entry.
#[derive(Debug, Clone)]
pub(crate) struct RemovedHash(blake3::Hasher);

impl RemovedHash {
    pub(crate) fn new() -> Self {
        Self(blake3::Hasher::new_derive_key(context::REMOVED))
    }

    pub(crate) fn add(&mut self, index: u64, leaf: &Hash) {
        self.0.update(&index.to_be_bytes()).update(leaf.as_bytes());
    }

    pub(crate) fn end(&self) -> Hash {
        Hash::from_bytes(*self.0.finalize().as_bytes())
    }
}

/// What goes of a range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removal {
    /// Entries of removable kinds that stay; more than [`MAX_PRUNE_KEPT`] where there are too many for one `prune`.
    pub kept: Vec<u64>,
    /// How many of each kind go.
    pub removed: Vec<RemovedKind>,
    /// The hash over them.
    pub hash: Hash,
}

/// Says what a prune of a range removes. `each` sees every entry that goes.
///
/// # Errors
/// What the log says, and `Removed` where an entry of the range is gone already.
pub fn plan(
    reader: &LogReader,
    range: Range<u64>,
    mut each: impl FnMut(u64, &Body),
) -> Result<Removal, LogError> {
    let beyond = Beyond::read(reader, range.end)?;
    let mut kept = Vec::new();
    let mut counts = REMOVABLE_KINDS.map(|kind| RemovedKind { kind, count: 0 });
    let mut hash = RemovedHash::new();
    reader.walk(range.start, range.end, |index, stored| {
        let bytes = match stored {
            Stored::Leaf(bytes) => bytes,
            Stored::Removed(hash) => return Err(LogError::Removed { index, hash }),
        };
        let (_, body) = Leaf::read(bytes).map_err(|source| LogError::BadEntry { index, source })?;
        let kind = body.payload.kind();
        if let Some(of) = counts.iter_mut().find(|of| of.kind == kind) {
            if beyond.goes_on(&body) {
                // One more than fit says that they do not.
                if kept.len() <= MAX_PRUNE_KEPT {
                    kept.push(index);
                }
            } else {
                of.count += 1;
                hash.add(index, &leaf_hash(bytes));
                each(index, &body);
            }
        }
        Ok::<(), LogError>(())
    })?;
    let removed = counts.into_iter().filter(|of| of.count > 0).collect();
    Ok(Removal { kept, removed, hash: hash.end() })
}

/// Requests and hours of which there are entries at or behind an end, as far as there can be any before it.
#[derive(Default)]
struct Beyond {
    requests: HashSet<Serial>,
    hours: HashSet<Seconds>,
}

impl Beyond {
    fn read(reader: &LogReader, end: u64) -> Result<Self, LogError> {
        let mut out = Self::default();
        let Some((_, first)) = reader.kept_from(end)? else { return Ok(out) };
        reader.for_each(end, |_, _, body| match &body.payload {
            Payload::Uptime(uptime) if uptime.hour.millis() <= first.time => {
                out.hours.insert(uptime.hour);
            }
            payload => {
                if let Some((request, began)) = request(body.serial, payload)
                    && began.0 <= first.time.0.saturating_add(STRADDLE_MS)
                {
                    out.requests.insert(request);
                }
            }
        })?;
        Ok(out)
    }

    //= spec/audit-log.md#removal
    //# An entry MUST stay that belongs to a request, or says uptime of an hour, of which there are entries at or behind `end`
    fn goes_on(&self, body: &Body) -> bool {
        match &body.payload {
            Payload::Uptime(uptime) => self.hours.contains(&uptime.hour),
            payload => {
                request(body.serial, payload).is_some_and(|(request, _)| self.requests.contains(&request))
            }
        }
    }
}

/// The request that an entry is of, and about when that began.
fn request(serial: Serial, payload: &Payload) -> Option<(Serial, Millis)> {
    match payload {
        Payload::Inference(inference) => Some((serial, inference.started)),
        Payload::Work(work) => {
            let body: Option<ReceiptBody> = from_canonical(&work.receipt.body, MAX_LEAF_BYTES).ok();
            Some((work.request, body.map_or(Millis(0), |body| body.opened)))
        }
        _ => None,
    }
}

/// A log whose segments are changed.
pub(crate) struct Pruned<'a> {
    pub(crate) dir: &'a Path,
    pub(crate) origin: &'a Hash,
    pub(crate) disk: &'a Arc<dyn Disk>,
}

impl Pruned<'_> {
    /// Removes what the prunes of a log name and what is still there, each `(index, prune)` after the other; says how many
    /// entries that were.
    //= spec/audit-log.md#removal
    //# A router MUST remove nothing but what a `prune` of its log names, and MUST finish what one names when it starts again.
    pub(crate) fn carry_out(&self, prunes: &[(u64, Prune)]) -> Result<u64, LogError> {
        let mut all = 0;
        for (index, prune) in prunes {
            let reader = LogReader::open(self.dir)?;
            let left = left(&reader, *index, prune)?;
            if left > 0 {
                self.remove(&reader, prune)?;
            }
            all += left;
        }
        Ok(all)
    }

    fn remove(&self, reader: &LogReader, prune: &Prune) -> Result<(), LogError> {
        let segments = segment::list(self.dir).map_err(LogError::store("list", self.dir))?;
        let ends = segments.iter().skip(1).map(|s| s.first).chain([reader.size()]);
        for (segment, end) in segments.iter().zip(ends) {
            let (from, to) = (segment.first.max(prune.first), end.min(prune.end));
            let mut goes = false;
            if from < to {
                reader.walk(from, to, |index, stored| {
                    goes |= matches!(stored, Stored::Leaf(leaf) if is_named(prune, index, leaf));
                    Ok::<(), LogError>(())
                })?;
            }
            if goes {
                self.rewrite(segment, prune)?;
            }
        }
        Ok(())
    }

    fn rewrite(&self, segment: &SegmentFile, prune: &Prune) -> Result<(), LogError> {
        let path = segment.path.with_extension("log.tmp");
        let written = self.write(segment, &path, prune);
        if let Err(e) = written {
            // What a full disk took of it is given back.
            let _ = self.disk.remove_file(&path);
            return Err(e);
        }
        self.disk.rename(&path, &segment.path).map_err(LogError::store("rename", &path))?;
        sync_folder(&**self.disk, &self.dir.join(segment::FOLDER))
    }

    /// Writes a segment without the entries that a prune names. Bytes behind its last commit were cut off before.
    fn write(&self, segment: &SegmentFile, path: &Path, prune: &Prune) -> Result<(), LogError> {
        let file = scan::open(segment)?;
        scan::check_header(&file, segment, Some(self.origin))?;
        let out = self.disk.create(path, Existing::Empty).map_err(LogError::store("create", path))?;
        let mut frames = FrameReader::new(file, wide(HEADER_BYTES), STREAM_CHUNK_BYTES);
        let (mut bytes, mut at, mut index) = (segment::header(self.origin, segment.first), 0, segment.first);
        loop {
            let frame = frames.next().map_err(LogError::store("read", &segment.path))?;
            let over = frame.is_none();
            match frame {
                None => {}
                Some((_, Frame::Entry { leaf, intact: true })) => {
                    if is_named(prune, index, leaf) {
                        segment::push_removed(&mut bytes, &leaf_hash(leaf));
                    } else {
                        segment::push_entry(&mut bytes, leaf);
                    }
                    index += 1;
                }
                Some((_, Frame::Removed { hash, intact: true })) => {
                    segment::push_removed(&mut bytes, &hash);
                    index += 1;
                }
                Some((_, Frame::Commit(head))) => bytes.extend_from_slice(&segment::commit(&head)),
                Some((offset, _)) => return Err(LogError::corrupt(&segment.name, offset, "no intact frame")),
            }
            if over || bytes.len() >= STREAM_CHUNK_BYTES {
                self.disk.write_at(&out, &bytes, at).map_err(LogError::store("write", path))?;
                at += wide(bytes.len());
                bytes.clear();
            }
            if over {
                break;
            }
        }
        let lost = |e| LogError::DurabilityLost { detail: format!("fdatasync of {}: {e}", path.display()) };
        self.disk.sync(&out).map_err(lost)
    }
}

/// Whether a prune removes this entry.
fn is_named(prune: &Prune, index: u64, leaf: &[u8]) -> bool {
    (prune.first..prune.end).contains(&index)
        && glance(leaf).is_some_and(|seen| is_removable(seen.kind))
        && prune.kept.binary_search(&index).is_err()
}

/// How many of a prune's entries are still there, once the whole of them is what it says.
fn left(reader: &LogReader, index: u64, prune: &Prune) -> Result<u64, LogError> {
    let differs = || LogError::PruneDiffers { index };
    if prune.end > index || prune.first >= prune.end {
        return Err(differs());
    }
    let (mut left, mut gone, mut hash) = (0, 0, RemovedHash::new());
    reader.walk(prune.first, prune.end, |at, stored| {
        match stored {
            Stored::Leaf(leaf) if is_named(prune, at, leaf) => {
                left += 1;
                hash.add(at, &leaf_hash(leaf));
            }
            Stored::Leaf(_) => {}
            Stored::Removed(leaf) => {
                gone += 1;
                hash.add(at, &leaf);
            }
        }
        Ok::<(), LogError>(())
    })?;
    let is_said = hash.end() == prune.hash && left + gone == prune.count();
    if left == 0 || is_said { Ok(left) } else { Err(differs()) }
}
