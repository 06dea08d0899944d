//! Who waits for what on a lane.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use counterfoil_consent::Permit;
use counterfoil_spec::limits::MAX_OPEN_REQUESTS;
use counterfoil_spec::message::{NodeReceipt, SlotRefusal};
use counterfoil_spec::refusal::Refusal;
use tokio::sync::oneshot;

use super::MAX_IN_FLIGHT;
use crate::frame::{Combine, Dispatch, FrameHeader};
use crate::token::{Exporter, Seal, Seals};

/// How a close is answered.
pub(crate) type Closing = oneshot::Sender<Result<NodeReceipt, SlotRefusal>>;

/// Who waits for what.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    /// Guards the books below; held only to look up or change one line of them.
    books: Mutex<Books>,
}

#[derive(Debug, Default)]
struct Books {
    seals: Seals,
    next_seq: u32,
    combines: HashMap<u32, Waiting>,
    slots: HashMap<u32, Slot>,
    next_nonce: u64,
    pongs: HashMap<u64, oneshot::Sender<()>>,
    over: bool,
}

#[derive(Debug)]
struct Waiting {
    /// What was asked, without its rows.
    asked: Dispatch,
    tx: oneshot::Sender<Combine>,
}

#[derive(Debug, Default)]
struct Slot {
    interim: Option<NodeReceipt>,
    refusal: Option<SlotRefusal>,
    closing: Option<Closing>,
    /// Nobody waits for its end any longer; what still comes is passed on as an event.
    forgotten: bool,
}

/// What became of a receipt that arrived.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Filed {
    /// Kept, or given to whom it was for.
    Taken,
    /// The caller had given up; it is an event.
    Late(NodeReceipt),
    /// Nothing was open there.
    Unasked,
}

impl Desk {
    pub(crate) fn add_token(&self, exporter: &Exporter, permit: &Permit) -> Option<Arc<Seal>> {
        self.locked().seals.add(exporter, permit)
    }

    pub(crate) fn check_mac(&self, header: &FrameHeader) -> Result<(), Refusal> {
        self.locked().seals.check(header).map(drop)
    }

    pub(crate) fn open(&self, slot: u32) -> bool {
        let mut books = self.locked();
        if books.slots.len() >= MAX_OPEN_REQUESTS || books.slots.contains_key(&slot) {
            return false;
        }
        books.slots.insert(slot, Slot::default());
        true
    }

    /// Numbers a dispatch; the error is how many wait already.
    pub(crate) fn await_combine(&self, asked: Dispatch, tx: oneshot::Sender<Combine>) -> Result<u32, usize> {
        let mut books = self.locked();
        if books.combines.len() >= MAX_IN_FLIGHT {
            return Err(books.combines.len());
        }
        // A number comes round again only after 2^32 dispatches; one that still waits by then is passed over.
        loop {
            let seq = books.next_seq;
            books.next_seq = seq.wrapping_add(1);
            if !books.combines.contains_key(&seq) {
                if !books.over {
                    books.combines.insert(seq, Waiting { asked, tx });
                }
                return Ok(seq);
            }
        }
    }

    /// Hands a combine to the task that waits; false where it answers nothing that was asked.
    pub(crate) fn answer(&self, seq: u32, combine: Combine) -> bool {
        let waiting = self.locked().combines.remove(&seq);
        match waiting {
            Some(waiting) if combine.answers(&waiting.asked) => {
                // The caller may have given up; then the combine is thrown away.
                let _ = waiting.tx.send(combine);
                true
            }
            _ => false,
        }
    }

    pub(crate) fn forget(&self, seq: u32) {
        self.locked().combines.remove(&seq);
    }

    /// Notes that a slot is being closed; false where it is not open or is being closed already.
    pub(crate) fn await_receipt(&self, slot: u32, tx: Closing) -> bool {
        let mut books = self.locked();
        let over = books.over;
        match books.slots.get_mut(&slot) {
            Some(entry) if entry.closing.is_none() => {
                // On a lane that is over the sender is dropped, and its receiver learns why.
                entry.closing = (!over).then_some(tx);
                true
            }
            _ => false,
        }
    }

    /// Takes a receipt for a slot of this lane.
    pub(crate) fn receipt(&self, receipt: NodeReceipt) -> Filed {
        let mut books = self.locked();
        let Some(slot) = books.slots.get_mut(&receipt.slot) else { return Filed::Unasked };
        if !receipt.last {
            slot.interim = Some(receipt);
            return Filed::Taken;
        }
        let (closing, forgotten) = (slot.closing.take(), slot.forgotten);
        if closing.is_none() && !forgotten {
            return Filed::Unasked;
        }
        books.slots.remove(&receipt.slot);
        match closing.map(|closing| closing.send(Ok(receipt.clone()))) {
            Some(Ok(())) => Filed::Taken,
            // Whoever closed it did not wait.
            _ => Filed::Late(receipt),
        }
    }

    /// Takes a refusal for an open slot; false where the slot is not open here. A node refuses an order once when it
    /// comes and once more when it is closed, so the second one ends the slot.
    pub(crate) fn refused(&self, refusal: SlotRefusal) -> bool {
        let mut books = self.locked();
        let Some(slot) = books.slots.get_mut(&refusal.slot) else { return false };
        if slot.refusal.is_none() {
            slot.refusal = Some(refusal);
            return true;
        }
        let (closing, forgotten) = (slot.closing.take(), slot.forgotten);
        if closing.is_none() && !forgotten {
            return false;
        }
        books.slots.remove(&refusal.slot);
        // Whoever closed it may not have waited.
        let _ = closing.map(|closing| closing.send(Err(refusal)));
        true
    }

    pub(crate) fn interim(&self, slot: u32) -> Option<NodeReceipt> {
        self.locked().slots.get(&slot).and_then(|s| s.interim.clone())
    }

    pub(crate) fn refusal(&self, slot: u32) -> Option<SlotRefusal> {
        self.locked().slots.get(&slot).and_then(|s| s.refusal.clone())
    }

    /// Nobody waits for the end of this slot any longer. While the lane lives the slot stays taken, because the node
    /// has not answered yet.
    pub(crate) fn forget_slot(&self, slot: u32) {
        let mut books = self.locked();
        if books.over {
            books.slots.remove(&slot);
        } else if let Some(entry) = books.slots.get_mut(&slot) {
            entry.forgotten = true;
            entry.interim = None;
        }
    }

    pub(crate) fn await_pong(&self, tx: oneshot::Sender<()>) -> Result<u64, usize> {
        let mut books = self.locked();
        if books.pongs.len() >= MAX_IN_FLIGHT {
            return Err(books.pongs.len());
        }
        books.next_nonce += 1;
        let nonce = books.next_nonce;
        if !books.over {
            books.pongs.insert(nonce, tx);
        }
        Ok(nonce)
    }

    pub(crate) fn pong(&self, nonce: u64) -> bool {
        self.locked().pongs.remove(&nonce).map(|tx| tx.send(())).is_some()
    }

    /// Tells everybody who waits that nothing will come, now and later. Interim receipts stay.
    pub(crate) fn fail_all(&self) {
        let mut books = self.locked();
        books.over = true;
        books.combines.clear();
        books.pongs.clear();
        for slot in books.slots.values_mut() {
            slot.closing = None;
        }
    }

    fn locked(&self) -> MutexGuard<'_, Books> {
        // Every change is one insertion or removal, so a panic elsewhere leaves the books whole.
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
