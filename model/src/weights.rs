//! Tensors by name out of safetensors files, mapped from disk or embedded in the program.
//!
//! ```text
//! header length n (u64 LE) ‖ n bytes of JSON: name -> {dtype, shape, data_offsets} ‖ tensor bytes (LE)
//! ```
//!
//! The header is checked as a whole before any tensor is looked at (lengths against the file, offsets against
//! shapes, no gaps); a header over [`MAX_WEIGHTS_HEADER_BYTES`] is not even parsed.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use counterfoil_spec::limits::{MAX_WEIGHTS_FILES, MAX_WEIGHTS_HEADER_BYTES};
use memmap2::Mmap;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use serde::Deserialize;

use crate::config::json;
use crate::error::LoadError;

/// The tensors of one checkpoint.
pub(crate) struct Weights {
    files: Vec<WeightsFile>,
    /// Tensor name to its place in `files`.
    by_name: BTreeMap<String, usize>,
    /// The file that lists the tensors, for what a missing one is told with.
    listing: PathBuf,
}

struct WeightsFile {
    path: PathBuf,
    bytes: Bytes,
    metadata: Metadata,
    /// Where the tensor bytes begin.
    start: usize,
}

enum Bytes {
    Mapped(Mmap),
    Embedded(&'static [u8]),
}

impl Bytes {
    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Embedded(bytes) => bytes,
        }
    }
}

/// One tensor as it lies in its file.
pub(crate) struct Stored<'a> {
    /// Its file.
    pub(crate) file: &'a Path,
    /// Its element type.
    pub(crate) dtype: StoredType,
    /// Its shape.
    pub(crate) shape: &'a [usize],
    /// Its bytes.
    pub(crate) bytes: &'a [u8],
}

/// The element types that are computed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StoredType {
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary16.
    F16,
    /// The upper half of a binary32.
    Bf16,
}

impl StoredType {
    fn of(dtype: Dtype) -> Option<Self> {
        match dtype {
            Dtype::F32 => Some(Self::F32),
            Dtype::F16 => Some(Self::F16),
            Dtype::BF16 => Some(Self::Bf16),
            _ => None,
        }
    }

    /// How a manifest names it.
    pub(crate) const fn number(self) -> u64 {
        match self {
            Self::F32 => 1,
            Self::F16 => 2,
            Self::Bf16 => 3,
        }
    }

    const fn candle(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::F16 => DType::F16,
            Self::Bf16 => DType::BF16,
        }
    }
}

impl Weights {
    /// Opens the weights of a folder: one file, or an index and the files that it names.
    pub(crate) fn open(folder: &Path) -> Result<Self, LoadError> {
        let index = folder.join(INDEX_FILE);
        if !index.is_file() {
            let path = folder.join(SINGLE_FILE);
            return Self::of_files(vec![WeightsFile::map(path.clone())?], path);
        }
        let text = std::fs::read(&index).map_err(|source| LoadError::Io { file: index.clone(), source })?;
        let listed: Index = json(&index, &text)?;
        let mut names: Vec<&str> = listed.weight_map.values().map(String::as_str).collect();
        names.sort_unstable();
        names.dedup();
        if names.len() > MAX_WEIGHTS_FILES {
            return Err(too_large(&index, "files", names.len(), MAX_WEIGHTS_FILES));
        }
        let mut files = Vec::with_capacity(names.len());
        for name in names {
            if Path::new(name).file_name().is_none_or(|plain| plain != name) {
                return Err(malformed(
                    &index,
                    format!("{name:?} is not the plain name of a file in this folder"),
                ));
            }
            files.push(WeightsFile::map(folder.join(name))?);
        }
        let weights = Self::of_files(files, index)?;
        for (tensor, name) in &listed.weight_map {
            let found = weights.by_name.get(tensor).and_then(|at| weights.files.get(*at));
            if found.is_none_or(|file| file.path != folder.join(name)) {
                return Err(LoadError::TensorMissing { file: folder.join(name), tensor: tensor.clone() });
            }
        }
        Ok(weights)
    }

    /// Takes a file that is part of the program.
    pub(crate) fn embedded(name: &str, bytes: &'static [u8]) -> Result<Self, LoadError> {
        let file = WeightsFile::parse(PathBuf::from(name), Bytes::Embedded(bytes))?;
        Self::of_files(vec![file], PathBuf::from(name))
    }

    fn of_files(files: Vec<WeightsFile>, listing: PathBuf) -> Result<Self, LoadError> {
        let mut by_name = BTreeMap::new();
        for (at, file) in files.iter().enumerate() {
            for name in file.metadata.offset_keys() {
                if let Some(other) = by_name.insert(name.clone(), at) {
                    let other = files.get(other).map(|f| f.path.display().to_string()).unwrap_or_default();
                    return Err(malformed(&file.path, format!("tensor {name} is also in {other}")));
                }
            }
        }
        Ok(Self { files, by_name, listing })
    }

