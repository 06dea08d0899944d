//! Erases salts, so that what the log says of a prompt and an answer can be checked by nobody any more.
//!
//! ```text
//! vault/erasing               { request serial (16) ‖ day (u64be) }…, durable before the first of these salts is overwritten,
//!                             removed once the log has the tombstones
//! vault/salts/<day>.erasing   a day's salts; renamed durably before they are overwritten, removed once the log has the tombstone
//! ```
//!
//! What is found of either at the next start is finished. A salt is overwritten where it lies: a file system that writes
//! elsewhere, a snapshot and a copy may still hold it.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use counterfoil_spec::entry::{Body, Leaf};
use counterfoil_spec::ids::Serial;
use counterfoil_spec::limits::MAX_TOMBSTONE_REQUESTS;
use counterfoil_spec::payload::{Payload, Tombstone};
use counterfoil_spec::time::Millis;
use serde::{Deserialize, Serialize};

use super::VaultError;
use super::days::{self, Day};
use crate::admin::AdminError;
use crate::office::{Office, entry};

const ERASING: &str = "erasing";
const NOTE_BYTES: usize = Serial::LEN + 8;

/// Whose salts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Whose {
    /// One request's.
    Request(Serial),
    /// Those of all requests that started more days ago than this, whole UTC days.
    OlderThanDays(u64),
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Erased {
    /// How many salts were there and are not now.
    pub(crate) salts: usize,
    /// The first entry that says so; none where nothing was erased.
    pub(crate) entry: Option<u64>,
}

/// Erases salts in the vault of this folder and logs it. Whoever calls decides alone ([`Office::decide`]).
///
/// # Errors
/// `Caller` for a request that is unknown or still runs, or whose salt is gone already.
pub(crate) fn erase(office: &Office, folder: &Path, whose: Whose) -> Result<Erased, AdminError> {
    finish(office, folder)?;
    let salts = match whose {
        Whose::Request(request) => {
            let gone = || AdminError::Caller(format!("the salt of request {request} is not in the vault"));
            let started = started(office, &request)?;
            let place = days::find(folder, &request, started)?.ok_or_else(gone)?;
            note(folder, &[(request, place.day)])?;
            1
        }
        Whose::OlderThanDays(days) => begin_days(folder, Day::of(office.now()).earlier(days))?,
    };
    let entry = finish(office, folder)?;
    Ok(Erased { salts, entry })
}

/// Notes all salts of requests that started before a day.
fn begin_days(folder: &Path, before: Day) -> Result<usize, VaultError> {
    let mut salts = 0;
    // In order, so that whatever a crash leaves to be finished, nothing before it is left.
    for day in days::all(folder)?.into_iter().take_while(|day| *day < before) {
        salts += days::begin_erasing(folder, day)?;
    }
    Ok(salts)
}

/// Finishes what was begun: overwrites what is noted, logs it, and forgets the notes. Says the first entry of it.
///
/// # Errors
/// The vault's and the log's; the notes stay.
pub(crate) fn finish(office: &Office, folder: &Path) -> Result<Option<u64>, AdminError> {
    let (noted, whole) = (noted(folder)?, days::erasing(folder)?);
    let mut tombstones = Vec::new();
    //= spec/audit-log.md#erasure
    //# A router that erases a salt MUST overwrite it durably before it appends the `tombstone` that says so.
    overwrite(folder, &noted)?;
    for part in noted.chunks(MAX_TOMBSTONE_REQUESTS) {
        let requests = part.iter().map(|(request, _)| *request).collect();
        tombstones.push(entry(Tombstone { requests, before: None }));
    }
    for day in &whole {
        days::overwrite_all(folder, *day)?;
    }
    if let Some(last) = whole.last() {
        let before = Some(last.next().start());
        tombstones.push(entry(Tombstone { requests: Vec::new(), before }));
    }
    if tombstones.is_empty() {
        return Ok(None);
    }
    let at = office.append_blocking(tombstones)?;
    forget(folder)?;
    for day in &whole {
        days::forget(folder, *day)?;
    }
    Ok(Some(at.first))
}

