//! Sets: one model in several files, `NAME-00001-of-00003.gguf` and so on, as llama.cpp splits them.

use std::path::{Path, PathBuf};

use counterfoil_spec::limits::MAX_WEIGHTS_FILES;

use super::Gguf;
use crate::error::LoadError;

/// All files of the set that a file belongs to, by its name, in order; a file that is not named so stands alone.
///
/// # Errors
/// [`LoadError`] where the name says something impossible.
pub fn files_of_set(path: &Path) -> Result<Vec<PathBuf>, LoadError> {
    let Some((stem, at, count)) = path.file_name().and_then(|name| name.to_str()).and_then(parts) else {
        return Ok(vec![path.to_path_buf()]);
    };
    let malformed = |reason| LoadError::Malformed { file: path.to_path_buf(), reason };
    let files = usize::try_from(count).unwrap_or(usize::MAX);
    if files > MAX_WEIGHTS_FILES {
        let limit = u64::try_from(MAX_WEIGHTS_FILES).unwrap_or(u64::MAX);
        return Err(LoadError::TooLarge {
            file: path.to_path_buf(),
            what: "files in the set",
            found: count.into(),
            limit,
        });
    }
    if at == 0 || at > count {
        return Err(malformed(format!("file {at} of a set of {count} cannot be")));
    }
    Ok((1..=count).map(|at| path.with_file_name(format!("{stem}-{at:05}-of-{count:05}.gguf"))).collect())
}

/// `NAME-00001-of-00003.gguf` as name, number and count.
fn parts(name: &str) -> Option<(&str, u32, u32)> {
    let rest = name.strip_suffix(".gguf")?;
    let (rest, count) = rest.rsplit_once("-of-")?;
    let (stem, at) = rest.rsplit_once('-')?;
    let number = |text: &str| {
        let digits = text.len() == 5 && text.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| text.parse().ok()).flatten()
    };
    Some((stem, number(at)?, number(count)?))
}

/// Whether the files of a set, in order, are that set: each says which file of how many it is, and together they hold
/// as many tensors as they say.
///
/// # Errors
/// [`LoadError::Malformed`] names the file that does not fit.
pub fn check_set(files: &[Gguf<'_>]) -> Result<(), LoadError> {
    let wide = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    let tensors: usize = files.iter().map(|file| file.tensors().len()).sum();
    for (at, file) in files.iter().enumerate() {
        let count = file.unsigned("split.count")?.unwrap_or(1).max(1);
        let number = file.unsigned("split.no")?.unwrap_or(0);
        if (number, count) != (wide(at), wide(files.len())) {
            return Err(file.malformed(format!(
                "it says that it is file {} of {count}, and it was opened as file {} of {}",
                number.saturating_add(1),
                at + 1,
                files.len()
            )));
        }
        let all = file.unsigned("split.tensors.count")?.filter(|all| *all != wide(tensors));
        if let Some(all) = all {
            return Err(file.malformed(format!("the set should have {all} tensors and has {tensors}")));
        }
    }
    Ok(())
}
