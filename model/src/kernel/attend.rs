//! Softmax, and attention of one head.
#![expect(clippy::indexing_slicing, reason = "a position's values lie within the cache that the caller cut")]

use super::{LANES, dot, exp, tree};

/// One query head over the cached positions of its key-value head.
pub(crate) struct Attend<'a> {
    /// `(width of keys)`
    pub(crate) query: &'a [f32],
    /// `(positions, stride)`, starting at the first value of this head's key
    pub(crate) keys: &'a [f32],
    /// `(positions, stride)`, starting at the first value of this head's value
    pub(crate) values: &'a [f32],
    /// Values from one position to the next.
    pub(crate) stride: usize,
    /// What the scores are multiplied by.
    pub(crate) scale: f32,
    /// `(positions)`: scratch that becomes the attention weights
    pub(crate) scores: &'a mut [f32],
    /// `(width of values)`
    pub(crate) out: &'a mut [f32],
}

#[inline(always)]
pub(super) fn attend_one(job: Attend<'_>) {
    let Attend { query, keys, values, stride, scale, scores, out } = job;
    let width = query.len();
    for (p, score) in scores.iter_mut().enumerate() {
        *score = dot(query, &keys[p * stride..p * stride + width]) * scale;
    }
    softmax_in(scores);
    out.fill(0.0);
    let width = out.len();
    for (p, weight) in scores.iter().enumerate() {
        for (o, v) in out.iter_mut().zip(&values[p * stride..p * stride + width]) {
            *o += weight * v;
        }
    }
}

/// Softmax in place: subtract the greatest, [`exp`], divide by the sum, which is added by lanes and tree.
pub(crate) fn softmax(x: &mut [f32]) {
    softmax_in(x);
}

#[inline(always)]
fn softmax_in(x: &mut [f32]) {
    let greatest = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut lanes = [0f32; LANES];
    let (blocks, rest) = x.as_chunks_mut::<LANES>();
    for block in blocks {
        for l in 0..LANES {
            block[l] = exp(block[l] - greatest);
            lanes[l] += block[l];
        }
    }
    for (l, v) in rest.iter_mut().enumerate() {
        *v = exp(*v - greatest);
        lanes[l] += *v;
    }
    let sum = tree(lanes);
    for v in x {
        *v /= sum;
    }
}
