//! A shard that is coming: every chunk is compared before it is written, and nothing that is good is fetched twice.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use counterfoil_model::{BadShard, ExpertRecord, ShardVerifier};
use counterfoil_spec::limits::SHARD_CHUNK_BYTES;

use super::{Room, StoreFault};

/// Why a chunk was not taken.
#[derive(Debug)]
pub(crate) enum TakeError {
    /// The source sent something else than the manifest says.
    Bad(BadShard),
    /// It could not be kept.
    Fault(StoreFault),
}

/// A shard's good chunks so far, open to take the next, with room for the rest. No other process has it open.
///
/// What its room counts is what lies on disk, whenever and on whatever thread it is dropped.
#[derive(Debug)]
pub(crate) struct Part {
    path: PathBuf,
    shard: PathBuf,
    file: File,
    verifier: ShardVerifier,
    room: Room,
}

impl Part {
    /// Opens what an earlier attempt left and compares it; what follows its last good chunk is cut off. Blocks.
    /// So many of its bytes are counted by `room` from then on as are there; it needs room for the rest.
    pub(super) fn open(
        path: PathBuf,
        shard: PathBuf,
        record: &ExpertRecord,
        room: Room,
    ) -> Result<Self, StoreFault> {
        let at = |e| StoreFault::io(&path, e);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = file.map_err(at)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StoreFault::Taken { path }),
            Err(TryLockError::Error(e)) => return Err(StoreFault::io(&path, e)),
        }
        let found = file.metadata().map_err(at)?.len();
        let verifier = compared(&mut file, record, found).map_err(at)?;
        if found > verifier.position() {
            file.set_len(verifier.position()).map_err(at)?;
        }
        file.seek(SeekFrom::Start(verifier.position())).map_err(at)?;
        let mut part = Self { path, shard, file, verifier, room };
        // What is cut off of it is counted no longer.
        part.room.give_back(found - part.position());
        part.room.take(record.size - part.position())?;
        Ok(part)
    }

    /// Bytes that are here and good.
    pub(crate) const fn position(&self) -> u64 {
        self.verifier.position()
    }

    /// The chunk that is wanted next.
    pub(crate) fn next_chunk(&self) -> u32 {
        u32::try_from(self.verifier.next_chunk()).unwrap_or(u32::MAX)
    }

    /// Whether nothing is missing.
    pub(crate) const fn is_complete(&self) -> bool {
        self.verifier.is_complete()
    }

    /// Compares the next chunk and writes it. Blocks.
    ///
    /// # Errors
    /// [`TakeError`]; after a fault of the disk this part is to be opened anew.
    pub(crate) fn take(&mut self, chunk: &[u8]) -> Result<(), TakeError> {
        let mut bytes = chunk;
        loop {
            let from = self.verifier.position();
            let Some(good) = self.verifier.take(&mut bytes).map_err(TakeError::Bad)? else { break };
            write(&mut self.file, from, good, &mut self.room)
                .map_err(|e| TakeError::Fault(StoreFault::io(&self.path, e)))?;
        }
        self.verifier.restart_chunk();
        Ok(())
    }

    /// Gives the shard its name. Blocks until it is on disk.
    ///
    /// # Errors
    /// [`StoreFault`].
    pub(crate) fn finish(self) -> Result<(), StoreFault> {
        let keep = || {
            self.file.sync_all()?;
            fs::rename(&self.path, &self.shard)?;
            File::open(self.shard.parent().unwrap_or_else(|| Path::new(".")))?.sync_all()
        };
        keep().map_err(|e| StoreFault::io(&self.shard, e))
    }

    /// Removes it: its manifest contradicts itself, so nothing will ever come of it.
    pub(crate) fn abandon(self) {
        // What cannot be removed is compared again the next time.
        self.room.store().discard(&self.path);
    }
}

/// Writes a chunk from a position on. Where the disk is full, what no consent token covers makes room first; where it
/// cannot be written, none of it stays.
fn write(file: &mut File, from: u64, chunk: &[u8], room: &mut Room) -> std::io::Result<()> {
    loop {
        let written = file.seek(SeekFrom::Start(from)).and_then(|_| file.write_all(chunk));
        let Err(error) = written else {
            room.spend(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
            return Ok(());
        };
        let full = matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
        if full && room.store().make_room_on_disk(room.left()) {
            continue;
        }
        if file.set_len(from).is_err() {
            // It is on disk, so it is counted; it is cut off when the part is opened again.
            let there = file.metadata().map_or(0, |about| about.len());
            room.spend(there.saturating_sub(from));
        }
        return Err(error);
    }
}

/// Reads what is there up to the last good chunk.
fn compared(file: &mut File, record: &ExpertRecord, found: u64) -> std::io::Result<ShardVerifier> {
    let mut verifier = ShardVerifier::new(record);
    let mut left = found.min(record.size);
    let mut chunk = Vec::new();
    while left > 0 {
        chunk.resize(usize::try_from(left).unwrap_or(usize::MAX).min(SHARD_CHUNK_BYTES), 0);
        file.read_exact(&mut chunk)?;
        let mut bytes = chunk.as_slice();
        // The last chunk of what is here may be cut; it waits in the verifier and is dropped below.
        match verifier.take(&mut bytes) {
            Ok(Some(_)) => left -= u64::try_from(chunk.len()).unwrap_or(left),
            Ok(None) | Err(_) => break,
        }
    }
    verifier.restart_chunk();
    Ok(verifier)
}
