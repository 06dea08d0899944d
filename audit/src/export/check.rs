//! Checks an export: makes its rows and its manifest anew from the leaves and compares every byte.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use counterfoil_spec::entry::Leaf;
use counterfoil_spec::ids::Hash;
use counterfoil_spec::payload::Payload;
use sha2::{Digest, Sha256};

use crate::error::LogError;
use crate::export::compare::{Compared, Difference, Stopped};
use crate::export::edges::{Edge, subtrees};
use crate::export::findings::{Checked, FaultName, Findings, Place};
use crate::export::leaves::LeavesFile;
use crate::export::manifest::{End, Header, MAX_HEADER_BYTES, MAX_LINE_BYTES, entry_line};
use crate::export::{
    Entry, ExportError, Format, LEAVES_FILE, MANIFEST_FILE, MAX_ROW_BYTES, Piece, Records, Sink, io_error,
};
use crate::merkle::{Head, leaf_hash};
use crate::note::{NoteError, NoteVerifier};
use crate::reader::{LogReader, Stored};
use crate::succession::Succession;
use crate::trust::{TrustedKeys, TrustsNotes};

/// Gives the format that a header names, where it is known.
pub type Maker<'a> = dyn FnMut(&Header) -> Option<Box<dyn Format>> + 'a;

/// What an export is held against.
#[derive(Debug, Clone, Default)]
pub struct Pins {
    /// The log's verifier key, from elsewhere.
    pub vkey: Option<TrustedKeys>,
    /// The log's folder.
    pub log: Option<PathBuf>,
}

//= spec/export.md#what-a-checker-does
//# A checker MUST make the rows, the manifest's lines and its end anew from the leaves, and MUST compare every byte.
/// Checks the export in `folder`; `make` gives the format that a header names, where it is known.
///
/// # Errors
/// [`ExportError`] where the folder or the log cannot be read; whatever is wrong with the export is a finding.
pub fn check(
    folder: &Path,
    pins: &Pins,
    make: &mut Maker<'_>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Checked, ExportError> {
    let mut found = Findings::default();
    let log = pins.log.as_deref().map(LogReader::open).transpose()?;
    let Some((header, manifest)) = read_header(folder, &mut found)? else {
        return Ok(found.report(None, 0, 0));
    };
    let key = trusted(&header, pins, log.as_ref(), &mut found)?;
    let head = key.and_then(|key| signed_head(&header, &key, &mut found));
    let format = make(&header).filter(|f| f.name() == header.format && f.file() == header.file);
    let Some(mut format) = format else {
        found.unreadable(MANIFEST_FILE, format!("it names the format {:?}, not known here", header.format));
        return Ok(found.report(Some(&header), 0, 0));
    };
    let log = log.filter(|log| {
        let reaches = log.size() >= header.to;
        if !reaches {
            let detail = format!("the log has {} entries, the export goes on to {}", log.size(), header.to);
            found.add(FaultName::Rollback, MANIFEST_FILE, Place::default(), detail);
        }
        reaches
    });
    found.held_to_log = log.is_some();
    found.rows_file.clone_from(&header.file);
    let Some(rows) = open(folder, &header.file, &mut found)? else {
        return Ok(found.report(Some(&header), 0, 0));
    };
    let rows = RowsFile {
        file: Some(Compared::new(rows, format.records(), MAX_ROW_BYTES)),
        opaque: format.records() == Records::Opaque,
        name: header.file.clone(),
        key: String::new(),
        hash: Sha256::new(),
        bytes: 0,
        found: &mut found,
    };
    let manifest = Some(Compared::new(manifest, Records::Lines, MAX_LINE_BYTES));
    let mut run = Run { header: &header, rows, manifest, row: 0, edge: Edge::default(), progress };
    run.all(folder, log.as_ref(), &mut *format)?;
    let (row, root) = (run.row, run.root(head.map_or(0, |h| h.size)));
    if let Some(head) = head.filter(|head| Some(head.root) != root) {
        let detail = format!("the leaves do not lead to the root that {} entries are signed with", head.size);
        found.add(FaultName::InconsistentTree, LEAVES_FILE, Place::default(), detail);
    }
    Ok(found.report(Some(&header), row, head.map_or(0, |h| h.size)))
}

