//! Reads segments front to back: frame by frame, where the last commit is, and every committed leaf in order.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use counterfoil_spec::ids::Hash;

use crate::error::LogError;
use crate::merkle::{Head, empty_root};
use crate::segment::{self, COMMIT_BYTES, Frame, HEADER_BYTES, SegmentFile};

/// Bytes read at a time where a whole segment is read.
pub(crate) const STREAM_CHUNK_BYTES: usize = 1 << 20;

/// Turns a length into an offset; both are 64 bits wide on every platform that this builds for.
pub(crate) fn wide(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

/// Reads the frames of one segment from an offset on.
pub(crate) struct FrameReader {
    file: Arc<File>,
    buf: Vec<u8>,
    at: usize,
    base: u64,
    chunk: usize,
    eof: bool,
}

impl FrameReader {
    /// `offset` is that of a frame.
    pub(crate) fn new(file: Arc<File>, offset: u64, chunk: usize) -> Self {
        Self { file, buf: Vec::new(), at: 0, base: offset, chunk, eof: false }
    }

    /// Where the next frame begins.
    pub(crate) fn offset(&self) -> u64 {
        self.base + wide(self.at)
    }

    fn rest(&self) -> &[u8] {
        self.buf.get(self.at..).unwrap_or_default()
    }

    fn refill(&mut self) -> io::Result<()> {
        self.base = self.offset();
        self.buf.drain(..self.at);
        self.at = 0;
        let have = self.buf.len();
        // A file that is shorter than a chunk costs what it has; one byte more tells its end, as it may be growing.
        let left = self.file.metadata()?.len().saturating_sub(self.base + wide(have));
        let wanted = usize::try_from(left.saturating_add(1)).map_or(self.chunk, |left| left.min(self.chunk));
        self.buf.resize(have + wanted, 0);
        let free = self.buf.get_mut(have..).unwrap_or_default();
        let read = self.file.read_at(free, self.base + wide(have))?;
        self.buf.truncate(have + read);
        self.eof = read == 0;
        Ok(())
    }

    /// The next frame with its offset; a frame without a known end is given again and again. `None` at the end.
    pub(crate) fn next(&mut self) -> io::Result<Option<(u64, Frame<'_>)>> {
        while !self.eof && segment::is_short(self.rest()) {
            self.refill()?;
        }
        let offset = self.offset();
        let start = self.at;
        if start == self.buf.len() {
            return Ok(None);
        }
        let frame = segment::parse(self.buf.get(start..).unwrap_or_default());
        self.at = start + frame.bytes();
        Ok(Some((offset, frame)))
    }

    /// Whether an intact frame, or the end of the file, comes next.
    pub(crate) fn continues(&mut self) -> io::Result<bool> {
        while !self.eof && segment::is_short(self.rest()) {
            self.refill()?;
        }
        Ok(self.rest().is_empty() || segment::parse(self.rest()).is_intact())
    }

    /// The segment's file.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Goes to another offset.
    pub(crate) fn seek(&mut self, offset: u64) {
        self.base = offset;
        self.buf.clear();
        self.at = 0;
        self.eof = false;
    }
}

/// The first commit frame with a right checksum that begins at `from` or later, with its offset.
pub(crate) fn find_commit(file: &File, from: u64) -> io::Result<Option<(u64, Head)>> {
    let mut buf = vec![0; STREAM_CHUNK_BYTES];
    let mut base = from;
    loop {
        let mut have = 0;
        while let Some(free) = buf.get_mut(have..).filter(|f| !f.is_empty()) {
            match file.read_at(free, base + wide(have))? {
                0 => break,
                n => have += n,
            }
        }
        let bytes = buf.get(..have).unwrap_or_default();
        for (at, window) in bytes.windows(COMMIT_BYTES).enumerate() {
            if window.starts_with(&[0; 4])
                && let Frame::Commit(head) = segment::parse(window)
            {
                return Ok(Some((base + wide(at), head)));
            }
        }
        if have < buf.len() {
            return Ok(None);
        }
        base += wide(have - COMMIT_BYTES + 1);
    }
}

/// The last group of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LastGroup {
    /// Where it begins: after the commit frame before it, or with the segment.
    pub(crate) start: u64,
    /// The offset after its commit frame.
    pub(crate) end: u64,
}

