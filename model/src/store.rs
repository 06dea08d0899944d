//! Folders of shards: a split model as a checkpoint, and what a node keeps of one.
//!
//! Every shard is a file of its own, `<layer>-<expert>.shard`, mapped and never copied. It is compared with its
//! manifest when an expert is loaded from it, before anything is computed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use counterfoil_spec::limits::MAX_MANIFEST_BYTES;

use crate::config::ModelConfig;
use crate::error::LoadError;
use crate::expert::{ExpertPart, ExpertSource};
use crate::gguf;
use crate::manifest::{ExpertRecord, Manifest, dense_hash_of, in_parallel, wide};
use crate::mapping::Mapping;
use crate::names::{Naming, Role, Tensor, canonical};
use crate::shard::ShardPart;
use crate::shard_hash::check_shard;
use crate::split::{DENSE_FILE, MANIFEST_FILE, SHARDS_FOLDER, shard_name};
use crate::weights::{Container, Entry, Stored, Weights, malformed};

/// The shards of one model that lie in a folder.
pub struct ShardFolder {
    manifest: Arc<Manifest>,
    name: String,
    folder: PathBuf,
    weights: Weights,
}

impl ShardFolder {
    /// Maps every complete shard of a folder; others are not looked at. A folder that is not there has none.
    ///
    /// # Errors
    /// [`LoadError`] names the shard that cannot be read.
    pub fn open(folder: &Path, manifest: Arc<Manifest>) -> Result<Self, LoadError> {
        let weights = Weights::of_files(shards(folder, &manifest)?, folder.to_path_buf())?;
        let name = manifest.id().to_string();
        Ok(Self { manifest, name, folder: folder.to_path_buf(), weights })
    }

    /// What the shards are compared with.
    #[must_use]
    pub fn manifest(&self) -> &Arc<Manifest> {
        &self.manifest
    }

    /// Where a shard lies, or would.
    #[must_use]
    pub fn path_of(&self, layer: u32, expert: u16) -> PathBuf {
        self.folder.join(shard_name(layer, expert))
    }

    /// The files of all of these experts' shards that are not what the manifest says.
    ///
    /// # Errors
    /// [`LoadError`] names what is not here.
    pub fn bad(&self, experts: &[(u32, u16)]) -> Result<Vec<PathBuf>, LoadError> {
        let mut bad = Vec::new();
        for found in checked(&self.manifest, &self.weights, experts) {
            match found {
                Ok(()) => {}
                Err(LoadError::WrongHash { file, .. }) => bad.push(file),
                Err(error) => return Err(error),
            }
        }
        Ok(bad)
    }

    /// Whether this shard was here, as long as it should be, when the folder was opened.
    #[must_use]
    pub fn has(&self, layer: u32, expert: u16) -> bool {
        self.weights.has(&canonical::name(Tensor::Expert(layer, expert, Role::Gate)))
    }
}

