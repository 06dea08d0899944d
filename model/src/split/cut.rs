//! Cutting a checkpoint into a split folder, quantising on the way where that is asked for.

use std::path::Path;

use counterfoil_spec::ids::ManifestId;

use super::work::Sink;
use super::{Existing, Quant, Source, SplitError, SplitFolder, TEXT_FILES, Work};
use crate::checkpoint::Checkpoint;
use crate::config::ModelConfig;
use crate::dtype::ElementType;
use crate::layout::{Laid, lay};
use crate::manifest::Progress;
use crate::names::Tensor;
use crate::names::canonical;
use crate::quant;
use crate::weights::Located;

/// What a split folder will hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SplitPlan {
    /// Bytes of the dense file's tensors.
    pub dense_bytes: u64,
    /// Bytes of all shards.
    pub shard_bytes: u64,
    /// How many matrices of experts there are in each element type.
    pub expert_types: Vec<(ElementType, usize)>,
    /// The large matrices that were to be quantised and whose rows do not allow it, by our own names.
    pub kept: Vec<String>,
}

/// Cuts a checkpoint. What was cut before by the same, interrupted work is not cut again.
///
/// # Errors
/// [`SplitError`]; then the folder has no manifest, and the same call goes on where it ended.
pub fn split(
    checkpoint: &Checkpoint,
    quant: Quant,
    (folder, existing): (&Path, Existing),
    progress: Progress<'_>,
) -> Result<(ManifestId, SplitPlan), SplitError> {
    let source = Cut { checkpoint, quant };
    let work = Work::plan(&source)?;
    let plan = source.plan(&work);
    let folder = SplitFolder::begin(folder, &source.job(), existing)?;
    let texts = checkpoint.vocabulary_files();
    for (name, bytes) in TEXT_FILES.into_iter().zip(texts.parts()) {
        if let Some(bytes) = bytes {
            folder.write(name, bytes)?;
        }
    }
    let manifest = work.write(folder, texts.hash(), progress)?;
    Ok((manifest.id(), plan))
}

/// A checkpoint as the source of a split folder.
struct Cut<'a> {
    checkpoint: &'a Checkpoint,
    quant: Quant,
}

impl Cut<'_> {
    fn plan(&self, work: &Work<'_>) -> SplitPlan {
        let mut expert_types: Vec<(ElementType, usize)> = Vec::new();
        for part in work.expert_parts() {
            match expert_types.iter_mut().find(|(dtype, _)| *dtype == part.dtype) {
                Some((_, count)) => *count += 1,
                None => expert_types.push((part.dtype, 1)),
            }
        }
        let all = work.dense().iter().chain(work.expert_parts());
        let thwarted = all.filter(|p| self.quant.is_thwarted(p.tensor, p.shape[1], p.dtype));
        SplitPlan {
            dense_bytes: work.dense_bytes(),
            shard_bytes: work.shard_bytes(),
            expert_types,
            kept: thwarted.map(|planned| canonical::name(planned.tensor)).collect(),
        }
    }

    /// What tells this work from other work: the files it is made of, and what is made of them.
    fn job(&self) -> String {
        use std::fmt::Write;
        let mut job = format!("{:?}\n{:?}\n", self.quant, self.checkpoint.config());
        for (path, size) in self.checkpoint.files() {
            let changed = std::fs::metadata(path).and_then(|m| m.modified()).ok();
            let changed = changed.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
            let path = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
            // Writing to a string does not fail.
            let _ = writeln!(job, "{} {size} {changed:?}", path.display());
        }
        job
    }
}

impl Source for Cut<'_> {
    fn config(&self) -> &ModelConfig {
        self.checkpoint.config()
    }

    fn dtype(&self, tensor: Tensor) -> Result<ElementType, SplitError> {
        let found = self.checkpoint.locate(tensor)?;
        let [_, inner] = found.shape;
        Ok(self.quant.of(tensor, inner, laid_dtype(&found)))
    }

    fn write(&self, tensor: Tensor, dtype: ElementType, sink: Sink<'_>) -> Result<(), SplitError> {
        let laid = lay(&self.checkpoint.locate(tensor)?)?;
        if laid.dtype == dtype {
            return laid.bytes.bytes().chunks(PIECE_BYTES).try_for_each(sink);
        }
        requantise(&laid, dtype, sink).map_err(|fault| match fault {
            Fault::Sink(e) => e,
            Fault::Quantise(source) => SplitError::Quantise { tensor: canonical::name(tensor), source },
        })
    }
}

/// In which type a tensor's rows come when they are laid out: blocks cannot be turned, floats can.
fn laid_dtype(found: &Located<'_>) -> ElementType {
    match found.stored.dtype {
        dtype if found.place.transposed && !dtype.is_float() => ElementType::F32,
        dtype => dtype,
    }
}

enum Fault {
    Sink(SplitError),
    Quantise(quant::Unquantisable),
}

fn requantise(laid: &Laid, dtype: ElementType, sink: Sink<'_>) -> Result<(), Fault> {
    let [_, inner] = laid.shape;
    let Some(row) = laid.dtype.row_bytes(inner).filter(|row| *row > 0) else { return Ok(()) };
    let mut values = vec![0.0; inner];
    let mut out = Vec::with_capacity(PIECE_BYTES);
    for bytes in laid.bytes.bytes().chunks_exact(row) {
        quant::widen(laid.dtype, bytes, &mut values);
        quant::quantise(dtype, &values, &mut out).map_err(Fault::Quantise)?;
        if out.len() >= PIECE_BYTES / 2 {
            sink(&out).map_err(Fault::Sink)?;
            out.clear();
        }
    }
    sink(&out).map_err(Fault::Sink)
}

/// How much is handed over at once.
const PIECE_BYTES: usize = 4 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::split::{MANIFEST_FILE, SHARDS_FOLDER, shard_name};

    #[test]
    fn interrupted_work_goes_on_with_the_shards_that_are_whole() {
        let guide = Checkpoint::guide().unwrap();
        let at = tempfile::tempdir().unwrap();
        let cut = || split(&guide, Quant::Q8_0, (at.path(), Existing::Refuse), &|_, _| ()).unwrap().0;
        let id = cut();
        let shard = |expert| at.path().join(SHARDS_FOLDER).join(shard_name(0, expert));
        let before = std::fs::metadata(shard(0)).unwrap().ino();
        // As an interruption leaves it: no manifest, a shard of which only the beginning came, the mark of the work.
        std::fs::remove_file(at.path().join(MANIFEST_FILE)).unwrap();
        std::fs::rename(shard(1), shard(1).with_extension("shard.part")).unwrap();
        let job = Cut { checkpoint: &guide, quant: Quant::Q8_0 }.job();
        std::fs::write(at.path().join(".counterfoil-split"), job).unwrap();
        assert_eq!(cut(), id);
        assert_eq!(std::fs::metadata(shard(0)).unwrap().ino(), before);
        assert!(!shard(1).with_extension("shard.part").exists());
        assert_eq!(Checkpoint::open(at.path()).unwrap().manifest_id(), id);
    }
}
