//! One expert (`MixtralExperts` of transformers 5.23): `w2 · (silu(w1 · x) ⊙ (w3 · x))`, f32.

use crate::checkpoint::Checkpoint;
use crate::error::{ComputeError, LoadError};
use crate::kernel::{self, Path};
use crate::matrix::Matrix;
use crate::names::{Role, Tensor};
use crate::rows::Rows;

/// The weights of one expert.
pub(crate) struct Expert {
    /// Gate, `(inner, hidden)`
    w1: Matrix,
    /// Up, `(inner, hidden)`
    w3: Matrix,
    /// Down, `(hidden, inner)`
    w2: Matrix,
}

impl Expert {
    pub(crate) fn load(checkpoint: &Checkpoint, layer: u32, expert: u16) -> Result<Self, LoadError> {
        let load = |role| Matrix::load(&checkpoint.locate(Tensor::Expert(layer, expert, role))?);
        Ok(Self { w1: load(Role::Gate)?, w3: load(Role::Up)?, w2: load(Role::Down)? })
    }

    /// `(rows, hidden)` to the same shape, not yet weighted.
    pub(crate) fn apply(&self, x: &Rows) -> Result<Rows, ComputeError> {
        let mut gate = self.w1.apply(x)?; // (rows, inner)
        let up = self.w3.apply(x)?; // (rows, inner)
        kernel::gated(Path::widest(), (gate.values_mut(), up.values()));
        self.w2.apply(&gate)
    }

    /// Bytes in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.w1.bytes() + self.w3.bytes() + self.w2.bytes()
    }
}
