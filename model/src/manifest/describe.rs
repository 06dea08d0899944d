//! The manifest of a checkpoint where it lies: every byte of its weights is read once.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use counterfoil_spec::ids::Hash;

use super::check::describable;
use super::{ExpertRecord, FileRecord, Manifest, PartRecord, wide};
use crate::checkpoint::Checkpoint;
use crate::dtype::ElementType;
use crate::error::LoadError;
use crate::names::{Role, Tensor};
use crate::shard::Shard;
use crate::shard_hash::ShardHasher;
use crate::weights::Stored;

/// What is told how many bytes of how many are done; from any thread.
pub type Progress<'a> = &'a (dyn Fn(u64, u64) + Sync);

impl Manifest {
    /// Whether one can be made of a checkpoint.
    ///
    /// # Errors
    /// [`LoadError::FileName`] or [`LoadError::TooLarge`].
    pub(crate) fn expect_describable(checkpoint: &Checkpoint) -> Result<(), LoadError> {
        describable(checkpoint)
    }

    /// Reads all weights of a checkpoint, on as many threads as the machine has cores.
    pub(crate) fn of(checkpoint: &Checkpoint, progress: Progress<'_>) -> Self {
        let config = checkpoint.config().clone();
        let (files, numbers) = files(checkpoint);
        let dense = dense(checkpoint);
        let pairs: Vec<(u32, u16)> = config.all_experts().collect();
        let meter = Meter::new(bytes(checkpoint, &dense, &pairs), progress);
        let record = |(layer, expert): (u32, u16)| {
            // Opening the checkpoint has found every expert's tensors.
            #[expect(clippy::expect_used, reason = "checked when the checkpoint was opened")]
            let shard = checkpoint.shard(layer, expert).expect("an expert of the model");
            record(&shard, &numbers, &meter)
        };
        let (experts, dense) = std::thread::scope(|threads| {
            // The dense weights are one hash; it is made beside the others.
            let dense = threads.spawn(|| dense_hash(&dense, &meter));
            let experts = in_parallel(&pairs, record);
            #[expect(clippy::expect_used, reason = "it does not panic; if it did, so does this")]
            (experts, dense.join().expect("the thread that hashes dense weights"))
        });
        // All was read once; what is computed with is fetched when it is loaded.
        checkpoint.weights().let_go();
        Self { config, vocabulary: checkpoint.vocabulary_files().hash(), dense, files, experts }
    }
}

/// Maps items on as many threads as the machine has cores; the results are in the order of the items.
pub(crate) fn in_parallel<T: Sync + Copy, R: Send>(items: &[T], work: impl Fn(T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let run = || {
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(at) else { return done };
            done.push((at, work(*item)));
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(items.len()).max(1);
    let mut done: Vec<(usize, R)> = std::thread::scope(|scope| {
        let all: Vec<_> = (1..threads).map(|_| scope.spawn(run)).collect();
        let mut done = run();
        #[expect(clippy::expect_used, reason = "what panics in the work panics here too")]
        done.extend(all.into_iter().flat_map(|thread| thread.join().expect("a thread of the work")));
        done
    });
    done.sort_unstable_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}

/// Counts bytes for whoever watches.
pub(crate) struct Meter<'a> {
    done: AtomicU64,
    total: u64,
    progress: Progress<'a>,
}

impl<'a> Meter<'a> {
    pub(crate) fn new(total: u64, progress: Progress<'a>) -> Self {
        progress(0, total);
        Self { done: AtomicU64::new(0), total, progress }
    }

    pub(crate) fn add(&self, bytes: usize) {
        let before = self.done.fetch_add(wide(bytes), Ordering::Relaxed);
        (self.progress)(before.saturating_add(wide(bytes)), self.total);
    }
}

/// The files by ascending name, and the number in that order of each of the checkpoint's.
fn files(checkpoint: &Checkpoint) -> (Vec<FileRecord>, Vec<u32>) {
    let named: Vec<FileRecord> =
        checkpoint.files().map(|(path, size)| FileRecord { name: plain_name(path), size }).collect();
    let mut sorted = named.clone();
    sorted.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    let number = |file: &FileRecord| {
        let at = sorted.binary_search_by(|other| other.name.cmp(&file.name)).unwrap_or_default();
        u32::try_from(at).unwrap_or(u32::MAX)
    };
    let numbers = named.iter().map(number).collect();
    (sorted, numbers)
}

/// What a manifest calls a file of a checkpoint: all of them lie in one folder.
pub(crate) fn plain_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Every tensor that is no expert's, by ascending name. One of a type that is not computed with is no part of the model.
fn dense(checkpoint: &Checkpoint) -> Vec<Stored<'_>> {
    let mut experts = BTreeSet::new();
    for (layer, expert) in checkpoint.config().all_experts() {
        for role in Role::ALL {
            experts.extend(
                checkpoint.locate(Tensor::Expert(layer, expert, role)).map(|found| found.stored.name),
            );
        }
    }
    let weights = checkpoint.weights();
    weights
        .names()
        .filter(|name| !experts.contains(name))
        .filter_map(|name| weights.find(name).ok())
        .collect()
}

