//! Bytes on disk for the writer: groups appended to segments, and small files replaced as a whole.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use counterfoil_spec::ids::Hash;

use crate::disk::{Disk, Existing};
use crate::error::LogError;
use crate::scan::{self, LastGroup, STREAM_CHUNK_BYTES, wide};
use crate::segment::{self, SegmentFile};

/// Makes the names in a folder durable.
pub(crate) fn sync_folder(disk: &dyn Disk, path: &Path) -> Result<(), LogError> {
    disk.sync_folder(path).map_err(|e| unconfirmed(path, &e))
}

fn unconfirmed(folder: &Path, e: &io::Error) -> LogError {
    LogError::DurabilityLost { detail: format!("sync of {}: {e}", folder.display()) }
}

/// Makes a folder and those above it, and their names durable: of those that were missing, and of a log's folder and
/// the home around it always, since who made them may have died before this.
pub(crate) fn make_durable_folder(disk: &dyn Disk, path: &Path) -> Result<(), LogError> {
    let missing = path.ancestors().take_while(|a| !a.as_os_str().is_empty() && !a.exists()).count();
    disk.make_folders(path).map_err(LogError::store("create", path))?;
    for (above, folder) in path.ancestors().skip(1).take(missing.max(2)).enumerate() {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        match disk.sync_folder(folder) {
            // The folder around a home may be one that its owner cannot read, and then is not one that was just made.
            Err(e) if above > 0 && e.kind() == io::ErrorKind::PermissionDenied => {}
            Err(e) => return Err(unconfirmed(folder, &e)),
            Ok(()) => {}
        }
    }
    Ok(())
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
pub(crate) fn replace(disk: &dyn Disk, path: &Path, bytes: &[u8], how: Replace) -> Result<(), LogError> {
    let mut tmp = path.as_os_str().to_owned();
    tmp.push(".tmp");
    let tmp = PathBuf::from(tmp);
    let folder = path.parent().unwrap_or(Path::new("."));
    let write = || {
        disk.make_folders(folder)?;
        let file = disk.create(&tmp, Existing::Empty)?;
        disk.write_at(&file, bytes, 0)?;
        Ok(file)
    };
    let file = write().map_err(|e| {
        // What a full disk took of it is given back; where that fails too, the next attempt empties it.
        let _ = disk.remove_file(&tmp);
        LogError::store("write", &tmp)(e)
    })?;
    if how != Replace::Atomic {
        let lost = |e| LogError::DurabilityLost { detail: format!("fdatasync of {}: {e}", tmp.display()) };
        disk.sync(&file).map_err(lost)?;
    }
    disk.rename(&tmp, path).map_err(LogError::store("rename", path))?;
    if how == Replace::Durable { sync_folder(disk, folder) } else { Ok(()) }
}

/// The end of the last segment.
pub(crate) struct SegmentWriter {
    dir: PathBuf,
    origin: Hash,
    roll_bytes: u64,
    disk: Arc<dyn Disk>,
    last: Option<Open>,
}

struct Open {
    file: File,
    segment: SegmentFile,
    len: u64,
}

impl SegmentWriter {
    /// A log without segments.
    pub(crate) fn new(dir: &Path, origin: Hash, roll_bytes: u64, disk: Arc<dyn Disk>) -> Self {
        Self { dir: dir.to_owned(), origin, roll_bytes, disk, last: None }
    }

    /// Goes on behind the last group of a segment, cutting off what follows it.
    ///
    /// The group is written once more, as it stands: whoever wrote it may have died before its `fdatasync`, or been
    /// refused it, and then what is read here is in memory alone. A second `fdatasync` would not help, since after an
    /// error the system takes the bytes for written (Rebello and others, "Can Applications Recover from fsync
    /// Failures?", USENIX ATC 2020). Groups before it were durable before it was begun.
    pub(crate) fn resume(&mut self, segment: &SegmentFile, group: LastGroup) -> Result<(), LogError> {
        let file = self.disk.open(&segment.path).map_err(LogError::store("open", &segment.path))?;
        let found = file.metadata().map_err(LogError::store("read", &segment.path))?.len();
        if found != group.end {
            self.disk.cut(&file, group.end).map_err(LogError::store("cut", &segment.path))?;
        }
        //= spec/audit-log.md#recovery
        //# A writer that opens a log MUST write its last group again and make it durable before it signs or appends anything.
        let source = scan::open(segment)?;
        let mut at = group.start;
        while at < group.end {
            let len = (group.end - at).min(wide(STREAM_CHUNK_BYTES));
            let mut bytes = vec![0; usize::try_from(len).unwrap_or(STREAM_CHUNK_BYTES)];
            std::os::unix::fs::FileExt::read_exact_at(&*source, &mut bytes, at)
                .map_err(LogError::store("read", &segment.path))?;
            self.disk.write_at(&file, &bytes, at).map_err(|e| lost(segment, &e))?;
            at += len;
        }
        self.disk.sync(&file).map_err(|e| lost(segment, &e))?;
        sync_folder(&*self.disk, &self.dir.join(segment::FOLDER))?;
        self.last = Some(Open { file, segment: segment.clone(), len: group.end });
        Ok(())
    }

    /// Appends the frames of a group whose first entry is `first`; they are durable when this returns. After any
    /// error but `DurabilityLost` the segment is as it was.
    pub(crate) fn append(&mut self, first: u64, frames: &[u8]) -> Result<(), LogError> {
        match &mut self.last {
            Some(open) if open.len < self.roll_bytes => {
                if let Err(e) = self.disk.write_at(&open.file, frames, open.len) {
                    self.disk.cut(&open.file, open.len).map_err(|cut| lost(&open.segment, &cut))?;
                    return Err(LogError::store("append to", &open.segment.path)(e));
                }
                self.disk.sync(&open.file).map_err(|e| lost(&open.segment, &e))?;
                open.len += wide(frames.len());
            }
            _ => self.last = Some(self.begin(first, frames)?),
        }
        Ok(())
    }

    fn begin(&self, first: u64, frames: &[u8]) -> Result<Open, LogError> {
        let segment = SegmentFile::new(&self.dir, first);
        let file = self
            .disk
            .create(&segment.path, Existing::Refuse)
            .map_err(LogError::store("create", &segment.path))?;
        let mut bytes = segment::header(&self.origin, first);
        bytes.extend_from_slice(frames);
        if let Err(e) = self.disk.write_at(&file, &bytes, 0) {
            self.disk.remove_file(&segment.path).map_err(|gone| lost(&segment, &gone))?;
            return Err(LogError::store("append to", &segment.path)(e));
        }
        self.disk.sync(&file).map_err(|e| lost(&segment, &e))?;
        sync_folder(&*self.disk, &self.dir.join(segment::FOLDER))?;
        Ok(Open { file, segment, len: wide(bytes.len()) })
    }
}

fn lost(segment: &SegmentFile, e: &io::Error) -> LogError {
    LogError::DurabilityLost { detail: format!("{}: {e}", segment.name) }
}
