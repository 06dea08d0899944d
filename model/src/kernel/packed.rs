//! Rows of activations as one product after the other reads them: made once, whatever matrices they meet.

use std::sync::OnceLock;

use crate::error::ComputeError;
use crate::kernel::activation::{ActivationRow, Activations, BLOCK};

/// Blocks that are multiplied together.
pub(crate) const QUAD: usize = 4;

/// What a product takes: the activations, and for instruction sets that want it the same in another order, which is made
/// when the first of them asks for it.
pub(crate) struct Packed {
    activations: Activations,
    wide: OnceLock<Wide>,
    narrow: OnceLock<Vec<NarrowQuad>>,
}

/// For registers of four blocks, for AVX-512.
struct Wide {
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

/// Four blocks in their own order, for registers of one block (AVX2); past the last block of a row they are zero.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct NarrowQuad {
    pub(crate) bytes: [[i8; BLOCK]; QUAD],
    pub(crate) scales: [f32; QUAD],
    /// The scale of each block times the sum of its bytes.
    pub(crate) block_sums: [f32; QUAD],
    /// The sums of the first and the last 16 bytes of each block; none is above 16 · 127.
    pub(crate) half_sums: [i16; 2 * QUAD],
}

impl Packed {
    /// Takes activations.
    pub(crate) const fn of(activations: Activations) -> Self {
        Self { activations, wide: OnceLock::new(), narrow: OnceLock::new() }
    }

    /// Copies of the rows at these indices, in this order.
    pub(crate) fn gather(&self, indices: &[usize]) -> Result<Self, ComputeError> {
        Ok(Self::of(self.activations.gather(indices)?))
    }

    /// The activations themselves.
    pub(crate) const fn activations(&self) -> &Activations {
        &self.activations
    }

    fn quads_per_row(&self) -> usize {
        (self.activations.width() / BLOCK).div_ceil(QUAD)
    }

    /// Each row cut into quads, the last one as long as is left.
    fn cut(&self) -> impl Iterator<Item = (&[i8], &[f32])> {
        let rows = (0..self.activations.len()).map(|at| self.activations.row(at));
        rows.flat_map(|ActivationRow { bytes, scales }| bytes.chunks(QUAD * BLOCK).zip(scales.chunks(QUAD)))
    }

    /// One row's quads, and their sums times their scales.
    pub(crate) fn row(&self, at: usize) -> (&[Quad], &[Sixteen<f32>]) {
        let wide = self.wide.get_or_init(|| {
            let (quads, block_sums) = self.cut().map(|(bytes, scales)| quad_of(bytes, scales)).unzip();
            Wide { quads, block_sums }
        });
        let cut = at * self.quads_per_row()..(at + 1) * self.quads_per_row();
        (wide.quads.get(cut.clone()).unwrap_or_default(), wide.block_sums.get(cut).unwrap_or_default())
    }

    /// One row's quads in the order of their blocks.
    pub(crate) fn narrow_row(&self, at: usize) -> &[NarrowQuad] {
        let narrow = self
            .narrow
            .get_or_init(|| self.cut().map(|(bytes, scales)| narrow_quad_of(bytes, scales)).collect());
        narrow.get(at * self.quads_per_row()..(at + 1) * self.quads_per_row()).unwrap_or_default()
    }
}

fn narrow_quad_of(bytes: &[i8], scales: &[f32]) -> NarrowQuad {
    let mut quad = NarrowQuad {
        bytes: [[0; BLOCK]; QUAD],
        scales: [0.0; QUAD],
        block_sums: [0.0; QUAD],
        half_sums: [0; 2 * QUAD],
    };
    let places = quad.bytes.iter_mut().zip(&mut quad.scales).zip(&mut quad.block_sums);
    let halves = quad.half_sums.as_chunks_mut::<2>().0.iter_mut();
    let blocks = bytes.as_chunks::<BLOCK>().0.iter().zip(scales);
    for (((place, scale_place), block_sum), (half_sums, (block, scale))) in places.zip(halves.zip(blocks)) {
        let (low, high) = block.split_at(BLOCK / 2);
        (*place, *scale_place) = (*block, *scale);
        *half_sums = [low, high].map(|half| half.iter().map(|byte| i16::from(*byte)).sum());
        *block_sum = scale * (total(low) + total(high)) as f32;
    }
    quad
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
