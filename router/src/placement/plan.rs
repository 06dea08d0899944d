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
                let rest = (0..)
                    .zip(hosts)
                    .filter(|(h, (ranges, _))| !order.contains(h) && holds(shape, ranges, *layer, expert))
                    .map(|(h, _)| h)
                    .collect();
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
mod tests {
    use counterfoil_spec::ids::ManifestId;

    use super::*;

    fn shape() -> Shape {
        Shape { manifest: ManifestId::from_bytes([1; 32]), moe_layers: vec![0, 1, 2, 3], experts: 4 }
    }

    fn range(layers: (u32, u32), experts: (u32, u32)) -> Range {
        Range { manifest: ManifestId::from_bytes([1; 32]), layers, experts }
    }

    fn alike<const N: usize>(hosts: [Vec<Range>; N]) -> Vec<(Vec<Range>, u32)> {
        hosts.into_iter().map(|ranges| (ranges, 8)).collect()
    }

    #[test]
    fn replicas_take_layers_in_turn() {
        let whole = vec![range((0, 3), (0, 3))];
        let plan = Plan::new(&shape(), &alike([whole.clone(), whole]), &mut Turns::default()).unwrap();
        assert_eq!(plan.hosts(0, 2), [0, 1]);
        assert_eq!(plan.hosts(1, 2), [1, 0]);
        assert_eq!(plan.hosts(2, 0), [0, 1]);
        assert_eq!(plan.first_choices(), [0, 1]);
    }

    /// How many of 12 layers each has its turn in.
    fn turns(weights: &[u32]) -> Vec<usize> {
        let shape = Shape { moe_layers: (0..12).collect(), ..shape() };
        let hosts: Vec<_> = weights.iter().map(|w| (vec![range((0, 11), (0, 3))], *w)).collect();
        let plan = Plan::new(&shape, &hosts, &mut Turns::default()).unwrap();
        let first = |host| (0..12).filter(|layer| plan.hosts(*layer, 0).first() == Some(&host)).count();
        (0..).take(weights.len()).map(first).collect()
    }

    #[test]
    fn who_is_slow_has_its_turn_less_often() {
        assert_eq!(turns(&[8, 8, 8]), [4, 4, 4]);
        assert_eq!(turns(&[8, 4]), [8, 4]);
        assert_eq!(turns(&[8, 7]), [6, 6]);
        assert_eq!(turns(&[1, 8]), [1, 11]);
        assert_eq!(turns(&[0, 8]), [0, 12]);
        assert_eq!(turns(&[0]), [12]);
        assert_eq!(turns(&[u32::MAX, u32::MAX]), [6, 6]);
    }

    #[test]
    fn turns_are_spread_and_not_taken_in_a_row() {
        let hosts = [(vec![range((0, 3), (0, 3))], 2), (vec![range((0, 3), (0, 3))], 2)];
        let plan = Plan::new(&shape(), &hosts, &mut Turns::default()).unwrap();
        let firsts: Vec<u16> = (0..4).map(|layer| plan.hosts(layer, 1)[0]).collect();
        assert_eq!(firsts, [0, 1, 0, 1]);
        let hosts = [(vec![range((0, 3), (0, 3))], 1), (vec![range((0, 3), (0, 3))], 3)];
        let plan = Plan::new(&shape(), &hosts, &mut Turns::default()).unwrap();
        let orders: Vec<&[u16]> = (0..4).map(|layer| plan.hosts(layer, 1)).collect();
        assert_eq!(orders, [[1, 0], [0, 1], [1, 0], [1, 0]]);
    }

    #[test]
    fn turns_go_on_from_plan_to_plan() {
        let hosts = [(vec![range((0, 3), (0, 3))], 1), (vec![range((0, 3), (0, 3))], 8)];
        let mut turns = Turns::default();
        let mut slow = 0;
        for _ in 0..9 {
            let plan = Plan::new(&shape(), &hosts, &mut turns).unwrap();
            slow += (0..4).filter(|layer| plan.hosts(*layer, 1) == [0, 1]).count();
        }
        assert_eq!((slow, turns), (4, Turns { layers: Ring { saved: vec![0, 0] }, ..Turns::default() }));
    }

    #[test]
    fn experts_of_a_layer_that_nobody_holds_whole_are_shared_by_weight() {
        let parts = [(vec![range((0, 3), (0, 2))], 8), (vec![range((0, 3), (1, 3))], 4)];
        let plan = Plan::new(&shape(), &parts, &mut Turns::default()).unwrap();
        let shared: Vec<u16> = (0..4).flat_map(|l| [plan.hosts(l, 1)[0], plan.hosts(l, 2)[0]]).collect();
        assert_eq!(shared.iter().filter(|h| **h == 0).count(), 5);
        assert!((0..4).all(|layer| plan.hosts(layer, 0) == [0] && plan.hosts(layer, 3) == [1]));
    }

    #[test]
    fn an_expert_nobody_hosts_is_named() {
        let hosts = [vec![range((0, 3), (0, 2))], vec![range((0, 2), (3, 3))]];
        assert_eq!(
            Plan::new(&shape(), &alike(hosts), &mut Turns::default()),
            Err(Uncovered { layer: 3, expert: 3 })
        );
    }

    #[test]
    fn another_models_range_covers_nothing() {
        let other = Range::whole(ManifestId::from_bytes([2; 32]));
        assert_eq!(
            Plan::new(&shape(), &alike([vec![other]]), &mut Turns::default()),
            Err(Uncovered { layer: 0, expert: 0 })
        );
    }

    #[test]
    fn whole_layer_host_comes_before_a_part() {
        let hosts = [vec![range((0, 3), (0, 1))], vec![range((0, 3), (0, 3))]];
        let plan = Plan::new(&shape(), &alike(hosts), &mut Turns::default()).unwrap();
        assert_eq!(plan.hosts(0, 0), [1, 0]);
        assert_eq!(plan.hosts(0, 3), [1]);
    }

    #[test]
    fn experts_outside_the_model_have_no_host() {
        let plan = Plan::new(&shape(), &alike([vec![range((0, 3), (0, 3))]]), &mut Turns::default()).unwrap();
        assert_eq!(plan.hosts(0, 4), [0_u16; 0]);
        assert_eq!(plan.hosts(4, 0), [0_u16; 0]);
    }
}
