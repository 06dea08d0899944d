//! Attention with a cache, f32: what grouped-query and latent attention share.

mod grouped;
mod latent;

use grouped::Grouped;
use latent::Latent;

use crate::checkpoint::Checkpoint;
use crate::config::Attention as Kind;
use crate::error::{ComputeError, LoadError};
use crate::matrix::Matrix;
use crate::names::Tensor;
use crate::rope::{Rope, Rotations};
use crate::rows::Rows;

/// The attention of one layer.
pub(crate) enum Attention {
    Grouped(Grouped),
    Latent(Latent),
}

/// What one layer remembers of one sequence, row by row of its positions.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cache {
    /// Keys, or of latent attention the latent and the shared rotated key.
    keys: Vec<f32>,
    /// Values; latent attention has none.
    values: Vec<f32>,
}

/// The rows of one sequence within a batch.
pub(crate) struct Place<'a> {
    /// Its first row in the batch.
    pub(crate) first: usize,
    /// How many rows it has.
    pub(crate) rows: usize,
    /// The position of the first row in the sequence.
    pub(crate) position: usize,
    /// The sequence's cache of this layer.
    pub(crate) cache: &'a mut Cache,
    /// The sequence's rotations, made for all its rows.
    pub(crate) rotations: &'a Rotations,
}

impl Attention {
    /// Loads the attention of a layer.
    pub(crate) fn load(checkpoint: &Checkpoint, layer: u32) -> Result<Self, LoadError> {
        Ok(match checkpoint.config().attention {
            Kind::Grouped { heads, kv_heads, head_dim, bias, clip } => {
                let shape = grouped::Shape { heads, kv_heads, head_dim, bias, clip };
                Self::Grouped(Grouped::load(checkpoint, layer, shape)?)
            }
            Kind::Latent { heads, q_lora, kv_lora, nope, rope, value } => {
                let widths = latent::Widths { heads, latent: kv_lora, nope, rope, value };
                let shape = latent::Shape { widths, query_latent: q_lora.is_some() };
                Self::Latent(Latent::load(checkpoint, layer, shape)?)
            }
        })
    }

    /// `(rows, hidden)` normed rows of several sequences to `(rows, hidden)`; caches grow by the rows.
    pub(crate) fn apply(
        &self,
        x: &Rows,
        rope: &Rope,
        places: &mut [Place<'_>],
    ) -> Result<Rows, ComputeError> {
        match self {
            Self::Grouped(grouped) => grouped.apply(x, rope, places),
            Self::Latent(latent) => latent.apply(x, rope, places),
        }
    }

    /// Bytes in memory.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Grouped(grouped) => grouped.bytes(),
            Self::Latent(latent) => latent.bytes(),
        }
    }
}

fn matrix(checkpoint: &Checkpoint, tensor: Tensor) -> Result<Matrix, LoadError> {
    Matrix::load(&checkpoint.locate(tensor)?, checkpoint.computing())
}
