//! A model's files: a folder as Hugging Face lays it out, or the model inside this program.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use counterfoil_spec::ids::ManifestId;
use counterfoil_spec::limits::MAX_CHECKPOINT_TEXT_BYTES;

use crate::arithmetic::{Arithmetic, Computing};
use crate::config::ModelConfig;
use crate::error::LoadError;
use crate::expert::{ExpertPart, ExpertSource};
use crate::gguf::{self, Opened};
use crate::manifest::{Manifest, Progress};
use crate::mapping::not_regular;
use crate::matrix::resident_bytes;
use crate::names::{Naming, Role, Tensor};
use crate::safetensors;
use crate::shard::{Shard, ShardPart};
use crate::split::{MANIFEST_FILE, MARKER_FILE, SHARDS_FOLDER, shard_name};
use crate::store;
use crate::threads::Threads;
use crate::unused;
use crate::vocabulary::{Vocabulary, VocabularyFiles};
use crate::weights::{Located, Weights};

/// A checked configuration, mapped weights, and the texts of the tokenizer. Opening reads no weight.
pub struct Checkpoint {
    name: String,
    config: ModelConfig,
    weights: Weights,
    naming: Naming,
    vocabulary: VocabularyFiles,
    manifest: OnceLock<(Manifest, ManifestId)>,
    /// The folder of a split model, of which each part is compared with the manifest when it is loaded.
    split: Option<PathBuf>,
    computing: Computing,
}

