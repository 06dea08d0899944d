//! From one certificate to the next without dropped work: asked for on the lane when the last one is half over, kept on
//! disk, shown on a second connection. From then on that lane is the node's; on the one before it what was begun is
//! finished, until the router says that nothing is ordered there any more and everything is settled.

mod asking;

use std::collections::BTreeSet;
use std::time::Duration;

use counterfoil_identity::certificate_serial;
use counterfoil_session::{ConnectError, LaneEnd, NodeEndpoint, NodeLane, RouterFrame};
use counterfoil_spec::ids::Serial;
use counterfoil_spec::message::RouterMessage;
use counterfoil_spec::refusal::Refusal;
use tokio::task::JoinSet;
use tokio::time::Instant;

use self::asking::{Asked, ask_at};
use super::heads::Heads;
use super::renewing::Renewing;
use super::{Service, Step, carriers, until};
use crate::backoff::Backoff;
use crate::hosting::Hosted;
use crate::node::Node;
use crate::pair;
use crate::work::OpenWork;

/// The least wait before something that failed is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// How far a rotation is.
pub(crate) struct Rotation {
    endpoint: NodeEndpoint,
    /// When to ask for the next certificate.
    ask_at: Option<Instant>,
    asked: Asked,
    /// The operator's orders to ask for which nothing was asked yet.
    ordered: Vec<Serial>,
    /// When to open the lane with a certificate that is on disk.
    connect_at: Option<Instant>,
    coming: JoinSet<Result<NodeLane, ConnectError>>,
    backoff: Backoff,
    elder: Option<Elder>,
    /// Whether the certificate of this lane was not shown before.
    fresh: bool,
    /// Its serial number.
    shown: Option<Serial>,
}

/// The lane of the certificate before.
struct Elder {
    lane: NodeLane,
    hosted: Vec<Hosted>,
    open: OpenWork,
    /// Whether the router orders nothing more there.
    leaving: bool,
    /// What was asked for there.
    asked: Asked,
}

/// What a rotation brings next.
pub(super) enum Turn {
    /// It is time to ask.
    Ask,
    /// It is time to connect with the next certificate.
    Connect,
    /// The second connection stands, or does not come about.
    Came(Box<Result<NodeLane, ConnectError>>),
    /// Something came on the earlier lane, or its end.
    Elder(Result<RouterFrame, LaneEnd>),
}

impl Rotation {
    pub(super) fn new(endpoint: NodeEndpoint, node: &Node, lane: &NodeLane) -> Self {
        Self {
            endpoint,
            ask_at: Some(ask_at(node, lane)),
            asked: Asked::default(),
            ordered: Vec::new(),
            connect_at: None,
            coming: JoinSet::new(),
            backoff: Backoff::default(),
            elder: None,
            fresh: true,
            shown: newest(node),
        }
    }

    /// Waits for the next step. May be dropped and called again.
    pub(super) async fn turn(&mut self) -> Turn {
        // A node has two connections at most.
        let is_free = self.elder.is_none() && self.coming.is_empty();
        let ask = self.ask_at.filter(|_| is_free && self.connect_at.is_none());
        let connect = self.connect_at.filter(|_| is_free);
        tokio::select! {
            frame = elder_frame(&mut self.elder) => Turn::Elder(frame),
            Some(came) = self.coming.join_next() => {
                Turn::Came(Box::new(came.unwrap_or_else(|e| Err(ConnectError::Handshake(e.to_string())))))
            }
            () = until(ask), if ask.is_some() => Turn::Ask,
            () = until(connect), if connect.is_some() => Turn::Connect,
        }
    }

    /// The operator wants the next certificate now, and waits to hear.
    pub(super) fn hasten(&mut self, orders: Vec<Serial>) {
        self.ordered.extend(orders);
        self.ask_at = Some(Instant::now());
    }

    /// The operator's orders that are known and not answered.
    pub(super) fn orders(&self) -> BTreeSet<Serial> {
        self.ordered.iter().chain(self.asked.orders()).copied().collect()
    }

