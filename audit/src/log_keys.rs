//! The keys of a log's heads, as its entries tell: which of them sign a head of some size.
//!
//! ```text
//! genesis                       the first key signs heads of all sizes
//! key-rotation at index i       the next key signs those of more than i entries too
//! log-key-retired at index i    the one before it signs none of more than i entries
//! ```

use counterfoil_identity::VerifyKey;
use counterfoil_spec::ids::PublicKey;
use counterfoil_spec::limits::MAX_LOG_KEYS;
use counterfoil_spec::payload::{KeyRotation, Payload, RotatedKey};
use counterfoil_spec::rule::FaultKind;
use serde::Serialize;

use crate::note::{Note, NoteError, NoteVerifier};

/// One key of a log and the sizes of the heads that it signs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogKey {
    /// It.
    pub vkey: NoteVerifier,
    /// The smallest head that it signs.
    pub from: u64,
    /// The smallest that it does not sign any more.
    pub until: Option<u64>,
}

impl LogKey {
    /// Whether it signs heads of this size.
    #[must_use]
    pub fn signs(&self, size: u64) -> bool {
        self.from <= size && self.until.is_none_or(|until| size < until)
    }
}

/// All keys of a log so far, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct LogKeys(Vec<LogKey>);

/// Why an entry changes nothing about a log's keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyFold {
    /// Not a key, or one that anybody can sign for.
    #[error("the key that is to follow is none, or weak")]
    Weak,
    /// A key that has had its place.
    #[error("this key was the log's already")]
    Again,
    /// A third one.
    #[error(
        "two keys sign already; the older one is to be retired first (`counterfoil identity log-key retire`)"
    )]
    Crowded,
    /// More keys than a log has.
    #[error("a log has at most {MAX_LOG_KEYS} keys in its life, and this one had as many")]
    TooMany,
    /// A key that signs nothing.
    #[error("this key signs no heads of the log")]
    Unknown,
    /// The only one, or the newest.
    #[error("no key follows this one, and a log without a key is none")]
    Last,
}

impl KeyFold {
    /// The verifier's name for it.
    #[must_use]
    pub const fn fault(self) -> FaultKind {
        match self {
            Self::Weak => FaultKind::WeakKey,
            Self::Again | Self::Crowded | Self::TooMany | Self::Last => FaultKind::NotMonotonic,
            Self::Unknown => FaultKind::UnknownKey,
        }
    }
}

/// The key that an entry of the log with this name lets follow.
pub(crate) fn successor(name: &str, rotation: &KeyRotation) -> Result<NoteVerifier, KeyFold> {
    let key = PublicKey::from_slice(&rotation.successor).ok_or(KeyFold::Weak)?;
    let key = VerifyKey::from_wire(key).map_err(|_| KeyFold::Weak)?;
    NoteVerifier::new(name, key).map_err(|_| KeyFold::Weak)
}

impl LogKeys {
    /// Those of a log that begins.
    #[must_use]
    pub fn found(first: NoteVerifier) -> Self {
        Self(vec![LogKey { vkey: first, from: 0, until: None }])
    }

    /// All of them, oldest first.
    pub fn all(&self) -> impl ExactSizeIterator<Item = &LogKey> + DoubleEndedIterator {
        self.0.iter()
    }

    /// Those that sign a head of this size: one, or two while one follows another.
    pub fn at(&self, size: u64) -> impl Iterator<Item = &LogKey> {
        self.0.iter().filter(move |key| key.signs(size))
    }

    /// Those that sign from here on.
    pub fn in_use(&self) -> impl Iterator<Item = &LogKey> {
        self.at(u64::MAX - 1)
    }

    /// The newest of those that sign a head of this size: what is best pinned.
    #[must_use]
    pub fn newest_at(&self, size: u64) -> Option<&NoteVerifier> {
        self.at(size).last().map(|key| &key.vkey)
    }

    /// What is known of a key.
    #[must_use]
    pub fn find(&self, vkey: &NoteVerifier) -> Option<&LogKey> {
        self.0.iter().find(|key| key.vkey == *vkey)
    }

    /// The key that an entry names to follow the one in use, by its place.
    ///
    /// # Errors
    /// [`KeyFold`].
    pub fn next(&self, rotation: &KeyRotation) -> Result<NoteVerifier, KeyFold> {
        let next = successor(self.0.first().map_or("", |first| first.vkey.name()), rotation)?;
        match self.in_use().count() {
            _ if self.find(&next).is_some() => Err(KeyFold::Again),
            1 if self.0.len() < MAX_LOG_KEYS => Ok(next),
            1 => Err(KeyFold::TooMany),
            _ => Err(KeyFold::Crowded),
        }
    }

    /// Takes what the entry at `index` says of them; most say nothing.
    ///
    /// # Errors
    /// [`KeyFold`]; they stay as they were.
    pub fn apply(&mut self, index: u64, payload: &Payload) -> Result<(), KeyFold> {
        match payload {
            Payload::KeyRotation(rotation) if rotation.of == RotatedKey::Log => {
                let vkey = self.next(rotation)?;
                self.0.push(LogKey { vkey, from: index.saturating_add(1), until: None });
            }
            Payload::LogKeyRetired(retired) => {
                let signs = |key: &LogKey| key.until.is_none() && key.vkey.key().wire() == retired.key;
                let at = self.0.iter().position(signs).ok_or(KeyFold::Unknown)?;
                if at + 1 == self.0.len() {
                    return Err(KeyFold::Last);
                }
                if let Some(key) = self.0.get_mut(at) {
                    key.until = Some(index.saturating_add(1));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Checks that a head of `size` entries bears the signatures of all keys that sign it.
    ///
    /// # Errors
    /// The fault and what is wrong in words; `RetiredKey` where only a key that signs no such head any more signed it.
    pub fn check(&self, note: &Note, size: u64) -> Result<(), (FaultKind, String)> {
        let mut signed = 0;
        let mut missing = None;
        for key in self.at(size) {
            match key.vkey.verify(note) {
                Ok(()) => signed += 1,
                Err(NoteError::NoTrustedSignature(_)) => missing = missing.or(Some(key)),
                Err(e) => return Err((e.fault(), e.to_string())),
            }
        }
        let Some(missing) = missing else { return Ok(()) };
        let others = self.0.iter().find(|key| !key.signs(size) && key.vkey.verify(note).is_ok());
        Err(match others.filter(|_| signed == 0) {
            Some(LogKey { vkey, until: Some(until), .. }) if *until <= size => {
                let entry = until.saturating_sub(1);
                let detail = format!("{size} entries signed by {vkey}, which entry {entry} retired");
                (FaultKind::RetiredKey, detail)
            }
            Some(LogKey { vkey, from, .. }) => {
                let entry = from.saturating_sub(1);
                let detail = format!("{size} entries signed by {vkey}, which signs from entry {entry} on");
                (FaultKind::NoTrustedSignature, detail)
            }
            None => (FaultKind::NoTrustedSignature, self.unsigned(missing, size)),
        })
    }

    fn unsigned(&self, missing: &LogKey, size: u64) -> String {
        let LogKey { vkey, from, .. } = missing;
        match from.checked_sub(1) {
            Some(entry) => format!("no signature by {vkey}, which signs {size} entries since entry {entry}"),
            None => NoteError::NoTrustedSignature(vkey.to_string()).to_string(),
        }
    }
}
