//! Segment files, the record itself; everything else in a log's folder is made from them.
//!
//! ```text
//! seg/<first index, 20 digits>.log
//! header  "CFLOGSG1" ‖ SHA-256(origin) ‖ u64be first index ‖ u32be crc32c of the 48 bytes before           52 bytes
//! entry   u32be length (1 to 61,440) ‖ u32be crc32c(leaf) ‖ leaf
//! removed u32be 2³² − 1 ‖ u32be crc32c(leaf hash) ‖ leaf hash (32)                                        40 bytes
//! commit  u32be 0 ‖ u64be size ‖ root (32) ‖ u32be crc32c of the 44 bytes before                            48 bytes
//! ```
//!
//! A group of entries counts once the commit frame behind it is durable. Every segment but the last ends with a
//! commit frame.

use std::io;
use std::path::{Path, PathBuf};

use counterfoil_spec::ids::Hash;
use counterfoil_spec::limits::MAX_LEAF_BYTES;
use sha2::{Digest, Sha256};

use crate::merkle::Head;

/// The first bytes of every segment.
pub const MAGIC: &[u8; 8] = b"CFLOGSG1";
/// A segment's header, in bytes.
pub const HEADER_BYTES: usize = 52;
/// A commit frame, in bytes.
pub const COMMIT_BYTES: usize = 48;
/// What stands in the place of an entry that was removed, in bytes.
pub const REMOVED_BYTES: usize = 40;
/// What stands before a leaf, in bytes.
pub const ENTRY_HEAD_BYTES: usize = 8;
/// The longest frame, in bytes.
pub const MAX_FRAME_BYTES: usize = ENTRY_HEAD_BYTES + MAX_LEAF_BYTES;
/// The folder that segments are in, relative to the log's.
pub const FOLDER: &str = "seg";

/// One segment file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentFile {
    /// The index of its first entry.
    pub first: u64,
    /// Its name relative to the log's folder.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
}

impl SegmentFile {
    /// The segment that begins with an index.
    #[must_use]
    pub fn new(dir: &Path, first: u64) -> Self {
        let name = format!("{FOLDER}/{first:020}.log");
        Self { first, path: dir.join(&name), name }
    }
}

/// The segments of a log in order; files with other names are left out.
///
/// # Errors
/// What the file system says; a folder that is not there has no segments.
pub fn list(dir: &Path) -> io::Result<Vec<SegmentFile>> {
    let mut out = Vec::new();
    let entries = match std::fs::read_dir(dir.join(FOLDER)) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(out),
        Err(e) => return Err(e),
    };
    for entry in entries {
        let name = entry?.file_name();
        let first = name.to_str().and_then(|n| n.strip_suffix(".log")).and_then(|n| n.parse().ok());
        if let Some(first) = first {
            let file = SegmentFile::new(dir, first);
            if file.path.file_name() == Some(&name) {
                out.push(file);
            }
        }
    }
    out.sort_by_key(|s| s.first);
    Ok(out)
}

/// What a header says of the origin: its SHA-256.
#[must_use]
pub fn origin_hash(origin: &str) -> Hash {
    Hash::from_bytes(Sha256::digest(origin.as_bytes()).into())
}

/// Writes a header.
#[must_use]
pub fn header(origin: &Hash, first: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_BYTES);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(origin.as_bytes());
    out.extend_from_slice(&first.to_be_bytes());
    let crc = crc32c::crc32c(&out);
    out.extend_from_slice(&crc.to_be_bytes());
    out
}

/// Appends an entry frame.
pub fn push_entry(out: &mut Vec<u8>, leaf: &[u8]) {
    // A leaf is at most MAX_LEAF_BYTES long.
    let len = u32::try_from(leaf.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(&crc32c::crc32c(leaf).to_be_bytes());
    out.extend_from_slice(leaf);
}

/// Appends what stands in the place of an entry that was removed.
pub fn push_removed(out: &mut Vec<u8>, leaf_hash: &Hash) {
    out.extend_from_slice(&REMOVED.to_be_bytes());
    out.extend_from_slice(&crc32c::crc32c(leaf_hash.as_bytes()).to_be_bytes());
    out.extend_from_slice(leaf_hash.as_bytes());
}

/// Writes a commit frame.
#[must_use]
pub fn commit(head: &Head) -> [u8; COMMIT_BYTES] {
    let mut out = Vec::with_capacity(COMMIT_BYTES);
    out.extend_from_slice(&0u32.to_be_bytes());
    out.extend_from_slice(&head.size.to_be_bytes());
    out.extend_from_slice(head.root.as_bytes());
    let crc = crc32c::crc32c(&out);
    out.extend_from_slice(&crc.to_be_bytes());
    #[expect(clippy::expect_used, reason = "4 + 8 + 32 + 4 bytes were written")]
    out.try_into().expect("a commit frame of 48 bytes")
}

/// What stands at the beginning of some bytes of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame<'a> {
    /// An entry.
    Entry {
        /// Its leaf.
        leaf: &'a [u8],
        /// Whether the checksum is right.
        intact: bool,
    },
    /// An entry that was removed.
    Removed {
        /// The hash of its leaf.
        hash: Hash,
        /// Whether the checksum is right.
        intact: bool,
    },
    /// A commit frame with a right checksum.
    Commit(Head),
    /// A commit frame with a wrong checksum.
    BadCommit,
    /// A length that no frame has.
    BadLength(u32),
    /// Fewer bytes than the frame needs.
    Short,
}