/// What the log says was erased: a pure fold over entries.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Tombstones {
    requests: HashSet<Serial>,
    before: Option<Millis>,
}

impl Tombstones {
    /// Takes the next entry.
    pub(crate) fn apply(&mut self, body: &Body) {
        if let Payload::Tombstone(p) = &body.payload {
            self.requests.extend(p.requests.iter().copied());
            self.before = self.before.max(p.before);
        }
    }
}

//= spec/audit-log.md#erasure
//# A router whose vault was brought back from an older copy MUST erase again what its log says is erased; no further `tombstone` is
//# needed for that.
pub(crate) fn again(folder: &Path, said: &Tombstones) -> Result<usize, VaultError> {
    let mut salts = 0;
    for day in days::all(folder)? {
        if said.before.is_some_and(|before| day < Day::of(before)) {
            salts += days::begin_erasing(folder, day)?;
            days::overwrite_all(folder, day)?;
            days::forget(folder, day)?;
        } else if !said.requests.is_empty() {
            let found = days::among(folder, day, &said.requests)?;
            days::overwrite(folder, day, &found)?;
            salts += found.len();
        }
    }
    Ok(salts)
}

/// When a request started that has ended.
fn started(office: &Office, request: &Serial) -> Result<Millis, AdminError> {
    let unknown = || AdminError::Caller(format!("the log has no request {request}, or it has not ended yet"));
    let books = office.books();
    let index = books.entry_of(request).map_err(crate::office::OfficeError::from)?.ok_or_else(unknown)?;
    let leaf = books.leaf(index).map_err(crate::office::OfficeError::from)?;
    match Leaf::read(&leaf).map(|(_, body)| body.payload) {
        Ok(Payload::Inference(inference)) => Ok(inference.started),
        _ => Err(unknown()),
    }
}

fn overwrite(folder: &Path, noted: &[(Serial, Day)]) -> Result<(), VaultError> {
    let mut by_day: BTreeMap<Day, HashSet<Serial>> = BTreeMap::new();
    for (request, day) in noted {
        by_day.entry(*day).or_default().insert(*request);
    }
    by_day.iter().try_for_each(|(day, requests)| days::overwrite(folder, *day, requests))
}

//= spec/audit-log.md#erasure
//# A router MUST note which salts it is about to erase before it overwrites the first, and MUST finish what it noted when it
//# starts again, so that no salt is gone without a `tombstone`.
fn note(folder: &Path, requests: &[(Serial, Day)]) -> Result<(), VaultError> {
    let (path, fresh) = (folder.join(ERASING), folder.join("erasing.new"));
    let bytes: Vec<u8> =
        requests.iter().flat_map(|(r, day)| [r.as_bytes(), &day.0.to_be_bytes()[..]].concat()).collect();
    let written = File::options().write(true).create(true).truncate(true).mode(0o600).open(&fresh);
    let written = written.and_then(|mut file| file.write_all(&bytes).and_then(|()| file.sync_all()));
    written.and_then(|()| std::fs::rename(&fresh, &path)).map_err(VaultError::of(&path))?;
    File::open(folder).and_then(|f| f.sync_all()).map_err(VaultError::of(folder))
}

fn noted(folder: &Path) -> Result<Vec<(Serial, Day)>, VaultError> {
    let path = folder.join(ERASING);
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(VaultError::of(&path)(e)),
    };
    let read = |part: &[u8]| {
        let (serial, day) = part.split_at_checked(Serial::LEN)?;
        Some((Serial::from_slice(serial)?, Day(u64::from_be_bytes(day.try_into().ok()?))))
    };
    Ok(bytes.chunks_exact(NOTE_BYTES).filter_map(read).collect())
}

fn forget(folder: &Path) -> Result<(), VaultError> {
    let path = folder.join(ERASING);
    match std::fs::remove_file(&path) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(VaultError::of(&path)(e)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
