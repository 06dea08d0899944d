//! The hash of one expert's shard and of each chunk of it: made, and checked while the bytes come in.

use counterfoil_spec::ids::Hash;
use counterfoil_spec::limits::SHARD_CHUNK_BYTES;

use crate::manifest::ExpertRecord;

const SHARD: &str = "counterfoil v1 shard";
const CHUNK: &str = "counterfoil v1 shard-chunk";

/// Why the bytes of a shard are not those of the manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadShard {
    /// A chunk has another hash.
    #[error("chunk {index} is not what the manifest says")]
    Chunk {
        /// Which; the first is 0.
        index: usize,
    },
    /// Every chunk is right and the whole is not: the manifest contradicts itself.
    #[error("all chunks are what the manifest says and the whole is not")]
    Whole,
    /// More bytes than the shard has.
    #[error("more than the {size} bytes that the manifest gives it")]
    TooLong {
        /// Bytes of the shard.
        size: u64,
    },
    /// It ends early.
    #[error("{found} of {size} bytes")]
    TooShort {
        /// Bytes that came.
        found: u64,
        /// Bytes of the shard.
        size: u64,
    },
}

/// Checks a shard chunk by chunk while it streams in, from its first byte on.
///
/// What [`Self::take`] hands out is checked and may be kept. After an error the verifier stands behind the last good
/// chunk, at [`Self::position`], and takes the bytes from there on from another source. To go on with what an earlier
/// attempt left on disk, feed that to it first.
#[derive(Debug)]
pub struct ShardVerifier {
    record: ExpertRecord,
    whole: blake3::Hasher,
    pending: Vec<u8>,
    /// Whether `pending` is a chunk that was handed out.
    handed_out: bool,
    chunks: usize,
    position: u64,
}

impl ShardVerifier {
    /// Expects the shard of this record.
    #[must_use]
    pub fn new(record: &ExpertRecord) -> Self {
        Self {
            record: record.clone(),
            whole: blake3::Hasher::new_derive_key(SHARD),
            pending: Vec::new(),
            handed_out: false,
            chunks: 0,
            position: 0,
        }
    }

    /// How many bytes from the shard's beginning are good.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.position
    }

    /// The first chunk that is not here yet.
    #[must_use]
    pub const fn next_chunk(&self) -> usize {
        self.chunks
    }

    /// Whether all bytes came and were good.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.position == self.record.size
    }

    /// Takes bytes off the front of `bytes`; gives a chunk as soon as it is whole and found good, `None` when `bytes`
    /// is used up.
    ///
    /// # Errors
    /// [`BadShard::Chunk`] at the end of a chunk that is not the manifest's; it is dropped, and so is what `bytes`
    /// still holds. [`BadShard::TooLong`] where bytes follow the last chunk, [`BadShard::Whole`] at the last chunk.
    pub fn take(&mut self, bytes: &mut &[u8]) -> Result<Option<&[u8]>, BadShard> {
        if std::mem::take(&mut self.handed_out) {
            self.pending.clear();
        }
        let left = self.record.size - self.position;
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(SHARD_CHUNK_BYTES);
        if length == 0 {
            let size = self.record.size;
            return if bytes.is_empty() { Ok(None) } else { Err(BadShard::TooLong { size }) };
        }
        let (now, later) = bytes.split_at(bytes.len().min(length - self.pending.len()));
        self.pending.extend_from_slice(now);
        *bytes = later;
        if self.pending.len() < length {
            return Ok(None);
        }
        self.check_chunk()?;
        self.handed_out = true;
        Ok(Some(&self.pending))
    }

    fn check_chunk(&mut self) -> Result<(), BadShard> {
        //= spec/model.md#shards
        //# A chunk MUST be compared with its hash before it is kept, computed with or passed on.
        if self.record.chunks.get(self.chunks) != Some(&chunk_hash(&self.pending)) {
            self.pending.clear();
            return Err(BadShard::Chunk { index: self.chunks });
        }
        let position = self.position + crate::manifest::wide(self.pending.len());
        let mut whole = self.whole.clone();
        whole.update(&self.pending);
        if position == self.record.size && finish(&whole) != self.record.hash {
            self.pending.clear();
            return Err(BadShard::Whole);
        }
        self.whole = whole;
        self.chunks += 1;
        self.position = position;
        Ok(())
    }

    /// Drops a chunk that has begun: the next bytes are those from [`Self::position`] on.
    pub fn restart_chunk(&mut self) {
        self.pending.clear();
        self.handed_out = false;
    }

    /// Whether the whole shard came.
    ///
    /// # Errors
    /// [`BadShard::TooShort`].
    pub fn finish(&self) -> Result<(), BadShard> {
        if self.is_complete() {
            return Ok(());
        }
        Err(BadShard::TooShort { found: self.position, size: self.record.size })
    }
}

