//! A model cut into a dense file and one shard for each expert, with the manifest of both.
//!
//! ```text
//! manifest.cbor                written last: a folder without it is not whole
//! dense.gguf                   every tensor that is no expert's, by our own names
//! shards/<layer>-<expert>.shard
//! tokenizer.json  tokenizer_config.json  chat_template.jinja
//! .counterfoil-split           while it is being made: what it is made of, so that the same work can go on
//! ```
//!
//! Every file has a temporary name until it is whole and on disk. Memory holds a few rows for each thread.

mod cut;
mod dense;
mod folder;
mod recipe;
mod work;

use std::path::PathBuf;

use crate::error::LoadError;

pub use cut::{SplitPlan, split};
pub(crate) use dense::unwritten;
pub use folder::Existing;
pub(crate) use folder::{
    DENSE_FILE, MANIFEST_FILE, MARKER_FILE, SHARDS_FOLDER, SplitFolder, TEXT_FILES, shard_name,
};
pub use recipe::Quant;
pub(crate) use recipe::is_large;
pub(crate) use work::{Sink, Source, Work};

/// Why a model was not split.
#[derive(Debug, thiserror::Error)]
pub enum SplitError {
    /// What it was to be made of.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The operating system refused to write.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The folder has something in it.
    #[error(
        "{} is not empty; name another folder, or replace the model in it with --force", folder.display()
    )]
    NotEmpty {
        /// Which.
        folder: PathBuf,
    },
    /// The folder has something else in it than a split model.
    #[error("{} holds other files and no split model that could be replaced; name another folder", folder.display())]
    Foreign {
        /// Which.
        folder: PathBuf,
    },
    /// Values that the element type cannot hold.
    #[error("{tensor}: {source}")]
    Quantise {
        /// The tensor, by our own name.
        tensor: String,
        /// Why.
        source: crate::quant::Unquantisable,
    },
    /// More experts than a manifest may name.
    #[error("{experts} experts, more than the limit of {limit}")]
    TooMany {
        /// How many.
        experts: usize,
        /// How many may be.
        limit: usize,
    },
}