    /// Whether the node has a newer certificate than that of this lane.
    pub(super) fn has_newer(&self, node: &Node) -> bool {
        newest(node) != self.shown
    }

    /// Whether nothing is open on an earlier lane.
    pub(super) fn is_over(&self) -> bool {
        self.elder.as_ref().is_none_or(|elder| elder.open.is_over())
    }

    /// Whether a receipt of this order is the earlier lane's to hand in.
    pub(super) fn elder_has(&self, serial: &Serial) -> bool {
        self.elder.as_ref().is_some_and(|elder| elder.open.has(serial))
    }

    /// What is hosted on the earlier lane.
    pub(super) fn elder_hosted(&self) -> &[Hosted] {
        self.elder.as_ref().map_or(&[], |elder| &elder.hosted)
    }

    /// The same, to be changed.
    pub(super) fn elder_hosted_mut(&mut self) -> &mut [Hosted] {
        self.elder.as_mut().map_or(&mut [], |elder| &mut elder.hosted)
    }
}

impl Service<'_> {
    pub(super) async fn turned(&mut self, turn: Turn) -> Step {
        match turn {
            // A node that leaves begins nothing.
            Turn::Ask | Turn::Connect if self.draining.is_some() => {
                (self.rotation.ask_at, self.rotation.connect_at) = (None, None);
                Ok(())
            }
            Turn::Ask => self.ask_for_the_next(),
            Turn::Connect => self.connect_again(),
            Turn::Came(came) => match *came {
                Ok(lane) if self.draining.is_some() => {
                    lane.shut(Refusal::SessionDrain, "the node leaves");
                    Ok(())
                }
                Ok(lane) => self.go_on_with(lane),
                Err(ConnectError::RefusedByPeer { refusal: Refusal::CertSuperseded, detail }) => {
                    Err(LaneEnd::RefusedByPeer(Refusal::CertSuperseded, detail))
                }
                Err(error) => {
                    tracing::warn!(%error, "no second connection with the next certificate; trying again");
                    let wait = self.rotation.backoff.next().max(AGAIN);
                    self.rotation.connect_at = Some(Instant::now() + wait);
                    Ok(())
                }
            },
            Turn::Elder(Ok(frame)) => self.elder_said(frame).await,
            Turn::Elder(Err(end)) => {
                tracing::info!(%end, "the lane of the certificate before is over");
                self.bury();
                self.resend()
            }
        }
    }

    fn connect_again(&mut self) -> Step {
        self.rotation.connect_at = None;
        let connecting = self.node.connecting(&self.rotation.endpoint);
        self.rotation.coming.spawn(connecting.map_err(|e| LaneEnd::Lost(e.to_string()))?);
        Ok(())
    }

    /// The lane with the next certificate takes the place of this one, which goes on with what was begun.
    fn go_on_with(&mut self, lane: NodeLane) -> Step {
        let (courier, sharing) = carriers(self.node, &lane);
        let next = Rotation::new(self.rotation.endpoint.clone(), self.node, &lane);
        let asked = std::mem::replace(&mut self.rotation, next).asked;
        let lane = std::mem::replace(&mut self.lane, lane);
        let hosted = std::mem::take(&mut self.hosted);
        // What was not ready there is proposed anew, and loads over the new lane.
        hosted.iter().filter(|h| h.bank.is_none()).for_each(|h| h.loading.abort());
        let mut elder = Elder { lane, hosted, open: OpenWork::default(), leaving: false, asked };
        self.node.work.change_lanes(&mut elder.open);
        (self.courier, self.sharing) = (courier, sharing);
        self.pending.clear();
        self.renewing = Renewing::default();
        self.reported.clear();
        self.arriving = JoinSet::new();
        self.arriving_ids.clear();
        self.heads = Heads::default();
        if elder.hosted.iter().any(|h| h.bank.is_some() && !h.withdrawn) {
            self.rotation.elder = Some(elder);
        } else {
            // Nothing was ever ordered there, or nothing is any more.
            elder.lane.shut(Refusal::SessionDrain, "the node goes on on another lane");
        }
        self.begin()
    }

    /// The router has let this node in with the certificate of this lane.
    pub(super) fn was_let_in(&mut self) {
        if !std::mem::take(&mut self.rotation.fresh) {
            return;
        }
        self.node.let_in_with = self.rotation.shown;
        if let Err(error) = pair::settle(&self.node.config.home.join("identity")) {
            tracing::error!(%error, "the certificate in use stays beside the one before it");
        }
    }

    /// A frame of the earlier lane is dealt with as on this one, but for what would begin something there.
    async fn elder_said(&mut self, frame: RouterFrame) -> Step {
        self.change_lanes();
        let step = match frame {
            RouterFrame::Dispatch(asked) => self.dispatched(&asked).await,
            RouterFrame::Message(message) => match *message {
                RouterMessage::Propose(_) | RouterMessage::Welcome(_) | RouterMessage::Refused(..) => Ok(()),
                RouterMessage::Drain => {
                    if let Some(now) = &mut self.rotation.elder {
                        now.leaving = true;
                    }
                    Ok(())
                }
                RouterMessage::Deny(list) => self.deny(list),
                // The next one on the lane that takes its place covers the same.
                RouterMessage::Head(_) => Ok(()),
                // What was asked for there more than once is answered there more than once.
                RouterMessage::Renewal(_)
                    if self.rotation.elder.as_mut().is_some_and(|elder| elder.asked.pass_over()) =>
                {
                    Ok(())
                }
                other => self.told(other),
            },
        };
        self.change_lanes();
        let elder = self.rotation.elder.as_ref();
        let is_done = elder.is_some_and(|elder| elder.leaving && elder.open.is_over());
        match step {
            Err(end) => {
                tracing::warn!(%end, "the lane of the certificate before is over");
                self.bury();
                self.resend()
            }
            Ok(()) if is_done => {
                if let Some(elder) = &self.rotation.elder {
                    elder.lane.shut(Refusal::SessionDrain, "the node goes on on another lane");
                }
                self.bury();
                self.resend()
            }
            Ok(()) => Ok(()),
        }
    }

    /// The two lanes change places.
    fn change_lanes(&mut self) {
        let Some(elder) = &mut self.rotation.elder else { return };
        std::mem::swap(&mut self.lane, &mut elder.lane);
        std::mem::swap(&mut self.hosted, &mut elder.hosted);
        self.node.work.change_lanes(&mut elder.open);
    }

    /// What an end of the earlier lane has freed is free before an order on this one is judged.
    pub(super) fn miss_elder(&mut self) -> Step {
        if !self.rotation.elder.as_ref().is_some_and(|elder| elder.lane.is_over()) {
            return Ok(());
        }
        self.bury();
        self.resend()
    }

    /// Ends the earlier lane where the root denies the certificate that its router showed there.
    pub(super) fn heed_root_on_elder(&mut self) -> Step {
        let denies = |elder: &&Elder| self.node.root_denials.denies(elder.lane.router());
        let Some(elder) = self.rotation.elder.as_ref().filter(denies) else { return Ok(()) };
        elder.lane.shut(Refusal::CertDenied, "the network's root denies this router's earlier certificate");
        self.bury();
        self.resend()
    }

    /// The earlier lane is gone: what was done there is signed and kept.
    pub(super) fn bury(&mut self) {
        let Some(mut elder) = self.rotation.elder.take() else { return };
        elder.lane.shut(Refusal::SessionDrain, "the node goes on on another lane");
        self.node.work.change_lanes(&mut elder.open);
        self.abandon();
        self.node.work.change_lanes(&mut elder.open);
        drop(elder);
        self.node.shelf.sweep();
    }
}

/// The serial number of the certificate that a node shows next.
fn newest(node: &Node) -> Option<Serial> {
    certificate_serial(&node.config.identity.credentials.chain().leaf).ok()
}

async fn elder_frame(elder: &mut Option<Elder>) -> Result<RouterFrame, LaneEnd> {
    match elder {
        Some(elder) => elder.lane.next().await,
        None => std::future::pending().await,
    }
}
