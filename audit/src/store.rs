//! Bytes on disk for the writer: groups appended to segments, and small files replaced as a whole.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use counterfoil_spec::ids::Hash;

use crate::error::LogError;
use crate::scan::wide;
use crate::segment::{self, SegmentFile};

/// Asks the disk to make a file's bytes durable. A field, so that a test can be a disk that fails.
pub(crate) type SyncFile = Arc<dyn Fn(&File) -> io::Result<()> + Send + Sync>;

pub(crate) fn fdatasync() -> SyncFile {
    Arc::new(File::sync_data)
}

/// Makes the names in a folder durable.
pub(crate) fn sync_folder(path: &Path) -> Result<(), LogError> {
    File::open(path)
        .and_then(|f| f.sync_all())
        .map_err(|e| LogError::DurabilityLost { detail: format!("sync of {}: {e}", path.display()) })
}

/// How a file is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Replace {
    /// Whole or not at all as other processes see it; after a power cut it may be missing or empty.
    Atomic,
    /// After a power cut it is the old or the new one.
    Ordered,
    /// Also durable when this returns.
    Durable,
}

/// Writes a file under another name and renames it into place.
pub(crate) fn replace(path: &Path, bytes: &[u8], how: Replace, sync: &SyncFile) -> Result<(), LogError> {
    let mut tmp = path.as_os_str().to_owned();
    tmp.push(".tmp");
    let tmp = PathBuf::from(tmp);
    let folder = path.parent().unwrap_or(Path::new("."));
    let write = || {
        std::fs::create_dir_all(folder)?;
        let file = File::create(&tmp)?;
        file.write_all_at(bytes, 0)?;
        Ok(file)
    };
    let file = write().map_err(LogError::store("write", &tmp))?;
    if how != Replace::Atomic {
        let lost = |e| LogError::DurabilityLost { detail: format!("fdatasync of {}: {e}", tmp.display()) };
        sync(&file).map_err(lost)?;
    }
    std::fs::rename(&tmp, path).map_err(LogError::store("rename", path))?;
    if how == Replace::Durable { sync_folder(folder) } else { Ok(()) }
}

/// The end of the last segment.
pub(crate) struct SegmentWriter {
    dir: PathBuf,
    origin: Hash,
    roll_bytes: u64,
    sync: SyncFile,
    last: Option<Open>,
}

struct Open {
    file: File,
    segment: SegmentFile,
    len: u64,
}

impl SegmentWriter {
    /// A log without segments.
    pub(crate) fn new(dir: &Path, origin: Hash, roll_bytes: u64, sync: SyncFile) -> Self {
        Self { dir: dir.to_owned(), origin, roll_bytes, sync, last: None }
    }

    /// Goes on at byte `len` of a segment, cutting off what follows.
    pub(crate) fn resume(&mut self, segment: &SegmentFile, len: u64) -> Result<(), LogError> {
        let file = OpenOptions::new()
            .write(true)
            .open(&segment.path)
            .map_err(LogError::store("open", &segment.path))?;
        let found = file.metadata().map_err(LogError::store("read", &segment.path))?.len();
        if found != len {
            file.set_len(len).map_err(LogError::store("cut", &segment.path))?;
            (self.sync)(&file).map_err(|e| lost(segment, &e))?;
        }
        self.last = Some(Open { file, segment: segment.clone(), len });
        Ok(())
    }

    /// Appends the frames of a group whose first entry is `first`; they are durable when this returns. After any
    /// error but `DurabilityLost` the segment is as it was.
    pub(crate) fn append(&mut self, first: u64, frames: &[u8]) -> Result<(), LogError> {
        match &mut self.last {
            Some(open) if open.len < self.roll_bytes => {
                if let Err(e) = open.file.write_all_at(frames, open.len) {
                    open.file.set_len(open.len).map_err(|cut| lost(&open.segment, &cut))?;
                    return Err(LogError::store("append to", &open.segment.path)(e));
                }
                (self.sync)(&open.file).map_err(|e| lost(&open.segment, &e))?;
                open.len += wide(frames.len());
            }
            _ => self.last = Some(self.begin(first, frames)?),
        }
        Ok(())
    }

    fn begin(&self, first: u64, frames: &[u8]) -> Result<Open, LogError> {
        let segment = SegmentFile::new(&self.dir, first);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&segment.path)
            .map_err(LogError::store("create", &segment.path))?;
        let mut bytes = segment::header(&self.origin, first);
        bytes.extend_from_slice(frames);
        if let Err(e) = file.write_all_at(&bytes, 0) {
            std::fs::remove_file(&segment.path).map_err(|gone| lost(&segment, &gone))?;
            return Err(LogError::store("append to", &segment.path)(e));
        }
        (self.sync)(&file).map_err(|e| lost(&segment, &e))?;
        sync_folder(&self.dir.join(segment::FOLDER))?;
        Ok(Open { file, segment, len: wide(bytes.len()) })
    }
}

fn lost(segment: &SegmentFile, e: &io::Error) -> LogError {
    LogError::DurabilityLost { detail: format!("{}: {e}", segment.name) }
}
