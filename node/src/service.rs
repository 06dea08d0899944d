//! One lane from Hello to its end, in one task: a frame is read, judged, computed and answered before the next.

mod consents;
mod denials;
mod fetching;
mod policy;
mod receipts;

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use counterfoil_audit::NewEntry;
use counterfoil_audit::cost::evidence;
use counterfoil_consent::Booking;
use counterfoil_identity::random;
use counterfoil_model::{ExpertBank, Manifest};
use counterfoil_session::frame::Dispatch;
use counterfoil_session::{Asked, LaneEnd, NodeLane, RouterFrame};
use counterfoil_spec::amount::TokenCount;
use counterfoil_spec::ids::{ManifestId, Serial};
use counterfoil_spec::message::{CloseSlot, NodeMessage, Proposal, RouterMessage, SignedOpen};
use counterfoil_spec::payload::QuotaLease;
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::time::Millis;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::compute::{answer, compute};
use crate::config::NodeError;
use crate::fetch::Courier;
use crate::hosting::{Hosted, Pending};
use crate::node::Node;
use crate::sharing::Sharing;
use crate::status::Stage;
use crate::work::permit_for;

/// Weight bytes that one dispatch may read on the session's own task; more goes to a thread of its own, so that
/// QUIC's timers are served meanwhile.
const INLINE_WEIGHT_BYTES: u64 = 8 * 1024 * 1024;
/// How long a node that leaves waits for what is open, in milliseconds.
const DRAIN_MS: u64 = 10_000;

/// How often a node looks for orders of its operator.
const LOOK: Duration = Duration::from_millis(200);

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
}

/// A lane and what is going on on it.
pub(crate) struct Service<'a> {
    node: &'a mut Node,
    lane: NodeLane,
    hosted: Vec<Hosted>,
    pending: Vec<Pending>,
    /// When to renew which consent token, the next one first.
    renewals: Vec<(Instant, Serial)>,
    loading: JoinSet<(Serial, Result<Arc<ExpertBank>, String>)>,
    courier: Courier,
    sharing: Arc<Sharing>,
    /// Proposals whose manifest is being fetched.
    arriving: JoinSet<(Proposal, Result<Arc<Manifest>, String>)>,
    arriving_ids: Vec<ManifestId>,
    /// When to tell the router how far fetching is.
    report: Option<Instant>,
    /// When the router has had time to propose what it wants.
    settles: Option<Instant>,
    draining: Option<Instant>,
    /// When to look for orders of the operator.
    look: Instant,
    /// Whether the policy's hours are over.
    closed: bool,
}

type Step = Result<(), LaneEnd>;

