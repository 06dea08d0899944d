//! Proofs that travel: that an entry is in a log (C2SP tlog-proof), and nodes of the tree read from its tiles.
//!
//! ```text
//! c2sp.org/tlog-proof@v1\n{extra <base64 leaf>\n}index <i>\n{<base64 hash>\n}\n<checkpoint as a signed note>
//! ```
//!
//! With the leaf as its extra line a proof needs nothing beside it: whoever verifies it hashes that leaf, so that what
//! it says is proved and not believed.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use counterfoil_spec::ids::Hash;
use counterfoil_spec::limits::MAX_LEAF_BYTES;
use data_encoding::BASE64;

use crate::checkpoint::{self, Checkpoint};
use crate::error::LogError;
use crate::merkle::{
    MAX_PROOF_HASHES, ProofError, consistency_path, inclusion_path, leaf_hash, node_hash, verify_inclusion,
};
use crate::note::{MAX_NOTE_BYTES, Note, NoteError};
use crate::source::Files;
use crate::tile::{
    MAX_HASH_TILE_BYTES, TILE_WIDTH, TileId, TileKind, hash_at, nodes_at, read_limited, tile_of,
};
use crate::trust::TrustsNotes;
use crate::witnessed;

/// The first line of a proof.
pub const PROOF_HEADER: &str = "c2sp.org/tlog-proof@v1";
/// A whole proof, in bytes.
pub const MAX_PROOF_BYTES: usize = MAX_NOTE_BYTES + 128 + MAX_PROOF_HASHES * HASH_LINE_BYTES + EXTRA_BYTES;
/// One hash in base64 with the end of its line.
pub(crate) const HASH_LINE_BYTES: usize = 45;
/// The longest leaf in base64.
const EXTRA_BYTES: usize = MAX_LEAF_BYTES.div_ceil(3) * 4;

/// That an entry is in a log, for whoever has the entry and trusts the log's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// The entry's index.
    pub index: u64,
    /// From the leaf's sibling to the root's child.
    pub path: Vec<Hash>,
    /// The checkpoint, a signed note.
    pub note: String,
    /// The entry's leaf, where it travels along.
    pub leaf: Option<Vec<u8>>,
}

/// Why a proof proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofRefused {
    /// Not in the form above, or the wrong number of hashes.
    #[error("not a proof of one entry: {0}")]
    ProofShape(&'static str),
    /// The checkpoint is not one, or not by the trusted key.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// The checkpoint commits to another entry at this index.
    #[error("the checkpoint does not commit to this entry at this index")]
    LeafHashMismatch,
    /// The tree that was trusted before is no beginning of the checkpoint's.
    #[error("the checkpoint's tree of {size} entries does not begin with the one of {old} entries")]
    InconsistentTree {
        /// The entries of the earlier tree.
        old: u64,
        /// Those of the checkpoint's.
        size: u64,
    },
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{PROOF_HEADER}")?;
        if let Some(leaf) = &self.leaf {
            writeln!(f, "extra {}", BASE64.encode(leaf))?;
        }
        writeln!(f, "index {}", self.index)?;
        for hash in &self.path {
            writeln!(f, "{}", BASE64.encode(hash.as_bytes()))?;
        }
        write!(f, "\n{}", self.note)
    }
}

impl Proof {
    /// Reads a proof; anything that is not written as `Display` writes it is refused.
    ///
    /// # Errors
    /// `ProofShape`.
    pub fn parse(bytes: &[u8]) -> Result<Self, ProofRefused> {
        let shape = ProofRefused::ProofShape;
        if bytes.len() > MAX_PROOF_BYTES {
            return Err(shape("too long"));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| shape("not UTF-8"))?;
        let (head, note) = text.split_once("\n\n").ok_or(shape("no empty line before the checkpoint"))?;
        let mut lines = head.split('\n');
        if lines.next() != Some(PROOF_HEADER) {
            return Err(shape("another first line"));
        }
        let mut next = lines.next();
        let leaf = match next.and_then(|l| l.strip_prefix("extra ")) {
            Some(extra) => {
                next = lines.next();
                let leaf =
                    BASE64.decode(extra.as_bytes()).map_err(|_| shape("an extra line that is not base64"))?;
                if leaf.len() > MAX_LEAF_BYTES {
                    return Err(shape("an extra line longer than an entry"));
                }
                Some(leaf)
            }
            None => None,
        };
        let index = next.and_then(|l| l.strip_prefix("index ")).and_then(|i| i.parse().ok());
        let index = index.ok_or(shape("no index"))?;
        let path = hash_lines(lines).ok_or(shape("a hash that is not 32 bytes"))?;
        let proof = Self { index, path, note: note.to_owned(), leaf };
        if proof.to_string() == text { Ok(proof) } else { Err(shape("not in its one form")) }
    }

    /// Checks that the log whose key is trusted contains `leaf` at this index; gives the checkpoint that says so.
    ///
    /// # Errors
    /// [`ProofRefused`].
    pub fn verify<K: TrustsNotes + ?Sized>(&self, leaf: &[u8], key: &K) -> Result<Checkpoint, ProofRefused> {
        let checkpoint = Checkpoint::open(self.note.as_bytes(), key)?;
        let head = checkpoint.head;
        verify_inclusion(self.index, head.size, &leaf_hash(leaf), &self.path, &head.root).map_err(
            |e| match e {
                ProofError::ProofShape => {
                    ProofRefused::ProofShape("the wrong number of hashes for this tree")
                }
                ProofError::RootMismatch => ProofRefused::LeafHashMismatch,
            },
        )?;
        Ok(checkpoint)
    }
}

