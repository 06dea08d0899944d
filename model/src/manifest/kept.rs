//! Manifests of checkpoints on this machine, so that a large model is read once and not at every start.
//!
//! ```text
//! <folder>/<key>.cbor   the manifest's canonical bytes
//! key                   BLAKE3 derive_key("counterfoil v1 kept-manifest", path ‖ for each weights file
//!                       len(path) ‖ path ‖ size ‖ seconds ‖ nanoseconds of its last change), hexadecimal
//! ```
//!
//! Weights that are used where a checkpoint lies are not compared with it again: whoever changes them and sets back their
//! times computes under the name of what was there. Split and fetched shards are compared whenever they are loaded.

use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use counterfoil_spec::ids::Hash;
use counterfoil_spec::limits::MAX_MANIFEST_BYTES;

use super::{Manifest, Progress, wide};
use crate::checkpoint::Checkpoint;
use crate::durable;

/// A folder of manifests.
#[derive(Debug, Clone)]
pub struct KeptManifests {
    folder: PathBuf,
}

impl KeptManifests {
    /// Keeps them in this folder, which is made when it is first written to.
    #[must_use]
    pub fn in_folder(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Gives the checkpoint its manifest: the one that is kept, or one made now and kept.
    ///
    /// That it cannot be kept is no fault of the checkpoint and costs only time at the next start.
    ///
    /// # Errors
    /// What the system said when the manifest could not be kept; the checkpoint has it nevertheless.
    pub fn describe(&self, checkpoint: &Checkpoint, progress: Progress<'_>) -> std::io::Result<()> {
        if checkpoint.is_described() {
            return Ok(());
        }
        let Some(key) = key(checkpoint) else {
            checkpoint.describe(progress);
            return Ok(());
        };
        let path = self.folder.join(format!("{key}.cbor"));
        if let Some(manifest) = read(&path).filter(|kept| fits(kept, checkpoint)) {
            checkpoint.adopt(manifest);
            return Ok(());
        }
        let manifest = checkpoint.describe(progress);
        std::fs::create_dir_all(&self.folder)?;
        durable::write(&path, &manifest.to_bytes())
    }
}

fn read(path: &Path) -> Option<Manifest> {
    let length = std::fs::metadata(path).ok()?.len();
    if length > wide(MAX_MANIFEST_BYTES) {
        return None;
    }
    Manifest::from_bytes(&std::fs::read(path).ok()?).ok()
}

/// Weights are told by the key; configuration and vocabulary are small enough to compare.
fn fits(kept: &Manifest, checkpoint: &Checkpoint) -> bool {
    kept.config() == checkpoint.config() && kept.vocabulary() == checkpoint.vocabulary_files().hash()
}

/// `None` for weights that are no files.
fn key(checkpoint: &Checkpoint) -> Option<Hash> {
    let mut hasher = blake3::Hasher::new_derive_key("counterfoil v1 kept-manifest");
    for (path, size) in checkpoint.files() {
        let path = path.canonicalize().ok()?;
        let changed = std::fs::metadata(&path).ok()?.modified().ok()?;
        let changed = changed.duration_since(UNIX_EPOCH).ok()?;
        let path = path.as_os_str().as_encoded_bytes();
        hasher.update(&wide(path.len()).to_le_bytes());
        hasher.update(path);
        hasher.update(&size.to_le_bytes());
        hasher.update(&changed.as_secs().to_le_bytes());
        hasher.update(&u64::from(changed.subsec_nanos()).to_le_bytes());
    }
    Some(Hash::from_bytes(*hasher.finalize().as_bytes()))
}
