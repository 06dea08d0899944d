//! Salts that must be erasable: kept beside the log, never in it.
//!
//! ```text
//! vault/salts.bin = { request serial (16) ‖ salt (32) }…          appended, fdatasync before the entry is written
//! ```
//!
//! A torn last record is cut off when the vault opens. Without its salt a commitment in the log can no longer be
//! checked against a guessed text, by anybody.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use counterfoil_spec::ids::{Hash, Serial};

const RECORD_BYTES: usize = 48;

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
        std::fs::create_dir_all(folder).map_err(fail)?;
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
