//! The dense part of a model, which stays at the router: embedding, attention with its cache, gate, logits.

use crate::attention::{Attention, Cache, Place};
use crate::checkpoint::Checkpoint;
use crate::config::ModelConfig;
use crate::error::{ComputeError, LoadError};
use crate::expert::FeedForward;
use crate::gate::Gate;
use crate::kernel::sigmoid;
use crate::matrix::{Matrix, Operand};
use crate::names::Tensor;
use crate::norm::Norm;
use crate::rope::{Rope, Rotations};
use crate::routing::Routing;
use crate::rows::Rows;

/// Everything of a model but its experts.
pub struct Decoder {
    config: ModelConfig,
    /// `(vocab, hidden)`
    embedding: Matrix,
    layers: Vec<Layer>,
    norm: Norm,
    /// `(vocab, hidden)`; the embedding itself where the two are tied
    head: Option<Matrix>,
    rope: Rope,
}

struct Layer {
    attention_norm: Norm,
    attention: Attention,
    feed_norm: Norm,
    feed: LayerFeed,
}

/// What a layer has after attention.
enum LayerFeed {
    Dense(FeedForward),
    Experts { gate: Gate, shared: Option<SharedExpert> },
}

/// The expert that every row uses, with the gate of its own where it has one.
struct SharedExpert {
    feed: FeedForward,
    /// `(1, hidden)`
    gate: Option<Matrix>,
}

/// What becomes of rows after the attention of a layer.
#[derive(Debug, Clone, PartialEq)]
pub enum Feed {
    /// The layer has no experts; its feed-forward part was added to the rows.
    Done,
    /// The rows go to experts.
    Experts {
        /// What the experts get, `(rows, hidden)`.
        normed: Rows,
        /// Where each row goes.
        routing: Routing,
    },
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
        checkpoint.check_dense()?;
        let config = checkpoint.config().clone();
        let norm = |tensor| Norm::load(&checkpoint.locate(tensor)?, config.norm, config.norm_eps);
        let layer = |layer| -> Result<Layer, LoadError> {
            Ok(Layer {
                attention_norm: norm(Tensor::AttentionNorm(layer))?,
                attention: Attention::load(checkpoint, layer)?,
                feed_norm: norm(Tensor::FeedNorm(layer))?,
                feed: LayerFeed::load(checkpoint, layer)?,
            })
        };
        let matrix = |tensor| Matrix::load(&checkpoint.locate(tensor)?, checkpoint.computing());
        let table = |tensor| Matrix::load_table(&checkpoint.locate(tensor)?, checkpoint.computing());
        Ok(Self {
            embedding: if config.tied { matrix(Tensor::Embedding)? } else { table(Tensor::Embedding)? },
            layers: (0..config.layers).map(layer).collect::<Result<_, _>>()?,
            norm: norm(Tensor::Norm)?,
            head: if config.tied { None } else { Some(matrix(Tensor::Head)?) },
            rope: Rope::new(&config.rope),
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
            self.layers.iter().map(|layer| layer.attention.bytes() + layer.feed.bytes()).sum();
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
            let row = rows.row_mut(at);
            if !usize::try_from(*id).is_ok_and(|id| self.embedding.row(id, row)) {
                let vocabulary = u32::try_from(self.embedding.outputs()).unwrap_or(u32::MAX);
                return Err(ComputeError::TokenId { id: *id, vocabulary });
            }
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

    /// What becomes of `(rows, hidden)` after the attention of a layer. A dense layer adds to them and is done. For an
    /// MoE layer the experts' answer, with what [the shared expert](Self::shared) says [added](Rows::add) to it, is to
    /// be added to `rows`.
    ///
    /// # Errors
    /// [`ComputeError::NoSuchLayer`], [`ComputeError::Shape`], [`ComputeError::NonFinite`].
    pub fn gate(&self, layer: u32, rows: &mut Rows) -> Result<Feed, ComputeError> {
        let found = self.layers.get(self.index(layer)?).ok_or_else(|| self.no_such(layer))?;
        let normed = found.feed_norm.apply(rows)?;
        match &found.feed {
            LayerFeed::Dense(feed) => {
                rows.add(&feed.apply(&Operand::of(&normed))?)?;
                Ok(Feed::Done)
            }
            LayerFeed::Experts { gate, .. } => {
                let routing = gate.route(&normed)?;
                Ok(Feed::Experts { normed, routing })
            }
        }
    }

    /// What the shared expert of an MoE layer makes of normed rows, `(rows, hidden)`; `None` where there is none. It
    /// can be computed while the routed experts are waited for.
    ///
    /// # Errors
    /// [`ComputeError::NoSuchLayer`], [`ComputeError::Shape`].
    pub fn shared(&self, layer: u32, normed: &Rows) -> Result<Option<Rows>, ComputeError> {
        let found = self.layers.get(self.index(layer)?).ok_or_else(|| self.no_such(layer))?;
        match &found.feed {
            LayerFeed::Experts { shared: Some(shared), .. } => shared.apply(normed).map(Some),
            _ => Ok(None),
        }
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

impl LayerFeed {
    fn load(checkpoint: &Checkpoint, layer: u32) -> Result<Self, LoadError> {
        let config = checkpoint.config();
        if config.is_dense(layer) {
            return FeedForward::load(checkpoint, |role| Tensor::Dense(layer, role)).map(Self::Dense);
        }
        let matrix = |tensor| Matrix::load(&checkpoint.locate(tensor)?, checkpoint.computing());
        let shared = match config.shared {
            None => None,
            Some(shared) => Some(SharedExpert {
                feed: FeedForward::load(checkpoint, |role| Tensor::Shared(layer, role))?,
                gate: if shared.gated { Some(matrix(Tensor::SharedGate(layer))?) } else { None },
            }),
        };
        let found = checkpoint.locate(Tensor::Gate(layer))?;
        let gate = Gate::load((&found, checkpoint.computing()), config.top_k, config.gate.clone())?;
        Ok(Self::Experts { gate, shared })
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Dense(feed) => feed.bytes(),
            Self::Experts { gate, shared } => {
                let shared = shared.as_ref();
                let own = shared.map_or(0, |s| s.feed.bytes() + s.gate.as_ref().map_or(0, Matrix::bytes));
                gate.bytes() + own
            }
        }
    }
}

impl SharedExpert {
    /// `(rows, hidden)` to the same shape, each row times the sigmoid of its gate.
    fn apply(&self, x: &Rows) -> Result<Rows, ComputeError> {
        let x = Operand::of(x);
        let mut y = self.feed.apply(&x)?;
        if let Some(gate) = &self.gate {
            let scores = gate.multiply(&x)?; // (rows, 1)
            for (at, score) in scores.values().iter().enumerate() {
                let weight = sigmoid(*score);
                y.row_mut(at).iter_mut().for_each(|v| *v *= weight);
            }
        }
        Ok(y)
    }
}
