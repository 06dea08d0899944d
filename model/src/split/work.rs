//! Writing a split folder from whatever gives the bytes of each tensor.

use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use counterfoil_spec::ids::Hash;
use counterfoil_spec::limits::MAX_MANIFEST_EXPERTS;

use super::folder::io;
use super::{DENSE_FILE, SHARDS_FOLDER, SplitError, SplitFolder, shard_name};
use crate::config::ModelConfig;
use crate::dtype::ElementType;
use crate::durable::Fresh;
use crate::manifest::{ExpertRecord, FileRecord, Manifest, Meter, PartRecord, Progress, in_parallel, wide};
use crate::mapping::Mapping;
use crate::names::{Role, Tensor};
use crate::shard_hash::ShardHasher;

/// Takes bytes in pieces.
pub(crate) type Sink<'a> = &'a mut dyn FnMut(&[u8]) -> Result<(), SplitError>;

/// What a split folder is made of.
pub(crate) trait Source: Sync {
    /// The configuration.
    fn config(&self) -> &ModelConfig;

    /// The element type that a tensor is to be stored in.
    fn dtype(&self, tensor: Tensor) -> Result<ElementType, SplitError>;

    /// Hands over the bytes of a tensor in that type, row by row, never much at once.
    fn write(&self, tensor: Tensor, dtype: ElementType, sink: Sink<'_>) -> Result<(), SplitError>;
}

/// A tensor as it will be stored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Planned {
    pub(crate) tensor: Tensor,
    pub(crate) dtype: ElementType,
    pub(crate) shape: [usize; 2],
}

/// Everything that will be written.
pub(crate) struct Work<'a> {
    source: &'a dyn Source,
    dense: Vec<Planned>,
    /// By ascending (layer, expert).
    experts: Vec<((u32, u16), [Planned; 3])>,
}

impl Planned {
    pub(crate) fn of(source: &dyn Source, tensor: Tensor) -> Result<Self, SplitError> {
        Ok(Self { tensor, dtype: source.dtype(tensor)?, shape: tensor.shape(source.config()) })
    }

    /// A vector has one dimension.
    pub(crate) fn stored_shape(&self) -> Vec<usize> {
        match self.shape {
            [1, width] => vec![width],
            shape => shape.to_vec(),
        }
    }

    /// Bytes of all rows.
    pub(crate) fn bytes(&self) -> u64 {
        let [outputs, inner] = self.shape;
        let row = self.dtype.row_bytes(inner).map_or(u64::MAX, wide);
        row.saturating_mul(wide(outputs))
    }
}

impl<'a> Work<'a> {
    /// Asks for every tensor's type. Nothing is read yet but headers.
    pub(crate) fn plan(source: &'a dyn Source) -> Result<Self, SplitError> {
        let config = source.config();
        let count = config.all_experts().count();
        if count > MAX_MANIFEST_EXPERTS {
            return Err(SplitError::TooMany { experts: count, limit: MAX_MANIFEST_EXPERTS });
        }
        let dense = Tensor::dense(config).into_iter().map(|tensor| Planned::of(source, tensor));
        let expert = |(layer, expert): (u32, u16)| {
            let part = |role| Planned::of(source, Tensor::Expert(layer, expert, role));
            let [gate, up, down] = Role::ALL;
            Ok::<_, SplitError>(((layer, expert), [part(gate)?, part(up)?, part(down)?]))
        };
        Ok(Self {
            source,
            dense: dense.collect::<Result<_, _>>()?,
            experts: config.all_experts().map(expert).collect::<Result<_, _>>()?,
        })
    }

    /// Bytes of the dense tensors.
    pub(crate) fn dense_bytes(&self) -> u64 {
        self.dense.iter().map(Planned::bytes).fold(0, u64::saturating_add)
    }

    /// Bytes of all shards.
    pub(crate) fn shard_bytes(&self) -> u64 {
        let parts = self.experts.iter().flat_map(|(_, parts)| parts);
        parts.map(Planned::bytes).fold(0, u64::saturating_add)
    }

    /// The tensors that are no expert's, in the order of the dense file.
    pub(crate) fn dense(&self) -> &[Planned] {
        &self.dense
    }

    /// The matrices of all experts.
    pub(crate) fn expert_parts(&self) -> impl Iterator<Item = &Planned> {
        self.experts.iter().flat_map(|(_, parts)| parts)
    }

