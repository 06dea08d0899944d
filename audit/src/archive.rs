//! The published files of a log in one file, to be handed on: a POSIX tar (ustar) with the names that they have below `log/`.
//!
//! ```text
//! checkpoint                              the one that the others are of
//! witnessed, succession                   where there are
//! tile/<L>/<N>[.p/<W>]                    all hash tiles of that size, level by level
//! tile/entries/<N>[.p/<W>]                all entries
//! tile/kept/<N>                           those that are left, where some were removed
//! ```
//!
//! Any tar makes such a file of a log's folder, and reads it. It is read and written here in forty lines because a verifier asks for
//! single files of it, which programs for tar give in their order only, and because the same log always gives the same bytes.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::error::LogError;
use crate::note::MAX_NOTE_BYTES;
use crate::proof::published;
use crate::scan::wide;
use crate::source::Published;
use crate::succession::Succession;
use crate::tile::{MAX_TILE_LEVEL, TileId, TileKind, nodes_at, read_tile, tile_of};
use crate::{checkpoint, succession, witnessed};

const BLOCK: usize = 512;
/// Files that one has at most: those of a log of some thousand million entries.
const MAX_FILES: usize = 1 << 25;
/// Below what names may stand.
const FOLDER: &str = "log/";

/// A file that has a log's published files.
#[derive(Debug)]
pub struct Archive {
    path: PathBuf,
    file: File,
    notes: HashMap<&'static str, Part>,
    tiles: HashMap<TileId, Part>,
}

#[derive(Debug, Clone, Copy)]
struct Part {
    offset: u64,
    len: u64,
}

impl Archive {
    /// Reads what is in it. Of two files of one name the first counts; what is no published file of a log is passed over.
    ///
    /// # Errors
    /// `InvalidData` where it is no tar, and what stands in the way of reading.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let len = file.metadata()?.len();
        let mut read = Self { path: path.to_owned(), file, notes: HashMap::new(), tiles: HashMap::new() };
        let mut at = 0;
        while at < len {
            let mut block = [0; BLOCK];
            read.file.read_exact_at(&mut block, at).map_err(|e| bad(at, &e.to_string()))?;
            at += wide(BLOCK);
            if block == [0; BLOCK] {
                continue;
            }
            let (name, kind, size) =
                header(&block).ok_or_else(|| bad(at - wide(BLOCK), "no header of a tar"))?;
            if size > len - at {
                return Err(bad(at, "it ends within a file"));
            }
            if matches!(kind, b'0' | 0) {
                read.note(&name, Part { offset: at, len: size });
            }
            at += size.next_multiple_of(wide(BLOCK));
            if read.tiles.len() > MAX_FILES {
                return Err(bad(at, "more files than a log has"));
            }
        }
        Ok(read)
    }

    fn note(&mut self, name: &str, part: Part) {
        let name = name.strip_prefix("./").unwrap_or(name);
        let name = name.strip_prefix(FOLDER).unwrap_or(name);
        let notes = [checkpoint::FILE, succession::FILE, witnessed::FILE];
        if let Some(known) = notes.into_iter().find(|known| *known == name) {
            self.notes.entry(known).or_insert(part);
        } else if let Some(id) = TileId::parse(name) {
            self.tiles.entry(id).or_insert(part);
        }
    }
}

impl Published for Archive {
    fn read(&self, name: &str, limit: usize) -> io::Result<Option<Vec<u8>>> {
        let part = TileId::parse(name).map_or_else(|| self.notes.get(name), |id| self.tiles.get(&id));
        let Some(part) = part else { return Ok(None) };
        let len = usize::try_from(part.len).ok().filter(|len| *len <= limit);
        let Some(len) = len else {
            let text = format!("longer than the {limit} bytes that such a file can have");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        };
        let mut bytes = vec![0; len];
        self.file.read_exact_at(&mut bytes, part.offset)?;
        Ok(Some(bytes))
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }
}

