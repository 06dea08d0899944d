//! f32 to quantised blocks, for `q8_0`, `q5_0` and `q4_k`.
//!
//! The first two give the bytes of llama.cpp's reference code. `q4_k` follows the same idea (candidates for a run's
//! step around the one that covers its range, for each the least squares of scale and offset, greater values weighing
//! more); its bytes are our own and the same on every machine, for nothing in it is fused or left to a library.

#![expect(clippy::indexing_slicing, reason = "lanes of arrays of constant length")]

use std::array::from_fn;

use half::f16;

use super::pack_scales;
use crate::dtype::ElementType;

/// Why values were not quantised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unquantisable {
    /// Not a whole number of blocks.
    #[error("{values} values are no whole number of {} blocks", dtype.name())]
    Length {
        /// The type wanted.
        dtype: ElementType,
        /// Values in the row.
        values: usize,
    },
    /// This crate only reads the type.
    #[error("{} is read here but not made; q8_0, q5_0 and q4_k are", dtype.name())]
    Type {
        /// The type wanted.
        dtype: ElementType,
    },
    /// A value is not finite, or so large that its block's scale is no finite f16.
    #[error("the values from {index} on are too large for {}", dtype.name())]
    Range {
        /// The type wanted.
        dtype: ElementType,
        /// The first value of the block.
        index: usize,
    },
}

/// Appends the blocks of one row.
///
/// # Errors
/// [`Unquantisable`]; `out` may then hold part of the row.
pub fn quantise(dtype: ElementType, row: &[f32], out: &mut Vec<u8>) -> Result<(), Unquantisable> {
    if dtype.row_bytes(row.len()).is_none() {
        return Err(Unquantisable::Length { dtype, values: row.len() });
    }
    match dtype {
        ElementType::Q8_0 => blocks(dtype, row, out, q8_0),
        ElementType::Q5_0 => blocks(dtype, row, out, q5_0),
        ElementType::Q4K => blocks(dtype, row, out, q4_k),
        _ => Err(Unquantisable::Type { dtype }),
    }
}

fn blocks<const VALUES: usize, const BYTES: usize>(
    dtype: ElementType,
    row: &[f32],
    out: &mut Vec<u8>,
    one: impl Fn(&[f32; VALUES]) -> Option<[u8; BYTES]>,
) -> Result<(), Unquantisable> {
    let (blocks, _) = row.as_chunks::<VALUES>();
    for (at, block) in blocks.iter().enumerate() {
        let all_finite = block.iter().fold(true, |all, v| all & v.is_finite());
        let bytes = if all_finite { one(block) } else { None };
        out.extend(bytes.ok_or(Unquantisable::Range { dtype, index: at * VALUES })?);
    }
    Ok(())
}

/// A scale as f16; `None` where that is infinite.
fn scale(d: f32) -> Option<[u8; 2]> {
    let d = f16::from_f32(d);
    d.is_finite().then(|| d.to_le_bytes())
}

fn inverse(d: f32) -> f32 {
    if d == 0.0 { 0.0 } else { 1.0 / d }
}

fn q8_0(x: &[f32; 32]) -> Option<[u8; 34]> {
    let d = x.iter().fold(0f32, |most, v| most.max(v.abs())) / 127.0;
    let per_step = inverse(d);
    let [d0, d1] = scale(d)?;
    let mut out = [0; 34];
    let [o0, o1, q @ ..] = &mut out;
    (*o0, *o1) = (d0, d1);
    for (q, v) in q.iter_mut().zip(x) {
        #[expect(clippy::cast_possible_truncation, reason = "at most 127 in size")]
        let rounded = (v * per_step).round() as i8;
        *q = rounded.cast_unsigned();
    }
    Some(out)
}

