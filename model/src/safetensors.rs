//! The safetensors container.
//!
//! ```text
//! header length n (u64 LE) ‖ n bytes of JSON: name -> {dtype, shape, data_offsets} ‖ tensor bytes (LE)
//! ```
//!
//! The header is checked as a whole before any tensor is looked at (lengths against the file, offsets against
//! shapes, no gaps); a header over [`MAX_WEIGHTS_HEADER_BYTES`] is not even parsed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use counterfoil_spec::limits::{MAX_WEIGHTS_FILES, MAX_WEIGHTS_HEADER_BYTES};
use safetensors::SafeTensors;
use safetensors::tensor::Dtype;
use serde::Deserialize;

use crate::config::json;
use crate::dtype::ElementType;
use crate::error::LoadError;
use crate::manifest::wide;
use crate::mapping::Mapping;
use crate::weights::{Container, Entry, Weights, malformed};

/// Opens the weights of a folder: one file, or an index and the files that it names.
pub(crate) fn open(folder: &Path) -> Result<Weights, LoadError> {
    let listed = Listed::read(folder)?;
    let files = listed.files.iter().map(|file| map(file.clone())).collect::<Result<_, _>>()?;
    let weights = Weights::of_files(files, listed.listing)?;
    for (tensor, name) in &listed.tensors {
        let file = folder.join(name);
        if !weights.has_in(tensor, &file) {
            return Err(LoadError::TensorMissing { file, tensor: tensor.clone() });
        }
    }
    Ok(weights)
}

/// Opens those weights of a folder that are there, and names the files that are not.
pub(crate) fn open_present(folder: &Path) -> Result<(Weights, Vec<PathBuf>), LoadError> {
    let listed = Listed::read(folder)?;
    let (here, missing): (Vec<PathBuf>, Vec<PathBuf>) = listed.files.into_iter().partition(|f| f.is_file());
    let files = here.into_iter().map(map).collect::<Result<_, _>>()?;
    Ok((Weights::of_files(files, listed.listing)?, missing))
}

/// What a folder says of its weights.
struct Listed {
    /// The file that says it.
    listing: PathBuf,
    files: Vec<PathBuf>,
    /// Tensor to file; empty where there is one file and no index.
    tensors: BTreeMap<String, String>,
}

impl Listed {
    fn read(folder: &Path) -> Result<Self, LoadError> {
        let index = folder.join(INDEX_FILE);
        if !index.is_file() {
            let path = folder.join(SINGLE_FILE);
            return Ok(Self { listing: path.clone(), files: vec![path], tensors: BTreeMap::new() });
        }
        let io = |source| LoadError::Io { file: index.clone(), source };
        let length = std::fs::metadata(&index).map_err(io)?.len();
        if length > wide(MAX_WEIGHTS_HEADER_BYTES) {
            return Err(too_large(&index, "bytes of index", length, MAX_WEIGHTS_HEADER_BYTES));
        }
        let text = std::fs::read(&index).map_err(io)?;
        let listed: Index = json(&index, &text)?;
        let mut names: Vec<&str> = listed.weight_map.values().map(String::as_str).collect();
        names.sort_unstable();
        names.dedup();
        if names.len() > MAX_WEIGHTS_FILES {
            return Err(too_large(&index, "files", wide(names.len()), MAX_WEIGHTS_FILES));
        }
        if let Some(name) =
            names.iter().find(|name| Path::new(name).file_name().is_none_or(|plain| plain != **name))
        {
            let reason = format!("{name:?} is not the plain name of a file in this folder");
            return Err(malformed(&index, reason));
        }
        let files = names.into_iter().map(|name| folder.join(name)).collect();
        Ok(Self { listing: index, files, tensors: listed.weight_map })
    }
}

/// Takes a file that is part of the program.
pub(crate) fn embedded(name: &str, bytes: &'static [u8]) -> Result<Weights, LoadError> {
    let path = PathBuf::from(name);
    Weights::of_files(vec![parse(path.clone(), Mapping::Embedded(bytes))?], path)
}

