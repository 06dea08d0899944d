//! Multi-head latent attention (`DeepseekV2Attention` of transformers 5.23), with the products absorbed.
//!
//! Keys and values of all heads are products of one latent for each position, so only the latent is cached, with the
//! one rotated key that the heads share. The keys' projection is applied to the query instead, and the values'
//! projection after the latents were weighted:
//!
//! ```text
//! q·k = q_nope · (Wk · c) + q_rope · k_rope = (Wkᵀ · q_nope) · c + q_rope · k_rope
//! Σ weight · (Wv · c)                       = Wv · Σ weight · c
//! ```
#![expect(
    clippy::indexing_slicing,
    reason = "slices are cut by the head sizes that the tensors were loaded with"
)]

use super::{Cache, Place, matrix};
use crate::checkpoint::Checkpoint;
use crate::config::NormKind;
use crate::error::{ComputeError, LoadError};
use crate::kernel::{self, Attend, Path};
use crate::matrix::{Matrix, Operand};
use crate::names::Tensor;
use crate::norm::Norm;
use crate::rope::{Rope, reciprocal_root};
use crate::rows::Rows;

/// The projections of one layer.
pub(crate) struct Latent {
    /// `(q_lora, hidden)` and its norm, where queries have a latent of their own.
    query_latent: Option<(Matrix, Norm)>,
    /// `(heads · (nope + rope), hidden or q_lora)`
    query: Matrix,
    /// `(kv_lora + rope, hidden)`
    latent: Matrix,
    /// of the first `kv_lora` values
    norm: Norm,
    /// `(heads · kv_lora, nope)`
    key: Matrix,
    /// `(heads · value, kv_lora)`
    value: Matrix,
    /// `(hidden, heads · value)`
    output: Matrix,
    widths: Widths,
    scale: f32,
}

/// The numbers of the configuration.
pub(super) struct Shape {
    pub(super) widths: Widths,
    /// Whether queries have a latent of their own.
    pub(super) query_latent: bool,
}

/// How many heads, and how wide the parts of each are.
#[derive(Clone, Copy)]
pub(super) struct Widths {
    pub(super) heads: usize,
    pub(super) latent: usize,
    pub(super) nope: usize,
    pub(super) rope: usize,
    pub(super) value: usize,
}

impl Latent {
    /// Loads the projections of a layer.
    pub(super) fn load(checkpoint: &Checkpoint, layer: u32, shape: Shape) -> Result<Self, LoadError> {
        let Shape { widths, query_latent } = shape;
        let norm = |tensor| Norm::load(&checkpoint.locate(tensor)?, NormKind::Rms, LATENT_EPS);
        let query_latent = if query_latent {
            let norm = norm(Tensor::QueryLatentNorm(layer))?;
            Some((matrix(checkpoint, Tensor::QueryLatent(layer))?, norm))
        } else {
            None
        };
        Ok(Self {
            query_latent,
            query: matrix(checkpoint, Tensor::Query(layer))?,
            latent: matrix(checkpoint, Tensor::Latent(layer))?,
            norm: norm(Tensor::LatentNorm(layer))?,
            key: matrix(checkpoint, Tensor::LatentKey(layer))?,
            value: matrix(checkpoint, Tensor::LatentValue(layer))?,
            output: matrix(checkpoint, Tensor::Output(layer))?,
            scale: reciprocal_root(widths.nope + widths.rope, checkpoint.config().rope.softmax_factor()),
            widths,
        })
    }

