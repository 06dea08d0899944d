//! A lane: the one bidirectional stream between a router and a node, from the router's side.
//!
//! Many request tasks share a [`RouterLane`]. A dispatch is written by the task that makes it, and one reader task
//! per lane hands every combine to the task that waits for it: no other task stands in between.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use counterfoil_consent::Permit;
use counterfoil_identity::VerifiedPeer;
use counterfoil_spec::deny::SignedDenyList;
use counterfoil_spec::ids::{NodeId, Serial};
use counterfoil_spec::message::{
    CloseSlot, NodeMessage, NodeReceipt, ReceiptAck, RouterMessage, SignedOpen, SlotRefusal, UnusedForwards,
    Welcome,
};
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::text::PeerText;
use counterfoil_spec::time::Seconds;
use tokio::sync::{mpsc, oneshot, watch};

use crate::end::{LaneEnd, LaneError};
use crate::fetch::{FetchDoor, Fetcher};
use crate::frame::{Combine, Dispatch, FrameHeader, HEADER_BYTES, Kind, encode_control};
use crate::outbox::{Outbox, SendRefused};
use crate::token::{Exporter, Seal};

mod answering;
mod desk;
mod heads;
mod proposals;
mod reader;
mod renewal;

pub use answering::Answering;

pub(crate) use desk::{Desk, Filed};
pub(crate) use proposals::Proposals;
pub(crate) use reader::{Reader, RouterParts, fill, first, in_force, take as take_of_node};

/// Dispatches that may wait for their combine on one lane.
pub const MAX_IN_FLIGHT: usize = 4096;
/// Messages of a node that may wait for the router to take them; a node that sends more is cut off.
pub const MAX_EVENTS: usize = 1024;
/// The slot that stands in a receipt of an earlier lane.
pub const EARLIER_LANE: u32 = u32::MAX;

/// A consent token that was welcomed on a lane. Only [`RouterLane::welcome`] makes one, and it wants a [`Permit`].
#[derive(Debug, Clone)]
pub struct ActiveToken {
    seal: Arc<Seal>,
    cti: Serial,
    lane: usize,
}

impl ActiveToken {
    /// The consent id.
    #[must_use]
    pub const fn cti(&self) -> Serial {
        self.cti
    }
}

/// The router's handle on a lane; clones share it. When the last one goes, the lane is closed.
#[derive(Debug, Clone)]
pub struct RouterLane {
    shared: Arc<Held>,
}

/// What all handles hold together. The reader task and the futures of calls hold the lane itself, and so do not keep
/// it open.
#[derive(Debug)]
struct Held(Arc<Shared>);

impl Drop for Held {
    fn drop(&mut self) {
        if self.0.ended.borrow().is_none() {
            self.0.shut(Refusal::SessionDrain, "nobody uses this lane any longer");
        }
    }
}

impl std::ops::Deref for Held {
    type Target = Arc<Shared>;

    fn deref(&self) -> &Arc<Shared> {
        &self.0
    }
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) peer: VerifiedPeer,
    pub(crate) connection: quinn::Connection,
    pub(crate) fetcher: Fetcher,
    pub(crate) exporter: Exporter,
    pub(crate) outbox: Outbox,
    pub(crate) desk: Desk,
    pub(crate) proposals: Proposals,
    /// How many receipts were acknowledged.
    pub(crate) acks: watch::Sender<u64>,
    pub(crate) ended: watch::Sender<Option<LaneEnd>>,
}

/// The messages of a node that no call on its lane is waiting for: consents, declines, readiness, receipts of
/// earlier lanes, revocations, the wish to leave. Ends with the lane.
pub type Events = mpsc::Receiver<NodeMessage>;

