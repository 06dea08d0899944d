//! How the keys of a log's heads followed each other: what was pinned against what the entries say, and the published file.

use counterfoil_spec::ids::NetId;
use counterfoil_spec::limits::MAX_SUCCESSION_BYTES;
use counterfoil_spec::rule::FaultKind;
use serde::Serialize;

use super::findings::Findings;
use crate::checkpoint;
use crate::error::LogError;
use crate::log_keys::LogKeys;
use crate::note::{Note, NoteVerifier};
use crate::source::Files;
use crate::succession::{FILE, Lines, Succession};
use crate::trust::{TrustedKeys, TrustsNotes};

/// The key that was pinned signs no heads any more, and the log proves which key it let follow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Succeeded {
    /// The one that was pinned.
    pub pinned: NoteVerifier,
    /// The entry that retired it.
    pub retired_by: u64,
    /// The newest key that signs the checkpoint: the one to pin from here on.
    pub vkey: NoteVerifier,
    /// The entry in which the key before it signed that it follows.
    pub named_by: u64,
}

/// Whose signatures the log's checkpoints need.
#[derive(Clone, Copy)]
pub(super) struct Trust<'a> {
    pub(super) pinned: Option<&'a TrustedKeys>,
    pub(super) keys: Option<&'a LogKeys>,
    /// Entries are missing, which may have said more of the keys.
    pub(super) lost: bool,
    /// Signatures of entries are checked.
    pub(super) checked: bool,
}

impl Trust<'_> {
    /// Checks the signatures on one of them.
    pub(super) fn check(&self, note: &Note, size: u64) -> Result<(), (FaultKind, String)> {
        match (self.pinned, self.keys) {
            (Some(pinned), keys) if self.lost || !keys.is_some_and(|keys| names(keys, pinned)) => {
                TrustsNotes::check(pinned, note).map_err(|e| (e.fault(), e.to_string()))
            }
            (_, Some(keys)) => keys.check(note, size),
            (_, None) => Ok(()),
        }
    }

    /// The key by which the log is best known.
    pub(super) fn vkey(&self, size: u64) -> Option<String> {
        let pinned = || self.pinned.and_then(|pinned| pinned.iter().next());
        let unknown = self.pinned.is_some_and(|pinned| self.keys.is_none_or(|keys| !names(keys, pinned)));
        let newest = self.keys.and_then(|keys| keys.newest_at(size));
        if unknown { pinned() } else { newest.or_else(pinned) }.map(NoteVerifier::to_string)
    }

    /// Holds what was pinned against the log's keys at the size of its checkpoint.
    pub(super) fn judge(&self, size: u64, findings: &mut Findings) -> Option<Succeeded> {
        let (pinned, keys) = (self.pinned?, self.keys.filter(|_| !self.lost)?);
        if !names(keys, pinned) {
            let first = keys.all().next().map(|key| key.vkey.to_string()).unwrap_or_default();
            let words = pinned.words();
            let detail = format!("genesis names {first} as its key, not the pinned {words}");
            findings.entry(FaultKind::OriginNotPinned, 0, detail);
            return None;
        }
        if keys.at(size).any(|key| pinned.has(&key.vkey)) {
            return None;
        }
        let known = || keys.all().filter(|key| pinned.has(&key.vkey));
        let retired = known().rev().find_map(|key| Some((key, key.until.filter(|until| *until <= size)?)));
        let newest = keys.at(size).last();
        let Some(((pinned, until), newest)) = retired.zip(newest) else {
            let from = known().map(|key| key.from.saturating_sub(1)).min().unwrap_or_default();
            let words = pinned.words();
            let detail = format!("the pinned {words} signs from entry {from} on, and this head has {size}");
            findings.file(FaultKind::NoTrustedSignature, checkpoint::FILE, detail);
            return None;
        };
        if !self.checked {
            let detail = "what follows the pinned key is said by signatures of entries, which were left out";
            findings.file(FaultKind::NoTrustedSignature, checkpoint::FILE, detail);
        }
        Some(Succeeded {
            pinned: pinned.vkey.clone(),
            retired_by: until.saturating_sub(1),
            vkey: newest.vkey.clone(),
            named_by: newest.from.saturating_sub(1),
        })
    }
}

fn names(keys: &LogKeys, pinned: &TrustedKeys) -> bool {
    keys.all().any(|key| pinned.has(&key.vkey))
}

/// The published file, read after the checkpoint, and the entries that it is made of.
#[derive(Default)]
pub(super) struct Told {
    bytes: Option<Vec<u8>>,
    lines: Lines,
}

impl Told {
    pub(super) fn read(files: &Files, findings: &mut Findings) -> Result<Self, LogError> {
        let bytes = match files.read(FILE, MAX_SUCCESSION_BYTES) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::InvalidData => {
                findings.file(FaultKind::Corrupt, FILE, e.to_string());
                None
            }
            Err(e) => return Err(files.refused(FILE, e)),
        };
        Ok(Self { bytes, lines: Lines::default() })
    }

    /// The keys that may sign a checkpoint under which entries are read: those that were pinned, and those that follow them.
    pub(super) fn trusted(&self, pinned: &TrustedKeys, net_id: Option<NetId>) -> TrustedKeys {
        let proved = self.bytes.as_ref().and_then(|bytes| Succession::parse(bytes).ok());
        match proved.filter(|s| net_id.is_none_or(|net_id| net_id == *s.net_id())) {
            Some(succession) => pinned.with(&succession),
            None => pinned.clone(),
        }
    }

    pub(super) fn see(&mut self, index: u64, leaf: &[u8]) {
        self.lines.see(index, leaf);
    }

    /// The file must be what the entries make it, up to the checkpoint or to one after it.
    pub(super) fn check(&self, size: u64, findings: &mut Findings) {
        let found = self.bytes.as_deref();
        let later = self.lines.sizes().filter(|at| *at > size);
        let mut wanted = std::iter::once(size).chain(later).map(|at| self.lines.text(at));
        if wanted.any(|text| text.as_deref().map(str::as_bytes) == found) {
            return;
        }
        let detail = match found {
            Some(_) => "it is not made of the entries that change the log's key",
            None => "there is none, and the log's key was changed",
        };
        findings.file(FaultKind::Corrupt, FILE, detail);
    }
}