fn bytes(checkpoint: &Checkpoint, dense: &[Stored<'_>], pairs: &[(u32, u16)]) -> u64 {
    let dense = dense.iter().map(|stored| wide(stored.bytes.len())).fold(0, u64::saturating_add);
    let shards = pairs.iter().filter_map(|(layer, expert)| checkpoint.shard(*layer, *expert).ok());
    shards.map(|shard| shard.len()).fold(dense, u64::saturating_add)
}

fn record(shard: &Shard<'_>, numbers: &[u32], meter: &Meter<'_>) -> ExpertRecord {
    let mut hasher = ShardHasher::new();
    let parts = shard.parts.map(|part| {
        for piece in part.bytes.chunks(PIECE_BYTES) {
            hasher.update(piece);
            meter.add(piece.len());
        }
        PartRecord {
            dtype: part.dtype,
            file: numbers.get(part.file).copied().unwrap_or(u32::MAX),
            offset: part.offset,
            length: wide(part.bytes.len()),
            transposed: part.transposed,
        }
    });
    let (hash, chunks) = hasher.finish();
    ExpertRecord { size: shard.len(), hash, parts, chunks }
}

fn dense_hash(dense: &[Stored<'_>], meter: &Meter<'_>) -> Hash {
    let mut hasher = DenseHasher::new();
    for stored in dense {
        hasher.begin(stored.name, stored.dtype, stored.shape, wide(stored.bytes.len()));
        for piece in stored.bytes.chunks(PIECE_BYTES) {
            hasher.update(piece);
            meter.add(piece.len());
        }
    }
    hasher.finish()
}

/// The hash of these tensors, which are in ascending order of names.
pub(crate) fn dense_hash_of(dense: &[Stored<'_>]) -> Hash {
    dense_hash(dense, &Meter::new(0, &|_, _| ()))
}

/// The hash of all tensors that are no expert's; they are entered by ascending name.
pub(crate) struct DenseHasher(blake3::Hasher);

impl DenseHasher {
    pub(crate) fn new() -> Self {
        Self(blake3::Hasher::new_derive_key("counterfoil v1 dense-weights"))
    }

    /// What stands before a tensor's bytes.
    pub(crate) fn begin(&mut self, name: &str, dtype: ElementType, shape: &[usize], bytes: u64) {
        self.0.update(&wide(name.len()).to_le_bytes());
        self.0.update(name.as_bytes());
        self.0.update(&dtype.number().to_le_bytes());
        self.0.update(&wide(shape.len()).to_le_bytes());
        for dimension in shape {
            self.0.update(&wide(*dimension).to_le_bytes());
        }
        self.0.update(&bytes.to_le_bytes());
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(self) -> Hash {
        Hash::from_bytes(*self.0.finalize().as_bytes())
    }
}

/// How much is hashed between two reports.
const PIECE_BYTES: usize = 8 * 1024 * 1024;
