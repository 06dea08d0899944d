//! Where the files of a log are: in its folder, or as they were published, somewhere else.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use counterfoil_spec::entry::{Body, Leaf};

use crate::checkpoint::{self, Checkpoint};
use crate::error::LogError;
use crate::note::{MAX_NOTE_BYTES, Note};
use crate::tile::{
    MAX_ENTRY_TILE_BYTES, TILE_WIDTH, TileId, TileKind, leaves, read_regular, read_tile, tile_of,
};

/// The published files of a log: `checkpoint`, `witnessed`, `tile/…`.
pub trait Published: Send + Sync {
    /// One file by its name; `None` where there is none.
    ///
    /// # Errors
    /// `InvalidData` for one that is longer than `limit`, and what stands in the way else.
    fn read(&self, name: &str, limit: usize) -> io::Result<Option<Vec<u8>>>;

    /// What to call the whole in words.
    fn name(&self) -> String;

    /// Says that these will be asked for soon, in this order.
    fn expect(&self, _names: &[String]) {}
}

/// Published files, shared.
#[derive(Clone)]
pub struct Shared(pub Arc<dyn Published>);

impl Shared {
    /// One entry, unverified; `None` where it cannot be read.
    #[must_use]
    pub fn entry(&self, index: u64) -> Option<Body> {
        let size = self.size()?;
        let read = |kind| self.0.read(&tile_of(kind, index, size).path(), MAX_ENTRY_TILE_BYTES).ok()?;
        let bytes = read(TileKind::Entries).or_else(|| read(TileKind::Kept))?;
        let leaf = leaves(&bytes).nth(usize::try_from(index % TILE_WIDTH).ok()?)?;
        Leaf::read(leaf).ok().map(|(_, body)| body)
    }

    /// How many entries the checkpoint covers, as it says.
    fn size(&self) -> Option<u64> {
        let note = self.0.read(checkpoint::FILE, MAX_NOTE_BYTES).ok()??;
        Some(Checkpoint::parse(&Note::parse(&note).ok()?.text).ok()?.head.size)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shared({})", self.0.name())
    }
}

/// A folder that has the published files and no segments.
#[derive(Debug, Clone)]
pub struct PublishedFolder(pub PathBuf);

impl Published for PublishedFolder {
    fn read(&self, name: &str, limit: usize) -> io::Result<Option<Vec<u8>>> {
        match (read_regular(&self.0.join(name), limit)?, TileId::parse(name)) {
            // A wider one may have taken its place.
            (None, Some(id)) => read_tile(&self.0, id),
            (found, _) => Ok(found),
        }
    }

    fn name(&self) -> String {
        self.0.display().to_string()
    }
}

/// Either of the two.
#[derive(Debug, Clone)]
pub(crate) enum Files {
    Folder(PathBuf),
    Published(Shared),
}

impl Files {
    pub(crate) fn read(&self, name: &str, limit: usize) -> io::Result<Option<Vec<u8>>> {
        match self {
            Self::Folder(dir) => read_regular(&dir.join(name), limit),
            Self::Published(files) => files.0.read(name, limit),
        }
    }

    /// All forms of one tile, narrowest first; of published files the one that a tree with `count` nodes has.
    pub(crate) fn tile(
        &self,
        (kind, index): (TileKind, u64),
        count: u64,
        limit: usize,
    ) -> Result<Vec<(TileId, Vec<u8>)>, LogError> {
        let files = match self {
            Self::Folder(dir) => return tile_files(dir, kind, index, limit),
            Self::Published(files) => files,
        };
        let id = tile_of(kind, index.saturating_mul(TILE_WIDTH), count);
        // Entries are removed by 256.
        if id.width == 0 || (kind == TileKind::Kept && u64::from(id.width) < TILE_WIDTH) {
            return Ok(Vec::new());
        }
        match files.0.read(&id.path(), limit) {
            Ok(bytes) => Ok(bytes.map(|bytes| (id, bytes)).into_iter().collect()),
            // Too long to be a tile; an empty one has the wrong length just the same.
            Err(e) if e.kind() == io::ErrorKind::InvalidData => Ok(vec![(id, Vec::new())]),
            Err(e) => Err(self.refused(&id.path(), e)),
        }
    }

    /// A tile as a tree of some size has it.
    pub(crate) fn tree_tile(&self, id: TileId, limit: usize) -> io::Result<Option<Vec<u8>>> {
        match self {
            Self::Folder(dir) => read_tile(dir, id),
            Self::Published(files) => files.0.read(&id.path(), limit),
        }
    }

    pub(crate) fn refused(&self, name: &str, e: io::Error) -> LogError {
        let path = match self {
            Self::Folder(dir) => dir.join(name),
            Self::Published(files) => Path::new(&files.0.name()).join(name),
        };
        LogError::store("read", &path)(e)
    }

    /// The folder, where it is one.
    pub(crate) fn folder(&self) -> Option<&Path> {
        match self {
            Self::Folder(dir) => Some(dir),
            Self::Published(_) => None,
        }
    }
}

/// All files of one tile, narrowest first. A file that is replaced by a wider one meanwhile is looked for again.
fn tile_files(
    dir: &Path,
    kind: TileKind,
    index: u64,
    limit: usize,
) -> Result<Vec<(TileId, Vec<u8>)>, LogError> {
    let whole = TileId::whole(kind, index);
    let folder = dir.join(whole.partial_folder());
    loop {
        let mut out = Vec::new();
        let mut vanished = false;
        let mut ids = Vec::new();
        match std::fs::read_dir(&folder) {
            Ok(entries) => {
                let names = entries.flatten().filter_map(|e| e.file_name().into_string().ok());
                ids.extend(names.filter_map(|n| TileId::parse(&format!("{}/{n}", whole.partial_folder()))));
            }
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
            Err(e) => return Err(LogError::store("list", &folder)(e)),
        }
        ids.sort_by_key(|id| id.width);
        ids.push(whole);
        for id in ids {
            let path = dir.join(id.path());
            match read_regular(&path, limit) {
                Ok(Some(bytes)) => out.push((id, bytes)),
                Ok(None) => vanished |= id != whole,
                // Too long to be a tile; an empty one has the wrong length just the same.
                Err(e) if e.kind() == io::ErrorKind::InvalidData => out.push((id, Vec::new())),
                Err(e) => return Err(LogError::store("read", &path)(e)),
            }
        }
        if !vanished {
            return Ok(out);
        }
    }
}
