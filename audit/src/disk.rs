//! The disk as an argument: whatever changes the files of a log goes through here, so that a test can be a disk that
//! fails, tears what it was given, and forgets what it was not told to keep.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// What to do about a file that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Existing {
    /// Say so.
    Refuse,
    /// Empty it.
    Empty,
}

/// What a writer does to its disk. What was done counts as lost in a power cut until [`Disk::sync`] returned for bytes
/// and lengths, [`Disk::sync_folder`] for names: in any order, in part, and each by itself. Reading needs no such
/// argument: a process sees what it wrote, durable or not.
pub(crate) trait Disk: Send + Sync {
    /// Makes a folder and those above it that are missing.
    fn make_folders(&self, path: &Path) -> io::Result<()>;
    /// Makes a file and opens it for writing.
    fn create(&self, path: &Path, existing: Existing) -> io::Result<File>;
    /// Opens a file for writing.
    fn open(&self, path: &Path) -> io::Result<File>;
    /// Writes all of `bytes` at an offset. After an error any part of them may stand there.
    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Makes a file so long.
    fn cut(&self, file: &File, len: u64) -> io::Result<()>;
    /// Makes a file's bytes and its length durable. After an error it is unknown which are, and asking again tells
    /// nothing: the system may have forgotten that they were to be written.
    fn sync(&self, file: &File) -> io::Result<()>;
    /// Makes the names in a folder durable.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;
    /// Gives a file another name, in place of what has that name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Deletes a file.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Deletes a folder and what is in it.
    fn remove_folder(&self, path: &Path) -> io::Result<()>;
}

/// The disk of this machine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LocalDisk;

impl Disk for LocalDisk {
    fn make_folders(&self, path: &Path) -> io::Result<()> {
        std::fs::create_dir_all(path)
    }

    fn create(&self, path: &Path, existing: Existing) -> io::Result<File> {
        match existing {
            Existing::Refuse => OpenOptions::new().write(true).create_new(true).open(path),
            Existing::Empty => File::create(path),
        }
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new().write(true).open(path)
    }

    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        file.write_all_at(bytes, offset)
    }

    fn cut(&self, file: &File, len: u64) -> io::Result<()> {
        file.set_len(len)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_dir_all(path)
    }
}

#[cfg(test)]
pub(crate) mod journal;
