//! A lane without a connection: judges bytes as a fresh lane would, with the same code, so that anybody's bytes can be
//! tried. Nothing is sent, and nobody waits for an answer.

use counterfoil_consent::{Permit, ReplayWindow};
use counterfoil_identity::Refused;
use counterfoil_spec::message::NodeMessage;
use counterfoil_spec::refusal::Refusal;
use tokio::sync::mpsc;

use crate::frame::{Combine, Dispatch, FrameHeader, Intake};
use crate::lane::{Desk, MAX_EVENTS, RouterParts, first, take_of_node};
use crate::node_lane::{NodeParts, take};
use crate::token::{Exporter, Seals};

/// One end of such a lane.
pub struct Rehearsal {
    intake: Intake,
    window: ReplayWindow,
    end: End,
}

enum End {
    Node { seals: Seals, dispatch: Box<Dispatch> },
    Router { desk: Box<Desk>, greeted: bool, combine: Combine, events: Events },
}

/// Both ends of the queue of a lane's events.
type Events = (mpsc::Sender<NodeMessage>, mpsc::Receiver<NodeMessage>);

impl Rehearsal {
    /// A node's end, at which these consent tokens were welcomed in this order.
    ///
    /// # Errors
    /// `S_ORDER` for more tokens than a lane has slots.
    pub fn node(exporter: [u8; 32], welcomed: &[Permit]) -> Result<Self, Refused> {
        let (exporter, mut seals) = (Exporter(exporter), Seals::default());
        for permit in welcomed {
            seals.add(&exporter, permit).ok_or_else(too_many)?;
        }
        Ok(Self::fresh(End::Node { seals, dispatch: Box::default() }))
    }

    /// A router's end, which has welcomed these consent tokens in this order as soon as Hello came.
    ///
    /// # Errors
    /// `S_ORDER` for more tokens than a lane has slots.
    pub fn router(exporter: [u8; 32], welcomed: &[Permit]) -> Result<Self, Refused> {
        let (exporter, desk) = (Exporter(exporter), Box::<Desk>::default());
        for permit in welcomed {
            desk.add_token(&exporter, permit).ok_or_else(too_many)?;
        }
        let events = mpsc::channel(MAX_EVENTS);
        Ok(Self::fresh(End::Router { desk, greeted: false, combine: Combine::default(), events }))
    }

    fn fresh(end: End) -> Self {
        Self { intake: Intake::default(), window: ReplayWindow::default(), end }
    }

    /// Takes bytes as they arrive, and every frame that they complete.
    ///
    /// # Errors
    /// [`Refused`] with what would have ended the lane.
    pub fn arrive(&mut self, mut bytes: &[u8]) -> Result<(), Refused> {
        loop {
            let space = self.intake.space();
            let n = space.len().min(bytes.len());
            for (to, from) in space.iter_mut().zip(bytes) {
                *to = *from;
            }
            self.intake.filled(n);
            bytes = bytes.get(n..).unwrap_or_default();
            self.frames()?;
            if bytes.is_empty() {
                return Ok(());
            }
        }
    }

    /// Whether part of a frame has arrived and the rest is waited for.
    #[must_use]
    pub const fn is_within_frame(&self) -> bool {
        self.intake.is_within_frame()
    }

    fn frames(&mut self) -> Result<(), Refused> {
        let Self { intake, window, end } = self;
        loop {
            match intake.take() {
                Ok(Some((header, body))) => end
                    .take(window, &header, body)
                    .map_err(|(refusal, detail)| Refused { refusal, detail })?,
                Ok(None) => return Ok(()),
                Err(error) => return Err(Refused { refusal: error.refusal(), detail: error.to_string() }),
            }
        }
    }
}

impl End {
    fn take(
        &mut self,
        window: &mut ReplayWindow,
        header: &FrameHeader,
        body: &[u8],
    ) -> Result<(), (Refusal, String)> {
        match self {
            Self::Node { seals, dispatch } => {
                take(NodeParts { seals, window, dispatch }, header, body).map(drop)
            }
            Self::Router { greeted, .. } if !*greeted => {
                *greeted = true;
                first(header, body).map(drop)
            }
            Self::Router { desk, combine, events, .. } => {
                take_of_node(RouterParts { desk, window, events: &events.0, combine }, header, body)
            }
        }
    }
}

fn too_many() -> Refused {
    Refused { refusal: Refusal::SessionOrder, detail: "too many tokens on one lane".to_owned() }
}
