//! Receipts on a lane: signed, kept, sent, sent again, and logged once both halves are there.

use counterfoil_audit::NewEntry;
use counterfoil_audit::cost::evidence;
use counterfoil_consent::{accept_ack, sign_receipt};
use counterfoil_identity::SignFault;
use counterfoil_session::lane::EARLIER_LANE;
use counterfoil_spec::message::{NodeMessage, NodeReceipt, ReceiptAck};
use counterfoil_spec::payload::Work as WorkEntry;
use counterfoil_spec::refusal::Refusal;

use super::{Service, Step};
use crate::unsettled::{Half, remove};
use crate::work::Due;

/// Why a receipt is not there to be sent.
#[derive(Debug, thiserror::Error)]
enum Unkept {
    /// The identity key did not sign.
    #[error(transparent)]
    Sign(#[from] SignFault),
    /// It could not be stored.
    #[error("a receipt could not be stored: {0}")]
    Io(#[from] std::io::Error),
}

impl Service<'_> {
    /// Signs a receipt, keeps it, and sends it.
    pub(super) fn receipt(&mut self, due: &Due, last: bool) -> Step {
        let slot = due.slot;
        match evidence(|| self.sign(due)) {
            Ok(Half { body, node_sig }) => {
                self.lane.send(&NodeMessage::Receipt(NodeReceipt { slot, body, node_sig, last }))
            }
            Err(error) => Err(self.lane.shut(Refusal::SessionInternal, &error.to_string())),
        }
    }

    fn sign(&mut self, due: &Due) -> Result<Half, Unkept> {
        let identity = &self.node.config.identity;
        let (body, node_sig) = sign_receipt(&due.body, &identity.key, &identity.domain.net_id())?;
        let half = Half { body, node_sig };
        self.node.unsettled.keep(due.body.serial, due.request, half.clone())?;
        Ok(half)
    }

    /// Takes the router's half of one of the receipts of an order, and logs both halves.
    pub(super) fn acked(&mut self, ack: &ReceiptAck) -> Step {
        if self.node.work.is_open(&ack.serial) {
            return Err(self.lane.shut(Refusal::SessionOrder, "an acknowledgement of an open request"));
        }
        let Some(kept) = self.node.unsettled.find(&ack.serial) else {
            // It was settled before, or given up.
            return Ok(());
        };
        let identity = &self.node.config.identity;
        let keys = (&identity.key.public(), self.lane.router().key());
        let net_id = identity.domain.net_id();
        let mut fault = None;
        // The last one first; the router has signed an earlier one where the last did not reach it in time.
        let fits = |half: &Half| {
            accept_ack(&half.body, &half.node_sig, ack, keys, &net_id)
                .map_err(|error| fault.get_or_insert(error).to_string())
                .ok()
        };
        let receipt = evidence(|| kept.halves.iter().rev().find_map(fits));
        let Some(receipt) = receipt else {
            let words = fault.map_or_else(String::new, |fault| fault.to_string());
            return Err(self.lane.shut(Refusal::Unsettled, &words));
        };
        let entry = NewEntry::new(ack.serial, WorkEntry { receipt, request: kept.request });
        self.node.work.settled(&ack.serial);
        self.heads.owe();
        let file = self.node.unsettled.settle(&ack.serial);
        self.node.log.append_then(entry, move || {
            if let Some(file) = file {
                remove(&file);
            }
        });
        Ok(())
    }

    /// Sends again what earlier lanes left without the router's half.
    pub(super) fn resend(&mut self) -> Step {
        self.node.unsettled.drop_old((self.node.config.now)());
        // What is open on this lane, or on the one before it, is handed in there.
        let left = self.node.unsettled.last_halves().filter(|(serial, _)| {
            !self.node.work.open_work().has(serial) && !self.rotation.elder_has(serial)
        });
        left.map(|(_, half)| half).try_for_each(|half| {
            let Half { body, node_sig } = half.clone();
            let receipt = NodeReceipt { slot: EARLIER_LANE, body, node_sig, last: true };
            self.lane.send(&NodeMessage::Receipt(receipt))
        })
    }

    /// The lane is gone: what was done so far is signed and kept for the next one.
    pub(super) fn abandon(&mut self) {
        let now = (self.node.config.now)();
        for due in self.node.work.abandon(now) {
            if let Err(error) = self.sign(&due) {
                tracing::error!(%error, "a receipt could not be kept");
            }
        }
        if let Err(error) = super::working::book(self.node, now) {
            // What was reserved stays reserved then, in the operator's favour.
            tracing::error!(%error, "the end of orders could not be kept");
        }
    }
}
