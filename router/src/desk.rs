//! What every request of a router shares.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use counterfoil_spec::country::Country;
use counterfoil_spec::ids::{AccountId, Hash, ManifestId};
use counterfoil_spec::time::{Millis, Seconds};
use tokio::sync::Semaphore;

use crate::batch::{Batch, Seat};
use crate::deny::Herald;
use crate::engine::Engine;
use crate::fetch::Library;
use crate::heads::Correspondence;
use crate::home::RouterHome;
use crate::http::metrics::Metrics;
use crate::office::Office;
use crate::own_keys::Shown;
use crate::payout::Payday;
use crate::placement::{Coverage, Plan, Uncovered};
use crate::plans::{Plans, Whose};
use crate::registry::{Host, Registry};
use crate::renewal::Renewals;
use crate::repeats::Repeats;
use crate::tally::Tallies;
use crate::vault::Vault;

/// Requests that may run at one time; one more is told to come back.
pub(crate) const MAX_RUNNING: usize = 256;

/// The router's shared parts.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) home: RouterHome,
    pub(crate) office: Arc<Office>,
    /// One for each model, at least one, in the order in which they were named.
    pub(crate) engines: Vec<Arc<Engine>>,
    /// One for each of them.
    pub(crate) batches: BTreeMap<ManifestId, Batch>,
    /// What nodes may fetch.
    pub(crate) library: Library,
    pub(crate) registry: Registry,
    pub(crate) herald: Herald,
    pub(crate) heads: Correspondence,
    pub(crate) plans: Plans,
    pub(crate) vault: Vault,
    /// Who pays providers.
    pub(crate) payday: Payday,
    pub(crate) metrics: Arc<Metrics>,
    /// The account of callers without a key, where they are let in.
    pub(crate) keyless: Option<AccountId>,
    pub(crate) admin_key_hash: Hash,
    pub(crate) running: Arc<Semaphore>,
    pub(crate) started: Millis,
    /// The requests that were sent with an `Idempotency-Key`.
    pub(crate) repeats: Arc<Repeats>,
    /// What members were given of certificates lately.
    pub(crate) renewals: Renewals,
    /// The TLS keys that this router shows.
    pub(crate) shown: Shown,
    /// What members said lately that nobody asked for.
    pub(crate) tallies: Tallies,
    /// The life of a node's certificate, in seconds.
    pub(crate) certificate_life_s: u64,
}

impl Desk {
    /// The latest end that a node's certificate may have now.
    pub(crate) fn latest_leaf_end(&self, now: Seconds) -> Seconds {
        now.plus(self.certificate_life_s).min(self.home.ca().latest_leaf_end(now))
    }

    /// All models.
    pub(crate) fn engines(&self) -> impl ExactSizeIterator<Item = &Engine> {
        self.engines.iter().map(|engine| &**engine)
    }

    /// A model by the name that clients ask for.
    pub(crate) fn engine(&self, name: &str) -> Option<&Arc<Engine>> {
        self.engines.iter().find(|engine| engine.name() == name)
    }

    /// A model by its id.
    pub(crate) fn engine_of(&self, manifest: &ManifestId) -> Option<&Arc<Engine>> {
        self.engines.iter().find(|engine| engine.manifest() == *manifest)
    }

    /// A place in the batch of a model that is here.
    pub(crate) fn seat(&self, engine: &Engine) -> Option<Seat> {
        self.batches.get(&engine.manifest()).map(Batch::seat)
    }

    /// Bytes of one expert of a model; of the first one, where their sizes differ.
    pub(crate) fn expert_bytes(&self, manifest: &ManifestId) -> u64 {
        self.engine_of(manifest).and_then(|e| e.expert_bytes().first().copied()).unwrap_or(0)
    }

    /// How well a model is covered now.
    pub(crate) fn coverage(&self, engine: &Engine) -> Coverage {
        let manifest = engine.manifest();
        let hosts = self.registry.ready(&manifest, self.office.now().seconds());
        Coverage::of(engine.shape(), &hosts.iter().map(|h| h.ranges(&manifest)).collect::<Vec<_>>())
    }

    /// The hosts that a request of a caller from there would use now, with their order for every expert.
    pub(crate) fn plan(
        &self,
        engine: &Engine,
        country: Option<Country>,
    ) -> Result<(Vec<Arc<Host>>, Arc<Plan>), Unplanned> {
        //= spec/consent.md#callers
        //# A router MUST NOT order under a token that does not allow the caller.
        let shape = engine.shape();
        let every = self.registry.ready(&shape.manifest, self.office.now().seconds());
        let all: Vec<_> = every.iter().filter(|h| h.serves(country)).map(Arc::clone).collect();
        let whose = if all.len() == every.len() { Whose::Any } else { Whose::From(country) };
        let answering = all.iter().filter(|h| !h.is_silent()).map(Arc::clone).collect();
        // One that is only slow is better than none.
        let planned = self.plans.of(shape, whose, answering).or_else(|_| self.plans.of(shape, whose, all));
        planned.map_err(|uncovered| match whose {
            Whose::From(_) if self.coverage(engine).missing(shape).is_empty() => {
                Unplanned::NotForCaller(NotForCaller { country, uncovered })
            }
            _ => Unplanned::Uncovered(uncovered),
        })
    }
}

/// Why a request cannot be shared out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unplanned {
    /// Nobody is left for an expert.
    #[error(transparent)]
    Uncovered(#[from] Uncovered),
    /// Who is left serves callers from elsewhere alone.
    #[error(transparent)]
    NotForCaller(#[from] NotForCaller),
}

/// All nodes for an expert consented to callers from other countries alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotForCaller {
    country: Option<Country>,
    uncovered: Uncovered,
}

impl std::error::Error for NotForCaller {}

impl fmt::Display for NotForCaller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Uncovered { layer, expert } = self.uncovered;
        match self.country {
            Some(from) => write!(
                f,
                "R_JURIS: no node for expert {expert} of layer {layer} consents to callers from {from}; ask for another \
                 model, or the router's operator for nodes that serve {from}"
            ),
            None => write!(
                f,
                "R_JURIS: the nodes for expert {expert} of layer {layer} serve some countries alone, and it is not known \
                 where this caller is from; the router's operator can make a key that says so \
                 (`counterfoil account key create ACCOUNT --country CC`)"
            ),
        }
    }
}