    /// The names of all tensors, ascending.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }

    /// One tensor as it is stored, of the shape that the configuration gives it.
    pub(crate) fn stored(&self, tensor: &str, shape: &[usize]) -> Result<Stored<'_>, LoadError> {
        let stored = self.find(tensor)?;
        if stored.shape != shape {
            return Err(LoadError::TensorShape {
                file: stored.file.to_path_buf(),
                tensor: tensor.to_owned(),
                found: stored.shape.to_vec(),
                expected: shape.to_vec(),
            });
        }
        Ok(stored)
    }

    /// One tensor as it is stored, whatever its shape.
    pub(crate) fn find(&self, tensor: &str) -> Result<Stored<'_>, LoadError> {
        let missing = || LoadError::TensorMissing { file: self.listing.clone(), tensor: tensor.to_owned() };
        let file = self.by_name.get(tensor).and_then(|at| self.files.get(*at)).ok_or_else(missing)?;
        let entry: &TensorInfo = file.metadata.info(tensor).ok_or_else(missing)?;
        let dtype = StoredType::of(entry.dtype).ok_or_else(|| LoadError::TensorType {
            file: file.path.clone(),
            tensor: tensor.to_owned(),
            found: format!("{:?}", entry.dtype),
        })?;
        let (from, to) = entry.data_offsets;
        let bytes = file.bytes.as_slice().get(file.start + from..file.start + to).ok_or_else(missing)?;
        Ok(Stored { file: &file.path, dtype, shape: &entry.shape, bytes })
    }

    /// One tensor as finite f32 values.
    pub(crate) fn floats(&self, tensor: &str, shape: &[usize]) -> Result<Vec<f32>, LoadError> {
        let stored = self.stored(tensor, shape)?;
        let values = to_f32(&stored).map_err(|e| malformed(stored.file, format!("tensor {tensor}: {e}")))?;
        match values.iter().position(|v| !v.is_finite()) {
            Some(index) => Err(LoadError::NonFinite {
                file: stored.file.to_path_buf(),
                tensor: tensor.to_owned(),
                index,
            }),
            None => Ok(values),
        }
    }
}

/// Widening to f32 is exact, so it does not matter who does it; candle does.
fn to_f32(stored: &Stored<'_>) -> candle_core::Result<Vec<f32>> {
    Tensor::from_raw_buffer(stored.bytes, stored.dtype.candle(), stored.shape, &Device::Cpu)?
        .to_dtype(DType::F32)?
        .flatten_all()?
        .to_vec1()
}

impl WeightsFile {
    fn map(path: PathBuf) -> Result<Self, LoadError> {
        let io = |source| LoadError::Io { file: path.clone(), source };
        let file = File::open(&path).map_err(io)?;
        // SAFETY: the map is only ever read, as bytes, which have no invalid values. Weights are written once and
        // then named by their hash; whoever cuts the file short under a running program ends that program.
        #[expect(unsafe_code, reason = "weights are larger than memory should be copied into")]
        let map = unsafe { Mmap::map(&file) }.map_err(io)?;
        Self::parse(path, Bytes::Mapped(map))
    }

    fn parse(path: PathBuf, bytes: Bytes) -> Result<Self, LoadError> {
        let all = bytes.as_slice();
        let length = all.first_chunk::<8>().map(|head| u64::from_le_bytes(*head));
        let length =
            length.ok_or_else(|| malformed(&path, "shorter than a safetensors header".to_owned()))?;
        let header = usize::try_from(length).unwrap_or(usize::MAX);
        //= spec/model.md#weights
        //# A header of more than 32 MiB MUST be refused before it is parsed
        if header > MAX_WEIGHTS_HEADER_BYTES {
            return Err(LoadError::TooLarge {
                file: path,
                what: "bytes of header",
                found: length,
                limit: u64::try_from(MAX_WEIGHTS_HEADER_BYTES).unwrap_or(u64::MAX),
            });
        }
        let (header, metadata) =
            SafeTensors::read_metadata(all).map_err(|e| malformed(&path, e.to_string()))?;
        Ok(Self { path, bytes, metadata, start: header + 8 })
    }
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

fn malformed(file: &Path, reason: String) -> LoadError {
    LoadError::Malformed { file: file.to_path_buf(), reason }
}

fn too_large(file: &Path, what: &'static str, found: usize, limit: usize) -> LoadError {
    let wide = |n| u64::try_from(n).unwrap_or(u64::MAX);
    LoadError::TooLarge { file: file.to_path_buf(), what, found: wide(found), limit: wide(limit) }
}

const INDEX_FILE: &str = "model.safetensors.index.json";
const SINGLE_FILE: &str = "model.safetensors";
