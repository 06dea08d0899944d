//! What a model is, by hashes: two programs that show the same manifest id compute with the same weights.
//!
//! ```text
//! manifest     {1: version, 2: family, 3: config, 4: vocabulary, 5: dense, 6: layers, 7: experts, 8: [expert …]}
//! expert       [bytes, hash], ascending by (layer, expert)
//! manifest id  BLAKE3 derive_key("counterfoil v1 manifest", canonical CBOR of the manifest)
//! expert hash  BLAKE3 derive_key("counterfoil v1 expert-weights", tensor w1 ‖ tensor w3 ‖ tensor w2)
//! dense hash   BLAKE3 derive_key("counterfoil v1 dense-weights", every other tensor, by ascending name)
//! tensor       len(name) ‖ name ‖ element type ‖ dimensions ‖ each dimension ‖ len(bytes) ‖ bytes; numbers u64 LE
//! config hash  BLAKE3 derive_key("counterfoil v1 model-config", canonical CBOR of the settings that are computed
//!              with; a float as its IEEE 754 bits)
//! vocabulary   BLAKE3 derive_key("counterfoil v1 vocabulary", len ‖ tokenizer.json ‖ len ‖ chat template)
//! ```
//!
//! In a tensor of an expert the name is its role, `w1` (gate), `w3` (up) or `w2` (down), so that an expert's hash
//! does not depend on how a checkpoint calls it. The bytes are those of the checkpoint, in its element type.

use counterfoil_spec::encode::{DecodeError, from_canonical, to_canonical};
use counterfoil_spec::ids::{Hash, ManifestId};
use counterfoil_spec::limits::MAX_MANIFEST_BYTES;
use minicbor::{Decode, Encode};

use crate::checkpoint::Checkpoint;
use crate::config::{Attention, Family, ModelConfig};
use crate::dtype::ElementType;
use crate::names::{Role, Tensor};

/// The version that this crate writes.
pub const MANIFEST_VERSION: u16 = 1;

/// The manifest of a model.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Manifest {
    /// [`MANIFEST_VERSION`].
    #[n(1)]
    pub version: u16,
    /// Which definition the arithmetic follows.
    #[n(2)]
    pub family: Family,
    /// Hash of the settings that are computed with.
    #[n(3)]
    pub config: Hash,
    /// Hash of the tokenizer and the chat template.
    #[n(4)]
    pub vocabulary: Hash,
    /// Hash of all weights that are no expert's.
    #[n(5)]
    pub dense: Hash,
    /// Layers with experts.
    #[n(6)]
    pub layers: u32,
    /// Experts in each of them.
    #[n(7)]
    pub experts: u32,
    /// `layers · experts` records, ascending by (layer, expert).
    #[n(8)]
    pub weights: Vec<ExpertRecord>,
}

/// One expert of a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct ExpertRecord {
    /// Bytes of its tensors as stored.
    #[n(0)]
    pub bytes: u64,
    /// Hash of its tensors.
    #[n(1)]
    pub hash: Hash,
}

impl Manifest {
    /// The id: BLAKE3 of the canonical bytes.
    #[must_use]
    pub fn id(&self) -> ManifestId {
        ManifestId::from_bytes(blake3::derive_key("counterfoil v1 manifest", &to_canonical(self)))
    }

    /// The canonical bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        to_canonical(self)
    }

    /// Reads canonical bytes.
    ///
    /// # Errors
    /// [`DecodeError`], also where the version or the number of records is not what it should be.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let manifest: Self = from_canonical(bytes, MAX_MANIFEST_BYTES)?;
        let wanted = u64::from(manifest.layers) * u64::from(manifest.experts);
        if manifest.version != MANIFEST_VERSION {
            return Err(DecodeError::Malformed(format!("manifest version {}", manifest.version)));
        }
        if u64::try_from(manifest.weights.len()) != Ok(wanted) {
            return Err(DecodeError::Malformed(format!(
                "{} expert records, not {} times {}",
                manifest.weights.len(),
                manifest.layers,
                manifest.experts
            )));
        }
        Ok(manifest)
    }

    /// The record of one expert; `None` for one that the model does not have.
    #[must_use]
    pub fn expert(&self, layer: u32, expert: u16) -> Option<&ExpertRecord> {
        let inside = layer < self.layers && u32::from(expert) < self.experts;
        let at = u64::from(layer) * u64::from(self.experts) + u64::from(expert);
        inside.then_some(at).and_then(|at| usize::try_from(at).ok()).and_then(|at| self.weights.get(at))
    }

    pub(crate) fn of(checkpoint: &Checkpoint) -> Self {
        let config = checkpoint.config();
        Self {
            version: MANIFEST_VERSION,
            family: config.family,
            config: config_hash(config),
            vocabulary: checkpoint.vocabulary_files().hash(),
            dense: dense_hash(checkpoint),
            layers: config.layers,
            experts: config.experts,
            weights: config.all_experts().map(|(layer, expert)| record(checkpoint, layer, expert)).collect(),
        }
    }
}