fn read_header(
    folder: &Path,
    found: &mut Findings,
) -> Result<Option<(Header, BufReader<File>)>, ExportError> {
    let Some(mut manifest) = open(folder, MANIFEST_FILE, found)? else { return Ok(None) };
    let mut line = Vec::new();
    let limit = u64::try_from(MAX_HEADER_BYTES).unwrap_or(u64::MAX);
    let read = manifest.by_ref().take(limit).read_until(b'\n', &mut line);
    read.map_err(io_error(&folder.join(MANIFEST_FILE)))?;
    match Header::parse(&line) {
        Ok(header) => Ok(Some((header, manifest))),
        Err(reason) => {
            found.unreadable(MANIFEST_FILE, format!("its header: {reason}"));
            Ok(None)
        }
    }
}

/// The key that the checkpoint is checked with.
fn trusted(
    header: &Header,
    pins: &Pins,
    log: Option<&LogReader>,
    found: &mut Findings,
) -> Result<Option<TrustedKeys>, ExportError> {
    let of_log = match log.map(|log| log.entry(0)).transpose()? {
        Some((_, body)) => match body.payload {
            Payload::Genesis(genesis) => genesis.log_vkey.parse().ok().map(TrustedKeys::one),
            _ => None,
        },
        None => None,
    };
    found.vkey_pinned = pins.vkey.is_some() || of_log.is_some();
    let succession = pins.log.as_deref().map(Succession::of_log).transpose()?.flatten();
    let pinned = pins.vkey.clone().or(of_log);
    let pinned = pinned.map(|keys| succession.map_or_else(|| keys.clone(), |follows| keys.with(&follows)));
    let named = header.log_vkey.parse::<NoteVerifier>();
    let Some(keys) = pinned else {
        let unreadable = |e: NoteError| found.unreadable(MANIFEST_FILE, format!("its log_vkey: {e}"));
        return Ok(named.map_err(unreadable).ok().map(TrustedKeys::one));
    };
    // While one key follows another both sign, and the header names the newer one.
    let is_named = |key: &NoteVerifier| keys.has(key) || header.signed_head(&keys).is_ok();
    if !named.is_ok_and(|key| is_named(&key)) {
        let detail = format!("the export is of a log with the key {}", header.log_vkey);
        found.add(FaultName::OriginNotPinned, MANIFEST_FILE, Place::default(), detail);
    }
    Ok(Some(keys))
}

//= spec/export.md#what-a-checker-does
//# A checker MUST refuse leaves that do not lead to the checkpoint's root, and a checkpoint that the pinned key did not sign.
fn signed_head(header: &Header, key: &TrustedKeys, found: &mut Findings) -> Option<Head> {
    let checkpoint = header.signed_head(key).and_then(|c| {
        if c.origin == header.origin { Ok(c) } else { Err(NoteError::MalformedNote("of another origin")) }
    });
    let head = match checkpoint {
        Ok(checkpoint) => checkpoint.head,
        Err(e) => {
            let name = match e {
                NoteError::BadLogSignature(_) => FaultName::BadLogSignature,
                NoteError::NoTrustedSignature(_) => FaultName::NoTrustedSignature,
                _ => FaultName::MalformedNote,
            };
            found.add(name, MANIFEST_FILE, Place::default(), e.to_string());
            return None;
        }
    };
    let (left, right) = (subtrees(0, header.leaves_from), subtrees(header.to, head.size));
    let right_fits = header.to <= head.size && right.count() == header.right.len();
    if left.count() != header.left.len() || !right_fits {
        let detail = "the subtrees beside the range are not as many as its place asks for".to_owned();
        found.add(FaultName::InconsistentTree, MANIFEST_FILE, Place::default(), detail);
        return None;
    }
    Some(head)
}

/// Opens a file of the export, which must be a plain one: a pipe would never end.
fn open(folder: &Path, name: &str, found: &mut Findings) -> Result<Option<BufReader<File>>, ExportError> {
    let path = folder.join(name);
    let kind = std::fs::metadata(&path);
    if kind.as_ref().is_ok_and(|m| !m.is_file()) {
        found.unreadable(name, "it is not a plain file".to_owned());
        return Ok(None);
    }
    match kind.and_then(|_| File::open(&path)) {
        Ok(file) => Ok(Some(BufReader::with_capacity(1 << 16, file))),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            found.unreadable(name, "it is not there".to_owned());
            Ok(None)
        }
        Err(e) => Err(io_error(&path)(e)),
    }
}

