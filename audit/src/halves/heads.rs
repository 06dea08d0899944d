//! Heads of one log that the other keeps, held against the log itself.

use counterfoil_spec::ids::Hash;
use counterfoil_spec::payload::{Payload, PeerAnchor};
use counterfoil_spec::rule::{Fault, FaultKind};

use super::{Compared, Evidence, Half, Parting};
use crate::checkpoint;
use crate::error::LogError;
use crate::merkle::{Head, root_at};
use crate::proof::{TileTree, prove_consistency, published};
use crate::reader::LogReader;
use crate::sorted::Sorted;

/// Size, index of the entry that has it, root.
const RECORD_BYTES: usize = 8 + 8 + 32;

/// The heads that one log keeps of the other.
pub(super) struct Kept(Sorted<RECORD_BYTES>);

/// A head that the log contradicts.
struct Contradicted {
    head: Head,
    index: u64,
}

impl Kept {
    pub(super) const fn new(held_bytes: usize) -> Self {
        Self(Sorted::new(held_bytes))
    }

    /// A head of `log`, where it is one that its keys of that size signed; of what is not the verifier has said so.
    pub(super) fn add(&mut self, index: u64, anchor: &PeerAnchor, log: &Half) -> Result<(), LogError> {
        let Some(head) = log.signed(&anchor.note) else { return Ok(()) };
        let size = head.size.to_be_bytes();
        let parts = [size.as_slice(), &index.to_be_bytes(), head.root.as_bytes()];
        let mut record = [0; RECORD_BYTES];
        record.iter_mut().zip(parts.concat()).for_each(|(to, from)| *to = from);
        self.0.add(record)
    }

    /// Names the heads of `log`, kept by `keeper`, that it contradicts; says how many it does not.
    ///
    /// Its checkpoint is read only now: a log that grows has signed everything that was kept of it before.
    pub(super) fn finish(self, (log, keeper): (&Half, &Half), out: &mut Compared) -> Result<u64, LogError> {
        let Some((note, shown)) = published(&log.dir, checkpoint::FILE)? else { return Ok(0) };
        let shown = shown.head;
        let (mut fits, mut fork, mut rollback) = (0, None, None);
        self.0.each(|record| {
            let Some((head, index)) = parse(&record) else { return Ok(()) };
            let name = |kind, detail: String| Fault::at(kind, index, format!("{}: {detail}", log.origin()));
            if head.size > shown.size {
                let detail = format!("have {}, want {}", shown.size, head.size);
                out.name(keeper.origin(), name(FaultKind::Rollback, detail));
                // The last one is the largest.
                rollback = Some(Contradicted { head, index });
                return Ok(());
            }
            // A tree for each: what was read of one is not held for the next.
            let mut tree = TileTree::new(&log.dir, shown.size);
            let root = match root_at(head.size, &mut |level, i| tree.node(level, i)) {
                Ok(root) => root,
                // Of a tile that is not there the verifier has said so.
                Err(LogError::Published { .. }) => return Ok(()),
                Err(e) => return Err(e),
            };
            if root == head.root {
                fits += 1;
                return Ok(());
            }
            let detail = format!("the first {} entries had another root", head.size);
            out.name(keeper.origin(), name(FaultKind::Fork, detail));
            fork.get_or_insert((Contradicted { head, index }, root));
            Ok(())
        })?;
        if let Some((found, root)) = fork {
            let path = prove_consistency(&log.dir, found.head.size, shown.size)?;
            let kept = note_at(keeper, found.index)?;
            out.evidence.extend(kept.map(|kept| {
                let fork = Some(Parting { root, path });
                Evidence { kept, shown: note.clone(), fork }
            }));
        }
        if let Some(found) = rollback {
            let kept = note_at(keeper, found.index)?;
            out.evidence.extend(kept.map(|kept| Evidence { kept, shown: note, fork: None }));
        }
        Ok(fits)
    }
}

fn note_at(keeper: &Half, index: u64) -> Result<Option<String>, LogError> {
    match LogReader::open(&keeper.dir)?.entry(index)?.1.payload {
        Payload::PeerAnchor(anchor) => Ok(Some(anchor.note)),
        _ => Ok(None),
    }
}

fn parse(record: &[u8]) -> Option<(Head, u64)> {
    let (size, rest) = record.split_first_chunk::<8>()?;
    let (index, rest) = rest.split_first_chunk::<8>()?;
    let head = Head { size: u64::from_be_bytes(*size), root: Hash::from_slice(rest)? };
    Some((head, u64::from_be_bytes(*index)))
}
