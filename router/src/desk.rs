//! What every request of a router shares.

use std::sync::Arc;

use counterfoil_spec::ids::{AccountId, Hash, ManifestId};
use counterfoil_spec::time::Millis;
use tokio::sync::Semaphore;

use crate::engine::Engine;
use crate::home::RouterHome;
use crate::http::metrics::Metrics;
use crate::office::Office;
use crate::placement::{Plan, Uncovered};
use crate::registry::{Host, Registry};
use crate::vault::Vault;

/// Requests that may run at one time; one more is told to come back.
pub(crate) const MAX_RUNNING: usize = 256;

/// The router's shared parts.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) home: RouterHome,
    pub(crate) office: Arc<Office>,
    pub(crate) engine: Engine,
    pub(crate) registry: Registry,
    pub(crate) vault: Vault,
    pub(crate) metrics: Metrics,
    /// The account of callers without a key, where they are let in.
    pub(crate) keyless: Option<AccountId>,
    pub(crate) admin_key_hash: Hash,
    pub(crate) running: Arc<Semaphore>,
    pub(crate) started: Millis,
}

impl Desk {
    /// The hosts that a request would use now, with their order for every expert.
    pub(crate) fn plan(&self) -> Result<(Vec<Arc<Host>>, Plan), Uncovered> {
        let shape = self.engine.shape();
        let manifest: ManifestId = shape.manifest;
        let all = self.registry.ready(&manifest, self.office.now().seconds());
        let planned = |hosts: Vec<Arc<Host>>| {
            let ranges: Vec<_> = hosts.iter().map(|h| h.ranges(&manifest)).collect();
            Plan::new(shape, &ranges).map(|plan| (hosts, plan))
        };
        let answering = all.iter().filter(|h| !h.is_silent()).map(Arc::clone).collect();
        // One that is only slow is better than none.
        planned(answering).or_else(|_| planned(all))
    }
}
