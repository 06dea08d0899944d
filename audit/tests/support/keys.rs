//! A log whose key is changed: its keys by their seeds, and the entries that change them.

use std::path::Path;

use counterfoil_audit::checkpoint::Checkpoint;
use counterfoil_audit::verify::{Report, VerifyOptions, verify_plain};
use counterfoil_audit::{LogWriter, NewEntry, NoteSigner};
use counterfoil_spec::entry::Role;
use counterfoil_spec::payload::{KeyRotation, LogKeyRetired, Payload, RotatedKey};

use super::{Home, ORIGIN, entries, entry, key, serial};

/// The key that the log begins with, and those that follow it.
pub const FIRST: u8 = 3;
pub const NEXT: u8 = 30;
pub const THIRD: u8 = 31;

pub fn of(seed: u8) -> NoteSigner {
    NoteSigner::new(ORIGIN, key(seed)).unwrap()
}

pub fn rotation(seed: u8) -> Payload {
    let successor = key(seed).public().wire().as_bytes().to_vec();
    KeyRotation { of: RotatedKey::Log, successor }.into()
}

pub fn retired(seed: u8) -> Payload {
    LogKeyRetired { key: key(seed).public().wire() }.into()
}

/// An entry about keys, signed by the log keys of these seeds beside its author.
pub fn keyed(n: u64, payload: Payload, seeds: &[u8]) -> NewEntry {
    let mut new = NewEntry::new(serial(n), payload);
    for seed in seeds {
        new.co_signers.push((Role::Log, key(*seed)));
    }
    new
}

/// Which of three keys signed a note.
pub fn signed_by(note: &str) -> Vec<u8> {
    let by = |seed: &u8| Checkpoint::open(note.as_bytes(), of(*seed).verifier()).is_ok();
    [FIRST, NEXT, THIRD].into_iter().filter(by).collect()
}

pub fn pinned(dir: &Path, seed: u8) -> Report {
    let mut options = VerifyOptions::new(dir);
    options.vkey = Some(of(seed).vkey());
    verify_plain(&options).unwrap()
}

/// A log whose key was changed and the first one retired: three entries, the change, two, the end of the first key, one.
pub fn changed(home: &Home) -> LogWriter {
    let (log, _) = home.open().unwrap();
    log.append(entries(1..3)).unwrap();
    log.hold(of(NEXT));
    log.append(vec![keyed(100, rotation(NEXT), &[FIRST, NEXT])]).unwrap();
    log.append(entries(3..5)).unwrap();
    log.append(vec![keyed(101, retired(FIRST), &[NEXT])]).unwrap();
    log.append(vec![entry(5)]).unwrap();
    log
}
