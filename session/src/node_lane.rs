//! A lane from the node's side: owned by one task that reads, answers and never shares it.

use std::sync::Arc;

use counterfoil_consent::{Permit, ReplayWindow};
use counterfoil_identity::VerifiedPeer;
use counterfoil_spec::message::{NodeMessage, RouterMessage};
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::time::Now;
use quinn::RecvStream;

use crate::end::{LaneEnd, code};
use crate::fetch::{FetchDoor, Fetcher};
use crate::frame::{
    Combine, Dispatch, FrameHeader, HEADER_BYTES, Intake, Kind, decode_control, encode_control,
};
use crate::lane::{fill, in_force};
use crate::outbox::{Outbox, SendRefused};
use crate::token::{Exporter, Seal, Seals, for_renewal};

/// What a router sent.
#[derive(Debug)]
pub enum RouterFrame {
    /// A control message.
    Message(Box<RouterMessage>),
    /// Rows for experts; they are in [`NodeLane::dispatch`] until the next frame is read.
    Dispatch(Asked),
}

/// Which dispatch is to be answered.
#[derive(Debug, Clone)]
pub struct Asked {
    pub(crate) seal: Arc<Seal>,
    seq: u32,
}

impl Asked {
    /// The slot of the consent token that sealed it: the k-th that was activated, counted from zero.
    #[must_use]
    pub fn token_slot(&self) -> u16 {
        self.seal.slot()
    }
}

/// The node's end of a lane.
pub struct NodeLane {
    router: VerifiedPeer,
    connection: quinn::Connection,
    exporter: Exporter,
    pub(crate) outbox: Outbox,
    recv: RecvStream,
    intake: Intake,
    seals: Seals,
    window: ReplayWindow,
    dispatch: Dispatch,
    now: Now,
}

impl NodeLane {
    /// Opens the lane's stream and says Hello on it.
    pub(crate) async fn open(
        connection: quinn::Connection,
        router: VerifiedPeer,
        hello: NodeMessage,
        now: Now,
    ) -> Result<Self, LaneEnd> {
        let exporter = Exporter::of(&connection)?;
        let (send, recv) = connection.open_bi().await.map_err(|e| LaneEnd::from_connection(&e))?;
        let lane = Self {
            router,
            connection,
            exporter,
            outbox: Outbox::new(send),
            recv,
            intake: Intake::default(),
            seals: Seals::default(),
            window: ReplayWindow::default(),
            dispatch: Dispatch::default(),
            now,
        };
        lane.send(&hello)?;
        Ok(lane)
    }

    /// Asks the router for manifests and shards; call it once and share it, because it counts the streams.
    #[must_use]
    pub fn fetcher(&self) -> Fetcher {
        Fetcher::new(self.connection.clone())
    }

    /// Where the router asks for shards.
    #[must_use]
    pub fn fetch_door(&self) -> FetchDoor {
        FetchDoor::new(self.connection.clone())
    }

    /// Who is at the other end.
    #[must_use]
    pub const fn router(&self) -> &VerifiedPeer {
        &self.router
    }

    /// What binds a renewal to this lane's connection.
    ///
    /// # Errors
    /// [`LaneEnd`] where TLS has nothing to give.
    pub fn renewal_exporter(&self) -> Result<[u8; 32], LaneEnd> {
        for_renewal(&self.connection)
    }

    /// Reads the next frame and checks its form, its MAC and its counter. May be dropped and called again.
    ///
    /// # Errors
    /// [`LaneEnd`]: the lane is over, because the router closed it, or sent what no router may send, or is gone.
    pub async fn next(&mut self) -> Result<RouterFrame, LaneEnd> {
        loop {
            match self.intake.take() {
                Ok(Some((header, body))) => {
                    let parts = NodeParts {
                        seals: &self.seals,
                        window: &mut self.window,
                        dispatch: &mut self.dispatch,
                    };
                    let taken = in_force(&self.router, &self.now).and_then(|()| take(parts, &header, body));
                    return match taken {
                        Ok(frame) => Ok(frame),
                        Err((refusal, detail)) => Err(self.shut(refusal, &detail)),
                    };
                }
                Ok(None) => {
                    if let Err(end) = fill(&mut self.recv, &mut self.intake, &self.outbox).await {
                        let reason = self.connection.close_reason();
                        return Err(reason.map_or(end, |reason| LaneEnd::from_connection(&reason)));
                    }
                }
                Err(error) => return Err(self.shut(error.refusal(), &error.to_string())),
            }
        }
    }

