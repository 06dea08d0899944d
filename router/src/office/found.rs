//! What a log says before anything else happens: its rules, and the issuing CA of the home.

use counterfoil_spec::payload::{CaIssued, KeyRotation, RotatedKey};

use super::{Office, OfficeError, entry};
use crate::home::RouterHome;

impl Office {
    /// Writes what a new log must say, and a CA that the log does not know yet.
    pub(super) fn found(&self, home: &RouterHome) -> Result<(), OfficeError> {
        let mut entries = Vec::new();
        if self.opened.fresh {
            entries.push(entry(counterfoil_ledger::founding_rules(1)));
        }
        let (ca, books, now) = (home.ca(), self.books(), self.now().seconds());
        let cas = books.roster.cas();
        let (is_known, other) = (cas.find(&ca.serial()).is_some(), cas.in_use().map(|known| known.ca.serial));
        // One that left its place is not put back by files from a backup; `authority::begin` says so.
        let may_stand =
            if is_known { cas.may_rotate(&ca.serial(), now) } else { cas.may_announce(&ca.issued(), now) };
        if !is_known && may_stand.is_ok() {
            entries.push(entry(CaIssued { certificate: ca.der().to_vec(), not_after: ca.not_after() }));
        }
        // Another is in use there: this one took its place here, and the log did not come to say so.
        if may_stand.is_ok() && other.is_some_and(|other| other != ca.serial()) {
            let rotation = KeyRotation { of: RotatedKey::IssuingCa, successor: ca.der().to_vec() };
            entries.push(entry(rotation));
        }
        drop(books);
        if !entries.is_empty() {
            self.append_blocking(entries)?;
        }
        Ok(())
    }
}
