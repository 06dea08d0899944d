//! Grouped-query attention (`MixtralAttention`, `Qwen2MoeAttention` and `DbrxAttention` of transformers 5.23).
#![expect(
    clippy::indexing_slicing,
    reason = "slices are cut by the head sizes that the tensors were loaded with"
)]

use super::{Cache, Place, matrix};
use crate::checkpoint::Checkpoint;
use crate::error::{ComputeError, LoadError};
use crate::kernel::{self, Attend, Path};
use crate::matrix::{Matrix, Operand, floats};
use crate::names::Tensor;
use crate::rope::{Rope, reciprocal_root};
use crate::rows::Rows;

/// The four projections of one layer.
pub(crate) struct Grouped {
    q: Projection,
    k: Projection,
    v: Projection,
    o: Matrix,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    scale: f32,
}

/// The numbers of the configuration.
pub(super) struct Shape {
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) head_dim: usize,
    pub(super) bias: bool,
    pub(super) clip: Option<f32>,
}

/// A projection as the family has it: with a bias, with its outputs cut, or neither.
struct Projection {
    matrix: Matrix,
    /// `(outputs)`
    bias: Option<Vec<f32>>,
    clip: Option<f32>,
}

impl Grouped {
    /// Loads the projections of a layer.
    pub(super) fn load(checkpoint: &Checkpoint, layer: u32, shape: Shape) -> Result<Self, LoadError> {
        let Shape { heads, kv_heads, head_dim, bias, clip } = shape;
        let project = |weight, offset| -> Result<Projection, LoadError> {
            let bias = if bias { Some(floats(&checkpoint.locate(offset)?)?) } else { None };
            Ok(Projection { matrix: matrix(checkpoint, weight)?, bias, clip })
        };
        Ok(Self {
            q: project(Tensor::Query(layer), Tensor::QueryBias(layer))?,
            k: project(Tensor::Key(layer), Tensor::KeyBias(layer))?,
            v: project(Tensor::Value(layer), Tensor::ValueBias(layer))?,
            o: matrix(checkpoint, Tensor::Output(layer))?,
            heads,
            kv_heads,
            head_dim,
            scale: reciprocal_root(head_dim, 1.0),
        })
    }

    pub(super) fn apply(
        &self,
        x: &Rows,
        rope: &Rope,
        places: &mut [Place<'_>],
    ) -> Result<Rows, ComputeError> {
        let x = &Operand::of(x);
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
                let queries = &q.values()[row * q.width()..][..q.width()];
                self.attend(queries, place.cache, &mut scores, out.row_mut(row));
            }
        }
        self.o.apply(&out)
    }

    /// One row of queries over the first `scores.len()` positions of the cache.
    fn attend(&self, queries: &[f32], cache: &Cache, scores: &mut [f32], out: &mut [f32]) {
        let (dim, stride) = (self.head_dim, self.kv_heads * self.head_dim);
        let group = self.heads / self.kv_heads;
        for (head, (query, out)) in queries.chunks_exact(dim).zip(out.chunks_exact_mut(dim)).enumerate() {
            let start = head / group * dim;
            let (keys, values) = (&cache.keys[start..], &cache.values[start..]);
            let scale = self.scale;
            kernel::attend(Path::widest(), Attend { query, keys, values, stride, scale, scores, out });
        }
    }

    pub(super) fn bytes(&self) -> usize {
        let biases = [&self.q, &self.k, &self.v].into_iter().filter_map(|p| p.bias.as_deref());
        let matrices = [&self.q.matrix, &self.k.matrix, &self.v.matrix, &self.o];
        matrices.iter().map(|m| m.bytes()).sum::<usize>() + biases.map(size_of_val).sum::<usize>()
    }
}

impl Projection {
    /// `(rows, hidden)` to `(rows, outputs)`: the product, then the bias, then the cut.
    fn apply(&self, x: &Operand<'_>) -> Result<Rows, ComputeError> {
        let mut y = self.matrix.multiply(x)?;
        if let Some(bias) = &self.bias {
            for row in y.values_mut().chunks_exact_mut(bias.len().max(1)) {
                row.iter_mut().zip(bias).for_each(|(v, b)| *v += b);
            }
        }
        if let Some(clip) = self.clip {
            y.values_mut().iter_mut().for_each(|v| *v = v.clamp(-clip, clip));
        }
        Ok(y)
    }
}

impl Cache {
    /// Forgets what lies past this many values, so that a step that was given up can be made again.
    pub(super) fn truncate(&mut self, values: usize) {
        self.keys.truncate(values);
        self.values.truncate(values);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn projection(bias: Option<Vec<f32>>, clip: Option<f32>) -> Projection {
        Projection { matrix: Matrix::from_values(3, 1, vec![1.0, 2.0, -3.0]), bias, clip }
    }

    fn applied(projection: &Projection) -> Vec<f32> {
        let x = Rows::from_values(1, vec![2.0, -1.0]).unwrap();
        projection.apply(&Operand::of(&x)).unwrap().into_values()
    }

    #[test]
    fn a_bias_is_added_to_every_row() {
        assert_eq!(applied(&projection(None, None)), [2.0, 4.0, -6.0, -1.0, -2.0, 3.0]);
        assert_eq!(applied(&projection(Some(vec![0.5, 0.0, 1.0]), None)), [2.5, 4.0, -5.0, -0.5, -2.0, 4.0]);
    }

    #[test]
    fn what_lies_past_the_clip_is_cut_on_both_sides() {
        assert_eq!(applied(&projection(None, Some(3.0))), [2.0, 3.0, -3.0, -1.0, -2.0, 3.0]);
        assert_eq!(applied(&projection(None, Some(4.0))), [2.0, 4.0, -4.0, -1.0, -2.0, 3.0]);
    }
}