/// One pass over the leaves.
struct Run<'a> {
    header: &'a Header,
    rows: RowsFile<'a>,
    /// Gone once no more of it can be compared.
    manifest: Option<Compared<BufReader<File>>>,
    row: u64,
    edge: Edge,
    progress: &'a mut dyn FnMut(u64, u64),
}

impl Run<'_> {
    fn all(
        &mut self,
        folder: &Path,
        log: Option<&LogReader>,
        format: &mut dyn Format,
    ) -> Result<(), ExportError> {
        let (from, to) = (self.header.leaves_from, self.header.to);
        let sides = subtrees(0, from).zip(&self.header.left);
        sides.for_each(|((level, _), hash)| self.edge.push(level, *hash));
        format.head(self.header, &mut self.rows)?;
        let file = open(folder, LEAVES_FILE, self.rows.found)?;
        let mut leaves = file.map(|file| LeavesFile::new(file, folder.join(LEAVES_FILE)));
        let finished = if let Some(log) = log {
            log.walk(from, to, |index, stored| {
                let bytes = match stored {
                    Stored::Leaf(bytes) => bytes,
                    Stored::Removed(hash) => {
                        let leaf = leaves.as_mut().map_or(Ok(None), LeavesFile::next)?;
                        let leaf = leaf.ok_or(ExportError::Removed { index })?;
                        //= spec/export.md#what-a-checker-does
                        //# Of an entry that was removed from that log since, it MUST hold the leaf in `leaves.bin` to the hash that is left.
                        if leaf_hash(&leaf) != hash {
                            self.edited(index, "it is not the leaf of which the log has the hash");
                        }
                        return self.leaf(index, &leaf, format);
                    }
                };
                //= spec/export.md#what-a-checker-does
                //# Where it is given the log, a checker MUST take the leaves from there and MUST compare `leaves.bin` with them.
                if let Some(file) = &mut leaves
                    && file.next()?.as_deref() != Some(bytes)
                {
                    self.edited(index, "it is not the log's entry");
                }
                self.leaf(index, bytes, format)
            })
            .map(|()| true)
        } else {
            self.leaves(leaves.as_mut(), format)
        };
        if finished? {
            format.foot(&mut self.rows)?;
            self.end()?;
        }
        if let Some(file) = &mut leaves
            && !file.is_over()?
        {
            self.rows.found.unreadable(LEAVES_FILE, "it goes on behind its last leaf".to_owned());
        }
        Ok(())
    }

    /// A leaf of the folder is not the log's.
    fn edited(&mut self, index: u64, detail: &str) {
        let at = Place { row: None, entry: Some(index) };
        self.rows.found.add(FaultName::LeafEdited, LEAVES_FILE, at, detail.to_owned());
    }

    /// Whether all leaves were there.
    fn leaves(
        &mut self,
        leaves: Option<&mut LeavesFile>,
        format: &mut dyn Format,
    ) -> Result<bool, ExportError> {
        let Some(leaves) = leaves else { return Ok(false) };
        for index in self.header.leaves_from..self.header.to {
            let Some(bytes) = leaves.next()? else {
                let detail = format!("it ends before entry {index}");
                self.rows.found.unreadable(LEAVES_FILE, detail);
                return Ok(false);
            };
            match self.leaf(index, &bytes, format) {
                Err(ExportError::Log(LogError::BadEntry { source, .. })) => {
                    let detail = format!("entry {index}: {source}");
                    self.rows.found.unreadable(LEAVES_FILE, detail);
                    return Ok(false);
                }
                done => done?,
            }
        }
        Ok(true)
    }

    fn leaf(&mut self, index: u64, bytes: &[u8], format: &mut dyn Format) -> Result<(), ExportError> {
        let hash = leaf_hash(bytes);
        self.edge.push(0, hash);
        let (leaf, body) = Leaf::read(bytes).map_err(|source| LogError::BadEntry { index, source })?;
        let entry = Entry { index, leaf_hash: hash, bytes, leaf: &leaf, body: &body };
        if index < self.header.from {
            return format.before(&entry).or_else(|e| self.rows.found.refused(e));
        }
        self.rows.key = hash.to_string();
        let made = format.entry(self.row, &entry, &mut self.rows);
        let made = made.or_else(|e| self.rows.found.refused(e).map(|()| false))?;
        let row = made.then_some(self.row);
        self.row += u64::from(made);
        let done = index - self.header.leaves_from;
        if done.is_multiple_of(4096) {
            (self.progress)(done, self.header.to - self.header.leaves_from);
        }
        self.line(&hash.to_string(), &entry_line(index, hash, row), Some(index))
    }

    fn line(&mut self, key: &str, line: &[u8], entry: Option<u64>) -> Result<(), ExportError> {
        let Some(manifest) = &mut self.manifest else { return Ok(()) };
        let found = &mut *self.rows.found;
        let done = manifest.record(key.as_bytes(), line, &mut |d| found.line(d, entry));
        stopped(done, MANIFEST_FILE, &mut self.manifest, found)
    }

    fn end(&mut self) -> Result<(), ExportError> {
        let (row, name) = (self.row, self.rows.name.clone());
        if let Some(file) = &mut self.rows.file {
            let found = &mut *self.rows.found;
            let done = file.end(&mut |d| found.behind(&name, d, row));
            stopped(done, &name, &mut self.rows.file, found)?;
        }
        let sha256 = Hash::from_bytes(std::mem::take(&mut self.rows.hash).finalize().into());
        let entries = self.header.to - self.header.from;
        let end = End { entries, rows: self.row, bytes: self.rows.bytes, sha256 };
        self.line("\"sha256\":", &end.line(), None)?;
        if let Some(manifest) = &mut self.manifest {
            let found = &mut *self.rows.found;
            let done = manifest.end(&mut |d| found.line(d, None));
            stopped(done, MANIFEST_FILE, &mut self.manifest, found)?;
        }
        Ok(())
    }

    /// The root under which the range lies in a tree of this size.
    fn root(mut self, size: u64) -> Option<Hash> {
        let sides = subtrees(self.header.to, size).zip(&self.header.right);
        sides.for_each(|((level, _), hash)| self.edge.push(level, *hash));
        Some(self.edge.root())
    }
}

