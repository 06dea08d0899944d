//! The newest checkpoint that a quorum of witnesses has cosigned, kept beside the log's newest head.
//!
//! ```text
//! witnessed    a checkpoint: the log's signature line, then one cosignature line for each witness
//! ```
//!
//! The log goes on signing heads while witnesses are asked, so its newest head is seldom the one that they have seen.

use std::path::Path;

use crate::disk::LocalDisk;
use crate::error::LogError;
use crate::store::{Replace, replace};

/// The file's name, relative to the log's folder.
pub const FILE: &str = "witnessed";

/// Puts a cosigned checkpoint into place; after a power cut it is the old or the new one.
///
/// # Errors
/// `Store`, `DiskFull`, `DurabilityLost`: the file was not replaced, the log is not concerned.
pub fn keep(dir: &Path, note: &str) -> Result<(), LogError> {
    replace(&LocalDisk, &dir.join(FILE), note.as_bytes(), Replace::Ordered)
}
