//! One lane from Hello to its end, in one task: a frame is read, judged, computed and answered before the next.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use counterfoil_audit::NewEntry;
use counterfoil_consent::{accept_ack, sign_receipt};
use counterfoil_identity::random;
use counterfoil_model::ExpertBank;
use counterfoil_session::frame::Dispatch;
use counterfoil_session::lane::EARLIER_LANE;
use counterfoil_session::{Asked, LaneEnd, NodeLane, RouterFrame};
use counterfoil_spec::ids::Serial;
use counterfoil_spec::message::{
    CloseSlot, NodeMessage, NodeReceipt, Proposal, ReceiptAck, RouterMessage, SignedOpen, Welcome,
};
use counterfoil_spec::payload::{ConsentGranted, ConsentRevoked, Work as WorkEntry};
use counterfoil_spec::refusal::Refusal;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::compute::{answer, compute};
use crate::config::NodeError;
use crate::hosting::{Hosted, MAX_PENDING_CONSENTS, Pending, by_cti, load};
use crate::node::{Command, Node};
use crate::status::{ConsentStatus, Stage};
use crate::unsettled::{Kept, remove};
use crate::work::{Due, permit_for};

/// Weight bytes that one dispatch may read on the session's own task; more goes to a thread of its own, so that
/// QUIC's timers are served meanwhile.
const INLINE_WEIGHT_BYTES: u64 = 8 * 1024 * 1024;
/// How long a node that leaves waits for what is open, in milliseconds.
const DRAIN_MS: u64 = 10_000;

/// How a lane was left.
#[derive(Debug)]
pub(crate) enum Left {
    /// In good order, as the operator wanted.
    Done,
    /// Not as wanted; the node comes back.
    Broken(String),
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
    draining: Option<Instant>,
}

type Step = Result<(), LaneEnd>;

impl<'a> Service<'a> {
    pub(crate) fn new(node: &'a mut Node, lane: NodeLane) -> Self {
        Self {
            node,
            lane,
            hosted: Vec::new(),
            pending: Vec::new(),
            renewals: Vec::new(),
            loading: JoinSet::new(),
            draining: None,
        }
    }

