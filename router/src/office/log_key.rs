//! The keys of the log's heads, as its entries tell.

use std::sync::Arc;

use counterfoil_audit::{LogKeys, NoteSigner};

use super::{Office, OfficeError};
use crate::home::RouterHome;

impl Office {
    /// All of them.
    #[must_use]
    pub fn log_keys(&self) -> Arc<LogKeys> {
        self.log.keys()
    }

    /// The verifier key of the log's heads, the newest that signs.
    #[must_use]
    pub fn log_vkey(&self) -> String {
        self.log.keys().in_use().last().map(|key| key.vkey.to_string()).unwrap_or_default()
    }

    /// Has a key at hand that is to sign.
    pub(crate) fn hold_log_key(&self, signer: NoteSigner) {
        self.log.hold(signer);
    }

    /// Brings a home's files to what the log says: a key that was retired is gone.
    ///
    /// # Errors
    /// [`OfficeError::Home`]; the log goes on, and the next start tries again.
    pub(crate) fn settle_log_key(&self, home: &RouterHome) -> Result<(), OfficeError> {
        let keys = self.log.keys();
        if let (true, [alone]) = (keys.all().len() > 1, &keys.in_use().collect::<Vec<_>>()[..]) {
            home.settle_log_key(alone.vkey.key())?;
            self.log.let_go();
        }
        Ok(())
    }
}
