//! The published tree as files: C2SP tlog-tiles.
//!
//! ```text
//! tile/<L>/<N>[.p/<W>]         W (256 where absent) hashes of 32 bytes: the nodes of level 8·L, from N·256 on
//! tile/entries/<N>[.p/<W>]     W leaves, each {u16be length ‖ leaf}
//! tile/kept/<N>                256 leaves, with length 0 for those that were removed
//! N                            groups of three digits; all but the last with an `x`: 1234067 is x001/x234/067
//! ```

use std::io;
use std::path::Path;

use counterfoil_spec::ids::Hash;
use counterfoil_spec::limits::MAX_LEAF_BYTES;

/// Hashes or leaves in a whole tile.
pub const TILE_WIDTH: u64 = 256;
/// The highest level that a tree of 2⁶⁴ − 1 leaves has tiles at.
pub const MAX_TILE_LEVEL: u8 = 7;
/// A whole tile of hashes, in bytes.
pub const MAX_HASH_TILE_BYTES: usize = 256 * 32;
/// A whole tile of leaves, in bytes.
pub const MAX_ENTRY_TILE_BYTES: usize = 256 * (2 + MAX_LEAF_BYTES);

/// How often a tile is looked for that is replaced by wider ones while it is read.
const MAX_LOOKS: u32 = 64;

/// What a tile holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TileKind {
    /// Nodes of level 8·L.
    Hashes(u8),
    /// Leaves.
    Entries,
    /// Leaves of which some were removed.
    Kept,
}

/// One tile by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TileId {
    /// What it holds.
    pub kind: TileKind,
    /// Its place within its level.
    pub index: u64,
    /// 1 to 256; less than 256 makes it partial.
    pub width: u16,
}

impl TileId {
    /// The whole tile.
    #[must_use]
    pub const fn whole(kind: TileKind, index: u64) -> Self {
        Self { kind, index, width: 256 }
    }

    /// The file's name relative to the log's folder, with `/` between its parts.
    #[must_use]
    pub fn path(&self) -> String {
        let mut out = match self.kind {
            TileKind::Hashes(level) => format!("tile/{level}/"),
            TileKind::Entries => "tile/entries/".to_owned(),
            TileKind::Kept => "tile/kept/".to_owned(),
        };
        let digits = format!("{:03}", self.index);
        let padded = format!("{digits:0>width$}", width = digits.len().div_ceil(3) * 3);
        let groups = padded.len() / 3;
        for (i, group) in padded.as_bytes().chunks(3).enumerate() {
            if i + 1 < groups {
                out.push('x');
            }
            out.extend(group.iter().map(|b| char::from(*b)));
            if i + 1 < groups {
                out.push('/');
            }
        }
        if u64::from(self.width) < TILE_WIDTH {
            out.push_str(&format!(".p/{}", self.width));
        }
        out
    }

    /// The folder that holds this tile's partial forms, relative to the log's folder.
    #[must_use]
    pub fn partial_folder(&self) -> String {
        format!("{}.p", Self { width: 256, ..*self }.path())
    }

    /// Reads a file's name; `None` for anything that [`TileId::path`] does not write.
    #[must_use]
    pub fn parse(path: &str) -> Option<Self> {
        let rest = path.strip_prefix("tile/")?;
        let (kind, rest) = rest.split_once('/')?;
        let kind = match kind {
            "entries" => TileKind::Entries,
            "kept" => TileKind::Kept,
            level => TileKind::Hashes(level.parse().ok().filter(|l| *l <= MAX_TILE_LEVEL)?),
        };
        let (name, width) = match rest.split_once(".p/") {
            Some((name, width)) => (name, width.parse().ok().filter(|w| (1..256).contains(w))?),
            None => (rest, 256),
        };
        let mut index: u64 = 0;
        for group in name.split('/') {
            let digits = group.strip_prefix('x').unwrap_or(group);
            if digits.len() != 3 {
                return None;
            }
            index = index.checked_mul(1000)?.checked_add(digits.parse().ok()?)?;
        }
        let id = Self { kind, index, width };
        let has_form = kind != TileKind::Kept || width == 256;
        (has_form && id.path() == path).then_some(id)
    }

    /// How many nodes of level 8·L (or leaves) come before the end of this tile.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.index.saturating_mul(TILE_WIDTH).saturating_add(u64::from(self.width))
    }
}

/// How many complete nodes of level 8·`level` a tree of `size` leaves has.
#[must_use]
pub const fn nodes_at(level: u8, size: u64) -> u64 {
    if level > MAX_TILE_LEVEL { 0 } else { size >> (8 * level) }
}

