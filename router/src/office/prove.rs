//! Proofs of entries, for whoever they belong to, and heads.

use counterfoil_audit::Succession;
use counterfoil_audit::peer::named_in;
use counterfoil_audit::proof::{self, Proof};
use counterfoil_spec::ids::Serial;

use super::{Books, Office, OfficeError};
use crate::projection::ProjectionError;

impl Office {
    /// Proves entries, each with its leaf, under a checkpoint that covers them. Blocks while one is published.
    ///
    /// # Errors
    /// [`OfficeError`] where no checkpoint can be published, or a tile cannot be read.
    pub(crate) fn prove(&self, indexes: &[u64]) -> Result<Vec<Proof>, OfficeError> {
        if indexes.iter().any(|index| *index >= self.log.published().size) {
            self.log.publish()?;
        }
        let prove = |index: &u64| {
            let leaf = self.books().leaf(*index)?;
            Ok(Proof { leaf: Some(leaf), ..proof::prove(&self.log_folder, *index)? })
        };
        indexes.iter().map(prove).collect()
    }

    /// Waits until everything that is durable is published; gives the checkpoint, the newest key that signed it, and how that came
    /// to be the log's, where it was not from the beginning. Blocks.
    ///
    /// # Errors
    /// What the log says.
    pub(crate) fn own_head(&self) -> Result<(String, String, Option<String>), OfficeError> {
        let note = self.log.publish()?;
        let size = named_in(&note).map_or(0, |head| head.head.size);
        let vkey = self.log.keys().newest_at(size).map(ToString::to_string).unwrap_or_default();
        Ok((note, vkey, self.succession()?.map(|s| s.to_string())))
    }

    /// How the log's keys followed each other, where its key was ever changed.
    ///
    /// # Errors
    /// What the log says.
    pub(crate) fn succession(&self) -> Result<Option<Succession>, OfficeError> {
        Ok(Succession::of_log(&self.log_folder)?)
    }
}

impl Books {
    /// The entry of a receipt.
    ///
    /// # Errors
    /// [`ProjectionError`].
    pub(crate) fn work(&self, receipt: &Serial) -> Result<Option<u64>, ProjectionError> {
        let found = self.projection.as_ref().map_or(Ok(None), |p| p.work_of(receipt))?;
        Ok(found.filter(|index| self.is_there(*index)))
    }
}