impl RouterLane {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared: Arc::new(Held(shared)) }
    }

    /// Who is at the other end.
    #[must_use]
    pub fn peer(&self) -> &VerifiedPeer {
        &self.shared.peer
    }

    /// Asks the node for shards that it hosts.
    #[must_use]
    pub fn fetcher(&self) -> Fetcher {
        self.shared.fetcher.clone()
    }

    /// Where the node asks for manifests and shards.
    #[must_use]
    pub fn fetch_door(&self) -> FetchDoor {
        FetchDoor::new(self.shared.connection.clone())
    }

    /// The id of the node at the other end.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.shared.peer.id()
    }

    /// Says what is refused from here on, and for how long that holds; the answer is a `DenyTaken` among the events.
    ///
    /// # Errors
    /// [`LaneError::Closed`] and [`LaneError::Congested`].
    pub fn deny(&self, list: &SignedDenyList) -> Result<(), LaneError> {
        self.tell(&RouterMessage::Deny(list.clone()))
    }

    /// Refuses a consent token; the lane stays.
    ///
    /// # Errors
    /// [`LaneError::Closed`] and [`LaneError::Congested`].
    pub fn refuse(&self, refusal: Refusal, detail: impl Into<String>) -> Result<(), LaneError> {
        self.tell(&RouterMessage::Refused(refusal, PeerText::new(detail)))
    }

    /// Welcomes a consent token that was checked and logged. From here on both sides seal frames under it.
    ///
    /// # Errors
    /// [`LaneError::Closed`] and [`LaneError::Congested`].
    pub fn welcome(
        &self,
        permit: &Permit,
        entry: u64,
        renew_after: Seconds,
    ) -> Result<ActiveToken, LaneError> {
        let cti = permit.claims().cti;
        let seal = self.shared.desk.add_token(&self.shared.exporter, permit);
        let seal = seal.ok_or(LaneError::Congested { node: self.node(), waiting: usize::from(u16::MAX) })?;
        self.tell(&RouterMessage::Welcome(Welcome { cti, entry, renew_after }))?;
        Ok(ActiveToken { seal, cti, lane: self.shared.connection.stable_id() })
    }

    /// Orders work. The node's answer, if it refuses, comes with the first dispatch; so the first dispatch may
    /// follow at once.
    ///
    /// # Errors
    /// [`LaneError::InUse`], [`LaneError::Closed`] and [`LaneError::Congested`].
    pub fn open(&self, order: SignedOpen) -> Result<(), LaneError> {
        let slot = order.grant.slot;
        if slot == EARLIER_LANE || !self.shared.desk.open(slot) {
            return Err(LaneError::InUse(slot));
        }
        self.tell(&RouterMessage::Open(order))
    }

    /// Sends rows to experts; the frame leaves before this returns, and the future brings what came back. A caller
    /// with a deadline drops the future when it has passed; the late combine is then thrown away. Give a combine that
    /// was read back with [`Self::restore`].
    ///
    /// # Errors
    /// [`LaneError::Frame`] where the dispatch is malformed, [`LaneError::Congested`], and from the future
    /// [`LaneError::Closed`] as soon as the lane is gone. Refused segments are in the [`Combine`].
    pub fn dispatch(&self, token: &ActiveToken, dispatch: &Dispatch) -> Result<Answering, LaneError> {
        if token.lane != self.shared.connection.stable_id() {
            return Err(self.closed_error());
        }
        let mut frame = self.shared.outbox.frame(dispatch.frame_bytes());
        dispatch.encode(&mut frame)?;
        let node = self.node();
        let seq = self.shared.desk.ask(dispatch);
        let seq = seq.map_err(|waiting| LaneError::Congested { node, waiting })?;
        let body = u32::try_from(frame.len() - HEADER_BYTES).unwrap_or(u32::MAX);
        let header =
            FrameHeader { len: body, kind: Kind::Dispatch, token_slot: 0, counter: 0, seq, mac: [0; 16] };
        if let Err(refused) = self.shared.outbox.send_sealed(&token.seal, header, frame) {
            self.shared.desk.forget(seq);
            return Err(self.not_sent(&refused));
        }
        Ok(Answering::new(Arc::clone(&self.shared.0), seq))
    }

    /// Gives a combine back, so that its buffers are used again for the next.
    pub fn restore(&self, combine: Combine) {
        self.shared.desk.restore(combine);
    }

    /// Ends a request at the node; the future brings its last receipt.
    ///
    /// # Errors
    /// [`LaneError::NotOpen`], and from the future [`LaneError::Refused`] where the node signs nothing, and
    /// [`LaneError::Closed`].
    pub fn close(
        &self,
        close: CloseSlot,
    ) -> Result<impl Future<Output = Result<NodeReceipt, LaneError>> + Send + use<>, LaneError> {
        let (tx, rx) = oneshot::channel();
        if !self.shared.desk.await_receipt(close.slot, tx) {
            return Err(LaneError::NotOpen(close.slot));
        }
        self.tell(&RouterMessage::Close(close))?;
        let shared = Arc::clone(&self.shared.0);
        Ok(async move {
            match rx.await {
                Ok(Ok(receipt)) => Ok(receipt),
                Ok(Err(SlotRefusal { refusal, detail, .. })) => {
                    let detail = detail.to_string();
                    Err(LaneError::Refused { node: shared.peer.id(), refusal, detail })
                }
                Err(_) => Err(shared.closed_error().await),
            }
        })
    }

    /// Returns the router's half of a receipt.
    ///
    /// # Errors
    /// [`LaneError::Closed`] and [`LaneError::Congested`].
    pub fn ack(&self, ack: ReceiptAck) -> Result<(), LaneError> {
        self.tell(&RouterMessage::Ack(ack))?;
        self.shared.acks.send_modify(|acks| *acks = acks.saturating_add(1));
        Ok(())
    }

    /// Says that answers of this slot entered no sum.
    ///
    /// # Errors
    /// [`LaneError::Closed`] and [`LaneError::Congested`].
    pub fn unused(&self, unused: UnusedForwards) -> Result<(), LaneError> {
        self.tell(&RouterMessage::Unused(unused))
    }

    /// The latest interim receipts of an open request, the last one first, two at most. They outlive the lane, so that
    /// a node that dies is paid for what it had receipted: for the one before, where the last one counts what entered
    /// no sum.
    #[must_use]
    pub fn interim_receipts(&self, slot: u32) -> Vec<NodeReceipt> {
        self.shared.desk.interims(slot)
    }

    /// What the node said when it refused the order on this slot.
    #[must_use]
    pub fn refusal(&self, slot: u32) -> Option<SlotRefusal> {
        self.shared.desk.refusal(slot)
    }

    /// Gives a slot up: its close was not answered in time, or its lane died. A last receipt that still comes is an
    /// event then.
    pub fn forget(&self, slot: u32) {
        self.shared.desk.forget_slot(slot);
    }

    /// Measures the way to the node's session task and back.
    ///
    /// # Errors
    /// [`LaneError::Closed`] and [`LaneError::Congested`].
    pub async fn ping(&self) -> Result<Duration, LaneError> {
        let (tx, rx) = oneshot::channel();
        let started = Instant::now();
        let node = self.node();
        let nonce = self.shared.desk.await_pong(tx);
        let nonce = nonce.map_err(|waiting| LaneError::Congested { node, waiting })?;
        self.tell(&RouterMessage::Ping(nonce))?;
        match rx.await {
            Ok(()) => Ok(started.elapsed()),
            Err(_) => Err(self.shared.closed_error().await),
        }
    }

    /// Where the node is now; it may move, and the lane with it.
    #[must_use]
    pub fn remote_addr(&self) -> SocketAddr {
        self.shared.connection.remote_address()
    }

    #[cfg(test)]
    pub(crate) fn connection(&self) -> &quinn::Connection {
        &self.shared.connection
    }

    /// QUIC's own estimate of the round trip.
    #[must_use]
    pub fn rtt(&self) -> Duration {
        self.shared.connection.rtt()
    }

    /// How many UDP datagrams have come on this lane's connection, acknowledgements among them.
    #[must_use]
    pub fn datagrams(&self) -> u64 {
        self.shared.connection.stats().udp_rx.datagrams
    }

    /// Tells the node that the router is going away in good order.
    ///
    /// # Errors
    /// [`LaneError::Closed`] and [`LaneError::Congested`].
    pub fn drain(&self) -> Result<(), LaneError> {
        self.tell(&RouterMessage::Drain)
    }

    /// Closes the lane and tells the node why. Whatever waits on it is told too.
    pub fn shut(&self, refusal: Refusal, detail: &str) {
        self.shared.shut(refusal, detail);
    }

    /// Waits for the lane's end.
    pub async fn closed(&self) -> LaneEnd {
        self.shared.end().await
    }

    /// Why the lane ended, if it has.
    #[must_use]
    pub fn end(&self) -> Option<LaneEnd> {
        self.shared.ended.borrow().clone()
    }

    fn tell(&self, message: &RouterMessage) -> Result<(), LaneError> {
        let frame = encode_control(message)?;
        self.shared.outbox.send(frame).map_err(|refused| self.not_sent(&refused))
    }

    fn not_sent(&self, refused: &SendRefused) -> LaneError {
        match refused {
            SendRefused::Gone => self.closed_error(),
            SendRefused::Full(waiting) => LaneError::Congested { node: self.node(), waiting: *waiting },
        }
    }

    fn closed_error(&self) -> LaneError {
        let end = self.end().or_else(|| {
            self.shared.connection.close_reason().map(|reason| LaneEnd::from_connection(&reason))
        });
        let end = end.unwrap_or_else(|| LaneEnd::Lost("its stream was closed".into()));
        LaneError::Closed { node: self.node(), end }
    }
}

impl Shared {
    pub(crate) fn shut(&self, refusal: Refusal, detail: &str) {
        self.finish(LaneEnd::RefusedHere(refusal, detail.to_owned()));
        self.connection.close(crate::end::code(refusal), detail.as_bytes());
    }

    /// Ends the lane once; the first reason stays.
    pub(crate) fn finish(&self, end: LaneEnd) {
        self.ended.send_if_modified(|slot| {
            let first = slot.is_none();
            if first {
                *slot = Some(end);
            }
            first
        });
        self.desk.fail_all();
    }

    async fn end(&self) -> LaneEnd {
        let mut ended = self.ended.subscribe();
        let end = ended.wait_for(Option::is_some).await;
        // The sender lives in `self`, so the wait cannot fail.
        end.ok().and_then(|end| end.clone()).unwrap_or_else(|| LaneEnd::Lost("unknown".into()))
    }

    async fn closed_error(&self) -> LaneError {
        LaneError::Closed { node: self.peer.id(), end: self.end().await }
    }
}
