//! The dense file of a split folder: GGUF, of which the tensors stream past, by our own names in ascending order.

use std::path::Path;

use counterfoil_spec::ids::Hash;

use super::SplitError;
use super::folder::io;
use super::work::{Planned, Source};
use crate::durable::Fresh;
use crate::gguf::{Outline, WriteError};
use crate::manifest::{DenseHasher, Meter};
use crate::names::canonical;

/// What stands in `general.architecture`: the configuration is in the manifest, and names are our own.
const ARCHITECTURE: &str = "counterfoil";

/// Writes the file, and gives the hash of its tensors.
pub(super) fn write(
    path: &Path,
    source: &dyn Source,
    planned: &[Planned],
    meter: &Meter<'_>,
) -> Result<Hash, SplitError> {
    let fault = |e| unwritten(path, e);
    let mut planned: Vec<(String, Planned)> =
        planned.iter().map(|planned| (canonical::name(planned.tensor), *planned)).collect();
    planned.sort_by(|(a, _), (b, _)| a.cmp(b));
    let mut outline = Outline::new(ARCHITECTURE);
    for (name, planned) in &planned {
        outline.tensor(name, &planned.stored_shape(), planned.dtype).map_err(fault)?;
    }
    let file = Fresh::create(path).map_err(io(path))?;
    let mut writer = outline.begin(file).map_err(fault)?;
    let mut hasher = DenseHasher::new();
    for (name, planned) in &planned {
        hasher.begin(name, planned.dtype, &planned.stored_shape(), planned.bytes());
        source.write(planned.tensor, planned.dtype, &mut |bytes| {
            hasher.update(bytes);
            meter.add(bytes.len());
            writer.write(bytes).map_err(fault)
        })?;
    }
    writer.finish().map_err(fault)?.keep().map_err(io(path))?;
    Ok(hasher.finish())
}

/// Names the file in why it was not written.
pub(crate) fn unwritten(path: &Path, e: WriteError) -> SplitError {
    let source = match e {
        WriteError::Io(source) => source,
        other => std::io::Error::other(other),
    };
    SplitError::Io { path: path.to_path_buf(), source }
}