/// Where the committed part of a log ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tail {
    /// Those that hold a committed entry, in order.
    pub(crate) segments: Vec<SegmentFile>,
    /// A last segment in which nothing was committed.
    pub(crate) dropped: Option<SegmentFile>,
    /// The last group of the last of `segments`.
    pub(crate) last: LastGroup,
    /// The last commit frame's.
    pub(crate) head: Head,
    /// Bytes after the last commit frame.
    pub(crate) torn_bytes: u64,
}

pub(crate) fn open(segment: &SegmentFile) -> Result<Arc<File>, LogError> {
    open_file(&segment.path).map(Arc::new).map_err(LogError::store("open", &segment.path))
}

/// Opens what is a file; to open a pipe would wait for whoever writes into it.
pub(crate) fn open_file(path: &Path) -> io::Result<File> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    File::open(path)
}

/// The first bytes of a segment, as many of a header as there are.
pub(crate) fn read_head(file: &File) -> io::Result<Vec<u8>> {
    let mut head = vec![0; HEADER_BYTES];
    let mut have = 0;
    while let Some(free) = head.get_mut(have..).filter(|f| !f.is_empty()) {
        match file.read_at(free, wide(have))? {
            0 => break,
            n => have += n,
        }
    }
    head.truncate(have);
    Ok(head)
}

/// Checks a segment's header.
pub(crate) fn check_header(
    file: &File,
    segment: &SegmentFile,
    origin: Option<&Hash>,
) -> Result<Hash, LogError> {
    let head = read_head(file).map_err(LogError::store("read", &segment.path))?;
    segment::check_header(&head, origin, segment.first)
        .map_err(|e| LogError::corrupt(&segment.name, 0, e.to_string()))
}

/// The last group of one segment, and its head; `None` where there is none.
///
/// # Errors
/// `Corrupt` where a commit frame follows damage.
fn last_commit(
    file: &Arc<File>,
    segment: &SegmentFile,
    origin: &Hash,
) -> Result<Option<(LastGroup, Head)>, LogError> {
    let store = |e| LogError::store("read", &segment.path)(e);
    let header = check_header(file, segment, Some(origin));
    let from = wide(HEADER_BYTES);
    if let Err(damage) = header {
        return match find_commit(file, 0).map_err(store)? {
            Some(_) => Err(damage),
            None => Ok(None),
        };
    }
    let (mut last, mut start) = (None, 0);
    let mut frames = FrameReader::new(file.clone(), from, STREAM_CHUNK_BYTES);
    while let Some((offset, frame)) = frames.next().map_err(store)? {
        match frame {
            Frame::Entry { intact: true, .. } | Frame::Removed { intact: true, .. } => {}
            Frame::Commit(head) => {
                let end = offset + wide(COMMIT_BYTES);
                last = Some((LastGroup { start, end }, head));
                start = end;
            }
            _ => {
                return match find_commit(file, offset + 1).map_err(store)? {
                    Some((at, _)) => Err(LogError::corrupt(
                        &segment.name,
                        offset,
                        format!("a commit frame follows at byte {at}"),
                    )),
                    None => Ok(last),
                };
            }
        }
    }
    Ok(last)
}

/// Finds where the committed part of a log ends. Only the last segment is read.
pub(crate) fn tail(dir: &Path, origin: &Hash) -> Result<Tail, LogError> {
    let mut segments = segment::list(dir).map_err(LogError::store("list", dir))?;
    let nothing = Head { size: 0, root: empty_root() };
    const NO_GROUP: LastGroup = LastGroup { start: 0, end: 0 };
    let mut tail = Tail { segments: Vec::new(), dropped: None, last: NO_GROUP, head: nothing, torn_bytes: 0 };
    while let Some(segment) = segments.last() {
        let file = open(segment)?;
        let len = file.metadata().map_err(LogError::store("read", &segment.path))?.len();
        match last_commit(&file, segment, origin)? {
            Some((group, head)) => {
                let end = group.end;
                if tail.dropped.is_some() && end != len {
                    return Err(LogError::corrupt(
                        &segment.name,
                        end,
                        "a segment that another follows has a torn tail",
                    ));
                }
                tail.torn_bytes += len - end;
                tail.last = group;
                tail.head = head;
                break;
            }
            None if tail.dropped.is_none() => {
                tail.torn_bytes += len;
                tail.dropped = segments.pop();
            }
            None => {
                return Err(LogError::corrupt(
                    &segment.name,
                    0,
                    "a segment that another follows has no commit frame",
                ));
            }
        }
    }
    tail.segments = segments;
    Ok(tail)
}

