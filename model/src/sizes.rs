//! How large a model is, from its configuration alone: the sums of its tensors' shapes, before any of them is at hand.

use crate::config::ModelConfig;
use crate::dtype::ElementType;
use crate::manifest::wide;
use crate::names::{Role, Tensor};
use crate::split::Quant;

/// Values that a model consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameters {
    /// Of one routed expert of one layer.
    pub expert: u64,
    /// Of all routed experts of all layers.
    pub experts: u64,
    /// Of everything else: embedding, head, attention, norms, gates, shared experts, layers without experts.
    pub dense: u64,
    /// What one token is computed with: everything else, and in each MoE layer the experts that the gate keeps. The
    /// embedding counts whole, as most model cards have it.
    pub active: u64,
}

impl Parameters {
    /// All of them.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.experts.saturating_add(self.dense)
    }
}

/// Bytes of a model's tensors, without the headers of the files that hold them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WeightBytes {
    /// Of one routed expert of one layer: its shard.
    pub expert: u64,
    /// Of all routed experts of all layers: what nodes hold.
    pub experts: u64,
    /// Of everything else: what a router holds.
    pub dense: u64,
}

impl WeightBytes {
    /// All of them.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.experts.saturating_add(self.dense)
    }
}

impl ModelConfig {
    /// How many values there are.
    #[must_use]
    pub fn parameters(&self) -> Parameters {
        let values = |tensor: Tensor| tensor.shape(self).into_iter().map(wide).product::<u64>();
        let expert = Role::ALL.map(|role| values(Tensor::Expert(0, 0, role))).iter().sum::<u64>();
        let dense = Tensor::dense(self).into_iter().map(values).sum::<u64>();
        let layers = wide(self.moe_layers().len());
        Parameters {
            expert,
            experts: expert * layers * u64::from(self.experts),
            dense,
            active: dense + expert * layers * wide(self.top_k),
        }
    }

    /// How many bytes [`split`](crate::split) makes of a checkpoint with all tensors in `source`.
    #[must_use]
    pub fn weight_bytes(&self, quant: Quant, source: ElementType) -> WeightBytes {
        let bytes = |tensor: Tensor| {
            let [outputs, inner] = tensor.shape(self);
            let row = quant.of(tensor, inner, source).row_bytes(inner);
            // A row of a quantised source may be part of a block; then there is no such checkpoint.
            row.map_or(0, |row| wide(row) * wide(outputs))
        };
        let expert = Role::ALL.map(|role| bytes(Tensor::Expert(0, 0, role))).iter().sum::<u64>();
        WeightBytes {
            expert,
            experts: expert * wide(self.moe_layers().len()) * u64::from(self.experts),
            dense: Tensor::dense(self).into_iter().map(bytes).sum(),
        }
    }
}
