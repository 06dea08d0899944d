//! Grouped-query attention with a cache, f32 (`MixtralAttention` of transformers 5.23).
#![expect(
    clippy::indexing_slicing,
    reason = "slices are cut by the head sizes that the tensors were loaded with"
)]

use crate::checkpoint::Checkpoint;
use crate::config::Attention as Shape;
use crate::error::{ComputeError, LoadError};
use crate::kernel::{self, Attend, Path};
use crate::matrix::Matrix;
use crate::names::Tensor;
use crate::rope::{Rope, Rotations};
use crate::rows::Rows;

/// The four projections of one layer.
pub(crate) struct Attention {
    q: Matrix,
    k: Matrix,
    v: Matrix,
    o: Matrix,
    shape: Heads,
}

#[derive(Clone, Copy)]
struct Heads {
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    scale: f32,
}

/// Keys and values of one sequence in one layer, `(positions, kv_heads · head_dim)` each.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cache {
    keys: Vec<f32>,
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
    /// Loads the projections of a layer.
    pub(crate) fn load(checkpoint: &Checkpoint, layer: u32) -> Result<Self, LoadError> {
        let (heads, kv_heads, dim) = match checkpoint.config().attention {
            Shape::Grouped { heads, kv_heads, head_dim, .. } => (heads, kv_heads, head_dim),
            Shape::Latent { heads, nope, .. } => (heads, heads, nope),
        };
        let part = |tensor| Matrix::load(&checkpoint.locate(tensor)?);
        #[expect(clippy::cast_possible_truncation, reason = "rounded to f32, as upstream's scalar is")]
        let scale = (1.0 / (dim as f64).sqrt()) as f32;
        Ok(Self {
            q: part(Tensor::Query(layer))?,
            k: part(Tensor::Key(layer))?,
            v: part(Tensor::Value(layer))?,
            o: part(Tensor::Output(layer))?,
            shape: Heads { heads, kv_heads, head_dim: dim, scale },
        })
    }

    /// `(rows, hidden)` normed rows of several sequences to `(rows, hidden)`; caches grow by the rows.
    pub(crate) fn apply(
        &self,
        x: &Rows,
        rope: &Rope,
        places: &mut [Place<'_>],
    ) -> Result<Rows, ComputeError> {
        let mut q = self.q.apply(x)?; // (rows, heads · head_dim)
        let mut k = self.k.apply(x)?; // (rows, kv_heads · head_dim)
        let v = self.v.apply(x)?; // (rows, kv_heads · head_dim)
        let mut out = Rows::zeros(x.len(), q.width());
        let mut scores = Vec::new();
        for place in places {
            place.cache.truncate(place.position * k.width());
            for i in 0..place.rows {
                let (row, position) = (place.first + i, place.position + i);
                rope.turn(place.rotations, position, q.row_mut(row));
                rope.turn(place.rotations, position, k.row_mut(row));
            }
            let cut = place.first * k.width()..(place.first + place.rows) * k.width();
            place.cache.keys.extend_from_slice(&k.values()[cut.clone()]);
            place.cache.values.extend_from_slice(&v.values()[cut]);
            for i in 0..place.rows {
                let row = place.first + i;
                scores.resize(place.position + i + 1, 0.0);
                self.shape.attend(
                    &q.values()[row * q.width()..][..q.width()],
                    place.cache,
                    &mut scores,
                    out.row_mut(row),
                );
            }
        }
        self.o.apply(&out)
    }

    /// Bytes in memory.
    pub(crate) fn bytes(&self) -> usize {
        [&self.q, &self.k, &self.v, &self.o].iter().map(|m| m.bytes()).sum()
    }
}

impl Heads {
    /// One row of queries over the first `scores.len()` positions of the cache.
    fn attend(&self, queries: &[f32], cache: &Cache, scores: &mut [f32], out: &mut [f32]) {
        let (dim, stride) = (self.head_dim, self.kv_heads * self.head_dim);
        let group = self.heads / self.kv_heads;
        for (head, (query, out)) in queries.chunks_exact(dim).zip(out.chunks_exact_mut(dim)).enumerate() {
            let start = head / group * dim;
            kernel::attend(
                Path::widest(),
                Attend {
                    query,
                    keys: &cache.keys[start..],
                    values: &cache.values[start..],
                    stride,
                    scale: self.scale,
                    scores,
                    out,
                },
            );
        }
    }
}

impl Cache {
    /// Forgets what lies past this many values, so that a step that was given up can be made again.
    fn truncate(&mut self, values: usize) {
        self.keys.truncate(values);
        self.values.truncate(values);
    }
}
