//! Reads the published entries of a log in their order, up to what its checkpoint covers.

use counterfoil_spec::limits::MAX_LEAF_BYTES;
use counterfoil_spec::rule::FaultKind;

use super::decode::Batch;
use super::feed::{BATCH_BYTES, BATCH_ENTRIES, EntryItem, Item, RemovedItem};
use super::findings::{Findings, fault};
use crate::error::LogError;
use crate::merkle::Head;
use crate::scan::wide;
use crate::source::{Files, Shared};
use crate::tile::{MAX_ENTRY_TILE_BYTES, TILE_WIDTH, TileId, TileKind, leaves, tile_of};

/// Bundles that are missing one after the other before no more are looked for.
const MAX_MISSING: u32 = 16;
/// Tiles that are asked for ahead.
const AHEAD: u64 = 4;

/// The bundles of entries that a checkpoint covers.
pub(super) struct Bundles {
    files: Files,
    shared: Shared,
    pub(super) head: Head,
    index: u64,
    held: Option<Held>,
    expected: u64,
    missing: u32,
}

/// A bundle of which a part is in a batch.
struct Held {
    id: TileId,
    bytes: Vec<u8>,
    used: usize,
}

impl Bundles {
    pub(super) fn new(shared: Shared, head: Head) -> Self {
        let files = Files::Published(shared.clone());
        Self { files, shared, head, index: 0, held: None, expected: 0, missing: 0 }
    }

    /// The name of a bundle by its number.
    pub(super) fn name(&self, number: usize) -> String {
        tile_of(TileKind::Entries, wide(number).saturating_mul(TILE_WIDTH), self.head.size).path()
    }

    /// Fills a batch; false where there is nothing left.
    pub(super) fn fill(&mut self, batch: &mut Batch, findings: &mut Findings) -> Result<bool, LogError> {
        while batch.entries < BATCH_ENTRIES && batch.bytes.len() < BATCH_BYTES {
            match self.held.take() {
                Some(held) => self.held = self.entries(held, batch, findings),
                None if self.index >= self.head.size || self.missing >= MAX_MISSING => break,
                None => self.held = self.next(batch, findings)?,
            }
        }
        Ok(!batch.items.is_empty())
    }

    fn next(&mut self, batch: &mut Batch, findings: &mut Findings) -> Result<Option<Held>, LogError> {
        self.expect();
        let id = tile_of(TileKind::Entries, self.index, self.head.size);
        let files = self.files.tile((TileKind::Entries, id.index), self.head.size, MAX_ENTRY_TILE_BYTES)?;
        if let Some((id, bytes)) = files.into_iter().next() {
            self.missing = 0;
            return Ok(Some(Held { id, bytes, used: 0 }));
        }
        // Where entries were removed the others stand elsewhere.
        let kept = self.files.tile((TileKind::Kept, id.index), self.head.size, MAX_ENTRY_TILE_BYTES)?;
        if let Some((id, bytes)) = kept.into_iter().next() {
            self.missing = 0;
            return Ok(Some(Held { id, bytes, used: 0 }));
        }
        self.missing += 1;
        findings.file(FaultKind::TileMissing, &id.path(), "no file has its entries");
        if self.missing == MAX_MISSING {
            let detail = format!("{MAX_MISSING} bundles in a row are not there; no more were looked for");
            findings.push(fault(FaultKind::TileMissing, Some(id.end()), &id.path(), detail));
        }
        self.lose(id.end(), batch);
        Ok(None)
    }

    fn lose(&mut self, until: u64, batch: &mut Batch) {
        if until > self.index {
            batch.items.push(Item::Lost { indexes: self.index..until });
            self.index = until;
        }
    }

    /// Puts entries of a bundle into a batch; gives it back where there are more.
    fn entries(&mut self, mut held: Held, batch: &mut Batch, findings: &mut Findings) -> Option<Held> {
        let segment = usize::try_from(held.id.index).unwrap_or(usize::MAX);
        let end = held.id.end();
        while self.index < end {
            if batch.entries >= BATCH_ENTRIES || batch.bytes.len() >= BATCH_BYTES {
                return Some(held);
            }
            let leaf = leaves(held.bytes.get(held.used..).unwrap_or_default()).next();
            let Some(leaf) = leaf.filter(|leaf| leaf.len() <= MAX_LEAF_BYTES) else {
                let detail = "it ends early, or a length in it is wrong";
                findings.push(fault(FaultKind::TileMismatch, Some(self.index), &held.id.path(), detail));
                self.lose(end, batch);
                return None;
            };
            let (index, offset) = (self.index, wide(held.used));
            if held.id.kind == TileKind::Kept && leaf.is_empty() {
                batch.removed(RemovedItem { index, segment, offset, hash: None, intact: true });
                held.used += 2;
                self.index += 1;
                continue;
            }
            let start = batch.bytes.len();
            batch.bytes.extend_from_slice(leaf);
            let span = start..batch.bytes.len();
            batch.entry(EntryItem { index, segment, offset, span, intact: true });
            held.used += 2 + (batch.bytes.len() - start);
            self.index += 1;
        }
        if held.used != held.bytes.len() {
            findings.file(FaultKind::TileMismatch, &held.id.path(), "bytes behind its last entry");
        }
        None
    }

    /// Says which files will be asked for next.
    fn expect(&mut self) {
        let number = self.index / TILE_WIDTH;
        if number < self.expected {
            return;
        }
        self.expected = number + AHEAD;
        let tiles = self.head.size.div_ceil(TILE_WIDTH);
        let size = self.head.size;
        let names = (number..self.expected.min(tiles)).flat_map(|n| {
            [TileKind::Hashes(0), TileKind::Entries].map(|kind| tile_of(kind, n * TILE_WIDTH, size).path())
        });
        self.shared.0.expect(&names.collect::<Vec<_>>());
    }
}
