//! The last plan of each model: it is the same for every request as long as the same hosts can be asked and all are
//! equally fast. Where some hosts serve some countries alone, there is one for the callers of each country. Where some are faster, each request has a plan of its own, whose turns go on from the last one's.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use counterfoil_spec::country::Country;
use counterfoil_spec::ids::ManifestId;

use crate::latency::weights;
use crate::placement::{Plan, Shape, Turns, Uncovered};
use crate::registry::Host;

/// For whose requests a plan is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Whose {
    /// All hosts serve the caller.
    Any,
    /// Some do not serve callers from there, or whose country is unknown.
    From(Option<Country>),
}

/// One plan for each model and kind of caller: there are no more than countries in the log.
#[derive(Debug, Default)]
pub(crate) struct Plans {
    /// Guards the map alone. Hosts are held weakly: a lane ends with the last who holds it.
    last: Mutex<BTreeMap<(ManifestId, Whose), Last>>,
}

/// A plan with what it was made for.
#[derive(Debug)]
struct Last {
    hosts: Vec<Weak<Host>>,
    weights: Vec<u32>,
    turns: Turns,
    plan: Arc<Plan>,
}

impl Plans {
    /// The plan of a model for these hosts.
    ///
    /// # Errors
    /// [`Uncovered`] names the first expert that none of them hosts.
    pub(crate) fn of(
        &self,
        shape: &Shape,
        whose: Whose,
        hosts: Vec<Arc<Host>>,
    ) -> Result<(Vec<Arc<Host>>, Arc<Plan>), Uncovered> {
        let weights = weights(&hosts.iter().map(|host| host.latencies()).collect::<Vec<_>>());
        let all_alike = weights.windows(2).all(|two| two.first() == two.last());
        let mut all = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let last = all.get(&(shape.manifest, whose)).filter(|last| last.is_for(&hosts));
        if let Some(last) = last
            && all_alike
            && last.weights == weights
        {
            return Ok((hosts, Arc::clone(&last.plan)));
        }
        let mut turns = last.filter(|_| !all_alike).map_or_else(Turns::default, |last| last.turns.clone());
        let ranges = hosts.iter().map(|host| host.ranges(&shape.manifest));
        let weighted: Vec<_> = ranges.zip(weights.iter().copied()).collect();
        let plan = Arc::new(Plan::new(shape, &weighted, &mut turns)?);
        let known = hosts.iter().map(Arc::downgrade).collect();
        all.insert((shape.manifest, whose), Last { hosts: known, weights, turns, plan: Arc::clone(&plan) });
        Ok((hosts, plan))
    }
}

impl Last {
    fn is_for(&self, hosts: &[Arc<Host>]) -> bool {
        self.hosts.len() == hosts.len()
            && self
                .hosts
                .iter()
                .zip(hosts)
                .all(|(known, host)| std::ptr::eq(known.as_ptr(), Arc::as_ptr(host)))
    }
}
