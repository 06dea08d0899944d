//! The folder that a model is split into: what may be there before, and the order in which it becomes whole.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::SplitError;
use crate::durable;

pub(crate) const MANIFEST_FILE: &str = "manifest.cbor";
pub(crate) const DENSE_FILE: &str = "dense.gguf";
pub(crate) const SHARDS_FOLDER: &str = "shards";
/// Texts that are copied beside the weights where a model has them.
pub(crate) const TEXT_FILES: [&str; 3] = ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"];
pub(crate) const MARKER_FILE: &str = ".counterfoil-split";

/// What to do with a folder that is not empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Refuse it, unless it is the same work that was interrupted: that goes on.
    Refuse,
    /// Take the split model that is in it out of it first. Other files stay; a folder without one is refused.
    Replace,
}

/// A folder that a model is being split into.
pub(crate) struct SplitFolder {
    path: PathBuf,
}

/// What a shard's file is called.
pub(crate) fn shard_name(layer: u32, expert: u16) -> String {
    format!("{layer}-{expert}.shard")
}

impl SplitFolder {
    /// Makes the folder ready for work that is told by `job`.
    pub(crate) fn begin(path: &Path, job: &str, existing: Existing) -> Result<Self, SplitError> {
        let folder = Self { path: path.to_path_buf() };
        folder.make(path)?;
        let found = folder.entries()?;
        let begun = std::fs::read(path.join(MARKER_FILE)).is_ok_and(|found| found == job.as_bytes());
        if !begun && !found.is_empty() {
            let splits = [MANIFEST_FILE, MARKER_FILE].map(|name| path.join(name).exists());
            match existing {
                Existing::Refuse => return Err(SplitError::NotEmpty { folder: path.to_path_buf() }),
                Existing::Replace if splits == [false; 2] => {
                    return Err(SplitError::Foreign { folder: path.to_path_buf() });
                }
                Existing::Replace => folder.clear()?,
            }
        }
        folder.make(&folder.shards())?;
        folder.write(MARKER_FILE, job.as_bytes())?;
        Ok(folder)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn shards(&self) -> PathBuf {
        self.path.join(SHARDS_FOLDER)
    }

    /// Writes a small file whole.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), SplitError> {
        let path = self.path.join(name);
        durable::write(&path, bytes).map_err(io(&path))
    }

    /// Writes the manifest: from now on the folder is whole.
    pub(crate) fn finish(self, manifest: &[u8]) -> Result<(), SplitError> {
        for folder in [&self.shards(), &self.path] {
            durable::sync_folder(folder).map_err(io(folder))?;
        }
        self.write(MANIFEST_FILE, manifest)?;
        self.remove(&self.path.join(MARKER_FILE))
    }

    /// Takes out what a split model consists of, its manifest first.
    fn clear(&self) -> Result<(), SplitError> {
        for name in [MANIFEST_FILE, MARKER_FILE, DENSE_FILE].into_iter().chain(TEXT_FILES) {
            self.remove(&self.path.join(name))?;
        }
        let Ok(shards) = std::fs::read_dir(self.shards()) else { return Ok(()) };
        for entry in shards.flatten() {
            let path = entry.path();
            let extension = path.extension();
            if extension == Some(OsStr::new("shard")) || extension == Some(OsStr::new("part")) {
                self.remove(&path)?;
            }
        }
        Ok(())
    }

    fn entries(&self) -> Result<Vec<PathBuf>, SplitError> {
        let fault = io(&self.path);
        let entries = std::fs::read_dir(&self.path).and_then(|all| {
            all.map(|entry| entry.map(|entry| entry.path())).collect::<std::io::Result<Vec<_>>>()
        });
        entries.map_err(fault)
    }

    fn make(&self, path: &Path) -> Result<(), SplitError> {
        std::fs::create_dir_all(path).map_err(io(path))
    }

    fn remove(&self, path: &Path) -> Result<(), SplitError> {
        match std::fs::remove_file(path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(io(path)(source)),
            _ => Ok(()),
        }
    }
}

/// Names the file in what the system said.
pub(super) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> SplitError {
    let path = path.to_path_buf();
    move |source| SplitError::Io { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_with_something_in_it_is_refused_or_cleared_of_a_model_only() {
        let at = tempfile::tempdir().unwrap();
        std::fs::write(at.path().join("notes.txt"), "mine").unwrap();
        std::fs::write(at.path().join(MANIFEST_FILE), "old").unwrap();
        let refused = SplitFolder::begin(at.path(), "job", Existing::Refuse);
        assert!(matches!(refused, Err(SplitError::NotEmpty { .. })));
        SplitFolder::begin(at.path(), "job", Existing::Replace).unwrap();
        assert!(at.path().join("notes.txt").exists());
        assert!(!at.path().join(MANIFEST_FILE).exists());
    }

    #[test]
    fn a_folder_without_a_split_model_is_not_cleared() {
        let at = tempfile::tempdir().unwrap();
        std::fs::write(at.path().join(TEXT_FILES[0]), "mine").unwrap();
        let refused = SplitFolder::begin(at.path(), "job", Existing::Replace);
        assert!(matches!(refused, Err(SplitError::Foreign { folder }) if folder == at.path()));
        assert_eq!(std::fs::read(at.path().join(TEXT_FILES[0])).unwrap(), b"mine");
    }

    #[test]
    fn the_same_work_goes_on_and_other_work_does_not() {
        let at = tempfile::tempdir().unwrap();
        SplitFolder::begin(at.path(), "job", Existing::Refuse).unwrap();
        SplitFolder::begin(at.path(), "job", Existing::Refuse).unwrap();
        let other = SplitFolder::begin(at.path(), "other", Existing::Refuse);
        assert!(matches!(other, Err(SplitError::NotEmpty { .. })));
    }

    #[test]
    fn the_mark_of_work_is_gone_when_it_is_done() {
        let at = tempfile::tempdir().unwrap();
        SplitFolder::begin(at.path(), "job", Existing::Refuse).unwrap().finish(b"manifest").unwrap();
        assert!(!at.path().join(MARKER_FILE).exists());
        assert_eq!(std::fs::read(at.path().join(MANIFEST_FILE)).unwrap(), b"manifest");
        let again = SplitFolder::begin(at.path(), "job", Existing::Refuse);
        assert!(matches!(again, Err(SplitError::NotEmpty { .. })));
    }
}
