//! Fixed shares: node `k` of `n` is dealt its part whatever it can hold, so that one placement can be had again.

use counterfoil_spec::claims::Range;

use super::Shape;

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

#[cfg(test)]
mod tests {
    use counterfoil_spec::ids::ManifestId;

    use super::super::plan::holds;
    use super::*;

    fn shape() -> Shape {
        Shape { manifest: ManifestId::from_bytes([1; 32]), moe_layers: vec![0, 1, 2, 3], experts: 4 }
    }

    fn range(layers: (u32, u32), experts: (u32, u32)) -> Range {
        Range { manifest: ManifestId::from_bytes([1; 32]), layers, experts }
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
