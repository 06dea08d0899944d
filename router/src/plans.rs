//! The last plan of each model: it is the same for every request as long as the same hosts can be asked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use counterfoil_spec::ids::ManifestId;

use crate::placement::{Plan, Shape, Uncovered};
use crate::registry::Host;

/// One plan for each model.
#[derive(Debug, Default)]
pub(crate) struct Plans {
    /// Guards the map alone. Hosts are held weakly: a lane ends with the last who holds it.
    last: Mutex<BTreeMap<ManifestId, Last>>,
}

/// A plan with the hosts that it is for.
type Last = (Vec<Weak<Host>>, Arc<Plan>);

impl Plans {
    /// The plan of a model for these hosts; made anew where they are not those of the last one.
    ///
    /// # Errors
    /// [`Uncovered`] names the first expert that none of them hosts.
    pub(crate) fn of(
        &self,
        shape: &Shape,
        hosts: Vec<Arc<Host>>,
    ) -> Result<(Vec<Arc<Host>>, Arc<Plan>), Uncovered> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, plan)) = last.get(&shape.manifest)
            && known.len() == hosts.len()
            && known.iter().zip(&hosts).all(|(known, host)| std::ptr::eq(known.as_ptr(), Arc::as_ptr(host)))
        {
            return Ok((hosts, Arc::clone(plan)));
        }
        let ranges: Vec<_> = hosts.iter().map(|h| h.ranges(&shape.manifest)).collect();
        let plan = Arc::new(Plan::new(shape, &ranges)?);
        last.insert(shape.manifest, (hosts.iter().map(Arc::downgrade).collect(), Arc::clone(&plan)));
        Ok((hosts, plan))
    }
}
