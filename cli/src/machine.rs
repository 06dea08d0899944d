//! What this machine has to give: memory and disk.

use std::path::{Path, PathBuf};

use crate::exit::Failure;
use crate::size::ByteSize;

/// What is free at this moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Machine {
    /// Memory that programs can have without swapping; `None` where the system does not say.
    pub(crate) memory: Option<u64>,
    /// The nearest folder to the home that is there, and what is free on its disk.
    pub(crate) disk: (PathBuf, u64),
}

impl Machine {
    /// Looks.
    pub(crate) fn look(home: &Path) -> Result<Self, Failure> {
        let folder = home.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("/")).to_path_buf();
        let disk = rustix::fs::statvfs(&folder).map_err(|e| {
            Failure::store(anyhow::anyhow!("cannot see how full the disk of {} is: {e}", folder.display()))
        })?;
        Ok(Self { memory: available_memory(), disk: (folder, disk.f_bavail.saturating_mul(disk.f_frsize)) })
    }
}

/// What each of so many nodes on this machine holds at most where nobody says: an equal share of the memory that is
/// available now, and never more than half of it.
pub(crate) fn share_of_memory(nodes: u32) -> Result<ByteSize, Failure> {
    available_memory().map(|bytes| ByteSize(bytes / u64::from(nodes.max(2)))).ok_or_else(|| {
        Failure::wrong_use(
            "this system does not say how much memory is available; say how much may be used with --max-memory, such as 8GB",
        )
    })
}

/// Memory that programs can have without swapping, within the limit of this process's control group.
pub(crate) fn available_memory() -> Option<u64> {
    let available = if cfg!(target_os = "macos") {
        let said = std::process::Command::new("vm_stat").output().ok()?;
        of_vm_stat(&String::from_utf8_lossy(&said.stdout))?
    } else {
        of_meminfo(&std::fs::read_to_string("/proc/meminfo").ok()?)?
    };
    // A container sees the machine's memory, and is ended where it uses more than its own.
    let limit = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    let limit = limit.and_then(|limit| limit.trim().parse().ok()).unwrap_or(u64::MAX);
    Some(available.min(limit))
}

/// `MemAvailable:  8012345 kB` of Linux; its kB are 1024 bytes.
fn of_meminfo(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim_end().parse::<u64>().ok()?.checked_mul(1024)
}

/// Pages that macOS gives away without writing any: free, inactive and speculative ones.
fn of_vm_stat(text: &str) -> Option<u64> {
    let page: u64 = text.split_once("page size of ")?.1.split_whitespace().next()?.parse().ok()?;
    let pages = |name: &str| -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().trim_end_matches('.').parse().ok()
    };
    let all = ["Pages free", "Pages inactive", "Pages speculative"];
    let pages = all.into_iter().try_fold(0_u64, |sum, name| sum.checked_add(pages(name)?))?;
    pages.checked_mul(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_linux_is_what_is_available() {
        let text = "MemTotal:       24605776 kB\nMemFree:         1000 kB\nMemAvailable:    8012345 kB\n";
        assert_eq!(of_meminfo(text), Some(8_012_345 * 1024));
        assert_eq!(of_meminfo("MemTotal:       24605776 kB\n"), None);
        assert_eq!(of_meminfo("MemAvailable:   many kB\n"), None);
    }

    #[test]
    fn memory_of_macos_is_what_is_given_away() {
        let text = "Mach Virtual Memory Statistics: (page size of 16384 bytes)\nPages free:                  100.\n\
                    Pages active:                900.\nPages inactive:               20.\nPages speculative:             3.\n";
        assert_eq!(of_vm_stat(text), Some(123 * 16_384));
        assert_eq!(of_vm_stat("Pages free: 100.\n"), None);
    }

    #[test]
    fn the_disk_of_a_home_that_is_not_there_yet_is_its_parents() {
        let home = tempfile::tempdir().unwrap();
        let machine = Machine::look(&home.path().join("not/yet")).unwrap();
        assert_eq!(machine.disk.0, home.path());
    }
}
