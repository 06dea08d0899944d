//! Shards on disk: what a node fetched, and what is on its way.
//!
//! ```text
//! shards/<manifest id>/manifest.cbor              the manifest's canonical bytes
//! shards/<manifest id>/<layer>-<expert>.shard     gate ‖ up ‖ down, compared with the manifest
//! shards/<manifest id>/<layer>-<expert>.part      good chunks so far, and perhaps the beginning of one more
//! ```
//!
//! A shard has its name only once all of it is on disk. The whole folder keeps within a quota; what no consent token
//! covers makes room, the oldest first.

mod part;
mod room;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use counterfoil_model::{ExpertRecord, Manifest};
use counterfoil_spec::claims::Range;
use counterfoil_spec::ids::ManifestId;
use counterfoil_spec::limits::MAX_MANIFEST_BYTES;

pub(crate) use part::{Part, TakeError};
use room::{Books, Coverage, Room};

/// Why something could not be kept. Nothing that was good is lost by it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreFault {
    /// The operator's limit.
    #[error(
        "{need} bytes more are needed on disk and {used} of {max} are taken by what consent tokens cover; allow {} with --max-disk, or offer less with --max-memory",
        used.saturating_add(*need)
    )]
    Quota { need: u64, used: u64, max: u64 },
    /// The disk.
    #[error("the disk is full, at {}; what came so far is kept, and goes on once there is room", path.display())]
    Full { path: PathBuf },
    /// Anything else that the system said.
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    /// Another process of this home.
    #[error("{} is being written by another process; stop the other node on this home", path.display())]
    Taken { path: PathBuf },
    /// The manifest.
    #[error("expert {expert} of layer {layer}: every chunk is what the manifest says and the whole is not")]
    Contradiction { layer: u32, expert: u16 },
}

impl StoreFault {
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        let path = path.to_path_buf();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { path },
            _ => Self::Io { path, source },
        }
    }
}

/// One expert of one model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    pub(crate) manifest: ManifestId,
    pub(crate) layer: u32,
    pub(crate) expert: u16,
}

/// The folder of shards under a node's home.
#[derive(Debug)]
pub(crate) struct Store {
    root: PathBuf,
    max_bytes: u64,
    /// Guards what is counted and what is covered; held for arithmetic, and while room is made.
    books: Mutex<Books>,
    /// Guards the list of shards that are being fetched; each has a lock of its own.
    coming: Mutex<BTreeMap<Key, Arc<tokio::sync::Mutex<()>>>>,
}

impl Store {
    /// Opens a home's store, or what will be one, and counts what is there.
    ///
    /// # Errors
    /// [`StoreFault::Io`].
    pub(crate) fn open(home: &Path, max_bytes: u64) -> Result<Self, StoreFault> {
        let root = home.join("shards");
        let used = room::counted(&root).map_err(|e| StoreFault::io(&root, e))?;
        let books = Mutex::new(Books { used, covered: Vec::new(), coverage: Coverage::Unsettled });
        Ok(Self { root, max_bytes, books, coming: Mutex::default() })
    }

    /// Where a model's shards lie.
    pub(crate) fn folder(&self, manifest: &ManifestId) -> PathBuf {
        self.root.join(manifest.to_string())
    }

    /// Where a shard lies, or would.
    pub(crate) fn shard(&self, key: &Key) -> PathBuf {
        self.folder(&key.manifest).join(format!("{}-{}.shard", key.layer, key.expert))
    }

    fn part(&self, key: &Key) -> PathBuf {
        self.folder(&key.manifest).join(format!("{}-{}.part", key.layer, key.expert))
    }

    /// Whether a shard is here as a whole.
    pub(crate) fn has(&self, key: &Key, record: &ExpertRecord) -> bool {
        fs::metadata(self.shard(key)).is_ok_and(|file| file.len() == record.size)
    }

    /// Bytes that are here of a shard, whole or begun.
    pub(crate) fn begun(&self, key: &Key, record: &ExpertRecord) -> u64 {
        if self.has(key, record) {
            return record.size;
        }
        fs::metadata(self.part(key)).map_or(0, |file| file.len().min(record.size))
    }