impl Frame<'_> {
    /// Its length in the file, for a frame whose end is known.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        match self {
            Self::Entry { leaf, .. } => ENTRY_HEAD_BYTES + leaf.len(),
            Self::Removed { .. } => REMOVED_BYTES,
            Self::Commit(_) | Self::BadCommit => COMMIT_BYTES,
            Self::BadLength(_) | Self::Short => 0,
        }
    }

    /// Whether it is a frame with a right checksum.
    #[must_use]
    pub const fn is_intact(&self) -> bool {
        matches!(
            self,
            Self::Entry { intact: true, .. } | Self::Removed { intact: true, .. } | Self::Commit(_)
        )
    }
}

/// Whether there are fewer bytes than the frame that begins here needs: where [`parse`] gives [`Frame::Short`], without its
/// checksum.
#[must_use]
pub fn is_short(bytes: &[u8]) -> bool {
    let Some(len) = array_at(bytes, 0).map(|b| u32::from_be_bytes(*b)) else { return true };
    match usize::try_from(len) {
        _ if len == REMOVED => bytes.len() < REMOVED_BYTES,
        Ok(0) => bytes.len() < COMMIT_BYTES,
        Ok(len) if len <= MAX_LEAF_BYTES => bytes.len() < ENTRY_HEAD_BYTES + len,
        _ => false,
    }
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> Option<&[u8; N]> {
    bytes.get(at..)?.first_chunk()
}

/// Reads the frame that begins here.
#[must_use]
pub fn parse(bytes: &[u8]) -> Frame<'_> {
    let Some(len) = array_at(bytes, 0).map(|b| u32::from_be_bytes(*b)) else { return Frame::Short };
    if len == 0 {
        return parse_commit(bytes);
    }
    if len == REMOVED {
        return match (array_at(bytes, 4), array_at(bytes, ENTRY_HEAD_BYTES)) {
            (Some(crc), Some(hash)) => Frame::Removed {
                hash: Hash::from_bytes(*hash),
                intact: crc32c::crc32c(hash) == u32::from_be_bytes(*crc),
            },
            _ => Frame::Short,
        };
    }
    let Some(len) = usize::try_from(len).ok().filter(|l| *l <= MAX_LEAF_BYTES) else {
        return Frame::BadLength(len);
    };
    match (array_at(bytes, 4), bytes.get(ENTRY_HEAD_BYTES..ENTRY_HEAD_BYTES + len)) {
        (Some(crc), Some(leaf)) => {
            Frame::Entry { leaf, intact: crc32c::crc32c(leaf) == u32::from_be_bytes(*crc) }
        }
        _ => Frame::Short,
    }
}

fn parse_commit(bytes: &[u8]) -> Frame<'_> {
    let parts = (array_at(bytes, 4), array_at(bytes, 12), array_at(bytes, 44), bytes.get(..44));
    let (Some(size), Some(root), Some(crc), Some(covered)) = parts else { return Frame::Short };
    if crc32c::crc32c(covered) != u32::from_be_bytes(*crc) {
        return Frame::BadCommit;
    }
    Frame::Commit(Head { size: u64::from_be_bytes(*size), root: Hash::from_bytes(*root) })
}

/// What is wrong with a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The file ends within it.
    #[error("the file ends within its header")]
    Short,
    /// Not a segment, or damaged.
    #[error("the header's magic or checksum is wrong")]
    Damaged,
    /// Of another log.
    #[error("the segment belongs to another origin")]
    OtherOrigin,
    /// The first index is not the one in the file's name.
    #[error("the header's first index is not the one in the file's name")]
    OtherFirst,
}

