//! Which node answers for which expert of a request: a pure function of who hosts what.
//!
//! Experts are placed by (layer, expert). A host that holds a whole layer is preferred for it, because then one
//! message goes out and one summed vector comes back; layers are dealt out in turn among the hosts that hold them
//! whole, so that replicas share the work. A layer that no host holds whole is dealt out expert by expert.

use counterfoil_spec::claims::Range;
use counterfoil_spec::ids::ManifestId;

/// What a model asks of a placement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// The model.
    pub manifest: ManifestId,
    /// Layers with experts, ascending.
    pub moe_layers: Vec<u32>,
    /// Experts in each of them.
    pub experts: u32,
}

/// An expert that no host covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "no consenting node hosts expert {expert} of layer {layer}; start another node, or widen a consent token"
)]
pub struct Uncovered {
    /// Its layer.
    pub layer: u32,
    /// Its number.
    pub expert: u32,
}

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

    /// The hosts that are first choice for at least one expert, ascending.
    #[must_use]
    pub fn first_choices(&self) -> Vec<u16> {
        let mut out: Vec<u16> = self.hosts.iter().filter_map(|h| h.first().copied()).collect();
        out.sort_unstable();
        out.dedup();
        out
    }
}

/// The experts to propose to each of `nodes` nodes so that every expert has `replicas` of them: whole layers, in
/// turn. Node `k` receives the layers whose turn falls on it.
#[must_use]
pub fn propose(shape: &Shape, node: u32, nodes: u32, replicas: u32) -> Vec<Range> {
    let nodes = nodes.max(1);
    let mut out: Vec<Range> = Vec::new();
    for (turn, layer) in (0_u32..).zip(&shape.moe_layers) {
        let distance = (node % nodes + nodes - turn % nodes) % nodes;
        if distance >= replicas.clamp(1, nodes) {
            continue;
        }
        let last = shape.experts.saturating_sub(1);
        match out.last_mut() {
            Some(range) if range.layers.1 + 1 == *layer => range.layers.1 = *layer,
            _ => out.push(Range { manifest: shape.manifest, layers: (*layer, *layer), experts: (0, last) }),
        }
    }
    out
}

/// The experts to propose to node `k` where every layer is dealt out expert by expert, each expert once.
#[must_use]
pub fn propose_experts(shape: &Shape, node: u32, nodes: u32) -> Vec<Range> {
    let nodes = nodes.max(1);
    let share = |k: u32| {
        u32::try_from(u64::from(shape.experts) * u64::from(k) / u64::from(nodes)).unwrap_or(u32::MAX)
    };
    let (first, end) = (share(node % nodes), share(node % nodes + 1));
    match (shape.moe_layers.first(), shape.moe_layers.last()) {
        (Some(low), Some(high)) if first < end => {
            vec![Range { manifest: shape.manifest, layers: (*low, *high), experts: (first, end - 1) }]
        }
        _ => Vec::new(),
    }
}

fn holds(shape: &Shape, ranges: &[Range], layer: u32, expert: u32) -> bool {
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

    #[test]
    fn proposals_of_all_nodes_cover_each_expert_replicas_times() {
        for nodes in 1..=4 {
            for replicas in 1..=nodes {
                let all: Vec<_> = (0..nodes).map(|n| propose(&shape(), n, nodes, replicas)).collect();
                for layer in 0..4 {
                    for expert in 0..4 {
                        let hosts = all.iter().filter(|r| holds(&shape(), r, layer, expert)).count();
                        assert_eq!(hosts, usize::try_from(replicas).unwrap(), "{nodes} nodes, layer {layer}");
                    }
                }
            }
        }
    }

    #[test]
    fn experts_dealt_out_singly_are_each_hosted_once() {
        for nodes in 1..=4 {
            let all: Vec<_> = (0..nodes).map(|n| propose_experts(&shape(), n, nodes)).collect();
            for expert in 0..4 {
                assert_eq!(all.iter().filter(|r| holds(&shape(), r, 2, expert)).count(), 1, "{nodes} nodes");
            }
        }
    }

    #[test]
    fn neighbouring_layers_become_one_range() {
        assert_eq!(propose(&shape(), 0, 2, 2), [range((0, 3), (0, 3))]);
        assert_eq!(propose(&shape(), 0, 2, 1), [range((0, 0), (0, 3)), range((2, 2), (0, 3))]);
    }
}