/// Writes what a log has published, up to its newest checkpoint; gives the size of that. A log may be written meanwhile.
///
/// # Errors
/// `Published` where there is no checkpoint or a tile is not there; `Store` where the log cannot be read, or `out` not be written.
pub fn write(dir: &Path, out: &mut dyn Write) -> Result<u64, LogError> {
    let missing = |file: &str| LogError::Published { file: file.to_owned(), reason: "not there".to_owned() };
    let cosigned = published(dir, witnessed::FILE)?;
    let (note, head) = published(dir, checkpoint::FILE)?.ok_or_else(|| missing(checkpoint::FILE))?;
    let size = head.head.size;
    let mut put = |name: &str, bytes: &[u8]| {
        let padding = vec![0; bytes.len().next_multiple_of(BLOCK) - bytes.len()];
        let parts = [&make_header(name, bytes.len())[..], bytes, &padding];
        parts
            .iter()
            .try_for_each(|part| out.write_all(part))
            .map_err(LogError::store("write", Path::new(name)))
    };
    put(checkpoint::FILE, note.as_bytes())?;
    if let Some((note, _)) = cosigned.filter(|(note, _)| note.len() <= MAX_NOTE_BYTES) {
        put(witnessed::FILE, note.as_bytes())?;
    }
    // Read after the checkpoint, so that it covers its keys.
    if let Some(succession) = Succession::of_log(dir)? {
        put(succession::FILE, succession.to_string().as_bytes())?;
    }
    let levels = (0..=MAX_TILE_LEVEL).map(|level| (TileKind::Hashes(level), nodes_at(level, size)));
    for (kind, count) in levels.chain([(TileKind::Entries, size)]) {
        for first in (0..count).step_by(256) {
            let id = tile_of(kind, first, count);
            let read = |id: TileId| read_tile(dir, id).map_err(LogError::store("read", &dir.join(id.path())));
            let kept = TileId { kind: TileKind::Kept, ..id };
            match read(id)? {
                Some(bytes) => put(&id.path(), &bytes)?,
                None if kind == TileKind::Entries && id.width == 256 => {
                    put(&kept.path(), &read(kept)?.ok_or_else(|| missing(&id.path()))?)?;
                }
                None => return Err(missing(&id.path())),
            }
        }
    }
    out.write_all(&[0; 2 * BLOCK]).and_then(|()| out.flush()).map_err(LogError::store("write", dir))?;
    Ok(size)
}

fn bad(at: u64, why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("byte {at}: {why}"))
}

/// Name, kind and size, where the checksum is right.
fn header(block: &[u8; BLOCK]) -> Option<(String, u8, u64)> {
    let field = |from: usize, len: usize| {
        let bytes = block.get(from..from + len).unwrap_or_default();
        std::str::from_utf8(bytes.split(|b| *b == 0).next().unwrap_or_default()).ok()
    };
    let octal = |from, len| u64::from_str_radix(field(from, len)?.trim_matches(' '), 8).ok();
    if octal(CHECKSUM, 8)? != checksum(block) {
        return None;
    }
    let (name, prefix) = (field(0, 100)?, field(345, 155)?);
    let name = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") };
    Some((name, *block.get(156)?, octal(124, 12)?))
}

/// Where a header's checksum stands.
const CHECKSUM: usize = 148;

/// The sum of all bytes, those of the checksum itself as spaces.
fn checksum(block: &[u8; BLOCK]) -> u64 {
    let of = |(at, byte): (usize, &u8)| {
        u64::from(if (CHECKSUM..CHECKSUM + 8).contains(&at) { b' ' } else { *byte })
    };
    block.iter().enumerate().map(of).sum()
}

fn make_header(name: &str, len: usize) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let mut put = |at: usize, text: &str| {
        block.iter_mut().skip(at).zip(text.bytes()).for_each(|(to, byte)| *to = byte);
    };
    put(0, name);
    put(100, "0000644");
    put(108, "0000000");
    put(116, "0000000");
    put(124, &format!("{len:011o}"));
    put(136, "00000000000");
    put(156, "0");
    put(257, "ustar\u{0}00");
    let sum = format!("{:06o}\u{0} ", checksum(&block));
    block.iter_mut().skip(CHECKSUM).zip(sum.bytes()).for_each(|(to, byte)| *to = byte);
    block
}