fn map(path: PathBuf) -> Result<Container, LoadError> {
    let mapping = Mapping::open(path.clone())?;
    parse(path, mapping)
}

fn parse(path: PathBuf, mapping: Mapping) -> Result<Container, LoadError> {
    let all = mapping.bytes();
    let length = all.first_chunk::<8>().map(|head| u64::from_le_bytes(*head));
    let length = length.ok_or_else(|| malformed(&path, "shorter than a safetensors header".to_owned()))?;
    //= spec/model.md#weights
    //# A header of more than 32 MiB MUST be refused before it is parsed
    if usize::try_from(length).unwrap_or(usize::MAX) > MAX_WEIGHTS_HEADER_BYTES {
        return Err(too_large(&path, "bytes of header", length, MAX_WEIGHTS_HEADER_BYTES));
    }
    let (header, metadata) = SafeTensors::read_metadata(all).map_err(|e| {
        let header = usize::try_from(length).ok().and_then(|length| all.get(8..8 + length));
        malformed(&path, header.and_then(|header| fault(header, all.len())).unwrap_or_else(|| e.to_string()))
    })?;
    let tensors = metadata.tensors().into_iter().map(|(name, listed)| {
        let (from, to) = listed.data_offsets;
        let entry = Entry {
            dtype: element_type(listed.dtype),
            shape: listed.shape.clone(),
            offset: header + 8 + from,
            len: to - from,
        };
        (name, entry)
    });
    let tensors = tensors.collect();
    Ok(Container { path, mapping, tensors })
}

/// What is wrong with a header that was refused, with the tensor's name; `None` where that is not seen here.
fn fault(header: &[u8], file_bytes: usize) -> Option<String> {
    let listed: BTreeMap<String, serde_json::Value> = serde_json::from_slice(header).ok()?;
    let data = wide(file_bytes - 8 - header.len());
    let mut places = Vec::new();
    for (name, entry) in listed.iter().filter(|(name, _)| *name != "__metadata__") {
        let numbers = |key| serde_json::from_value::<Vec<u64>>(entry.get(key)?.clone()).ok();
        let Some(shape) = numbers("shape") else {
            return Some(format!("tensor {name} has no shape of whole numbers"));
        };
        let Some([from, to]) = numbers("data_offsets").and_then(|n| <[u64; 2]>::try_from(n).ok()) else {
            return Some(format!("tensor {name} has no two data_offsets"));
        };
        let dtype = entry.get("dtype").cloned().unwrap_or_default();
        let Ok(known) = serde_json::from_value::<Dtype>(dtype.clone()) else {
            return Some(format!("tensor {name} has the unknown type {dtype}"));
        };
        let bits = shape.iter().try_fold(wide(known.bitsize()), |bits, n| bits.checked_mul(*n));
        if to < from || to > data || bits.is_none_or(|bits| bits.div_ceil(8) != to - from) {
            return Some(format!(
                "tensor {name} of type {dtype} and shape {shape:?} cannot have bytes {from} to {to} of {data}"
            ));
        }
        places.push((from, to, name));
    }
    places.sort_unstable();
    let mut end = 0;
    for (from, to, name) in places {
        if from != end {
            return Some(format!("tensor {name} begins at byte {from}, and the one before it ends at {end}"));
        }
        end = to;
    }
    (end != data).then(|| format!("the tensors have {end} bytes, and the file has {data} for them"))
}

fn element_type(dtype: Dtype) -> Result<ElementType, String> {
    match dtype {
        Dtype::F32 => Ok(ElementType::F32),
        Dtype::F16 => Ok(ElementType::F16),
        Dtype::BF16 => Ok(ElementType::Bf16),
        other => Err(format!("{other:?}")),
    }
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

fn too_large(file: &Path, what: &'static str, found: u64, limit: usize) -> LoadError {
    LoadError::TooLarge { file: file.to_path_buf(), what, found, limit: wide(limit) }
}

const INDEX_FILE: &str = "model.safetensors.index.json";
const SINGLE_FILE: &str = "model.safetensors";
