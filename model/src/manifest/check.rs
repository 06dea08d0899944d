//! What must hold of a manifest before any of it is believed.

use std::path::Path;

use counterfoil_spec::limits::{
    MAX_FILE_NAME_BYTES, MAX_MANIFEST_EXPERTS, MAX_MANIFEST_FILES, SHARD_CHUNK_BYTES,
};

use super::describe::plain_name;
use super::{ExpertRecord, FileRecord, Manifest, PartRecord, wide};
use crate::checkpoint::Checkpoint;
use crate::error::LoadError;

/// Says in words what does not hold.
pub(super) fn check(manifest: &Manifest) -> Result<(), String> {
    files(&manifest.files)?;
    //= spec/model.md#bytes
    //# A manifest MUST be refused where it has not one expert for each expert of each layer that has experts.
    let (layers, experts) = (manifest.config.moe_layers().len(), manifest.config.experts);
    let wanted = wide(layers).saturating_mul(u64::from(experts));
    if wide(manifest.experts.len()) != wanted {
        let found = manifest.experts.len();
        return Err(format!("{found} expert records, not {layers} times {experts}"));
    }
    if manifest.experts.len() > MAX_MANIFEST_EXPERTS {
        return Err(format!("{wanted} expert records, more than the limit of {MAX_MANIFEST_EXPERTS}"));
    }
    for ((layer, expert), record) in manifest.experts() {
        check_expert(manifest, record).map_err(|e| format!("expert {expert} of layer {layer}: {e}"))?;
    }
    Ok(())
}

/// Whether a checkpoint is one that a manifest can be made of, before anything of it is hashed.
pub(super) fn describable(checkpoint: &Checkpoint) -> Result<(), LoadError> {
    if let Some((file, _)) = checkpoint.files().find(|(path, _)| !is_plain(&plain_name(path))) {
        return Err(LoadError::FileName { file: file.to_path_buf(), limit: MAX_FILE_NAME_BYTES });
    }
    let first = checkpoint.files().next().map(|(path, _)| path.to_path_buf()).unwrap_or_default();
    let experts = checkpoint.config().all_experts().count();
    let (files, limits) = (checkpoint.files().count(), [MAX_MANIFEST_EXPERTS, MAX_MANIFEST_FILES]);
    for ((what, found), limit) in [("experts", experts), ("files", files)].into_iter().zip(limits) {
        if found > limit {
            let (found, limit) = (wide(found), wide(limit));
            return Err(LoadError::TooLarge { file: first, what, found, limit });
        }
    }
    Ok(())
}

fn files(files: &[FileRecord]) -> Result<(), String> {
    if files.len() > MAX_MANIFEST_FILES {
        return Err(format!("{} files, more than the limit of {MAX_MANIFEST_FILES}", files.len()));
    }
    for (file, next) in files.iter().zip(files.iter().skip(1)) {
        if file.name >= next.name {
            return Err(format!("file {:?} stands before {:?}", file.name, next.name));
        }
    }
    match files.iter().find(|file| !is_plain(&file.name)) {
        Some(file) => Err(format!("{:?} is not a plain relative file name", file.name)),
        None => Ok(()),
    }
}

/// Whether a file name stays below the folder that it is looked for in, on any system.
fn is_plain(name: &str) -> bool {
    //= spec/model.md#bytes
    //# A file's name MUST be relative, of plain components separated by `/`, and MUST NOT contain `..`, a backslash, a
    //# colon or a control character.
    let plain = |part: &str| !part.is_empty() && part != "." && part != "..";
    name.len() <= MAX_FILE_NAME_BYTES
        && name.split('/').all(plain)
        && !name.contains("..")
        && !name.contains(|c: char| c == '\\' || c == ':' || c.is_control())
        && Path::new(name).is_relative()
}

fn check_expert(manifest: &Manifest, record: &ExpertRecord) -> Result<(), String> {
    let (hidden, inner) = (manifest.config.hidden, manifest.config.inner);
    let shapes = [(inner, hidden), (inner, hidden), (hidden, inner)];
    let mut size = 0_u64;
    for (part, shape) in record.parts.iter().zip(shapes) {
        check_part(&manifest.files, part, shape)?;
        size = size.checked_add(part.length).ok_or("a size beyond counting")?;
    }
    if record.size != size {
        return Err(format!("its size is {}, its parts are {size} bytes", record.size));
    }
    let chunks = size.div_ceil(wide(SHARD_CHUNK_BYTES));
    if wide(record.chunks.len()) != chunks {
        return Err(format!("{} chunk hashes for {size} bytes, not {chunks}", record.chunks.len()));
    }
    Ok(())
}

/// `shape` is (rows, values of a row) as it is computed with.
fn check_part(files: &[FileRecord], part: &PartRecord, shape: (usize, usize)) -> Result<(), String> {
    if part.transposed && !part.dtype.is_float() {
        return Err(format!("a transposed matrix of {}", part.dtype.name()));
    }
    let (rows, values) = if part.transposed { (shape.1, shape.0) } else { shape };
    let wanted = part.dtype.row_bytes(values).and_then(|bytes| bytes.checked_mul(rows)).map(wide);
    if wanted != Some(part.length) {
        let (length, name) = (part.length, part.dtype.name());
        return Err(format!("{length} bytes for {rows} rows of {values} values in {name}"));
    }
    let file = usize::try_from(part.file).ok().and_then(|at| files.get(at));
    let file = file.ok_or_else(|| format!("there is no file {}", part.file))?;
    match part.offset.checked_add(part.length) {
        Some(end) if end <= file.size => Ok(()),
        _ => Err(format!("bytes {} and {} more do not lie within {}", part.offset, part.length, file.name)),
    }
}
