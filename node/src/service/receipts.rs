//! Receipts on a lane: signed, kept, sent, sent again, and logged once both halves are there.

use counterfoil_audit::NewEntry;
use counterfoil_consent::{accept_ack, sign_receipt};
use counterfoil_session::lane::EARLIER_LANE;
use counterfoil_spec::message::{NodeMessage, NodeReceipt, ReceiptAck};
use counterfoil_spec::payload::Work as WorkEntry;
use counterfoil_spec::refusal::Refusal;

use super::{Service, Step};
use crate::unsettled::{Kept, remove};
use crate::work::Due;

impl Service<'_> {
    /// Signs a receipt, keeps it, and sends it.
    pub(super) fn receipt(&mut self, due: Due, last: bool) -> Step {
        let slot = due.slot;
        match self.sign(due) {
            Ok(Kept { body, node_sig, .. }) => {
                self.lane.send(&NodeMessage::Receipt(NodeReceipt { slot, body, node_sig, last }))
            }
            Err(error) => Err(self.lane.shut(Refusal::SessionInternal, &error.to_string())),
        }
    }

    pub(super) fn sign(&mut self, due: Due) -> std::io::Result<Kept> {
        let identity = &self.node.config.identity;
        let (body, node_sig) = sign_receipt(&due.body, &identity.key, &identity.domain.net_id());
        let kept = Kept { request: due.request, body, node_sig };
        self.node.unsettled.keep(due.body.serial, kept.clone())?;
        Ok(kept)
    }

    /// Takes the router's half, and logs both.
    pub(super) fn acked(&mut self, ack: &ReceiptAck) -> Step {
        let kept = self.node.unsettled.find(&ack.serial).filter(|_| !self.node.work.is_open(&ack.serial));
        let Some(kept) = kept else {
            return Err(self
                .lane
                .shut(Refusal::SessionOrder, "an acknowledgement of no last receipt of ours"));
        };
        let identity = &self.node.config.identity;
        let keys = (&identity.key.public(), self.lane.router().key());
        let checked = accept_ack(&kept.body, &kept.node_sig, ack, keys, &identity.domain.net_id());
        let request = kept.request;
        match checked {
            Ok(receipt) => {
                self.node.work.settled(&ack.serial);
                let file = self.node.unsettled.settle(&ack.serial);
                let entry = NewEntry::new(ack.serial, WorkEntry { receipt, request });
                self.node.log.append_then(entry, move || {
                    if let Some(file) = file {
                        remove(&file);
                    }
                });
                Ok(())
            }
            Err(fault) => Err(self.lane.shut(Refusal::Unsettled, &fault.to_string())),
        }
    }

    /// Sends again what earlier lanes left without the router's half.
    pub(super) fn resend(&mut self) -> Step {
        self.node.unsettled.iter().try_for_each(|kept| {
            let Kept { body, node_sig, .. } = kept.clone();
            self.lane.send(&NodeMessage::Receipt(NodeReceipt {
                slot: EARLIER_LANE,
                body,
                node_sig,
                last: true,
            }))
        })
    }

    /// The lane is gone: what was done so far is signed and kept for the next one.
    pub(super) fn abandon(&mut self) {
        for due in self.node.work.abandon((self.node.config.now)()) {
            if let Err(error) = self.sign(due) {
                tracing::error!(%error, "a receipt could not be kept");
            }
        }
    }
}
