//! A model as the router holds it: dense weights, vocabulary and what nodes and clients need to know of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use counterfoil_model::{Checkpoint, ComputeError, Decoder, LoadError, ModelConfig, Rows, Vocabulary};
use counterfoil_session::frame::Encoding;
use counterfoil_spec::ids::ManifestId;
use counterfoil_spec::payload::ModelPublished;
use tokio::task::JoinHandle;

use crate::office::Office;
use crate::placement::Shape;
use crate::publish;
use crate::rows_as::RowsAs;
use crate::serve::StartError;

/// From this many bytes of dense weights on, arithmetic is kept off the threads that answer sockets.
const HEAVY_BYTES: u64 = 64 * 1024 * 1024;
/// Rows that tokens of a few requests are.
const FEW_ROWS: usize = 8;

/// A loaded model.
pub(crate) struct Engine {
    name: String,
    manifest: ManifestId,
    decoder: Decoder,
    vocabulary: Option<Vocabulary>,
    shape: Shape,
    expert_bytes: Vec<u64>,
    /// Requests for it since the router began.
    asked: AtomicU32,
    facts: ModelPublished,
    heavy: bool,
    /// How rows travel, by layer.
    rows_as: Vec<Encoding>,
}

impl Engine {
    /// Loads everything but the experts. A checkpoint without a tokenizer can compute logits, not answer.
    ///
    /// # Errors
    /// [`LoadError`] names the file and the tensor.
    pub(crate) fn load(checkpoint: &Checkpoint, rows_as: RowsAs) -> Result<Self, LoadError> {
        let decoder = Decoder::load(checkpoint)?;
        let config = checkpoint.config();
        let shape = Shape {
            manifest: checkpoint.manifest_id(),
            moe_layers: config.moe_layers().collect(),
            experts: config.experts,
        };
        Ok(Self {
            name: checkpoint.name().to_owned(),
            manifest: checkpoint.manifest_id(),
            vocabulary: vocabulary(checkpoint)?,
            expert_bytes: checkpoint.manifest().experts().map(|(_, record)| record.size).collect(),
            asked: AtomicU32::new(0),
            facts: publish::facts(
                checkpoint.manifest(),
                checkpoint.manifest_id(),
                checkpoint.name().to_owned(),
            ),
            shape,
            heavy: decoder.weight_bytes() > HEAVY_BYTES,
            decoder,
            rows_as: rows_as.of(checkpoint),
        })
    }

    /// The name that clients ask for.
    #[must_use]
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Its id.
    #[must_use]
    pub(crate) const fn manifest(&self) -> ManifestId {
        self.manifest
    }

    /// The dense part.
    #[must_use]
    pub(crate) const fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// The tokenizer and chat template, where they were loaded.
    #[must_use]
    pub(crate) const fn vocabulary(&self) -> Option<&Vocabulary> {
        self.vocabulary.as_ref()
    }

    /// Its configuration.
    #[must_use]
    pub(crate) fn config(&self) -> &ModelConfig {
        self.decoder.config()
    }

    /// What a placement must cover.
    #[must_use]
    pub(crate) const fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Bytes that each expert takes at a node, layer by layer.
    #[must_use]
    pub(crate) fn expert_bytes(&self) -> &[u64] {
        &self.expert_bytes
    }

    /// How the rows of a layer travel to its experts.
    #[must_use]
    pub(crate) fn rows_as(&self, layer: u32) -> Encoding {
        let at = usize::try_from(layer).unwrap_or(usize::MAX);
        self.rows_as.get(at).copied().unwrap_or_default()
    }

    /// One more request for it.
    pub(crate) fn ask(&self) {
        self.asked.fetch_add(1, Ordering::Relaxed);
    }

    /// How much it is asked for, against the other models here.
    #[must_use]
    pub(crate) fn demand(&self) -> u32 {
        self.asked.load(Ordering::Relaxed).saturating_add(1)
    }

    /// What the log is to say of it; nothing where it says it already. A model that was published under a name keeps
    /// that name, wherever its files lie.
    pub(crate) fn publish(&mut self, known: Option<&ModelPublished>) -> Option<ModelPublished> {
        if let Some(known) = known {
            self.name.clone_from(&known.name);
        }
        let fresh = ModelPublished {
            source: known.and_then(|known| known.source.clone()),
            name: self.name.clone(),
            ..self.facts.clone()
        };
        (known != Some(&fresh)).then_some(fresh)
    }

    /// Whether its arithmetic takes so long that it has a thread of its own, and holds up nothing else.
    pub(crate) const fn is_heavy(&self) -> bool {
        self.heavy
    }

    /// What the shared experts of a layer make of rows. That of many rows goes on while their routed experts are waited
    /// for; that of a few is there sooner than another thread would be, and an answer that comes meanwhile waits.
    pub(crate) fn shared(self: &Arc<Self>, layer: u32, normed: &Arc<Rows>) -> Beside {
        if !self.heavy || self.config().shared.is_none() || normed.len() <= FEW_ROWS {
            return Beside::Done(self.decoder.shared(layer, normed));
        }
        let (engine, normed) = (Arc::clone(self), Arc::clone(normed));
        Beside::Running(tokio::task::spawn_blocking(move || engine.decoder.shared(layer, &normed)))
    }
}

/// Loads all models, each under a name of its own.
pub(crate) fn load_all(
    office: &Office,
    checkpoints: &[Arc<Checkpoint>],
    rows_as: RowsAs,
) -> Result<(Vec<Arc<Engine>>, Vec<ModelPublished>), StartError> {
    let mut engines: Vec<Arc<Engine>> = Vec::with_capacity(checkpoints.len());
    let mut fresh = Vec::new();
    for checkpoint in checkpoints {
        let mut engine = Engine::load(checkpoint, rows_as)?;
        let known = office.books().roster.model(&engine.manifest()).cloned();
        fresh.extend(engine.publish(known.as_ref()));
        if engines.iter().any(|other| other.name() == engine.name()) {
            return Err(StartError::SameName(engine.name().to_owned()));
        }
        engines.push(Arc::new(engine));
    }
    if engines.is_empty() { Err(StartError::NoModel) } else { Ok((engines, fresh)) }
}

/// Arithmetic beside a wait.
pub(crate) enum Beside {
    Done(Result<Option<Rows>, ComputeError>),
    Running(JoinHandle<Result<Option<Rows>, ComputeError>>),
}

impl Beside {
    /// What came of it; `None` where there is nothing to compute.
    ///
    /// # Errors
    /// As [`Decoder::shared`].
    pub(crate) async fn take(self) -> Result<Option<Rows>, ComputeError> {
        match self {
            Self::Done(done) => done,
            Self::Running(task) => match task.await {
                Ok(done) => done,
                Err(e) if e.is_panic() => std::panic::resume_unwind(e.into_panic()),
                // Only a runtime that is going away drops its tasks.
                Err(_) => Ok(None),
            },
        }
    }
}

/// A checkpoint without a tokenizer is no fault; one whose tokenizer cannot be read is.
fn vocabulary(checkpoint: &Checkpoint) -> Result<Option<Vocabulary>, LoadError> {
    match checkpoint.vocabulary() {
        Ok(vocabulary) => Ok(Some(vocabulary)),
        Err(LoadError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Engine({})", self.name)
    }
}
