//! A large model is hashed once, and again when a byte of it may be another.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use counterfoil_model::{Checkpoint, KeptManifests};
use tempfile::TempDir;

/// A copy of a fixture, and a folder for its manifests.
struct Scene(TempDir);

impl Scene {
    fn new() -> Self {
        let scene = Self(TempDir::new().unwrap());
        std::fs::create_dir(scene.0.path().join("model")).unwrap();
        for name in ["config.json", "model.safetensors"] {
            let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tiny-mixtral").join(name);
            std::fs::write(scene.0.path().join("model").join(name), std::fs::read(from).unwrap()).unwrap();
        }
        scene
    }

    fn change(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let path = self.0.path().join("model").join(name);
        let mut bytes = std::fs::read(&path).unwrap();
        change(&mut bytes);
        // Another file in its place, so that its time is another on file systems with coarse ones too.
        let before = std::fs::metadata(&path).unwrap().modified().unwrap();
        std::fs::write(&path, bytes).unwrap();
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(before + std::time::Duration::from_secs(1)).unwrap();
    }

    /// Opens it and says how many bytes were hashed.
    fn hashed(&self) -> (Checkpoint, u64) {
        let checkpoint = Checkpoint::open(&self.0.path().join("model")).unwrap();
        let hashed = AtomicU64::new(0);
        let kept = KeptManifests::in_folder(self.0.path().join("manifests"));
        kept.describe(&checkpoint, &|done, _| {
            hashed.fetch_max(done, Ordering::Relaxed);
        })
        .unwrap();
        assert!(checkpoint.is_described());
        (checkpoint, hashed.into_inner())
    }
}

#[test]
fn the_second_start_reads_nothing() {
    let scene = Scene::new();
    let ((first, read), (second, again)) = (scene.hashed(), scene.hashed());
    assert!(read > first.manifest().shard_bytes());
    assert_eq!((second.manifest_id(), again), (first.manifest_id(), 0));
}

#[test]
fn other_weights_are_hashed_again() {
    let scene = Scene::new();
    let (before, _) = scene.hashed();
    scene.change("model.safetensors", |bytes| *bytes.last_mut().unwrap() ^= 1);
    let (after, read) = scene.hashed();
    assert_ne!(after.manifest_id(), before.manifest_id());
    assert!(read > 0);
}

#[test]
fn another_configuration_is_another_model_with_the_same_weights() {
    let scene = Scene::new();
    let (before, _) = scene.hashed();
    scene.change("config.json", |text| {
        let changed = String::from_utf8(text.clone()).unwrap().replace("1e-05", "1e-06");
        assert_ne!(changed.as_bytes(), text.as_slice());
        *text = changed.into_bytes();
    });
    assert_ne!(scene.hashed().0.manifest_id(), before.manifest_id());
}

#[test]
fn a_kept_manifest_that_was_spoiled_is_made_again() {
    let scene = Scene::new();
    let (before, _) = scene.hashed();
    let folder = std::fs::read_dir(scene.0.path().join("manifests")).unwrap();
    for file in folder.map(|entry| entry.unwrap().path()) {
        std::fs::write(file, "no manifest").unwrap();
    }
    let (after, read) = scene.hashed();
    assert_eq!(after.manifest_id(), before.manifest_id());
    assert!(read > 0);
}
