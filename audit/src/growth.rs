//! That a log grew and kept what it had: a consistency proof with the checkpoint it leads to.
//!
//! ```text
//! old <size>\n{<base64 hash>\n}\n<checkpoint as a signed note>
//! ```
//!
//! This is the body of C2SP tlog-witness' `add-checkpoint`, and a file that anybody can keep.

use std::fmt;
use std::path::Path;

use counterfoil_spec::ids::Hash;
use data_encoding::BASE64;

use crate::checkpoint::{self, Checkpoint};
use crate::error::LogError;
use crate::merkle::{Head, ProofError, verify_consistency};
use crate::note::MAX_NOTE_BYTES;
use crate::proof::{HASH_LINE_BYTES, ProofRefused, hash_lines, prove_consistency, published};
use crate::trust::TrustsNotes;

/// Hashes that the standard lets one request have.
pub const MAX_GROWTH_HASHES: usize = 63;
/// A whole body, in bytes.
pub const MAX_GROWTH_BYTES: usize = MAX_NOTE_BYTES + 32 + MAX_GROWTH_HASHES * HASH_LINE_BYTES;

/// A checkpoint, and the proof that its tree begins with an earlier one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Growth {
    /// The size of the earlier tree.
    pub old: u64,
    /// The consistency proof of RFC 6962.
    pub path: Vec<Hash>,
    /// The checkpoint, a signed note.
    pub note: String,
}

impl fmt::Display for Growth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "old {}", self.old)?;
        for hash in &self.path {
            writeln!(f, "{}", BASE64.encode(hash.as_bytes()))?;
        }
        write!(f, "\n{}", self.note)
    }
}

impl Growth {
    /// Reads a body; anything that is not written as `Display` writes it is refused. The note is not looked into.
    ///
    /// # Errors
    /// `ProofShape`.
    pub fn parse(bytes: &[u8]) -> Result<Self, ProofRefused> {
        let shape = ProofRefused::ProofShape;
        if bytes.len() > MAX_GROWTH_BYTES {
            return Err(shape("too long"));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| shape("not UTF-8"))?;
        let (head, note) = text.split_once("\n\n").ok_or(shape("no empty line before the checkpoint"))?;
        let mut lines = head.split('\n');
        let old = lines.next().and_then(|l| l.strip_prefix("old ")).and_then(|n| n.parse().ok());
        let old = old.ok_or(shape("no old size"))?;
        let path = hash_lines(lines).filter(|path| path.len() <= MAX_GROWTH_HASHES);
        let path = path.ok_or(shape("a hash that is not 32 bytes, or more than 63"))?;
        let growth = Self { old, path, note: note.to_owned() };
        if growth.to_string() == text { Ok(growth) } else { Err(shape("not in its one form")) }
    }

    /// Proves that the published tree begins with that of `old` entries.
    ///
    /// # Errors
    /// `OutOfRange` where `old` is larger than the newest checkpoint; `Published`, `Store`.
    pub fn prove(dir: &Path, old: u64) -> Result<Self, LogError> {
        let missing =
            || LogError::Published { file: checkpoint::FILE.to_owned(), reason: "not there".to_owned() };
        let (note, checkpoint) = published(dir, checkpoint::FILE)?.ok_or_else(missing)?;
        Self::prove_to(dir, old, note, checkpoint.head.size)
    }

    /// The same for a checkpoint of `size` entries that was published.
    ///
    /// # Errors
    /// As [`Growth::prove`].
    pub fn prove_to(dir: &Path, old: u64, note: String, size: u64) -> Result<Self, LogError> {
        Ok(Self { old, path: prove_consistency(dir, old, size)?, note })
    }

    /// Checks that the log whose key is trusted has kept what it had at `old`; gives the checkpoint that says so.
    ///
    /// # Errors
    /// [`ProofRefused`].
    pub fn verify<K: TrustsNotes + ?Sized>(&self, old: &Head, key: &K) -> Result<Checkpoint, ProofRefused> {
        let checkpoint = Checkpoint::open(self.note.as_bytes(), key)?;
        let size = checkpoint.head.size;
        if old.size != self.old {
            return Err(ProofRefused::ProofShape("it begins at another size than the one that was trusted"));
        }
        verify_consistency(old, &checkpoint.head, &self.path).map_err(|e| match e {
            ProofError::ProofShape => ProofRefused::ProofShape("the wrong number of hashes for these sizes"),
            ProofError::RootMismatch => ProofRefused::InconsistentTree { old: self.old, size },
        })?;
        Ok(checkpoint)
    }
}
