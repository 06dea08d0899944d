//! Whose signature makes a note a log's: one key that was got from elsewhere, or one of several.

use std::fmt;

use crate::note::{Note, NoteError, NoteVerifier};
use crate::succession::Succession;

/// Says of a note whether it is a log's.
pub trait TrustsNotes: fmt::Debug {
    /// The log's origin, which is the name of its keys.
    fn origin(&self) -> &str;

    /// Checks the signatures on a note.
    ///
    /// # Errors
    /// `NoTrustedSignature` where there is none by a trusted key, `BadLogSignature` where one does not verify.
    fn check(&self, note: &Note) -> Result<(), NoteError>;

    /// The keys in words.
    fn words(&self) -> String;

    /// Whether a key is the one, or one of them.
    fn has(&self, key: &NoteVerifier) -> bool;
}

impl TrustsNotes for NoteVerifier {
    fn origin(&self) -> &str {
        self.name()
    }

    fn check(&self, note: &Note) -> Result<(), NoteError> {
        self.verify(note)
    }

    fn words(&self) -> String {
        self.to_string()
    }

    fn has(&self, key: &NoteVerifier) -> bool {
        self == key
    }
}

/// Keys of one log, of which one is enough.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedKeys {
    first: NoteVerifier,
    more: Vec<NoteVerifier>,
}

impl TrustedKeys {
    /// One key alone.
    #[must_use]
    pub const fn one(key: NoteVerifier) -> Self {
        Self { first: key, more: Vec::new() }
    }

    /// Keys of one log; `None` where there are none, or where they are of several.
    #[must_use]
    pub fn of(keys: impl IntoIterator<Item = NoteVerifier>) -> Option<Self> {
        let mut keys = keys.into_iter();
        let first = keys.next()?;
        let more: Vec<NoteVerifier> = keys.collect();
        more.iter().all(|key| key.name() == first.name()).then_some(Self { first, more })
    }

    /// All of them, the one that was named first in front.
    pub fn iter(&self) -> impl Iterator<Item = &NoteVerifier> {
        std::iter::once(&self.first).chain(&self.more)
    }

    /// The same, and the keys that follow one of them, as it signed itself.
    #[must_use]
    pub fn with(&self, succession: &Succession) -> Self {
        let mut out = self.clone();
        let followed = self.iter().filter_map(|key| succession.after(key)).max_by_key(|after| after.len());
        for key in followed.into_iter().flatten() {
            if !out.has(key) {
                out.more.push(key.clone());
            }
        }
        out
    }
}

impl TrustsNotes for TrustedKeys {
    fn origin(&self) -> &str {
        self.first.name()
    }

    /// A line of a trusted key that does not verify is refused, whatever the others say.
    fn check(&self, note: &Note) -> Result<(), NoteError> {
        let mut signed = false;
        for key in self.iter() {
            match key.verify(note) {
                Ok(()) => signed = true,
                Err(NoteError::NoTrustedSignature(_)) => {}
                Err(e) => return Err(e),
            }
        }
        if signed { Ok(()) } else { Err(NoteError::NoTrustedSignature(self.words())) }
    }

    fn words(&self) -> String {
        self.iter().map(NoteVerifier::to_string).collect::<Vec<_>>().join(" or ")
    }

    fn has(&self, key: &NoteVerifier) -> bool {
        self.iter().any(|known| known == key)
    }
}
