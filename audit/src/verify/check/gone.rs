//! Entries that are not there, or of which the hash alone is, on their way through the pass.

use std::ops::Range;

use counterfoil_spec::rule::FaultKind;

use super::Pass;
use crate::error::LogError;
use crate::verify::bundles::Here;
use crate::verify::feed::RemovedItem;
use crate::verify::findings::{Findings, fault};

impl Pass<'_, '_> {
    /// An entry that was removed: its hash goes into the tree as the leaf's would.
    pub(super) fn removed(&mut self, item: &RemovedItem) -> Result<(), LogError> {
        let expected = self.tree.expected(item.index, &mut self.findings)?;
        let Some(hash) = item.hash.or(expected) else {
            self.entries.lose();
            self.bundle(Here::Lost, None)?;
            return self.tree.lose(item.index + 1, &mut self.findings);
        };
        self.tree.push(hash, expected, item.segment, &mut self.findings)?;
        self.bundle(Here::Removed, expected)?;
        if !item.intact {
            let detail = format!("byte {}: the removed entry's checksum is wrong", item.offset);
            let name = self.name(item.segment);
            self.findings.push(fault(FaultKind::Corrupt, Some(item.index), &name, detail));
        }
        self.entries.remove();
        // Where the two differ that is said of the leaf, and not of the prune as well.
        self.missing.add(item.index, &expected.unwrap_or(hash))
    }
    /// Entries that no segment gives: their hashes come from the tiles.
    pub(super) fn lost(&mut self, indexes: Range<u64>) -> Result<(), LogError> {
        self.entries.lose();
        for index in indexes.clone() {
            // Where not even a hash is left, how many more are lost is only what somebody wrote into a frame.
            if self.tree.broken() {
                if let Some(bundles) = &mut self.bundles {
                    bundles.skip(indexes.end);
                }
                return Ok(());
            }
            let expected = self.tree.expected(index, &mut self.findings)?;
            self.bundle(Here::Lost, expected)?;
            self.tree.lose(index + 1, &mut self.findings)?;
        }
        Ok(())
    }
}

/// No log is called faultless of which an entry was not read.
pub(super) fn unread(read: u64, committed: u64, findings: &mut Findings) {
    if findings.faults.is_empty() && read < committed {
        let detail = format!("{read} of {committed} committed entries could be read");
        findings.file(FaultKind::Corrupt, crate::segment::FOLDER, detail);
    }
}