    /// Whether its connection is over, as the next read would say.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.connection.close_reason().is_some()
    }

    /// The rows of the dispatch that was read last.
    #[must_use]
    pub const fn dispatch(&self) -> &Dispatch {
        &self.dispatch
    }

    /// Takes the rows of the dispatch that was read last, to work on them elsewhere; give the buffers back with
    /// [`Self::restore`] so that they are used again.
    #[must_use]
    pub fn take_dispatch(&mut self) -> Dispatch {
        std::mem::take(&mut self.dispatch)
    }

    /// Gives buffers back.
    pub fn restore(&mut self, dispatch: Dispatch) {
        self.dispatch = dispatch;
    }

    /// Says something to the router.
    ///
    /// # Errors
    /// [`LaneEnd`] where the lane is over, or the router reads nothing.
    pub fn send(&self, message: &NodeMessage) -> Result<(), LaneEnd> {
        let frame = encode_control(message).map_err(|e| LaneEnd::RefusedHere(e.refusal(), e.to_string()))?;
        self.outbox.send(frame).map_err(|refused| self.not_sent(&refused))
    }

    /// Seals frames under the next token slot: call it once for each `Welcome`, in order.
    ///
    /// # Errors
    /// [`LaneEnd`] after 65,536 tokens on one lane.
    pub fn activate(&mut self, permit: &Permit) -> Result<u16, LaneEnd> {
        match self.seals.add(&self.exporter, permit) {
            Some(seal) => Ok(seal.slot()),
            None => Err(self.shut(Refusal::SessionOrder, "too many tokens on one lane")),
        }
    }

    /// Answers a dispatch.
    ///
    /// # Errors
    /// [`LaneEnd`] where the lane is over, or the router reads nothing.
    pub fn answer(&self, asked: &Asked, combine: &Combine) -> Result<(), LaneEnd> {
        let mut frame = self.outbox.frame(combine.frame_bytes());
        if let Err(error) = combine.encode(&mut frame) {
            return Err(self.shut(Refusal::SessionInternal, &error.to_string()));
        }
        let len = u32::try_from(frame.len() - HEADER_BYTES).unwrap_or(u32::MAX);
        let header =
            FrameHeader { len, kind: Kind::Combine, token_slot: 0, counter: 0, seq: asked.seq, mac: [0; 16] };
        self.outbox.send_sealed(&asked.seal, header, frame).map_err(|refused| self.not_sent(&refused))
    }

    /// Closes the lane and tells the router why.
    pub fn shut(&self, refusal: Refusal, detail: &str) -> LaneEnd {
        self.connection.close(code(refusal), detail.as_bytes());
        LaneEnd::RefusedHere(refusal, detail.to_owned())
    }

    fn not_sent(&self, refused: &SendRefused) -> LaneEnd {
        match refused {
            SendRefused::Gone => self.connection.close_reason().map_or_else(
                || LaneEnd::Lost("its stream was closed".into()),
                |reason| LaneEnd::from_connection(&reason),
            ),
            SendRefused::Full(bytes) => {
                self.shut(Refusal::SessionIdle, &format!("{bytes} bytes wait and nothing is read"))
            }
        }
    }
}

/// What a node's lane judges a frame with.
pub(crate) struct NodeParts<'a> {
    pub(crate) seals: &'a Seals,
    pub(crate) window: &'a mut ReplayWindow,
    pub(crate) dispatch: &'a mut Dispatch,
}

/// Takes one frame of a router: its MAC, its counter, its body.
pub(crate) fn take(
    parts: NodeParts<'_>,
    header: &FrameHeader,
    body: &[u8],
) -> Result<RouterFrame, (Refusal, String)> {
    match header.kind {
        Kind::Control => {
            let message = decode_control(body).map_err(|e| (e.refusal(), e.to_string()))?;
            Ok(RouterFrame::Message(Box::new(message)))
        }
        Kind::Dispatch => {
            let seal = parts.seals.check(header).map_err(|r| (r, "the header's MAC".to_owned()))?;
            if !parts.window.accept(header.counter) {
                return Err((Refusal::Replay, format!("counter {}", header.counter)));
            }
            parts.dispatch.decode(body).map_err(|e| (e.refusal(), e.to_string()))?;
            Ok(RouterFrame::Dispatch(Asked { seal: Arc::clone(seal), seq: header.seq }))
        }
        Kind::Combine => Err((Refusal::SessionShape, "a router sends no combines".to_owned())),
    }
}
