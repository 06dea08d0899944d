//! Fetching on a lane: manifests before consent, how far shards are, and what may be passed on.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use counterfoil_consent::{Issuance, issue};
use counterfoil_model::Manifest;
use counterfoil_spec::claims::Range;
use counterfoil_spec::ids::ManifestId;
use counterfoil_spec::message::{NodeMessage, Progress, Proposal};
use tokio::time::Instant;

use super::{Service, Step};
use crate::hosting::Hosted;
use crate::sharing::Shared;
use crate::status::FetchStatus;

/// How often the router is told how far fetching is.
const REPORT_EVERY: Duration = Duration::from_secs(5);

impl Service<'_> {
    /// Whether a proposal is for a model that is not known here yet and that the operator's policy would serve.
    pub(super) fn is_worth_fetching(&self, proposal: &Proposal) -> bool {
        let config = &self.node.config;
        let router = self.lane.router();
        if self.node.shelf.model(&proposal.manifest).is_some() || proposal.router != router.id().as_router() {
            return false;
        }
        let issuance = Issuance::fresh(router.net_id(), (config.now)().seconds(), config.epoch);
        // Only the policy's answer is wanted; the token is not used.
        config.max_disk_bytes > 0 && issue(&config.policy, proposal, &config.identity.key, &issuance).is_ok()
    }

    /// Fetches the manifest of a proposed model; the proposal is decided when it is here.
    pub(super) fn fetch_manifest(&mut self, proposal: Proposal) {
        let (courier, id) = (self.courier.clone(), proposal.manifest);
        self.arriving_ids.push(id);
        self.arriving.spawn(async move {
            let manifest = courier.manifest(id).await;
            (proposal, manifest)
        });
        self.report_soon();
    }

    /// A manifest is here, or will not come.
    pub(super) fn arrived(&mut self, proposal: Proposal, manifest: Result<Arc<Manifest>, String>) -> Step {
        self.arriving_ids.retain(|id| *id != proposal.manifest);
        match manifest {
            Ok(manifest) => {
                self.node.shelf.learn(proposal.manifest, manifest);
                self.decide(proposal)
            }
            Err(reason) => self.decline(&proposal, reason),
        }
    }

    /// Begins to tell the router how far fetching is.
    pub(super) fn report_soon(&mut self) {
        self.report.get_or_insert_with(|| Instant::now() + REPORT_EVERY);
    }

    /// Tells the router how far fetching is, of what is awaited whether it got any further or not: so it is waited for.
    pub(super) fn report_all(&mut self) -> Step {
        let loading = self.hosted.iter().filter(|hosted| hosted.bank.is_none() && !hosted.withdrawn);
        let loading = loading.map(|hosted| hosted.proposal.manifest);
        let awaited: BTreeSet<ManifestId> = loading.chain(self.arriving_ids.iter().copied()).collect();
        self.reported.retain(|manifest, _| !awaited.contains(manifest));
        self.report_changes()
    }

    /// Tells the router what has changed of how far fetching is, and goes on telling while anything is to come.
    pub(super) fn report_changes(&mut self) -> Step {
        let loading = self.hosted.iter().any(|hosted| hosted.bank.is_none() && !hosted.withdrawn);
        self.report = (loading || !self.arriving_ids.is_empty()).then(|| Instant::now() + REPORT_EVERY);
        let known: Vec<Progress> =
            self.node.status.borrow().fetches.iter().map(FetchStatus::progress).collect();
        let named = |id: &&ManifestId| known.iter().any(|own| own.manifest == **id);
        let awaited = self.arriving_ids.iter().filter(|id| !named(id));
        let awaited: Vec<Progress> = awaited.map(|id| FetchStatus::of(*id).progress()).collect();
        for progress in known.into_iter().chain(awaited) {
            if self.reported.get(&progress.manifest) != Some(&progress) {
                self.lane.send(&NodeMessage::Progress(progress))?;
                self.reported.insert(progress.manifest, progress);
            }
        }
        Ok(())
    }

    /// Says what is covered by consent tokens: shards of the rest may make room, and shards of these may be passed on.
    pub(super) fn cover(&self) {
        let own = self.held().filter(|h| !h.withdrawn && (h.let_go.is_none() || h.bank.is_some()));
        let own: Vec<&Hosted> = own.collect();
        let awaited = self.pending.iter().map(|pending| &pending.proposal);
        let covered = own.iter().map(|hosted| &hosted.proposal).chain(awaited);
        let covered: Vec<Range> = covered.flat_map(|proposal| proposal.ranges.clone()).collect();
        self.node.store.cover(covered);
        let shared = own.iter().filter(|hosted| hosted.bank.is_some()).filter_map(|hosted| {
            let model = self.node.shelf.model(&hosted.proposal.manifest)?.clone();
            let ranges = hosted.proposal.ranges.clone();
            Some(Shared { model, ranges, expires: hosted.permit.claims().expires })
        });
        self.sharing.set(shared.collect());
    }
}