impl Checkpoint {
    /// Opens a folder with `config.json`, `model.safetensors` or its index, and, if it is to talk,
    /// `tokenizer.json` with `tokenizer_config.json` or `chat_template.jinja`; or a GGUF file, or one of a set of them.
    ///
    /// # Errors
    /// [`LoadError`] names the file. Tensors are looked for here already, and their values read when they are loaded.
    pub fn open(folder: &Path) -> Result<Self, LoadError> {
        if folder.join(MANIFEST_FILE).is_file() {
            return Self::open_split(folder);
        }
        if folder.join(MARKER_FILE).is_file() {
            return Err(LoadError::Unfinished { folder: folder.to_path_buf() });
        }
        if folder.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf")) {
            return Self::open_gguf(folder);
        }
        Self::of_parts(
            name_of(folder),
            ModelConfig::read(folder)?,
            safetensors::open(folder)?,
            Naming::Hf,
            VocabularyFiles::in_folder(folder)?,
        )
    }

    fn open_gguf(path: &Path) -> Result<Self, LoadError> {
        let name =
            path.file_stem().map_or_else(|| "model".to_owned(), |name| name.to_string_lossy().into_owned());
        let Opened { config, weights, vocabulary } = gguf::open(path)?;
        Self::of_parts(name, config, weights, Naming::Gguf, vocabulary)
    }

    /// Opens a split folder: the configuration stands in its manifest, and shards may be missing.
    fn open_split(folder: &Path) -> Result<Self, LoadError> {
        let (manifest, weights) = store::open(folder)?;
        let vocabulary = VocabularyFiles::in_folder(folder)?;
        // A node needs no tokenizer; one that is there must be the model's.
        if vocabulary.tokenizer.is_some() && vocabulary.hash() != manifest.vocabulary() {
            let reason = "it or the chat template is not the one that the manifest names".to_owned();
            return Err(LoadError::WrongHash { file: folder.join(TOKENIZER_FILE), reason });
        }
        let checkpoint = Self {
            name: name_of(folder),
            config: manifest.config().clone(),
            weights,
            naming: Naming::Canonical,
            vocabulary,
            manifest: OnceLock::new(),
            split: Some(folder.to_path_buf()),
            computing: Computing::default(),
        };
        checkpoint.adopt(manifest);
        Ok(checkpoint)
    }

    /// Compares the weights that are no expert's with the manifest, where they came with one.
    pub(crate) fn check_dense(&self) -> Result<(), LoadError> {
        if self.split.is_some() { store::check_dense(&self.weights, self.manifest()) } else { Ok(()) }
    }

    /// The small model inside this program; it answers questions about Counterfoil.
    ///
    /// # Errors
    /// Never in a program that was built and tested whole.
    pub fn guide() -> Result<Self, LoadError> {
        let embedded =
            |name: &str, bytes: &[u8]| Some((PathBuf::from(format!("guide/{name}")), bytes.to_vec()));
        let config_file = Path::new("guide/config.json");
        let generation_file = Path::new("guide/generation_config.json");
        Self::of_parts(
            "guide".to_owned(),
            ModelConfig::parse(config_file, GUIDE_CONFIG, Some((generation_file, GUIDE_GENERATION)))?,
            safetensors::embedded("guide/model.safetensors", GUIDE_WEIGHTS)?,
            Naming::Hf,
            VocabularyFiles {
                tokenizer: embedded("tokenizer.json", GUIDE_TOKENIZER),
                settings: embedded("tokenizer_config.json", GUIDE_TOKENIZER_CONFIG),
                template: embedded("chat_template.jinja", GUIDE_TEMPLATE),
            },
        )
    }

    fn of_parts(
        name: String,
        config: ModelConfig,
        weights: Weights,
        naming: Naming,
        vocabulary: VocabularyFiles,
    ) -> Result<Self, LoadError> {
        let (manifest, computing) = (OnceLock::new(), Computing::default());
        let checkpoint = Self { name, config, weights, naming, vocabulary, manifest, split: None, computing };
        checkpoint.expect_expert_tensors()?;
        unused::expect_none(&checkpoint.config, &checkpoint.weights, naming)?;
        Manifest::expect_describable(&checkpoint)?;
        Ok(checkpoint)
    }

    /// The same with its quantised weights multiplied in this way by what is loaded from it.
    #[must_use]
    pub fn with_arithmetic(mut self, arithmetic: Arithmetic) -> Self {
        self.computing.arithmetic = arithmetic;
        self
    }

    /// How its quantised matrices are multiplied.
    #[must_use]
    pub const fn arithmetic(&self) -> Arithmetic {
        self.computing.arithmetic
    }

    /// The same with large products spread over these threads by what is loaded from it.
    #[must_use]
    pub fn with_threads(mut self, threads: Threads) -> Self {
        self.computing.threads = threads;
        self
    }

    /// How its weights are multiplied by what is loaded from it.
    pub(crate) fn computing(&self) -> &Computing {
        &self.computing
    }

    /// What it is called: the folder's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// What the model consists of, by hashes. The first call reads all weights.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.described(&|_, _| ()).0
    }

    /// The name of exactly these weights, configuration and vocabulary. The first call reads all weights.
    #[must_use]
    pub fn manifest_id(&self) -> ManifestId {
        self.described(&|_, _| ()).1
    }

    /// The tokenizer and the chat template.
    ///
    /// # Errors
    /// [`LoadError`] where the folder has none, one that does not parse, or one with ids that the model has no rows for.
    pub fn vocabulary(&self) -> Result<Vocabulary, LoadError> {
        let vocabulary = Vocabulary::load(&self.vocabulary)?;
        let file = self.vocabulary.tokenizer.as_ref().map_or(Path::new(TOKENIZER_FILE), |(file, _)| file);
        vocabulary.expect_within(file, self.config.vocab)?;
        Ok(vocabulary)
    }

    /// The weights files, as they are numbered in a [`ShardPart`], with how many bytes each has.
    pub fn files(&self) -> impl ExactSizeIterator<Item = (&Path, u64)> {
        self.weights.files().map(|(path, bytes)| (path, u64::try_from(bytes).unwrap_or(u64::MAX)))
    }

    /// One expert as it lies in the files.
    ///
    /// # Errors
    /// [`LoadError::NoSuchExpert`], or what is wrong with the weights.
    pub fn shard(&self, layer: u32, expert: u16) -> Result<Shard<'_>, LoadError> {
        self.expect_expert(layer, expert)?;
        let part = |role| ShardPart::of(&self.locate_part((layer, expert), role)?);
        let [gate, up, down] = Role::ALL;
        Ok(Shard { parts: [part(gate)?, part(up)?, part(down)?] })
    }

    /// Bytes that one expert's weights take in memory, mapped ones too; of experts that differ, the most. Where no shard
    /// is here, the bytes that the manifest gives them.
    #[must_use]
    pub fn expert_weight_bytes(&self) -> u64 {
        let bytes = |part: &ShardPart<'_>| {
            let shape = [part.outputs, part.inner];
            resident_bytes(part.dtype, shape, part.bytes.len(), part.transposed)
        };
        let shards = self.config.all_experts().filter_map(|(layer, expert)| self.shard(layer, expert).ok());
        let most = shards.map(|shard| shard.parts.iter().map(bytes).sum::<usize>()).max();
        let recorded = || self.manifest.get()?.0.experts().map(|(_, record)| record.size).max();
        most.and_then(|most| u64::try_from(most).ok()).or_else(recorded).unwrap_or(0)
    }

    /// Gives it its manifest now, on all cores; gives it back at once where it has one.
    pub fn describe(&self, progress: Progress<'_>) -> &Manifest {
        &self.described(progress).0
    }

    /// Whether it has its manifest, so that asking for it reads nothing.
    #[must_use]
    pub fn is_described(&self) -> bool {
        self.manifest.get().is_some()
    }

    /// Takes a manifest that was made of it before.
    pub(crate) fn adopt(&self, manifest: Manifest) {
        let id = manifest.id();
        self.manifest.get_or_init(|| (manifest, id));
    }

    pub(crate) fn weights(&self) -> &Weights {
        &self.weights
    }

    pub(crate) fn vocabulary_files(&self) -> &VocabularyFiles {
        &self.vocabulary
    }

    /// Looks for a tensor of the model.
    pub(crate) fn locate(&self, tensor: Tensor) -> Result<Located<'_>, LoadError> {
        self.weights.locate(&self.config, self.naming, tensor)
    }

    /// The same of an expert; of a split model the error names the shard's file.
    fn locate_part(&self, (layer, expert): (u32, u16), role: Role) -> Result<Located<'_>, LoadError> {
        self.locate(Tensor::Expert(layer, expert, role)).map_err(|error| match (&self.split, error) {
            (Some(folder), LoadError::TensorMissing { .. }) => {
                let file = folder.join(SHARDS_FOLDER).join(shard_name(layer, expert));
                let found = std::fs::metadata(&file).ok().map(|found| found.len());
                let expected = self.manifest().expert(layer, expert).map_or(0, |record| record.size);
                LoadError::ShardMissing { file, found, expected }
            }
            (_, error) => error,
        })
    }

    fn expect_expert(&self, layer: u32, expert: u16) -> Result<(), LoadError> {
        if self.config.has_expert(layer, expert) {
            return Ok(());
        }
        Err(LoadError::NoSuchExpert {
            name: self.name.clone(),
            layer,
            expert,
            layers: self.config.layers,
            experts: self.config.experts,
        })
    }

    fn described(&self, progress: Progress<'_>) -> &(Manifest, ManifestId) {
        self.manifest.get_or_init(|| {
            let manifest = Manifest::of(self, progress);
            let id = manifest.id();
            (manifest, id)
        })
    }

    /// Every expert is there in the shape that the configuration says, so that a manifest can be made without fail.
    fn expect_expert_tensors(&self) -> Result<(), LoadError> {
        self.config.all_experts().try_for_each(|(layer, expert)| self.shard(layer, expert).map(|_| ()))
    }
}

