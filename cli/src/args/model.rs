//! The commands below `model`.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};
use counterfoil_model::{ElementType, Like, Quant};

#[derive(Debug, Subcommand)]
pub(crate) enum ModelCommand {
    /// Print the logits of every position for given token ids
    Logits {
        /// A checkpoint folder, split folder or GGUF file
        dir: PathBuf,
        /// Token ids, separated by commas
        #[arg(long, value_delimiter = ',', required = true)]
        tokens: Vec<u32>,
        /// Compute through this many real local nodes over QUIC instead of in this process
        #[arg(long)]
        nodes: Option<u32>,
        /// Multiply quantised weights as f32, to compare with other programs; nodes never do
        #[arg(long, conflicts_with = "nodes")]
        widened: bool,
        /// Experts on each node are a whole layer's, or every n-th one
        #[arg(long, value_enum, default_value_t = Spread::Layers)]
        spread: Spread,
    },
    /// Print family, shapes, sizes, what nodes can hold of it, and what is missing
    Inspect {
        /// A checkpoint folder, split folder or GGUF file [default: the embedded model `guide`]
        dir: Option<PathBuf>,
        /// Read all weights and print the manifest's id too
        #[arg(long)]
        hash: bool,
    },
    /// Cut a model into a dense file and a shard for each expert
    Split {
        /// A checkpoint folder or GGUF file
        source: PathBuf,
        /// The folder to write; the same command goes on where it was interrupted
        #[arg(long)]
        out: PathBuf,
        /// Quantise large matrices on the way
        #[arg(long, value_enum)]
        quant: Option<SplitQuant>,
        /// Write into a folder that is not empty, and replace a split model in it
        #[arg(long)]
        force: bool,
    },
    /// Log that a model may be asked for
    Publish {
        /// A checkpoint folder, split folder or GGUF file
        path: PathBuf,
        /// What clients call it [default: the folder's name]
        #[arg(long)]
        name: Option<String>,
        /// Where nodes may fetch the same files: a Hugging Face repository and one commit of it
        #[arg(long, value_name = "OWNER/REPO@COMMIT")]
        source: Option<String>,
    },
    /// Write random weights in the true shapes of a published model
    Synth {
        /// Which model
        #[arg(long, value_enum)]
        like: SynthLike,
        /// Only the first layers
        #[arg(long)]
        layers: Option<u32>,
        /// The element type of large matrices
        #[arg(long, value_enum, default_value_t = SynthQuant::Q4K)]
        quant: SynthQuant,
        /// The same number gives the same weights
        #[arg(long, default_value_t = 0)]
        seed: u64,
        /// A folder to write a split model into, or a file that ends in .gguf
        #[arg(long)]
        out: PathBuf,
        /// Write into a folder that is not empty, and replace a model in it
        #[arg(long)]
        force: bool,
    },
}

/// How experts are dealt out among the nodes of `model logits`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Spread {
    /// Whole layers in turn
    Layers,
    /// The experts of every layer in turn
    Experts,
}

/// What `model split` quantises to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SplitQuant {
    /// 8 bits
    #[value(name = "q8_0")]
    Q8_0,
    /// 4 bits; 5 where a row is not a multiple of 256
    #[value(name = "q4_k")]
    Q4K,
}

impl SplitQuant {
    /// What the library calls it.
    pub(crate) const fn quant(of: Option<Self>) -> Quant {
        match of {
            None => Quant::Keep,
            Some(Self::Q8_0) => Quant::Q8_0,
            Some(Self::Q4K) => Quant::Q4K,
        }
    }
}

/// Published models whose shapes are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SynthLike {
    #[value(name = "mixtral-8x7b")]
    Mixtral8x7b,
    #[value(name = "deepseek-v2-lite")]
    DeepseekV2Lite,
    #[value(name = "qwen1.5-moe")]
    Qwen15Moe,
    #[value(name = "dbrx")]
    Dbrx,
}

impl SynthLike {
    /// What the library calls it.
    pub(crate) const fn like(self) -> Like {
        match self {
            Self::Mixtral8x7b => Like::Mixtral8x7b,
            Self::DeepseekV2Lite => Like::DeepseekV2Lite,
            Self::Qwen15Moe => Like::Qwen15Moe,
            Self::Dbrx => Like::Dbrx,
        }
    }
}

/// Element types of random weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SynthQuant {
    #[value(name = "f32")]
    F32,
    #[value(name = "f16")]
    F16,
    #[value(name = "bf16")]
    Bf16,
    #[value(name = "q8_0")]
    Q8_0,
    #[value(name = "q5_0")]
    Q5_0,
    #[value(name = "q4_k")]
    Q4K,
}

impl SynthQuant {
    /// The element type.
    pub(crate) const fn dtype(self) -> ElementType {
        match self {
            Self::F32 => ElementType::F32,
            Self::F16 => ElementType::F16,
            Self::Bf16 => ElementType::Bf16,
            Self::Q8_0 => ElementType::Q8_0,
            Self::Q5_0 => ElementType::Q5_0,
            Self::Q4K => ElementType::Q4K,
        }
    }
}
