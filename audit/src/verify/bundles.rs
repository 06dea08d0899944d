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
    has_removed: bool,
}

/// What a segment has of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Here<'a> {
    Leaf(&'a [u8]),
    /// The hash alone, as it was removed.
    Removed,
    /// Nothing that can be read.
    Lost,
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
            has_removed: false,
        }
    }

    /// The next leaf. `expected` is its hash in the tiles.
    pub(super) fn push(
        &mut self,
        leaf: Here<'_>,
        expected: Option<Hash>,
        findings: &mut Findings,
    ) -> Result<(), LogError> {
        match leaf {
            Here::Leaf(leaf) => push_leaf(&mut self.bytes, leaf),
            Here::Removed => {
                push_leaf(&mut self.bytes, &[]);
                self.has_removed = true;
            }
            Here::Lost => self.lost = true,
        }
        self.ends.push(self.bytes.len());
        self.hashes.push(expected);
        if self.ends.len() == 256 { self.finish(findings) } else { Ok(()) }
    }

    /// Leaves out what is before an entry.
    pub(super) fn skip(&mut self, until: u64) {
        let place = usize::try_from(until % TILE_WIDTH).unwrap_or_default();
        self.tile = until / TILE_WIDTH;
        self.bytes.clear();
        self.ends = vec![0; place];
        self.hashes = vec![None; place];
        self.lost = true;
        self.has_removed = false;
    }

    /// Compares what was pushed since the last whole tile.
    pub(super) fn finish(&mut self, findings: &mut Findings) -> Result<(), LogError> {
        if self.ends.is_empty() {
            return Ok(());
        }
        let (kind, other) = match self.has_removed {
            true => (TileKind::Kept, TileKind::Entries),
            false => (TileKind::Entries, TileKind::Kept),
        };
        let read = |kind| self.files.tile((kind, self.tile), self.published, MAX_ENTRY_TILE_BYTES);
        let files = read(kind)?;
        let first = self.tile * TILE_WIDTH;
        if self.published > first {
            let wanted = tile_of(kind, first, self.published);
            if !files.iter().any(|(id, _)| id.width >= wanted.width) {
                findings.file(FaultKind::TileMissing, &wanted.path(), "no file has its entries");
            }
        }
        // What a removal that broke off has left there is read as well.
        for (id, file) in files.iter().chain(&read(other)?) {
            self.compare(id, file, findings);
        }
        self.tile += 1;
        self.bytes.clear();
        self.ends.clear();
        self.hashes.clear();
        self.lost = false;
        self.has_removed = false;
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
            // That an entry was removed is no more than the segment says of it too.
            let gone = id.kind == TileKind::Kept && leaf.is_empty() && ours.is_none_or(<[u8]>::is_empty);
            if !gone && ours != Some(leaf) && hash.is_none_or(|h| h != leaf_hash(leaf)) {
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
