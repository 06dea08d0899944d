//! How much a log can still grow.

use std::path::Path;

use crate::error::LogError;

/// Bytes that a process without privileges may still write to the disk that a log's folder is on.
///
/// # Errors
/// Where the file system does not say.
pub fn free_bytes(dir: &Path) -> Result<u64, LogError> {
    let disk =
        rustix::fs::statvfs(dir).map_err(|e| LogError::store("ask for the space of", dir)(e.into()))?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_that_is_not_there_has_no_room_to_tell_of() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("log");
        assert!(matches!(free_bytes(&missing), Err(LogError::Store { op: "ask for the space of", .. })));
        assert!(free_bytes(folder.path()).unwrap() > 0);
    }
}
