//! Compares the published entry tiles with the segments' leaves.

use counterfoil_spec::ids::Hash;
use counterfoil_spec::rule::FaultKind;

use super::findings::{Findings, fault};
use crate::error::LogError;
use crate::merkle::leaf_hash;
use crate::source::Files;
use crate::tile::{MAX_ENTRY_TILE_BYTES, TILE_WIDTH, TileId, TileKind, leaves, push_leaf, tile_of};

/// One tile's worth of leaves, and where each ends.
pub(super) struct BundleCheck {
    files: Files,
    published: u64,
    tile: u64,
    bytes: Vec<u8>,
    ends: Vec<usize>,
    /// The hashes that the tree has for them; a leaf that a segment lost has nothing else.
    hashes: Vec<Option<Hash>>,
    lost: bool,
}

impl BundleCheck {
    pub(super) fn new(files: Files, published: u64) -> Self {
        Self {
            files,
            published,
            tile: 0,
            bytes: Vec::new(),
            ends: Vec::new(),
            hashes: Vec::new(),
            lost: false,
        }
    }

    /// The next leaf; `None` for one that is lost. `expected` is its hash in the tiles.
    pub(super) fn push(
        &mut self,
        leaf: Option<&[u8]>,
        expected: Option<Hash>,
        findings: &mut Findings,
    ) -> Result<(), LogError> {
        match leaf {
            Some(leaf) => push_leaf(&mut self.bytes, leaf),
            None => self.lost = true,
        }
        self.ends.push(self.bytes.len());
        self.hashes.push(expected);
        if self.ends.len() == 256 { self.finish(findings) } else { Ok(()) }
    }

    /// Compares what was pushed since the last whole tile.
    pub(super) fn finish(&mut self, findings: &mut Findings) -> Result<(), LogError> {
        if self.ends.is_empty() {
            return Ok(());
        }
        let files = self.files.tile((TileKind::Entries, self.tile), self.published, MAX_ENTRY_TILE_BYTES)?;
        let first = self.tile * TILE_WIDTH;
        if self.published > first {
            let wanted = tile_of(TileKind::Entries, first, self.published);
            if !files.iter().any(|(id, _)| id.width >= wanted.width) {
                findings.file(FaultKind::TileMissing, &wanted.path(), "no file has its entries");
            }
        }
        for (id, file) in &files {
            self.compare(id, file, findings);
        }
        self.tile += 1;
        self.bytes.clear();
        self.ends.clear();
        self.hashes.clear();
        self.lost = false;
        Ok(())
    }

    fn compare(&self, id: &TileId, file: &[u8], findings: &mut Findings) {
        let width = usize::from(id.width);
        let end = width.checked_sub(1).and_then(|last| self.ends.get(last));
        let same = end.is_some_and(|end| self.bytes.get(..*end) == Some(file));
        if same && !self.lost {
            return;
        }
        let mut found = leaves(file);
        let mut used = 0;
        let mut start = 0;
        let first = self.tile * TILE_WIDTH;
        for ((index, end), hash) in (first..).zip(&self.ends).zip(&self.hashes).take(width) {
            let ours = self.bytes.get(start..*end).and_then(|b| b.get(2..));
            start = *end;
            let Some(leaf) = found.next() else {
                let detail = "it ends early, or a length in it is wrong";
                findings.push(fault(FaultKind::TileMismatch, Some(index), &id.path(), detail));
                return;
            };
            used += 2 + leaf.len();
            if ours != Some(leaf) && hash.is_none_or(|h| h != leaf_hash(leaf)) {
                let detail = "the entry is not the one that the tree commits to";
                findings.push(fault(FaultKind::TileMismatch, Some(index), &id.path(), detail));
                return;
            }
        }
        // A wider tile than was verified belongs to a writer that runs.
        if width <= self.ends.len() && used != file.len() {
            findings.file(FaultKind::TileMismatch, &id.path(), "bytes behind its last entry");
        }
    }
}