/// The tile that node or leaf number `index` of a kind is in, as a tree with `count` of them has it.
#[must_use]
pub fn tile_of(kind: TileKind, index: u64, count: u64) -> TileId {
    let tile = index / TILE_WIDTH;
    let left = count.saturating_sub(tile * TILE_WIDTH).min(TILE_WIDTH);
    TileId { kind, index: tile, width: u16::try_from(left).unwrap_or(256) }
}

/// The partial tiles at the right edge of a tree of `size` leaves.
#[must_use]
pub fn partial_tiles(size: u64) -> Vec<TileId> {
    let mut out = Vec::new();
    let kinds = (0..=MAX_TILE_LEVEL).map(|l| (TileKind::Hashes(l), nodes_at(l, size)));
    for (kind, count) in kinds.chain([(TileKind::Entries, size)]) {
        if count % TILE_WIDTH != 0 {
            out.push(tile_of(kind, count - 1, count));
        }
    }
    out
}

/// Reads at most `limit` bytes of a file; `None` where there is none.
///
/// # Errors
/// What the file system says, and `InvalidData` for a longer file.
pub fn read_limited(path: &Path, limit: usize) -> io::Result<Option<Vec<u8>>> {
    use std::io::Read as _;
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(e) => return Err(e),
    };
    let mut out = Vec::new();
    file.take(u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1)).read_to_end(&mut out)?;
    if out.len() > limit {
        let text = format!("longer than the {limit} bytes that such a file can have");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    Ok(Some(out))
}

/// The same for a file of a log, which is no pipe: to open one would wait for whoever writes into it.
///
/// # Errors
/// As [`read_limited`]; `InvalidInput` for what is no regular file.
pub fn read_regular(path: &Path, limit: usize) -> io::Result<Option<Vec<u8>>> {
    match std::fs::metadata(path) {
        Ok(found) if !found.is_file() => {
            Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"))
        }
        _ => read_limited(path, limit),
    }
}

/// The bytes of a tile as a tree of some size has it: its own file, or the beginning of a wider one that took its place.
/// `None` where neither is there.
///
/// # Errors
/// As [`read_limited`].
pub fn read_tile(dir: &Path, id: TileId) -> io::Result<Option<Vec<u8>>> {
    let limit = match id.kind {
        TileKind::Hashes(_) => MAX_HASH_TILE_BYTES,
        TileKind::Entries | TileKind::Kept => MAX_ENTRY_TILE_BYTES,
    };
    for _ in 0..MAX_LOOKS {
        let wider = wider_partials(dir, id);
        let gone = !wider.is_empty();
        for found in wider.into_iter().chain([TileId { width: 256, ..id }]) {
            if let Some(bytes) = read_regular(&dir.join(found.path()), limit)? {
                let cut = beginning(id, &bytes).map(<[u8]>::to_vec);
                return Ok(Some(cut.unwrap_or(bytes)));
            }
        }
        // What was listed and is not there any more was replaced by something wider meanwhile.
        if !gone {
            break;
        }
    }
    Ok(None)
}

/// The tile itself and its wider partial forms that have a file, narrowest first.
fn wider_partials(dir: &Path, id: TileId) -> Vec<TileId> {
    let folder = id.partial_folder();
    let names = std::fs::read_dir(dir.join(&folder)).into_iter().flatten().flatten();
    let names = names.filter_map(|e| e.file_name().into_string().ok());
    let mut found: Vec<TileId> = names
        .filter_map(|name| TileId::parse(&format!("{folder}/{name}")))
        .filter(|found| found.width >= id.width)
        .collect();
    found.sort_by_key(|found| found.width);
    found
}

/// The part of a tile's bytes that a narrower form of it has; `None` where the bytes end before that.
fn beginning(id: TileId, bytes: &[u8]) -> Option<&[u8]> {
    match id.kind {
        TileKind::Hashes(_) => bytes.get(..usize::from(id.width).checked_mul(32)?),
        TileKind::Entries | TileKind::Kept => {
            let mut all = leaves(bytes);
            let (mut count, mut len) = (0, 0_usize);
            for leaf in all.by_ref().take(usize::from(id.width)) {
                count += 1;
                len = len.checked_add(leaf.len())?.checked_add(2)?;
            }
            bytes.get(..len).filter(|_| count == id.width)
        }
    }
}