/// Notes why a file cannot be compared further, and lets it go.
fn stopped<T>(
    done: Result<(), Stopped>,
    name: &str,
    file: &mut Option<T>,
    found: &mut Findings,
) -> Result<(), ExportError> {
    match done {
        Ok(()) => Ok(()),
        Err(Stopped::TooLong(at)) => {
            found.unreadable(
                name,
                format!("what begins at byte {at} is longer than anything that belongs there"),
            );
            *file = None;
            Ok(())
        }
        Err(Stopped::Io(source)) => Err(ExportError::Io { path: name.to_owned(), source }),
    }
}

/// The rows as they should be, against the file.
struct RowsFile<'a> {
    /// Gone once no more of it can be compared.
    file: Option<Compared<BufReader<File>>>,
    opaque: bool,
    name: String,
    key: String,
    hash: Sha256,
    bytes: u64,
    found: &'a mut Findings,
}

impl Sink for RowsFile<'_> {
    fn piece(&mut self, piece: Piece, bytes: &[u8]) -> Result<(), ExportError> {
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        let Some(file) = &mut self.file else { return Ok(()) };
        let (found, name) = (&mut *self.found, &self.name);
        let mut out_of_line = false;
        let mut differs = |d| {
            out_of_line |= !matches!(piece, Piece::Row { .. }) || d == Difference::Dropped;
            found.row(name, d, piece);
        };
        let done = match piece {
            Piece::Row { .. } => file.record(self.key.as_bytes(), bytes, &mut differs),
            Piece::Rows { .. } | Piece::Frame => file.frame(bytes, &mut differs),
        };
        let name = self.name.clone();
        stopped(done, &name, &mut self.file, found)?;
        if self.opaque && out_of_line {
            // What follows lies elsewhere than it should, so comparing it would name everything.
            self.file = None;
        }
        Ok(())
    }
}
