//! The heads that a log claims: its checkpoint and the state that was durable before it was signed.

use counterfoil_spec::rule::FaultKind;

use super::findings::Findings;
use super::succeeded::Trust;
use crate::checkpoint::{self, Checkpoint};
use crate::error::LogError;
use crate::merkle::{Head, empty_root};
use crate::note::{MAX_NOTE_BYTES, Note, NoteError};
use crate::source::Files;
use crate::state::{self, MAX_STATE_BYTES};
use crate::trust::{TrustedKeys, TrustsNotes};

/// Read before anything else, so that a running writer only ever makes the rest longer.
pub(super) struct Heads {
    note: Option<Note>,
    /// The note's bytes.
    pub(super) text: Option<String>,
    pub(super) checkpoint: Option<Checkpoint>,
    pub(super) state: Option<Checkpoint>,
}

impl Heads {
    pub(super) fn read(files: &Files, findings: &mut Findings) -> Result<Self, LogError> {
        let (text, note) = read_note(files, findings)?.unzip();
        let checkpoint = note.as_ref().and_then(|n| match Checkpoint::parse(&n.text) {
            Ok(checkpoint) => Some(checkpoint),
            Err(e) => {
                findings.file(FaultKind::MalformedNote, checkpoint::FILE, e.to_string());
                None
            }
        });
        // That is the writer's own, and was never published.
        let state = files.folder().map_or(Ok(None), |_| files.read(state::FILE, MAX_STATE_BYTES));
        let state = match state {
            Ok(None) => None,
            Ok(Some(bytes)) => {
                let parsed = state::parse(&bytes);
                if parsed.is_none() {
                    findings.file(FaultKind::Corrupt, state::FILE, "byte 0: not a signed state");
                }
                parsed
            }
            Err(e) if e.kind() == std::io::ErrorKind::InvalidData => {
                findings.file(FaultKind::Corrupt, state::FILE, e.to_string());
                None
            }
            Err(e) => return Err(files.refused(state::FILE, e)),
        };
        Ok(Self { note, text, checkpoint, state })
    }

    /// The newest checkpoint with its note.
    pub(super) fn note_and_checkpoint(&self) -> Option<(&Note, &Checkpoint)> {
        self.note.as_ref().zip(self.checkpoint.as_ref())
    }

    /// The checkpoint's head, where a pinned key signed it; one of no entries where it did not.
    pub(super) fn signed_by(&self, pinned: Option<&TrustedKeys>) -> Head {
        let signed = self.note.as_ref().is_some_and(|note| pinned.is_none_or(|key| key.check(note).is_ok()));
        let head = self.checkpoint.as_ref().filter(|_| signed).map(|c| c.head);
        head.unwrap_or_else(|| Head { size: 0, root: empty_root() })
    }

    /// The size that tiles must be published for.
    pub(super) fn published(&self) -> u64 {
        self.checkpoint.as_ref().or(self.state.as_ref()).map_or(0, |c| c.head.size)
    }

    /// The head that decides which of two trees was meant.
    pub(super) fn arbiter(&self) -> Option<Head> {
        self.checkpoint.as_ref().or(self.state.as_ref()).map(|c| c.head)
    }

    /// Checks origins, the signature and that nothing went backwards.
    pub(super) fn check(&self, trust: &Trust<'_>, origin: &str, committed: u64, findings: &mut Findings) {
        for (claim, file) in [(&self.checkpoint, checkpoint::FILE), (&self.state, state::FILE)] {
            let Some(claim) = claim else { continue };
            if claim.origin != origin {
                let detail = format!("origin {:?} where {origin:?} was expected", claim.origin);
                findings.file(FaultKind::OriginNotPinned, file, detail);
            }
            if claim.head.size > committed {
                let detail = format!("have {committed} committed entries, want {}", claim.head.size);
                findings.file(FaultKind::Rollback, file, detail);
            }
        }
        if let (Some(checkpoint), Some(state)) = (&self.checkpoint, &self.state)
            && state.head.size < checkpoint.head.size
        {
            let detail =
                format!("have {}, want at least the checkpoint's {}", state.head.size, checkpoint.head.size);
            findings.file(FaultKind::Rollback, state::FILE, detail);
        }
        if let Some((note, checkpoint)) = self.note_and_checkpoint()
            && let Err((kind, detail)) = trust.check(note, checkpoint.head.size)
        {
            findings.file(kind, checkpoint::FILE, detail);
        }
    }
}

fn read_note(files: &Files, findings: &mut Findings) -> Result<Option<(String, Note)>, LogError> {
    let bytes = match files.read(checkpoint::FILE, MAX_NOTE_BYTES) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => {
            findings.file(FaultKind::NoTrustedSignature, checkpoint::FILE, "there is no checkpoint");
            return Ok(None);
        }
        Err(e) if e.kind() == std::io::ErrorKind::InvalidData => {
            findings.file(FaultKind::MalformedNote, checkpoint::FILE, e.to_string());
            return Ok(None);
        }
        Err(e) => return Err(files.refused(checkpoint::FILE, e)),
    };
    let note = Note::parse(&bytes)
        .map_err(|e| findings.file(FaultKind::MalformedNote, checkpoint::FILE, e.to_string()));
    // A note is UTF-8, so nothing is lost.
    Ok(note.ok().map(|note| (String::from_utf8_lossy(&bytes).into_owned(), note)))
}

/// Which fault a refused note is.
pub(super) const fn note_fault(e: &NoteError) -> FaultKind {
    e.fault()
}
