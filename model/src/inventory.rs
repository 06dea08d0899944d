//! What a model consists of and what of it is missing, without loading it: for whoever wants to know what it takes.

use std::path::{Path, PathBuf};

use counterfoil_spec::ids::ManifestId;

use crate::checkpoint::{Checkpoint, read};
use crate::config::ModelConfig;
use crate::dtype::ElementType;
use crate::error::LoadError;
use crate::gguf;
use crate::manifest::wide;
use crate::names::{Naming, Role, Tensor, canonical};
use crate::safetensors;
use crate::split::MANIFEST_FILE;
use crate::store;
use crate::unused::unused;
use crate::vocabulary::VocabularyFiles;
use crate::weights::{Located, Weights};

/// The parts of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Inventory {
    /// How it lies on disk.
    pub container: &'static str,
    /// Its configuration.
    pub config: ModelConfig,
    /// Bytes of embedding, last norm and head.
    pub ends_bytes: u64,
    /// Each layer, ascending.
    pub layers: Vec<LayerSize>,
    /// Matrices and vectors by element type, those of experts apart.
    pub types: Vec<TypeSize>,
    /// What is not there, in words; a tensor of experts by the name that the file should give it.
    pub missing: Vec<String>,
    /// Tensors that are there and have no place in the model that the configuration describes, by name.
    pub unused: Vec<String>,
    /// The manifest's id, where it came with the weights.
    pub manifest: Option<ManifestId>,
}

/// One layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerSize {
    /// Which.
    pub layer: u32,
    /// Bytes of all but its routed experts.
    pub dense_bytes: u64,
    /// How many routed experts it has here.
    pub experts: u32,
    /// Bytes of its largest routed expert.
    pub expert_bytes: u64,
    /// Bytes of all its routed experts.
    pub experts_bytes: u64,
}

/// What is stored in one element type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TypeSize {
    /// The type.
    pub dtype: ElementType,
    /// Whether it is of routed experts.
    pub of_experts: bool,
    /// How many tensors.
    pub tensors: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What fits a node of some memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fit {
    /// Experts of the model's largest size.
    pub experts: u64,
    /// Whole layers of them.
    pub layers: u64,
    /// Such nodes that hold every expert once; `None` where not even one expert fits.
    pub nodes: Option<u64>,
}

