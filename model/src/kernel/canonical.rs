//! The canonical product of quantised weights and quantised activations: the same bits on every processor.
//!
//! A block is 32 neighbouring values of a row. Its products of activation byte and (weight byte − offset), each times the
//! factor of its 16 weights where the type has factors, are added as integers, exactly. Then, all f32 and each operation
//! rounded by itself:
//!
//! ```text
//! dot[b mod 4] += float(integer of b) · (weight scale of b · activation scale of b)          ascending b, from +0
//! min[b mod 4] += minimum of b · (activation scale of b · float(sum of b's activation bytes))
//! y = tree(dot) + tree(min)             the second only where the type has minimums
//! tree(l) = (l[0] + l[2]) + (l[1] + l[3])
//! ```
//!
//! The integer of a block is below 2²⁴, so that it is an f32 exactly. The order of the rest depends neither on how many
//! rows there are, nor on how they are blocked or who computes them. Rows that are not finite never come here
//! ([`Activations`] are made of checked rows), and a weight whose scale is not finite was refused when it was loaded.
//!
//! [`Isa::Scalar`] is that text as plain Rust and the reference for the others: AVX2 (`vpmaddubsw`, one weight row
//! after the other; no sum of two products exceeds 2 · 128 · 127, so it cannot saturate) and AVX-512 VNNI (`vpdpbusd`, four weight rows at
//! once).
#![expect(clippy::indexing_slicing, reason = "indices are bounded by the lengths asserted at the entry")]

use std::sync::OnceLock;

use crate::dtype::ElementType;
use crate::kernel::activation::{ActivationRow, BLOCK};
use crate::kernel::packed::{Packed, QUAD};
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
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("f16c") {
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
    pub(crate) x: &'a Packed,
    /// `(outputs, inner)` rows of blocks
    pub(crate) w: &'a [u8],
    pub(crate) dtype: ElementType,
    /// `(rows, outputs)`
    pub(crate) y: &'a mut [f32],
}

/// Computes a product.
///
/// # Panics
/// Where the lengths do not fit together or the type is a float: an error of this crate.
pub(crate) fn quantised_product(isa: Isa, job: QuantisedProduct<'_>) {
    let QuantisedProduct { x, w, dtype, y } = job;
    let inner = x.activations().width();
    #[expect(clippy::expect_used, reason = "callers choose this product by the type")]
    let (form, row_bytes) =
        form(dtype).zip(dtype.row_bytes(inner)).expect("quantised weights in whole blocks");
    assert!(w.len().is_multiple_of(row_bytes), "whole rows of weights");
    let outputs = w.len() / row_bytes;
    assert_eq!(y.len(), x.activations().len() * outputs, "one output for each row and weight row");
    let job = Job { x, w, dtype, form, row_bytes, outputs };
    match isa.0 {
        Kind::Scalar => scalar(job, y),
        // SAFETY: an `Isa` of this kind is only made by `Isa::available`, which found the features.
        #[cfg(target_arch = "x86_64")]
        #[expect(unsafe_code, reason = "calls code compiled for features found at run time")]
        Kind::Avx2 => unsafe { avx2::product(job, y) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        #[expect(unsafe_code, reason = "calls code compiled for features found at run time")]
        Kind::Vnni => unsafe { vnni::product(job, y) },
    }
}

/// A checked product.
#[derive(Clone, Copy)]
struct Job<'a> {
    x: &'a Packed,
    w: &'a [u8],
    dtype: ElementType,
    form: Form,
    row_bytes: usize,
    outputs: usize,
}

/// The types as generic arguments, those in blocks of 256 last.
#[cfg(target_arch = "x86_64")]
const Q8_0: u8 = 0;
#[cfg(target_arch = "x86_64")]
const Q4_0: u8 = 1;
#[cfg(target_arch = "x86_64")]
const Q5_0: u8 = 2;
#[cfg(target_arch = "x86_64")]
const Q5_1: u8 = 3;
#[cfg(target_arch = "x86_64")]
const Q4_K: u8 = 4;
#[cfg(target_arch = "x86_64")]
const Q5_K: u8 = 5;
#[cfg(target_arch = "x86_64")]
const Q6_K: u8 = 6;

/// The four lanes of a sum.
type Lanes = [f32; QUAD];

fn scalar(job: Job<'_>, y: &mut [f32]) {
    let x = job.x.activations();
    let mut w = Unpacked::for_rows(x.width(), job.form);
    for (c, stored) in job.w.chunks_exact(job.row_bytes).enumerate() {
        unpack(job.dtype, stored, &mut w);
        for r in 0..x.len() {
            let row = x.row(r);
            let mut lanes = Lanes::default();
            for b in 0..row.scales.len() {
                lanes[b % QUAD] += block(&w, row, job.form, b) as f32 * (w.scales[b] * row.scales[b]);
            }
            y[r * job.outputs + c] = finish(lanes, &w, row);
        }
    }
}

/// The integer of block `b`.
#[inline(always)]
fn block(w: &Unpacked, x: ActivationRow<'_>, form: Form, b: usize) -> i32 {
    let mut sum = 0;
    for half in 2 * b..2 * b + 2 {
        let halves = w.bytes[16 * half..][..16].iter().zip(&x.bytes[16 * half..][..16]);
        let dot: i32 = halves.map(|(w, x)| (i32::from(*w) - i32::from(form.offset)) * i32::from(*x)).sum();
        sum += dot * w.factors.get(half).map_or(1, |factor| i32::from(*factor));
    }
    sum
}

/// The trees, and the minimums where there are any.
#[inline(always)]
fn finish(lanes: Lanes, w: &Unpacked, x: ActivationRow<'_>) -> f32 {
    let sum = tree(lanes);
    if w.minimums.is_empty() {
        return sum;
    }
    let mut lanes = Lanes::default();
    for (b, minimum) in w.minimums.iter().enumerate() {
        let bytes: i32 = x.bytes[b * BLOCK..][..BLOCK].iter().map(|byte| i32::from(*byte)).sum();
        lanes[b % QUAD] += minimum * (x.scales[b] * bytes as f32);
    }
    sum + tree(lanes)
}

#[inline(always)]
fn tree(lanes: Lanes) -> f32 {
    (lanes[0] + lanes[2]) + (lanes[1] + lanes[3])
}

#[cfg(test)]
mod tests;
