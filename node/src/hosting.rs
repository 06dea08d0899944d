//! Consent tokens of this node and the experts that are loaded under them.

use std::sync::Arc;

use counterfoil_consent::{Issuance, Permit, Policy, issue};
use counterfoil_identity::VerifiedPeer;
use counterfoil_model::{Checkpoint, ExpertBank, Manifest, ModelConfig};
use counterfoil_spec::claims::Range;
use counterfoil_spec::ids::{ManifestId, Serial};
use counterfoil_spec::message::Proposal;
use counterfoil_spec::time::Seconds;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::fetch::Courier;
use crate::gauge::Gauge;

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
    /// Ends the task that fetches and loads them.
    pub(crate) loading: AbortHandle,
    /// From when on its experts are let go of, once no request uses them: it was withdrawn, or another token of the
    /// same model took its place.
    pub(crate) let_go: Option<Instant>,
}

/// A consent token that was sent and not answered yet.
pub(crate) struct Pending {
    pub(crate) permit: Permit,
    pub(crate) proposal: Proposal,
}

/// A model whose experts can be had.
#[derive(Clone)]
pub(crate) enum Model {
    /// Its weights are at hand.
    Folder(Arc<Checkpoint>),
    /// Its shards are in this node's store, or will be.
    Stored { id: ManifestId, manifest: Arc<Manifest> },
}

impl Model {
    pub(crate) fn id(&self) -> ManifestId {
        match self {
            Self::Folder(checkpoint) => checkpoint.manifest_id(),
            Self::Stored { id, .. } => *id,
        }
    }

    pub(crate) fn manifest(&self) -> &Manifest {
        match self {
            Self::Folder(checkpoint) => checkpoint.manifest(),
            Self::Stored { manifest, .. } => manifest,
        }
    }

    pub(crate) fn config(&self) -> &ModelConfig {
        match self {
            Self::Folder(checkpoint) => checkpoint.config(),
            Self::Stored { manifest, .. } => manifest.config(),
        }
    }

    /// Bytes of weights that one expert reads at most.
    pub(crate) fn expert_bytes(&self) -> u64 {
        match self {
            Self::Folder(checkpoint) => checkpoint.expert_weight_bytes(),
            Self::Stored { manifest, .. } => {
                manifest.experts().map(|(_, record)| record.size).max().unwrap_or_default()
            }
        }
    }

    /// The experts of some ranges.
    pub(crate) fn experts_of(&self, ranges: &[Range]) -> Vec<(u32, u16)> {
        let id = self.id();
        let named = |(layer, expert): &(u32, u16)| {
            ranges.iter().any(|range| range.contains(&id, *layer, u32::from(*expert)))
        };
        self.config().all_experts().filter(named).collect()
    }

    /// Bytes of weights of some experts, as the router counts them too: the sizes of their shards.
    fn bytes_of(&self, experts: &[(u32, u16)]) -> u64 {
        let manifest = self.manifest();
        let sizes = experts.iter().filter_map(|(layer, expert)| manifest.expert(*layer, *expert));
        sizes.map(|record| record.size).fold(0, u64::saturating_add)
    }

    /// Loads exactly the experts of some ranges; fetches first what is not at hand.
    ///
    /// # Errors
    /// In words, what cannot be mended.
    pub(crate) async fn load(
        self,
        ranges: &[Range],
        courier: &Courier,
        gauge: &Gauge,
    ) -> Result<ExpertBank, String> {
        let experts = self.experts_of(ranges);
        match self {
            Self::Folder(checkpoint) => {
                let load = move || ExpertBank::load(&*checkpoint, experts).map_err(|e| e.to_string());
                tokio::task::spawn_blocking(load).await.map_err(|e| e.to_string())?
            }
            Self::Stored { manifest, .. } => courier.bank(&manifest, experts, gauge).await,
        }
    }
}

/// What may be hosted, and what is loaded already; outlives lanes.
pub(crate) struct Shelf {
    models: Vec<Model>,
    max_weight_bytes: u64,
    max_disk_bytes: u64,
    loaded: Vec<(Vec<Range>, Arc<ExpertBank>)>,
}

/// What tokens and proposals bind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Promised {
    /// Bytes of weights in memory.
    pub(crate) memory: u64,
    /// Bytes of them that are fetched, and so lie in the store too.
    pub(crate) disk: u64,
}