fn q5_0(x: &[f32; 32]) -> Option<[u8; 22]> {
    // The value of the greatest size becomes −16 steps, whatever its sign.
    let most = x.iter().fold(0f32, |most, v| if v.abs() > most.abs() { *v } else { most });
    let d = most / -16.0;
    let per_step = inverse(d);
    let [d0, d1] = scale(d)?;
    let mut out = [0; 22];
    let [o0, o1, h0, h1, h2, h3, nibbles @ ..] = &mut out;
    (*o0, *o1) = (d0, d1);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 33")]
    let step = |v: &f32| ((v * per_step + 16.5) as u8).min(31);
    let (low, high) = x.split_at(16);
    let mut fifths = 0u32;
    for (l, (nibble, (low, high))) in nibbles.iter_mut().zip(low.iter().zip(high)).enumerate() {
        let (low, high) = (step(low), step(high));
        *nibble = (low & 15) | (high << 4);
        fifths |= u32::from(low >> 4) << l | u32::from(high >> 4) << (l + 16);
    }
    (*h0, *h1, *h2, *h3) = fifths.to_le_bytes().into();
    Some(out)
}

/// One run of a `q4_k` block: `x ≈ scale · q − offset`, neither of them negative.
#[derive(Clone, Copy)]
struct Run {
    scale: f32,
    offset: f32,
}

fn q4_k(x: &[f32; 256]) -> Option<[u8; 144]> {
    let (runs, _) = x.as_chunks::<32>();
    let mut fitted = [Run { scale: 0.0, offset: 0.0 }; 8];
    for (fit, run) in fitted.iter_mut().zip(runs) {
        *fit = fitted_run(run);
    }
    let greatest = |of: fn(&Run) -> f32| fitted.iter().map(of).fold(0f32, f32::max) / 63.0;
    let (d, dmin) = (scale(greatest(|run| run.scale))?, scale(greatest(|run| run.offset))?);
    let (d_value, dmin_value) = (f16::from_le_bytes(d).to_f32(), f16::from_le_bytes(dmin).to_f32());
    let six_bits = |value: f32, step: f32| {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to six bits")]
        let bits = nearest(value * inverse(step)).clamp(0.0, 63.0) as u8;
        bits
    };
    let scales = fitted.map(|run| six_bits(run.scale, d_value));
    let offsets = fitted.map(|run| six_bits(run.offset, dmin_value));
    let mut out = [0; 144];
    let [o0, o1, o2, o3, rest @ ..] = &mut out;
    ((*o0, *o1), (*o2, *o3)) = (d.into(), dmin.into());
    let (packed, nibbles) = rest.split_at_mut(12);
    packed.copy_from_slice(&pack_scales(scales, offsets));
    let (nibbles, _) = nibbles.as_chunks_mut::<32>();
    for (at, (run, (bits, offset))) in runs.iter().zip(scales.into_iter().zip(offsets)).enumerate() {
        let (per_step, offset) = (inverse(d_value * f32::from(bits)), dmin_value * f32::from(offset));
        let Some(nibbles) = nibbles.get_mut(at / 2) else { continue };
        for (nibble, v) in nibbles.iter_mut().zip(run) {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "clamped to four bits"
            )]
            let q = nearest((v + offset) * per_step).clamp(0.0, 15.0) as u8;
            *nibble |= q << (4 * (at % 2));
        }
    }
    Some(out)
}

/// The best scale and offset among the candidates.
fn fitted_run(x: &[f32; 32]) -> Run {
    let low = x.iter().copied().fold(0f32, f32::min);
    let high = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let range = high - low;
    if range > TOO_WIDE {
        // No f16 scale can hold this; the caller sees it.
        return Run { scale: range, offset: -low };
    }
    if range < TOO_NARROW {
        return Run { scale: 0.0, offset: -low };
    }
    let squares = x.iter().fold(0f32, |sum, v| sum + (v / range) * (v / range));
    let typical = (squares / 32.0).sqrt() * range;
    let weights: [f32; 32] = x.map(|v| (typical + v.abs()) / range);
    let mut best = (f32::INFINITY, Run { scale: 0.0, offset: -low });
    for tenths in 0..=CANDIDATES {
        let steps = FEWEST_STEPS + 0.1 * f32::from(tenths);
        let candidate = least_squares(x, &weights, low, steps / range);
        if candidate.0 < best.0 {
            best = candidate;
        }
    }
    best.1
}

