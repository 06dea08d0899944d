//! A log's segments from what it publishes, for what reads segments.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use crate::error::LogError;
use crate::merkle::Head;
use crate::segment::{self, HEADER_BYTES, SegmentFile};
use crate::source::{Files, Shared};
use crate::tile::{
    MAX_ENTRY_TILE_BYTES, MAX_HASH_TILE_BYTES, TILE_WIDTH, TileKind, hash_at, leaves, push_leaf,
};

/// Writes the first entries of a log into a folder that has none: those that a head covers which was verified, so that no more is
/// written than its signer has. They are in one segment with one commit frame, whatever groups they had.
///
/// # Errors
/// `Store` for what cannot be read or written, `Corrupt` for a tile that is not there or is another than was verified.
pub fn rebuild(files: &Shared, head: &Head, origin: &str, dir: &Path) -> Result<(), LogError> {
    let read = Files::Published(files.clone());
    let segment = SegmentFile::new(dir, 0);
    let store = |e| LogError::store("write", &segment.path)(e);
    std::fs::create_dir_all(dir.join(segment::FOLDER)).map_err(store)?;
    let mut out = BufWriter::new(File::create_new(&segment.path).map_err(store)?);
    let begin = segment::header(&segment::origin_hash(origin), 0);
    debug_assert_eq!(begin.len(), HEADER_BYTES, "a segment's header has one length");
    out.write_all(&begin).map_err(store)?;
    for tile in 0..head.size.div_ceil(TILE_WIDTH) {
        let one = |kind, limit| {
            let mut found = read.tile((kind, tile), head.size, limit)?;
            Ok::<_, LogError>(found.pop().map(|(_, bytes)| bytes))
        };
        let entries = match one(TileKind::Entries, MAX_ENTRY_TILE_BYTES)? {
            Some(entries) => Some(entries),
            None => one(TileKind::Kept, MAX_ENTRY_TILE_BYTES)?,
        };
        let hashes = one(TileKind::Hashes(0), MAX_HASH_TILE_BYTES)?.unwrap_or_default();
        let count = TILE_WIDTH.min(head.size - tile * TILE_WIDTH);
        let frames = frames(&entries.unwrap_or_default(), &hashes, count)
            .ok_or_else(|| LogError::corrupt(&files.0.name(), 0, format!("bundle {tile} is not whole")))?;
        out.write_all(&frames).map_err(store)?;
    }
    out.write_all(&segment::commit(head)).and_then(|()| out.flush()).map_err(store)
}

/// The frames of one bundle; `None` where it has other entries than so many.
fn frames(entries: &[u8], hashes: &[u8], count: u64) -> Option<Vec<u8>> {
    let (mut out, mut used) = (Vec::with_capacity(entries.len()), Vec::with_capacity(entries.len()));
    let mut each = leaves(entries);
    for place in 0..count {
        let leaf = each.next()?;
        push_leaf(&mut used, leaf);
        match leaf {
            [] => segment::push_removed(&mut out, &hash_at(hashes, place)?),
            leaf => segment::push_entry(&mut out, leaf),
        }
    }
    (used == entries).then_some(out)
}