impl ExpertRecord {
    /// Whether these bytes are that chunk of the shard.
    #[must_use]
    pub fn is_chunk(&self, index: usize, bytes: &[u8]) -> bool {
        self.chunks.get(index) == Some(&chunk_hash(bytes))
    }
}

/// Checks a whole shard that is at hand.
///
/// # Errors
/// [`BadShard`], of the first chunk that is not the manifest's.
pub fn check_shard(record: &ExpertRecord, shard: &[u8]) -> Result<(), BadShard> {
    let found = crate::manifest::wide(shard.len());
    let size = record.size;
    match found.cmp(&size) {
        std::cmp::Ordering::Less => return Err(BadShard::TooShort { found, size }),
        std::cmp::Ordering::Greater => return Err(BadShard::TooLong { size }),
        std::cmp::Ordering::Equal => {}
    }
    for (index, (chunk, hash)) in shard.chunks(SHARD_CHUNK_BYTES).zip(&record.chunks).enumerate() {
        if chunk_hash(chunk) != *hash {
            return Err(BadShard::Chunk { index });
        }
    }
    Ok(())
}

/// The hash of a shard that is given in pieces, and the hashes of its chunks, in one pass.
pub(crate) struct ShardHasher {
    whole: blake3::Hasher,
    chunk: blake3::Hasher,
    filled: usize,
    chunks: Vec<Hash>,
}

impl ShardHasher {
    pub(crate) fn new() -> Self {
        Self {
            whole: blake3::Hasher::new_derive_key(SHARD),
            chunk: blake3::Hasher::new_derive_key(CHUNK),
            filled: 0,
            chunks: Vec::new(),
        }
    }

    pub(crate) fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(SHARD_CHUNK_BYTES - self.filled));
            self.whole.update(now);
            self.chunk.update(now);
            self.filled += now.len();
            bytes = later;
            if self.filled == SHARD_CHUNK_BYTES {
                self.end_chunk();
            }
        }
    }

    pub(crate) fn finish(mut self) -> (Hash, Vec<Hash>) {
        if self.filled > 0 {
            self.end_chunk();
        }
        (finish(&self.whole), self.chunks)
    }

    fn end_chunk(&mut self) {
        self.chunks.push(finish(&self.chunk));
        self.chunk.reset();
        self.filled = 0;
    }
}

fn chunk_hash(chunk: &[u8]) -> Hash {
    let mut hasher = blake3::Hasher::new_derive_key(CHUNK);
    hasher.update(chunk);
    finish(&hasher)
}

