//! A checkpoint of the log that was verified earlier and kept: what it covers is the same bytes, so that their signatures need not be
//! checked again.

use counterfoil_spec::rule::FaultKind;

use super::findings::Findings;
use super::heads::Heads;
use super::succeeded::Trust;
use crate::checkpoint::{self, Checkpoint};
use crate::merkle::Head;
use crate::note::{Note, NoteError};

/// A checkpoint that somebody kept.
#[derive(Debug, Clone)]
pub struct Remembered {
    note: Note,
    checkpoint: Checkpoint,
}

impl Remembered {
    /// Reads one. Whose it is, is seen when the log's key is known.
    ///
    /// # Errors
    /// `MalformedNote`.
    pub fn parse(note: &[u8]) -> Result<Self, NoteError> {
        let note = Note::parse(note)?;
        Ok(Self { checkpoint: Checkpoint::parse(&note.text)?, note })
    }

    /// What it covers.
    #[must_use]
    pub const fn head(&self) -> Head {
        self.checkpoint.head
    }

    /// Checks that it is this log's, and that the log has not become shorter. Whether its root is that of the same entries is
    /// seen as the tree grows.
    pub(super) fn check(&self, (trust, origin): (&Trust<'_>, &str), heads: &Heads, findings: &mut Findings) {
        let Checkpoint { origin: named, head } = &self.checkpoint;
        if named != origin {
            let detail = format!("remembered: origin {named:?} where {origin:?} was expected");
            findings.file(FaultKind::OriginNotPinned, checkpoint::FILE, detail);
        }
        if let Err((kind, detail)) = trust.check(&self.note, head.size) {
            findings.file(kind, checkpoint::FILE, format!("remembered: {detail}"));
        }
        let shown = heads.checkpoint.as_ref().map_or(0, |c| c.head.size);
        if head.size > shown {
            let detail = format!("have {shown} signed entries, want at least the {} remembered", head.size);
            findings.file(FaultKind::Rollback, checkpoint::FILE, detail);
        }
    }
}
