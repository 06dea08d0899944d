//! From leaves to published tiles: holds the right edge of every level and writes tiles as they fill.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use counterfoil_spec::ids::Hash;

use crate::disk::Disk;
use crate::error::LogError;
use crate::merkle::{Frontier, Head, leaf_hash};
use crate::proof::TileTree;
use crate::scan::Visit;
use crate::store::{Replace, replace};
use crate::tile::{
    MAX_ENTRY_TILE_BYTES, MAX_HASH_TILE_BYTES, MAX_TILE_LEVEL, TILE_WIDTH, TileId, TileKind, nodes_at,
    partial_tiles, push_leaf, read_limited,
};

/// Whether tiles may already be on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// They may; nothing is written, but it is noted whether any would have to be.
    Compare,
    /// They may; those that are right stay, others are replaced.
    Repair,
    /// They are new.
    Extend,
}

/// The published tree up to some size.
#[derive(Clone)]
pub(crate) struct TileStage {
    dir: PathBuf,
    disk: Arc<dyn Disk>,
    pub(crate) mode: Mode,
    pub(crate) tree: Frontier,
    /// For each level, the hashes of its last tile while that is partial.
    levels: Vec<Vec<u8>>,
    /// The leaves of the last entry tile while that is partial.
    entries: Vec<u8>,
    /// Whether one of them was removed.
    has_removed: bool,
    /// Tiles written in [`Mode::Repair`].
    pub(crate) repaired: u64,
    /// In [`Mode::Compare`] a tile was missing or wrong, or a partial one was left over.
    pub(crate) differs: bool,
    /// Whole tiles whose partial forms may still be on disk.
    filled: Vec<TileId>,
}

impl TileStage {
    pub(crate) fn new(dir: &Path, disk: Arc<dyn Disk>, mode: Mode) -> Self {
        let levels = vec![Vec::new(); usize::from(MAX_TILE_LEVEL) + 1];
        Self {
            dir: dir.to_owned(),
            disk,
            mode,
            tree: Frontier::default(),
            levels,
            entries: Vec::new(),
            has_removed: false,
            repaired: 0,
            differs: false,
            filled: Vec::new(),
        }
    }

    /// Moves an empty stage to a tree of `size` leaves, a number of whole tiles, as the hash tiles above them have it.
    ///
    /// # Errors
    /// `Published` where one of those is not there or too short, `Store`.
    pub(crate) fn at(mut empty: Self, size: u64) -> Result<Self, LogError> {
        let mut tiles = TileTree::new(&empty.dir, size);
        empty.tree = Frontier::of(size, &mut |level, index| tiles.node(level, index))?;
        for (level, row) in (0..=MAX_TILE_LEVEL).zip(&mut empty.levels) {
            let nodes = nodes_at(level, size);
            for node in nodes - nodes % TILE_WIDTH..nodes {
                row.extend_from_slice(tiles.node(u32::from(level) * 8, node)?.as_bytes());
            }
        }
        Ok(empty)
    }

    fn put(&mut self, id: TileId, bytes: &[u8]) -> Result<(), LogError> {
        let path = self.dir.join(id.path());
        if self.mode != Mode::Extend {
            let limit = match id.kind {
                TileKind::Hashes(_) => MAX_HASH_TILE_BYTES,
                TileKind::Entries | TileKind::Kept => MAX_ENTRY_TILE_BYTES,
            };
            if matches!(read_limited(&path, limit), Ok(Some(found)) if found == bytes) {
                return Ok(());
            }
            if self.mode == Mode::Compare {
                self.differs = true;
                return Ok(());
            }
            self.repaired += 1;
        }
        replace(&*self.disk, &path, bytes, Replace::Atomic)
    }

    fn put_whole(&mut self, kind: TileKind, index: u64, bytes: &[u8]) -> Result<(), LogError> {
        let id = TileId::whole(kind, index);
        self.put(id, bytes)?;
        if self.mode == Mode::Compare {
            self.differs |= self.dir.join(id.partial_folder()).exists();
            return Ok(());
        }
        self.filled.push(id);
        // While a long log is opened this list would grow; nothing refers to those partial tiles any more.
        if self.mode == Mode::Repair { self.drop_filled() } else { Ok(()) }
    }

    /// Puts 256 entries where they are published, and takes them from where they were.
    //= spec/audit-log.md#published-files
    //# Of 256 entries of which any was removed a writer MUST publish `tile/kept/<N>` and MUST NOT publish `tile/entries/<N>`
    fn put_entries(&mut self, index: u64) -> Result<(), LogError> {
        let bytes = std::mem::take(&mut self.entries);
        let (kind, other) = match std::mem::take(&mut self.has_removed) {
            true => (TileKind::Kept, TileKind::Entries),
            false => (TileKind::Entries, TileKind::Kept),
        };
        self.put_whole(kind, index, &bytes)?;
        let path = self.dir.join(TileId::whole(other, index).path());
        if self.mode == Mode::Extend || !path.exists() {
            return Ok(());
        }
        if self.mode == Mode::Compare {
            self.differs = true;
            return Ok(());
        }
        self.disk.remove_file(&path).map_err(LogError::store("delete", &path))
    }

