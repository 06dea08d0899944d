//! What can go wrong: with a checkpoint, and while computing.

use std::path::PathBuf;

/// Why a checkpoint was not loaded. Every variant names the file.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The operating system refused.
    #[error("{}: {source}; check that the folder is a checkpoint and that it may be read", file.display())]
    Io {
        /// Which file.
        file: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is not what its format says.
    #[error("{}: {reason}", file.display())]
    Malformed {
        /// Which file.
        file: PathBuf,
        /// What was wrong with it.
        reason: String,
    },
    /// A setting that this crate does not compute.
    #[error("{}: {key} is {found}, and only {expected} is supported; use another checkpoint", file.display())]
    Unsupported {
        /// Which file.
        file: PathBuf,
        /// The key in it.
        key: &'static str,
        /// What it says.
        found: String,
        /// What could be loaded.
        expected: String,
    },
    /// More than a named limit.
    #[error("{}: {what} is {found}, more than the limit of {limit}", file.display())]
    TooLarge {
        /// Which file.
        file: PathBuf,
        /// What was counted.
        what: &'static str,
        /// How many.
        found: u64,
        /// How many may be.
        limit: u64,
    },
    /// A file name that no manifest may carry.
    #[error(
        "{}: a manifest cannot name this file; give it a name of at most {limit} bytes without \"..\", colons, backslashes and control characters", file.display()
    )]
    FileName {
        /// Which file.
        file: PathBuf,
        /// Bytes that a name may have.
        limit: usize,
    },
    /// A folder that a model was not split into to the end.
    #[error("{}: a model is being split into this folder, or that was interrupted; run the same command again", folder.display())]
    Unfinished {
        /// Which.
        folder: PathBuf,
    },
    /// A shard of a split folder is not there, or not whole.
    #[error("{}: {}, and the manifest gives it {expected}; fetch or split it again", file.display(), match found {
        None => "the shard is missing".to_owned(),
        Some(found) => format!("the shard has {found} bytes"),
    })]
    ShardMissing {
        /// Its file.
        file: PathBuf,
        /// Bytes that are there.
        found: Option<u64>,
        /// Bytes that it has.
        expected: u64,
    },
    /// The weights lack a tensor.
    #[error("{}: tensor {tensor} is missing; the checkpoint is incomplete or of another family", file.display())]
    TensorMissing {
        /// The file, or the index, that should name it.
        file: PathBuf,
        /// Its name.
        tensor: String,
    },
    /// A tensor has another shape than the configuration gives it.
    #[error("{}: tensor {tensor} has shape {found:?}, the configuration says {expected:?}", file.display())]
    TensorShape {
        /// Which file.
        file: PathBuf,
        /// The tensor's name.
        tensor: String,
        /// What the file says.
        found: Vec<usize>,
        /// What config.json makes of it.
        expected: Vec<usize>,
    },
    /// A tensor has an element type that is not computed with.
    #[error("{}: tensor {tensor} has type {found}; f32, f16, bf16, q8_0, q4_0, q5_0, q5_1, q4_k, q5_k and q6_k are supported", file.display())]
    TensorType {
        /// Which file.
        file: PathBuf,
        /// The tensor's name.
        tensor: String,
        /// Its type.
        found: String,
    },
    /// A weight is NaN or infinite.
    #[error("{}: tensor {tensor} has a value that is not finite at {index}", file.display())]
    NonFinite {
        /// Which file.
        file: PathBuf,
        /// The tensor's name.
        tensor: String,
        /// The flat index of the value.
        index: usize,
    },
    /// Bytes that are not those of the manifest.
    #[error("{}: {reason}", file.display())]
    WrongHash {
        /// Which file.
        file: PathBuf,
        /// What differs.
        reason: String,
    },
    /// An expert that the model does not have.
    #[error("{name} has no expert {expert} in layer {layer}; it has {experts} in each of {layers} layers")]
    NoSuchExpert {
        /// The model.
        name: String,
        /// The layer asked for.
        layer: u32,
        /// The expert asked for.
        expert: u16,
        /// Layers of the model.
        layers: u32,
        /// Experts of a layer.
        experts: u32,
    },
}

/// Why rows were not computed. Only `NonFinite` can be the fault of weights; the rest is the caller's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ComputeError {
    /// Two shapes that should agree do not.
    #[error("{what}: expected {expected}, found {found}")]
    Shape {
        /// What was counted.
        what: &'static str,
        /// What it should be.
        expected: usize,
        /// What it is.
        found: usize,
    },
    /// A value is NaN or infinite.
    #[error("{what}: row {row} has a value that is not finite")]
    NonFinite {
        /// Which rows.
        what: &'static str,
        /// The first row with such a value.
        row: usize,
    },
    /// A token id outside the vocabulary.
    #[error("token id {id} is outside the vocabulary of {vocabulary}")]
    TokenId {
        /// The id.
        id: u32,
        /// The vocabulary's size.
        vocabulary: u32,
    },
    /// More positions than the sequence was begun with.
    #[error("the sequence has room for {room} positions and {wanted} are wanted")]
    SequenceFull {
        /// Positions at most.
        room: usize,
        /// Positions after this step.
        wanted: usize,
    },
    /// More positions than the model knows.
    #[error("{wanted} positions are more than the model's context of {context}")]
    ContextTooLong {
        /// Positions asked for.
        wanted: usize,
        /// Positions of the model.
        context: usize,
    },
    /// A layer that the model does not have.
    #[error("the model has no layer {layer}; it has {layers}")]
    NoSuchLayer {
        /// The layer asked for.
        layer: u32,
        /// How many there are.
        layers: u32,
    },
    /// An expert whose weights are not here.
    #[error("expert {expert} of layer {layer} is not loaded here")]
    NotLoaded {
        /// The layer asked for.
        layer: u32,
        /// The expert asked for.
        expert: u16,
    },
    /// Weights that are floats, or are multiplied as floats, and activations without the rows that they were made of.
    #[error("weights that are multiplied as floats need rows of floats, not quantised activations")]
    FloatWeights,
    /// What candle says, where it computes.
    #[error("candle: {0}")]
    Candle(String),
    /// The experts of a row are not in strictly ascending order.
    #[error("row {row}: experts must be named once each in ascending order")]
    ExpertOrder {
        /// The row.
        row: usize,
    },
    /// No answer holds the output of an expert that a row needs.
    #[error("row {row}: no answer for expert {expert}")]
    NoAnswer {
        /// The row.
        row: usize,
        /// The expert.
        expert: u16,
    },
    /// Two answers hold the output of one expert.
    #[error("row {row}: more than one answer for expert {expert}")]
    TwoAnswers {
        /// The row.
        row: usize,
        /// The expert.
        expert: u16,
    },
}
