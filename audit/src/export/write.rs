//! Writes an export: once over the leaves to see that they lead to the signed root, once more to make the rows.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use counterfoil_spec::entry::Leaf;
use counterfoil_spec::ids::Hash;
use counterfoil_spec::payload::Payload;
use sha2::{Digest, Sha256};

use crate::checkpoint::{self, Checkpoint};
use crate::error::LogError;
use crate::export::edges::{Edge, subtrees};
use crate::export::manifest::{End, Header, Scope, entry_line};
use crate::export::{
    Entry, ExportError, Format, LEAVES_FILE, MANIFEST_FILE, MAX_ROW_BYTES, Piece, Records, Sink, io_error,
};
use crate::merkle::leaf_hash;
use crate::note::{MAX_NOTE_BYTES, Note};
use crate::proof::TileTree;
use crate::reader::{LogReader, Stored};
use crate::succession::Succession;
use crate::tile::read_limited;

/// How often a checkpoint is read again because the log has grown past its tiles meanwhile.
const MAX_TRIES: u32 = 8;

/// Where an export goes.
#[derive(Debug)]
pub enum Destination {
    /// A folder that is not there yet: rows, leaves and manifest.
    Folder(PathBuf),
    /// The rows alone, which nothing holds to the log.
    Rows(Box<dyn WriteOut>),
}

/// Something that rows can be written to.
pub trait WriteOut: Write + std::fmt::Debug {}

impl<T: Write + std::fmt::Debug> WriteOut for T {}

/// Which entries; open ends are those of the checkpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Range {
    /// The first one.
    pub from: Option<u64>,
    /// The one after the last.
    pub to: Option<u64>,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// As it stands in the manifest.
    pub header: Header,
    /// How many entries were looked at.
    pub entries: u64,
    /// How many rows they gave.
    pub rows: u64,
    /// The length of the rows file.
    pub bytes: u64,
}

