//! A node's consent tokens: checked, held against what was proposed, logged, welcomed, withdrawn.

use std::collections::BTreeSet;
use std::sync::Arc;

use counterfoil_consent::{Expectation, Permit, Refused, check_token, claimed};
use counterfoil_spec::claims::{ALL, Range};
use counterfoil_spec::ids::Serial;
use counterfoil_spec::limits::{
    MAX_CONSENT_REFUSALS, MAX_CONSENT_REFUSALS_LOGGED, MAX_CONSENTS, MAX_CONSENTS_LOADING, MEMBER_WINDOW_S,
};
use counterfoil_spec::payload::{ConsentGranted, ConsentRevoked, RefusalSeen};
use counterfoil_spec::refusal::Refusal;

use super::Member;
use crate::dealer::{Event, Unfit};
use crate::desk::Desk;
use crate::http::refusals::{By, What};
use crate::office::entry;
use crate::registry::{Host, LaneState};
use crate::tally::Taken;

impl Member {
    /// Checks a consent token, logs it and welcomes it; tells the node what was wrong otherwise.
    pub(super) async fn consent(&mut self, token: &[u8]) -> Result<Host, Unfit> {
        let permit = match self.checked(token) {
            Ok(permit) => permit,
            Err(refused) => {
                self.refuse(&refused).await;
                return Err(unfit(token, refused.refusal));
            }
        };
        let (node, cti) = (self.lane.node(), permit.claims().cti);
        let granted = ConsentGranted { node, cti, token: token.to_vec() };
        let at = match self.desk.office.append(vec![entry(granted)]).await {
            Ok(at) => at,
            Err(e) => {
                tracing::error!(%node, error = %e, "a consent token could not be logged");
                self.desk.metrics.refusals.one(By::Router, What::Consent, Refusal::SessionInternal);
                let _ = self.lane.refuse(Refusal::SessionInternal, "the router cannot write its log now");
                return Err(unfit(token, Refusal::SessionInternal));
            }
        };
        let claims = permit.claims();
        //= spec/session.md#what-a-node-may-say
        //# A token that is refused answers nothing.
        // Only here, where nothing refuses it any more. One that is renewed takes no proposal away from its answer.
        if !self.goes_on(&claims.ranges) {
            self.lane.answers(&claims.ranges);
        }
        let renew_after = claims.not_before.plus(claims.expires.0.saturating_sub(claims.not_before.0) / 2);
        // Before the node knows, so that what it fetches then is allowed.
        self.entitled.add(permit.clone(), self.desk.office.now().seconds());
        match self.lane.welcome(&permit, at.first, renew_after) {
            Ok(active) => {
                let concurrent = claims.quota.concurrent;
                let before = self.before.take();
                let shared = self.shared.get_or_insert_with(|| {
                    let allowed = self.desk.registry.allowance(&node);
                    allowed.allow(concurrent);
                    Arc::new(before.unwrap_or_else(|| LaneState::new(allowed)))
                });
                let shared = Arc::clone(shared);
                Ok(Host::new(self.lane.clone(), active, permit, shared))
            }
            Err(e) => {
                tracing::warn!(%node, error = %e, "the node left before its welcome");
                Err(Unfit::All)
            }
        }
    }

    /// What a token allows, where it holds and was to be expected.
    fn checked(&self, token: &[u8]) -> Result<Permit, Refused> {
        if self.loading.len() >= MAX_CONSENTS_LOADING {
            let detail = format!("{MAX_CONSENTS_LOADING} consent tokens of this lane are not ready yet");
            return Err(Refused { refusal: Refusal::TokenRate, detail });
        }
        let permit = self.check(token)?;
        let (node, claims) = (self.lane.node(), permit.claims());
        if self.desk.office.books().roster.has_consent(&claims.cti) {
            let detail = "this consent id was used before".to_owned();
            return Err(Refused { refusal: Refusal::TokenValue, detail });
        }
        //= spec/session.md#what-a-node-may-say
        //# A router MUST refuse a consent token that answers no proposal of this lane and goes on from none of this lane's
        //# (`T_UNASKED`).
        if !self.goes_on(&claims.ranges) && !self.lane.awaits(&claims.ranges) {
            let detail = "nobody proposed this, and it goes on from no consent token of this lane".to_owned();
            return Err(Refused { refusal: Refusal::TokenUnasked, detail });
        }
        if self.desk.tallies.one(node, Taken::Consent, self.desk.office.now().seconds()) > MAX_CONSENTS {
            let detail = format!("more than {MAX_CONSENTS} consent tokens within {MEMBER_WINDOW_S} s");
            return Err(Refused { refusal: Refusal::TokenRate, detail });
        }
        Ok(permit)
    }

    /// Whether one of this lane's tokens that were not withdrawn allows all of it.
    fn goes_on(&self, ranges: &[Range]) -> bool {
        let mut held = self.loading.iter().chain(self.active.iter().map(|host| &**host));
        held.any(|host| {
            ranges.iter().all(|range| host.permit.claims().ranges.iter().any(|own| own.covers(range)))
        })
    }