impl<'a> Service<'a> {
    pub(crate) fn new(node: &'a mut Node, lane: NodeLane) -> Self {
        let (store, config) = (&node.store, &node.config);
        let courier = Courier::new(Arc::clone(store), lane.fetcher(), node.hub.clone());
        store.unsettle();
        let id = config.identity.key.public().node_id();
        let fresh = node.denials.fresh();
        let sharing =
            Sharing::new(id, config.share_weights, Arc::clone(store), (Arc::clone(&config.now), fresh));
        let sharing = Arc::new(sharing);
        let own = Arc::clone(&sharing);
        // Ends with the lane's connection.
        tokio::spawn(lane.fetch_door().serve(move |asked, reply| Arc::clone(&own).answer(asked, reply)));
        Self {
            node,
            lane,
            hosted: Vec::new(),
            pending: Vec::new(),
            renewals: Vec::new(),
            loading: JoinSet::new(),
            courier,
            sharing,
            arriving: JoinSet::new(),
            arriving_ids: Vec::new(),
            report: None,
            settles: Some(Instant::now() + Duration::from_millis(SETTLE_MS)),
            draining: None,
            look: Instant::now(),
            closed: false,
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
                    break Left::from(end);
                }
                if self.has_left() {
                    self.lane.shut(Refusal::SessionDrain, "the node has finished");
                    break Left::Done;
                }
            },
            Err(end) => Left::from(end),
        };
        let draining = self.draining.is_some();
        self.abandon();
        Ok(if draining { Left::Done } else { left })
    }

    /// Waits for whatever comes first and deals with it.
    async fn step(&mut self, shutdown: Pin<&mut impl Future<Output = ()>>) -> Step {
        let renewal = self.renewals.first().map(|(at, _)| *at);
        let (drained, report, settles) = (self.draining, self.report, self.settles);
        // First, because a lane on which frames never cease must not keep the operator waiting.
        if self.look <= Instant::now() {
            self.obey()?;
            self.keep_hours()?;
        }
        if self.node.policy.has_changed().unwrap_or(false) {
            self.change_policy()?;
        }
        while let Ok(cti) = self.node.revoked.try_recv() {
            self.revoke(&cti)?;
        }
        let look = self.look;
        let release = self.next_release();
        tokio::select! {
            biased;
            frame = self.lane.next() => match frame? {
                RouterFrame::Dispatch(asked) => self.dispatched(&asked).await,
                RouterFrame::Message(message) => self.told(*message),
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
            () = until(report), if report.is_some() => self.report(),
            () = until(settles), if settles.is_some() => {
                self.settles = None;
                self.node.store.settle();
                Ok(())
            }
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
                tracing::warn!(%refusal, detail, "the router refused a consent token");
                self.node.status.send_modify(|s| s.refused = Some(format!("{refusal}: {detail}")));
                Ok(())
            }
            RouterMessage::Deny(list) => self.deny(list),
            RouterMessage::Open(order) => self.opened(&order),
            RouterMessage::Close(close) => self.closed(&close),
            RouterMessage::Unused(unused) => {
                let due = self.node.work.unused(unused, (self.node.config.now)());
                due.map_or(Ok(()), |due| self.receipt(&due, false))
            }
            RouterMessage::Ack(ack) => self.acked(&ack),
            RouterMessage::Ping(nonce) => self.lane.send(&NodeMessage::Pong(nonce)),
            RouterMessage::Drain => {
                tracing::info!("the router is going away");
                Ok(())
            }
        }
    }

    async fn dispatched(&mut self, asked: &Asked) -> Step {
        let token_slot = asked.token_slot();
        let now = (self.node.config.now)();
        let hosted = self.hosted.get(usize::from(token_slot));
        // A seal exists only for a token in this list, so a missing one is a fault of ours.
        let Some(hosted) = hosted else {
            return Err(self.lane.shut(Refusal::SessionInternal, "a sealed frame without a token"));
        };
        let judged = self.node.work.judge(self.lane.dispatch(), (token_slot, hosted), now);
        book(self.node, now).map_err(|e| self.lane.shut(Refusal::SessionInternal, &e.to_string()))?;
        let (bank, expert_bytes) = (hosted.bank.clone(), hosted.expert_bytes);
        let mut dispatch = self.lane.take_dispatch();
        let combine = match bank {
            // No order is taken before its experts are loaded, so there is no grant for any of this.
            None => answer(&dispatch, &vec![Err(Refusal::Grant); judged.len()], Vec::new()),
            Some(bank) if reads(expert_bytes, &dispatch) <= INLINE_WEIGHT_BYTES => {
                compute(&bank, &mut dispatch, &judged)
            }
            // Workers carry the transport meanwhile, and no other thread has to wake up.
            Some(bank) if Handle::current().runtime_flavor() == RuntimeFlavor::MultiThread => {
                let work = AssertUnwindSafe(|| compute(&bank, &mut dispatch, &judged));
                // A fault in arithmetic ends the lane that it came with, as it does on a thread of its own.
                match tokio::task::block_in_place(|| catch_unwind(work)) {
                    Ok(combine) => combine,
                    Err(_) => return Err(self.lane.shut(Refusal::SessionInternal, "the arithmetic failed")),
                }
            }
            Some(bank) => {
                let done = tokio::task::spawn_blocking(move || {
                    let combine = compute(&bank, &mut dispatch, &judged);
                    (dispatch, combine)
                });
                match done.await {
                    Ok((back, combine)) => {
                        dispatch = back;
                        combine
                    }
                    Err(error) => return Err(self.lane.shut(Refusal::SessionInternal, &error.to_string())),
                }
            }
        };
        let kept = self.node.journal.durable().await;
        kept.map_err(|e| self.lane.shut(Refusal::SessionInternal, &e.to_string()))?;
        self.lane.answer(asked, &combine)?;
        // The answer leaves while the books are kept.
        tokio::task::yield_now().await;
        let due = evidence(|| self.node.work.record(&dispatch, &combine, now));
        self.lane.restore(dispatch);
        due.iter().try_for_each(|due| self.receipt(due, false))
    }

    fn opened(&mut self, order: &SignedOpen) -> Step {
        let now = (self.node.config.now)();
        if self.node.config.policy.hours.closed(now.seconds()).is_some() {
            // The look that withdraws the tokens is at most a moment away.
            self.look = Instant::now();
            self.keep_hours()?;
        }
        let hosted = permit_for(&self.hosted, &order.grant.cti);
        match evidence(|| self.node.work.open(order, hosted, self.lane.router(), now)) {
            Ok(()) => self.book(now),
            Err(refused) => {
                tracing::warn!(refusal = %refused.refusal, detail = refused.detail, "order refused");
                self.lane.send(&NodeMessage::Refuse(refused))
            }
        }
    }

    fn closed(&mut self, close: &CloseSlot) -> Step {
        let now = (self.node.config.now)();
        let closed = evidence(|| self.node.work.close(close, now));
        self.book(now)?;
        match closed {
            Some(Ok(due)) => self.receipt(&due, true),
            Some(Err(refused)) => self.lane.send(&NodeMessage::Refuse(refused)),
            None => Err(self.lane.shut(Refusal::SessionOrder, "a close for a slot that is not open")),
        }
    }

    fn book(&mut self, now: Millis) -> Step {
        book(self.node, now).map_err(|e| self.lane.shut(Refusal::SessionInternal, &e.to_string()))
    }

    fn drain(&mut self) -> Step {
        self.draining = Some(Instant::now() + Duration::from_millis(DRAIN_MS));
        self.node.status.send_modify(|status| status.stage = Stage::Draining);
        self.lane.send(&NodeMessage::Drain)
    }

    fn has_left(&self) -> bool {
        self.draining.is_some() && self.node.work.is_over()
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Keeps what orders have taken of their day's quota by now, and begins to make it durable.
//= spec/consent.md#quotas
//# A node MUST have on its disk what an order has taken before it answers a dispatch under it, so that it survives the end of its process and of its machine's power.
fn book(node: &mut Node, now: Millis) -> std::io::Result<()> {
    let booked = node.work.take_booked();
    if booked.is_empty() {
        return Ok(());
    }
    evidence(|| node.journal.keep(&booked, now))?;
    node.journal.begin_sync();
    for booking in booked.iter().filter(|booking| booking.limited) {
        let Booking { order, cti, opened, leased, used, .. } = *booking;
        let (leased, used) = (TokenCount(leased), used.map(TokenCount));
        let lease = QuotaLease { order, cti, opened, leased, used };
        node.log.append_then(NewEntry::new(random::serial(), lease), || {});
    }
    Ok(())
}

/// Bytes of weights that a dispatch makes the machine read at most.
fn reads(expert_bytes: u64, dispatch: &Dispatch) -> u64 {
    u64::try_from(dispatch.experts.len()).unwrap_or(u64::MAX).saturating_mul(expert_bytes)
}
