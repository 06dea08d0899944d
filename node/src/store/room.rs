//! The quota of a store: what is counted, and what is removed to make room.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use counterfoil_spec::claims::Range;
use counterfoil_spec::ids::ManifestId;

use super::{Store, StoreFault};

/// What is counted.
#[derive(Debug)]
pub(super) struct Books {
    /// Bytes of all files, and those that room was taken for.
    pub(super) used: u64,
    /// What consent tokens cover.
    pub(super) covered: Vec<Range>,
    /// Whether that is all, or a router has only begun to propose.
    pub(super) coverage: Coverage,
}

/// How far what is covered can be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coverage {
    /// Tokens of an earlier lane may be proposed again, so nothing is removed.
    Unsettled,
    /// What is not covered may be removed.
    Settled,
}

/// Room that was taken and is not used yet; what is not used is given back.
#[derive(Debug)]
pub(super) struct Room {
    store: Arc<Store>,
    left: u64,
}

impl Room {
    pub(super) const fn none(store: Arc<Store>) -> Self {
        Self { store, left: 0 }
    }

    /// Takes room for so many bytes more; what is not covered is removed for it, the oldest first. Blocks.
    pub(super) fn take(&mut self, need: u64) -> Result<(), StoreFault> {
        make(&mut self.store.books(), &self.store.root, need, self.store.max_bytes)?;
        self.left = self.left.saturating_add(need);
        Ok(())
    }

    /// Bytes that were counted are there no longer.
    pub(super) fn give_back(&self, bytes: u64) {
        self.store.uncount(bytes);
    }

    pub(super) const fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Bytes that were taken and not used yet.
    pub(super) const fn left(&self) -> u64 {
        self.left
    }

    /// So many bytes were written.
    pub(super) fn spend(&mut self, bytes: u64) {
        self.left = self.left.saturating_sub(bytes);
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.store.uncount(self.left);
    }
}

/// Bytes of all files below a store's root; none where it is not there yet.
pub(super) fn counted(root: &Path) -> io::Result<u64> {
    let mut sum = 0_u64;
    for folder in entries(root)? {
        for file in entries(&folder)? {
            sum = sum.saturating_add(fs::metadata(&file)?.len());
        }
    }
    Ok(sum)
}

/// Counts so many bytes more, and removes what is not covered until they fit.
pub(super) fn make(books: &mut Books, root: &Path, need: u64, max: u64) -> Result<(), StoreFault> {
    let fits = |books: &Books| books.used.checked_add(need).is_some_and(|sum| sum <= max);
    if !fits(books) {
        let removable = removable(root, books).map_err(|e| StoreFault::io(root, e))?;
        let could = removable.iter().map(|(_, _, bytes)| bytes).sum::<u64>();
        // Nothing is removed where that would not be enough.
        if books.used.saturating_sub(could).checked_add(need).is_some_and(|sum| sum <= max) {
            for (_, path, _) in removable {
                if fits(books) {
                    break;
                }
                tracing::info!(path = %path.display(), "removed to make room: no consent token covers it");
                remove(books, &path);
            }
        }
    }
    if !fits(books) {
        return Err(StoreFault::Quota { need, used: books.used, max });
    }
    books.used += need;
    Ok(())
}

/// Removes what is not covered, the oldest first, until so many bytes are free that were not; says whether any are.
pub(super) fn free(books: &mut Books, root: &Path, need: u64) -> bool {
    let before = books.used;
    for (_, path, _) in removable(root, books).unwrap_or_default() {
        if before - books.used >= need {
            break;
        }
        tracing::info!(path = %path.display(), "removed because the disk is full: no consent token covers it");
        remove(books, &path);
    }
    books.used < before
}

/// Removes a file and counts it no longer.
pub(super) fn remove_file(books: &mut Books, path: &Path) {
    let bytes = fs::metadata(path).map_or(0, |file| file.len());
    if fs::remove_file(path).is_ok() {
        books.used = books.used.saturating_sub(bytes);
    }
}

/// The same, and its model's manifest with the last of its shards.
pub(super) fn remove(books: &mut Books, path: &Path) {
    remove_file(books, path);
    let folder = path.parent().unwrap_or(path);
    let left = entries(folder).unwrap_or_default();
    if left.iter().all(|file| file.file_name().is_some_and(|name| name == super::MANIFEST)) {
        let bytes =
            left.iter().filter_map(|file| fs::metadata(file).ok()).map(|file| file.len()).sum::<u64>();
        // A manifest without shards is fetched again when it is wanted. The folder stays where a part was just begun.
        if left.iter().all(|file| fs::remove_file(file).is_ok()) {
            books.used = books.used.saturating_sub(bytes);
        }
        let _ = fs::remove_dir(folder);
    }
}

/// Shards and parts that no range covers, and manifests without any, the oldest first, with their sizes.
fn removable(root: &Path, books: &Books) -> io::Result<Vec<(SystemTime, PathBuf, u64)>> {
    let mut found = Vec::new();
    if books.coverage == Coverage::Unsettled {
        return Ok(found);
    }
    let covered = &books.covered;
    for folder in entries(root)? {
        let Some(manifest) = name(&folder).and_then(|name| name.parse::<ManifestId>().ok()) else { continue };
        let files = entries(&folder)?;
        if files.iter().all(|file| name(file).and_then(expert_of).is_none())
            && !covered.iter().any(|range| range.manifest == manifest)
        {
            for file in files {
                let about = fs::metadata(&file)?;
                found.push((about.modified()?, file, about.len()));
            }
            continue;
        }
        for file in files {
            let Some((layer, expert)) = name(&file).and_then(expert_of) else { continue };
            if !covered.iter().any(|range| range.contains(&manifest, layer, expert)) {
                let about = fs::metadata(&file)?;
                found.push((about.modified()?, file, about.len()));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The expert whose shard or part has this name.
fn expert_of(name: &str) -> Option<(u32, u32)> {
    let stem = name.strip_suffix(".shard").or_else(|| name.strip_suffix(".part"))?;
    let (layer, expert) = stem.split_once('-')?;
    Some((layer.parse().ok()?, expert.parse().ok()?))
}

fn name(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()
}

fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Ok(all) => all.map(|entry| entry.map(|e| e.path())).collect(),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(Vec::new())
        }
        Err(e) => Err(e),
    }
}
