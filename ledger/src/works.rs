//! Receipts on their way from `work` entries to the `inference` entry that names them.

use std::collections::{BTreeMap, HashMap};

use counterfoil_spec::encode::from_canonical;
use counterfoil_spec::ids::{NodeId, Serial};
use counterfoil_spec::limits::MAX_LEAF_BYTES;
use counterfoil_spec::payload::{Inference, Work};
use counterfoil_spec::receipt::ReceiptBody;
use counterfoil_spec::time::Millis;

/// Why the credits of a request do not rest on receipts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WorkError {
    /// A receipt whose bytes are not those of a receipt.
    #[error("a receipt cannot be read")]
    Unreadable,
    /// A work entry that does not stand before the request, or belongs to another one.
    #[error("work {0} is not an earlier entry of this request")]
    NotOfRequest(Serial),
    /// Credits for other forwards than the receipts have.
    #[error("node {node} is credited for {credited} forwards and has receipts for {receipted}")]
    Forwards {
        /// The node.
        node: NodeId,
        /// What the inference entry says.
        credited: u64,
        /// What its receipts say.
        receipted: u64,
    },
    /// Forwards beyond 64 bits.
    #[error("a sum of forwards does not fit its type")]
    Overflow,
}

/// What one node's receipts for one request say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Receipted {
    pub(crate) forwards: u64,
    /// When the last of them was made.
    pub(crate) closed: Millis,
}

/// Whether a receipt comes after the `inference` entry of its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Late {
    Yes,
    No,
}

#[derive(Debug, Clone, Copy)]
struct Pending {
    node: NodeId,
    forwards: u64,
    closed: Millis,
}

/// Receipts of requests that have no `inference` entry yet. One that comes after it is late and earns nothing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Works {
    by_request: HashMap<Serial, Vec<(Serial, Pending)>>,
}

impl Works {
    /// Keeps a receipt until its request ends; `late` says that it has ended.
    pub(crate) fn work(&mut self, serial: Serial, work: &Work, late: Late) -> Result<(), WorkError> {
        let body: ReceiptBody =
            from_canonical(&work.receipt.body, MAX_LEAF_BYTES).map_err(|_| WorkError::Unreadable)?;
        if late == Late::No {
            let pending = Pending { node: body.node, forwards: body.forwards, closed: body.closed };
            self.by_request.entry(work.request).or_default().push((serial, pending));
        }
        Ok(())
    }

    /// The receipts that a request names, by node, with the forwards that its credits must state.
    pub(crate) fn end(
        &mut self,
        request: Serial,
        entry: &Inference,
    ) -> Result<BTreeMap<NodeId, Receipted>, WorkError> {
        let mut pending = self.by_request.remove(&request).unwrap_or_default();
        let mut receipted = BTreeMap::<NodeId, Receipted>::new();
        for serial in &entry.works {
            //= spec/settlement.md#credits
            //# A `work` entry MUST stand before the `inference` entry that names it, and MUST be of the same request
            //# (`UncounteredReceipt`).
            let place = pending.iter().rposition(|(of, _)| of == serial);
            let (_, work) =
                place.map(|at| pending.swap_remove(at)).ok_or(WorkError::NotOfRequest(*serial))?;
            let sum = receipted.entry(work.node).or_insert(Receipted { forwards: 0, closed: work.closed });
            sum.forwards = sum.forwards.checked_add(work.forwards).ok_or(WorkError::Overflow)?;
            sum.closed = sum.closed.max(work.closed);
        }
        //= spec/settlement.md#credits
        //# A credit's forwards MUST be the sum of those in the node's named receipts, and every named receipt with a forward MUST be
        //# credited (`ForwardsMismatch`).
        for credit in &entry.credits {
            let said = receipted.get(&credit.node).map_or(0, |r| r.forwards);
            if said != credit.forwards {
                return Err(WorkError::Forwards {
                    node: credit.node,
                    credited: credit.forwards,
                    receipted: said,
                });
            }
        }
        let uncredited = |node: &NodeId| !entry.credits.iter().any(|c| c.node == *node);
        match receipted.iter().find(|(node, r)| r.forwards > 0 && uncredited(node)) {
            Some((node, r)) => Err(WorkError::Forwards { node: *node, credited: 0, receipted: r.forwards }),
            None => Ok(receipted),
        }
    }
}
