//! A request's `inference` beside the `work` that it names.

use std::collections::HashMap;

use counterfoil_spec::country::Country;
use counterfoil_spec::ids::{NodeId, Serial};
use counterfoil_spec::payload::{Inference, Work};
use counterfoil_spec::receipt::ReceiptBody;
use counterfoil_spec::rule::{Fault, FaultKind, Seen};

use super::ConsentRule;

/// Work that no inference has named yet.
#[derive(Debug)]
pub(super) struct Worked {
    request: Serial,
    node: NodeId,
    forwards: u64,
    cti: Serial,
}

/// An inference that names work which has not come.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    /// Its index.
    pub(super) index: u64,
    request: Serial,
    country: Option<Country>,
}

impl ConsentRule {
    pub(super) fn note_work(
        &mut self,
        seen: &Seen<'_>,
        work: &Work,
        body: &ReceiptBody,
        faults: &mut Vec<Fault>,
    ) {
        match self.awaited.remove(&seen.body.serial) {
            Some(asked) if asked.request != work.request => {
                let detail =
                    format!("request {} names this work, which is of {}", asked.request, work.request);
                faults.push(Fault::at(FaultKind::WrongParty, seen.index, detail));
            }
            Some(asked) => faults.extend(self.not_allowed(asked, body.cti)),
            None => {
                let Work { request, .. } = *work;
                let worked = Worked { request, node: body.node, forwards: body.forwards, cti: body.cti };
                self.works.insert(seen.body.serial, worked);
            }
        }
    }

    pub(super) fn inferred(&mut self, seen: &Seen<'_>, entry: &Inference, faults: &mut Vec<Fault>) {
        let country = self.origins.of(entry);
        let asked = Asked { index: seen.index, request: seen.body.serial, country };
        let mut receipted: HashMap<NodeId, u64> = HashMap::new();
        let mut complete = true;
        for serial in &entry.works {
            match self.works.remove(serial) {
                Some(worked) if worked.request == asked.request => {
                    let sum = receipted.entry(worked.node).or_default();
                    *sum = sum.saturating_add(worked.forwards);
                    faults.extend(self.not_allowed(asked, worked.cti));
                }
                Some(worked) => {
                    let detail = format!("work {serial} is of request {}", worked.request);
                    faults.push(Fault::at(FaultKind::WrongParty, seen.index, detail));
                }
                None => {
                    complete = false;
                    self.awaited.insert(*serial, asked);
                }
            }
        }
        for credit in entry.credits.iter().filter(|_| complete) {
            let have = receipted.get(&credit.node).copied().unwrap_or(0);
            if credit.forwards > have {
                let detail = format!(
                    "{} is credited with {} forwards, receipts show {have}",
                    credit.node, credit.forwards
                );
                faults.push(Fault::at(FaultKind::UncounteredReceipt, seen.index, detail));
            }
        }
    }

    /// A caller whom the consent of a work does not allow.
    fn not_allowed(&self, asked: Asked, cti: Serial) -> Option<Fault> {
        // Work without a consent has a fault of its own.
        let callers = &self.consents.get(&cti)?.claims.callers;
        if callers.allow(asked.country) {
            return None;
        }
        let from = asked.country.map_or("an unknown country".to_owned(), |country| country.to_string());
        let allowed = callers.countries.join(", ");
        let detail = format!("for a caller from {from}, where consent {cti} allows {allowed}");
        Some(Fault::at(FaultKind::OverGrant, asked.index, detail))
    }
}
