//! The dense part of a model, which stays at the router: embedding, attention with its cache, gate, logits.

use crate::attention::{Attention, Cache, Place};
use crate::checkpoint::Checkpoint;
use crate::config::ModelConfig;
use crate::error::{ComputeError, LoadError};
use crate::gate::Gate;
use crate::matrix::Matrix;
use crate::names::Tensor;
use crate::norm::RmsNorm;
use crate::rope::{Rope, Rotations};
use crate::routing::Routing;
use crate::rows::Rows;

/// Everything of a model but its experts.
pub struct Decoder {
    config: ModelConfig,
    /// `(vocab, hidden)`
    embedding: Matrix,
    layers: Vec<Layer>,
    norm: RmsNorm,
    /// `(vocab, hidden)`; the embedding itself where the two are tied
    head: Option<Matrix>,
    rope: Rope,
}

struct Layer {
    attention_norm: RmsNorm,
    attention: Attention,
    gate_norm: RmsNorm,
    gate: Gate,
}

/// What is remembered of one request: keys and values of its positions in every layer, f32.
#[derive(Debug, Clone)]
pub struct Sequence {
    room: usize,
    position: usize,
    caches: Vec<Cache>,
    rotations: Rotations,
}

impl Sequence {
    /// Positions that are finished: the rows of all steps that were [advanced](Decoder::advance) over.
    #[must_use]
    pub fn position(&self) -> usize {
        self.position
    }

    /// Positions at most.
    #[must_use]
    pub fn room(&self) -> usize {
        self.room
    }
}

impl Decoder {
    /// Loads the dense weights.
    ///
    /// # Errors
    /// What is wrong with the weights.
    pub fn load(checkpoint: &Checkpoint) -> Result<Self, LoadError> {
        let config = checkpoint.config().clone();
        let norm = |tensor| RmsNorm::load(&checkpoint.locate(tensor)?, config.norm_eps);
        let layer = |layer| -> Result<Layer, LoadError> {
            Ok(Layer {
                attention_norm: norm(Tensor::AttentionNorm(layer))?,
                attention: Attention::load(checkpoint, layer)?,
                gate_norm: norm(Tensor::FeedNorm(layer))?,
                gate: Gate::load(&checkpoint.locate(Tensor::Gate(layer))?, config.top_k)?,
            })
        };
        let matrix = |tensor| Matrix::load(&checkpoint.locate(tensor)?);
        Ok(Self {
            embedding: matrix(Tensor::Embedding)?,
            layers: (0..config.layers).map(layer).collect::<Result<_, _>>()?,
            norm: norm(Tensor::Norm)?,
            head: if config.tied { None } else { Some(matrix(Tensor::Head)?) },
            rope: Rope::new(config.rope.theta, config.rope.dims),
            config,
        })
    }

    /// The model's configuration.
    #[must_use]
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Bytes of weights in memory.
    #[must_use]
    pub fn weight_bytes(&self) -> u64 {
        let layers: usize =
            self.layers.iter().map(|layer| layer.attention.bytes() + layer.gate.bytes()).sum();
        let all = layers + self.embedding.bytes() + self.head.as_ref().map_or(0, Matrix::bytes);
        u64::try_from(all).unwrap_or(u64::MAX)
    }

    /// An empty sequence with room for this many positions; memory is taken as they are reached.
    ///
    /// # Errors
    /// [`ComputeError::ContextTooLong`].
    pub fn begin(&self, max_positions: usize) -> Result<Sequence, ComputeError> {
        if max_positions > self.config.context {
            return Err(ComputeError::ContextTooLong { wanted: max_positions, context: self.config.context });
        }
        Ok(Sequence {
            room: max_positions,
            position: 0,
            caches: vec![Cache::default(); self.layers.len()],
            rotations: Rotations::default(),
        })
    }

    /// Token ids to `(ids, hidden)`.
    ///
    /// # Errors
    /// [`ComputeError::TokenId`].
    pub fn embed(&self, ids: &[u32]) -> Result<Rows, ComputeError> {
        let mut rows = Rows::zeros(ids.len(), self.config.hidden);
        for (at, id) in ids.iter().enumerate() {
            let row = usize::try_from(*id).ok().and_then(|id| self.embedding.row(id)).ok_or_else(|| {
                let vocabulary = u32::try_from(self.embedding.outputs()).unwrap_or(u32::MAX);
                ComputeError::TokenId { id: *id, vocabulary }
            })?;
            rows.row_mut(at).copy_from_slice(row);
        }
        Ok(rows)
    }

