//! What the log's verifier checks of tokens and money.

use std::collections::HashMap;

use counterfoil_spec::ids::{ManifestId, Serial};
use counterfoil_spec::payload::{FinishReason, Inference, ModelPublished, Payload};
use counterfoil_spec::rule::{Fault, FaultKind, Rule, Seen};

use crate::credit::credits;
use crate::fold::Ledger;
use crate::works::{WorkError, Works};

/// Replays a log and names every entry that the ledger, its receipts or its models contradict.
#[derive(Debug)]
pub struct LedgerRule {
    ledger: Ledger,
    works: Works,
    models: HashMap<ManifestId, ForwardsPerPosition>,
}

impl Default for LedgerRule {
    fn default() -> Self {
        Self { ledger: Ledger::of_log_to_verify(), works: Works::default(), models: HashMap::new() }
    }
}

#[derive(Debug, Clone, Copy)]
struct ForwardsPerPosition(u64);

impl LedgerRule {
    /// The state after the entries seen so far.
    #[must_use]
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    fn publish(&mut self, model: &ModelPublished) {
        let layers = u64::try_from(model.moe_layers.len()).unwrap_or(u64::MAX);
        let forwards = layers.saturating_mul(u64::from(model.top_k));
        self.models.insert(model.manifest, ForwardsPerPosition(forwards));
    }

    fn inference(&mut self, index: u64, request: Serial, entry: &Inference, faults: &mut Vec<Fault>) {
        if let Err(error) = self.works.end(request, entry) {
            faults.push(work_fault(index, &error));
        }
        if !matches!(entry.finish, FinishReason::Failed | FinishReason::Crashed) {
            self.forwards(index, entry, faults);
        }
        self.credits(index, entry, faults);
    }

    /// Σ credited forwards + unreceipted = positions × Σ top-k over MoE layers.
    fn forwards(&self, index: u64, entry: &Inference, faults: &mut Vec<Fault>) {
        let Some(model) = self.models.get(&entry.manifest) else {
            let detail = format!("model {} is not published", entry.manifest);
            return faults.push(Fault::at(FaultKind::ForwardsMismatch, index, detail));
        };
        //= spec/settlement.md#credits
        //# Unless the request failed, credited forwards + unreceipted forwards MUST equal positions × top-k × MoE layers of the
        //# published model (`ForwardsMismatch`).
        let needed = u128::from(entry.positions) * u128::from(model.0);
        let credited: u128 = entry.credits.iter().map(|c| u128::from(c.forwards)).sum();
        let stated = credited + u128::from(entry.unreceipted);
        if stated != needed {
            let detail =
                format!("{stated} forwards are stated and {} positions need {needed}", entry.positions);
            faults.push(Fault::at(FaultKind::ForwardsMismatch, index, detail));
        }
    }

    /// The credits are those that the stated forwards give.
    fn credits(&self, index: u64, entry: &Inference, faults: &mut Vec<Fault>) {
        let forwards: Vec<_> = entry.credits.iter().map(|c| (c.node, c.forwards)).collect();
        let tokens = entry.prompt_tokens.checked_add(entry.completion_tokens);
        let charged = tokens.and_then(|t| self.ledger.charge(&entry.manifest, t, entry.started));
        match charged.map(|charged| credits(charged, &forwards)) {
            Some(Ok(due)) if due == entry.credits => {}
            Some(Ok(_)) => {
                let detail = "credits are not the request's tokens shared by forwards";
                faults.push(Fault::at(FaultKind::ConservationViolated, index, detail));
            }
            Some(Err(error)) => {
                faults.push(Fault::at(FaultKind::SumOverflow, index, error.to_string()));
            }
            // The ledger refuses such an entry with the fault that this would be.
            None => {}
        }
    }
}

impl Rule for LedgerRule {
    fn entry(&mut self, seen: &Seen<'_>, faults: &mut Vec<Fault>) {
        let before = faults.len();
        match &seen.body.payload {
            Payload::ModelPublished(model) => self.publish(model),
            Payload::Work(work) => {
                if let Err(error) =
                    self.works.work(seen.body.serial, work, self.ledger.lateness(&work.request))
                {
                    faults.push(work_fault(seen.index, &error));
                }
            }
            Payload::Inference(entry) => self.inference(seen.index, seen.body.serial, entry, faults),
            _ => {}
        }
        // The verifier hands over no leaf that it could not read; what follows is still looked at.
        self.ledger.applied = self.ledger.applied.max(seen.index);
        let Err(error) = self.ledger.apply(seen.index, seen.body) else {
            return;
        };
        // One finding of a kind per entry is enough.
        let named = |kind| faults.iter().skip(before).any(|f: &Fault| f.kind == kind);
        if let Some(kind) = error.fault().filter(|kind| !named(*kind)) {
            faults.push(Fault::at(kind, seen.index, error.to_string()));
        }
    }

    fn finish(&mut self, _faults: &mut Vec<Fault>) {}
}

fn work_fault(index: u64, error: &WorkError) -> Fault {
    let kind = match error {
        WorkError::Unreadable => FaultKind::NonCanonical,
        WorkError::NotOfRequest(_) => FaultKind::UncounteredReceipt,
        WorkError::Forwards { .. } => FaultKind::ForwardsMismatch,
        WorkError::Overflow => FaultKind::SumOverflow,
    };
    Fault::at(kind, index, error.to_string())
}
