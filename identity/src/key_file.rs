//! Secret keys on disk: PKCS#8 v1 in PEM, readable by the owner alone, under a passphrase where there is one.
//!
//! A key file has mode 0600 and lies in a folder of mode 0700; looser ones are refused, because a key that others
//! could read is not a key any more. A file appears whole or not at all and never replaces another. Where the
//! platform has no such modes, the folder's own access list is what protects it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::key::{KeyFault, SecretKey};
use crate::pem::{self, PemFault};

mod keyring;
mod sealed;

#[cfg(unix)]
pub use keyring::store_agent;
pub use keyring::{Keyring, Passphrase, PassphraseFault, is_there};
pub use sealed::SealFault;

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
    /// A sealed key, and no passphrase.
    #[error("{0} is under a passphrase: give it with --passphrase-file or COUNTERFOIL_PASSPHRASE_FILE")]
    Locked(String),
    /// A sealed key that did not open.
    #[error("{path}: {fault}")]
    Sealed {
        /// Which.
        path: String,
        /// Why.
        fault: SealFault,
    },
    /// A file that names an agent and cannot be read as one.
    #[error("{path}: line {line}: expected `{want}`")]
    AgentFile {
        /// Which.
        path: String,
        /// Counted from one.
        line: usize,
        /// What should stand there.
        want: &'static str,
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

/// Makes a fresh key and writes it without a passphrase; the folder is made where it is missing.
///
/// # Errors
/// [`KeyFileFault`]; nothing is left at `path` then.
pub fn create(path: &Path) -> Result<SecretKey, KeyFileFault> {
    Keyring::default().create(path)
}

/// Writes a key without a passphrase; the folder is made where it is missing.
///
/// # Errors
/// [`KeyFileFault`]; nothing is left at `path` then.
pub fn store(path: &Path, key: &SecretKey) -> Result<(), KeyFileFault> {
    Keyring::default().store(path, key)
}

/// Reads a key that is under no passphrase.
///
/// # Errors
/// [`KeyFileFault`], for loose permissions before a byte is read.
pub fn load(path: &Path) -> Result<SecretKey, KeyFileFault> {
    Keyring::default().load(path)
}

/// Reads the key at `path`, or makes one where there is no file.
///
/// # Errors
/// [`KeyFileFault`].
pub fn load_or_create(path: &Path) -> Result<SecretKey, KeyFileFault> {
    Keyring::default().load_or_create(path)
}

/// What a key file holds.
enum Content {
    Plain(SecretKey),
    /// DER.
    Sealed(Zeroizing<Vec<u8>>),
}

/// Reads a key file whose permissions are as they must be.
fn read(path: &Path) -> Result<Content, KeyFileFault> {
    let text = read_text(path)?;
    let label = if text.starts_with(SEALED_BEGINS) { SEALED } else { PLAIN };
    let blocks = pem::decode(label, &text).map_err(|fault| KeyFileFault::Pem { path: show(path), fault })?;
    let not_a_key = |fault| KeyFileFault::Key { path: show(path), fault };
    let Ok([der]) = <[_; 1]>::try_from(blocks) else { return Err(not_a_key(KeyFault::NotPkcs8)) };
    if label == SEALED {
        return Ok(Content::Sealed(der));
    }
    SecretKey::from_pkcs8_der(&der).map(Content::Plain).map_err(not_a_key)
}

fn read_text(path: &Path) -> Result<Zeroizing<String>, KeyFileFault> {
    let folder = folder_of(path)?;
    refuse_loose(&folder, 0o700)?;
    let file = File::open(path).map_err(|e| io_fault(path, e))?;
    refuse_loose(path, 0o600)?;
    let mut text = Zeroizing::new(String::new());
    file.take(MAX_KEY_FILE_BYTES).read_to_string(&mut text).map_err(|e| io_fault(path, e))?;
    Ok(text)
}

/// How the extension of a file begins that is not whole yet.
const PART: &str = "part-";

/// Whether the file at a path takes the place of another or must be the first there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Placing {
    First,
    Instead,
}

/// Writes a file whole or not at all; nothing is left at `path` after an error but what was there.
fn place(path: &Path, text: &str, placing: Placing) -> Result<(), KeyFileFault> {
    let folder = prepare(path)?;
    let part = path.with_extension(format!("{PART}{}", crate::random::serial()));
    write_new(&part, text.as_bytes()).map_err(|e| io_fault(&part, e))?;
    if placing == Placing::Instead {
        fs::rename(&part, path).map_err(|e| io_fault(path, e))?;
        return sync_folder(&folder).map_err(|e| io_fault(&folder, e));
    }
    // A hard link appears at once and never replaces; a rename would.
    let linked = fs::hard_link(&part, path).map_err(|e| match e.kind() {
        io::ErrorKind::AlreadyExists => KeyFileFault::Exists(show(path)),
        _ => io_fault(path, e),
    });
    let removed = fs::remove_file(&part).map_err(|e| io_fault(&part, e));
    linked?;
    removed?;
    sync_folder(&folder).map_err(|e| io_fault(&folder, e))
}

/// Removes what a write of a key left that was broken off: it may be a key that was to be nowhere any more. Only whoever works
/// alone on a folder may do so.
///
/// # Errors
/// [`KeyFileFault::Io`].
pub fn sweep(folder: &Path) -> Result<(), KeyFileFault> {
    let entries = match fs::read_dir(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(|e| io_fault(folder, e))?,
    };
    for entry in entries {
        let path = entry.map_err(|e| io_fault(folder, e))?.path();
        if path.extension().is_some_and(|ext| ext.to_string_lossy().starts_with(PART)) {
            fs::remove_file(&path).map_err(|e| io_fault(&path, e))?;
        }
    }
    Ok(())
}

/// Refuses a key file, or its folder, that others may read, without reading it.
///
/// # Errors
/// [`KeyFileFault::Loose`], and [`KeyFileFault::Io`] where there is no file.
pub fn check_permissions(path: &Path) -> Result<(), KeyFileFault> {
    refuse_loose(&folder_of(path)?, 0o700)?;
    refuse_loose(path, 0o600)
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
pub(crate) fn make_folder(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

#[cfg(not(unix))]
pub(crate) fn make_folder(folder: &Path) -> io::Result<()> {
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
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(not(unix))]
pub(crate) fn sync_folder(_folder: &Path) -> io::Result<()> {
    Ok(())
}

fn show(path: &Path) -> String {
    path.display().to_string()
}

fn io_fault(path: &Path, source: io::Error) -> KeyFileFault {
    KeyFileFault::Io { path: show(path), source }
}

const PLAIN: &str = "PRIVATE KEY";
const SEALED: &str = "ENCRYPTED PRIVATE KEY";
const SEALED_BEGINS: &str = "-----BEGIN ENCRYPTED ";
/// A PEM file with one key has 119 bytes, a sealed one about 300.
const MAX_KEY_FILE_BYTES: u64 = 4096;

#[cfg(test)]
mod tests;