    pub(super) fn apply(
        &self,
        x: &Rows,
        rope: &Rope,
        places: &mut [Place<'_>],
    ) -> Result<Rows, ComputeError> {
        let Widths { heads, latent, .. } = self.widths;
        let rows = x.len();
        let x = &Operand::of(x);
        let queries = match &self.query_latent {
            Some((matrix, norm)) => self.query.apply(&norm.apply(&matrix.multiply(x)?)?)?,
            None => self.query.multiply(x)?,
        }; // (rows, heads · (nope + rope))
        let mut queries = self.absorbed(&queries)?; // (rows, heads · (latent + rope))
        let mut entries = self.entries(x)?; // (rows, latent + rope)
        let wide = entries.width();
        let mut weighted = Rows::zeros(rows, heads * latent);
        let mut scores = Vec::new();
        for place in places {
            place.cache.truncate(place.position * wide);
            for i in 0..place.rows {
                let (row, position) = (place.first + i, place.position + i);
                rope.turn(place.rotations, position, &mut entries.row_mut(row)[latent..]);
                for head in queries.row_mut(row).chunks_exact_mut(wide) {
                    rope.turn(place.rotations, position, &mut head[latent..]);
                }
            }
            let cut = place.first * wide..(place.first + place.rows) * wide;
            place.cache.keys.extend_from_slice(&entries.values()[cut]);
            for i in 0..place.rows {
                let row = place.first + i;
                scores.resize(place.position + i + 1, 0.0);
                let queries = &queries.values()[row * queries.width()..][..queries.width()];
                self.attend(queries, place.cache, &mut scores, weighted.row_mut(row));
            }
        }
        self.output.apply(&self.values(&weighted)?)
    }

    /// What is cached of each row: the normed latent, then the shared key, not yet rotated.
    fn entries(&self, x: &Operand<'_>) -> Result<Rows, ComputeError> {
        let Widths { latent, .. } = self.widths;
        let mut entries = self.latent.multiply(x)?; // (rows, latent + rope)
        for at in 0..entries.len() {
            self.norm.apply_row(&mut entries.row_mut(at)[..latent]);
        }
        Ok(entries)
    }

    /// Queries with their unrotated part brought to the latent.
    fn absorbed(&self, queries: &Rows) -> Result<Rows, ComputeError> {
        let Widths { heads, latent, nope, rope, .. } = self.widths;
        let (narrow, wide) = (nope + rope, latent + rope);
        let mut out = Rows::zeros(queries.len(), heads * wide);
        for head in 0..heads {
            let plain: Vec<f32> =
                queries.iter().flat_map(|row| &row[head * narrow..head * narrow + nope]).copied().collect();
            let brought = self.key.apply_band(&Rows::from_values(nope, plain)?, head * latent, latent)?;
            for (at, (brought, query)) in brought.iter().zip(queries.iter()).enumerate() {
                let target = &mut out.row_mut(at)[head * wide..(head + 1) * wide];
                target[..latent].copy_from_slice(brought);
                target[latent..].copy_from_slice(&query[head * narrow + nope..(head + 1) * narrow]);
            }
        }
        Ok(out)
    }

    /// One row of queries over the first `scores.len()` positions of the cache.
    fn attend(&self, queries: &[f32], cache: &Cache, scores: &mut [f32], out: &mut [f32]) {
        let Widths { latent, rope, .. } = self.widths;
        let (keys, stride, scale) = (cache.keys.as_slice(), latent + rope, self.scale);
        for (query, out) in queries.chunks_exact(stride).zip(out.chunks_exact_mut(latent)) {
            kernel::attend(Path::widest(), Attend { query, keys, values: keys, stride, scale, scores, out });
        }
    }

    /// Weighted latents of each head, `(rows, heads · latent)`, to the heads' outputs, `(rows, heads · value)`.
    fn values(&self, weighted: &Rows) -> Result<Rows, ComputeError> {
        let Widths { heads, latent, value, .. } = self.widths;
        let mut out = Rows::zeros(weighted.len(), heads * value);
        for head in 0..heads {
            let one: Vec<f32> =
                weighted.iter().flat_map(|row| &row[head * latent..(head + 1) * latent]).copied().collect();
            let values = self.value.apply_band(&Rows::from_values(latent, one)?, head * value, value)?;
            for (at, values) in values.iter().enumerate() {
                out.row_mut(at)[head * value..(head + 1) * value].copy_from_slice(values);
            }
        }
        Ok(out)
    }

    pub(super) fn bytes(&self) -> usize {
        let all = [&self.query, &self.latent, &self.key, &self.value, &self.output];
        let latent = self.query_latent.as_ref().map_or(0, |(matrix, _)| matrix.bytes());
        all.iter().map(|matrix| matrix.bytes()).sum::<usize>() + latent
    }
}

/// The norms of latents do not take the model's eps but that of the class.
const LATENT_EPS: f32 = 1e-6;