/// Checks a header; returns the SHA-256 of the origin it names. `origin` is `None` where that is not yet known.
///
/// # Errors
/// [`HeaderError`].
pub fn check_header(bytes: &[u8], origin: Option<&Hash>, first: u64) -> Result<Hash, HeaderError> {
    let bytes: &[u8; HEADER_BYTES] = bytes.first_chunk().ok_or(HeaderError::Short)?;
    let parts = (array_at::<32>(bytes, 8), array_at(bytes, 40));
    let (Some(found), Some(index)) = parts else { return Err(HeaderError::Short) };
    let (found, index) = (Hash::from_bytes(*found), u64::from_be_bytes(*index));
    if header(&found, index) != bytes {
        return Err(HeaderError::Damaged);
    }
    if origin.is_some_and(|o| *o != found) {
        return Err(HeaderError::OtherOrigin);
    }
    if index == first { Ok(found) } else { Err(HeaderError::OtherFirst) }
}

/// The length that no entry has, by which a removed one is told.
const REMOVED: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> Head {
        Head { size: 7, root: Hash::from_bytes([9; 32]) }
    }

    #[test]
    fn frames_read_back() {
        let mut bytes = Vec::new();
        push_entry(&mut bytes, b"leaf");
        assert_eq!(parse(&bytes), Frame::Entry { leaf: b"leaf", intact: true });
        assert_eq!(parse(&commit(&head())), Frame::Commit(head()));
    }

    #[test]
    fn removed_entry_keeps_the_hash_of_its_leaf() {
        let hash = Hash::from_bytes([7; 32]);
        let mut bytes = Vec::new();
        push_removed(&mut bytes, &hash);
        assert_eq!(bytes.len(), REMOVED_BYTES);
        assert_eq!(parse(&bytes), Frame::Removed { hash, intact: true });
        assert_eq!(parse(&bytes[..39]), Frame::Short);
        bytes[4] ^= 1;
        assert_eq!(parse(&bytes), Frame::Removed { hash, intact: false });
    }

    #[test]
    fn damaged_frames_are_told_apart() {
        let mut bytes = Vec::new();
        push_entry(&mut bytes, b"leaf");
        bytes[8] ^= 1;
        assert_eq!(parse(&bytes), Frame::Entry { leaf: b"meaf", intact: false });
        assert_eq!(parse(&bytes[..11]), Frame::Short);
        let mut bytes = commit(&head());
        bytes[20] ^= 1;
        assert_eq!(parse(&bytes), Frame::BadCommit);
        assert_eq!(parse(&[0; COMMIT_BYTES]), Frame::BadCommit);
        assert_eq!(parse(&61_441u32.to_be_bytes()), Frame::BadLength(61_441));
    }

    #[test]
    fn short_is_what_parses_as_short() {
        let mut entry = Vec::new();
        push_entry(&mut entry, b"leaf");
        entry.push(1);
        for bytes in [&entry[..], &commit(&head()), &61_441u32.to_be_bytes(), &61_440u32.to_be_bytes()] {
            for len in 0..=bytes.len() {
                let bytes = &bytes[..len];
                assert_eq!(is_short(bytes), parse(bytes) == Frame::Short, "{len} bytes");
            }
        }
    }

    #[test]
    fn header_is_held_to_origin_and_name() {
        let (ours, other) = (origin_hash("a.example/log"), origin_hash("b.example/log"));
        let bytes = header(&ours, 40);
        assert_eq!(check_header(&bytes, Some(&ours), 40), Ok(ours));
        assert_eq!(check_header(&bytes, None, 41), Err(HeaderError::OtherFirst));
        assert_eq!(check_header(&bytes, Some(&other), 40), Err(HeaderError::OtherOrigin));
        assert_eq!(check_header(&bytes[..51], None, 40), Err(HeaderError::Short));
        let mut bad = bytes;
        bad[0] ^= 0x20;
        assert_eq!(check_header(&bad, None, 40), Err(HeaderError::Damaged));
    }

    #[test]
    fn only_its_own_names_are_listed() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join(FOLDER)).unwrap();
        for name in ["00000000000000000300.log", "00000000000000000000.log", "7.log", "x.log"] {
            std::fs::write(dir.path().join(FOLDER).join(name), b"").unwrap();
        }
        let firsts: Vec<_> = list(dir.path()).unwrap().iter().map(|s| s.first).collect();
        assert_eq!(firsts, [0, 300]);
    }
}
