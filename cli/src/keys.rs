//! What opens the keys of a home: the passphrase that `--passphrase-file` names, read once.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use counterfoil_identity::key_file::{Keyring, Passphrase};

use crate::exit::Failure;

static FILE: OnceLock<PathBuf> = OnceLock::new();
/// A pipe can be read but once.
static KEYRING: OnceLock<Keyring> = OnceLock::new();

/// Says where the passphrase stands; the first word counts.
pub(crate) fn choose(file: PathBuf) {
    FILE.get_or_init(|| file);
}

/// Where the passphrase stands, for processes that this one starts.
pub(crate) fn passphrase_file() -> Option<&'static Path> {
    FILE.get().map(PathBuf::as_path)
}

/// What opens keys here: without a passphrase, those that are under none.
pub(crate) fn keyring() -> Result<Keyring, Failure> {
    if let Some(keys) = KEYRING.get() {
        return Ok(keys.clone());
    }
    let keys = match passphrase_file() {
        Some(file) => Keyring::with(Passphrase::read(file).map_err(Failure::store)?),
        None => Keyring::default(),
    };
    Ok(KEYRING.get_or_init(|| keys).clone())
}
