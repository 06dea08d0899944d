//! Collects faults, up to a bound.

use counterfoil_spec::rule::{Fault, FaultKind};

/// Faults that a report lists; more are counted.
pub const MAX_FAULTS: usize = 1000;

#[derive(Default)]
pub(super) struct Findings {
    pub(super) faults: Vec<Fault>,
    pub(super) left_out: u64,
}

impl Findings {
    pub(super) fn push(&mut self, fault: Fault) {
        if self.faults.len() < MAX_FAULTS {
            self.faults.push(fault);
        } else {
            self.left_out += 1;
        }
    }

    pub(super) fn entry(&mut self, kind: FaultKind, index: u64, detail: impl Into<String>) {
        self.push(Fault::at(kind, index, detail));
    }

    pub(super) fn file(&mut self, kind: FaultKind, file: &str, detail: impl Into<String>) {
        self.push(fault(kind, None, file, detail));
    }

    /// By index; of one entry first that it is not the one of the tree, which the rest may follow from.
    pub(super) fn sort(&mut self) {
        self.faults.sort_by_key(|f| (f.index.unwrap_or(u64::MAX), f.kind != FaultKind::LeafHashMismatch));
    }

    pub(super) fn extend(&mut self, faults: impl IntoIterator<Item = Fault>) {
        for fault in faults {
            self.push(fault);
        }
    }
}

pub(super) fn fault(kind: FaultKind, index: Option<u64>, file: &str, detail: impl Into<String>) -> Fault {
    Fault { kind, index, file: Some(file.to_owned()), detail: detail.into() }
}
