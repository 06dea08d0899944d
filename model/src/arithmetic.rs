//! How quantised weights are multiplied.

/// How quantised weights are multiplied. Weights stored as floats are always multiplied as floats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Arithmetic {
    /// By integer products with quantised activations, as `spec/kernel.md` states it: what nodes compute, and fast.
    #[default]
    Canonical,
    /// By widening the weights to f32: slower and nearer to other programs' f32 arithmetic, to compare with them.
    Widened,
}
