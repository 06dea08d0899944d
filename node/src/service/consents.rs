//! Consent on a lane: proposed, signed, welcomed, loaded, renewed, withdrawn.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use counterfoil_audit::NewEntry;
use counterfoil_consent::{Refused, notice};
use counterfoil_model::ExpertBank;
use counterfoil_session::LaneEnd;
use counterfoil_spec::ids::{ManifestId, Serial};
use counterfoil_spec::message::{NodeMessage, Proposal, Welcome};
use counterfoil_spec::payload::ConsentGranted;
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::text::shown;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{LOOK, Service, Step};
use crate::gauge::Gauge;
use crate::hosting::{Hosted, MAX_PENDING_CONSENTS, Pending, Promised, Signer, Standing, by_cti};
use crate::orders;
use crate::present::{Presenting, hosts};
use crate::status::{ConsentStatus, Stage};

/// How long orders under a token may still come after the router was told that it has had its time.
const GRACE: Duration = Duration::from_secs(5);

impl Service<'_> {
    pub(super) fn proposed(&mut self, proposal: Proposal) -> Step {
        let answered = self.pending.iter().filter(|p| !self.renewing.is_of(&p.permit.claims().cti)).count();
        if answered + self.arriving.len() >= MAX_PENDING_CONSENTS {
            return Err(self.lane.shut(Refusal::SessionOrder, "too many proposals at a time"));
        }
        self.consider(proposal)
    }

    /// Looks at what the router proposes, or proposed for a token that is to be signed anew.
    pub(super) fn consider(&mut self, proposal: Proposal) -> Step {
        if proposal.ranges.is_empty() {
            return self.let_model_go(&proposal.manifest);
        }
        if self.node.withholds(&proposal.manifest) {
            return self.ask(&proposal);
        }
        if self.is_worth_fetching(&proposal) {
            self.fetch_manifest(proposal);
            return Ok(());
        }
        self.decide(proposal)
    }

    /// Consents to a proposal, or declines.
    pub(super) fn decide(&mut self, proposal: Proposal) -> Step {
        let proposal = self.node.config.policy.narrow(proposal);
        let promised = self.promised_besides(&proposal.manifest);
        let config = &self.node.config;
        let standing = Standing { now: (config.now)().seconds(), epoch: config.epoch, promised };
        let signer = Signer { policy: &config.policy, key: &config.identity.key };
        let considered = self.node.shelf.consider(&proposal, &signer, self.lane.router(), &standing);
        match considered {
            Ok((token, permit)) => {
                if let Err(refused) = self.presenting(&token) {
                    return self.decline(&proposal, format!("its router would refuse it: {refused}"));
                }
                let claims = permit.claims();
                let words = notice(claims, &proposal.name);
                if let Err(e) = orders::keep_words(&self.node.config.home, &claims.notice_hash, &words) {
                    return self.decline(&proposal, format!("the words to sign cannot be kept: {e}"));
                }
                self.pending.push(Pending { permit, proposal });
                self.cover();
                self.lane.send(&NodeMessage::Consent(token))
            }
            Err(reason) => self.decline(&proposal, reason),
        }
    }

    /// Whether a token of this node holds as its router will check it.
    fn presenting(&self, token: &[u8]) -> Result<(), Refused> {
        let (node, router, names) = (&self.node, self.lane.router(), self.node.denials.names());
        let own = node.config.identity.key.public();
        let denied_below = names.map_or(0, |names| names.min_epoch(&own.node_id()));
        let presenting = Presenting {
            net_id: router.net_id(),
            router: router.id().as_router(),
            own,
            now: (node.config.now)().seconds(),
            min_epoch: node.config.epoch.max(denied_below),
            denied: &|cti| names.is_some_and(|names| names.denies_consent(cti)),
            hosts: &|range| hosts(&node.shelf, range),
        };
        presenting.check(token).map(drop)
    }

    pub(super) fn welcomed(&mut self, welcome: &Welcome) -> Step {
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
        self.renewing.at(Instant::now() + Duration::from_millis(wait), welcome.cti);
        let ranges = proposal.ranges.clone();
        let loaded = self.node.shelf.bank(&ranges);
        let gauge = Gauge::new(proposal.manifest, self.node.status.clone());
        let courier = self.courier.clone();
        let (cti, node) = (welcome.cti, self.node.config.identity.key.public().node_id());
        let granted = ConsentGranted { node, cti, token: permit.token_bytes().to_vec() };
        let (hidden, expert_bytes) = (model.config().hidden, model.expert_bytes());
        // Begun here, so that a withdrawal of it can only be logged after it.
        let (logged, durable) = oneshot::channel();
        self.node.log.append_then(NewEntry::new(cti, granted), move || {
            // Nobody waits where the token was withdrawn meanwhile.
            let _ = logged.send(());
        });
        let loading = self.loading.spawn(async move {
            let bank = match (durable.await, loaded) {
                (Err(_), _) => Err("the consent token could not be logged".to_owned()),
                (Ok(()), Some(bank)) => Ok(bank),
                (Ok(()), None) => model.load(&ranges, &courier, &gauge).await.map(Arc::new),
            };
            (cti, bank)
        });
        self.node.outstanding.add(permit.claims().clone(), (self.node.config.now)().seconds());
        let hosted = Hosted {
            permit,
            proposal,
            hidden,
            expert_bytes,
            bank: None,
            withdrawn: false,
            loading,
            let_go: None,
        };
        self.hosted.push(hosted);
        self.report_soon();
        self.show();
        self.keep_or_revoke(&welcome.cti)
    }

    /// Withdraws a token that was taken back or denied, or that a changed policy does not allow, while the router looked at
    /// it.
    fn keep_or_revoke(&mut self, cti: &Serial) -> Step {
        let Some(hosted) = by_cti(&mut self.hosted, cti) else { return Ok(()) };
        let (claims, manifest) = (hosted.permit.claims(), hosted.proposal.manifest);
        let denied = self.node.denials.names().is_some_and(|names| names.voids(claims));
        if !denied && self.node.allows(claims) {
            return Ok(());
        }
        self.revoke(cti)?;
        if denied || self.node.withholds(&manifest) {
            return Ok(());
        }
        // The router is to ask again, under the policy of now.
        self.lane.send(&NodeMessage::Terms(self.node.terms()))
    }

    /// Carries out what the operator asked by commands, and tells the router; gives the tokens whose end it told.
    pub(super) fn obey(&mut self) -> Result<Vec<Serial>, LaneEnd> {
        self.look = Instant::now() + LOOK;
        let obeyed = self.node.obey(&self.rotation.orders());
        let obeyed = obeyed.map_err(|e| self.lane.shut(Refusal::SessionInternal, &e.to_string()))?;
        if !obeyed.renew.is_empty() {
            self.rotation.hasten(obeyed.renew);
        }
        if obeyed.files.is_empty() {
            return Ok(Vec::new());
        }
        //= spec/consent.md#withdrawal
        //# It MUST refuse every dispatch under it from then on (`R_WITHDRAWN`), and MUST tell the router.
        for cti in &obeyed.withdrawn {
            self.stop_serving(cti);
        }
        if obeyed.terms {
            self.lane.send(&NodeMessage::Terms(self.node.terms()))?;
        }
        for cti in &obeyed.withdrawn {
            self.lane.send(&NodeMessage::Revoke(*cti))?;
        }
        obeyed.files.iter().for_each(|file| orders::done(file));
        Ok(obeyed.withdrawn)
    }

    /// Nothing is signed for this model before its operator was asked.
    fn ask(&mut self, proposal: &Proposal) -> Step {
        if let Err(error) = orders::ask(&self.node.config.home, proposal) {
            tracing::error!(%error, "a proposal cannot be kept for the operator");
        }
        let manifest = proposal.manifest;
        self.decline(
            proposal,
            format!("waits for the operator of the node: `counterfoil consent issue {manifest}`"),
        )
    }

    pub(super) fn loaded(&mut self, cti: &Serial, bank: Result<Arc<ExpertBank>, String>) -> Step {
        let bank = match bank {
            Ok(bank) => bank,
            // What cannot be loaded of one model is no fault of the others.
            Err(reason) => return self.not_loaded(cti, reason),
        };
        if let Some(hosted) = by_cti(&mut self.hosted, cti) {
            hosted.bank = Some(Arc::clone(&bank));
            self.node.shelf.put(hosted.proposal.ranges.clone(), bank);
            self.supersede(cti);
        }
        self.ready(cti)
    }

    /// Withdraws a token whose experts cannot be loaded, and declines its model.
    fn not_loaded(&mut self, cti: &Serial, reason: String) -> Step {
        let Some(hosted) = by_cti(&mut self.hosted, cti) else { return Ok(()) };
        let proposal = hosted.proposal.clone();
        self.revoke(cti)?;
        self.decline(&proposal, reason)
    }

    /// Says no to a proposal, and why.
    pub(super) fn decline(&mut self, proposal: &Proposal, reason: String) -> Step {
        // It may name what the router named.
        let (name, reason) = (shown(&proposal.name), shown(&reason));
        tracing::warn!(model = name, reason, "proposal declined");
        self.node.status.send_modify(|s| s.refused = Some(reason.clone()));
        self.lane.send(&NodeMessage::Decline(proposal.manifest, reason.into()))
    }

    pub(super) fn ready(&mut self, cti: &Serial) -> Step {
        // First what is hosted, then that it is served: whoever watches never sees a serving node without experts.
        self.show();
        self.node.status.send_modify(|status| status.stage = Stage::Serving);
        self.report_changes()?;
        self.lane.send(&NodeMessage::Ready(*cti))
    }

    pub(super) fn revoke(&mut self, cti: &Serial) -> Step {
        let stood = self.node.outstanding.remove(cti);
        if !self.stop_serving(cti) && !stood {
            return Ok(());
        }
        //= spec/consent.md#withdrawal
        //# A node MUST have a `consent-revoked` in its own log before it tells the router.
        let logged = self.node.log.append(self.node.withdrawal(*cti));
        logged.map_err(|e| self.lane.shut(Refusal::SessionInternal, &e.to_string()))?;
        self.lane.send(&NodeMessage::Revoke(*cti))
    }

    /// Nothing is computed under a token any more. False where it is not one of this lane, or was withdrawn before.
    pub(super) fn stop_serving(&mut self, cti: &Serial) -> bool {
        // It may have come on the lane of the certificate before.
        let own = by_cti(&mut self.hosted, cti).or_else(|| by_cti(self.rotation.elder_hosted_mut(), cti));
        let Some(hosted) = own.filter(|hosted| !hosted.withdrawn) else { return false };
        hosted.withdrawn = true;
        hosted.loading.abort();
        hosted.let_go = Some(Instant::now() + GRACE);
        self.renewing.forget(cti);
        self.show();
        true
    }

    /// The router wants nothing more of a model here.
    fn let_model_go(&mut self, manifest: &ManifestId) -> Step {
        let tokens = self.hosted.iter().filter(|h| h.proposal.manifest == *manifest && !h.withdrawn);
        let tokens: Vec<Serial> = tokens.map(|h| h.permit.claims().cti).collect();
        tokens.iter().try_for_each(|cti| self.revoke(cti))?;
        let hosts = self.hosted.iter().any(|h| !h.withdrawn && h.let_go.is_none());
        if !hosts && self.pending.is_empty() && self.arriving.is_empty() && self.draining.is_none() {
            self.node.status.send_modify(|status| status.stage = Stage::Idle);
        }
        Ok(())
    }

    /// What is promised to other models than this one.
    fn promised_besides(&self, manifest: &ManifestId) -> Promised {
        let hosted = self.hosted.iter().filter(|h| h.let_go.is_none() && !h.withdrawn).map(|h| &h.proposal);
        let all = hosted.chain(self.pending.iter().map(|p| &p.proposal));
        // Of a model's several tokens the last one holds from now on.
        let last: BTreeMap<ManifestId, &Proposal> = all.map(|p| (p.manifest, p)).collect();
        let others = last.values().filter(|p| p.manifest != *manifest);
        others
            .map(|p| self.node.shelf.promised(&p.manifest, &p.ranges))
            .fold(Promised::default(), Promised::and)
    }

    /// A token is ready, so those of the same model before it are not ordered under any more.
    fn supersede(&mut self, cti: &Serial) {
        let Some(at) = self.hosted.iter().position(|h| h.permit.claims().cti == *cti) else { return };
        let Some(manifest) = self.hosted.get(at).map(|h| h.proposal.manifest) else { return };
        let before = self.hosted.iter_mut().take(at).filter(|h| h.proposal.manifest == manifest);
        for hosted in before {
            if hosted.bank.is_none() {
                hosted.loading.abort();
            }
            hosted.let_go.get_or_insert_with(|| Instant::now() + GRACE);
            self.renewing.forget(&hosted.permit.claims().cti);
        }
    }

    /// When experts may be let go of next that no request uses.
    pub(super) fn next_release(&self) -> Option<Instant> {
        let idle =
            (0..).zip(&self.hosted).filter(|(slot, h)| h.bank.is_some() && !self.node.work.uses(*slot));
        idle.filter_map(|(_, h)| h.let_go).min()
    }

    /// Lets go of experts whose token's time is over and that no request uses.
    pub(super) fn release(&mut self) {
        let now = Instant::now();
        for (slot, hosted) in (0..).zip(&mut self.hosted) {
            if hosted.let_go.is_some_and(|at| at <= now) && !self.node.work.uses(slot) {
                hosted.bank = None;
            }
        }
        self.node.shelf.sweep();
        self.show();
    }

    /// What is hosted under tokens of this lane, and what still is under those of the lane before it.
    pub(super) fn held(&self) -> impl Iterator<Item = &Hosted> {
        let before = self.rotation.elder_hosted().iter().filter(|old| {
            let again = |h: &Hosted| h.proposal.manifest == old.proposal.manifest && h.bank.is_some();
            !self.hosted.iter().any(again)
        });
        self.hosted.iter().chain(before)
    }

    pub(super) fn show(&self) {
        let consents =
            self.held().filter(|hosted| !hosted.withdrawn && hosted.let_go.is_none()).map(|hosted| {
                ConsentStatus {
                    cti: hosted.permit.claims().cti,
                    manifest: hosted.proposal.manifest,
                    expires: hosted.permit.claims().expires,
                    experts: hosted.bank.as_ref().map(|bank| bank.experts().count()),
                }
            });
        let consents = consents.collect();
        self.cover();
        self.node.status.send_modify(|status| status.consents = consents);
    }
}
