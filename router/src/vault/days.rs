//! The salts of one UTC day in one file.
//!
//! ```text
//! salts/<days since 1970, 5 digits>.bin   { request serial (16) ‖ salt (32) }…, appended; an erased salt is 32 zeros
//! ```
//!
//! A request's salt lies in the file of the day on which the request started.

use std::collections::HashSet;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use counterfoil_spec::ids::{Hash, Serial};
use counterfoil_spec::time::Millis;

use super::VaultError;

/// Bytes of one record.
pub(super) const RECORD_BYTES: usize = Serial::LEN + Hash::LEN;
/// What stands in the place of a salt that was erased.
pub(super) const ERASED: Hash = Hash::from_bytes([0; 32]);
const DAY_MS: u64 = 86_400_000;
const FOLDER: &str = "salts";
const ENDING: &str = "bin";
/// How many bytes are overwritten at a time.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// A UTC day, by the days since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Day(pub(crate) u64);

impl Day {
    /// The day that an instant lies in.
    pub(crate) const fn of(when: Millis) -> Self {
        Self(when.0 / DAY_MS)
    }

    /// Its first millisecond.
    pub(crate) const fn start(self) -> Millis {
        Millis(self.0.saturating_mul(DAY_MS))
    }

    /// The day after it.
    pub(crate) const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// So many days before it.
    pub(crate) const fn earlier(self, days: u64) -> Self {
        Self(self.0.saturating_sub(days))
    }
}

/// Where one salt lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) day: Day,
    pub(super) salt: Hash,
}

pub(super) fn folder(vault: &Path) -> PathBuf {
    vault.join(FOLDER)
}

pub(super) fn path(vault: &Path, day: Day) -> PathBuf {
    folder(vault).join(format!("{:05}.{ENDING}", day.0))
}

/// The days with files that end so, in order.
fn ending(vault: &Path, ending: &str) -> Result<Vec<Day>, VaultError> {
    let folder = folder(vault);
    let mut out = Vec::new();
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(out),
        Err(e) => return Err(VaultError::of(&folder)(e)),
    };
    for entry in entries {
        let name = entry.map_err(VaultError::of(&folder))?.file_name();
        let parts = name.to_str().and_then(|n| n.split_once('.')).filter(|(_, e)| *e == ending);
        out.extend(parts.and_then(|(day, _)| day.parse().ok()).map(Day));
    }
    out.sort_unstable();
    Ok(out)
}

/// The days that have salts, in order.
pub(super) fn all(vault: &Path) -> Result<Vec<Day>, VaultError> {
    ending(vault, ENDING)
}

/// Calls `with` for each record of a day's file: where its salt lies, whose it is, the salt.
pub(super) fn each(
    file: &Path,
    mut with: impl FnMut(u64, Serial, Hash) -> std::io::Result<()>,
) -> Result<(), VaultError> {
    let opened = match File::open(file) {
        Ok(opened) => opened,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(VaultError::of(file)(e)),
    };
    let mut reader = std::io::BufReader::new(opened);
    let mut record = [0_u8; RECORD_BYTES];
    let mut at = 0;
    loop {
        match reader.read_exact(&mut record) {
            Ok(()) => {}
            // What follows the last whole record is being written now, or was cut off.
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => return Ok(()),
            Err(e) => return Err(VaultError::of(file)(e)),
        }
        let (serial, salt) = record.split_at(Serial::LEN);
        if let (Some(serial), Some(salt)) = (Serial::from_slice(serial), Hash::from_slice(salt)) {
            with(at + Serial::LEN as u64, serial, salt).map_err(VaultError::of(file))?;
        }
        at += RECORD_BYTES as u64;
    }
}

/// The salt of a request, looked for in the day on which it started first; `None` where it was erased or never kept.
pub(super) fn find(vault: &Path, request: &Serial, started: Millis) -> Result<Option<Place>, VaultError> {
    let first = Day::of(started);
    let others = || Ok(all(vault)?.into_iter().rev().filter(|day| *day != first));
    if let Some(place) = find_in(vault, first, request)? {
        return Ok(Some(place));
    }
    for day in others()? {
        if let Some(place) = find_in(vault, day, request)? {
            return Ok(Some(place));
        }
    }
    Ok(None)
}

fn find_in(vault: &Path, day: Day, request: &Serial) -> Result<Option<Place>, VaultError> {
    let mut found = None;
    each(&path(vault, day), |_, serial, salt| {
        if serial == *request && salt != ERASED {
            found = Some(Place { day, salt });
        }
        Ok(())
    })?;
    Ok(found)
}

/// Which of some requests have their salts in a day's file.
pub(super) fn among(
    vault: &Path,
    day: Day,
    requests: &HashSet<Serial>,
) -> Result<HashSet<Serial>, VaultError> {
    let mut found = HashSet::new();
    each(&path(vault, day), |_, serial, salt| {
        if salt != ERASED && requests.contains(&serial) {
            found.insert(serial);
        }
        Ok(())
    })?;
    Ok(found)
}

/// Overwrites the salts of some requests of one day where they lie. Whoever appends meanwhile writes behind them.
pub(super) fn overwrite(vault: &Path, day: Day, requests: &HashSet<Serial>) -> Result<(), VaultError> {
    let path = path(vault, day);
    let file = match File::options().write(true).open(&path) {
        Ok(file) => file,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(VaultError::of(&path)(e)),
    };
    each(
        &path,
        |at, serial, _| {
            if requests.contains(&serial) { file.write_all_at(ERASED.as_bytes(), at) } else { Ok(()) }
        },
    )?;
    file.sync_data().map_err(VaultError::of(&path))
}

/// How the file of a day ends that is being erased.
const ERASING: &str = "erasing";

/// The days that are being erased, in order.
pub(super) fn erasing(vault: &Path) -> Result<Vec<Day>, VaultError> {
    ending(vault, ERASING)
}

/// Notes that all salts of a day are to be erased, and counts those that are there.
pub(super) fn begin_erasing(vault: &Path, day: Day) -> Result<usize, VaultError> {
    let from = path(vault, day);
    let mut salts = 0;
    each(&from, |_, _, salt| {
        salts += usize::from(salt != ERASED);
        Ok(())
    })?;
    std::fs::rename(&from, from.with_extension(ERASING)).map_err(VaultError::of(&from))?;
    sync_folder(vault)?;
    Ok(salts)
}

/// Overwrites all of a day that is being erased.
pub(super) fn overwrite_all(vault: &Path, day: Day) -> Result<(), VaultError> {
    let path = path(vault, day).with_extension(ERASING);
    let overwritten = || {
        let file = File::options().write(true).open(&path)?;
        let len = file.metadata()?.len();
        for at in (0..len).step_by(ZEROS.len()) {
            let rest = usize::try_from(len - at).unwrap_or(ZEROS.len()).min(ZEROS.len());
            file.write_all_at(ZEROS.get(..rest).unwrap_or_default(), at)?;
        }
        file.sync_all()
    };
    overwritten().map_err(VaultError::of(&path))
}

/// Forgets a day that was erased.
pub(super) fn forget(vault: &Path, day: Day) -> Result<(), VaultError> {
    let path = path(vault, day).with_extension(ERASING);
    std::fs::remove_file(&path).map_err(VaultError::of(&path))
}

/// Makes names in the folder durable.
pub(super) fn sync_folder(vault: &Path) -> Result<(), VaultError> {
    let folder = folder(vault);
    File::open(&folder).and_then(|f| f.sync_all()).map_err(VaultError::of(&folder))
}