impl ExpertSource for Checkpoint {
    fn config(&self) -> &ModelConfig {
        &self.config
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn computing(&self) -> Computing {
        self.computing.clone()
    }

    fn expert(&self, layer: u32, expert: u16) -> Result<[ExpertPart; 3], LoadError> {
        self.expect_expert(layer, expert)?;
        let part = |role| {
            let found = self.locate_part((layer, expert), role)?;
            ShardPart::of(&found)?.kept(&found.stored)
        };
        let [gate, up, down] = Role::ALL;
        Ok([part(gate)?, part(up)?, part(down)?])
    }

    fn check(&self, experts: &[(u32, u16)]) -> Result<(), LoadError> {
        if self.split.is_some() { store::check(self.manifest(), &self.weights, experts) } else { Ok(()) }
    }
}

/// What a model in a folder is called.
fn name_of(folder: &Path) -> String {
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_path_buf());
    folder.file_name().map_or_else(|| "model".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// A text file of a checkpoint; `None` where there is none.
pub(crate) fn read(file: PathBuf) -> Result<Option<Vec<u8>>, LoadError> {
    let length = match std::fs::metadata(&file) {
        Ok(found) if found.is_file() => found.len(),
        Ok(_) => return Err(LoadError::Io { file, source: not_regular() }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(LoadError::Io { file, source }),
    };
    if length > MAX_CHECKPOINT_TEXT_BYTES {
        return Err(LoadError::TooLarge {
            file,
            what: "bytes",
            found: length,
            limit: MAX_CHECKPOINT_TEXT_BYTES,
        });
    }
    std::fs::read(&file).map(Some).map_err(|source| LoadError::Io { file, source })
}

impl ModelConfig {
    /// That of a Hugging Face folder: `config.json`, with the ends of answers in `generation_config.json`.
    pub(crate) fn read(folder: &Path) -> Result<Self, LoadError> {
        let file = folder.join("config.json");
        let missing = || LoadError::Io { file: file.clone(), source: std::io::ErrorKind::NotFound.into() };
        let config = read(file.clone())?.ok_or_else(missing)?;
        let generation_file = folder.join("generation_config.json");
        let generation = read(generation_file.clone())?;
        let generation = generation.as_ref().map(|bytes| (generation_file.as_path(), bytes.as_slice()));
        Self::parse(&file, &config, generation)
    }
}

const TOKENIZER_FILE: &str = "tokenizer.json";
const GUIDE_CONFIG: &[u8] = include_bytes!("../guide/checkpoint/config.json");
const GUIDE_GENERATION: &[u8] = include_bytes!("../guide/checkpoint/generation_config.json");
const GUIDE_WEIGHTS: &[u8] = include_bytes!("../guide/checkpoint/model.safetensors");
const GUIDE_TOKENIZER: &[u8] = include_bytes!("../guide/checkpoint/tokenizer.json");
const GUIDE_TOKENIZER_CONFIG: &[u8] = include_bytes!("../guide/checkpoint/tokenizer_config.json");
const GUIDE_TEMPLATE: &[u8] = include_bytes!("../guide/checkpoint/chat_template.jinja");
