//! A node's certificate and TLS key on disk, and the next ones beside them until they were used.
//!
//! ```text
//! identity/tls.key     the key of the current leaf         identity/chain.pem   the leaf and its issuing CA
//! identity/next.key    the key of the next one             identity/next.pem    the same of the next one
//! ```
//!
//! The next chain is written after its key, and both before the certificate is used. Once it was, the two take the
//! places of the old ones, the key first. So there is a chain with its key at any moment, and the newest such pair holds.

use std::fs;
use std::io;
use std::path::Path;

use counterfoil_identity::key_file::Keyring;
use counterfoil_identity::{Chain, Credentials, TlsKey, certificate_key};

use crate::home::HomeError;
use crate::orders::write_whole;

/// Reads the newest certificate whose key is there.
///
/// # Errors
/// [`HomeError`]; of `Io` and kind `NotFound` where there is none.
pub(crate) fn load(folder: &Path, keys: &Keyring) -> Result<Credentials, HomeError> {
    let keys: Vec<_> =
        [NEXT_KEY, KEY].iter().map(|name| keys.load(&folder.join(name)).map(TlsKey::from_secret)).collect();
    for name in [NEXT_CHAIN, CHAIN] {
        let text = match fs::read_to_string(folder.join(name)) {
            Ok(text) => text,
            Err(e) if name == NEXT_CHAIN && e.kind() == io::ErrorKind::NotFound => continue,
            Err(source) => return Err(HomeError::Io { path: folder.join(name), source }),
        };
        let chain = Chain::from_pem(&text)?;
        let leaf = certificate_key(&chain.leaf)?;
        if let Some(key) = keys.iter().flatten().find(|key| key.spki_der() == leaf) {
            return Ok(Credentials::new(chain, key));
        }
    }
    let current = keys.into_iter().next_back();
    match current {
        Some(Err(fault)) => Err(fault.into()),
        _ => Err(HomeError::Strange(folder.join(CHAIN))),
    }
}

/// Keeps the next pair, so that it can be used.
///
/// # Errors
/// [`HomeError`]; the pair before it is still there then.
pub(crate) fn keep_next(
    folder: &Path,
    keys: &Keyring,
    (key, chain): (&TlsKey, &Chain),
) -> Result<(), HomeError> {
    // What was moved half-way is moved first, because it may be the only pair.
    settle(folder)?;
    forget_next(folder)?;
    keys.store(&folder.join(NEXT_KEY), key.secret())?;
    write(folder, NEXT_CHAIN, chain)
}

/// Whether the newest certificate may never have been used.
pub(crate) fn has_next(folder: &Path) -> bool {
    folder.join(NEXT_CHAIN).exists()
}

/// The next pair was used, or half of it has been moved: it takes the place of the one before it.
///
/// # Errors
/// [`HomeError`].
pub(crate) fn settle(folder: &Path) -> Result<(), HomeError> {
    if !folder.join(NEXT_CHAIN).exists() {
        return Ok(());
    }
    //= spec/identity.md#keys-on-disk
    //# The TLS key of a certificate that was used MAY take the place of the one before it.
    for (from, to) in [(NEXT_KEY, KEY), (NEXT_CHAIN, CHAIN)] {
        match fs::rename(folder.join(from), folder.join(to)) {
            Err(e) if from == NEXT_KEY && e.kind() == io::ErrorKind::NotFound => {}
            moved => moved.map_err(|source| HomeError::Io { path: folder.join(from), source })?,
        }
        sync(folder)?;
    }
    Ok(())
}

//= spec/identity.md#keys
//# A TLS key MUST be made anew for each certificate
/// The key for a certificate that enrolment is to give: the same while no certificate was kept, so that an enrolment can be
/// repeated. Where there is a certificate already, its key is another's, who may have been copied.
///
/// # Errors
/// [`HomeError`].
pub(crate) fn for_enrolment(folder: &Path, keys: &Keyring) -> Result<TlsKey, HomeError> {
    let enrolled = [CHAIN, NEXT_CHAIN].iter().any(|name| folder.join(name).exists());
    if enrolled {
        settle(folder)?;
    }
    let name = if enrolled { NEXT_KEY } else { KEY };
    Ok(TlsKey::from_secret(keys.load_or_create(&folder.join(name))?))
}

/// Keeps the certificate that enrolment gave [that key](for_enrolment).
///
/// # Errors
/// [`HomeError`].
pub(crate) fn keep_enrolled(folder: &Path, chain: &Chain) -> Result<(), HomeError> {
    if !folder.join(CHAIN).exists() {
        return write(folder, CHAIN, chain);
    }
    write(folder, NEXT_CHAIN, chain)?;
    settle(folder)
}

fn forget_next(folder: &Path) -> Result<(), HomeError> {
    for name in [NEXT_CHAIN, NEXT_KEY] {
        match fs::remove_file(folder.join(name)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            removed => removed.map_err(|source| HomeError::Io { path: folder.join(name), source })?,
        }
    }
    sync(folder)
}

fn write(folder: &Path, name: &str, chain: &Chain) -> Result<(), HomeError> {
    let path = folder.join(name);
    write_whole(&path, chain.to_pem().as_bytes()).map_err(|source| HomeError::Io { path, source })
}

fn sync(folder: &Path) -> Result<(), HomeError> {
    let synced = fs::File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|source| HomeError::Io { path: folder.to_owned(), source })
}

const KEY: &str = "tls.key";
const CHAIN: &str = "chain.pem";
const NEXT_KEY: &str = "next.key";
const NEXT_CHAIN: &str = "next.pem";

#[cfg(test)]
mod tests;