/// At most as many hashes as a proof has.
pub(crate) fn hash_lines<'a>(lines: impl Iterator<Item = &'a str>) -> Option<Vec<Hash>> {
    let mut path = Vec::new();
    for line in lines {
        if path.len() == MAX_PROOF_HASHES {
            return None;
        }
        path.push(Hash::from_slice(&BASE64.decode(line.as_bytes()).ok()?)?);
    }
    Some(path)
}

/// The nodes of a published tree.
pub struct TileTree {
    files: Files,
    size: u64,
    read: HashMap<TileId, Vec<u8>>,
}

impl TileTree {
    /// The tree of `size` leaves that tiles below the `log` folder were published for.
    #[must_use]
    pub fn new(dir: &Path, size: u64) -> Self {
        Self::of(Files::Folder(dir.to_owned()), size)
    }

    pub(crate) fn of(files: Files, size: u64) -> Self {
        Self { files, size, read: HashMap::new() }
    }

    /// One complete node.
    ///
    /// # Errors
    /// `Published` where its tile is not there or too short, `Store`.
    pub fn node(&mut self, level: u32, index: u64) -> Result<Hash, LogError> {
        let tile_level = u8::try_from(level / 8).unwrap_or(u8::MAX);
        let below = level % 8;
        let first = index << below;
        let count = nodes_at(tile_level, self.size);
        let id = tile_of(TileKind::Hashes(tile_level), first, count);
        let bytes = self.tile(id)?;
        let mut row: Vec<Hash> = (first..first + (1 << below))
            .map(|i| hash_at(bytes, i % TILE_WIDTH))
            .collect::<Option<_>>()
            .ok_or_else(|| LogError::Published { file: id.path(), reason: "too short".to_owned() })?;
        while row.len() > 1 {
            row = row.as_chunks::<2>().0.iter().map(|[left, right]| node_hash(left, right)).collect();
        }
        let one = row.first().copied();
        one.ok_or_else(|| LogError::Published { file: id.path(), reason: "no such node".to_owned() })
    }

    fn tile(&mut self, id: TileId) -> Result<&[u8], LogError> {
        if !self.read.contains_key(&id) {
            let found = self.files.tree_tile(id, MAX_HASH_TILE_BYTES);
            let found = found.map_err(|e| self.files.refused(&id.path(), e))?;
            let found = found
                .ok_or_else(|| LogError::Published { file: id.path(), reason: "not there".to_owned() })?;
            self.read.insert(id, found);
        }
        Ok(self.read.get(&id).map(Vec::as_slice).unwrap_or_default())
    }
}

/// Proves entry `index` under the published checkpoint: the last one that witnesses cosigned where that covers the
/// entry, else the log's newest. The leaf is not added.
///
/// # Errors
/// `OutOfRange` for an entry that the checkpoint does not cover; `Published` for a checkpoint or tile that is not
/// there or cannot be read; `Store`.
pub fn prove(dir: &Path, index: u64) -> Result<Proof, LogError> {
    if let Some((note, checkpoint)) = published(dir, witnessed::FILE)?
        && index < checkpoint.head.size
    {
        return prove_under(dir, index, note, &checkpoint);
    }
    let missing =
        || LogError::Published { file: checkpoint::FILE.to_owned(), reason: "not there".to_owned() };
    let (note, checkpoint) = published(dir, checkpoint::FILE)?.ok_or_else(missing)?;
    prove_under(dir, index, note, &checkpoint)
}

fn prove_under(dir: &Path, index: u64, note: String, checkpoint: &Checkpoint) -> Result<Proof, LogError> {
    let size = checkpoint.head.size;
    let mut tree = TileTree::new(dir, size);
    let path = inclusion_path(index, size, &mut |level, i| tree.node(level, i))?;
    let path = path.ok_or(LogError::OutOfRange { index, size })?;
    Ok(Proof { index, path, note, leaf: None })
}

/// A checkpoint that lies in the log's folder, with its note; `None` where there is no such file. No signature is
/// checked.
///
/// # Errors
/// `Published` where it cannot be read as a checkpoint; `Store`.
pub fn published(dir: &Path, file: &str) -> Result<Option<(String, Checkpoint)>, LogError> {
    let path = dir.join(file);
    let bad = |reason: String| LogError::Published { file: file.to_owned(), reason };
    let Some(note) = read_limited(&path, MAX_NOTE_BYTES).map_err(LogError::store("read", &path))? else {
        return Ok(None);
    };
    let checkpoint =
        Note::parse(&note).and_then(|n| Checkpoint::parse(&n.text)).map_err(|e| bad(e.to_string()))?;
    let note = String::from_utf8(note).map_err(|e| bad(e.to_string()))?;
    Ok(Some((note, checkpoint)))
}

/// Proves that the published tree of `old` leaves is a prefix of the one of `new`.
///
/// # Errors
/// `OutOfRange` where `old` is larger; `Published` where tiles for `new` are not there; `Store`.
pub fn prove_consistency(dir: &Path, old: u64, new: u64) -> Result<Vec<Hash>, LogError> {
    consistency(&Files::Folder(dir.to_owned()), old, new)
}

/// The same of a log wherever its files are.
pub(crate) fn consistency(files: &Files, old: u64, new: u64) -> Result<Vec<Hash>, LogError> {
    let mut tree = TileTree::of(files.clone(), new);
    let path = consistency_path(old, new, &mut |level, i| tree.node(level, i))?;
    path.ok_or(LogError::OutOfRange { index: old, size: new })
}
