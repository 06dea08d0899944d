//! How quantised weights are multiplied.

use crate::threads::Threads;

/// How quantised weights are multiplied. Weights stored as floats are always multiplied as floats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Arithmetic {
    /// By integer products with quantised activations, as `spec/kernel.md` states it: what nodes compute, and fast.
    #[default]
    Canonical,
    /// By widening the weights to f32: slower and nearer to other programs' f32 arithmetic, to compare with them.
    Widened,
    /// By candle's quantised product, whose bits depend on the processor: to measure this crate against it, and for
    /// nothing else. It takes memory of its own.
    Candle,
}

/// How weights that are loaded will be multiplied.
#[derive(Debug, Clone)]
pub struct Computing {
    /// The arithmetic of quantised weights.
    pub arithmetic: Arithmetic,
    /// The threads over which large products are spread.
    pub threads: Threads,
}

impl Default for Computing {
    fn default() -> Self {
        Self { arithmetic: Arithmetic::default(), threads: Threads::of_process() }
    }
}
