//! A router's log in a folder of its own, and the entries that tests put into it.
#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]

pub mod aged;
pub mod forge;
pub mod frames;
pub mod keys;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use counterfoil_audit::{
    GenesisFacts, LogConfig, LogError, LogOptions, LogWriter, NewEntry, NoteSigner, Opened,
};
use counterfoil_identity::SecretKey;
use counterfoil_spec::entry::Role;
use counterfoil_spec::ids::Serial;
use counterfoil_spec::payload::KeyRevoked;
use counterfoil_spec::time::{Millis, Now};
use tempfile::TempDir;

pub const ORIGIN: &str = "router.example/log";

pub struct Home {
    pub folder: TempDir,
    pub options: LogOptions,
    pub clock: Arc<AtomicU64>,
}

pub fn key(seed: u8) -> Arc<SecretKey> {
    Arc::new(SecretKey::from_seed([seed; 32]))
}

pub fn signer() -> NoteSigner {
    NoteSigner::new(ORIGIN, key(3)).unwrap()
}

impl Home {
    /// Segments that roll after a few entries, checkpoints only when somebody waits for one.
    pub fn new() -> Self {
        let options = LogOptions {
            segment_bytes: 1100,
            publish_every: Duration::from_secs(3600),
            ..LogOptions::default()
        };
        let clock = Arc::new(AtomicU64::new(1_790_000_000_000));
        Self { folder: tempfile::tempdir().unwrap(), options, clock }
    }

    pub fn dir(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    pub fn config(&self) -> LogConfig {
        let root = key(1);
        LogConfig {
            dir: self.dir(),
            net_id: root.public().net_id(),
            author: key(2),
            role: Role::Router,
            note: signer(),
            genesis: GenesisFacts {
                root_spki: root.public().spki_der(),
                next_root_hash: None,
                currency: "USD".to_owned(),
                root: Some(root),
            },
            options: self.options,
        }
    }

    pub fn now(&self) -> Now {
        let clock = self.clock.clone();
        Arc::new(move || Millis(clock.fetch_add(7, Ordering::Relaxed)))
    }

    pub fn open(&self) -> Result<(LogWriter, Opened), LogError> {
        LogWriter::open(self.config(), self.now())
    }
}

pub fn serial(n: u64) -> Serial {
    let mut bytes = [0; 16];
    bytes[8..].copy_from_slice(&n.to_be_bytes());
    Serial::from_bytes(bytes)
}

pub fn entry(n: u64) -> NewEntry {
    NewEntry::new(serial(n), KeyRevoked { key_id: serial(n) })
}

pub fn entries(range: std::ops::Range<u64>) -> Vec<NewEntry> {
    range.map(entry).collect()
}

/// Every file below a folder, by its name relative to it.
pub fn files(dir: &Path) -> Vec<(String, PathBuf)> {
    fn visit(dir: &Path, prefix: &str, out: &mut Vec<(String, PathBuf)>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
            if entry.file_type().unwrap().is_dir() {
                visit(&entry.path(), &format!("{name}/"), out);
            } else {
                out.push((name, entry.path()));
            }
        }
    }
    let mut out = Vec::new();
    visit(dir, "", &mut out);
    out.sort();
    out
}

pub fn copy(from: &Path, to: &Path) {
    for (name, path) in files(from) {
        let target = to.join(name);
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::copy(path, target).unwrap();
    }
}
