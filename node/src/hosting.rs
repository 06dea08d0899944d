//! Consent tokens of this node and the experts that are loaded under them.

use std::sync::Arc;

use counterfoil_consent::{Issuance, Permit, Policy, issue};
use counterfoil_identity::{SecretKey, VerifiedPeer};
use counterfoil_model::{Checkpoint, ExpertBank, LoadError};
use counterfoil_spec::claims::Range;
use counterfoil_spec::ids::{ManifestId, Serial};
use counterfoil_spec::message::Proposal;
use counterfoil_spec::time::Seconds;

/// Proposals that may wait for the router's answer at one time.
pub(crate) const MAX_PENDING_CONSENTS: usize = 64;

/// A consent token that the router welcomed. Its index is its token slot.
pub(crate) struct Hosted {
    pub(crate) permit: Permit,
    pub(crate) proposal: Proposal,
    /// Floats in a row.
    pub(crate) hidden: usize,
    /// Bytes of weights that one expert reads.
    pub(crate) expert_bytes: u64,
    /// The experts; nothing while they load.
    pub(crate) bank: Option<Arc<ExpertBank>>,
    pub(crate) withdrawn: bool,
}

/// A consent token that was sent and not answered yet.
pub(crate) struct Pending {
    pub(crate) permit: Permit,
    pub(crate) proposal: Proposal,
}

/// What may be hosted, and what is loaded already; outlives lanes.
pub(crate) struct Shelf {
    models: Vec<Arc<Checkpoint>>,
    max_weight_bytes: u64,
    loaded: Vec<(Vec<Range>, Arc<ExpertBank>)>,
}

/// Why a proposal is declined, in words that travel to the router.
pub(crate) type Reason = String;

impl Shelf {
    pub(crate) const fn new(models: Vec<Arc<Checkpoint>>, max_weight_bytes: u64) -> Self {
        Self { models, max_weight_bytes, loaded: Vec::new() }
    }

    /// The models that are at hand.
    pub(crate) fn manifests(&self) -> Vec<ManifestId> {
        self.models.iter().map(|model| model.manifest_id()).collect()
    }

    pub(crate) fn model(&self, manifest: &ManifestId) -> Option<&Arc<Checkpoint>> {
        self.models.iter().find(|model| model.manifest_id() == *manifest)
    }

    /// The bank for some ranges, where it is loaded.
    pub(crate) fn bank(&self, ranges: &[Range]) -> Option<Arc<ExpertBank>> {
        self.loaded.iter().find(|(have, _)| have == ranges).map(|(_, bank)| Arc::clone(bank))
    }

    /// Keeps a loaded bank, and lets go of those that no token uses.
    pub(crate) fn put(&mut self, ranges: Vec<Range>, bank: Arc<ExpertBank>) {
        self.loaded.retain(|(have, bank)| *have != ranges && Arc::strong_count(bank) > 1);
        self.loaded.push((ranges, bank));
    }

    /// Decides on a proposal by what is at hand and by the operator's policy.
    pub(crate) fn consider(
        &self,
        proposal: &Proposal,
        policy: &Policy,
        key: &SecretKey,
        router: &VerifiedPeer,
        (now, epoch): (Seconds, u64),
    ) -> Result<(Vec<u8>, Permit), Reason> {
        if proposal.router != router.id().as_router() {
            return Err("the proposal names another router than the one that made it".to_owned());
        }
        let model = self.model(&proposal.manifest);
        let model = model.ok_or_else(|| format!("no weights of model {} here", proposal.manifest))?;
        let experts = experts_of(model, &proposal.ranges).len();
        let bytes = u64::try_from(experts).unwrap_or(u64::MAX).saturating_mul(model.expert_weight_bytes());
        if experts == 0 {
            return Err("the proposal names no expert of the model".to_owned());
        }
        if bytes > self.max_weight_bytes {
            return Err(format!(
                "{experts} experts take {bytes} bytes, and {} are offered",
                self.max_weight_bytes
            ));
        }
        let issuance = Issuance::fresh(router.net_id(), now, epoch);
        issue(policy, proposal, key, &issuance).map_err(|declined| declined.to_string())
    }
}

/// Loads exactly the experts of some ranges. Takes as long as the weights are large.
pub(crate) fn load(model: &Checkpoint, ranges: &[Range]) -> Result<ExpertBank, LoadError> {
    ExpertBank::load(model, experts_of(model, ranges))
}

/// Of these tokens, the one with this id.
pub(crate) fn by_cti<'a>(hosted: &'a mut [Hosted], cti: &Serial) -> Option<&'a mut Hosted> {
    hosted.iter_mut().find(|h| h.permit.claims().cti == *cti)
}

fn experts_of(model: &Checkpoint, ranges: &[Range]) -> Vec<(u32, u16)> {
    let manifest = model.manifest_id();
    let named = |(layer, expert): &(u32, u16)| {
        ranges.iter().any(|range| range.contains(&manifest, *layer, u32::from(*expert)))
    };
    model.config().all_experts().filter(named).collect()
}
