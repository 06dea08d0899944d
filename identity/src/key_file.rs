//! Secret keys on disk: PKCS#8 v1 in PEM, readable by the owner alone.
//!
//! A key file has mode 0600 and lies in a folder of mode 0700; looser ones are refused, because a key that others
//! could read is not a key any more. A file appears whole or not at all and never replaces another. Where the
//! platform has no such modes, the folder's own access list is what protects it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::key::{KeyFault, SecretKey};
use crate::pem::{self, PemFault};

/// Why a key file was not made or not read.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileFault {
    /// The file or folder can be read by others.
    #[error("{path} has mode {mode:03o}; nobody but its owner may reach it: chmod {want:03o} {path}")]
    Loose {
        /// Which.
        path: String,
        /// The permission bits that it has.
        mode: u32,
        /// The permission bits that it may have.
        want: u32,
    },
    /// There is a file already.
    #[error("{0} exists already; a key is never replaced: move it away first")]
    Exists(String),
    /// A path without a folder.
    #[error("{0} names no file in a folder")]
    NoFolder(String),
    /// Not PEM.
    #[error("{path}: {fault}")]
    Pem {
        /// Which.
        path: String,
        /// What is wrong with it.
        fault: PemFault,
    },
    /// Not a key.
    #[error("{path}: {fault}")]
    Key {
        /// Which.
        path: String,
        /// What is wrong with it.
        fault: KeyFault,
    },
    /// The operating system refused.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: String,
        /// Why.
        source: io::Error,
    },
}

/// Makes a fresh key and writes it; the folder is made where it is missing.
///
/// # Errors
/// [`KeyFileFault`]; nothing is left at `path` then.
pub fn create(path: &Path) -> Result<SecretKey, KeyFileFault> {
    let key = SecretKey::generate();
    store(path, &key)?;
    Ok(key)
}

/// Writes a key; the folder is made where it is missing.
///
/// # Errors
/// [`KeyFileFault`]; nothing is left at `path` then.
pub fn store(path: &Path, key: &SecretKey) -> Result<(), KeyFileFault> {
    let folder = prepare(path)?;
    let part = path.with_extension(format!("part-{}", crate::random::serial()));
    let text = pem::encode(LABEL, &key.to_pkcs8_der());
    let written = write_new(&part, text.as_bytes()).map_err(|e| io_fault(&part, e)).and_then(|()| {
        // A hard link appears at once and never replaces; a rename would.
        fs::hard_link(&part, path).map_err(|e| match e.kind() {
            io::ErrorKind::AlreadyExists => KeyFileFault::Exists(show(path)),
            _ => io_fault(path, e),
        })
    });
    let removed = fs::remove_file(&part).map_err(|e| io_fault(&part, e));
    written?;
    removed?;
    sync_folder(&folder).map_err(|e| io_fault(&folder, e))
}

/// Reads a key.
///
/// # Errors
/// [`KeyFileFault`], for loose permissions before a byte is read.
pub fn load(path: &Path) -> Result<SecretKey, KeyFileFault> {
    let folder = folder_of(path)?;
    refuse_loose(&folder, 0o700)?;
    let file = File::open(path).map_err(|e| io_fault(path, e))?;
    refuse_loose(path, 0o600)?;
    let mut text = zeroize::Zeroizing::new(String::new());
    file.take(MAX_KEY_FILE_BYTES).read_to_string(&mut text).map_err(|e| io_fault(path, e))?;
    let blocks = pem::decode(LABEL, &text).map_err(|fault| KeyFileFault::Pem { path: show(path), fault })?;
    let [der] = blocks.as_slice() else {
        let fault = KeyFault::NotPkcs8;
        return Err(KeyFileFault::Key { path: show(path), fault });
    };
    SecretKey::from_pkcs8_der(der).map_err(|fault| KeyFileFault::Key { path: show(path), fault })
}

/// Reads the key at `path`, or makes one where there is no file.
///
/// # Errors
/// [`KeyFileFault`].
pub fn load_or_create(path: &Path) -> Result<SecretKey, KeyFileFault> {
    match load(path) {
        Err(KeyFileFault::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => create(path),
        other => other,
    }
}

fn folder_of(path: &Path) -> Result<PathBuf, KeyFileFault> {
    match path.parent() {
        Some(folder) if folder.as_os_str().is_empty() => Ok(PathBuf::from(".")),
        Some(folder) if path.file_name().is_some() => Ok(folder.to_path_buf()),
        _ => Err(KeyFileFault::NoFolder(show(path))),
    }
}

fn prepare(path: &Path) -> Result<PathBuf, KeyFileFault> {
    let folder = folder_of(path)?;
    if !folder.exists() {
        make_folder(&folder).map_err(|e| io_fault(&folder, e))?;
    }
    refuse_loose(&folder, 0o700)?;
    Ok(folder)
}

#[cfg(unix)]
fn make_folder(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

#[cfg(not(unix))]
fn make_folder(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)
}

#[cfg(unix)]
fn refuse_loose(path: &Path, want: u32) -> Result<(), KeyFileFault> {
    use std::os::unix::fs::PermissionsExt;
    let mode = fs::metadata(path).map_err(|e| io_fault(path, e))?.permissions().mode() & 0o777;
    if mode & !want == 0 { Ok(()) } else { Err(KeyFileFault::Loose { path: show(path), mode, want }) }
}

#[cfg(not(unix))]
fn refuse_loose(path: &Path, _want: u32) -> Result<(), KeyFileFault> {
    fs::metadata(path).map(|_| ()).map_err(|e| io_fault(path, e))
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(not(unix))]
fn sync_folder(_folder: &Path) -> io::Result<()> {
    Ok(())
}

fn show(path: &Path) -> String {
    path.display().to_string()
}

fn io_fault(path: &Path, source: io::Error) -> KeyFileFault {
    KeyFileFault::Io { path: show(path), source }
}

const LABEL: &str = "PRIVATE KEY";
/// A PEM file with one key has 119 bytes.
const MAX_KEY_FILE_BYTES: u64 = 4096;

#[cfg(test)]
mod tests;
