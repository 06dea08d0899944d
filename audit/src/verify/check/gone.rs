//! An entry of which the hash alone is there, on its way through the pass.

use counterfoil_spec::rule::FaultKind;

use super::Pass;
use crate::error::LogError;
use crate::verify::bundles::Here;
use crate::verify::feed::RemovedItem;
use crate::verify::findings::fault;

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
}