    /// A manifest that was kept; one that is not what its name says is not believed.
    pub(crate) fn manifest(&self, id: &ManifestId) -> Option<Manifest> {
        let path = self.folder(id).join(MANIFEST);
        let limit = u64::try_from(MAX_MANIFEST_BYTES).unwrap_or(u64::MAX);
        if fs::metadata(&path).ok()?.len() > limit {
            return None;
        }
        let manifest = Manifest::from_bytes(&fs::read(&path).ok()?).ok()?;
        (manifest.id() == *id).then_some(manifest)
    }

    /// Keeps a manifest. Blocks.
    ///
    /// # Errors
    /// [`StoreFault`].
    pub(crate) fn keep_manifest(self: &Arc<Self>, id: &ManifestId, bytes: &[u8]) -> Result<(), StoreFault> {
        let folder = self.folder(id);
        let (part, path) = (folder.join("manifest.part"), folder.join(MANIFEST));
        let mut room = Room::none(Arc::clone(self));
        room.take(u64::try_from(bytes.len()).unwrap_or(u64::MAX))?;
        // What it replaces is counted no longer.
        room::remove_file(&mut self.books(), &path);
        let write = || {
            fs::create_dir_all(&folder)?;
            fs::write(&part, bytes)?;
            File::open(&part)?.sync_all()?;
            fs::rename(&part, &path)?;
            File::open(&folder)?.sync_all()
        };
        let written = write().map_err(|e| StoreFault::io(&path, e));
        if written.is_err() {
            // It was not counted, and what stays of it is when the store is opened again.
            let _ = fs::remove_file(&part);
        } else {
            room.spend(u64::MAX);
        }
        written
    }

    /// Waits until nobody else fetches this shard, and keeps others waiting meanwhile.
    pub(crate) async fn alone(&self, key: Key) -> tokio::sync::OwnedMutexGuard<()> {
        let lock = Arc::clone(self.coming().entry(key).or_default());
        lock.lock_owned().await
    }

    /// Opens what is here of a shard, compared chunk by chunk, with room for the rest. Blocks.
    ///
    /// # Errors
    /// [`StoreFault`].
    pub(crate) fn part_of(self: &Arc<Self>, key: &Key, record: &ExpertRecord) -> Result<Part, StoreFault> {
        let (part, folder) = (self.part(key), self.folder(&key.manifest));
        fs::create_dir_all(&folder).map_err(|e| StoreFault::io(&folder, e))?;
        // One of another length is no shard of this model, and will be replaced.
        room::remove_file(&mut self.books(), &self.shard(key));
        Part::open(part, self.shard(key), record, Room::none(Arc::clone(self)))
    }

    /// Removes a shard that is not what it should be.
    pub(crate) fn discard(&self, path: &Path) {
        room::remove(&mut self.books(), path);
    }

    /// Says what consent tokens cover: the rest may make room, once that is settled.
    pub(crate) fn cover(&self, ranges: Vec<Range>) {
        self.books().covered = ranges;
    }

    /// A router begins to propose: what it proposed before it will propose again, so nothing makes room meanwhile.
    pub(crate) fn unsettle(&self) {
        self.books().coverage = Coverage::Unsettled;
    }

    /// The router has proposed what it wants: what is not covered by now may make room.
    pub(crate) fn settle(&self) {
        self.books().coverage = Coverage::Settled;
    }

    /// Removes what is not covered because the disk is full; says whether anything could be. Blocks.
    fn make_room_on_disk(&self, need: u64) -> bool {
        room::free(&mut self.books(), &self.root, need)
    }

    fn uncount(&self, bytes: u64) {
        let mut books = self.books();
        books.used = books.used.saturating_sub(bytes);
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        // A panic elsewhere leaves at worst a count that is too high.
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn coming(&self) -> MutexGuard<'_, BTreeMap<Key, Arc<tokio::sync::Mutex<()>>>> {
        self.coming.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const MANIFEST: &str = "manifest.cbor";

#[cfg(test)]
mod tests;