impl Inventory {
    /// Looks at a Hugging Face folder, a GGUF file or a split folder, whole or not.
    ///
    /// # Errors
    /// [`LoadError`] where not even its configuration can be read, or a file that is there is malformed.
    pub fn open(path: &Path) -> Result<Self, LoadError> {
        if path.join(MANIFEST_FILE).is_file() {
            return Self::split(path);
        }
        if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf")) {
            let opened = gguf::open(path)?;
            let mut found = Self::of(opened.config, &opened.weights, Naming::Gguf, "gguf");
            found.texts(&opened.vocabulary);
            return Ok(found);
        }
        let config = ModelConfig::read(path)?;
        let (weights, absent) = safetensors::open_present(path)?;
        let mut found = Self::of(config, &weights, Naming::Hf, "hugging face folder");
        found.missing.splice(0..0, absent.iter().map(|file| format!("file {}", file.display())));
        found.texts(&VocabularyFiles::in_folder(path)?);
        Ok(found)
    }

    /// Of the model inside this program.
    ///
    /// # Errors
    /// Never in a program that was built and tested whole.
    pub fn guide() -> Result<Self, LoadError> {
        let guide = Checkpoint::guide()?;
        let mut found = Self::of(guide.config().clone(), guide.weights(), Naming::Hf, "inside this program");
        found.texts(guide.vocabulary_files());
        Ok(found)
    }

    fn split(path: &Path) -> Result<Self, LoadError> {
        let (manifest, weights) = store::open(path)?;
        let mut found = Self::of(manifest.config().clone(), &weights, Naming::Canonical, "split folder");
        found.manifest = Some(manifest.id());
        found.texts(&VocabularyFiles::in_folder(path)?);
        Ok(found)
    }

    fn of(config: ModelConfig, weights: &Weights, naming: Naming, container: &'static str) -> Self {
        let none = |layer| LayerSize { layer, dense_bytes: 0, experts: 0, expert_bytes: 0, experts_bytes: 0 };
        let layers = (0..config.layers).map(none).collect();
        let mut found = Self {
            container,
            config,
            ends_bytes: 0,
            layers,
            types: Vec::new(),
            missing: Vec::new(),
            unused: Vec::new(),
            manifest: None,
        };
        found.unused = unused(&found.config, weights, naming);
        for tensor in Tensor::dense(&found.config) {
            let Some(bytes) = found.enter(weights, naming, tensor) else { continue };
            match layer_of(tensor).and_then(|layer| found.layers.get_mut(layer)) {
                Some(layer) => layer.dense_bytes = layer.dense_bytes.saturating_add(bytes),
                None => found.ends_bytes = found.ends_bytes.saturating_add(bytes),
            }
        }
        for (layer, expert) in found.config.all_experts() {
            let part =
                |found: &mut Self, role| found.enter(weights, naming, Tensor::Expert(layer, expert, role));
            let parts = Role::ALL.map(|role| part(&mut found, role));
            let at = usize::try_from(layer).ok().and_then(|at| found.layers.get_mut(at));
            if let (Some(layer), [Some(gate), Some(up), Some(down)]) = (at, parts) {
                let bytes = gate.saturating_add(up).saturating_add(down);
                layer.experts += 1;
                layer.expert_bytes = layer.expert_bytes.max(bytes);
                layer.experts_bytes = layer.experts_bytes.saturating_add(bytes);
            }
        }
        found
    }

    /// The bytes of a tensor; one that is not there is written down.
    fn enter(&mut self, weights: &Weights, naming: Naming, tensor: Tensor) -> Option<u64> {
        let located = match weights.locate(&self.config, naming, tensor) {
            Ok(located) => located,
            Err(LoadError::TensorMissing { .. }) => {
                let place = naming.places(&self.config, tensor).into_iter().next();
                let name = place.map_or_else(|| canonical::name(tensor), |place| place.name);
                let line = format!("tensor {name}");
                // Several experts may lie in one tensor.
                if self.missing.last() != Some(&line) {
                    self.missing.push(line);
                }
                return None;
            }
            Err(e) => {
                self.missing.push(e.to_string());
                return None;
            }
        };
        let bytes = bytes_of(&located);
        let of_experts = matches!(tensor, Tensor::Expert(..));
        let dtype = located.stored.dtype;
        match self.types.iter_mut().find(|t| (t.dtype, t.of_experts) == (dtype, of_experts)) {
            Some(size) => {
                size.tensors += 1;
                size.bytes = size.bytes.saturating_add(bytes);
            }
            None => self.types.push(TypeSize { dtype, of_experts, tensors: 1, bytes }),
        }
        Some(bytes)
    }

    fn texts(&mut self, files: &VocabularyFiles) {
        if files.tokenizer.is_none() {
            self.missing.push("tokenizer: it computes logits and cannot talk".to_owned());
        }
        if !files.has_template() {
            self.missing.push("chat template: it completes text and holds no conversation".to_owned());
        }
    }

    /// Bytes that the router holds.
    #[must_use]
    pub fn dense_bytes(&self) -> u64 {
        self.layers.iter().map(|layer| layer.dense_bytes).fold(self.ends_bytes, u64::saturating_add)
    }

    /// Bytes of all routed experts.
    #[must_use]
    pub fn experts_bytes(&self) -> u64 {
        self.layers.iter().map(|layer| layer.experts_bytes).fold(0, u64::saturating_add)
    }

    /// Bytes of the largest routed expert.
    #[must_use]
    pub fn expert_bytes(&self) -> u64 {
        self.layers.iter().map(|layer| layer.expert_bytes).max().unwrap_or(0)
    }

    /// What fits nodes with this many bytes for weights.
    #[must_use]
    pub fn fit(&self, bytes: u64) -> Fit {
        let experts = bytes.checked_div(self.expert_bytes()).unwrap_or(0);
        let layers = experts.checked_div(self.config.experts.into()).unwrap_or(0);
        let all = wide(self.config.all_experts().count());
        Fit { experts, layers, nodes: (experts > 0).then(|| all.div_ceil(experts)) }
    }
}

/// Bytes as it is computed with; several tensors may lie in one that is stored.
fn bytes_of(located: &Located<'_>) -> u64 {
    let [outputs, inner] = located.shape;
    let dtype = located.stored.dtype;
    let values = wide(outputs).saturating_mul(wide(inner));
    values / wide(dtype.block_values()) * wide(dtype.block_bytes())
}

fn layer_of(tensor: Tensor) -> Option<usize> {
    let layer = match tensor {
        Tensor::Embedding | Tensor::Norm | Tensor::Head => return None,
        Tensor::AttentionNorm(l)
        | Tensor::Query(l)
        | Tensor::QueryBias(l)
        | Tensor::Key(l)
        | Tensor::KeyBias(l)
        | Tensor::Value(l)
        | Tensor::ValueBias(l)
        | Tensor::Output(l)
        | Tensor::QueryLatent(l)
        | Tensor::QueryLatentNorm(l)
        | Tensor::Latent(l)
        | Tensor::LatentNorm(l)
        | Tensor::LatentKey(l)
        | Tensor::LatentValue(l)
        | Tensor::FeedNorm(l)
        | Tensor::Gate(l)
        | Tensor::Shared(l, _)
        | Tensor::SharedGate(l)
        | Tensor::Dense(l, _)
        | Tensor::Expert(l, ..) => l,
    };
    usize::try_from(layer).ok()
}

impl VocabularyFiles {
    /// Those of a folder.
    pub(crate) fn in_folder(folder: &Path) -> Result<Self, LoadError> {
        let text = |name: &str| -> Result<Option<(PathBuf, Vec<u8>)>, LoadError> {
            let file = folder.join(name);
            Ok(read(file.clone())?.map(|bytes| (file, bytes)))
        };
        let [tokenizer, settings, template] = crate::split::TEXT_FILES;
        Ok(Self { tokenizer: text(tokenizer)?, settings: text(settings)?, template: text(template)? })
    }
}
