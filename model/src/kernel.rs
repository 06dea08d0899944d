//! The matrix product and the few loops around it, with one fixed order of every sum.
//!
//! `y = x · Wᵀ`, all f32. One output is the sum over `k` of `x[k] · w[k]`, and its order of additions is part of
//! this project's arithmetic: lane `k mod 16` adds its products in ascending `k`, starting from +0; then the sixteen
//! lanes are added as a tree, lane `i` and lane `i + 8`, then `i + 4`, `i + 2`, `i + 1`. Every product is rounded
//! before it is added (no fused multiply-add). So the bits of an output depend neither on how many rows are
//! computed at once, nor on how the loops are blocked, nor on the instruction set.
//!
//! The loops are plain Rust; they are compiled once for the baseline of the target, once for AVX2 and once for
//! AVX-512F, and the widest that the processor has is taken at run time. Nothing but speed differs between them.
//! The reason to write them by hand: candle's product gives other bits for one row than for two, and its quantised
//! one depends on the instruction set, so that nobody could check a node's answer.
#![expect(clippy::indexing_slicing, reason = "indices are bounded by the lengths asserted at the entry")]

use std::array;
use std::sync::OnceLock;

use crate::dtype::ElementType;
use crate::quant;

mod activation;
mod attend;
mod canonical;
mod exp;
mod packed;
mod unpacked;

pub(crate) use activation::BLOCK;
pub use activation::{Activations, BadActivations};
pub(crate) use attend::{Attend, softmax};
pub(crate) use canonical::{Isa as QuantisedIsa, QuantisedProduct, quantised_product};
pub(crate) use exp::{exp, sigmoid};
pub(crate) use packed::Packed;

use attend::attend_one;
use exp::gated_all;

/// Independent accumulators of one sum.
const LANES: usize = 16;

/// An instruction set that this processor has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Path(Isa);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Isa {
    Baseline,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Path {
    /// All paths of this processor, the widest last.
    pub(crate) fn available() -> Vec<Self> {
        let mut paths = vec![Self(Isa::Baseline)];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") {
                paths.push(Self(Isa::Avx2));
            }
            if is_x86_feature_detected!("avx512f") {
                paths.push(Self(Isa::Avx512));
            }
        }
        paths
    }

    /// The widest path of this processor.
    pub(crate) fn widest() -> Self {
        static WIDEST: OnceLock<Path> = OnceLock::new();
        *WIDEST.get_or_init(|| Self::available().last().copied().unwrap_or(Self(Isa::Baseline)))
    }
}

/// A matrix product: `y[r][c] = Σ x[r][k] · w[c][k]`.
pub(crate) struct Product<'a> {
    /// `(rows, inner)`
    pub(crate) x: &'a [f32],
    /// `(outputs, inner)`, as checkpoints store it
    pub(crate) w: &'a [f32],
    /// `(rows, outputs)`
    pub(crate) y: &'a mut [f32],
    /// The length of each sum.
    pub(crate) inner: usize,
}

/// A matrix product with weights as they are stored.
pub(crate) struct StoredProduct<'a> {
    /// `(rows, inner)`
    pub(crate) x: &'a [f32],
    /// The element type of the weights.
    pub(crate) dtype: ElementType,
    /// `(outputs, inner)`, rows of whole blocks
    pub(crate) w: &'a [u8],
    /// `(rows, outputs)`
    pub(crate) y: &'a mut [f32],
    /// The length of each sum.
    pub(crate) inner: usize,
    /// [`WIDENED_ROWS`] times `inner` values to widen weights into.
    pub(crate) scratch: &'a mut [f32],
}

/// Rows of weights that are widened together.
pub(crate) const WIDENED_ROWS: usize = 4;

