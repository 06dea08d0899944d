//! Other logs' checkpoints inside this one: whether their keys signed them, and whether they ever went back.

use std::collections::HashMap;

use counterfoil_spec::rule::FaultKind;

use super::heads::note_fault;
use crate::checkpoint::Checkpoint;
use crate::merkle::Head;
use crate::note::{Note, NoteVerifier};

/// Logs whose keys this log introduced, by origin.
#[derive(Default)]
pub(super) struct Peers {
    logs: HashMap<String, (NoteVerifier, Option<Head>)>,
}

impl Peers {
    /// A node's log; a later key for the same origin replaces the first.
    pub(super) fn enrol(&mut self, vkey: &str) -> Result<(), (FaultKind, String)> {
        let key: NoteVerifier = vkey.parse().map_err(|e| (note_fault(&e), e.to_string()))?;
        let name = key.name().to_owned();
        let head = self.logs.get(&name).and_then(|(_, head)| *head);
        self.logs.insert(name, (key, head));
        Ok(())
    }

    /// A checkpoint that an entry carries. One of a log without a known key is only read.
    pub(super) fn anchor(&mut self, note: &str) -> Result<(), (FaultKind, String)> {
        let refuse = |e: crate::note::NoteError| (note_fault(&e), e.to_string());
        let note = Note::parse(note.as_bytes()).map_err(refuse)?;
        let checkpoint = Checkpoint::parse(&note.text).map_err(refuse)?;
        let Some((key, last)) = self.logs.get_mut(&checkpoint.origin) else { return Ok(()) };
        key.verify(&note).map_err(refuse)?;
        let head = checkpoint.head;
        match last.replace(head) {
            Some(before) if before.size > head.size => {
                *last = Some(before);
                let detail = format!("{}: have {}, want {}", checkpoint.origin, head.size, before.size);
                Err((FaultKind::Rollback, detail))
            }
            Some(before) if before.size == head.size && before.root != head.root => {
                Err((FaultKind::Fork, format!("{}: two roots for size {}", checkpoint.origin, head.size)))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::leaf_hash;
    use crate::note::NoteSigner;
    use counterfoil_identity::SecretKey;
    use std::sync::Arc;

    fn note(signer: &NoteSigner, size: u64, root: u8) -> String {
        let origin = signer.verifier().name().to_owned();
        Checkpoint { origin, head: Head { size, root: leaf_hash(&[root]) } }.sign(signer).unwrap()
    }

    #[test]
    fn heads_of_a_known_log_only_grow() {
        let signer = NoteSigner::new("n.example/log", Arc::new(SecretKey::from_seed([3; 32]))).unwrap();
        let mut peers = Peers::default();
        peers.enrol(&signer.vkey()).unwrap();
        let mut kind = |size, root| peers.anchor(&note(&signer, size, root)).map_err(|e| e.0);
        assert_eq!(kind(5, 0), Ok(()));
        assert_eq!(kind(5, 0), Ok(()));
        assert_eq!(kind(5, 1), Err(FaultKind::Fork));
        assert_eq!(kind(4, 0), Err(FaultKind::Rollback));
        assert_eq!(kind(6, 0), Ok(()));
    }

    #[test]
    fn known_origin_under_another_key_is_refused() {
        let [ours, theirs] = [3, 4].map(|seed| {
            NoteSigner::new("n.example/log", Arc::new(SecretKey::from_seed([seed; 32]))).unwrap()
        });
        let mut peers = Peers::default();
        assert_eq!(peers.anchor(&note(&theirs, 1, 0)), Ok(()));
        peers.enrol(&ours.vkey()).unwrap();
        assert_eq!(peers.anchor(&note(&theirs, 1, 0)).map_err(|e| e.0), Err(FaultKind::NoTrustedSignature));
        assert_eq!(peers.anchor("no note").map_err(|e| e.0), Err(FaultKind::MalformedNote));
    }
}
