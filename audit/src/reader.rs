//! Reads entries of a log, also while its writer runs.

use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use counterfoil_spec::entry::{Body, Leaf};
use counterfoil_spec::ids::Hash;
use counterfoil_spec::time::Millis;

use crate::error::LogError;
use crate::glance::glance;
use crate::merkle::{Head, empty_root};
use crate::scan::{self, FrameReader, STREAM_CHUNK_BYTES, wide};
use crate::segment::{self, Frame, HEADER_BYTES, SegmentFile};

/// Between two places that a reader remembers, in entries.
const MARK_EVERY: u64 = 64;
/// Bytes read at a time where one entry is wanted.
const LOOKUP_CHUNK_BYTES: usize = 32 << 10;

type Each<'a> = dyn FnMut(u64, Stored<'_>) -> Result<(), LogError> + 'a;

/// What a log has of one entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored<'a> {
    /// Its leaf.
    Leaf(&'a [u8]),
    /// It was removed, and this is the hash of its leaf.
    Removed(Hash),
}

/// A reader of the entries that were committed when it was opened or refreshed.
pub struct LogReader {
    dir: PathBuf,
    origin: Option<Hash>,
    segments: Vec<Indexed>,
    head: Head,
}

struct Indexed {
    segment: SegmentFile,
    file: Arc<File>,
    /// Offsets of the first frame of every [`MARK_EVERY`] entries.
    marks: Vec<u64>,
    /// After the last commit frame, and how many entries come before it.
    end: u64,
    end_index: u64,
}

impl LogReader {
    /// Opens the `log` folder and reads it once to learn where its entries are.
    ///
    /// # Errors
    /// `Corrupt` for damage before the last commit, `Store` where a file cannot be read.
    pub fn open(dir: &Path) -> Result<Self, LogError> {
        let head = Head { size: 0, root: empty_root() };
        let mut reader = Self { dir: dir.to_owned(), origin: None, segments: Vec::new(), head };
        reader.refresh()?;
        Ok(reader)
    }

    /// Learns of entries that were committed since.
    ///
    /// # Errors
    /// As [`LogReader::open`].
    pub fn refresh(&mut self) -> Result<(), LogError> {
        let found = segment::list(&self.dir).map_err(LogError::store("list", &self.dir))?;
        // A segment without a commit may be one that a crash left; a writer that starts makes the file anew.
        self.segments.pop_if(|s| s.end_index == s.segment.first);
        let known = self.segments.len();
        for segment in found.into_iter().skip(known) {
            if let Some(last) = self.segments.last_mut() {
                extend(last, &mut self.head)?;
            }
            let file = scan::open(&segment)?;
            // A segment that is being made, or that a crash left without a header, holds nothing committed.
            match scan::check_header(&file, &segment, self.origin.as_ref()) {
                Ok(origin) => self.origin = Some(origin),
                Err(_) if file.metadata().is_ok_and(|m| m.len() < wide(HEADER_BYTES)) => break,
                Err(e) => return Err(e),
            }
            if segment.first != self.head.size {
                let reason = format!("it begins with entry {}, not {}", segment.first, self.head.size);
                return Err(LogError::corrupt(&segment.name, 0, reason));
            }
            let (end, end_index) = (wide(HEADER_BYTES), segment.first);
            self.segments.push(Indexed { segment, file, marks: Vec::new(), end, end_index });
        }
        match self.segments.last_mut() {
            Some(last) => extend(last, &mut self.head),
            None => Ok(()),
        }
    }

