//! Reads segments front to back into batches, past damage wherever the next commit frame says where it ends.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use counterfoil_spec::ids::Hash;
use counterfoil_spec::rule::FaultKind;

use super::decode::Batch;
use super::findings::{Findings, fault};
use crate::error::LogError;
use crate::merkle::{Head, empty_root};
use crate::scan::{self, FrameReader, STREAM_CHUNK_BYTES, wide};
use crate::segment::{self, COMMIT_BYTES, Frame, HEADER_BYTES, HeaderError, SegmentFile};

/// Entries in one batch.
pub(super) const BATCH_ENTRIES: usize = 512;
/// Bytes of leaves after which a batch is full.
pub(super) const BATCH_BYTES: usize = 1 << 20;

/// One thing that a segment holds.
pub(super) enum Item {
    /// An entry; what it decodes to is at the same place of the batch's `decoded`.
    Entry(EntryItem),
    /// An entry that was removed.
    Removed(RemovedItem),
    /// A commit frame.
    Commit { head: Head, segment: usize, offset: u64 },
    /// Entries that cannot be told apart any more.
    Lost { indexes: Range<u64> },
}

/// Where an entry was.
#[derive(Clone, Copy)]
pub(super) struct RemovedItem {
    pub(super) index: u64,
    pub(super) segment: usize,
    pub(super) offset: u64,
    /// The hash of its leaf, where the file has that.
    pub(super) hash: Option<Hash>,
    /// Whether the frame's checksum is right.
    pub(super) intact: bool,
}

/// Where an entry is.
#[derive(Clone)]
pub(super) struct EntryItem {
    pub(super) index: u64,
    pub(super) segment: usize,
    pub(super) offset: u64,
    /// Its leaf within the batch's bytes.
    pub(super) span: Range<usize>,
    /// Whether the frame's checksum is right.
    pub(super) intact: bool,
}

/// Reads a log's segments as they were when it was made.
pub(super) struct Feed {
    pub(super) segments: Vec<SegmentFile>,
    /// The last commit frame of the last segment that has one.
    pub(super) head: Head,
    /// Where that segment's committed part ends.
    end: u64,
    pub(super) torn_bytes: u64,
    /// The file that ends with them, and where they begin.
    pub(super) torn: Option<(String, u64)>,
    /// What the first readable header says.
    pub(super) origin: Option<Hash>,
    index: u64,
    /// What the newest commit frame that was read counts.
    committed: u64,
    next_segment: usize,
    frames: Option<FrameReader>,
}

/// The last commit frame of a file, with the offset after it.
fn last_commit(file: &File, len: u64) -> std::io::Result<Option<(u64, Head)>> {
    let mut high = len;
    while high >= wide(COMMIT_BYTES) {
        let low = high.saturating_sub(wide(STREAM_CHUNK_BYTES));
        let mut buf = vec![0; usize::try_from(high - low).unwrap_or_default()];
        file.read_exact_at(&mut buf, low)?;
        for (at, window) in buf.windows(COMMIT_BYTES).enumerate().rev() {
            if window.starts_with(&[0; 4])
                && let Frame::Commit(head) = segment::parse(window)
            {
                return Ok(Some((low + wide(at + COMMIT_BYTES), head)));
            }
        }
        if low == 0 {
            break;
        }
        high = low + wide(COMMIT_BYTES) - 1;
    }
    Ok(None)
}

impl Feed {
    pub(super) fn open(dir: &Path) -> Result<Self, LogError> {
        let mut segments = segment::list(dir).map_err(LogError::store("list", dir))?;
        let head = Head { size: 0, root: empty_root() };
        let mut feed = Self {
            segments: Vec::new(),
            head,
            end: 0,
            torn_bytes: 0,
            torn: None,
            origin: None,
            index: 0,
            committed: 0,
            next_segment: 0,
            frames: None,
        };
        while let Some(last) = segments.last() {
            let store = |e| LogError::store("read", &last.path)(e);
            let file = scan::open(last)?;
            let len = file.metadata().map_err(store)?.len();
            if let Some((end, head)) = last_commit(&file, len).map_err(store)? {
                feed.end = end;
                feed.head = head;
                feed.torn_bytes += len - end;
                if len > end && feed.torn.is_none() {
                    feed.torn = Some((last.name.clone(), end));
                }
                break;
            }
            feed.torn_bytes += len;
            feed.torn = Some((last.name.clone(), 0));
            segments.pop();
        }
        feed.segments = segments;
        Ok(feed)
    }

    fn name(&self, segment: usize) -> &str {
        self.segments.get(segment).map_or(segment::FOLDER, |s| s.name.as_str())
    }

    /// Fills a batch; false where there is nothing left.
    pub(super) fn fill(&mut self, batch: &mut Batch, findings: &mut Findings) -> Result<bool, LogError> {
        while batch.entries < BATCH_ENTRIES && batch.bytes.len() < BATCH_BYTES {
            let Some(mut frames) = self.frames.take() else {
                if !self.begin(batch, findings)? {
                    break;
                }
                continue;
            };
            if self.step(&mut frames, batch, findings)? {
                self.frames = Some(frames);
            }
        }
        Ok(!batch.items.is_empty())
    }

    fn lose(&mut self, until: u64, batch: &mut Batch) {
        if until > self.index {
            batch.items.push(Item::Lost { indexes: self.index..until });
            self.index = until;
        }
    }

