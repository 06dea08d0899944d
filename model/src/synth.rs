//! Random weights in the true shapes of published models, for measuring what no download is needed for.
//!
//! ```text
//! weights of a tensor   BLAKE3 derive_key("counterfoil v1 synth", seed (u64 LE) ‖ name), as much output as is needed,
//!                       of which the scales of blocks and the exponents of floats are replaced
//! ```
//!
//! Norms are 1, so activations stay finite through all layers. The same seed gives the same bytes on every machine.

mod blocks;
mod file;
mod shapes;
#[cfg(test)]
mod tests;

use std::path::Path;

use counterfoil_spec::ids::ManifestId;

use crate::config::ModelConfig;
use crate::dtype::ElementType;
use crate::error::LoadError;
use crate::manifest::Progress;
use crate::names::{Tensor, canonical};
use crate::split::{Existing, Quant, Sink, Source, SplitError, SplitFolder, Work, is_large};
use crate::vocabulary::VocabularyFiles;

pub use shapes::Like;

/// What to make.
#[derive(Debug, Clone, PartialEq)]
pub struct Synthetic {
    config: ModelConfig,
    like: Like,
    dtype: ElementType,
    seed: u64,
}

/// A number of layers that the model cannot have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{layers} layers; {} has {most}, and {least} are the fewest with experts", like.name())]
pub struct NoSuchDepth {
    like: Like,
    layers: u32,
    least: u32,
    most: u32,
}

impl Synthetic {
    /// A model like a published one, with all of its layers or only the first ones.
    ///
    /// # Errors
    /// [`NoSuchDepth`].
    pub fn new(like: Like, layers: Option<u32>, dtype: ElementType, seed: u64) -> Result<Self, NoSuchDepth> {
        let mut config = like.config();
        let most = config.layers;
        let least = 1 + u32::try_from(config.dense.as_ref().map_or(0, |d| d.layers.len())).unwrap_or(0);
        let layers = layers.unwrap_or(most);
        if !(least..=most).contains(&layers) {
            return Err(NoSuchDepth { like, layers, least, most });
        }
        config.layers = layers;
        Ok(Self { config, like, dtype, seed })
    }

    /// Its configuration.
    #[must_use]
    pub const fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Bytes of weights that it will have.
    ///
    /// # Errors
    /// None for the shapes that are known here.
    pub fn bytes(&self) -> Result<u64, SplitError> {
        let work = Work::plan(self)?;
        Ok(work.dense_bytes().saturating_add(work.shard_bytes()))
    }

    /// Writes a split folder.
    ///
    /// # Errors
    /// [`SplitError`]; then the folder has no manifest, and the same call goes on where it ended.
    pub fn write(
        &self,
        (folder, existing): (&Path, Existing),
        progress: Progress<'_>,
    ) -> Result<ManifestId, SplitError> {
        let job =
            format!("synth {} {} {:?} {}\n", self.like.name(), self.config.layers, self.dtype, self.seed);
        let work = Work::plan(self)?;
        let folder = SplitFolder::begin(folder, &job, existing)?;
        let manifest = work.write(folder, VocabularyFiles::default().hash(), progress)?;
        Ok(manifest.id())
    }
}

impl Source for Synthetic {
    fn config(&self) -> &ModelConfig {
        &self.config
    }

    fn dtype(&self, tensor: Tensor) -> Result<ElementType, SplitError> {
        let [_, inner] = tensor.shape(&self.config);
        Ok(match self.dtype {
            _ if !is_large(tensor) => ElementType::F32,
            ElementType::Q4K => Quant::Q4K.of(tensor, inner, ElementType::F32),
            dtype if dtype.row_bytes(inner).is_some() => dtype,
            _ => Quant::Q8_0.of(tensor, inner, ElementType::F32),
        })
    }

    fn write(&self, tensor: Tensor, dtype: ElementType, sink: Sink<'_>) -> Result<(), SplitError> {
        let [outputs, _] = tensor.shape(&self.config);
        self.stream((tensor, &canonical::name(tensor)), (dtype, outputs), sink)
    }
}

impl Synthetic {
    /// Hands over rows like those of a tensor, under the name that their bytes follow from.
    fn stream(
        &self,
        (tensor, name): (Tensor, &str),
        (dtype, rows): (ElementType, usize),
        sink: Sink<'_>,
    ) -> Result<(), SplitError> {
        let [_, inner] = tensor.shape(&self.config);
        let row = dtype.row_bytes(inner).filter(|row| *row > 0).ok_or_else(|| whole_rows(name))?;
        let mut left = row.saturating_mul(rows);
        let mut random = random(self.seed, name);
        let mut piece = vec![0; (PIECE_BYTES / dtype.block_bytes() * dtype.block_bytes()).min(left)];
        while left > 0 {
            piece.truncate(left);
            fill(tensor, dtype, inner, &mut random, &mut piece);
            sink(&piece)?;
            left -= piece.len();
        }
        Ok(())
    }
}

/// The next bytes of a tensor.
fn fill(
    tensor: Tensor,
    dtype: ElementType,
    inner: usize,
    random: &mut blake3::OutputReader,
    bytes: &mut [u8],
) {
    match tensor {
        Tensor::Norm
        | Tensor::AttentionNorm(_)
        | Tensor::FeedNorm(_)
        | Tensor::LatentNorm(_)
        | Tensor::QueryLatentNorm(_) => {
            for value in bytes.chunks_exact_mut(size_of::<f32>()) {
                value.copy_from_slice(&1_f32.to_le_bytes());
            }
        }
        _ => {
            random.fill(bytes);
            blocks::shape(dtype, rms(tensor, inner), bytes);
        }
    }
}

/// Such that a row of products of values near 1 is near 1.
fn rms(tensor: Tensor, inner: usize) -> f32 {
    match tensor {
        Tensor::Embedding => 1.0,
        Tensor::QueryBias(_) | Tensor::KeyBias(_) | Tensor::ValueBias(_) => 0.1,
        _ => {
            let inner = u16::try_from(inner).unwrap_or(u16::MAX);
            1.0 / f32::from(inner).sqrt()
        }
    }
}

fn random(seed: u64, name: &str) -> blake3::OutputReader {
    let mut hasher = blake3::Hasher::new_derive_key("counterfoil v1 synth");
    hasher.update(&seed.to_le_bytes());
    hasher.update(name.as_bytes());
    hasher.finalize_xof()
}

fn whole_rows(name: &str) -> SplitError {
    SplitError::Load(LoadError::Malformed {
        file: "synth".into(),
        reason: format!("{name} has rows of part of a block"),
    })
}

/// How much is made at once.
const PIECE_BYTES: usize = 1024 * 1024;