/// Hash number `place` of a tile of hashes.
#[must_use]
pub fn hash_at(tile: &[u8], place: u64) -> Option<Hash> {
    let start = usize::try_from(place).ok()?.checked_mul(32)?;
    Hash::from_slice(tile.get(start..start.checked_add(32)?)?)
}

/// The leaves of an entry tile in order, ending early where a length does not fit.
pub fn leaves(tile: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = tile;
    std::iter::from_fn(move || {
        let (len, after) = rest.split_first_chunk::<2>()?;
        let (leaf, after) = after.split_at_checked(usize::from(u16::from_be_bytes(*len)))?;
        rest = after;
        Some(leaf)
    })
}

/// Appends one leaf to an entry tile; an empty one stands for a leaf that was removed.
pub fn push_leaf(tile: &mut Vec<u8>, leaf: &[u8]) {
    // A leaf is at most MAX_LEAF_BYTES long, which a u16 holds.
    let len = u16::try_from(leaf.len()).unwrap_or(u16::MAX);
    tile.extend_from_slice(&len.to_be_bytes());
    tile.extend_from_slice(leaf);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_standard() {
        let name = |kind, index, width| TileId { kind, index, width }.path();
        assert_eq!(name(TileKind::Hashes(0), 0, 256), "tile/0/000");
        assert_eq!(name(TileKind::Hashes(3), 1_234_067, 256), "tile/3/x001/x234/067");
        assert_eq!(name(TileKind::Hashes(1), 999, 8), "tile/1/999.p/8");
        assert_eq!(name(TileKind::Entries, 1000, 255), "tile/entries/x001/000.p/255");
    }

    #[test]
    fn only_names_that_are_written_are_read() {
        for path in ["tile/0/000", "tile/7/x001/x234/067.p/1", "tile/entries/123"] {
            assert_eq!(TileId::parse(path).map(|t| t.path()), Some(path.to_owned()));
        }
        for path in [
            "tile/8/000",
            "tile/00/000",
            "tile/0/x000/001",
            "tile/0/001/002",
            "tile/0/000.p/256",
            "tile/0/000.p/0",
            "tile/0/000.p/01",
            "tile/0/+01",
            "seg/000",
        ] {
            assert_eq!(TileId::parse(path), None, "{path}");
        }
    }

    #[test]
    fn right_edge_of_a_tree() {
        let names = |size| partial_tiles(size).iter().map(TileId::path).collect::<Vec<_>>();
        assert_eq!(names(256), ["tile/1/000.p/1"]);
        assert_eq!(
            names(70_000),
            ["tile/0/273.p/112", "tile/1/001.p/17", "tile/2/000.p/1", "tile/entries/273.p/112"]
        );
        assert_eq!(names(0), [""; 0]);
    }

    #[test]
    fn narrower_form_of_a_tile_is_the_beginning_of_a_wider_one() {
        let folder = tempfile::tempdir().unwrap();
        let id = |kind, width| TileId { kind, index: 0, width };
        let put = |at: TileId, bytes: &[u8]| {
            let path = folder.path().join(at.path());
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        };
        let (hashes, mut entries) = (vec![7; 96], Vec::new());
        ["a", "", "ccc"].iter().for_each(|leaf| push_leaf(&mut entries, leaf.as_bytes()));
        put(id(TileKind::Hashes(0), 3), &hashes);
        put(id(TileKind::Entries, 3), &entries);
        let read = |kind, width| read_tile(folder.path(), id(kind, width)).unwrap();
        assert_eq!(read(TileKind::Hashes(0), 3), Some(hashes.clone()));
        assert_eq!(read(TileKind::Hashes(0), 2), Some(hashes[..64].to_vec()));
        assert_eq!(read(TileKind::Entries, 2), Some(b"\0\x01a\0\0".to_vec()));
        assert_eq!(read(TileKind::Hashes(0), 4), None);
        assert_eq!(read(TileKind::Hashes(1), 1), None);
        put(id(TileKind::Hashes(0), 256), &[8; 256 * 32]);
        assert_eq!(read(TileKind::Hashes(0), 4), Some(vec![8; 128]));
    }

    #[test]
    fn entry_tile_gives_its_leaves_back() {
        let mut tile = Vec::new();
        push_leaf(&mut tile, b"one");
        push_leaf(&mut tile, b"");
        push_leaf(&mut tile, b"three");
        assert_eq!(leaves(&tile).collect::<Vec<_>>(), [&b"one"[..], b"", b"three"]);
        assert_eq!(leaves(&tile[..tile.len() - 1]).count(), 2);
    }
}
