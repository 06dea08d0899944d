//! Rows of activations as one product after the other reads them: made once, whatever matrices they meet.

use crate::error::ComputeError;
use crate::kernel::activation::{Activations, BLOCK};

/// Blocks that are multiplied together.
pub(crate) const QUAD: usize = 4;

/// What a product takes: the activations, and for instruction sets that want it the same in another order.
pub(crate) struct Packed {
    activations: Activations,
    /// `(rows, blocks / 4 rounded up)`
    quads: Vec<Quad>,
    /// `(rows, blocks / 4 rounded up)`: of each block the scale times the sum of its bytes, four times
    block_sums: Vec<Sixteen<f32>>,
}

/// Four blocks; past the last block of a row they are zero. What is said "four times" stands there once for each of
/// four weight rows.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Quad {
    /// The first 16 bytes of each block, then the last 16 of each.
    pub(crate) halves: [[i8; 64]; 2],
    /// The scale of each block, four times.
    pub(crate) scales: [f32; 16],
    /// The sum of each half's bytes of each block, four times.
    pub(crate) half_sums: [[i32; 16]; 2],
    /// The sum of the bytes of each block, four times.
    pub(crate) sums: [i32; 16],
}

/// A register's worth.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Sixteen<T>(pub(crate) [T; 16]);

impl Packed {
    /// Lays activations out.
    pub(crate) fn of(activations: Activations) -> Self {
        let per_row = (activations.width() / BLOCK).div_ceil(QUAD);
        let mut quads = Vec::with_capacity(activations.len() * per_row);
        let mut block_sums = Vec::with_capacity(activations.len() * per_row);
        for at in 0..activations.len() {
            let row = activations.row(at);
            for (bytes, scales) in row.bytes.chunks(QUAD * BLOCK).zip(row.scales.chunks(QUAD)) {
                let (quad, sums) = quad_of(bytes, scales);
                quads.push(quad);
                block_sums.push(sums);
            }
        }
        Self { activations, quads, block_sums }
    }

    /// Copies of the rows at these indices, in this order.
    pub(crate) fn gather(&self, indices: &[usize]) -> Result<Self, ComputeError> {
        let activations = self.activations.gather(indices)?;
        let rows = indices.iter().map(|at| self.row(*at));
        let (quads, block_sums): (Vec<_>, Vec<_>) = rows.unzip();
        Ok(Self { activations, quads: quads.concat(), block_sums: block_sums.concat() })
    }

    /// The activations themselves.
    pub(crate) fn activations(&self) -> &Activations {
        &self.activations
    }

    /// One row's quads, and their sums times their scales.
    pub(crate) fn row(&self, at: usize) -> (&[Quad], &[Sixteen<f32>]) {
        let per_row = (self.activations.width() / BLOCK).div_ceil(QUAD);
        let cut = at * per_row..(at + 1) * per_row;
        (self.quads.get(cut.clone()).unwrap_or_default(), self.block_sums.get(cut).unwrap_or_default())
    }
}

fn quad_of(bytes: &[i8], scales: &[f32]) -> (Quad, Sixteen<f32>) {
    let zero = [0i32; 16];
    let mut quad = Quad { halves: [[0; 64]; 2], scales: [0.0; 16], half_sums: [zero; 2], sums: zero };
    let mut block_sums = Sixteen([0.0; 16]);
    let [first_sums, last_sums] = &mut quad.half_sums;
    let [first_halves, last_halves] = &mut quad.halves;
    let blocks = bytes.as_chunks::<BLOCK>().0.iter().zip(scales);
    let halves = first_halves.as_chunks_mut::<16>().0.iter_mut().zip(last_halves.as_chunks_mut::<16>().0);
    let sums = first_sums.as_chunks_mut::<4>().0.iter_mut().zip(last_sums.as_chunks_mut::<4>().0);
    let fours = quad.scales.as_chunks_mut::<4>().0.iter_mut().zip(quad.sums.as_chunks_mut::<4>().0);
    let products = block_sums.0.as_chunks_mut::<4>().0;
    for (((((block, scale), (first, last)), (first_sum, last_sum)), (scales, sums)), products) in
        blocks.zip(halves).zip(sums).zip(fours).zip(products)
    {
        let (low, high) = block.split_at(BLOCK / 2);
        first.copy_from_slice(low);
        last.copy_from_slice(high);
        *first_sum = [total(low); 4];
        *last_sum = [total(high); 4];
        *scales = [*scale; 4];
        let sum = total(low) + total(high);
        *sums = [sum; 4];
        *products = [scale * sum as f32; 4];
    }
    (quad, block_sums)
}

fn total(bytes: &[i8]) -> i32 {
    bytes.iter().map(|byte| i32::from(*byte)).sum()
}
