//! Files that are there whole or not at all.

use std::fs::File;
use std::io::{Result, Write};
use std::path::{Path, PathBuf};

/// A file that has its name only once all of it is on disk. Dropped before that, it is gone.
pub(crate) struct Fresh {
    path: PathBuf,
    part: PathBuf,
    file: Option<File>,
}

impl Fresh {
    /// Begins a file; until [`Self::keep`] it is called `<name>.part`.
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        let file = File::create(&part)?;
        Ok(Self { path: path.to_path_buf(), part, file: Some(file) })
    }

    /// Gives it its name.
    pub(crate) fn keep(mut self) -> Result<()> {
        let Some(file) = self.file.take() else { return Ok(()) };
        let kept = file.sync_all().and_then(|()| std::fs::rename(&self.part, &self.path));
        if kept.is_err() {
            self.file = Some(file);
        }
        kept
    }
}

impl Write for Fresh {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        match &mut self.file {
            Some(file) => file.write(bytes),
            None => Err(std::io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            // Whatever ended the writing has its own error; what is left behind has no name that is believed.
            let _ = std::fs::remove_file(&self.part);
        }
    }
}

/// Writes a file and its name.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut fresh = Fresh::create(path)?;
    fresh.write_all(bytes)?;
    fresh.keep()?;
    sync_folder(path.parent().unwrap_or(path))
}

/// Makes the names in a folder last.
pub(crate) fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder)?.sync_all()
}
