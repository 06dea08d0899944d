//! Fuzz targets for everything that is read from files of a model.
//!
//! A target gives one file of a model to the crate as a stranger would, on disk, and goes as far as that file lets it:
//! nothing may panic, and memory is bounded by libFuzzer's `-rss_limit_mb`. `.ci/fuzz.sh` builds and runs them.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use counterfoil_model::{Checkpoint, Decoder, ExpertBank};

/// A folder of this process, in memory where the system has such a place.
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    let made = FOLDER.get_or_init(|| {
        let shm = Path::new("/dev/shm");
        let within = if shm.is_dir() { shm.to_path_buf() } else { std::env::temp_dir() };
        tempfile::tempdir_in(within).expect("a temporary folder")
    });
    made.path()
}

/// Writes one file into the folder.
pub fn put(name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder().join(name);
    std::fs::write(&path, bytes).expect("a file in the temporary folder");
    path
}

/// Opens a checkpoint and loads all of it; any refusal is as good as success.
pub fn load(path: &Path) {
    let Ok(checkpoint) = Checkpoint::open(path) else { return };
    let _ = checkpoint.vocabulary().map(|vocabulary| vocabulary.encode("a Counterfoil, 1234 🎟"));
    let _ = Decoder::load(&checkpoint).map(|decoder| decoder.weight_bytes());
    let _ = ExpertBank::load(&checkpoint, checkpoint.config().all_experts().take(4));
}
