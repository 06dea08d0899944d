//! Which node answers for which expert of a request: a pure function of who hosts what.
//!
//! Experts are placed by (layer, expert). A host that holds a whole layer is preferred for it, because then one
//! message goes out and one summed vector comes back; layers are dealt out in turn among the hosts that hold them
//! whole, so that replicas share the work. A layer that no host holds whole is dealt out expert by expert. Who is slow
//! has its turn less often: turns are those of a smooth weighted round robin, which spreads them evenly.

use counterfoil_spec::claims::Range;

use super::{Shape, Uncovered};

/// For each (layer, expert) the hosts that may answer, best first; hosts are named by their place in the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    experts: usize,
    layers: Vec<u32>,
    hosts: Vec<Vec<u16>>,
}

impl Plan {
    /// Orders the hosts for every expert of a model; each comes with its weight, which is how often it has its turn
    /// compared with others. Turns go on from those of the plan before, so that who has few has some.
    ///
    /// # Errors
    /// [`Uncovered`] names the first expert that nobody hosts.
    pub fn new(shape: &Shape, hosts: &[(Vec<Range>, u32)], turns: &mut Turns) -> Result<Self, Uncovered> {
        let mut plan = Self {
            experts: usize::try_from(shape.experts).unwrap_or(usize::MAX),
            layers: shape.moe_layers.clone(),
            hosts: Vec::new(),
        };
        let weights: Vec<i64> = hosts.iter().map(|(_, weight)| i64::from(*weight)).collect();
        for layer in &shape.moe_layers {
            let whole = turns.layers.next(&weights, whole_layer_hosts(shape, hosts, *layer));
            for expert in 0..shape.experts {
                let mut order = whole.clone();
                let mut rest: Vec<u16> = (0..)
                    .zip(hosts)
                    .filter(|(h, (ranges, _))| !order.contains(h) && holds(shape, ranges, *layer, expert))
                    .map(|(h, _)| h)
                    .collect();
                if let Some(by) =
                    usize::try_from(expert).ok().and_then(|expert| expert.checked_rem(rest.len()))
                {
                    rest.rotate_left(by);
                }
                order.extend(if order.is_empty() { turns.experts.next(&weights, rest) } else { rest });
                if order.is_empty() {
                    return Err(Uncovered { layer: *layer, expert });
                }
                plan.hosts.push(order);
            }
        }
        Ok(plan)
    }

    /// The hosts for one expert, best first; empty for an expert that the model does not have.
    #[must_use]
    pub fn hosts(&self, layer: u32, expert: u32) -> &[u16] {
        let Some(at) = self.layers.iter().position(|l| *l == layer) else { return &[] };
        let expert = usize::try_from(expert).unwrap_or(usize::MAX);
        if expert >= self.experts {
            return &[];
        }
        self.hosts.get(at * self.experts + expert).map_or(&[], Vec::as_slice)
    }

    /// Calls hosts by other numbers; those without one are left out.
    pub fn rename(&mut self, name: impl Fn(u16) -> Option<u16>) {
        for order in &mut self.hosts {
            *order = order.iter().filter_map(|host| name(*host)).collect();
        }
    }

    /// The hosts that are first choice for at least one expert, ascending.
    #[must_use]
    pub fn first_choices(&self) -> Vec<u16> {
        let mut out: Vec<u16> = self.hosts.iter().filter_map(|h| h.first().copied()).collect();
        out.sort_unstable();
        out.dedup();
        out
    }
}

pub(super) fn holds(shape: &Shape, ranges: &[Range], layer: u32, expert: u32) -> bool {
    ranges.iter().any(|r| r.contains(&shape.manifest, layer, expert))
}

fn whole_layer_hosts(shape: &Shape, hosts: &[(Vec<Range>, u32)], layer: u32) -> Vec<u16> {
    (0..)
        .zip(hosts)
        .filter(|(_, (ranges, _))| (0..shape.experts).all(|e| holds(shape, ranges, layer, e)))
        .map(|(h, _)| h)
        .collect()
}

/// Whose turn it is, for layers that hosts hold whole and for single experts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Turns {
    layers: Ring,
    experts: Ring,
}

/// A smooth weighted round robin: everybody who can have a turn saves up its weight, and who has saved most has it and
/// pays what all saved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Ring {
    saved: Vec<i64>,
}

impl Ring {
    /// These hosts with the one whose turn it is first; after it those that follow it, as in a ring.
    fn next(&mut self, weights: &[i64], mut hosts: Vec<u16>) -> Vec<u16> {
        self.saved.resize(weights.len(), 0);
        let mut all = 0;
        for host in hosts.iter().map(|h| usize::from(*h)) {
            if let (Some(saved), Some(weight)) = (self.saved.get_mut(host), weights.get(host)) {
                *saved += weight;
                all += weight;
            }
        }
        let saved = |host: &u16| self.saved.get(usize::from(*host)).copied().unwrap_or(0);
        let most = hosts.iter().map(saved).max();
        let Some(first) = hosts.iter().position(|host| Some(saved(host)) == most) else { return hosts };
        hosts.rotate_left(first);
        if let Some(saved) = hosts.first().and_then(|h| self.saved.get_mut(usize::from(*h))) {
            *saved -= all;
        }
        hosts
    }
}

#[cfg(test)]
mod tests;
