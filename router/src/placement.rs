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

use counterfoil_spec::ids::ManifestId;

pub use assign::{Assignment, Needs, Offer, assign};
pub use moves::{Move, Standing, Standings, moves};
pub use plan::Plan;

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