    fn check(&self, token: &[u8]) -> Result<Permit, Refused> {
        let desk = &self.desk;
        let books = desk.office.books();
        let node = self.lane.node();
        let denied = &books.roster.denied().names;
        let min_epoch = books.roster.member(&node).map_or(1, |m| m.min_epoch).max(self.epoch);
        check_token(
            token,
            &Expectation {
                net_id: &desk.home.net_id(),
                peer: &node,
                peer_key: self.lane.peer().key(),
                audience: &desk.home.router_id(),
                now: desk.office.now().seconds(),
                deny_list_until: None,
                min_epoch: min_epoch.max(denied.min_epoch(&node)),
                withdrawn: &|cti| books.roster.is_withdrawn(cti) || denied.denies_consent(cti),
                model_known: &|range| is_published(desk, range),
            },
        )
    }

    /// Counts it, has it in the log as far as may be, and tells the node then.
    //= spec/session.md#what-a-node-may-say
    //# A router MUST count every consent token that it refuses, MUST log the refusals of at least 16 of a node within 600 seconds and of
    //# no more than 16, and MUST end the lane on which one comes after the 64th (`T_RATE`).
    async fn refuse(&self, refused: &Refused) {
        let (node, now) = (self.lane.node(), self.desk.office.now().seconds());
        self.desk.metrics.peers_refused.one();
        self.desk.metrics.refusals.one(By::Router, What::Consent, refused.refusal);
        let refusals = self.desk.tallies.one(node, Taken::Refused, now);
        if refusals <= MAX_CONSENT_REFUSALS_LOGGED {
            self.log(refused, refusals).await;
        }
        let _ = self.lane.refuse(refused.refusal, refused.detail.clone());
        if refusals > MAX_CONSENT_REFUSALS {
            let words = format!("more than {MAX_CONSENT_REFUSALS} refused within {MEMBER_WINDOW_S} s");
            self.lane.shut(Refusal::TokenRate, &words);
        }
    }

    /// Has the n-th refusal of a node in the log.
    async fn log(&self, refused: &Refused, refusals: u32) {
        let node = self.lane.node();
        tracing::warn!(%node, refusal = %refused.refusal, detail = %refused.detail, "a consent token was refused");
        if refusals == MAX_CONSENT_REFUSALS_LOGGED {
            tracing::warn!(%node, "more of its refusals within {MEMBER_WINDOW_S} s are counted and not logged");
        }
        let seen = RefusalSeen { refusal: refused.refusal, node: Some(node), by: self.desk.home.router_id() };
        if let Err(e) = self.desk.office.append(vec![entry(seen)]).await {
            tracing::error!(error = %e, "a refusal could not be logged");
        }
    }

    /// What was hosted under a consent token is not any more.
    pub(super) async fn withdrawn(&mut self, cti: Serial) {
        self.revoke(cti).await;
        let of = |h: &Host| if h.cti() == cti { h.models.clone() } else { BTreeSet::new() };
        let gone: BTreeSet<_> =
            self.loading.iter().map(&of).chain(self.active.iter().map(|h| of(h))).flatten().collect();
        self.loading.retain(|h| h.cti() != cti);
        self.active.retain(|h| h.cti() != cti);
        for manifest in gone {
            self.dealer.tell(Event::Withdrew(self.lane.node(), self.visit, manifest)).await;
        }
    }

    async fn revoke(&self, cti: Serial) {
        let node = self.lane.node();
        self.desk.registry.leave(&node, &cti, self.desk.office.now());
        let (known, min_epoch) = {
            let books = self.desk.office.books();
            let epoch = books.roster.member(&node).map_or(0, |m| m.min_epoch);
            (books.roster.may_withdraw(&node, &cti), epoch.max(self.epoch))
        };
        //= spec/consent.md#withdrawal
        //# A router that is told again of what it has in its log MUST NOT log it again.
        if !known {
            tracing::debug!(%node, %cti, "a node withdrew a consent that is not its own, or was withdrawn before");
            return;
        }
        let revoked = ConsentRevoked { node, cti, min_epoch };
        if let Err(e) = self.desk.office.append(vec![entry(revoked)]).await {
            tracing::error!(%node, error = %e, "a withdrawal could not be logged");
        }
    }
}

/// For what a token was that is refused so.
fn unfit(token: &[u8], refusal: Refusal) -> Unfit {
    let claims = claimed(token).filter(|_| refusal != Refusal::TokenRate);
    claims.map_or(Unfit::All, |claims| Unfit::Models(claims.ranges.iter().map(|r| r.manifest).collect()))
}

/// Whether a range names layers and experts of a model that is published here.
fn is_published(desk: &Desk, range: &Range) -> bool {
    let Some(engine) = desk.engine_of(&range.manifest) else { return false };
    let config = engine.config();
    let within = |end: u32, count: u32| end == ALL || end < count;
    within(range.layers.1, config.layers) && within(range.experts.1, config.experts)
}