    /// Opens the next segment; false where there is none.
    fn begin(&mut self, batch: &mut Batch, findings: &mut Findings) -> Result<bool, LogError> {
        let Some(segment) = self.segments.get(self.next_segment).cloned() else { return Ok(false) };
        self.next_segment += 1;
        let file = scan::open(&segment)?;
        let header = scan::read_head(&file).map_err(LogError::store("read", &segment.path))?;
        match segment::check_header(&header, self.origin.as_ref(), segment.first) {
            Ok(origin) => self.origin = Some(origin),
            Err(HeaderError::OtherOrigin) => {
                findings.file(
                    FaultKind::OriginNotPinned,
                    &segment.name,
                    HeaderError::OtherOrigin.to_string(),
                );
            }
            Err(e) => findings.file(FaultKind::Corrupt, &segment.name, format!("byte 0: {e}")),
        }
        if segment.first > self.head.size {
            let detail = format!("byte 0: entries are committed up to {} alone; not read", self.head.size);
            findings.file(FaultKind::Corrupt, &segment.name, detail);
            return Ok(true);
        }
        if segment.first > self.index {
            let detail = format!("entries {} to {} are in no segment", self.index, segment.first - 1);
            findings.push(fault(FaultKind::Corrupt, Some(self.index), &segment.name, detail));
            self.lose(segment.first, batch);
        } else if segment.first < self.index {
            let detail = format!("it repeats entries from {} on and was not read", segment.first);
            findings.file(FaultKind::Corrupt, &segment.name, detail);
            return Ok(true);
        }
        self.frames = Some(FrameReader::new(file, wide(HEADER_BYTES), STREAM_CHUNK_BYTES));
        Ok(true)
    }

    /// Reads one frame; false where the segment ends.
    fn step(
        &mut self,
        frames: &mut FrameReader,
        batch: &mut Batch,
        findings: &mut Findings,
    ) -> Result<bool, LogError> {
        let segment = self.next_segment - 1;
        let is_last = self.next_segment == self.segments.len();
        if is_last && frames.offset() >= self.end {
            return Ok(false);
        }
        let path = self.segments.get(segment).map(|s| s.path.clone()).unwrap_or_default();
        let store = |e| LogError::store("read", &path)(e);
        let Some((offset, frame)) = frames.next().map_err(store)? else {
            //= spec/audit-log.md#segments
            //# A segment MUST end with a commit frame before the next one is begun.
            if self.index > self.committed {
                findings.file(FaultKind::Corrupt, self.name(segment), "it ends without a commit frame");
            }
            return Ok(false);
        };
        let start = batch.bytes.len();
        let bad_commit = frame == Frame::BadCommit;
        let removed = match frame {
            Frame::Removed { hash, intact } => Some((hash, intact)),
            _ => None,
        };
        match frame {
            Frame::Entry { leaf, intact } => {
                batch.bytes.extend_from_slice(leaf);
                if intact || frames.continues().map_err(store)? {
                    let span = start..batch.bytes.len();
                    batch.entry(EntryItem { index: self.index, segment, offset, span, intact });
                    self.index += 1;
                    return Ok(true);
                }
                batch.bytes.truncate(start);
            }
            Frame::Commit(head) if (self.index..=self.limit()).contains(&head.size) => {
                self.commit(head, Place { segment, offset }, batch, findings);
                return Ok(true);
            }
            _ => {}
        }
        if let Some((hash, intact)) = removed
            && (intact || frames.continues().map_err(store)?)
        {
            let hash = Some(hash);
            batch.removed(RemovedItem { index: self.index, segment, offset, hash, intact });
            self.index += 1;
            return Ok(true);
        }
        if bad_commit && frames.continues().map_err(store)? {
            let detail = format!("byte {offset}: the commit frame's checksum is wrong");
            findings.file(FaultKind::Corrupt, self.name(segment), detail);
            return Ok(true);
        }
        self.resume_behind(frames, Place { segment, offset }, batch, findings)
    }

    /// How many entries a commit frame of the segment that is read can count.
    fn limit(&self) -> u64 {
        self.segments.get(self.next_segment).map_or(self.head.size, |next| next.first.min(self.head.size))
    }

    /// Follows a commit frame. Its checksum protects it from accidents alone: that it counts entries does not put them there.
    fn commit(&mut self, head: Head, at: Place, batch: &mut Batch, findings: &mut Findings) {
        let Place { segment, offset } = at;
        if head.size > self.index {
            let detail = format!(
                "byte {offset}: a commit frame counts {} entries, and {} are there",
                head.size, self.index
            );
            findings.push(fault(FaultKind::Corrupt, Some(self.index), self.name(segment), detail));
            self.lose(head.size, batch);
        } else if head.size == self.committed {
            let detail = format!("byte {offset}: a commit frame without an entry of its own");
            findings.file(FaultKind::Corrupt, self.name(segment), detail);
        }
        self.committed = head.size;
        batch.items.push(Item::Commit { head, segment, offset });
    }

    /// Goes on at the next commit frame behind damage.
    fn resume_behind(
        &mut self,
        frames: &mut FrameReader,
        damage: Place,
        batch: &mut Batch,
        findings: &mut Findings,
    ) -> Result<bool, LogError> {
        let Place { segment, offset } = damage;
        let detail = format!("byte {offset}: no intact frame");
        findings.push(fault(FaultKind::Corrupt, Some(self.index), self.name(segment), detail));
        let path = self.segments.get(segment).map(|s| s.path.clone()).unwrap_or_default();
        let mut from = offset + 1;
        while let Some((at, head)) =
            scan::find_commit(frames.file(), from).map_err(LogError::store("read", &path))?
        {
            if (self.index..=self.limit()).contains(&head.size) {
                self.lose(head.size, batch);
                frames.seek(at);
                return Ok(true);
            }
            from = at + 1;
        }
        Ok(false)
    }
}

/// Where a frame begins.
#[derive(Clone, Copy)]
struct Place {
    segment: usize,
    offset: u64,
}
