//! One expert: `down · (silu(gate · x) ⊙ (up · x))`, f32 (`MixtralExperts` of transformers 5.23; all four families have
//! this part, as routed experts, as shared ones and as layers without experts).

use std::path::PathBuf;
use std::sync::Arc;

use crate::arithmetic::Computing;
use crate::checkpoint::Checkpoint;
use crate::config::ModelConfig;
use crate::dtype::ElementType;
use crate::error::{ComputeError, LoadError};
use crate::kernel::{self, Path};
use crate::layout::Laid;
use crate::mapping::Span;
use crate::matrix::{Matrix, Operand};
use crate::names::{Role, Tensor};
use crate::resident::Residence;
use crate::rows::Rows;

/// Whoever has experts' weights: the files of a checkpoint, or a store of shards.
pub trait ExpertSource {
    /// The model.
    fn config(&self) -> &ModelConfig;

    /// What it is called, for whoever asks for an expert that it does not have.
    fn name(&self) -> &str;

    /// The three matrices of an expert that [the model has](ModelConfig::has_expert), in the order of [`Role::ALL`].
    ///
    /// # Errors
    /// What is wrong with the weights, or that they are not here.
    fn expert(&self, layer: u32, expert: u16) -> Result<[ExpertPart; 3], LoadError>;

    /// How its weights are multiplied.
    fn computing(&self) -> Computing {
        Computing::default()
    }

    /// Compares experts with the manifest, where they came with one, before anything is computed with them.
    ///
    /// # Errors
    /// [`LoadError::WrongHash`] names the file, [`LoadError::TensorMissing`] what is not here.
    fn check(&self, experts: &[(u32, u16)]) -> Result<(), LoadError> {
        let _ = experts;
        Ok(())
    }
}

impl<S: ExpertSource + ?Sized> ExpertSource for Arc<S> {
    fn config(&self) -> &ModelConfig {
        (**self).config()
    }

    fn name(&self) -> &str {
        (**self).name()
    }

    fn expert(&self, layer: u32, expert: u16) -> Result<[ExpertPart; 3], LoadError> {
        (**self).expert(layer, expert)
    }

    fn computing(&self) -> Computing {
        (**self).computing()
    }

    fn check(&self, experts: &[(u32, u16)]) -> Result<(), LoadError> {
        (**self).check(experts)
    }
}

/// One matrix of an expert, its bytes kept alive.
#[derive(Debug, Clone)]
pub struct ExpertPart {
    /// Its file, for what is wrong with it.
    pub(crate) path: PathBuf,
    /// Its name there.
    pub(crate) name: String,
    /// Its element type.
    pub(crate) dtype: ElementType,
    /// `(outputs, inner)` as it is computed with.
    pub(crate) shape: [usize; 2],
    /// Whether the bytes hold the columns, `(inner, outputs)`.
    pub(crate) transposed: bool,
    /// Values of the named tensor before its first.
    pub(crate) before: usize,
    /// Its bytes.
    pub(crate) bytes: Span,
}

/// The weights of one feed-forward part.
pub(crate) struct FeedForward {
    /// `(inner, hidden)`
    gate: Matrix,
    /// `(inner, hidden)`
    up: Matrix,
    /// `(hidden, inner)`
    down: Matrix,
}

impl FeedForward {
    /// Loads an expert.
    pub(crate) fn expert(
        source: &(impl ExpertSource + ?Sized),
        layer: u32,
        expert: u16,
    ) -> Result<Self, LoadError> {
        let [mut gate, mut up, mut down] = source.expert(layer, expert)?;
        let spans = [gate.bytes, up.bytes, down.bytes];
        [gate.bytes, up.bytes, down.bytes] = Residence::of_process().settle(spans);
        let computing = source.computing();
        let load = |part| Matrix::load_part(part, &computing);
        Ok(Self { gate: load(&gate)?, up: load(&up)?, down: load(&down)? })
    }

    /// Loads a part that is no expert's.
    pub(crate) fn load(checkpoint: &Checkpoint, tensor: impl Fn(Role) -> Tensor) -> Result<Self, LoadError> {
        let load = |role| Matrix::load(&checkpoint.locate(tensor(role))?, checkpoint.computing());
        Ok(Self { gate: load(Role::Gate)?, up: load(Role::Up)?, down: load(Role::Down)? })
    }

    /// `(rows, hidden)` to the same shape, not yet weighted.
    pub(crate) fn apply(&self, x: &Operand<'_>) -> Result<Rows, ComputeError> {
        let mut gate = self.gate.multiply(x)?; // (rows, inner)
        let up = self.up.multiply(x)?; // (rows, inner)
        kernel::gated(Path::widest(), (gate.values_mut(), up.values()));
        self.down.apply(&gate)
    }

    /// Whether quantised activations are enough for it.
    pub(crate) fn takes_activations(&self) -> bool {
        self.gate.takes_activations() && self.up.takes_activations()
    }

    /// Bytes in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.gate.bytes() + self.up.bytes() + self.down.bytes()
    }
}

impl ExpertPart {
    /// Finds all values finite, and lays the rows out.
    pub(crate) fn lay(&self) -> Result<Laid, LoadError> {
        let [outputs, inner] = self.shape;
        let width = if self.transposed { outputs } else { inner };
        let bytes = self.bytes.bytes();
        let rows = (outputs * inner).checked_div(width).unwrap_or(0);
        let expected = self.dtype.row_bytes(width).and_then(|row| row.checked_mul(rows));
        if expected != Some(bytes.len()) {
            let (dtype, len) = (self.dtype.name(), bytes.len());
            let reason = format!(
                "tensor {}: {outputs} rows of {inner} values of {dtype} are not {len} bytes",
                self.name
            );
            return Err(LoadError::Malformed { file: self.path.clone(), reason });
        }
        if let Some(at) = crate::quant::first_non_finite(self.dtype, bytes) {
            let (file, tensor) = (self.path.clone(), self.name.clone());
            return Err(LoadError::NonFinite { file, tensor, index: self.before + at });
        }
        let laid = Laid { dtype: self.dtype, shape: [rows, width], bytes: self.bytes.clone() };
        Ok(if self.transposed { laid.turned(rows) } else { laid })
    }
}
