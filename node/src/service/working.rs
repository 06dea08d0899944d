//! Work on a lane: orders opened, dispatches computed, orders closed, and what they took of their quotas.

use std::panic::{AssertUnwindSafe, catch_unwind};

use counterfoil_audit::NewEntry;
use counterfoil_audit::cost::evidence;
use counterfoil_consent::Booking;
use counterfoil_identity::random;
use counterfoil_session::Asked;
use counterfoil_session::frame::Dispatch;
use counterfoil_spec::amount::TokenCount;
use counterfoil_spec::message::{CloseSlot, NodeMessage, SignedOpen};
use counterfoil_spec::payload::QuotaLease;
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::time::Millis;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::time::Instant;

use super::{Service, Step};
use crate::compute::{answer, compute};
use crate::node::Node;
use crate::work::permit_for;

/// Weight bytes that one dispatch may read on the session's own task; more goes to a thread of its own, so that
/// QUIC's timers are served meanwhile.
const INLINE_WEIGHT_BYTES: u64 = 8 * 1024 * 1024;

impl Service<'_> {
    pub(super) async fn dispatched(&mut self, asked: &Asked) -> Step {
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

    pub(super) fn opened(&mut self, order: &SignedOpen) -> Step {
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
                tracing::warn!(refusal = %refused.refusal, detail = %refused.detail, "order refused");
                self.lane.send(&NodeMessage::Refuse(refused))
            }
        }
    }

    pub(super) fn closed(&mut self, close: &CloseSlot) -> Step {
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
}

/// Keeps what orders have taken of their day's quota by now, and begins to make it durable.
//= spec/consent.md#quotas
//# A node MUST have on its disk what an order has taken before it answers a dispatch under it, so that it survives the end of its process and of its machine's power.
pub(super) fn book(node: &mut Node, now: Millis) -> std::io::Result<()> {
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
