//! Who waits for what on a lane.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use counterfoil_consent::Permit;
use counterfoil_spec::limits::MAX_OPEN_REQUESTS;
use counterfoil_spec::message::{NodeReceipt, SlotRefusal};
use counterfoil_spec::refusal::Refusal;
use tokio::sync::oneshot;

use super::MAX_IN_FLIGHT;
use crate::frame::{Combine, Dispatch, FrameHeader};
use crate::token::{Exporter, Seal, Seals};

mod calls;

use calls::Calls;

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
    calls: Calls,
    slots: HashMap<u32, Slot>,
    next_nonce: u64,
    pongs: HashMap<u64, oneshot::Sender<()>>,
    over: bool,
}

#[derive(Debug, Default)]
struct Slot {
    /// The last one first.
    interims: [Option<NodeReceipt>; 2],
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
    pub(crate) fn ask(&self, dispatch: &Dispatch) -> Result<u32, usize> {
        self.locked().calls.ask(dispatch)
    }

    /// Hands a combine to the task that waits, and leaves one whose buffers may be used for the next; false where it
    /// answers nothing that was asked.
    pub(crate) fn answer(&self, seq: u32, combine: &mut Combine) -> bool {
        let answered = self.locked().calls.answer(seq, combine);
        // Woken without the lock, because the task may run at once and come back here.
        answered.map(|waker| waker.map(Waker::wake)).is_ok()
    }

    /// The combine of a dispatch with when it came, or `None` once the lane is over.
    pub(crate) fn poll_answer(&self, seq: u32, cx: &Context<'_>) -> Poll<Option<(Combine, Instant)>> {
        self.locked().calls.poll(seq, cx)
    }

    /// Nobody waits for this combine any longer.
    pub(crate) fn leave(&self, seq: u32) {
        self.locked().calls.leave(seq);
    }

    /// This dispatch was never sent.
    pub(crate) fn forget(&self, seq: u32) {
        self.locked().calls.forget(seq);
    }

    pub(crate) fn restore(&self, combine: Combine) {
        self.locked().calls.restore(combine);
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
            slot.interims.swap(0, 1);
            slot.interims[0] = Some(receipt);
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

    pub(crate) fn interims(&self, slot: u32) -> Vec<NodeReceipt> {
        self.locked()
            .slots
            .get(&slot)
            .map_or_else(Vec::new, |s| s.interims.iter().flatten().cloned().collect())
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
            // What was handed over stays with whoever waited; what comes from here on is an event.
            entry.closing = None;
            entry.interims = [None, None];
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
        let wakers = books.calls.fail_all();
        books.pongs.clear();
        for slot in books.slots.values_mut() {
            slot.closing = None;
        }
        drop(books);
        wakers.into_iter().for_each(Waker::wake);
    }

    fn locked(&self) -> MutexGuard<'_, Books> {
        // Every change is one insertion or removal, so a panic elsewhere leaves the books whole.
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