/// Receives the committed part of a log in order.
pub(crate) trait Visit {
    /// The next leaf.
    fn leaf(&mut self, index: u64, leaf: &[u8]) -> Result<(), LogError>;
    /// The hash of the next leaf, where that was removed.
    fn removed(&mut self, index: u64, hash: Hash) -> Result<(), LogError>;
    /// A commit frame; whether the leaves so far give its root.
    fn commit(&mut self, head: &Head) -> bool;
}

/// Where reading a log goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Position {
    /// The index of the next leaf.
    pub(crate) index: u64,
    /// The segment it is in, by its first index.
    pub(crate) segment: u64,
    /// Where its frame begins; 0 before the segment's header.
    pub(crate) offset: u64,
}

/// Gives `visit` the rest of one segment, up to its end or to the commit of `until` entries.
///
/// # Errors
/// `Corrupt` for the first frame that is damaged, missing or out of place, and what `visit` returns.
pub(crate) fn walk_segment(
    segment: &SegmentFile,
    origin: &Hash,
    at: &mut Position,
    until: u64,
    visit: &mut dyn Visit,
) -> Result<(), LogError> {
    let file = open(segment)?;
    if at.segment != segment.first || at.offset == 0 {
        check_header(&file, segment, Some(origin))?;
        if segment.first != at.index {
            let reason = format!("the segment begins with entry {}, not {}", segment.first, at.index);
            return Err(LogError::corrupt(&segment.name, 0, reason));
        }
        *at = Position { index: at.index, segment: segment.first, offset: wide(HEADER_BYTES) };
    }
    let mut frames = FrameReader::new(file, at.offset, STREAM_CHUNK_BYTES);
    let mut committed = true;
    while !(committed && at.index >= until) {
        let Some((offset, frame)) = frames.next().map_err(LogError::store("read", &segment.path))? else {
            break;
        };
        let corrupt = |reason: &str| Err(LogError::corrupt(&segment.name, offset, reason));
        match frame {
            Frame::Entry { leaf, intact: true } => {
                visit.leaf(at.index, leaf)?;
                at.index += 1;
                committed = false;
            }
            Frame::Removed { hash, intact: true } => {
                visit.removed(at.index, hash)?;
                at.index += 1;
                committed = false;
            }
            Frame::Commit(head) if head.size != at.index => return corrupt("a commit frame of another size"),
            Frame::Commit(head) if !visit.commit(&head) => {
                return corrupt("the entries do not give the commit's root");
            }
            Frame::Commit(_) => committed = true,
            Frame::Entry { .. } | Frame::Removed { .. } | Frame::BadCommit => {
                return corrupt("the checksum is wrong");
            }
            Frame::BadLength(_) => return corrupt("a length that no entry has"),
            Frame::Short => return corrupt("the file ends within a frame"),
        }
    }
    at.offset = frames.offset();
    if committed {
        Ok(())
    } else {
        Err(LogError::corrupt(&segment.name, at.offset, "no commit frame at the end"))
    }
}

/// Gives `visit` all leaves from `at` up to the commit of `until` entries.
///
/// # Errors
/// As [`walk_segment`]; also where a segment is missing.
pub(crate) fn walk(
    segments: &[SegmentFile],
    origin: &Hash,
    at: &mut Position,
    until: u64,
    visit: &mut dyn Visit,
) -> Result<(), LogError> {
    let from = at.segment;
    for segment in segments.iter().filter(|s| s.first >= from) {
        if at.index >= until {
            break;
        }
        walk_segment(segment, origin, at, until, visit)?;
    }
    if at.index == until {
        return Ok(());
    }
    let reason = format!("the segments end with {} entries where {until} were committed", at.index);
    let name = segments.last().map_or(segment::FOLDER, |s| s.name.as_str());
    Err(LogError::corrupt(name, at.offset, reason))
}