/// Exports entries of the log in the folder `log`.
///
/// # Errors
/// [`ExportError`]; what was written by then stays, without an end in its manifest.
pub fn write(
    log: &Path,
    range: Range,
    format: &mut dyn Format,
    destination: Destination,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Written, ExportError> {
    let mut reader = LogReader::open(log)?;
    let header = header(log, &mut reader, range, format)?;
    let all = 2 * (header.to - header.leaves_from);
    let mut done = 0;
    //= spec/export.md#rules
    //# A header MUST NOT be written before the range's leaves were hashed and led to the signed root.
    let mut edge = Edge::default();
    subtrees(0, header.leaves_from).zip(&header.left).for_each(|((l, _), hash)| edge.push(l, *hash));
    //= spec/export.md#rules
    //# An export MUST be refused where an entry that it needs was removed; it MUST NOT be shortened.
    reader.walk(header.leaves_from, header.to, |index, stored| {
        let Stored::Leaf(bytes) = stored else { return Err(ExportError::Removed { index }) };
        edge.push(0, leaf_hash(bytes));
        tick(&mut done, all, progress);
        Ok::<(), ExportError>(())
    })?;
    let end = header.head()?.head;
    subtrees(header.to, end.size).zip(&header.right).for_each(|((l, _), hash)| edge.push(l, *hash));
    if edge.root() != end.root {
        return Err(ExportError::InconsistentTree);
    }
    let mut out = Output::open(destination, &header, format)?;
    let mut rows = 0;
    format.head(&header, &mut out)?;
    reader.stream(header.leaves_from, header.to, |index, bytes| {
        tick(&mut done, all, progress);
        out.leaf(bytes)?;
        let (leaf, body) = Leaf::read(bytes).map_err(|source| LogError::BadEntry { index, source })?;
        let leaf_hash = leaf_hash(bytes);
        let entry = Entry { index, leaf_hash, bytes, leaf: &leaf, body: &body };
        if index < header.from {
            return format.before(&entry);
        }
        let row = format.entry(rows, &entry, &mut out)?.then_some(rows);
        rows += u64::from(row.is_some());
        out.line(&entry_line(index, leaf_hash, row))
    })?;
    format.foot(&mut out)?;
    let entries = header.to - header.from;
    let bytes = out.finish(entries, rows)?;
    Ok(Written { header, entries, rows, bytes })
}

fn tick(done: &mut u64, all: u64, progress: &mut dyn FnMut(u64, u64)) {
    *done += 1;
    if done.is_multiple_of(4096) {
        progress(*done, all);
    }
}

/// The header of a range: its checkpoint, and the subtrees beside it from that checkpoint's tiles. A log that grows
/// meanwhile takes away the tiles of the checkpoint that was read before.
fn header(
    log: &Path,
    reader: &mut LogReader,
    range: Range,
    format: &dyn Format,
) -> Result<Header, ExportError> {
    let mut tries = 0;
    loop {
        tries += 1;
        match header_once(log, reader, range, format) {
            Err(ExportError::Log(LogError::Published { .. })) if tries < MAX_TRIES => reader.refresh()?,
            done => return done,
        }
    }
}

fn header_once(
    log: &Path,
    reader: &mut LogReader,
    range: Range,
    format: &dyn Format,
) -> Result<Header, ExportError> {
    let path = log.join(checkpoint::FILE);
    let note = read_limited(&path, MAX_NOTE_BYTES).map_err(LogError::store("read", &path))?;
    let missing =
        || LogError::Published { file: checkpoint::FILE.to_owned(), reason: "not there".to_owned() };
    let note = note.ok_or_else(missing)?;
    let text = String::from_utf8_lossy(&note).into_owned();
    let checkpoint = Checkpoint::parse(&Note::parse(&note)?.text)?;
    let signed = checkpoint.head.size;
    let (from, to) = (range.from.unwrap_or(0), range.to.unwrap_or(signed));
    //= spec/export.md#rules
    //# An export MUST NOT hold an entry that its checkpoint does not cover.
    if to > signed {
        return Err(ExportError::Unsigned { signed, asked: to });
    }
    if from >= to {
        return Err(ExportError::EmptyRange { from, to });
    }
    if reader.size() < to {
        reader.refresh()?;
    }
    let log_vkey = match (newest_key(log, &note)?, reader.entry(0)?.1.payload) {
        (Some(vkey), _) => vkey,
        (None, Payload::Genesis(genesis)) => genesis.log_vkey,
        _ => String::new(),
    };
    let leaves_from = if format.looks_back() { 0 } else { from };
    let mut tree = TileTree::new(log, signed);
    let mut side = |from, to| -> Result<Vec<Hash>, LogError> {
        subtrees(from, to).map(|(level, index)| tree.node(level, index)).collect()
    };
    let (left, right) = (side(0, leaves_from)?, side(to, signed)?);
    let (name, file) = (format.name(), format.file());
    let scope = Scope { format: name, file, log_vkey, range: from..to, leaves_from, checkpoint, note: text };
    Ok(Header::new(scope, left, right))
}

/// The newest of the log's keys that signed a checkpoint, where its key was ever changed.
fn newest_key(log: &Path, note: &[u8]) -> Result<Option<String>, ExportError> {
    let (Some(succession), note) = (Succession::of_log(log)?, Note::parse(note)?) else { return Ok(None) };
    let signed = succession.keys().iter().rev().find(|key| key.verify(&note).is_ok());
    Ok(signed.map(ToString::to_string))
}

/// The files of an export while they are written.
struct Output {
    rows: BufWriter<Box<dyn WriteOut>>,
    rows_path: PathBuf,
    hash: Sha256,
    bytes: u64,
    limited: bool,
    beside: Option<Beside>,
}

struct Beside {
    folder: PathBuf,
    leaves: BufWriter<File>,
    manifest: BufWriter<File>,
}

impl Output {
    fn open(destination: Destination, header: &Header, format: &dyn Format) -> Result<Self, ExportError> {
        let limited = format.records() != Records::Opaque;
        let opened = |rows, rows_path, beside| Self {
            rows: BufWriter::new(rows),
            rows_path,
            hash: Sha256::new(),
            bytes: 0,
            limited,
            beside,
        };
        let folder = match destination {
            Destination::Rows(rows) => return Ok(opened(rows, PathBuf::from("-"), None)),
            Destination::Folder(folder) => folder,
        };
        match make_folder(&folder) {
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
                return Err(ExportError::Exists { path: folder.display().to_string() });
            }
            made => made.map_err(io_error(&folder))?,
        }
        let create = |name: &str| {
            let path = folder.join(name);
            File::create_new(&path).map_err(io_error(&path))
        };
        let rows: Box<dyn WriteOut> = Box::new(create(format.file())?);
        let leaves = BufWriter::new(create(LEAVES_FILE)?);
        let manifest = BufWriter::new(create(MANIFEST_FILE)?);
        let rows_path = folder.join(format.file());
        let mut out = opened(rows, rows_path, Some(Beside { folder, leaves, manifest }));
        out.line(&header.line())?;
        Ok(out)
    }

    fn leaf(&mut self, leaf: &[u8]) -> Result<(), ExportError> {
        let Some(beside) = &mut self.beside else { return Ok(()) };
        // A leaf is at most MAX_LEAF_BYTES long, which fits.
        let len = u16::try_from(leaf.len()).unwrap_or(u16::MAX).to_be_bytes();
        let written = beside.leaves.write_all(&len).and_then(|()| beside.leaves.write_all(leaf));
        written.map_err(io_error(&beside.folder.join(LEAVES_FILE)))
    }

    fn line(&mut self, line: &[u8]) -> Result<(), ExportError> {
        let Some(beside) = &mut self.beside else { return Ok(()) };
        beside.manifest.write_all(line).map_err(io_error(&beside.folder.join(MANIFEST_FILE)))
    }

    /// Ends the manifest and makes everything durable; gives the length of the rows.
    fn finish(mut self, entries: u64, rows: u64) -> Result<u64, ExportError> {
        self.rows.flush().map_err(io_error(&self.rows_path))?;
        let sha256 = Hash::from_bytes(std::mem::take(&mut self.hash).finalize().into());
        self.line(&End { entries, rows, bytes: self.bytes, sha256 }.line())?;
        if let Some(Beside { folder, leaves, manifest }) = self.beside {
            for (file, name) in [(leaves, LEAVES_FILE), (manifest, MANIFEST_FILE)] {
                let fail = io_error(&folder.join(name));
                let file = file.into_inner().map_err(std::io::IntoInnerError::into_error);
                file.and_then(|f| f.sync_all()).map_err(fail)?;
            }
            // The rows were handed to the system above; the folder's own names are what is left.
            let rows = File::open(&self.rows_path).and_then(|f| f.sync_all());
            rows.and_then(|()| File::open(&folder)?.sync_all()).map_err(io_error(&folder))?;
        }
        Ok(self.bytes)
    }
}

impl Sink for Output {
    fn piece(&mut self, piece: Piece, bytes: &[u8]) -> Result<(), ExportError> {
        if let Piece::Row { entry, .. } = piece
            && self.limited
            && bytes.len() > MAX_ROW_BYTES
        {
            return Err(ExportError::RowTooLong { index: entry });
        }
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        self.rows.write_all(bytes).map_err(io_error(&self.rows_path))
    }
}

/// Only its owner reads an export: whom it concerns is for that owner to decide.
fn make_folder(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::DirBuilder::new().mode(0o700).create(path)
}
