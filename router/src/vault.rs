//! Salts that must be erasable: kept beside the log, never in it.
//!
//! ```text
//! vault/salts/…            see [`days`]; fdatasync before the entry is written
//! vault/running/<request>  JSON of what runs, written at admission and removed once its entry is durable; what is
//!                          found there at the next start crashed, and is logged as that
//! vault/erasing            see [`erasure`]
//! ```
//!
//! A torn last record is cut off when a day's file is opened. Without its salt a commitment in the log can no longer be
//! checked against a guessed text, by anybody.

mod days;
pub(crate) mod erasure;

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use counterfoil_identity::random;
use counterfoil_spec::ids::{AccountId, Hash, ManifestId, Serial};
use counterfoil_spec::time::Millis;
use serde::{Deserialize, Serialize};

use crate::admin::AdminError;
use crate::office::Office;
use days::{Day, RECORD_BYTES};

const RUNNING: &str = "running";
/// Where all salts lay before there was a file for each day.
const ONE_FILE: &str = "salts.bin";

/// What is remembered of a request while it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Running {
    pub(crate) request: Serial,
    /// It lies in its own place alone, where it can be erased.
    #[serde(skip, default = "no_salt")]
    pub(crate) salt: Hash,
    pub(crate) account: AccountId,
    pub(crate) key_id: Option<Serial>,
    pub(crate) manifest: ManifestId,
    pub(crate) started: Millis,
}

const fn no_salt() -> Hash {
    days::ERASED
}

/// Why a salt could not be kept, found or erased.
#[derive(Debug, thiserror::Error)]
#[error("the vault {path}: {source}")]
pub struct VaultError {
    path: PathBuf,
    source: std::io::Error,
}

impl VaultError {
    fn of(path: &Path) -> impl Fn(std::io::Error) -> Self + '_ {
        move |source| Self { path: path.to_owned(), source }
    }
}

/// The open vault of a router.
#[derive(Debug)]
pub(crate) struct Vault {
    folder: PathBuf,
    /// The day that was written to last; guards the order of records in its file.
    last: Mutex<Option<(Day, File)>>,
}

impl Vault {
    /// Opens or makes the vault in `folder`, readable by its owner alone.
    ///
    /// # Errors
    /// [`VaultError`] with the path and what the system said.
    pub(crate) fn open(folder: &Path) -> Result<Self, VaultError> {
        for made in [folder.join(RUNNING), days::folder(folder)] {
            std::fs::create_dir_all(&made).map_err(VaultError::of(&made))?;
        }
        divide(folder)?;
        Ok(Self { folder: folder.to_owned(), last: Mutex::new(None) })
    }

    /// Makes the salt of a request durable that started then.
    ///
    /// # Errors
    /// [`VaultError`]; the request must then not be logged with this salt.
    pub(crate) fn keep(&self, request: &Serial, salt: &Hash, started: Millis) -> Result<(), VaultError> {
        let day = Day::of(started);
        let path = days::path(&self.folder, day);
        let fail = VaultError::of(&path);
        let record = [&request.as_bytes()[..], salt.as_bytes()].concat();
        let sync = {
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            let mut file = match last.take() {
                Some((known, file)) if known == day => file,
                _ => self.open_day(day)?,
            };
            let start = file.metadata().map_err(&fail)?.len();
            if let Err(e) = file.write_all(&record) {
                // A part of a record would shift every later one.
                let _ = file.set_len(start);
                return Err(fail(e));
            }
            let sync = file.try_clone().map_err(&fail)?;
            *last = Some((day, file));
            sync
        };
        sync.sync_data().map_err(fail)
    }

    /// Opens a day's file to append to; its name is durable with it.
    fn open_day(&self, day: Day) -> Result<File, VaultError> {
        let path = days::path(&self.folder, day);
        let open = || {
            let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&path)?;
            let len = file.metadata()?.len();
            let torn = len % RECORD_BYTES as u64;
            if torn != 0 {
                file.set_len(len - torn)?;
            }
            Ok(file)
        };
        let file = open().map_err(VaultError::of(&path))?;
        days::sync_folder(&self.folder)?;
        Ok(file)
    }

    /// Finishes an erasure that was broken off.
    ///
    /// # Errors
    /// The vault's and the log's.
    pub(crate) fn finish_erasing(&self, office: &Office) -> Result<(), AdminError> {
        erasure::finish(office, &self.folder).map(drop)
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
        self.keep(&running.request, &running.salt, running.started)
    }

    /// Forgets a request that has its entry.
    pub(crate) fn end(&self, request: &Serial) {
        let path = self.running_path(request);
        if let Err(e) = std::fs::remove_file(&path) {
            tracing::warn!(path = %path.display(), error = %e, "a request that ended is still remembered");
        }
    }

    /// What ran when an earlier process ended. One whose salt is not there gets one now.
    ///
    /// # Errors
    /// [`VaultError`] where the vault cannot be read or written.
    pub(crate) fn left_running(&self) -> Result<Vec<Running>, VaultError> {
        let folder = self.folder.join(RUNNING);
        let fail = VaultError::of(&folder);
        let mut out = Vec::new();
        for file in std::fs::read_dir(&folder).map_err(&fail)? {
            let path = file.map_err(&fail)?.path();
            let bytes = std::fs::read(&path).map_err(&fail)?;
            match serde_json::from_slice::<Running>(&bytes) {
                Ok(running) => out.push(Running { salt: self.salt_of(&running)?, ..running }),
                // Cut off while it was written: the request had not begun.
                Err(_) => std::fs::remove_file(&path).map_err(&fail)?,
            }
        }
        out.sort_by_key(|r: &Running| (r.started, r.request));
        Ok(out)
    }

    fn salt_of(&self, running: &Running) -> Result<Hash, VaultError> {
        if let Some(salt) = self.salt(&running.request, running.started)? {
            return Ok(salt);
        }
        let salt = random::hash();
        self.keep(&running.request, &salt, running.started)?;
        Ok(salt)
    }

    fn running_path(&self, request: &Serial) -> PathBuf {
        self.folder.join(RUNNING).join(request.to_string())
    }

    /// The salt of a request that started then, or `None` where it was erased or never kept.
    ///
    /// # Errors
    /// [`VaultError`] where a file cannot be read.
    pub(crate) fn salt(&self, request: &Serial, started: Millis) -> Result<Option<Hash>, VaultError> {
        Ok(days::find(&self.folder, request, started)?.map(|place| place.salt))
    }
}

/// Takes the one file of an earlier version for that of the day on which it was written to last: none of its salts is
/// younger than that.
fn divide(folder: &Path) -> Result<(), VaultError> {
    let old = folder.join(ONE_FILE);
    let fail = VaultError::of(&old);
    let written = match std::fs::metadata(&old).and_then(|m| m.modified()) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        written => written.map_err(&fail)?,
    };
    let since = written.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let day = Day::of(Millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX)));
    let to = days::path(folder, day);
    if to.exists() {
        return Err(fail(std::io::Error::new(
            ErrorKind::AlreadyExists,
            format!("{} is there too", to.display()),
        )));
    }
    std::fs::rename(&old, &to).map_err(&fail)?;
    days::sync_folder(folder)
}

#[cfg(test)]
mod tests;