impl ExpertSource for ShardFolder {
    fn config(&self) -> &ModelConfig {
        self.manifest.config()
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn expert(&self, layer: u32, expert: u16) -> Result<[ExpertPart; 3], LoadError> {
        let part = |role| {
            let tensor = Tensor::Expert(layer, expert, role);
            let found = self.weights.locate(self.config(), Naming::Canonical, tensor)?;
            ShardPart::of(&found)?.kept(&found.stored)
        };
        let [gate, up, down] = Role::ALL;
        Ok([part(gate)?, part(up)?, part(down)?])
    }

    fn check(&self, experts: &[(u32, u16)]) -> Result<(), LoadError> {
        check(&self.manifest, &self.weights, experts)
    }
}

/// The complete shards of a folder, each as a file of three tensors.
pub(crate) fn shards(folder: &Path, manifest: &Manifest) -> Result<Vec<Container>, LoadError> {
    let mut found = Vec::new();
    for ((layer, expert), record) in manifest.experts() {
        let path = folder.join(shard_name(layer, expert));
        if std::fs::metadata(&path).is_ok_and(|file| file.len() == record.size) {
            found.push(shard(path, (layer, expert), (manifest.config(), record))?);
        }
    }
    Ok(found)
}

fn shard(
    path: PathBuf,
    (layer, expert): (u32, u16),
    (config, record): (&ModelConfig, &ExpertRecord),
) -> Result<Container, LoadError> {
    let mapping = Mapping::open(path.clone())?;
    let mut offset = 0_usize;
    let mut tensors = Vec::with_capacity(3);
    for (role, part) in Role::ALL.into_iter().zip(&record.parts) {
        let tensor = Tensor::Expert(layer, expert, role);
        let [outputs, inner] = tensor.shape(config);
        let shape = if part.transposed { vec![inner, outputs] } else { vec![outputs, inner] };
        let len = usize::try_from(part.length).unwrap_or(usize::MAX);
        tensors.push((canonical::name(tensor), Entry { dtype: Ok(part.dtype), shape, offset, len }));
        offset = offset.saturating_add(len);
    }
    Ok(Container { path, mapping, tensors })
}

/// Compares shards with their manifest; the error is of the first that is another.
pub(crate) fn check(manifest: &Manifest, weights: &Weights, experts: &[(u32, u16)]) -> Result<(), LoadError> {
    checked(manifest, weights, experts).into_iter().collect()
}

/// Compares shards one by one with their manifest, on as many threads as the machine has cores.
fn checked(manifest: &Manifest, weights: &Weights, experts: &[(u32, u16)]) -> Vec<Result<(), LoadError>> {
    //= spec/model.md#shards
    //# A chunk MUST be compared with its hash before it is kept, computed with or passed on.
    in_parallel(experts, |(layer, expert)| {
        let Some(record) = manifest.expert(layer, expert) else { return Ok(()) };
        let gate = weights.find(&canonical::name(Tensor::Expert(layer, expert, Role::Gate)))?;
        check_shard(record, gate.file_bytes())
            .map_err(|bad| LoadError::WrongHash { file: gate.path.to_path_buf(), reason: bad.to_string() })
    })
}

/// The dense file of a split folder.
fn dense(path: PathBuf) -> Result<Container, LoadError> {
    let mapping = Mapping::open(path.clone())?;
    let tensors = gguf::Gguf::parse(&path, mapping.bytes())?.into_tensors().into_iter().map(|tensor| {
        let dtype = tensor.element_type(&path).map_err(|e| e.to_string());
        (tensor.name, Entry { dtype, shape: tensor.shape, offset: tensor.offset, len: tensor.bytes })
    });
    Ok(Container { tensors: tensors.collect(), path: path.clone(), mapping: mapping.clone() })
}

/// A split folder: its manifest, and the weights that are there. Shards may be missing.
pub(crate) fn open(folder: &Path) -> Result<(Manifest, Weights), LoadError> {
    let manifest = manifest(folder)?;
    let path = folder.join(DENSE_FILE);
    let dense = dense(path.clone())?;
    if let Some((name, _)) = dense.tensors.iter().find(|(name, _)| name.contains(".experts.")) {
        return Err(malformed(&path, format!("tensor {name} belongs into a shard")));
    }
    let mut files = vec![dense];
    files.extend(shards(&folder.join(SHARDS_FOLDER), &manifest)?);
    Ok((manifest, Weights::of_files(files, folder.join(MANIFEST_FILE))?))
}

/// Compares the dense part of a split folder's weights with its manifest.
pub(crate) fn check_dense(weights: &Weights, manifest: &Manifest) -> Result<(), LoadError> {
    //= spec/model.md#shards
    //# A router MUST compare the dense weights that it computes with, with the manifest.
    let dense: Vec<Stored<'_>> = weights
        .names()
        .filter_map(|name| weights.find(name).ok())
        .filter(|stored| stored.file == DENSE_AT)
        .collect();
    if dense_hash_of(&dense) == manifest.dense() {
        return Ok(());
    }
    let file = dense.first().map(|stored| stored.path.to_path_buf()).unwrap_or_default();
    Err(LoadError::WrongHash { file, reason: "it is not the dense part that the manifest names".to_owned() })
}

/// Reads the manifest of a split folder.
fn manifest(folder: &Path) -> Result<Manifest, LoadError> {
    let file = folder.join(MANIFEST_FILE);
    let io = |source| LoadError::Io { file: file.clone(), source };
    let found = std::fs::metadata(&file).map_err(io)?.len();
    if found > wide(MAX_MANIFEST_BYTES) {
        let limit = wide(MAX_MANIFEST_BYTES);
        return Err(LoadError::TooLarge { file, what: "bytes", found, limit });
    }
    let bytes = std::fs::read(&file).map_err(io)?;
    Manifest::from_bytes(&bytes).map_err(|e| malformed(&file, e.to_string()))
}

/// The number of the dense file among a split folder's weights files.
const DENSE_AT: usize = 0;
