//! Rotary position embedding with the pairs of a head in its two halves (`apply_rotary_pos_emb` of transformers
//! 5.23, `models/mixtral/modeling_mixtral.py`).

use crate::angle::{power, sine_cosine};

/// The frequencies of a model.
#[derive(Debug, Clone)]
pub(crate) struct Rope {
    /// `(head_dim / 2)`
    frequencies: Vec<f32>,
}

/// The rotations of the positions of one sequence, made as the positions are reached.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rotations {
    /// `(positions, head_dim / 2)` of (cosine, sine)
    pairs: Vec<(f32, f32)>,
}

impl Rope {
    /// `1 / theta^(2i / head_dim)`: power and reciprocal each rounded to f32, as upstream's tensors are.
    pub(crate) fn new(theta: f64, head_dim: usize) -> Self {
        let half = head_dim / 2;
        let frequency = |i: usize| {
            let exponent = (2 * i) as f32 / head_dim as f32;
            1.0 / narrow(power(theta, f64::from(exponent)))
        };
        Self { frequencies: (0..half).map(frequency).collect() }
    }

    /// Extends the table to `positions`. The angle is an f32 product, as upstream's is.
    pub(crate) fn extend(&self, table: &mut Rotations, positions: usize) {
        let made = table.pairs.len().checked_div(self.frequencies.len()).unwrap_or(positions);
        for position in made..positions {
            table.pairs.extend(self.frequencies.iter().map(|frequency| {
                let (sine, cosine) = sine_cosine(f64::from(position as f32 * frequency));
                (narrow(cosine), narrow(sine))
            }));
        }
    }

    /// Turns every head of a row in place, as its position says.
    pub(crate) fn turn(&self, table: &Rotations, position: usize, heads: &mut [f32]) {
        let half = self.frequencies.len();
        let pairs = table.pairs.iter().skip(position * half).take(half);
        for head in heads.chunks_exact_mut(2 * half) {
            let (first, second) = head.split_at_mut(half);
            for ((a, b), (cosine, sine)) in first.iter_mut().zip(second).zip(pairs.clone()) {
                (*a, *b) = (*a * cosine - *b * sine, *b * cosine + *a * sine);
            }
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "rounding to nearest is what is meant")]
fn narrow(x: f64) -> f32 {
    x as f32
}
