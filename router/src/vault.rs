//! Salts that must be erasable: kept beside the log, never in it.
//!
//! ```text
//! vault/salts.bin          { request serial (16) ‖ salt (32) }…, appended, fdatasync before the entry is written
//! vault/running/<request>  JSON of what runs, written at admission and removed once its entry is durable; what is
//!                          found there at the next start crashed, and is logged as that
//! ```
//!
//! A torn last record is cut off when the vault opens. Without its salt a commitment in the log can no longer be
//! checked against a guessed text, by anybody.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use counterfoil_spec::ids::{AccountId, Hash, ManifestId, Serial};
use counterfoil_spec::time::Millis;
use serde::{Deserialize, Serialize};

const RECORD_BYTES: usize = 48;
const RUNNING: &str = "running";

/// What is remembered of a request while it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Running {
    pub(crate) request: Serial,
    pub(crate) salt: Hash,
    pub(crate) account: AccountId,
    pub(crate) key_id: Option<Serial>,
    pub(crate) manifest: ManifestId,
    pub(crate) started: Millis,
}

/// Why a salt could not be kept.
#[derive(Debug, thiserror::Error)]
#[error("the vault {path}: {source}")]
pub struct VaultError {
    path: PathBuf,
    source: std::io::Error,
}

/// The open vault of a router.
#[derive(Debug)]
pub(crate) struct Vault {
    path: PathBuf,
    /// Guards the order of records in the file.
    file: Mutex<File>,
}

impl Vault {
    /// Opens or makes the vault in `folder`, readable by its owner alone.
    ///
    /// # Errors
    /// [`VaultError`] with the path and what the system said.
    pub(crate) fn open(folder: &Path) -> Result<Self, VaultError> {
        let path = folder.join("salts.bin");
        let fail = |source| VaultError { path: path.clone(), source };
        std::fs::create_dir_all(folder.join(RUNNING)).map_err(fail)?;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(fail)?;
        let len = file.metadata().map_err(fail)?.len();
        let whole = len - len % u64::try_from(RECORD_BYTES).unwrap_or(u64::MAX);
        if whole != len {
            file.set_len(whole).map_err(fail)?;
        }
        file.seek(SeekFrom::Start(whole)).map_err(fail)?;
        Ok(Self { path, file: Mutex::new(file) })
    }

    /// Makes a request's salt durable.
    ///
    /// # Errors
    /// [`VaultError`]; the request must then not be logged with this salt.
    pub(crate) fn keep(&self, request: &Serial, salt: &Hash) -> Result<(), VaultError> {
        let mut record = [0_u8; RECORD_BYTES];
        record
            .iter_mut()
            .zip(request.as_bytes().iter().chain(salt.as_bytes()))
            .for_each(|(to, from)| *to = *from);
        let fail = |source| VaultError { path: self.path.clone(), source };
        let sync = {
            let mut file = self.file.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let start = file.stream_position().map_err(fail)?;
            if let Err(e) = file.write_all(&record) {
                // A part of a record would shift every later one.
                let _ = file.set_len(start);
                let _ = file.seek(SeekFrom::Start(start));
                return Err(fail(e));
            }
            file.try_clone().map_err(fail)?
        };
        sync.sync_data().map_err(fail)
    }

    /// Remembers a request while it runs and makes its salt durable.
    ///
    /// # Errors
    /// [`VaultError`]; the request must then not be logged with this salt.
    pub(crate) fn begin(&self, running: &Running) -> Result<(), VaultError> {
        let path = self.running_path(&running.request);
        // Kept through the end of the process, which is what it is for; not through the machine's.
        let written =
            serde_json::to_vec(running).map_err(std::io::Error::from).and_then(|b| std::fs::write(&path, b));
        written.map_err(|source| VaultError { path, source })?;
        self.keep(&running.request, &running.salt)
    }

    /// Forgets a request that has its entry.
    pub(crate) fn end(&self, request: &Serial) {
        let path = self.running_path(request);
        if let Err(e) = std::fs::remove_file(&path) {
            tracing::warn!(path = %path.display(), error = %e, "a request that ended is still remembered");
        }
    }