fn finish(hasher: &blake3::Hasher) -> Hash {
    Hash::from_bytes(*hasher.finalize().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::ElementType;
    use crate::manifest::PartRecord;

    const MIB: usize = SHARD_CHUNK_BYTES;

    fn shard() -> (Vec<u8>, ExpertRecord) {
        let bytes: Vec<u8> = (0..2 * MIB + 100).map(|i| u8::try_from(i * 31 % 251).unwrap()).collect();
        let mut hasher = ShardHasher::new();
        for piece in bytes.chunks(700_001) {
            hasher.update(piece);
        }
        let (hash, chunks) = hasher.finish();
        let part = PartRecord { dtype: ElementType::F32, file: 0, offset: 0, length: 1, transposed: false };
        let size = crate::manifest::wide(bytes.len());
        (bytes, ExpertRecord { size, hash, parts: [part; 3], chunks })
    }

    fn drain(verifier: &mut ShardVerifier, mut bytes: &[u8]) -> Result<Vec<u8>, BadShard> {
        let mut good = Vec::new();
        while let Some(chunk) = verifier.take(&mut bytes)? {
            good.extend_from_slice(chunk);
        }
        Ok(good)
    }

    #[test]
    fn pieces_of_any_size_give_the_hashes_of_the_definition() {
        let (bytes, record) = shard();
        assert_eq!(record.hash.as_bytes(), &blake3::derive_key(SHARD, &bytes));
        let chunks: Vec<[u8; 32]> = bytes.chunks(MIB).map(|c| blake3::derive_key(CHUNK, c)).collect();
        assert_eq!(record.chunks.iter().map(|c| *c.as_bytes()).collect::<Vec<_>>(), chunks);
        assert_eq!(chunks.len(), 3);
    }

    #[test]
    fn a_stream_is_handed_out_chunk_by_chunk() {
        let (bytes, record) = shard();
        let mut verifier = ShardVerifier::new(&record);
        let mut good = Vec::new();
        for piece in bytes.chunks(300_007) {
            good.extend(drain(&mut verifier, piece).unwrap());
            assert_eq!(verifier.position(), crate::manifest::wide(good.len()));
            assert!(good.len().is_multiple_of(MIB) || good.len() == bytes.len());
        }
        assert_eq!((verifier.finish(), verifier.next_chunk()), (Ok(()), 3));
        assert_eq!(good, bytes);
        let size = record.size;
        assert_eq!(drain(&mut verifier, &[0]), Err(BadShard::TooLong { size }));
        assert_eq!(check_shard(&record, &bytes), Ok(()));
    }

    #[test]
    fn a_bad_chunk_is_refused_at_its_end_and_another_source_goes_on_there() {
        let (bytes, record) = shard();
        let mut bad = bytes.clone();
        bad[MIB + 5] ^= 1;
        let mut verifier = ShardVerifier::new(&record);
        assert_eq!(drain(&mut verifier, &bad[..MIB + 6]), Ok(bytes[..MIB].to_vec()));
        assert_eq!(drain(&mut verifier, &bad[MIB + 6..]), Err(BadShard::Chunk { index: 1 }));
        assert_eq!((verifier.position(), verifier.next_chunk()), (crate::manifest::wide(MIB), 1));
        assert_eq!(
            verifier.finish(),
            Err(BadShard::TooShort { found: crate::manifest::wide(MIB), size: record.size })
        );
        assert_eq!(drain(&mut verifier, &bytes[MIB..]).as_deref(), Ok(&bytes[MIB..]));
        assert_eq!(verifier.finish(), Ok(()));
        assert_eq!(check_shard(&record, &bad), Err(BadShard::Chunk { index: 1 }));
    }

    #[test]
    fn a_source_that_breaks_off_is_replaced_from_the_last_good_chunk() {
        let (bytes, record) = shard();
        let mut verifier = ShardVerifier::new(&record);
        drain(&mut verifier, &bytes[..MIB + 77]).unwrap();
        verifier.restart_chunk();
        assert_eq!(drain(&mut verifier, &bytes[MIB..]).as_deref(), Ok(&bytes[MIB..]));
    }

    #[test]
    fn a_manifest_whose_whole_contradicts_its_chunks_is_found_out() {
        let (bytes, mut record) = shard();
        record.hash = Hash::from_bytes([0; 32]);
        let mut verifier = ShardVerifier::new(&record);
        assert_eq!(drain(&mut verifier, &bytes), Err(BadShard::Whole));
        // It stands behind the last good chunk, and is not complete.
        let before = u64::try_from(bytes.len() / MIB * MIB).unwrap();
        assert_eq!((verifier.is_complete(), verifier.position()), (false, before));
        assert_eq!(verifier.next_chunk(), bytes.len() / MIB);
    }

    #[test]
    fn lengths_are_compared_first() {
        let (bytes, record) = shard();
        let size = record.size;
        assert_eq!(check_shard(&record, &bytes[1..]), Err(BadShard::TooShort { found: size - 1, size }));
        assert_eq!(check_shard(&record, &[bytes, vec![0]].concat()), Err(BadShard::TooLong { size }));
    }
}