    /// How many entries were committed.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.head.size
    }

    /// The last commit's head, as its frame states it.
    #[must_use]
    pub const fn head(&self) -> Head {
        self.head
    }

    /// The bytes of one leaf.
    ///
    /// # Errors
    /// `OutOfRange`, `Removed`, `Corrupt`, `Store`.
    pub fn leaf(&self, index: u64) -> Result<Vec<u8>, LogError> {
        let mut found = Vec::new();
        self.frames(index, index.saturating_add(1), LOOKUP_CHUNK_BYTES, &mut |index, stored| match stored {
            Stored::Leaf(leaf) => {
                leaf.clone_into(&mut found);
                Ok(())
            }
            Stored::Removed(hash) => Err(LogError::Removed { index, hash }),
        })?;
        Ok(found)
    }

    /// One entry, decoded.
    ///
    /// # Errors
    /// As [`LogReader::leaf`], and `BadEntry`.
    pub fn entry(&self, index: u64) -> Result<(Leaf, Body), LogError> {
        Leaf::read(&self.leaf(index)?).map_err(|source| LogError::BadEntry { index, source })
    }

    /// The first entry from `index` on that is there, with its index.
    ///
    /// # Errors
    /// As [`LogReader::for_each`].
    pub fn kept_from(&self, index: u64) -> Result<Option<(u64, Body)>, LogError> {
        let mut found = None;
        let read = self.stream(index.min(self.head.size), self.head.size, |at, bytes| {
            let (_, body) = Leaf::read(bytes).map_err(|source| LogError::BadEntry { index: at, source })?;
            found = Some((at, body));
            Err(LogError::Closed)
        });
        match (found, read) {
            (None, Err(e)) => Err(e),
            (found, _) => Ok(found),
        }
    }

    /// Calls `each` for every entry from `from` on that is there, in order.
    ///
    /// # Errors
    /// As [`LogReader::entry`]; `from` may be the size, not more.
    pub fn for_each(&self, from: u64, mut each: impl FnMut(u64, &Leaf, &Body)) -> Result<(), LogError> {
        self.stream(from, self.head.size, |index, bytes| {
            let (leaf, body) = Leaf::read(bytes).map_err(|source| LogError::BadEntry { index, source })?;
            each(index, &leaf, &body);
            Ok(())
        })
    }

    /// Calls `each` with index and time of every entry of a range that is there, in order, and with the entry itself where its kind is
    /// wanted. The others are not decoded, which takes a tenth of the time.
    ///
    /// # Errors
    /// As [`LogReader::for_each`].
    pub fn survey(
        &self,
        range: Range<u64>,
        wanted: impl Fn(u16) -> bool,
        mut each: impl FnMut(u64, Millis, Option<&Body>),
    ) -> Result<(), LogError> {
        self.stream(range.start, range.end, |index, bytes| {
            let seen = glance(bytes).filter(|seen| !wanted(seen.kind));
            if let Some(seen) = seen {
                each(index, seen.time, None);
                return Ok(());
            }
            let (_, body) = Leaf::read(bytes).map_err(|source| LogError::BadEntry { index, source })?;
            each(index, body.time, Some(&body));
            Ok(())
        })
    }

    /// Calls `each` with the bytes of every leaf from `from` up to and without `to` that is there, in order, until it fails.
    ///
    /// # Errors
    /// As [`LogReader::leaf`], and what `each` says.
    pub fn stream<E: From<LogError>>(
        &self,
        from: u64,
        to: u64,
        mut each: impl FnMut(u64, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.walk(from, to, |index, stored| match stored {
            Stored::Leaf(leaf) => each(index, leaf),
            Stored::Removed(_) => Ok(()),
        })
    }

    /// The same, with the hashes of leaves that were removed in their places.
    ///
    /// # Errors
    /// As [`LogReader::stream`].
    pub fn walk<E: From<LogError>>(
        &self,
        from: u64,
        to: u64,
        mut each: impl FnMut(u64, Stored<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if from == to {
            return Ok(());
        }
        let mut stopped = None;
        let read = self.frames(from, to, STREAM_CHUNK_BYTES, &mut |index, stored| {
            each(index, stored).map_err(|e| {
                stopped = Some(e);
                LogError::Closed
            })
        });
        match (stopped, read) {
            (Some(e), _) => Err(e),
            (None, read) => Ok(read?),
        }
    }

    fn frames(&self, from: u64, to: u64, chunk: usize, each: &mut Each<'_>) -> Result<(), LogError> {
        if to > self.head.size || from >= to {
            return Err(LogError::OutOfRange { index: from, size: self.head.size });
        }
        for part in self.segments.iter().filter(|s| s.end_index > from && s.segment.first < to) {
            let (mut index, offset) = part.near(from.max(part.segment.first));
            let mut frames = FrameReader::new(part.file.clone(), offset, chunk);
            while index < to.min(part.end_index) {
                let next = frames.next().map_err(LogError::store("read", &part.segment.path))?;
                let stored = match next {
                    Some((_, Frame::Entry { leaf, intact: true })) => Stored::Leaf(leaf),
                    Some((_, Frame::Removed { hash, intact: true })) => Stored::Removed(hash),
                    Some((_, Frame::Commit(_))) => continue,
                    _ => {
                        return Err(LogError::corrupt(
                            &part.segment.name,
                            frames.offset(),
                            "no intact frame",
                        ));
                    }
                };
                if index >= from {
                    each(index, stored)?;
                }
                index += 1;
            }
        }
        Ok(())
    }
}

impl Indexed {
    /// A remembered place at or before an entry of this segment.
    fn near(&self, index: u64) -> (u64, u64) {
        let mark = (index - self.segment.first) / MARK_EVERY;
        let known = usize::try_from(mark).ok().and_then(|m| self.marks.get(m));
        known.map_or((self.segment.first, wide(HEADER_BYTES)), |offset| {
            (self.segment.first + mark * MARK_EVERY, *offset)
        })
    }
}

/// Reads on behind the last commit that is known of one segment.
fn extend(part: &mut Indexed, head: &mut Head) -> Result<(), LogError> {
    let store = |e| LogError::store("read", &part.segment.path)(e);
    let mut frames = FrameReader::new(part.file.clone(), part.end, STREAM_CHUNK_BYTES);
    let mut index = part.end_index;
    let mut marks = Vec::new();
    while let Some((offset, frame)) = frames.next().map_err(store)? {
        match frame {
            Frame::Entry { intact: true, .. } | Frame::Removed { intact: true, .. } => {
                if (index - part.segment.first).is_multiple_of(MARK_EVERY) {
                    marks.push(offset);
                }
                index += 1;
            }
            Frame::Commit(found) if found.size == index => {
                part.marks.append(&mut marks);
                part.end = frames.offset();
                part.end_index = index;
                *head = found;
            }
            _ => {
                let is_cut = matches!(frame, Frame::Short);
                let next = scan::find_commit(&part.file, offset + 1).map_err(store)?;
                // A group that was being written when its frame was read is whole once its commit is there.
                if is_cut && next.is_some() {
                    frames.seek(offset);
                    if frames.continues().map_err(store)? {
                        continue;
                    }
                }
                return match next {
                    Some(_) => {
                        Err(LogError::corrupt(&part.segment.name, offset, "damage before a commit frame"))
                    }
                    None => Ok(()),
                };
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
