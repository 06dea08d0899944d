//! The canonical product of quantised weights and quantised activations: the same bits on every processor.
//!
//! A block is 32 neighbouring values of a row. Block `b` has eight lanes; lane `j` is the exact integer sum of its four
//! products of activation byte and (weight byte − offset), values `4j` to `4j + 3`. Then, all f32 and each operation
//! rounded by itself:
//!
//! ```text
//! term(b, j)  = float(lane) · (weight scale of the lane's values · activation scale of b)
//! dot[8 · (b mod 2) + j] += term(b, j)                                  ascending b, from +0
//! min[b mod 8]           += minimum of b · (activation scale of b · float(sum of b's activation bytes))
//! y = tree(dot) + tree(min)             the second only where the type has minimums
//! ```
//!
//! `tree` adds lane `i` and lane `i + n/2`, and so on down to one. The order does not depend on how many rows there
//! are, how they are blocked or who computes them. Rows that are not finite never come here ([`Activations`] are made
//! of checked rows), and a weight whose scale is not finite was refused when it was loaded.
//!
//! [`Isa::Scalar`] is that text as plain Rust and the reference for the others: AVX2 (`vpmaddubsw` on magnitudes, which
//! cannot saturate as no product sum exceeds 2 · 128 · 127) and AVX-512 VNNI (`vpdpbusd`, two blocks at once).
#![expect(clippy::indexing_slicing, reason = "indices are bounded by the lengths asserted at the entry")]

use std::sync::OnceLock;

use crate::dtype::ElementType;
use crate::kernel::activation::{ActivationRow, Activations, BLOCK, BLOCK_LANES};
use crate::kernel::unpacked::{Form, Unpacked, form, unpack};

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod vnni;

/// An instruction set with a version of the product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Isa(Kind);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Scalar,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Vnni,
}

impl Isa {
    /// All that this processor has, the fastest last.
    pub(crate) fn available() -> Vec<Self> {
        let mut all = vec![Self(Kind::Scalar)];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") {
                all.push(Self(Kind::Avx2));
            }
            let wide = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512vnni");
            if wide {
                all.push(Self(Kind::Vnni));
            }
        }
        all
    }

    /// The fastest of this processor.
    pub(crate) fn fastest() -> Self {
        static FASTEST: OnceLock<Isa> = OnceLock::new();
        *FASTEST.get_or_init(|| Self::available().last().copied().unwrap_or(Self(Kind::Scalar)))
    }
}

/// `y[r][c] = Σ x[r][k] · w[c][k]` for weights as they are stored.
pub(crate) struct QuantisedProduct<'a> {
    pub(crate) x: &'a Activations,
    /// `(outputs, inner)` rows of blocks
    pub(crate) w: &'a [u8],
    pub(crate) dtype: ElementType,
    /// `(rows, outputs)`, each row `stride` values after the one before
    pub(crate) y: &'a mut [f32],
}

/// Computes a product.
///
/// # Panics
/// Where the lengths do not fit together or the type is a float: an error of this crate.
pub(crate) fn product(isa: Isa, job: QuantisedProduct<'_>) {
    let QuantisedProduct { x, w, dtype, y } = job;
    #[expect(clippy::expect_used, reason = "callers choose this product by the type")]
    let (form, row_bytes) =
        form(dtype).zip(dtype.row_bytes(x.width())).expect("quantised weights in whole blocks");
    assert!(w.len().is_multiple_of(row_bytes), "whole rows of weights");
    let outputs = w.len() / row_bytes;
    assert_eq!(y.len(), x.len() * outputs, "one output for each row and weight row");
    assert_eq!(x.offset(), form.offset, "activations corrected for these weights");
    let job = Job { x, dtype, form };
    let mut scratch = Unpacked::for_rows(x.width(), form);
    for (c, stored) in w.chunks_exact(row_bytes).enumerate() {
        let out = y[c..].iter_mut().step_by(outputs);
        match form.scale_values {
            BLOCK => column::<1>(isa, job, stored, &mut scratch, out),
            _ => column::<2>(isa, job, stored, &mut scratch, out),
        }
    }
}

