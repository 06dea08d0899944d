//! What two heads of one log prove against whoever holds its key: a file that anybody checks with the key alone.
//!
//! ```text
//! counterfoil evidence v1
//! fork                                  or rollback
//! <base64(root)>                        of a fork: the root that the second head's tree has at the first one's size
//! {base64(hash)
//! }                                     the consistency proof (RFC 6962) from there to the second head
//!
//! <checkpoint>                          the one that was kept
//!
//! <checkpoint>                          the one that the log shows
//! ```

use std::fmt;

use counterfoil_spec::ids::Hash;
use counterfoil_spec::rule::FaultKind;
use data_encoding::BASE64;

use crate::checkpoint::Checkpoint;
use crate::merkle::{Head, verify_consistency};
use crate::note::{MAX_NOTE_BYTES, NoteError};
use crate::proof::hash_lines;
use crate::trust::TrustsNotes;

/// A whole file, in bytes.
pub const MAX_EVIDENCE_BYTES: usize = 2 * MAX_NOTE_BYTES + 8 * 1024;
const HEADER: &str = "counterfoil evidence v1";
const FORK: &str = "fork";
const ROLLBACK: &str = "rollback";

/// Two heads that one key signed and that one log cannot have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// The checkpoint that somebody kept: a signed note.
    pub kept: String,
    /// The checkpoint that the log shows.
    pub shown: String,
    /// Where the two are of different histories: how that is seen. Without it, the log shows fewer entries than it had.
    pub fork: Option<Parting>,
}

/// How it is seen that a head does not continue another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parting {
    /// The root that the tree of the head that is shown has at the size of the one that was kept.
    pub root: Hash,
    /// That it has: a consistency proof.
    pub path: Vec<Hash>,
}

/// What a piece of evidence proves.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Proven {
    /// `Fork` or `Rollback`.
    #[serde(rename = "fault")]
    pub kind: FaultKind,
    /// Which log.
    pub origin: String,
    /// The head that was kept.
    pub kept: Head,
    /// The head that the log shows.
    pub shown: Head,
}

/// Why a file proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoEvidence {
    /// It is not written as such a file is.
    #[error("not a file of evidence: {0}")]
    Form(&'static str),
    /// A head that cannot be read or that the key did not sign.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// The two heads can both be true.
    #[error("the two heads do not contradict each other: {0}")]
    NoContradiction(&'static str),
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}")?;
        match &self.fork {
            Some(parting) => {
                writeln!(f, "{FORK}\n{}", BASE64.encode(parting.root.as_bytes()))?;
                for hash in &parting.path {
                    writeln!(f, "{}", BASE64.encode(hash.as_bytes()))?;
                }
            }
            None => writeln!(f, "{ROLLBACK}")?,
        }
        write!(f, "\n{}\n{}", self.kept, self.shown)
    }
}

impl Evidence {
    /// Reads a file; anything that is not written as `Display` writes it is refused.
    ///
    /// # Errors
    /// `Form`.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoEvidence> {
        if bytes.len() > MAX_EVIDENCE_BYTES {
            return Err(NoEvidence::Form("too long"));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| NoEvidence::Form("not UTF-8"))?;
        // A checkpoint is its text, an empty line and its signatures.
        let parts: Vec<&str> = text.split("\n\n").collect();
        let [head, first, signed, second, rest] = parts.as_slice() else {
            return Err(NoEvidence::Form("there are not a head and two checkpoints"));
        };
        let mut lines = head.split('\n');
        if lines.next() != Some(HEADER) {
            return Err(NoEvidence::Form("another first line"));
        }
        let fork = match lines.next() {
            Some(ROLLBACK) => None,
            Some(FORK) => {
                let mut hashes =
                    hash_lines(lines).ok_or(NoEvidence::Form("a hash that is none, or too many"))?;
                if hashes.is_empty() {
                    return Err(NoEvidence::Form("a fork without a root"));
                }
                let root = hashes.remove(0);
                Some(Parting { root, path: hashes })
            }
            _ => return Err(NoEvidence::Form("neither a fork nor a rollback")),
        };
        let (kept, shown) = (format!("{first}\n\n{signed}\n"), format!("{second}\n\n{rest}"));
        let read = Self { kept, shown, fork };
        if read.to_string() == text { Ok(read) } else { Err(NoEvidence::Form("not in its one form")) }
    }

    /// Checks it with the log's key, or with several where it was changed, got from somewhere else.
    ///
    /// # Errors
    /// [`NoEvidence`].
    pub fn check<K: TrustsNotes + ?Sized>(&self, key: &K) -> Result<Proven, NoEvidence> {
        //= spec/audit-log.md#evidence
        //# Whoever checks evidence MUST check both signatures with a key that it got elsewhere
        let kept = Checkpoint::open(self.kept.as_bytes(), key)?;
        let shown = Checkpoint::open(self.shown.as_bytes(), key)?.head;
        let (origin, kept) = (kept.origin, kept.head);
        let no = |why| Err(NoEvidence::NoContradiction(why));
        let kind = match &self.fork {
            None if kept.size <= shown.size => return no("as many entries are shown as were kept, or more"),
            None => FaultKind::Rollback,
            Some(parting) if parting.root == kept.root => {
                return no("the kept head is part of the one shown");
            }
            Some(parting) => {
                //= spec/audit-log.md#evidence
                //# and for a fork that the proof leads from another root at the size of the first checkpoint to the root of the second.
                let old = Head { size: kept.size, root: parting.root };
                if verify_consistency(&old, &shown, &parting.path).is_err() {
                    return no("the proof does not lead to the head shown");
                }
                FaultKind::Fork
            }
        };
        Ok(Proven { kind, origin, kept, shown })
    }
}