/// For the steps that `per_step` gives each value: the scale and offset of least weighted error, and that error.
fn least_squares(x: &[f32; 32], weights: &[f32; 32], low: f32, per_step: f32) -> (f32, Run) {
    let (x, weights) = (x.as_chunks::<LANES>().0, weights.as_chunks::<LANES>().0);
    let mut q = [[0f32; LANES]; 32 / LANES];
    let mut sums = Sums::default();
    for (q, (x, weights)) in q.iter_mut().zip(x.iter().zip(weights)) {
        *q = from_fn(|l| nearest((x[l] - low) * per_step).clamp(0.0, 15.0));
        sums = sums.and(x, weights, q);
    }
    let [w, wq, wqq, wx, wxq] = [sums.w, sums.wq, sums.wqq, sums.wx, sums.wxq].map(tree);
    let determinant = w * wqq - wq * wq;
    let unusable = (f32::INFINITY, Run { scale: 0.0, offset: -low });
    let (mut scale, mut offset) = (wxq / wqq, 0.0);
    // Where all steps are equal there is one unknown too many, and the offset is left out.
    if determinant > 1e-5 * w * wqq {
        let with_offset = ((w * wxq - wx * wq) / determinant, (wq * wxq - wqq * wx) / determinant);
        if with_offset.1 > 0.0 {
            (scale, offset) = with_offset;
        }
    }
    let mut errors = [0f32; LANES];
    for (q, (x, weights)) in q.iter().zip(x.iter().zip(weights)) {
        let off: [f32; LANES] = from_fn(|l| scale * q[l] - offset - x[l]);
        errors = from_fn(|l| errors[l] + weights[l] * off[l] * off[l]);
    }
    let error = tree(errors);
    if scale > 0.0 && scale.is_finite() { (error, Run { scale, offset }) } else { unusable }
}

/// Weighted sums over the values of a run, lane by lane.
#[derive(Clone, Copy, Default)]
struct Sums {
    w: [f32; LANES],
    wq: [f32; LANES],
    wqq: [f32; LANES],
    wx: [f32; LANES],
    wxq: [f32; LANES],
}

impl Sums {
    #[inline(always)]
    fn and(self, x: &[f32; LANES], weights: &[f32; LANES], q: &[f32; LANES]) -> Self {
        let by_q: [f32; LANES] = from_fn(|l| weights[l] * q[l]);
        Self {
            w: from_fn(|l| self.w[l] + weights[l]),
            wq: from_fn(|l| self.wq[l] + by_q[l]),
            wqq: from_fn(|l| self.wqq[l] + by_q[l] * q[l]),
            wx: from_fn(|l| self.wx[l] + weights[l] * x[l]),
            wxq: from_fn(|l| self.wxq[l] + by_q[l] * x[l]),
        }
    }
}

/// The sum of the lanes.
#[inline(always)]
fn tree(lanes: [f32; LANES]) -> f32 {
    let [a, b, c, d, e, f, g, h] = lanes;
    ((a + e) + (c + g)) + ((b + f) + (d + h))
}

/// The nearest integer, ties to even, for values well inside 2^22.
#[inline(always)]
fn nearest(v: f32) -> f32 {
    (v + ROUNDING) - ROUNDING
}

/// Independent accumulators of a sum.
const LANES: usize = 8;
/// A range above which `15 · 63` steps of the greatest f16 end.
const TOO_WIDE: f32 = 1e9;
/// A range below which an f16 scale is 0.
const TOO_NARROW: f32 = 1e-20;
/// 1.5 · 2^23: adding and taking it away rounds to an integer.
const ROUNDING: f32 = 12_582_912.0;
/// Candidates lie a tenth of a step apart, from 14 steps in the range …
const FEWEST_STEPS: f32 = 14.0;
/// … to 16.
const CANDIDATES: u8 = 20;