    /// Writes everything, and the manifest last.
    pub(crate) fn write(
        &self,
        folder: SplitFolder,
        vocabulary: Hash,
        progress: Progress<'_>,
    ) -> Result<Manifest, SplitError> {
        let meter = Meter::new(self.dense_bytes().saturating_add(self.shard_bytes()), progress);
        let dense = folder.path().join(DENSE_FILE);
        let dense_hash = super::dense::write(&dense, self.source, &self.dense, &meter)?;
        let records = self.shards(&folder.shards(), &meter)?;
        let (files, experts) = self.number(&dense, records)?;
        let manifest =
            Manifest::of_parts(self.source.config().clone(), vocabulary, dense_hash, files, experts);
        folder.finish(&manifest.to_bytes())?;
        Ok(manifest)
    }

    /// Writes the shards on as many threads as there are cores. After the first fault no other is begun.
    fn shards(&self, folder: &Path, meter: &Meter<'_>) -> Result<Vec<ExpertRecord>, SplitError> {
        let failed = AtomicBool::new(false);
        let all: Vec<&((u32, u16), [Planned; 3])> = self.experts.iter().collect();
        let records = in_parallel(&all, |(expert, parts)| {
            if failed.load(Ordering::Relaxed) {
                return None;
            }
            let record = self.shard(&folder.join(shard_name(expert.0, expert.1)), parts, meter);
            failed.fetch_or(record.is_err(), Ordering::Relaxed);
            Some(record)
        });
        let mut good = Vec::with_capacity(records.len());
        let mut fault = None;
        for record in records.into_iter().flatten() {
            match record {
                Ok(record) => good.push(record),
                Err(e) => fault = fault.or(Some(e)),
            }
        }
        fault.map_or(Ok(good), Err)
    }

    /// Writes one shard, or hashes it where it has been written before.
    fn shard(
        &self,
        path: &Path,
        parts: &[Planned; 3],
        meter: &Meter<'_>,
    ) -> Result<ExpertRecord, SplitError> {
        let size = parts.iter().map(Planned::bytes).fold(0, u64::saturating_add);
        let mut hasher = ShardHasher::new();
        if std::fs::metadata(path).is_ok_and(|found| found.len() == size) {
            let whole = Mapping::open(path.to_path_buf())?;
            for piece in whole.bytes().chunks(PIECE_BYTES) {
                hasher.update(piece);
                meter.add(piece.len());
            }
        } else {
            let mut file = Fresh::create(path).map_err(io(path))?;
            for part in parts {
                self.source.write(part.tensor, part.dtype, &mut |bytes| {
                    hasher.update(bytes);
                    meter.add(bytes.len());
                    file.write_all(bytes).map_err(io(path))
                })?;
            }
            file.keep().map_err(io(path))?;
        }
        let (hash, chunks) = hasher.finish();
        let mut offset = 0;
        let parts = parts.map(|part| {
            let length = part.bytes();
            let record = PartRecord { dtype: part.dtype, file: 0, offset, length, transposed: false };
            offset += length;
            record
        });
        Ok(ExpertRecord { size, hash, parts, chunks })
    }

    /// Names the files in ascending order and tells each expert which one is its own.
    fn number(
        &self,
        dense: &Path,
        mut records: Vec<ExpertRecord>,
    ) -> Result<(Vec<FileRecord>, Vec<ExpertRecord>), SplitError> {
        let size = std::fs::metadata(dense).map_err(io(dense))?.len();
        let mut files = vec![FileRecord { name: DENSE_FILE.to_owned(), size }];
        let name = |(layer, expert)| format!("{SHARDS_FOLDER}/{}", shard_name(layer, expert));
        let shards = self.experts.iter().zip(&records);
        files.extend(shards.map(|((at, _), record)| FileRecord { name: name(*at), size: record.size }));
        files.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        for ((at, _), record) in self.experts.iter().zip(&mut records) {
            let name = name(*at);
            let file = files.binary_search_by(|file| file.name.cmp(&name)).unwrap_or_default();
            for part in &mut record.parts {
                part.file = u32::try_from(file).unwrap_or(u32::MAX);
            }
        }
        Ok((files, records))
    }
}

/// How much is hashed between two reports.
const PIECE_BYTES: usize = 4 * 1024 * 1024;
