//! What a router's log says of its deny list.

use counterfoil_spec::payload::DenyListIssued;
use counterfoil_spec::rule::{Fault, FaultKind, Seen};

use super::ConsentRule;

impl ConsentRule {
    /// Consent that is denied is void from then on, also where a later list says nothing of it.
    pub(super) fn denied(&mut self, seen: &Seen<'_>, entry: &DenyListIssued, faults: &mut Vec<Fault>) {
        let before = self.denied.0;
        if before.checked_add(1) != Some(entry.epoch) {
            let detail = format!("deny list {} after {before}", entry.epoch);
            faults.push(Fault::at(FaultKind::NotMonotonic, seen.index, detail));
        }
        if let Some(fault) = entry.names.fault() {
            faults.push(Fault::at(FaultKind::NonCanonical, seen.index, format!("a deny list has {fault}")));
        }
        for consent in self.consents.values_mut().filter(|c| entry.names.voids(&c.claims)) {
            consent.revoked = consent.revoked.or(Some(seen.body.time));
        }
        self.denied = (entry.epoch, entry.names.clone());
    }
}
