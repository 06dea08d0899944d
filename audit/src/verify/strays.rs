//! Finds the files under a log's folder that belong to nothing.

use std::path::Path;

use crate::segment;
use crate::tile::{TileId, TileKind, nodes_at};
use crate::{checkpoint, state, succession, witnessed};

/// Names that a report lists.
const MAX_STRAYS: usize = 100;
/// Folders below the log's own: `tile/<L>/x…/…` of the largest index.
const MAX_DEPTH: usize = 12;
/// The lock file, which is empty.
pub(super) const LOCK: &str = "lock";

/// The files that the verifier has no place for; `size` is how far the log was verified.
pub(super) fn strays(dir: &Path, size: u64) -> Vec<String> {
    let mut out = Vec::new();
    visit(dir, "", 0, &mut |name| {
        if !belongs(name, size) && out.len() < MAX_STRAYS {
            out.push(name.to_owned());
        }
    });
    out.sort();
    out
}

fn belongs(name: &str, size: u64) -> bool {
    if [checkpoint::FILE, state::FILE, succession::FILE, witnessed::FILE, LOCK].contains(&name) {
        return true;
    }
    if let Some(first) = name.strip_prefix("seg/").and_then(|n| n.strip_suffix(".log")) {
        let first = first.parse().ok();
        return first.is_some_and(|f| segment::SegmentFile::new(Path::new(""), f).name == name);
    }
    TileId::parse(name).is_some_and(|id| {
        let count = match id.kind {
            TileKind::Hashes(level) => nodes_at(level, size),
            TileKind::Entries | TileKind::Kept => size,
        };
        id.end() <= count
    })
}

fn visit(dir: &Path, prefix: &str, depth: usize, each: &mut dyn FnMut(&str)) {
    // A folder that went away meanwhile has nothing to report.
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            if depth < MAX_DEPTH {
                visit(&entry.path(), &format!("{name}/"), depth + 1, each);
            }
        } else {
            each(&name);
        }
    }
}
