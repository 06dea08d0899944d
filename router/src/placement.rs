//! Who hosts what, and who answers for what: pure functions, without a clock and without randomness.
//!
//! [`assign`] says which node is to host which experts of which model; [`moves`] the way from what is hosted to that
//! without a gap; [`Plan`] which of the nodes that host an expert answers for it in one request. [`dealt`] is the
//! fixed sharing-out that tests and measurements ask for.

mod assign;
mod bits;
pub mod dealt;
mod moves;
mod plan;
mod ranges;
mod rescue;
mod table;

#[cfg(test)]
mod tests;

use counterfoil_spec::claims::Range;
use counterfoil_spec::ids::ManifestId;

use ranges::Held;

pub use assign::{Assignment, Needs, Offer, assign};
pub use moves::{Move, Standing, Standings, moves};
pub use plan::{Plan, Turns};

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

/// Whether some ranges hold an expert of a model that none of the others holds.
#[must_use]
pub fn missed(shape: &Shape, own: &[Range], others: &[Vec<Range>]) -> bool {
    let rest = others.iter().map(|ranges| Held::of(shape, ranges));
    let rest = rest.fold(Held::default(), |all, held| all.with(&held));
    !Held::of(shape, own).without(&rest).is_empty()
}

/// How well the experts of a model are covered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coverage {
    /// For each layer with experts, for each expert, how many hosts have it.
    pub replicas: Vec<Vec<u32>>,
}

impl Coverage {
    /// Counts hosts.
    #[must_use]
    pub fn of(shape: &Shape, hosts: &[Vec<Range>]) -> Self {
        let experts = usize::try_from(shape.experts).unwrap_or(usize::MAX);
        let mut replicas = vec![vec![0; experts]; shape.moe_layers.len()];
        for ranges in hosts {
            for (layer, expert) in Held::of(shape, ranges).iter() {
                let expert = usize::try_from(expert).unwrap_or(usize::MAX);
                if let Some(count) = replicas.get_mut(layer).and_then(|l| l.get_mut(expert)) {
                    *count += 1;
                }
            }
        }
        Self { replicas }
    }

    /// The experts that nobody has.
    #[must_use]
    pub fn missing(&self, shape: &Shape) -> Vec<Uncovered> {
        let layers = self.replicas.iter().zip(&shape.moe_layers);
        let of = |(experts, layer): (&Vec<u32>, &u32)| {
            let none = (0..).zip(experts).filter(|(_, n)| **n == 0);
            none.map(|(expert, _)| Uncovered { layer: *layer, expert }).collect::<Vec<_>>()
        };
        layers.flat_map(of).collect()
    }

    /// How many hosts the rarest expert and the median one have.
    #[must_use]
    pub fn least_and_median(&self) -> (u32, u32) {
        let mut all: Vec<u32> = self.replicas.iter().flatten().copied().collect();
        all.sort_unstable();
        let at = |n: usize| all.get(n).copied().unwrap_or(0);
        (at(0), at(all.len().saturating_sub(1) / 2))
    }
}
