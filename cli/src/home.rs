//! Where a home lies, what runs on it, and its lock.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::exit::Failure;

/// The home that a command works on.
pub(crate) fn locate(flag: Option<&Path>) -> Result<PathBuf, Failure> {
    if let Some(path) = flag {
        return std::path::absolute(path).map_err(Failure::store);
    }
    let from = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let base = if cfg!(target_os = "macos") {
        from("HOME").map(|h| h.join("Library/Application Support"))
    } else {
        from("XDG_DATA_HOME").or_else(|| from("HOME").map(|h| h.join(".local/share")))
    };
    base.map(|b| b.join("counterfoil")).ok_or_else(|| {
        Failure::wrong_use("neither --home nor $HOME says where to keep things; pass --home DIR")
    })
}

/// What `run` and `router` write for the other commands while they are up.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Running {
    /// The process to interrupt.
    pub(crate) pid: u32,
    /// Where clients connect.
    pub(crate) url: String,
    /// The router's process.
    pub(crate) router_pid: u32,
    /// Local nodes, under `run`.
    pub(crate) nodes: Vec<RunningNode>,
}

/// A local node under `run`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RunningNode {
    /// Its number, from 1.
    pub(crate) number: u32,
    /// Its process.
    pub(crate) pid: u32,
    /// Its id.
    pub(crate) node_id: String,
}

fn running_path(home: &Path) -> PathBuf {
    home.join("run/state.json")
}

impl Running {
    /// What runs on a home, as it last said itself.
    pub(crate) fn read(home: &Path) -> Option<Self> {
        let bytes = std::fs::read(running_path(home)).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Tells the other commands.
    pub(crate) fn write(&self, home: &Path) -> Result<(), Failure> {
        let path = running_path(home);
        let fresh = path.with_extension("new");
        std::fs::create_dir_all(home.join("run"))?;
        let text = serde_json::to_vec_pretty(self).map_err(Failure::store)?;
        std::fs::write(&fresh, text)?;
        std::fs::rename(&fresh, &path)?;
        Ok(())
    }

    /// Nothing runs any more.
    pub(crate) fn clear(home: &Path) {
        let _ = std::fs::remove_file(running_path(home));
    }
}

/// Held while a `run` owns a home; the system releases it when the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct HomeLock {
    _file: File,
}

impl HomeLock {
    /// Takes the lock.
    pub(crate) fn take(home: &Path) -> Result<Self, Failure> {
        let folder = home.join("run");
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(|e| {
            Failure::store(anyhow::anyhow!(
                "cannot make {}: {e}; choose another folder with --home",
                folder.display()
            ))
        })?;
        let path = folder.join("lock");
        let file =
            OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(
                |e| {
                    Failure::store(anyhow::anyhow!(
                        "cannot open {}: {e}; choose another folder with --home",
                        path.display()
                    ))
                },
            )?;
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { _file: file }),
            Err(e) if e == rustix::io::Errno::WOULDBLOCK => {
                let by = Running::read(home)
                    .map(|r| format!(" (process {}, {})", r.pid, r.url))
                    .unwrap_or_default();
                Err(Failure::store(anyhow::anyhow!(
                    "another counterfoil already runs on {}{by}; stop it, or choose another folder with --home",
                    home.display()
                )))
            }
            Err(e) => Err(Failure::store(anyhow::anyhow!("cannot lock {}: {e}", path.display()))),
        }
    }
}
