//! Rotary position embedding (`apply_rotary_pos_emb` and `apply_rotary_emb` of transformers 5.23, `models/*/modeling_*`),
//! with YaRN (`_compute_yarn_parameters`, `modeling_rope_utils.py`).

use crate::angle::{ln, power, sine_cosine};
use crate::config::{Pairing, RopeShape, Yarn};

/// The frequencies of a model.
#[derive(Debug, Clone)]
pub(crate) struct Rope {
    /// `(dims / 2)`
    frequencies: Vec<f32>,
    pairing: Pairing,
    /// What cosines and sines are multiplied by.
    amplitude: f32,
}

/// The rotations of the positions of one sequence, made as the positions are reached.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rotations {
    /// `(positions, dims / 2)` of (cosine, sine)
    pairs: Vec<(f32, f32)>,
}

impl Rope {
    /// `1 / theta^(2i / dims)`: power and reciprocal each rounded to f32, as upstream's tensors are.
    pub(crate) fn new(shape: &RopeShape) -> Self {
        let power = |i: usize| {
            let exponent = (2 * i) as f32 / shape.dims as f32;
            narrow(power(shape.theta, f64::from(exponent)))
        };
        let powers = (0..shape.dims / 2).map(power);
        let frequencies = match &shape.yarn {
            None => powers.map(|power| 1.0 / power).collect(),
            Some(yarn) => stretched(yarn, shape.theta, shape.dims, powers),
        };
        let amplitude = shape.yarn.as_ref().map_or(1.0, |yarn| narrow(yarn.amplitude()));
        Self { frequencies, pairing: shape.pairing, amplitude }
    }

    /// Extends the table to `positions`. The angle is an f32 product, as upstream's is.
    pub(crate) fn extend(&self, table: &mut Rotations, positions: usize) {
        let made = table.pairs.len().checked_div(self.frequencies.len()).unwrap_or(positions);
        for position in made..positions {
            table.pairs.extend(self.frequencies.iter().map(|frequency| {
                let (sine, cosine) = sine_cosine(f64::from(position as f32 * frequency));
                (narrow(cosine) * self.amplitude, narrow(sine) * self.amplitude)
            }));
        }
    }

    /// Turns every head of a row in place, as its position says. A row is whole heads of the rotated width.
    pub(crate) fn turn(&self, table: &Rotations, position: usize, heads: &mut [f32]) {
        let half = self.frequencies.len();
        let pairs = table.pairs.iter().skip(position * half).take(half);
        for head in heads.chunks_exact_mut(2 * half) {
            match self.pairing {
                Pairing::Halves => {
                    let (first, second) = head.split_at_mut(half);
                    for ((a, b), pair) in first.iter_mut().zip(second).zip(pairs.clone()) {
                        turn(a, b, pair);
                    }
                }
                Pairing::Interleaved => {
                    for ([a, b], pair) in head.as_chunks_mut::<2>().0.iter_mut().zip(pairs.clone()) {
                        turn(a, b, pair);
                    }
                }
            }
        }
    }
}

impl RopeShape {
    /// What the scale of the softmax is multiplied by (`yarn_apply_mscale`, `models/deepseek_v2/modeling_deepseek_v2.py`).
    pub(crate) fn softmax_factor(&self) -> f64 {
        self.yarn.as_ref().map_or(1.0, |yarn| {
            let factor = yarn.mscale(yarn.mscale_all_dim);
            factor * factor
        })
    }
}

impl Yarn {
    /// What cosines and sines are multiplied by: the quotient where both weights are given.
    fn amplitude(&self) -> f64 {
        if self.mscale > 0.0 && self.mscale_all_dim > 0.0 {
            self.mscale(self.mscale) / self.mscale(self.mscale_all_dim)
        } else {
            self.mscale(1.0)
        }
    }

    /// `0.1 · weight · ln factor + 1`
    fn mscale(&self, weight: f64) -> f64 {
        0.1 * weight * ln(self.factor) + 1.0
    }

    /// The pair that makes this many turns over the original context, as a fraction.
    fn pair_of(&self, turns: f64, theta: f64, dims: usize) -> f64 {
        let ratio = self.original as f64 / (turns * 2.0 * std::f64::consts::PI);
        dims as f64 * ln(ratio) / (2.0 * ln(theta))
    }
}

/// Frequencies between that of the original context and that of the stretched one, by a ramp over the pairs.
fn stretched(yarn: &Yarn, theta: f64, dims: usize, powers: impl Iterator<Item = f32>) -> Vec<f32> {
    let low = yarn.pair_of(yarn.beta_fast, theta, dims).floor().max(0.0);
    let high = yarn.pair_of(yarn.beta_slow, theta, dims).ceil().min(dims as f64 - 1.0);
    // A ramp of no length would divide by zero.
    let length = if (high - low).abs() < 0.5 { 0.001 } else { high - low };
    let (low, length, factor) = (narrow(low), narrow(length), narrow(yarn.factor));
    let frequency = |(i, power): (usize, f32)| {
        let ramp = ((i as f32 - low) / length).clamp(0.0, 1.0);
        let kept = 1.0 - ramp;
        (1.0 / (factor * power)) * (1.0 - kept) + (1.0 / power) * kept
    };
    powers.enumerate().map(frequency).collect()
}

/// `factor / √width`, rounded once.
pub(crate) fn reciprocal_root(width: usize, factor: f64) -> f32 {
    narrow(1.0 / (width as f64).sqrt() * factor)
}

fn turn(a: &mut f32, b: &mut f32, (cosine, sine): &(f32, f32)) {
    (*a, *b) = (*a * cosine - *b * sine, *b * cosine + *a * sine);
}

#[expect(clippy::cast_possible_truncation, reason = "rounding to nearest is what is meant")]
fn narrow(x: f64) -> f32 {
    x as f32
}

#[cfg(test)]
mod tests;
