//! Work to be timed. This crate has no clock, so the caller's is an argument: nanoseconds from any fixed point.

mod kernel;

pub use kernel::{BenchError, Products};

use crate::decoder::Decoder;
use crate::error::ComputeError;
use crate::kernel::{Path, Product};
use crate::reference::{Experts, step};
use crate::sampler::argmax;

/// How much was done in how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Token ids, or bytes of weights.
    pub units: u64,
    /// Nanoseconds, at least 1.
    pub nanos: u64,
}

impl Rate {
    /// Units in one second.
    #[must_use]
    pub fn per_second(self) -> f64 {
        self.units as f64 * 1e9 / self.nanos as f64
    }

    fn since(start: u64, end: u64, units: usize) -> Self {
        Self { units: u64::try_from(units).unwrap_or(u64::MAX), nanos: end.saturating_sub(start).max(1) }
    }
}

/// Greedy continuation of `prompt` by exactly `count` token ids, one at a time; the prompt itself is not timed.
///
/// # Errors
/// As [`step`]; [`ComputeError::Shape`] for an empty prompt.
pub fn decode<E: Experts>(
    decoder: &Decoder,
    experts: &mut E,
    prompt: &[u32],
    count: usize,
    clock: &dyn Fn() -> u64,
) -> Result<Rate, E::Error> {
    let mut sequence = decoder.begin(prompt.len() + count)?;
    let rows = step(decoder, experts, &mut sequence, prompt)?;
    let mut last = rows.gather(&[rows.len().wrapping_sub(1)])?;
    let start = clock();
    for _ in 0..count {
        let id = argmax(decoder.logits(&last)?.values());
        last = step(decoder, experts, &mut sequence, &[u32::try_from(id).unwrap_or(u32::MAX)])?;
    }
    Ok(Rate::since(start, clock(), count))
}

/// One pass over `ids` as a prompt, with the logits of the last.
///
/// # Errors
/// As [`decode`].
pub fn prefill<E: Experts>(
    decoder: &Decoder,
    experts: &mut E,
    ids: &[u32],
    clock: &dyn Fn() -> u64,
) -> Result<Rate, E::Error> {
    let start = clock();
    let mut sequence = decoder.begin(ids.len())?;
    let rows = step(decoder, experts, &mut sequence, ids)?;
    decoder.logits(&rows.gather(&[rows.len().wrapping_sub(1)])?)?;
    Ok(Rate::since(start, clock(), ids.len()))
}

/// The matrix product alone, `(rows, inner)` by `(outputs, inner)`, `repeats` times: bytes of weights.
///
/// # Errors
/// [`ComputeError::Shape`] for a matrix without values.
pub fn product(
    rows: usize,
    (outputs, inner): (usize, usize),
    repeats: usize,
    clock: &dyn Fn() -> u64,
) -> Result<Rate, ComputeError> {
    if outputs == 0 || inner == 0 {
        return Err(ComputeError::Shape { what: "values of a matrix", expected: 1, found: 0 });
    }
    let (x, w) = (vec![0.5; rows * inner], vec![0.25; outputs * inner]);
    let mut y = vec![0.0; rows * outputs];
    let start = clock();
    for _ in 0..repeats {
        crate::kernel::product(
            Path::widest(),
            Product { x: &x, w: std::hint::black_box(&w), y: &mut y, inner },
        );
        std::hint::black_box(&y);
    }
    Ok(Rate::since(start, clock(), size_of_val(w.as_slice()) * repeats))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::{Checkpoint, ExpertBank};

    /// A clock that is a second later each time.
    fn ticking() -> impl Fn() -> u64 {
        let now = Cell::new(0);
        move || now.replace(now.get() + 1_000_000_000)
    }

    #[test]
    fn rates_count_what_was_asked_for() {
        let guide = Checkpoint::guide().unwrap();
        let decoder = Decoder::load(&guide).unwrap();
        let bank = ExpertBank::load(&guide, guide.config().all_experts()).unwrap();
        let second = |units| Rate { units, nanos: 1_000_000_000 };
        assert_eq!(decode(&decoder, &mut &bank, &[1, 2], 5, &ticking()), Ok(second(5)));
        assert_eq!(prefill(&decoder, &mut &bank, &[1, 2, 3], &ticking()), Ok(second(3)));
        assert_eq!(product(2, (8, 16), 3, &ticking()), Ok(second(8 * 16 * 4 * 3)));
        assert!((second(5).per_second() - 5.0).abs() < 1e-12);
    }

    #[test]
    fn nothing_is_no_work() {
        let empty = ComputeError::Shape { what: "values of a matrix", expected: 1, found: 0 };
        assert_eq!(product(1, (0, 16), 1, &ticking()), Err(empty));
        assert!(Rate::since(5, 5, 1).per_second().is_finite());
    }
}
