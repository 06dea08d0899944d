//! The one task of a router's lane: reads frames, hands them out, flushes what could not be written at once.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use counterfoil_consent::ReplayWindow;
use counterfoil_identity::VerifiedPeer;
use counterfoil_spec::message::{NodeMessage, SESSION_VERSION};
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::time::Now;
use quinn::{ReadError, RecvStream};
use tokio::sync::mpsc;

use super::{Desk, EARLIER_LANE, Filed, Shared};
use crate::end::LaneEnd;
use crate::frame::{Combine, FrameHeader, Intake, Kind, decode_control};
use crate::outbox::Outbox;
use crate::stay::Stay;

/// A refusal of a frame, in words.
pub(crate) type Fault = (Refusal, String);

/// The reading half of a router's lane.
pub(crate) struct Reader {
    pub(crate) shared: Arc<Shared>,
    pub(crate) recv: RecvStream,
    pub(crate) intake: Intake,
    pub(crate) window: ReplayWindow,
    pub(crate) events: mpsc::Sender<NodeMessage>,
    /// Where the next combine is read.
    pub(crate) combine: Combine,
    pub(crate) now: Now,
    /// Counts as one connection of its node until the lane ends.
    pub(crate) _stay: Stay,
}

impl Reader {
    /// Runs until the lane ends.
    pub(crate) async fn run(mut self) {
        loop {
            match self.intake.take() {
                Ok(Some((header, body))) => {
                    let to = RouterParts {
                        desk: &self.shared.desk,
                        window: &mut self.window,
                        events: &self.events,
                        combine: &mut self.combine,
                    };
                    let done = in_force(&self.shared.peer, &self.now).and_then(|()| take(to, &header, body));
                    if let Err((refusal, detail)) = done {
                        self.shared.shut(refusal, &detail);
                        return;
                    }
                }
                Ok(None) => {
                    if let Err(end) = fill(&mut self.recv, &mut self.intake, &self.shared.outbox).await {
                        let end = self
                            .shared
                            .connection
                            .close_reason()
                            .map_or(end, |reason| LaneEnd::from_connection(&reason));
                        self.shared.finish(end);
                        self.shared.outbox.finish();
                        return;
                    }
                }
                Err(error) => {
                    self.shared.shut(error.refusal(), &error.to_string());
                    return;
                }
            }
        }
    }
}

/// Waits until more bytes have arrived, and writes what waits meanwhile.
pub(crate) async fn fill(recv: &mut RecvStream, intake: &mut Intake, outbox: &Outbox) -> Result<(), LaneEnd> {
    let n = poll_fn(|cx| {
        outbox.poll_flush(cx);
        match recv.poll_read(cx, intake.space()) {
            Poll::Ready(Ok(n)) => Poll::Ready(Ok(n)),
            Poll::Ready(Err(error)) => Poll::Ready(Err(read_end(&error))),
            Poll::Pending => Poll::Pending,
        }
    })
    .await?;
    if n == 0 {
        return Err(LaneEnd::Lost("the other side finished the stream".into()));
    }
    intake.filled(n);
    Ok(())
}

fn read_end(error: &ReadError) -> LaneEnd {
    match error {
        ReadError::ConnectionLost(error) => LaneEnd::from_connection(error),
        other => LaneEnd::Lost(other.to_string()),
    }
}

/// A connection serves nothing beyond the end of the peer's certificate.
pub(crate) fn in_force(peer: &VerifiedPeer, now: &Now) -> Result<(), Fault> {
    if now().seconds() <= peer.not_after() {
        return Ok(());
    }
    Err((Refusal::CertExpired, format!("the certificate ended at {}", peer.not_after().0)))
}

/// What a router's lane judges a frame with.
pub(crate) struct RouterParts<'a> {
    pub(crate) desk: &'a Desk,
    pub(crate) window: &'a mut ReplayWindow,
    pub(crate) events: &'a mpsc::Sender<NodeMessage>,
    pub(crate) combine: &'a mut Combine,
}

/// Takes one frame of a node: its MAC, its counter, its body, and whether it was waited for.
pub(crate) fn take(to: RouterParts<'_>, header: &FrameHeader, body: &[u8]) -> Result<(), Fault> {
    let desk = to.desk;
    match header.kind {
        Kind::Combine => {
            desk.check_mac(header).map_err(|r| (r, "the header's MAC".to_owned()))?;
            if !to.window.accept(header.counter) {
                return Err((Refusal::Replay, format!("counter {}", header.counter)));
            }
            to.combine.decode(body).map_err(|e| (e.refusal(), e.to_string()))?;
            if desk.answer(header.seq, to.combine) {
                Ok(())
            } else {
                Err((Refusal::SessionOrder, format!("combine {} answers no dispatch", header.seq)))
            }
        }
        Kind::Control => {
            let message: NodeMessage = decode_control(body).map_err(|e| (e.refusal(), e.to_string()))?;
            message_in(desk, to.events, message)
        }
        Kind::Dispatch => Err((Refusal::SessionShape, "a node sends no dispatches".to_owned())),
    }
}

fn message_in(desk: &Desk, events: &mpsc::Sender<NodeMessage>, message: NodeMessage) -> Result<(), Fault> {
    let event = match message {
        NodeMessage::Hello(_) => return Err((Refusal::SessionOrder, "a second Hello".to_owned())),
        NodeMessage::Pong(nonce) if desk.pong(nonce) => None,
        NodeMessage::Pong(nonce) => return Err((Refusal::SessionOrder, format!("pong {nonce} unasked"))),
        NodeMessage::Receipt(receipt) if receipt.slot == EARLIER_LANE => Some(NodeMessage::Receipt(receipt)),
        NodeMessage::Receipt(receipt) => {
            let slot = receipt.slot;
            match desk.receipt(receipt) {
                Filed::Taken => None,
                Filed::Late(receipt) => Some(NodeMessage::Receipt(receipt)),
                Filed::Unasked => {
                    return Err((
                        Refusal::SessionOrder,
                        format!("a receipt for slot {slot}, which nobody closed"),
                    ));
                }
            }
        }
        NodeMessage::Refuse(refusal) => {
            let slot = refusal.slot;
            if desk.refused(refusal) {
                None
            } else {
                return Err((Refusal::SessionOrder, format!("a refusal for slot {slot}, which is not open")));
            }
        }
        other => Some(other),
    };
    let Some(event) = event else { return Ok(()) };
    match events.try_send(event) {
        Err(mpsc::error::TrySendError::Full(_)) => {
            Err((Refusal::SessionOrder, "more messages than the router takes".to_owned()))
        }
        // Without a receiver nobody wants the events; the lane serves its callers all the same.
        Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => Ok(()),
    }
}

/// The first message of a lane, read before it has a reader task.
fn hello(body: &[u8]) -> Result<counterfoil_spec::message::NodeHello, Fault> {
    let message: NodeMessage = decode_control(body).map_err(|e| (e.refusal(), e.to_string()))?;
    match message {
        NodeMessage::Hello(hello) if hello.version == SESSION_VERSION => Ok(hello),
        NodeMessage::Hello(hello) => {
            Err((Refusal::SessionVersion, format!("version {}, here {SESSION_VERSION}", hello.version)))
        }
        _ => Err((Refusal::SessionOrder, "the first message is Hello".to_owned())),
    }
}

/// The first frame of a lane.
pub(crate) fn first(
    header: &FrameHeader,
    body: &[u8],
) -> Result<counterfoil_spec::message::NodeHello, Fault> {
    match header.kind {
        Kind::Control => hello(body),
        _ => Err((Refusal::SessionOrder, "the first frame is Hello".to_owned())),
    }
}