/// The settings that change what is computed.
#[derive(Encode)]
#[cbor(map)]
struct Settings {
    #[n(1)]
    family: Family,
    #[n(2)]
    hidden: usize,
    #[n(3)]
    inner: usize,
    #[n(4)]
    layers: u32,
    #[n(5)]
    heads: usize,
    #[n(6)]
    kv_heads: usize,
    #[n(7)]
    head_dim: usize,
    #[n(8)]
    experts: u32,
    #[n(9)]
    top_k: usize,
    #[n(10)]
    vocab: usize,
    #[n(11)]
    context: usize,
    #[n(12)]
    norm_eps: u32,
    #[n(13)]
    rope_theta: u64,
    #[n(14)]
    tied: bool,
    #[n(15)]
    eos: Vec<u32>,
}

fn config_hash(config: &ModelConfig) -> Hash {
    let head_dim = match config.attention {
        Attention::Grouped { head_dim, .. } => head_dim,
        Attention::Latent { nope, rope, .. } => nope + rope,
    };
    let settings = Settings {
        family: config.family,
        hidden: config.hidden,
        inner: config.inner,
        layers: config.layers,
        heads: config.attention.heads(),
        kv_heads: config.attention.kv_heads(),
        head_dim,
        experts: config.experts,
        top_k: config.top_k,
        vocab: config.vocab,
        context: config.context,
        norm_eps: config.norm_eps.to_bits(),
        rope_theta: config.rope.theta.to_bits(),
        tied: config.tied,
        eos: config.eos.clone(),
    };
    Hash::from_bytes(blake3::derive_key("counterfoil v1 model-config", &to_canonical(&settings)))
}

fn record(checkpoint: &Checkpoint, layer: u32, expert: u16) -> ExpertRecord {
    let mut hasher = blake3::Hasher::new_derive_key("counterfoil v1 expert-weights");
    let mut bytes = 0;
    // `Checkpoint::open` has found every expert's tensors.
    #[expect(clippy::expect_used, reason = "checked when the checkpoint was opened")]
    let shard = checkpoint.shard(layer, expert).expect("an expert's tensors");
    for (part, role) in shard.parts.iter().zip(["w1", "w3", "w2"]) {
        enter(&mut hasher, role, part.dtype, &[part.outputs, part.inner], part.bytes);
        bytes += wide(part.bytes.len());
    }
    ExpertRecord { bytes, hash: Hash::from_bytes(*hasher.finalize().as_bytes()) }
}

fn dense_hash(checkpoint: &Checkpoint) -> Hash {
    let config = checkpoint.config();
    let mut experts = std::collections::BTreeSet::new();
    for (layer, expert) in config.all_experts() {
        for role in Role::ALL {
            let found = checkpoint.locate(Tensor::Expert(layer, expert, role));
            experts.extend(found.map(|found| found.place.name));
        }
    }
    let mut hasher = blake3::Hasher::new_derive_key("counterfoil v1 dense-weights");
    for name in checkpoint.weights().names().filter(|name| !experts.contains(*name)) {
        // A tensor of a type that is not computed with is no part of the model.
        if let Ok(stored) = checkpoint.weights().find(name) {
            enter(&mut hasher, name, stored.dtype, stored.shape, stored.bytes);
        }
    }
    Hash::from_bytes(*hasher.finalize().as_bytes())
}

fn enter(hasher: &mut blake3::Hasher, name: &str, dtype: ElementType, shape: &[usize], bytes: &[u8]) {
    hasher.update(&wide(name.len()).to_le_bytes());
    hasher.update(name.as_bytes());
    hasher.update(&dtype.number().to_le_bytes());
    hasher.update(&wide(shape.len()).to_le_bytes());
    for dimension in shape {
        hasher.update(&wide(*dimension).to_le_bytes());
    }
    hasher.update(&wide(bytes.len()).to_le_bytes());
    hasher.update(bytes);
}

pub(crate) fn wide(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}