    /// What ran when an earlier process ended.
    ///
    /// # Errors
    /// [`VaultError`] where the folder cannot be read.
    pub(crate) fn left_running(&self) -> Result<Vec<Running>, VaultError> {
        let folder = self.path.with_file_name(RUNNING);
        let fail = |source| VaultError { path: folder.clone(), source };
        let mut out = Vec::new();
        for file in std::fs::read_dir(&folder).map_err(fail)? {
            let path = file.map_err(fail)?.path();
            let bytes = std::fs::read(&path).map_err(fail)?;
            match serde_json::from_slice(&bytes) {
                Ok(running) => out.push(running),
                // Cut off while it was written: the request had not begun.
                Err(_) => std::fs::remove_file(&path).map_err(fail)?,
            }
        }
        out.sort_by_key(|r: &Running| (r.started, r.request));
        Ok(out)
    }

    fn running_path(&self, request: &Serial) -> PathBuf {
        self.path.with_file_name(RUNNING).join(request.to_string())
    }

    /// The salt of a request, or `None` where it was erased or never kept.
    ///
    /// # Errors
    /// [`VaultError`] where the file cannot be read.
    pub(crate) fn salt(&self, request: &Serial) -> Result<Option<Hash>, VaultError> {
        let fail = |source| VaultError { path: self.path.clone(), source };
        let mut file = std::io::BufReader::new(File::open(&self.path).map_err(fail)?);
        let mut record = [0_u8; RECORD_BYTES];
        loop {
            match file.read_exact(&mut record) {
                Ok(()) => {}
                Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
                Err(e) => return Err(fail(e)),
            }
            let (serial, salt) = record.split_at(Serial::LEN);
            if serial == request.as_bytes() {
                return Ok(Hash::from_slice(salt));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_salt_is_found_after_reopening() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (Serial::from_bytes([1; 16]), Serial::from_bytes([2; 16]));
        let vault = Vault::open(folder.path()).unwrap();
        vault.keep(&one, &Hash::from_bytes([9; 32])).unwrap();
        vault.keep(&two, &Hash::from_bytes([8; 32])).unwrap();
        drop(vault);
        let vault = Vault::open(folder.path()).unwrap();
        assert_eq!(vault.salt(&two).unwrap(), Some(Hash::from_bytes([8; 32])));
        assert_eq!(vault.salt(&Serial::from_bytes([3; 16])).unwrap(), None);
    }

    #[test]
    fn what_runs_is_found_by_the_next_process_and_what_ended_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let running = |n: u8| Running {
            request: Serial::from_bytes([n; 16]),
            salt: Hash::from_bytes([n; 32]),
            account: AccountId::from_bytes([7; 32]),
            key_id: None,
            manifest: ManifestId::from_bytes([8; 32]),
            started: Millis(u64::from(n)),
        };
        let vault = Vault::open(folder.path()).unwrap();
        for n in [2, 1, 3] {
            vault.begin(&running(n)).unwrap();
        }
        vault.end(&running(3).request);
        std::fs::write(folder.path().join("running/cut"), b"{").unwrap();
        drop(vault);
        let vault = Vault::open(folder.path()).unwrap();
        assert_eq!(vault.left_running().unwrap(), [running(1), running(2)]);
        assert_eq!(vault.salt(&running(2).request).unwrap(), Some(Hash::from_bytes([2; 32])));
    }

    #[test]
    fn a_torn_record_is_cut_and_the_next_one_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let vault = Vault::open(folder.path()).unwrap();
        vault.keep(&Serial::from_bytes([1; 16]), &Hash::from_bytes([9; 32])).unwrap();
        drop(vault);
        let path = folder.path().join("salts.bin");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.extend_from_slice(&[7; 20]);
        std::fs::write(&path, bytes).unwrap();
        let vault = Vault::open(folder.path()).unwrap();
        vault.keep(&Serial::from_bytes([2; 16]), &Hash::from_bytes([8; 32])).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 96);
        assert_eq!(vault.salt(&Serial::from_bytes([2; 16])).unwrap(), Some(Hash::from_bytes([8; 32])));
    }
}
