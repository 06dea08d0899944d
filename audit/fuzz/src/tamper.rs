//! A log and an export of it, and what becomes of their files when the input says how to change one.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use counterfoil_audit::export::{
    Destination, Entry, ExportError, Format, Header, Piece, Range, Records, Sink, write,
};
use counterfoil_audit::{GenesisFacts, LogConfig, LogOptions, LogWriter, NewEntry, Opened};
use counterfoil_identity::SecretKey;
use counterfoil_spec::entry::Role;
use counterfoil_spec::ids::Serial;
use counterfoil_spec::payload::KeyRevoked;
use counterfoil_spec::time::{Millis, Now};

use crate::made::log;

/// Entries of the log; they lie in several segments.
const ENTRIES: u8 = 9;

/// A folder's files as they should be.
pub struct Files {
    files: Vec<(String, Vec<u8>)>,
}

/// The same with one of them changed.
pub struct Changed {
    /// Where they lie; removed with this value.
    pub folder: tempfile::TempDir,
    /// Which file is another than it was.
    pub file: String,
    /// Whether nothing was done to it but that bytes came behind its end.
    pub is_longer: bool,
}

impl Files {
    fn of(folder: &Path) -> Self {
        fn visit(folder: &Path, prefix: &str, out: &mut Vec<(String, Vec<u8>)>) {
            for entry in std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry")) {
                let name = format!("{prefix}{}", entry.file_name().to_str().expect("a name in ASCII"));
                if entry.file_type().expect("a kind").is_dir() {
                    visit(&entry.path(), &format!("{name}/"), out);
                } else {
                    out.push((name, std::fs::read(entry.path()).expect("a file")));
                }
            }
        }
        let mut files = Vec::new();
        visit(folder, "", &mut files);
        // Empty ones, such as the writer's lock, say nothing.
        files.retain(|(_, bytes)| !bytes.is_empty());
        files.sort();
        Self { files }
    }

    /// Changes one file: its number, what to do (0 writes over bytes, 1 puts some in, 2 takes some out), where (two
    /// bytes, of which 65535 is the end), and the bytes. Nothing where the input is too short or changes nothing.
    #[must_use]
    pub fn changed(&self, input: &[u8]) -> Option<Changed> {
        let [file, how, low, high, rest @ ..] = input else { return None };
        let (name, was) = &self.files[usize::from(*file) % self.files.len()];
        let at = match u16::from_le_bytes([*low, *high]) {
            u16::MAX => was.len(),
            at => usize::from(at) % (was.len() + 1),
        };
        let after = match how % 3 {
            0 => (at + rest.len()).min(was.len()),
            1 => at,
            _ => (at + rest.len().max(1)).min(was.len()),
        };
        let put: &[u8] = if how % 3 == 2 { &[] } else { rest };
        let now = [&was[..at], put, &was[after..]].concat();
        if now == *was {
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder");
        for (other, bytes) in &self.files {
            let path = folder.path().join(other);
            std::fs::create_dir_all(path.parent().expect("inside")).expect("a disk");
            std::fs::write(path, if other == name { &now } else { bytes }).expect("a disk");
        }
        Some(Changed { folder, file: name.clone(), is_longer: now.starts_with(was) })
    }

    /// All of them, as they should be.
    #[must_use]
    pub fn whole(&self) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, bytes) in &self.files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().expect("inside")).expect("a disk");
            std::fs::write(path, bytes).expect("a disk");
        }
        folder
    }
}

/// The files of a log, and those of an export of its last entries.
#[must_use]
pub fn log_and_export() -> (Files, Files) {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("log");
    let (writer, _) = open(&dir);
    let entries = (1..ENTRIES).map(|n| {
        NewEntry::new(Serial::from_bytes([n; 16]), KeyRevoked { key_id: Serial::from_bytes([n; 16]) })
    });
    writer.append(entries.collect()).expect("a disk");
    writer.close().expect("a disk");
    let out: PathBuf = folder.path().join("export");
    let range = Range { from: Some(4), to: Some(u64::from(ENTRIES)) };
    write(&dir, range, &mut Plain, Destination::Folder(out.clone()), &mut |_, _| {}).expect("a log");
    (Files::of(&dir), Files::of(&out))
}

fn open(dir: &Path) -> (LogWriter, Opened) {
    let key = |seed: u8| Arc::new(SecretKey::from_seed([seed; 32]));
    let root = key(1);
    let config = LogConfig {
        dir: dir.to_owned(),
        net_id: root.public().net_id(),
        author: key(2),
        role: Role::Router,
        note: log(),
        genesis: GenesisFacts {
            root_spki: root.public().spki_der(),
            next_root_hash: None,
            currency: "USD".to_owned(),
            root: Some(root),
        },
        options: LogOptions {
            segment_bytes: 1100,
            publish_every: Duration::from_secs(3600),
            ..LogOptions::default()
        },
    };
    let clock = AtomicU64::new(1_790_000_000_000);
    let now: Now = Arc::new(move || Millis(clock.fetch_add(7, Ordering::Relaxed)));
    LogWriter::open(config, now).expect("a new log")
}

/// A line for each entry.
pub struct Plain;

impl Format for Plain {
    fn name(&self) -> &'static str {
        "plain"
    }

    fn file(&self) -> &'static str {
        "plain.txt"
    }

    fn records(&self) -> Records {
        Records::Lines
    }

    fn head(&mut self, header: &Header, out: &mut dyn Sink) -> Result<(), ExportError> {
        out.piece(Piece::Frame, format!("of {}\n", header.origin).as_bytes())
    }

    fn entry(&mut self, row: u64, entry: &Entry<'_>, out: &mut dyn Sink) -> Result<bool, ExportError> {
        let text = format!("{} {}\n", entry.leaf_hash, entry.body.time);
        out.piece(Piece::Row { row, entry: entry.index }, text.as_bytes())?;
        Ok(true)
    }

    fn foot(&mut self, out: &mut dyn Sink) -> Result<(), ExportError> {
        out.piece(Piece::Frame, b"end\n")
    }
}
