//! The operator's policy on a lane: its hours, and what becomes of consent tokens when it changes.

use counterfoil_spec::ids::Serial;
use counterfoil_spec::message::NodeMessage;
use counterfoil_spec::refusal::Refusal;

use super::{Service, Step};

impl Service<'_> {
    /// Withdraws everything when the policy's hours end, and lets the router propose again when they begin.
    pub(super) fn keep_hours(&mut self) -> Step {
        let now = (self.node.config.now)().seconds();
        let closed = self.node.config.policy.hours.closed(now).is_some();
        if std::mem::replace(&mut self.closed, closed) == closed {
            return Ok(());
        }
        if !closed {
            return self.lane.send(&NodeMessage::Terms(self.node.terms()));
        }
        tracing::info!("the policy's hours are over");
        let live = self.held().filter(|h| !h.withdrawn && h.let_go.is_none());
        let live: Vec<Serial> = live.map(|h| h.permit.claims().cti).collect();
        live.iter().try_for_each(|cti| self.revoke(cti))
    }

    /// Puts the policy into force that the operator has by now.
    pub(super) fn change_policy(&mut self) -> Step {
        let policy = self.node.policy.borrow_and_update().clone();
        if policy == self.node.config.policy {
            return Ok(());
        }
        self.node.config.policy = policy;
        let withdrawn = self.node.withdraw_not_allowed();
        let withdrawn = withdrawn.map_err(|e| self.lane.shut(Refusal::SessionInternal, &e.to_string()))?;
        for cti in &withdrawn {
            self.stop_serving(cti);
            self.lane.send(&NodeMessage::Revoke(*cti))?;
        }
        self.lane.send(&NodeMessage::Terms(self.node.terms()))?;
        let kept = self.hosted.iter().filter(|h| !h.withdrawn && h.let_go.is_none());
        self.renewing.anew(kept.map(|h| h.permit.claims().cti));
        Ok(())
    }

    /// Whether a token that ends with the policy's hours is the last one before they end.
    pub(super) fn ends_with_hours(&self, cti: &Serial) -> bool {
        let end = self.node.config.policy.hours.end((self.node.config.now)().seconds());
        let claims = self.hosted.iter().map(|h| h.permit.claims()).find(|claims| claims.cti == *cti);
        claims.zip(end).is_some_and(|(claims, end)| claims.expires >= end)
    }
}
