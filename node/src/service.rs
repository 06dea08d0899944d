//! One lane from Hello to its end, in one task: a frame is read, judged, computed and answered before the next.

mod consents;
mod denials;
mod fetching;
mod heads;
mod policy;
mod receipts;
mod renewing;
mod rotation;
mod working;

use std::collections::BTreeMap;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use counterfoil_model::{ExpertBank, Manifest};
use counterfoil_session::{LaneEnd, NodeEndpoint, NodeLane, RouterFrame};
use counterfoil_spec::ids::{ManifestId, Serial};
use counterfoil_spec::message::{NodeMessage, Progress, Proposal, RouterMessage};
use counterfoil_spec::refusal::Refusal;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::config::NodeError;
use crate::fetch::Courier;
use crate::hosting::{Hosted, Pending};
use crate::node::Node;
use crate::sharing::Sharing;
use crate::status::Stage;
use heads::Heads;
use renewing::Renewing;
use rotation::{Rotation, Turn};

/// How long a node that leaves waits for what is open, in milliseconds.
const DRAIN_MS: u64 = 10_000;

/// How often a node looks for orders of its operator.
pub(crate) const LOOK: Duration = Duration::from_millis(200);

/// How long after a lane's beginning shards that no token covers are kept all the same, in milliseconds: the router
/// proposes again what it proposed before, and nothing should be fetched twice for that.
const SETTLE_MS: u64 = 30_000;

/// How a lane was left.
#[derive(Debug)]
pub(crate) enum Left {
    /// In good order, as the operator wanted.
    Done,
    /// Not as wanted; the node comes back.
    Broken(String),
    /// The router serves this node no more; it does not come back.
    Denied(String),
    /// A copy of this node's keys has taken its place; it does not come back.
    Superseded(String),
    /// The router's log contradicts itself; nothing that this node signed for it stands, and it does not come back.
    Contradicted(String),
}

/// A lane and what is going on on it.
pub(crate) struct Service<'a> {
    node: &'a mut Node,
    lane: NodeLane,
    hosted: Vec<Hosted>,
    pending: Vec<Pending>,
    /// When to renew which consent token.
    renewing: Renewing,
    loading: JoinSet<(Serial, Result<Arc<ExpertBank>, String>)>,
    courier: Courier,
    sharing: Arc<Sharing>,
    /// Proposals whose manifest is being fetched.
    arriving: JoinSet<(Proposal, Result<Arc<Manifest>, String>)>,
    arriving_ids: Vec<ManifestId>,
    /// When to tell the router how far fetching is.
    report: Option<Instant>,
    /// What it was told of it last, by model.
    reported: BTreeMap<ManifestId, Progress>,
    /// When the router has had time to propose what it wants.
    settles: Option<Instant>,
    draining: Option<Instant>,
    /// When to look for orders of the operator.
    look: Instant,
    /// Whether the policy's hours are over.
    closed: bool,
    /// From one certificate to the next.
    rotation: Rotation,
    heads: Heads,
}

type Step = Result<(), LaneEnd>;

impl<'a> Service<'a> {
    pub(crate) fn new(node: &'a mut Node, lane: NodeLane, endpoint: NodeEndpoint) -> Self {
        let (courier, sharing) = carriers(node, &lane);
        let rotation = Rotation::new(endpoint, node, &lane);
        Self {
            node,
            lane,
            hosted: Vec::new(),
            pending: Vec::new(),
            renewing: Renewing::default(),
            loading: JoinSet::new(),
            courier,
            sharing,
            arriving: JoinSet::new(),
            arriving_ids: Vec::new(),
            report: None,
            reported: BTreeMap::new(),
            settles: Some(Instant::now() + Duration::from_millis(SETTLE_MS)),
            draining: None,
            look: Instant::now(),
            closed: false,
            rotation,
            heads: Heads::default(),
        }
    }

