//! What a model is, by hashes: two programs that show the same manifest id compute with the same weights.
//!
//! ```text
//! manifest     {1: version, 2: family, 3: settings, 4: vocabulary, 5: dense, 6: [file …], 7: [expert …]}
//! settings     the whole configuration (`settings.rs`); a float as its IEEE 754 bits
//! file         [name, size]; plain relative names, ascending
//! expert       [size, hash, [part, part, part], [chunk hash …]], ascending by (layer, expert) over the MoE layers
//! part         [element type, file, offset, length, transposed]: gate, up, down as they lie in the files
//! shard        bytes of gate ‖ up ‖ down
//! hash         BLAKE3 derive_key("counterfoil v1 shard", shard)
//! chunk hash   BLAKE3 derive_key("counterfoil v1 shard-chunk", 1 MiB of the shard, the last chunk what is left)
//! manifest id  BLAKE3 derive_key("counterfoil v1 manifest", canonical CBOR of the manifest)
//! dense hash   BLAKE3 derive_key("counterfoil v1 dense-weights", every other tensor, by ascending name)
//! tensor       len(name) ‖ name ‖ element type ‖ dimensions ‖ each dimension ‖ len(bytes) ‖ bytes; numbers u64 LE
//! vocabulary   BLAKE3 derive_key("counterfoil v1 vocabulary", len ‖ tokenizer.json ‖ len ‖ chat template)
//! ```
//!
//! All of it is checked when it is read: sizes against the settings, ranges against the files, counts against both.

mod check;
mod describe;
mod kept;
mod settings;

use counterfoil_spec::encode::{DecodeError, from_canonical, to_canonical};
use counterfoil_spec::ids::{Hash, ManifestId};
use counterfoil_spec::limits::MAX_MANIFEST_BYTES;
use minicbor::{Decode, Encode};

use crate::config::{Family, ModelConfig};
use crate::dtype::ElementType;

pub use describe::Progress;
pub(crate) use describe::{DenseHasher, Meter, dense_hash_of, in_parallel};
pub use kept::KeptManifests;
use settings::Settings;

/// The version that this crate writes and reads.
pub const MANIFEST_VERSION: u16 = 2;

/// The manifest of a model, checked as a whole.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    config: ModelConfig,
    vocabulary: Hash,
    dense: Hash,
    files: Vec<FileRecord>,
    experts: Vec<ExpertRecord>,
}

/// A file that weights lie in.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct FileRecord {
    /// Its name below the model's folder; `/` between folders, never `..`.
    #[n(0)]
    pub name: String,
    /// Its size in bytes.
    #[n(1)]
    pub size: u64,
}

/// One expert of a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ExpertRecord {
    /// Bytes of its shard.
    #[n(0)]
    pub size: u64,
    /// Hash of its shard.
    #[n(1)]
    pub hash: Hash,
    /// Gate, up and down.
    #[n(2)]
    pub parts: [PartRecord; 3],
    /// Hashes of each [`SHARD_CHUNK_BYTES`] of its shard; the last chunk may be shorter.
    ///
    /// [`SHARD_CHUNK_BYTES`]: counterfoil_spec::limits::SHARD_CHUNK_BYTES
    #[n(3)]
    pub chunks: Vec<Hash>,
}

/// One matrix of an expert, as it lies in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct PartRecord {
    /// Its element type.
    #[n(0)]
    pub dtype: ElementType,
    /// Which of the manifest's files.
    #[n(1)]
    pub file: u32,
    /// Where in the file it begins.
    #[n(2)]
    pub offset: u64,
    /// Its bytes.
    #[n(3)]
    pub length: u64,
    /// Whether its columns are stored as rows.
    #[n(4)]
    pub transposed: bool,
}

/// The bytes of a manifest, before they are checked.
#[derive(Encode, Decode)]
#[cbor(map)]
struct Wire {
    #[n(1)]
    version: u16,
    #[n(2)]
    family: Family,
    #[n(3)]
    settings: Settings,
    #[n(4)]
    vocabulary: Hash,
    #[n(5)]
    dense: Hash,
    #[n(6)]
    files: Vec<FileRecord>,
    #[n(7)]
    experts: Vec<ExpertRecord>,
}

impl Manifest {
    /// The id: BLAKE3 of the canonical bytes.
    #[must_use]
    pub fn id(&self) -> ManifestId {
        ManifestId::from_bytes(blake3::derive_key("counterfoil v1 manifest", &self.to_bytes()))
    }

    /// The canonical bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        to_canonical(&Wire {
            version: MANIFEST_VERSION,
            family: self.config.family,
            settings: Settings::of(&self.config),
            vocabulary: self.vocabulary,
            dense: self.dense,
            files: self.files.clone(),
            experts: self.experts.clone(),
        })
    }

    /// Reads canonical bytes and checks every size, range and count in them.
    ///
    /// # Errors
    /// [`DecodeError`] says what is not as it should be.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let wire: Wire = from_canonical(bytes, MAX_MANIFEST_BYTES)?;
        if wire.version != MANIFEST_VERSION {
            return Err(DecodeError::Malformed(format!("manifest version {}", wire.version)));
        }
        let config = wire.settings.into_config(wire.family).map_err(DecodeError::Malformed)?;
        let manifest = Self {
            config,
            vocabulary: wire.vocabulary,
            dense: wire.dense,
            files: wire.files,
            experts: wire.experts,
        };
        check::check(&manifest).map_err(DecodeError::Malformed)?;
        Ok(manifest)
    }

    pub(crate) const fn of_parts(
        config: ModelConfig,
        vocabulary: Hash,
        dense: Hash,
        files: Vec<FileRecord>,
        experts: Vec<ExpertRecord>,
    ) -> Self {
        Self { config, vocabulary, dense, files, experts }
    }

    /// The configuration that is computed with.
    #[must_use]
    pub const fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Hash of the tokenizer and the chat template.
    #[must_use]
    pub const fn vocabulary(&self) -> Hash {
        self.vocabulary
    }

    /// Hash of all weights that are no expert's.
    #[must_use]
    pub const fn dense(&self) -> Hash {
        self.dense
    }

    /// The files that weights lie in.
    #[must_use]
    pub fn files(&self) -> &[FileRecord] {
        &self.files
    }

    /// Every expert, ascending by (layer, expert).
    pub fn experts(&self) -> impl Iterator<Item = ((u32, u16), &ExpertRecord)> {
        self.config.all_experts().zip(&self.experts)
    }

    /// The record of one expert; `None` for one that the model does not have.
    #[must_use]
    pub fn expert(&self, layer: u32, expert: u16) -> Option<&ExpertRecord> {
        if u32::from(expert) >= self.config.experts {
            return None;
        }
        let at = self.config.moe_layers().position(|known| known == layer)?;
        let experts = usize::try_from(self.config.experts).ok()?;
        self.experts.get(at.checked_mul(experts)?.checked_add(usize::from(expert))?)
    }

    /// Bytes of all shards.
    #[must_use]
    pub fn shard_bytes(&self) -> u64 {
        self.experts.iter().map(|record| record.size).fold(0, u64::saturating_add)
    }
}

pub(crate) fn wide(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
