//! The log's key as whoever checks something was given it, and the keys that follow that one.

use std::path::Path;

use counterfoil_audit::tile::read_limited;
use counterfoil_audit::{NoteVerifier, Succession, TrustedKeys};
use counterfoil_spec::limits::MAX_SUCCESSION_BYTES;

use crate::exit::Failure;

/// What to do where the pinned key has not signed.
pub(super) const HINT: &str = "If the log's key was changed since: its succession file (log/succession, GET /log/succession) proves which key follows the pinned one; give it with --succession.";

/// One key.
pub(super) fn pinned(vkey: &str) -> Result<NoteVerifier, Failure> {
    vkey.parse().map_err(|e| Failure::wrong_use(format!("--vkey: {e}")))
}

/// A key, and those that a succession file proves to follow it.
pub(crate) fn trusted((vkey, file): (&str, Option<&Path>)) -> Result<TrustedKeys, Failure> {
    let key = TrustedKeys::one(pinned(vkey)?);
    file.map_or_else(|| Ok(key.clone()), |file| followed(&key, &read(file)?, file))
}

/// A key with all others of its log, also those that it followed.
pub(super) fn all_of((vkey, file): (&str, Option<&Path>)) -> Result<TrustedKeys, Failure> {
    let key = pinned(vkey)?;
    let Some(file) = file else { return Ok(TrustedKeys::one(key)) };
    let succession = parse(&read(file)?, file)?;
    let known = succession.after(&key).is_some();
    let all = TrustedKeys::of(succession.keys().iter().cloned()).filter(|_| known);
    all.ok_or_else(|| elsewhere(file, vkey))
}

/// The same for a succession that was given beside what is checked.
pub(super) fn followed(key: &TrustedKeys, bytes: &[u8], file: &Path) -> Result<TrustedKeys, Failure> {
    let succession = parse(bytes, file)?;
    match key.iter().find(|key| succession.after(key).is_none()) {
        Some(key) => Err(elsewhere(file, &key.to_string())),
        None => Ok(key.with(&succession)),
    }
}

fn parse(bytes: &[u8], file: &Path) -> Result<Succession, Failure> {
    Succession::parse(bytes).map_err(|e| Failure::check(format!("{}: {e}", file.display())))
}

fn elsewhere(file: &Path, vkey: &str) -> Failure {
    let file = file.display();
    Failure::check(format!(
        "{file} is the succession of other keys than the pinned {vkey}; is it another log's?"
    ))
}

fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    let at = |e: &dyn std::fmt::Display| Failure::wrong_use(format!("{}: {e}", file.display()));
    let bytes = read_limited(file, MAX_SUCCESSION_BYTES).map_err(|e| at(&e))?;
    bytes.ok_or_else(|| at(&"there is no such file"))
}
