//! Which node answers for which expert of a request: a pure function of who hosts what.
//!
//! Experts are placed by (layer, expert). A host that holds a whole layer is preferred for it, because then one
//! message goes out and one summed vector comes back; layers are dealt out in turn among the hosts that hold them
//! whole, so that replicas share the work. A layer that no host holds whole is dealt out expert by expert.

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
    /// Orders the hosts for every expert of a model.
    ///
    /// # Errors
    /// [`Uncovered`] names the first expert that nobody hosts.
    pub fn new(shape: &Shape, hosts: &[Vec<Range>]) -> Result<Self, Uncovered> {
        let mut plan = Self {
            experts: usize::try_from(shape.experts).unwrap_or(usize::MAX),
            layers: shape.moe_layers.clone(),
            hosts: Vec::new(),
        };
        for (turn, layer) in shape.moe_layers.iter().enumerate() {
            let whole = rotate(whole_layer_hosts(shape, hosts, *layer), turn);
            for expert in 0..shape.experts {
                let mut order = whole.clone();
                let rest = (0..)
                    .zip(hosts)
                    .filter(|(_, ranges)| holds(shape, ranges, *layer, expert))
                    .map(|(h, _)| h)
                    .collect();
                let by_expert = usize::try_from(expert).unwrap_or(usize::MAX);
                for host in rotate(rest, turn.wrapping_add(by_expert)) {
                    if !order.contains(&host) {
                        order.push(host);
                    }
                }
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

fn whole_layer_hosts(shape: &Shape, hosts: &[Vec<Range>], layer: u32) -> Vec<u16> {
    (0..)
        .zip(hosts)
        .filter(|(_, ranges)| (0..shape.experts).all(|e| holds(shape, ranges, layer, e)))
        .map(|(h, _)| h)
        .collect()
}

fn rotate(mut hosts: Vec<u16>, by: usize) -> Vec<u16> {
    if !hosts.is_empty() {
        let by = by % hosts.len();
        hosts.rotate_left(by);
    }
    hosts
}

#[cfg(test)]
mod tests {
    use counterfoil_spec::ids::ManifestId;

    use super::*;

    fn shape() -> Shape {
        Shape { manifest: ManifestId::from_bytes([1; 32]), moe_layers: vec![0, 1, 2, 3], experts: 4 }
    }

    fn range(layers: (u32, u32), experts: (u32, u32)) -> Range {
        Range { manifest: ManifestId::from_bytes([1; 32]), layers, experts }
    }

    #[test]
    fn replicas_take_layers_in_turn() {
        let whole = vec![range((0, 3), (0, 3))];
        let plan = Plan::new(&shape(), &[whole.clone(), whole]).unwrap();
        assert_eq!(plan.hosts(0, 2), [0, 1]);
        assert_eq!(plan.hosts(1, 2), [1, 0]);
        assert_eq!(plan.hosts(2, 0), [0, 1]);
        assert_eq!(plan.first_choices(), [0, 1]);
    }

    #[test]
    fn an_expert_nobody_hosts_is_named() {
        let hosts = [vec![range((0, 3), (0, 2))], vec![range((0, 2), (3, 3))]];
        assert_eq!(Plan::new(&shape(), &hosts), Err(Uncovered { layer: 3, expert: 3 }));
    }

    #[test]
    fn another_models_range_covers_nothing() {
        let other = Range::whole(ManifestId::from_bytes([2; 32]));
        assert_eq!(Plan::new(&shape(), &[vec![other]]), Err(Uncovered { layer: 0, expert: 0 }));
    }

    #[test]
    fn whole_layer_host_comes_before_a_part() {
        let hosts = [vec![range((0, 3), (0, 1))], vec![range((0, 3), (0, 3))]];
        let plan = Plan::new(&shape(), &hosts).unwrap();
        assert_eq!(plan.hosts(0, 0), [1, 0]);
        assert_eq!(plan.hosts(0, 3), [1]);
    }

    #[test]
    fn experts_outside_the_model_have_no_host() {
        let plan = Plan::new(&shape(), &[vec![range((0, 3), (0, 3))]]).unwrap();
        assert_eq!(plan.hosts(0, 4), [0_u16; 0]);
        assert_eq!(plan.hosts(4, 0), [0_u16; 0]);
    }
}