/// What all columns of a product share.
#[derive(Clone, Copy)]
struct Job<'a> {
    x: &'a Activations,
    dtype: ElementType,
    form: Form,
}

/// Where one weight row's outputs go, a row of activations after the other.
type Column<'a> = std::iter::StepBy<std::slice::IterMut<'a, f32>>;

fn column<const S: usize>(isa: Isa, job: Job<'_>, stored: &[u8], scratch: &mut Unpacked, out: Column<'_>) {
    match isa.0 {
        Kind::Scalar => scalar_column::<S>(job, stored, scratch, out),
        // SAFETY: an `Isa` of this kind is only made by `Isa::available`, which found the features.
        #[cfg(target_arch = "x86_64")]
        #[expect(unsafe_code, reason = "calls code compiled for features found at run time")]
        Kind::Avx2 => unsafe { avx2::column::<S>(job, stored, scratch, out) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        #[expect(unsafe_code, reason = "calls code compiled for features found at run time")]
        Kind::Vnni => unsafe { vnni::column::<S>(job, stored, scratch, out) },
    }
}

/// One weight row by all rows of activations; `S` scales to a block.
fn scalar_column<const S: usize>(job: Job<'_>, stored: &[u8], scratch: &mut Unpacked, out: Column<'_>) {
    unpack(job.dtype, stored, scratch);
    for (r, y) in out.enumerate() {
        let row = job.x.row(r);
        let mut lanes = [0f32; 2 * BLOCK_LANES];
        for b in 0..row.scales.len() {
            block::<S>(scratch, row, job.form, b, &mut lanes);
        }
        *y = finish(lanes, scratch, row);
    }
}

/// The last block of a row with an odd number of them, which pairs leave over.
#[inline(always)]
fn last_block<const S: usize>(w: &Unpacked, x: ActivationRow<'_>, form: Form, lanes: &mut [f32; 2 * BLOCK_LANES]) {
    if x.scales.len() % 2 == 1 {
        block::<S>(w, x, form, x.scales.len() - 1, lanes);
    }
}

/// Adds the terms of block `b` to its lanes.
#[inline(always)]
fn block<const S: usize>(
    w: &Unpacked,
    x: ActivationRow<'_>,
    form: Form,
    b: usize,
    lanes: &mut [f32; 2 * BLOCK_LANES],
) {
    let (w_bytes, x_bytes) = (&w.bytes[b * BLOCK..(b + 1) * BLOCK], &x.bytes[b * BLOCK..(b + 1) * BLOCK]);
    for j in 0..BLOCK_LANES {
        let mut sum = 0i32;
        for k in 4 * j..4 * j + 4 {
            sum += (i32::from(w_bytes[k]) - i32::from(form.offset)) * i32::from(x_bytes[k]);
        }
        let scale = w.scales[b * S + j * S / BLOCK_LANES] * x.scales[b];
        lanes[b % 2 * BLOCK_LANES + j] += sum as f32 * scale;
    }
}

/// The trees, and the minimums where there are any.
#[inline(always)]
fn finish(lanes: [f32; 2 * BLOCK_LANES], w: &Unpacked, x: ActivationRow<'_>) -> f32 {
    let eight: [f32; 8] = std::array::from_fn(|i| lanes[i] + lanes[i + 8]);
    let sum = tree(eight);
    if w.minimums.is_empty() {
        return sum;
    }
    let mut minimum = [0f32; 8];
    let (eights, rest) = w.minimums.as_chunks::<8>();
    let (x_eights, x_rest) = x.block_sums.as_chunks::<8>();
    for (m, s) in eights.iter().zip(x_eights) {
        for i in 0..8 {
            minimum[i] += m[i] * s[i];
        }
    }
    for (sum, (m, s)) in minimum.iter_mut().zip(rest.iter().zip(x_rest)) {
        *sum += m * s;
    }
    sum + tree(minimum)
}

#[inline(always)]
fn tree(eight: [f32; 8]) -> f32 {
    let four: [f32; 4] = std::array::from_fn(|i| eight[i] + eight[i + 4]);
    (four[0] + four[2]) + (four[1] + four[3])
}

#[cfg(test)]
mod tests;
