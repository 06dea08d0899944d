//! What a log says is removed, and how much of it is, as its entries are read at the start.

use counterfoil_spec::entry::{Body, Leaf};
use counterfoil_spec::payload::{Payload, Prune};

use crate::error::LogError;
use crate::segment;

/// Prunes, and entries of which the hash alone is there.
#[derive(Default)]
pub(crate) struct Gone {
    /// With their indexes.
    pub(crate) prunes: Vec<(u64, Prune)>,
    pub(crate) removed: u64,
}

impl Gone {
    /// Looks at the next entry that is there.
    pub(crate) fn leaf(&mut self, index: u64, kind: u16, leaf: &[u8]) -> Result<(), LogError> {
        if kind == PRUNE
            && let (_, Body { payload: Payload::Prune(prune), .. }) =
                Leaf::read(leaf).map_err(|source| LogError::BadEntry { index, source })?
        {
            self.prunes.push((index, prune));
        }
        Ok(())
    }

    /// How many entries the prunes name.
    pub(crate) fn announced(&self) -> u64 {
        self.prunes.iter().fold(0, |sum, (_, prune)| sum.saturating_add(prune.count()))
    }

    /// The prunes, where they name more than was removed.
    pub(crate) fn unfinished(&mut self) -> Vec<(u64, Prune)> {
        if self.removed < self.announced() { std::mem::take(&mut self.prunes) } else { Vec::new() }
    }

    /// Refuses a log of which more is gone than its prunes name.
    pub(crate) fn check(&self) -> Result<(), LogError> {
        if self.removed <= self.announced() {
            return Ok(());
        }
        let reason = format!("{} entries are gone, and {} were to be", self.removed, self.announced());
        Err(LogError::corrupt(segment::FOLDER, 0, reason))
    }
}

/// The kind, as `spec/registry.json` numbers it.
const PRUNE: u16 = 30;