    /// Serves the lane until it ends or the node has left it.
    pub(crate) async fn run(
        mut self,
        mut shutdown: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<Left, NodeError> {
        self.node.status.send_modify(|status| status.stage = Stage::Connected);
        let log = self.node.log.clone();
        let mut lost = pin!(log.lost());
        let left = match self.begin() {
            Ok(()) => loop {
                let step = tokio::select! {
                    biased;
                    step = self.step(shutdown.as_mut()) => step,
                    error = &mut lost => {
                        self.lane.shut(Refusal::SessionInternal, "the node cannot write its log");
                        return Err(error.into());
                    }
                };
                if let Err(end) = step {
                    break self.left(end);
                }
                if self.has_left() {
                    self.lane.shut(Refusal::SessionDrain, "the node has finished");
                    break Left::Done;
                }
            },
            Err(end) => self.left(end),
        };
        let draining = self.draining.is_some();
        self.bury();
        self.abandon();
        Ok(match left {
            left @ Left::Contradicted(_) => left,
            _ if draining => Left::Done,
            left => left,
        })
    }

    /// Waits for whatever comes first and deals with it.
    async fn step(&mut self, shutdown: Pin<&mut impl Future<Output = ()>>) -> Step {
        let (drained, report, settles) = (self.draining, self.report, self.settles);
        // First, because a lane on which frames never cease must not keep the operator waiting.
        if self.look <= Instant::now() {
            self.obey()?;
            self.heed_root()?;
            self.keep_hours()?;
        }
        if self.node.policy.has_changed().unwrap_or(false) {
            self.change_policy()?;
        }
        while let Ok(cti) = self.node.revoked.try_recv() {
            self.revoke(&cti)?;
        }
        let look = self.look;
        let renewal = self.next_renewal();
        let release = self.next_release();
        tokio::select! {
            biased;
            side = either(&mut self.lane, &mut self.rotation) => match side {
                Side::Lane(frame) => match frame? {
                    RouterFrame::Dispatch(asked) => self.dispatched(&asked).await,
                    RouterFrame::Message(message) => {
                        self.miss_elder()?;
                        self.told(*message)
                    }
                },
                Side::Rotation(turn) => self.turned(turn).await,
            },
            () = shutdown, if drained.is_none() => self.drain(),
            () = until(Some(look)) => Ok(()),
            Some(loaded) = self.loading.join_next() => match loaded {
                Ok((cti, bank)) => self.loaded(&cti, bank),
                // Its consent token was withdrawn.
                Err(error) if error.is_cancelled() => Ok(()),
                Err(error) => Err(self.lane.shut(Refusal::SessionInternal, &error.to_string())),
            },
            Some(arrived) = self.arriving.join_next() => match arrived {
                Ok((proposal, manifest)) => self.arrived(proposal, manifest),
                Err(error) => Err(self.lane.shut(Refusal::SessionInternal, &error.to_string())),
            },
            () = until(report), if report.is_some() => self.report_all(),
            () = until(settles), if settles.is_some() => {
                self.settles = None;
                self.node.store.settle();
                Ok(())
            }
            answer = self.heads.answer() => self.answer_head(answer),
            Some(cti) = self.node.revoked.recv() => self.revoke(&cti),
            Ok(()) = self.node.policy.changed() => self.change_policy(),
            () = until(renewal), if renewal.is_some() => self.renew(),
            () = until(release), if release.is_some() => {
                self.release();
                Ok(())
            }
            () = until(drained), if drained.is_some() => {
                Err(self.lane.shut(Refusal::SessionDrain, "the node does not wait any longer"))
            }
        }
    }

    /// How a lane that ended so was left. One whose certificate was denied, or the CA of that, says nothing of a newer
    /// certificate, with which the node comes back; nor does one to a router whose certificate the root denies, which may
    /// come back with another.
    fn left(&self, end: LaneEnd) -> Left {
        if let Some(fault) = self.heads.contradiction() {
            return Left::Contradicted(fault.to_owned());
        }
        if self.node.root_denials.denies(self.lane.router()) {
            return Left::Broken("the network's root denies the router's certificate".to_owned());
        }
        match Left::from(end) {
            Left::Denied(words) if self.rotation.has_newer(self.node) && !self.is_denied() => {
                Left::Broken(words)
            }
            left => left,
        }
    }

    /// What is said before anything else.
    fn begin(&mut self) -> Step {
        if self.node.config.epoch > 1 {
            self.lane.send(&NodeMessage::Terms(self.node.terms()))?;
        }
        let told = self.obey()?;
        //= spec/consent.md#withdrawal
        //# A node MUST tell the router at the beginning of each lane what it has withdrawn of tokens that are not over:
        let withdrawn = self.node.outstanding.withdrawn((self.node.config.now)().seconds());
        for cti in withdrawn.iter().filter(|cti| !told.contains(cti)) {
            self.lane.send(&NodeMessage::Revoke(*cti))?;
        }
        self.resend()
    }

    fn told(&mut self, message: RouterMessage) -> Step {
        match message {
            RouterMessage::Propose(proposal) => self.proposed(proposal),
            RouterMessage::Welcome(welcome) => self.welcomed(&welcome),
            RouterMessage::Refused(refusal, detail) => {
                //= spec/session.md#control-messages
                //# A router MUST answer the consent tokens of a lane in the order in which they came
                if !self.pending.is_empty() {
                    self.pending.remove(0);
                }
                self.cover();
                tracing::warn!(%refusal, %detail, "the router refused a consent token");
                self.node.status.send_modify(|s| s.refused = Some(format!("{refusal}: {detail}")));
                Ok(())
            }
            RouterMessage::Deny(list) => {
                self.was_let_in();
                self.deny(list)
            }
            RouterMessage::Renewal(renewal) => self.renewed(renewal),
            RouterMessage::Open(order) => self.opened(&order),
            RouterMessage::Close(close) => self.closed(&close),
            RouterMessage::Unused(unused) => {
                let due = self.node.work.unused(unused, (self.node.config.now)());
                due.map_or(Ok(()), |due| self.receipt(&due, false))
            }
            RouterMessage::Ack(ack) => self.acked(&ack),
            RouterMessage::Head(head) => self.head_came(head),
            RouterMessage::Ping(nonce) => self.lane.send(&NodeMessage::Pong(nonce)),
            RouterMessage::Drain => {
                tracing::info!("the router is going away");
                Ok(())
            }
        }
    }

    fn drain(&mut self) -> Step {
        self.draining = Some(Instant::now() + Duration::from_millis(DRAIN_MS));
        self.heads.leave();
        self.node.status.send_modify(|status| status.stage = Stage::Draining);
        self.lane.send(&NodeMessage::Drain)
    }

    fn has_left(&self) -> bool {
        self.draining.is_some()
            && self.node.work.is_over()
            && self.rotation.is_over()
            && self.heads.are_over()
    }
}

/// What brings shards over a lane, and what passes them on there.
fn carriers(node: &Node, lane: &NodeLane) -> (Courier, Arc<Sharing>) {
    let (store, config) = (&node.store, &node.config);
    let courier = Courier::new(Arc::clone(store), lane.fetcher(), node.hub.clone());
    store.unsettle();
    let id = config.identity.key.public().node_id();
    let fresh = node.denials.fresh();
    let sharing = Sharing::new(id, config.share_weights, Arc::clone(store), (Arc::clone(&config.now), fresh));
    let sharing = Arc::new(sharing);
    let own = Arc::clone(&sharing);
    // Ends with the lane's connection.
    tokio::spawn(lane.fetch_door().serve(move |asked, reply| Arc::clone(&own).answer(asked, reply)));
    (courier, sharing)
}

/// Where something comes from.
enum Side {
    Lane(Result<RouterFrame, LaneEnd>),
    Rotation(Turn),
}

/// Waits for the lane and for what a rotation brings, the lane before it among that; neither keeps the other waiting.
async fn either(lane: &mut NodeLane, rotation: &mut Rotation) -> Side {
    tokio::select! {
        frame = lane.next() => Side::Lane(frame),
        turn = rotation.turn() => Side::Rotation(turn),
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