    /// `leaf` is empty where it was removed.
    fn push(&mut self, leaf: &[u8], hash: Hash) -> Result<(), LogError> {
        let place = self.tree.size();
        let mut whole = Vec::new();
        let levels = &mut self.levels;
        self.tree.push(hash, |level, index, hash| {
            let tile_level = level / 8;
            let slot = usize::try_from(tile_level).ok().and_then(|l| levels.get_mut(l));
            if let (0, Some(tile), Ok(tile_level)) = (level % 8, slot, u8::try_from(tile_level)) {
                tile.extend_from_slice(hash.as_bytes());
                if tile.len() == MAX_HASH_TILE_BYTES {
                    whole.push((TileKind::Hashes(tile_level), index / TILE_WIDTH, std::mem::take(tile)));
                }
            }
        });
        push_leaf(&mut self.entries, leaf);
        self.has_removed |= leaf.is_empty();
        for (kind, index, bytes) in whole {
            self.put_whole(kind, index, &bytes)?;
        }
        if place % TILE_WIDTH == TILE_WIDTH - 1 { self.put_entries(place / TILE_WIDTH) } else { Ok(()) }
    }

    /// Writes the partial tiles of the present size.
    pub(crate) fn put_partials(&mut self) -> Result<(), LogError> {
        if self.has_removed {
            let reason = "one of the last entries was removed, which no prune can name";
            return Err(LogError::corrupt(crate::segment::FOLDER, 0, reason));
        }
        for id in partial_tiles(self.tree.size()) {
            let bytes = match id.kind {
                TileKind::Hashes(level) => self.levels.get(usize::from(level)).cloned().unwrap_or_default(),
                TileKind::Entries | TileKind::Kept => self.entries.clone(),
            };
            self.put(id, &bytes)?;
        }
        Ok(())
    }

    /// Deletes partial tiles that the present size does not ask for.
    pub(crate) fn drop_superseded(&mut self) -> Result<(), LogError> {
        self.drop_filled()?;
        for id in partial_tiles(self.tree.size()) {
            let keep = id.width.to_string();
            let folder = self.dir.join(id.partial_folder());
            let entries = std::fs::read_dir(&folder).map_err(LogError::store("list", &folder))?;
            for entry in entries.flatten().filter(|e| e.file_name() != keep.as_str()) {
                let path = entry.path();
                self.disk.remove_file(&path).map_err(LogError::store("delete", &path))?;
            }
        }
        Ok(())
    }

    fn drop_filled(&mut self) -> Result<(), LogError> {
        for id in std::mem::take(&mut self.filled) {
            let folder = self.dir.join(id.partial_folder());
            match self.disk.remove_folder(&folder) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    return Err(LogError::store("delete", &folder)(e));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl Visit for TileStage {
    fn leaf(&mut self, _: u64, leaf: &[u8]) -> Result<(), LogError> {
        self.push(leaf, leaf_hash(leaf))
    }

    fn removed(&mut self, _: u64, hash: Hash) -> Result<(), LogError> {
        self.push(&[], hash)
    }

    fn commit(&mut self, head: &Head) -> bool {
        self.tree.size() == head.size && self.tree.root() == head.root
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::LocalDisk;

    #[test]
    fn stage_of_published_tiles_is_the_one_that_wrote_them() {
        let folder = tempfile::tempdir().unwrap();
        let empty = |mode| TileStage::new(folder.path(), Arc::new(LocalDisk), mode);
        let mut grown = empty(Mode::Extend);
        for (leaf, done) in (1..=0x1_0300_u64).enumerate() {
            grown.push(&leaf.to_be_bytes(), leaf_hash(&leaf.to_be_bytes())).unwrap();
            if [0x100, 0x300, 0xff00, 0x1_0000, 0x1_0100, 0x1_0300].contains(&done) {
                grown.put_partials().unwrap();
                let found = TileStage::at(empty(Mode::Compare), done).unwrap();
                assert_eq!((&found.tree, &found.levels), (&grown.tree, &grown.levels), "{done} leaves");
            }
        }
        std::fs::write(folder.path().join("tile/1/001.p/3"), [7; 95]).unwrap();
        let refused = TileStage::at(empty(Mode::Compare), 0x1_0300).err();
        assert!(
            matches!(&refused, Some(LogError::Published { file, .. }) if file == "tile/1/001.p/3"),
            "{refused:?}"
        );
    }
}
