//! Other logs' checkpoints inside this one: whether their keys signed them, and whether they ever went back.

use std::collections::HashMap;

use counterfoil_spec::payload::PeerAnchor;
use counterfoil_spec::rule::FaultKind;

use super::heads::note_fault;
use crate::note::NoteVerifier;
use crate::peer::{PeerLog, named_in};

/// Logs whose keys this log introduced, by origin.
#[derive(Default)]
pub(super) struct Peers {
    logs: HashMap<String, PeerLog>,
}

type Refused = (FaultKind, String);

impl Peers {
    /// A node's log; a later key for the same origin replaces the first.
    pub(super) fn enrol(&mut self, vkey: &str) -> Result<(), Refused> {
        let key = read_key(vkey)?;
        match self.logs.get_mut(key.name()) {
            Some(known) => known.rekey(key),
            None => drop(self.logs.insert(key.name().to_owned(), PeerLog::new(key, None))),
        }
        Ok(())
    }

    /// A checkpoint that an entry carries. Where entries were lost, the one with its log's key may be among them.
    pub(super) fn anchor(&mut self, anchor: &PeerAnchor, lost: bool) -> Result<(), Refused> {
        let checkpoint = named_in(&anchor.note).map_err(|e| (note_fault(&e), e.to_string()))?;
        let origin = &checkpoint.origin;
        if let Some(vkey) = &anchor.vkey {
            let key = read_key(vkey)?;
            let known =
                self.logs.entry(key.name().to_owned()).or_insert_with(|| PeerLog::new(key.clone(), None));
            //= spec/audit-log.md#keys
            //# another key of that origin later MUST follow the one before by the succession in the same entry.
            known.follow(&key, anchor.succession.as_deref()).map_err(|e| (e.kind(), e.to_string()))?;
        }
        let Some(known) = self.logs.get_mut(origin) else {
            //= spec/audit-log.md#keys
            //# it MUST name one in the first entry of an origin whose
            //# key neither genesis nor a `node-enrolled` introduced
            let unknown = || (FaultKind::UnknownKey, format!("no entry introduced the key of {origin}"));
            return if lost { Ok(()) } else { Err(unknown()) };
        };
        known.take(&anchor.note).map(drop).map_err(|e| (e.kind(), e.to_string()))
    }
}

fn read_key(vkey: &str) -> Result<NoteVerifier, Refused> {
    vkey.parse().map_err(|e| (note_fault(&e), e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Checkpoint;
    use crate::merkle::{Head, leaf_hash};
    use crate::note::NoteSigner;
    use counterfoil_identity::SecretKey;
    use std::sync::Arc;

    fn note(signer: &NoteSigner, size: u64, root: u8) -> String {
        let origin = signer.verifier().name().to_owned();
        Checkpoint { origin, head: Head { size, root: leaf_hash(&[root]) } }.sign(signer).unwrap()
    }

    fn signer(seed: u8) -> NoteSigner {
        NoteSigner::new("n.example/log", Arc::new(SecretKey::from_seed([seed; 32]))).unwrap()
    }

    fn bare(note: String) -> PeerAnchor {
        PeerAnchor { note, vkey: None, succession: None }
    }

    #[test]
    fn known_log_may_neither_shrink_nor_fork() {
        let signer = signer(3);
        let mut peers = Peers::default();
        peers.enrol(&signer.vkey()).unwrap();
        let mut kind = |size, root| peers.anchor(&bare(note(&signer, size, root)), false).map_err(|e| e.0);
        assert_eq!(kind(5, 0), Ok(()));
        assert_eq!(kind(5, 0), Ok(()));
        assert_eq!(kind(5, 1), Err(FaultKind::Fork));
        assert_eq!(kind(4, 0), Err(FaultKind::Rollback));
        assert_eq!(kind(6, 0), Ok(()));
    }

    #[test]
    fn known_origin_under_another_key_is_refused() {
        let [ours, theirs] = [3, 4].map(signer);
        let mut peers = Peers::default();
        let mut kind = |anchor: PeerAnchor, lost| peers.anchor(&anchor, lost).map_err(|e| e.0);
        assert_eq!(kind(bare(note(&theirs, 1, 0)), false), Err(FaultKind::UnknownKey));
        assert_eq!(kind(bare(note(&theirs, 1, 0)), true), Ok(()));
        let first = PeerAnchor { vkey: Some(ours.vkey()), ..bare(note(&ours, 1, 0)) };
        assert_eq!(kind(first, false), Ok(()));
        assert_eq!(kind(bare(note(&theirs, 1, 0)), false), Err(FaultKind::NoTrustedSignature));
        let other = PeerAnchor { vkey: Some(theirs.vkey()), ..bare(note(&theirs, 2, 0)) };
        assert_eq!(kind(other, false), Err(FaultKind::OriginNotPinned));
        assert_eq!(kind(bare("no note".to_owned()), false), Err(FaultKind::MalformedNote));
        assert_eq!(kind(bare(note(&ours, 2, 0)), false), Ok(()));
    }
}
