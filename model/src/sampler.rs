//! Chooses the next token id from logits, the same on every machine for one seed.
#![expect(clippy::indexing_slicing, reason = "the order holds indices of the logits")]

use crate::kernel::exp;

/// Temperature, nucleus and a seeded source of chance.
///
/// The source is SplitMix64 (Steele, Lea, Flood, 2014): the state grows by 0x9e3779b97f4a7c15 and is then mixed; its
/// upper 53 bits make a number in [0, 1). It is good enough to choose words and no secret comes of it.
#[derive(Debug, Clone)]
pub struct Sampler {
    temperature: f32,
    top_p: f32,
    state: u64,
}

/// A setting that no distribution can be made of.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum SamplerError {
    /// Not a number from 0 to 2.
    #[error("temperature is {0}; it must be from 0 to 2")]
    Temperature(f32),
    /// Not a number above 0 and up to 1.
    #[error("top_p is {0}; it must be above 0 and at most 1")]
    TopP(f32),
}

impl Sampler {
    /// Temperature 0 always takes the greatest logit; `top_p` 1 keeps every token id in play.
    ///
    /// # Errors
    /// [`SamplerError`].
    pub fn new(temperature: f32, top_p: f32, seed: u64) -> Result<Self, SamplerError> {
        if !(0.0..=2.0).contains(&temperature) {
            return Err(SamplerError::Temperature(temperature));
        }
        if !(top_p > 0.0 && top_p <= 1.0) {
            return Err(SamplerError::TopP(top_p));
        }
        Ok(Self { temperature, top_p, state: seed })
    }

    /// Always the greatest logit.
    #[must_use]
    pub const fn greedy() -> Self {
        Self { temperature: 0.0, top_p: 1.0, state: 0 }
    }

    /// One id; 0 for no logits. Of equal logits the lower id counts as the greater, a NaN counts as the least.
    pub fn sample(&mut self, logits: &[f32]) -> u32 {
        let best = argmax(logits);
        if self.temperature < LEAST_TEMPERATURE || logits.is_empty() {
            return id(best);
        }
        let order = self.candidates(logits, best);
        let total: f64 = order.iter().map(|(_, p)| f64::from(*p)).sum();
        let mut left = self.chance() * total;
        for (at, p) in &order {
            left -= f64::from(*p);
            if left < 0.0 {
                return id(*at);
            }
        }
        order.last().map_or(id(best), |(at, _)| id(*at))
    }

    /// The fewest most probable ids whose probabilities reach `top_p`, with probabilities relative to the best one's.
    fn candidates(&self, logits: &[f32], best: usize) -> Vec<(usize, f32)> {
        let greatest = logits[best];
        let relative =
            |logit: f32| if logit.is_nan() { 0.0 } else { exp((logit - greatest) / self.temperature) };
        let mut order: Vec<(usize, f32)> = logits.iter().map(|l| relative(*l)).enumerate().collect();
        // A stable sort keeps the lower id first among equals.
        order.sort_by(|a, b| b.1.total_cmp(&a.1));
        let wanted = f64::from(self.top_p) * order.iter().map(|(_, p)| f64::from(*p)).sum::<f64>();
        let mut reached = 0.0;
        let kept = order.iter().position(|(_, p)| {
            reached += f64::from(*p);
            reached >= wanted
        });
        order.truncate(kept.map_or(order.len(), |at| at + 1));
        order
    }

    /// A number in [0, 1).
    fn chance(&mut self) -> f64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        (z >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// The index of the greatest value, of equals the lowest; NaN counts as the least; 0 for none.
#[must_use]
pub fn argmax(values: &[f32]) -> usize {
    let mut best = (0, f32::NEG_INFINITY);
    for (at, value) in values.iter().enumerate() {
        if *value > best.1 {
            best = (at, *value);
        }
    }
    best.0
}

fn id(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// Below this the best token id is always taken; its nearest rival would need a logit within 1e-4 to matter.
const LEAST_TEMPERATURE: f32 = 1e-5;