    /// Norm, attention and residual of one layer over the next rows of one sequence, `(rows, hidden)` in place.
    ///
    /// # Errors
    /// As [`Self::attend_batch`].
    pub fn attend(&self, sequence: &mut Sequence, layer: u32, rows: &mut Rows) -> Result<(), ComputeError> {
        let count = rows.len();
        self.attend_batch(&mut [(sequence, count)], layer, rows)
    }

    /// The same over several sequences at once, each with how many of the rows are its next ones, in order. Every
    /// row gets the bits that it would get alone.
    ///
    /// # Errors
    /// [`ComputeError::NoSuchLayer`], [`ComputeError::SequenceFull`], [`ComputeError::Shape`]; then no sequence
    /// was changed.
    pub fn attend_batch(
        &self,
        sequences: &mut [(&mut Sequence, usize)],
        layer: u32,
        rows: &mut Rows,
    ) -> Result<(), ComputeError> {
        let index = self.index(layer)?;
        let found = self.layers.get(index).ok_or_else(|| self.no_such(layer))?;
        let total: usize = sequences.iter().map(|(_, count)| count).sum();
        if total != rows.len() {
            return Err(ComputeError::Shape {
                what: "rows of the sequences",
                expected: rows.len(),
                found: total,
            });
        }
        for (sequence, count) in sequences.iter() {
            let wanted = sequence.position + count;
            if wanted > sequence.room {
                return Err(ComputeError::SequenceFull { room: sequence.room, wanted });
            }
        }
        let normed = found.attention_norm.apply(rows)?;
        let mut places = Vec::with_capacity(sequences.len());
        let mut first = 0;
        for (sequence, count) in sequences.iter_mut() {
            let Sequence { position, caches, rotations, .. } = &mut **sequence;
            self.rope.extend(rotations, *position + *count);
            let cache = caches.get_mut(index).ok_or_else(|| self.no_such(layer))?;
            places.push(Place { first, rows: *count, position: *position, cache, rotations });
            first += *count;
        }
        rows.add(&found.attention.apply(&normed, &self.rope, &mut places)?)
    }

    /// What an MoE layer's experts get: the normed rows `(rows, hidden)`, and where each goes. Their answer is to be
    /// [added](Rows::add) to `rows`.
    ///
    /// # Errors
    /// [`ComputeError::NoSuchLayer`], [`ComputeError::Shape`], [`ComputeError::NonFinite`].
    pub fn gate(&self, layer: u32, rows: &Rows) -> Result<(Rows, Routing), ComputeError> {
        let found = self.layers.get(self.index(layer)?).ok_or_else(|| self.no_such(layer))?;
        let normed = found.gate_norm.apply(rows)?;
        let routing = found.gate.route(&normed)?;
        Ok((normed, routing))
    }

    /// Ends a step: its `count` rows went through every layer and are now part of the sequence. Without it the next
    /// step starts at the same position, as if this one had not been.
    pub fn advance(&self, sequence: &mut Sequence, count: usize) {
        sequence.position = (sequence.position + count).min(sequence.room);
    }

    /// Final norm and output matrix: `(rows, hidden)` to `(rows, vocab)`. Pass only the rows that are wanted.
    ///
    /// # Errors
    /// [`ComputeError::Shape`], [`ComputeError::NonFinite`].
    pub fn logits(&self, rows: &Rows) -> Result<Rows, ComputeError> {
        let normed = self.norm.apply(rows)?;
        let logits = self.head.as_ref().unwrap_or(&self.embedding).apply(&normed)?;
        logits.check_finite("logits")?;
        Ok(logits)
    }

    fn index(&self, layer: u32) -> Result<usize, ComputeError> {
        usize::try_from(layer).map_err(|_| self.no_such(layer))
    }

    fn no_such(&self, layer: u32) -> ComputeError {
        ComputeError::NoSuchLayer { layer, layers: self.config.layers }
    }
}