impl Promised {
    pub(crate) fn and(self, other: Self) -> Self {
        Self { memory: self.memory.saturating_add(other.memory), disk: self.disk.saturating_add(other.disk) }
    }
}

/// How things stand when a proposal is considered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Standing {
    pub(crate) now: Seconds,
    /// The operator's consent epoch.
    pub(crate) epoch: u64,
    /// What other models have.
    pub(crate) promised: Promised,
}

/// Whose consent it is, and what its operator allows.
pub(crate) struct Signer<'a> {
    pub(crate) policy: &'a Policy,
    pub(crate) key: &'a dyn counterfoil_identity::Signer,
}

/// Why a proposal is declined, in words that travel to the router.
pub(crate) type Reason = String;

impl Shelf {
    pub(crate) fn new(models: Vec<Arc<Checkpoint>>, max_weight_bytes: u64, max_disk_bytes: u64) -> Self {
        let models = models.into_iter().map(Model::Folder).collect();
        Self { models, max_weight_bytes, max_disk_bytes, loaded: Vec::new() }
    }

    /// The models whose weights are at hand.
    pub(crate) fn manifests(&self) -> Vec<ManifestId> {
        self.models.iter().filter(|m| matches!(m, Model::Folder(_))).map(Model::id).collect()
    }

    pub(crate) fn model(&self, manifest: &ManifestId) -> Option<&Model> {
        self.models.iter().find(|model| model.id() == *manifest)
    }

    /// A manifest came: its shards can be fetched.
    pub(crate) fn learn(&mut self, id: ManifestId, manifest: Arc<Manifest>) {
        if self.model(&id).is_none() {
            self.models.push(Model::Stored { id, manifest });
        }
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

    /// Lets go of the banks that no token uses.
    pub(crate) fn sweep(&mut self) {
        self.loaded.retain(|(_, bank)| Arc::strong_count(bank) > 1);
    }

    /// What the experts of some ranges of a known model bind.
    pub(crate) fn promised(&self, manifest: &ManifestId, ranges: &[Range]) -> Promised {
        let Some(model) = self.model(manifest) else { return Promised::default() };
        let bytes = model.bytes_of(&model.experts_of(ranges));
        Promised { memory: bytes, disk: if matches!(model, Model::Stored { .. }) { bytes } else { 0 } }
    }

    /// Bytes of weights that can be hosted: what fits into memory, and of it no more than is at hand or may be fetched
    /// to disk.
    pub(crate) fn offered(&self) -> u64 {
        let at_hand = self.models.iter().filter(|model| matches!(model, Model::Folder(_)));
        let at_hand = at_hand.map(|model| model.manifest().shard_bytes()).fold(0, u64::saturating_add);
        self.max_weight_bytes.min(self.max_disk_bytes.saturating_add(at_hand))
    }

    /// Decides on a proposal by what is at hand, by what other models hold, and by the operator's policy.
    pub(crate) fn consider(
        &self,
        proposal: &Proposal,
        signer: &Signer<'_>,
        router: &VerifiedPeer,
        standing: &Standing,
    ) -> Result<(Vec<u8>, Permit), Reason> {
        if proposal.router != router.id().as_router() {
            return Err("the proposal names another router than the one that made it".to_owned());
        }
        let model = self.model(&proposal.manifest);
        let model = model.ok_or_else(|| format!("no weights of model {} here", proposal.manifest))?;
        let experts = model.experts_of(&proposal.ranges);
        let bytes = model.bytes_of(&experts);
        let experts = experts.len();
        if experts == 0 {
            return Err("the proposal names no expert of the model".to_owned());
        }
        let allowed = self.max_disk_bytes.saturating_sub(standing.promised.disk);
        if matches!(model, Model::Stored { .. }) && bytes > allowed {
            return Err(format!("{experts} experts take {bytes} bytes on disk, and {allowed} are allowed"));
        }
        let offered = self.max_weight_bytes.saturating_sub(standing.promised.memory);
        if bytes > offered {
            return Err(format!("{experts} experts take {bytes} bytes, and {offered} are offered"));
        }
        let issuance = Issuance::fresh(router.net_id(), standing.now, standing.epoch);
        issue(signer.policy, proposal, signer.key, &issuance).map_err(|declined| declined.to_string())
    }
}

/// Of these tokens, the one with this id.
pub(crate) fn by_cti<'a>(hosted: &'a mut [Hosted], cti: &Serial) -> Option<&'a mut Hosted> {
    hosted.iter_mut().find(|h| h.permit.claims().cti == *cti)
}