macro_rules! on_every_path {
    ($(#[$doc:meta])* $name:ident($job:ident: $kind:ty): $body:expr, $narrow:expr, $wide:expr) => {
        $(#[$doc])*
        pub(crate) fn $name(path: Path, $job: $kind) {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2")]
            fn avx2($job: $kind) {
                $narrow($job);
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f")]
            fn avx512($job: $kind) {
                $wide($job);
            }
            match path.0 {
                Isa::Baseline => $body($job),
                // SAFETY: a `Path` with AVX2 is only made by `Path::available`, which found the feature.
                #[cfg(target_arch = "x86_64")]
                #[expect(unsafe_code, reason = "calls code compiled for a feature found at run time")]
                Isa::Avx2 => unsafe { avx2($job) },
                // SAFETY: a `Path` with AVX-512F is only made by `Path::available`, which found the feature.
                #[cfg(target_arch = "x86_64")]
                #[expect(unsafe_code, reason = "calls code compiled for a feature found at run time")]
                Isa::Avx512 => unsafe { avx512($job) },
            }
        }
    };
}

on_every_path! {
    /// The matrix product. Lengths that do not fit together are an error of this crate.
    product(job: Product<'_>): product_by::<2, 2>, product_by::<2, 4>, product_by::<4, 4>
}

on_every_path! {
    /// The same with weights that are widened to f32 on the way, which is exact: the bits are those of [`product`].
    stored_product(job: StoredProduct<'_>): stored_by::<2>, stored_by::<2>, stored_by::<4>
}

on_every_path! {
    /// Stored values to f32.
    widen(job: (ElementType, &[u8], &mut [f32])): widen_all, widen_all, widen_all
}

on_every_path! {
    /// Softmax attention of one head and one query position.
    attend(job: Attend<'_>): attend_one, attend_one, attend_one
}

on_every_path! {
    /// `gate[i] = silu(gate[i]) · up[i]`
    gated(job: (&mut [f32], &[f32])): gated_all, gated_all, gated_all
}

#[inline(always)]
fn product_by<const R: usize, const C: usize>(job: Product<'_>) {
    let Product { x, w, y, inner } = job;
    assert!(inner > 0 && x.len().is_multiple_of(inner) && w.len().is_multiple_of(inner), "whole rows");
    let (rows, outputs) = (x.len() / inner, w.len() / inner);
    assert_eq!(y.len(), rows * outputs, "one output for each row and weight row");
    let mut c = 0;
    // Weight rows outside, so that a weight is read from memory once however many rows there are.
    while c + C <= outputs {
        columns::<R, C>(x, &w[c * inner..(c + C) * inner], y, c, (inner, outputs));
        c += C;
    }
    while c < outputs {
        columns::<R, 1>(x, &w[c * inner..(c + 1) * inner], y, c, (inner, outputs));
        c += 1;
    }
}

#[inline(always)]
fn stored_by<const R: usize>(job: StoredProduct<'_>) {
    let StoredProduct { x, dtype, w, y, inner, scratch } = job;
    assert!(inner > 0 && x.len().is_multiple_of(inner), "whole rows");
    let row = dtype.row_bytes(inner).filter(|row| *row > 0).unwrap_or(usize::MAX);
    assert!(w.len().is_multiple_of(row), "rows of whole blocks");
    let (rows, outputs) = (x.len() / inner, w.len() / row);
    assert_eq!(y.len(), rows * outputs, "one output for each row and weight row");
    let mut c = 0;
    while c + WIDENED_ROWS <= outputs {
        let wide = &mut scratch[..WIDENED_ROWS * inner];
        quant::widen(dtype, &w[c * row..(c + WIDENED_ROWS) * row], wide);
        columns::<R, WIDENED_ROWS>(x, wide, y, c, (inner, outputs));
        c += WIDENED_ROWS;
    }
    while c < outputs {
        let wide = &mut scratch[..inner];
        quant::widen(dtype, &w[c * row..(c + 1) * row], wide);
        columns::<R, 1>(x, wide, y, c, (inner, outputs));
        c += 1;
    }
}

#[inline(always)]
fn widen_all((dtype, bytes, out): (ElementType, &[u8], &mut [f32])) {
    quant::widen(dtype, bytes, out);
}

/// The `C` outputs from `c` on, of all rows. `w` holds their weights.
#[inline(always)]
fn columns<const R: usize, const C: usize>(
    x: &[f32],
    w: &[f32],
    y: &mut [f32],
    c: usize,
    (inner, outputs): (usize, usize),
) {
    let rows = x.len() / inner;
    let mut r = 0;
    while r + R <= rows {
        tile::<R, C>(x, w, y, (r, c), (inner, outputs));
        r += R;
    }
    while r < rows {
        tile::<1, C>(x, w, y, (r, c), (inner, outputs));
        r += 1;
    }
}

/// `R` rows by `C` outputs at once; each of the `R · C` sums has its own lanes.
#[inline(always)]
fn tile<const R: usize, const C: usize>(
    x: &[f32],
    w: &[f32],
    y: &mut [f32],
    (r, c): (usize, usize),
    (inner, outputs): (usize, usize),
) {
    let xs: [_; R] = array::from_fn(|i| x[(r + i) * inner..(r + i + 1) * inner].as_chunks::<LANES>());
    let ws: [_; C] = array::from_fn(|j| w[j * inner..(j + 1) * inner].as_chunks::<LANES>());
    let lanes = blocks(array::from_fn::<_, R, _>(|i| xs[i].0), array::from_fn::<_, C, _>(|j| ws[j].0));
    for i in 0..R {
        for j in 0..C {
            y[(r + i) * outputs + c + j] = tree(with_rest(lanes[i][j], xs[i].1, ws[j].1));
        }
    }
}

/// Sixteen accumulators.
type Lanes = [f32; LANES];

/// The lanes of `R · C` sums over whole blocks of sixteen. In this shape, a function of slices of arrays with one
/// assignment to a whole array, the compiler makes vectors of the lanes; asserts and single lanes within defeat it.
#[inline(always)]
fn blocks<const R: usize, const C: usize>(x: [&[Lanes]; R], w: [&[Lanes]; C]) -> [[Lanes; C]; R] {
    let count = x[0].len();
    let x: [&[Lanes]; R] = array::from_fn(|i| &x[i][..count]);
    let w: [&[Lanes]; C] = array::from_fn(|j| &w[j][..count]);
    let mut lanes = [[[0f32; LANES]; C]; R];
    for k in 0..count {
        for i in 0..R {
            for j in 0..C {
                lanes[i][j] = step(&lanes[i][j], &x[i][k], &w[j][k]);
            }
        }
    }
    lanes
}

/// Every lane adds its product, rounded first.
#[inline(always)]
fn step(lanes: &Lanes, x: &Lanes, w: &Lanes) -> Lanes {
    array::from_fn(|l| lanes[l] + x[l] * w[l])
}

/// The products past the last whole block, in the first lanes.
#[inline(always)]
fn with_rest(mut lanes: Lanes, x: &[f32], w: &[f32]) -> Lanes {
    for (lane, (x, w)) in lanes.iter_mut().zip(x.iter().zip(w)) {
        *lane += x * w;
    }
    lanes
}

/// The sum of the lanes in the one order that the module states.
#[inline(always)]
fn tree(lanes: Lanes) -> f32 {
    let lanes: [f32; 8] = array::from_fn(|l| lanes[l] + lanes[l + 8]);
    let lanes: [f32; 4] = array::from_fn(|l| lanes[l] + lanes[l + 4]);
    let lanes: [f32; 2] = array::from_fn(|l| lanes[l] + lanes[l + 2]);
    lanes[0] + lanes[1]
}

/// The sum of products in the same order as [`product`].
#[inline(always)]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (a_blocks, a_rest) = a.as_chunks::<LANES>();
    let (b_blocks, b_rest) = b.as_chunks::<LANES>();
    let [[lanes]] = blocks([a_blocks], [b_blocks]);
    tree(with_rest(lanes, a_rest, b_rest))
}

/// The sum of the squares, lanes and tree as in [`product`].
pub(crate) fn sum_of_squares(x: &[f32]) -> f32 {
    dot(x, x)
}

/// The sum of the values, lanes and tree as in [`product`].
pub(crate) fn sum(x: &[f32]) -> f32 {
    let (blocks, rest) = x.as_chunks::<LANES>();
    let mut lanes = [0f32; LANES];
    for block in blocks {
        lanes = array::from_fn(|l| lanes[l] + block[l]);
    }
    for (lane, v) in lanes.iter_mut().zip(rest) {
        *lane += v;
    }
    tree(lanes)
}

#[cfg(test)]
mod tests;
