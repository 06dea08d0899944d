//! Another log as this one knows it: its verifier key, and the newest of its heads that was seen.

use counterfoil_spec::rule::FaultKind;

use crate::checkpoint::Checkpoint;
use crate::merkle::Head;
use crate::note::{Note, NoteError, NoteVerifier};
use crate::succession::Succession;

/// A log whose checkpoints are kept here.
#[derive(Debug, Clone)]
pub struct PeerLog {
    key: NoteVerifier,
    last: Option<Head>,
}

/// Why a checkpoint of another log is not to be relied on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerFault {
    /// It cannot be read, or its key did not sign it.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// It is another log's.
    #[error("it is a head of {found:?}, not of {want:?}")]
    Origin {
        /// What it names.
        found: String,
        /// Whose it should be.
        want: String,
    },
    /// It has another key than before, and nothing proves that this one follows that.
    #[error(
        "{origin} has another key than before, {vkey}, and no succession that leads there from {before}: {why}"
    )]
    AnotherKey {
        /// Which log.
        origin: String,
        /// The key that it has now.
        vkey: String,
        /// The one that it had.
        before: String,
        /// What is wrong with the succession.
        why: String,
    },
    /// Its key signed for more entries before.
    #[error("{origin}: have {have}, want {want}")]
    Rollback {
        /// Which log.
        origin: String,
        /// Entries of this head.
        have: u64,
        /// Entries of one before it.
        want: u64,
    },
    /// Its key signed another root for as many entries before.
    #[error("{origin}: two roots for size {size}")]
    Fork {
        /// Which log.
        origin: String,
        /// The size of both.
        size: u64,
    },
}

impl PeerFault {
    /// The name that a verifier gives it.
    #[must_use]
    pub const fn kind(&self) -> FaultKind {
        match self {
            Self::Note(e) => e.fault(),
            Self::Origin { .. } | Self::AnotherKey { .. } => FaultKind::OriginNotPinned,
            Self::Rollback { .. } => FaultKind::Rollback,
            Self::Fork { .. } => FaultKind::Fork,
        }
    }

    /// Whether its key signed it all the same, so that the note is evidence against whoever holds that.
    #[must_use]
    pub const fn is_signed(&self) -> bool {
        matches!(self, Self::Rollback { .. } | Self::Fork { .. })
    }
}

impl PeerLog {
    /// A log by its key, and its newest head that is known.
    #[must_use]
    pub const fn new(key: NoteVerifier, last: Option<Head>) -> Self {
        Self { key, last }
    }

    /// Its key.
    #[must_use]
    pub const fn key(&self) -> &NoteVerifier {
        &self.key
    }

    /// The newest of its heads.
    #[must_use]
    pub const fn last(&self) -> Option<Head> {
        self.last
    }

    /// A later key of the same log.
    pub(crate) fn rekey(&mut self, key: NoteVerifier) {
        self.key = key;
    }

    /// Lets another key follow the one that it has, where its succession proves that it does. From then on heads need its
    /// signature.
    ///
    /// # Errors
    /// [`PeerFault::AnotherKey`]; the key stays.
    pub fn follow(&mut self, vkey: &NoteVerifier, succession: Option<&str>) -> Result<(), PeerFault> {
        if self.key == *vkey {
            return Ok(());
        }
        let read = succession.map(|text| Succession::parse(text.as_bytes()));
        let why = match read {
            Some(Ok(proved)) if proved.after(&self.key).is_some_and(|after| after.contains(vkey)) => {
                self.key = vkey.clone();
                return Ok(());
            }
            Some(Ok(_)) => "it leads elsewhere".to_owned(),
            Some(Err(e)) => e.to_string(),
            None => "there is none".to_owned(),
        };
        let (origin, before) = (self.key.name().to_owned(), self.key.to_string());
        Err(PeerFault::AnotherKey { origin, vkey: vkey.to_string(), before, why })
    }

    /// Takes the next checkpoint.
    ///
    /// # Errors
    /// [`PeerFault`]; what is known stays as it was.
    pub fn take(&mut self, note: &str) -> Result<Checkpoint, PeerFault> {
        let note = Note::parse(note.as_bytes())?;
        let checkpoint = Checkpoint::parse(&note.text)?;
        if checkpoint.origin != self.key.name() {
            let (found, want) = (checkpoint.origin, self.key.name().to_owned());
            return Err(PeerFault::Origin { found, want });
        }
        self.key.verify(&note)?;
        let (origin, head) = (&checkpoint.origin, checkpoint.head);
        match self.last {
            Some(before) if before.size > head.size => {
                Err(PeerFault::Rollback { origin: origin.clone(), have: head.size, want: before.size })
            }
            Some(before) if before.size == head.size && before.root != head.root => {
                Err(PeerFault::Fork { origin: origin.clone(), size: head.size })
            }
            _ => {
                self.last = Some(head);
                Ok(checkpoint)
            }
        }
    }
}

/// The log that a checkpoint names, and the head in it. No signature is checked.
///
/// # Errors
/// [`NoteError`].
pub fn named_in(note: &str) -> Result<Checkpoint, NoteError> {
    Checkpoint::parse(&Note::parse(note.as_bytes())?.text)
}
