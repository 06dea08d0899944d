//! A folder that looks like a model's, of which the fuzzer writes one file.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use counterfoil_model::{Checkpoint, Decoder, ExpertBank};

/// A folder of this process, in the system's temporary one, which the script that starts it cleans up.
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    FOLDER.get_or_init(|| tempfile::tempdir().expect("a temporary folder")).path()
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