    /// Serves the lane until it ends or the node has left it.
    pub(crate) async fn run(
        mut self,
        mut shutdown: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<Left, NodeError> {
        self.node.status.send_modify(|status| status.stage = Stage::Connected);
        let left = match self.resend() {
            Ok(()) => loop {
                let log = self.node.log.clone();
                let step = tokio::select! {
                    biased;
                    step = self.step(shutdown.as_mut()) => step,
                    error = log.lost() => {
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
        let drained = self.draining;
        tokio::select! {
            biased;
            frame = self.lane.next() => match frame? {
                RouterFrame::Dispatch(asked) => self.dispatched(&asked).await,
                RouterFrame::Message(message) => self.told(*message),
            },
            () = shutdown, if drained.is_none() => self.drain(),
            Some(loaded) = self.loading.join_next() => match loaded {
                Ok((cti, bank)) => self.loaded(&cti, bank),
                Err(error) => Err(self.lane.shut(Refusal::SessionInternal, &error.to_string())),
            },
            Some(command) = self.node.commands.recv() => match command {
                Command::Revoke(cti) => self.revoke(&cti),
            },
            () = until(renewal), if renewal.is_some() => self.renew(),
            () = until(drained), if drained.is_some() => {
                Err(self.lane.shut(Refusal::SessionDrain, "the node does not wait any longer"))
            }
        }
    }

    fn told(&mut self, message: RouterMessage) -> Step {
        match message {
            RouterMessage::Propose(proposal) => self.proposed(proposal),
            RouterMessage::Welcome(welcome) => self.welcomed(&welcome),
            RouterMessage::Refused(refusal, detail) => {
                self.pending.clear();
                tracing::warn!(%refusal, detail, "the router refused a consent token");
                self.node.status.send_modify(|s| s.refused = Some(format!("{refusal}: {detail}")));
                Ok(())
            }
            RouterMessage::Open(order) => self.opened(&order),
            RouterMessage::Close(close) => self.closed(&close),
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
        let (bank, expert_bytes) = (hosted.bank.clone(), hosted.expert_bytes);
        let mut dispatch = self.lane.take_dispatch();
        let combine = match bank {
            // No order is taken before its experts are loaded, so there is no grant for any of this.
            None => answer(&dispatch, &vec![Err(Refusal::Grant); judged.len()], Vec::new()),
            Some(bank) if reads(expert_bytes, &dispatch) <= INLINE_WEIGHT_BYTES => {
                compute(&bank, &mut dispatch, &judged)
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
        self.lane.answer(asked, &combine)?;
        // The answer leaves while the books are kept.
        tokio::task::yield_now().await;
        let due = self.node.work.record(&dispatch, &combine, now);
        self.lane.restore(dispatch);
        due.into_iter().try_for_each(|due| self.receipt(due, false))
    }

    fn proposed(&mut self, proposal: Proposal) -> Step {
        if self.pending.len() >= MAX_PENDING_CONSENTS {
            return Err(self.lane.shut(Refusal::SessionOrder, "too many proposals at a time"));
        }
        let config = &self.node.config;
        let at = ((config.now)().seconds(), config.epoch);
        let considered =
            self.node.shelf.consider(&proposal, &config.policy, &config.identity.key, self.lane.router(), at);
        match considered {
            Ok((token, permit)) => {
                self.pending.push(Pending { permit, proposal });
                self.lane.send(&NodeMessage::Consent(token))
            }
            Err(reason) => {
                tracing::warn!(model = proposal.name, reason, "proposal declined");
                self.node.status.send_modify(|s| s.refused = Some(reason.clone()));
                self.lane.send(&NodeMessage::Decline(proposal.manifest, reason))
            }
        }
    }

    fn welcomed(&mut self, welcome: &Welcome) -> Step {
        let at = self.pending.iter().position(|p| p.permit.claims().cti == welcome.cti);
        let Some(at) = at else {
            return Err(self.lane.shut(Refusal::SessionOrder, "a welcome for no consent token of ours"));
        };
        let Pending { permit, proposal } = self.pending.remove(at);
        self.lane.activate(&permit)?;
        let Some(model) = self.node.shelf.model(&proposal.manifest).cloned() else {
            return Err(self.lane.shut(Refusal::SessionInternal, "the weights are gone"));
        };
        let wait = welcome.renew_after.millis().0.saturating_sub((self.node.config.now)().0);
        self.renewals.push((Instant::now() + Duration::from_millis(wait), welcome.cti));
        self.renewals.sort();
        let ranges = proposal.ranges.clone();
        let (log, loaded) = (self.node.log.clone(), self.node.shelf.bank(&ranges));
        let (cti, node) = (welcome.cti, self.node.config.identity.key.public().node_id());
        let granted = ConsentGranted { node, cti, token: permit.token_bytes().to_vec() };
        let (hidden, expert_bytes) = (model.config().hidden, model.expert_weight_bytes());
        self.hosted.push(Hosted { permit, proposal, hidden, expert_bytes, bank: None, withdrawn: false });
        self.loading.spawn_blocking(move || {
            let bank = log.append(NewEntry::new(cti, granted)).map_err(|e| e.to_string());
            let bank = bank.and_then(|()| match loaded {
                Some(bank) => Ok(bank),
                None => load(&model, &ranges).map(Arc::new).map_err(|e| e.to_string()),
            });
            (cti, bank)
        });
        self.show();
        Ok(())
    }

    fn loaded(&mut self, cti: &Serial, bank: Result<Arc<ExpertBank>, String>) -> Step {
        let bank = match bank {
            Ok(bank) => bank,
            Err(reason) => return Err(self.lane.shut(Refusal::SessionInternal, &reason)),
        };
        if let Some(hosted) = by_cti(&mut self.hosted, cti) {
            hosted.bank = Some(Arc::clone(&bank));
            self.node.shelf.put(hosted.proposal.ranges.clone(), bank);
        }
        self.ready(cti)
    }

    fn ready(&mut self, cti: &Serial) -> Step {
        self.node.status.send_modify(|status| status.stage = Stage::Serving);
        self.show();
        self.lane.send(&NodeMessage::Ready(*cti))
    }

    fn opened(&mut self, order: &SignedOpen) -> Step {
        let hosted = permit_for(&self.hosted, &order.grant.cti);
        let now = (self.node.config.now)();
        match self.node.work.open(order, hosted, self.lane.router(), now) {
            Ok(()) => Ok(()),
            Err(refused) => {
                tracing::warn!(refusal = %refused.refusal, detail = refused.detail, "order refused");
                self.lane.send(&NodeMessage::Refuse(refused))
            }
        }
    }

    fn closed(&mut self, close: &CloseSlot) -> Step {
        match self.node.work.close(close, (self.node.config.now)()) {
            Some(Ok(due)) => self.receipt(due, true),
            Some(Err(refused)) => self.lane.send(&NodeMessage::Refuse(refused)),
            None => Err(self.lane.shut(Refusal::SessionOrder, "a close for a slot that is not open")),
        }
    }

    /// Signs a receipt, keeps it, and sends it.
    fn receipt(&mut self, due: Due, last: bool) -> Step {
        let slot = due.slot;
        match self.sign(due) {
            Ok(Kept { body, node_sig, .. }) => {
                self.lane.send(&NodeMessage::Receipt(NodeReceipt { slot, body, node_sig, last }))
            }
            Err(error) => Err(self.lane.shut(Refusal::SessionInternal, &error.to_string())),
        }
    }

    fn sign(&mut self, due: Due) -> std::io::Result<Kept> {
        let identity = &self.node.config.identity;
        let (body, node_sig) = sign_receipt(&due.body, &identity.key, &identity.domain.net_id());
        let kept = Kept { request: due.request, body, node_sig };
        self.node.unsettled.keep(due.body.serial, kept.clone())?;
        Ok(kept)
    }

    /// Takes the router's half, and logs both.
    fn acked(&mut self, ack: &ReceiptAck) -> Step {
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

    fn revoke(&mut self, cti: &Serial) -> Step {
        let Some(hosted) = by_cti(&mut self.hosted, cti) else { return Ok(()) };
        hosted.withdrawn = true;
        let min_epoch = hosted.permit.claims().epoch;
        self.renewals.retain(|(_, renewing)| renewing != cti);
        let node = self.node.config.identity.key.public().node_id();
        let entry = NewEntry::new(random::serial(), ConsentRevoked { node, cti: *cti, min_epoch });
        self.node.log.append_then(entry, || {});
        self.show();
        self.lane.send(&NodeMessage::Revoke(*cti))
    }

    /// Sends the next consent token for what is hosted under the one whose time has come.
    fn renew(&mut self) -> Step {
        let (_, cti) = self.renewals.remove(0);
        match by_cti(&mut self.hosted, &cti).map(|hosted| hosted.proposal.clone()) {
            Some(proposal) => self.proposed(proposal),
            None => Ok(()),
        }
    }

    fn drain(&mut self) -> Step {
        self.draining = Some(Instant::now() + Duration::from_millis(DRAIN_MS));
        self.node.status.send_modify(|status| status.stage = Stage::Draining);
        self.lane.send(&NodeMessage::Drain)
    }

    fn has_left(&self) -> bool {
        self.draining.is_some() && self.node.work.is_over()
    }

    /// Sends again what earlier lanes left without the router's half.
    fn resend(&mut self) -> Step {
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
    fn abandon(&mut self) {
        for due in self.node.work.abandon((self.node.config.now)()) {
            if let Err(error) = self.sign(due) {
                tracing::error!(%error, "a receipt could not be kept");
            }
        }
    }

    fn show(&self) {
        let consents = self.hosted.iter().filter(|hosted| !hosted.withdrawn).map(|hosted| ConsentStatus {
            cti: hosted.permit.claims().cti,
            manifest: hosted.proposal.manifest,
            expires: hosted.permit.claims().expires,
            experts: hosted.bank.as_ref().map(|bank| bank.experts().count()),
        });
        let consents = consents.collect();
        self.node.status.send_modify(|status| status.consents = consents);
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Bytes of weights that a dispatch makes the machine read at most.
fn reads(expert_bytes: u64, dispatch: &Dispatch) -> u64 {
    u64::try_from(dispatch.experts.len()).unwrap_or(u64::MAX).saturating_mul(expert_bytes)
}
