//! From a path to a model's weights, configuration and vocabulary.

use std::path::{Path, PathBuf};

use super::{Gguf, Stored, check_set, files_of_set};
use crate::config::ModelConfig;
use crate::error::LoadError;
use crate::mapping::Mapping;
use crate::vocabulary::{VocabularyFiles, endings};
use crate::weights::{Container, Entry, Weights};

/// What one file, or one set of files, holds.
pub(crate) struct Opened {
    pub(crate) config: ModelConfig,
    pub(crate) weights: Weights,
    pub(crate) vocabulary: VocabularyFiles,
}

/// Opens a file, and the others of its set where its name says that it is one of several.
pub(crate) fn open(path: &Path) -> Result<Opened, LoadError> {
    let mapped = |path: PathBuf| Ok((path.clone(), Mapping::open(path)?));
    let files = files_of_set(path)?.into_iter().map(mapped).collect::<Result<_, LoadError>>()?;
    opened(path, files)
}

/// Takes the files of a set, in order.
fn opened(path: &Path, mapped: Vec<(PathBuf, Mapping)>) -> Result<Opened, LoadError> {
    let parsed = mapped.iter().map(|(path, mapping)| Gguf::parse(path, mapping.bytes()));
    let files: Vec<Gguf<'_>> = parsed.collect::<Result<_, _>>()?;
    check_set(&files)?;
    let missing = || LoadError::Io { file: path.to_path_buf(), source: std::io::ErrorKind::NotFound.into() };
    let first = files.first().ok_or_else(missing)?;
    let config = ModelConfig::of_gguf(&files, endings(first)?)?;
    let vocabulary = VocabularyFiles::of_gguf(first)?;
    let tables: Vec<Vec<(String, Entry)>> =
        files.into_iter().map(|file| file.into_tensors().into_iter().map(listed).collect()).collect();
    let containers = mapped.into_iter().zip(tables);
    let containers = containers.map(|((path, mapping), tensors)| Container { path, mapping, tensors });
    let weights = Weights::of_files(containers.collect(), path.to_path_buf())?;
    Ok(Opened { config, weights, vocabulary })
}

fn listed(entry: super::Entry) -> (String, Entry) {
    let dtype = match entry.stored {
        Stored::As(dtype) => Ok(dtype),
        Stored::Foreign(number) => Err(super::table::name(number)),
    };
    (entry.name, Entry { dtype, shape: entry.shape, offset: entry.offset, len: entry.bytes })
}

#[cfg(test)]
mod tests;
