//! Consent on a lane: proposed, signed, welcomed, loaded, renewed, withdrawn.

use std::sync::Arc;
use std::time::Duration;

use counterfoil_audit::NewEntry;
use counterfoil_identity::random;
use counterfoil_model::ExpertBank;
use counterfoil_spec::ids::Serial;
use counterfoil_spec::message::{NodeMessage, Proposal, Welcome};
use counterfoil_spec::payload::{ConsentGranted, ConsentRevoked};
use counterfoil_spec::refusal::Refusal;
use tokio::time::Instant;

use super::{Service, Step};
use crate::gauge::Gauge;
use crate::hosting::{Hosted, MAX_PENDING_CONSENTS, Pending, by_cti};
use crate::status::{ConsentStatus, Stage};

impl Service<'_> {
    pub(super) fn proposed(&mut self, proposal: Proposal) -> Step {
        if self.pending.len() + self.arriving.len() >= MAX_PENDING_CONSENTS {
            return Err(self.lane.shut(Refusal::SessionOrder, "too many proposals at a time"));
        }
        if self.is_worth_fetching(&proposal) {
            self.fetch_manifest(proposal);
            return Ok(());
        }
        self.decide(proposal)
    }

    /// Consents to a proposal, or declines.
    pub(super) fn decide(&mut self, proposal: Proposal) -> Step {
        let config = &self.node.config;
        let at = ((config.now)().seconds(), config.epoch);
        let considered =
            self.node.shelf.consider(&proposal, &config.policy, &config.identity.key, self.lane.router(), at);
        match considered {
            Ok((token, permit)) => {
                self.pending.push(Pending { permit, proposal });
                self.cover();
                self.lane.send(&NodeMessage::Consent(token))
            }
            Err(reason) => {
                tracing::warn!(model = proposal.name, reason, "proposal declined");
                self.node.status.send_modify(|s| s.refused = Some(reason.clone()));
                self.lane.send(&NodeMessage::Decline(proposal.manifest, reason))
            }
        }
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
        self.renewals.push((Instant::now() + Duration::from_millis(wait), welcome.cti));
        self.renewals.sort();
        let ranges = proposal.ranges.clone();
        let (log, loaded) = (self.node.log.clone(), self.node.shelf.bank(&ranges));
        let gauge = Gauge::new(proposal.manifest, self.node.status.clone());
        let courier = self.courier.clone();
        let (cti, node) = (welcome.cti, self.node.config.identity.key.public().node_id());
        let granted = ConsentGranted { node, cti, token: permit.token_bytes().to_vec() };
        let (hidden, expert_bytes) = (model.config().hidden, model.expert_bytes());
        let loading = self.loading.spawn(async move {
            let entry = move || log.append(NewEntry::new(cti, granted)).map_err(|e| e.to_string());
            let logged = tokio::task::spawn_blocking(entry).await.unwrap_or_else(|e| Err(e.to_string()));
            let bank = match (logged, loaded) {
                (Err(error), _) => Err(error),
                (Ok(()), Some(bank)) => Ok(bank),
                (Ok(()), None) => model.load(&ranges, &courier, &gauge).await.map(Arc::new),
            };
            (cti, bank)
        });
        let hosted = Hosted { permit, proposal, hidden, expert_bytes, bank: None, withdrawn: false, loading };
        self.hosted.push(hosted);
        self.report_soon();
        self.show();
        Ok(())
    }

    pub(super) fn loaded(&mut self, cti: &Serial, bank: Result<Arc<ExpertBank>, String>) -> Step {
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

    pub(super) fn ready(&mut self, cti: &Serial) -> Step {
        // First what is hosted, then that it is served: whoever watches never sees a serving node without experts.
        self.show();
        self.node.status.send_modify(|status| status.stage = Stage::Serving);
        self.report()?;
        self.lane.send(&NodeMessage::Ready(*cti))
    }

    pub(super) fn revoke(&mut self, cti: &Serial) -> Step {
        let Some(hosted) = by_cti(&mut self.hosted, cti) else { return Ok(()) };
        hosted.withdrawn = true;
        hosted.loading.abort();
        let min_epoch = hosted.permit.claims().epoch;
        self.renewals.retain(|(_, renewing)| renewing != cti);
        let node = self.node.config.identity.key.public().node_id();
        let entry = NewEntry::new(random::serial(), ConsentRevoked { node, cti: *cti, min_epoch });
        self.node.log.append_then(entry, || {});
        self.show();
        self.lane.send(&NodeMessage::Revoke(*cti))
    }

    /// Sends the next consent token for what is hosted under the one whose time has come.
    pub(super) fn renew(&mut self) -> Step {
        let (_, cti) = self.renewals.remove(0);
        match by_cti(&mut self.hosted, &cti).map(|hosted| hosted.proposal.clone()) {
            Some(proposal) => self.proposed(proposal),
            None => Ok(()),
        }
    }

    pub(super) fn show(&self) {
        let consents = self.hosted.iter().filter(|hosted| !hosted.withdrawn).map(|hosted| ConsentStatus {
            cti: hosted.permit.claims().cti,
            manifest: hosted.proposal.manifest,
            expires: hosted.permit.claims().expires,
            experts: hosted.bank.as_ref().map(|bank| bank.experts().count()),
        });
        let consents = consents.collect();
        self.cover();
        self.node.status.send_modify(|status| status.consents = consents);
    }
}
