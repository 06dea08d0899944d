//! An author's chain: from what an author wants to say to signed leaves.

use std::sync::Arc;

use counterfoil_identity::{SignFault, Signer};
use counterfoil_spec::encode::to_canonical;
use counterfoil_spec::entry::{Anchor, Body, ENTRY_VERSION, EntrySignature, Leaf, Role, entry_signing_input};
use counterfoil_spec::ids::{Hash, Kid, NetId, Serial};
use counterfoil_spec::limits::{MAX_LEAF_BYTES, MAX_LEAF_SIGNATURES};
use counterfoil_spec::payload::Payload;
use counterfoil_spec::time::Millis;

use crate::error::LogError;
use crate::glance::chain_hash;
use crate::kinds::may_author;

/// Signatures from which on more than one thread signs.
const PARALLEL_SIGNATURES: usize = 48;

/// What an author wants logged.
#[derive(Clone)]
pub struct NewEntry {
    /// Unique in the log for its kind.
    pub serial: Serial,
    /// What happened.
    pub payload: Payload,
    /// Who signs besides the author.
    pub co_signers: Vec<(Role, Arc<dyn Signer>)>,
    /// Another log's head, where the author wants to state it.
    pub anchor: Option<Anchor>,
}

impl NewEntry {
    /// An entry that its author alone signs.
    #[must_use]
    pub fn new(serial: Serial, payload: impl Into<Payload>) -> Self {
        Self { serial, payload: payload.into(), co_signers: Vec::new(), anchor: None }
    }
}

/// The end of one author's chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ChainTip {
    /// The sequence number of the next entry.
    pub(crate) seq: u64,
    /// The hash of the last body, or zeros.
    pub(crate) prev: Hash,
    /// The time of the log's last entry, whoever wrote it.
    pub(crate) time: Millis,
}

impl ChainTip {
    pub(crate) const fn new() -> Self {
        Self { seq: 0, prev: Hash::from_bytes([0; 32]), time: Millis(0) }
    }
}

/// Who writes a log.
pub(crate) struct Author {
    pub(crate) key: Arc<dyn Signer>,
    pub(crate) kid: Kid,
    pub(crate) role: Role,
    pub(crate) origin: String,
    pub(crate) net_id: NetId,
}

/// A body in its place in the chain, not yet signed.
pub(crate) struct Draft {
    body: Vec<u8>,
    signers: Vec<(Role, Arc<dyn Signer>)>,
}

impl Draft {
    /// How long its leaf will be.
    pub(crate) fn leaf_bytes(&self) -> usize {
        let head = match self.body.len() {
            0..=23 => 1,
            24..=0xff => 2,
            0x100..=0xffff => 3,
            _ => 5,
        };
        // One array head around body and signatures, one around the signatures; 77 bytes for each of those.
        2 + head + self.body.len() + 77 * self.signers.len()
    }
}

impl Author {
    /// Gives an entry its place behind `tip`, which moves on.
    pub(crate) fn draft(&self, tip: &mut ChainTip, entry: NewEntry, now: Millis) -> Result<Draft, LogError> {
        let count = 1 + entry.co_signers.len();
        if count > MAX_LEAF_SIGNATURES {
            return Err(LogError::TooManySigners { count, limit: MAX_LEAF_SIGNATURES });
        }
        let kind = entry.payload.kind();
        if !may_author(kind, self.role) {
            return Err(LogError::WrongAuthor { kind, role: self.role });
        }
        //= spec/audit-log.md#entries
        //# A writer whose clock went back MUST repeat the time of the last entry.
        let time = now.max(tip.time);
        let body = to_canonical(&Body {
            version: ENTRY_VERSION,
            author: self.kid,
            seq: tip.seq,
            prev: tip.prev,
            time,
            serial: entry.serial,
            payload: entry.payload,
            anchor: entry.anchor,
        });
        let mut signers = vec![(self.role, self.key.clone())];
        signers.extend(entry.co_signers);
        let draft = Draft { body, signers };
        let len = draft.leaf_bytes();
        if len > MAX_LEAF_BYTES {
            return Err(LogError::LeafTooLong { len, limit: MAX_LEAF_BYTES });
        }
        *tip = ChainTip { seq: tip.seq + 1, prev: chain_hash(&draft.body), time };
        Ok(draft)
    }

    fn sign_one(&self, draft: Draft) -> Result<Vec<u8>, SignFault> {
        let sign = |(role, key): &(Role, Arc<dyn Signer>)| {
            let kid = if Arc::ptr_eq(key, &self.key) { self.kid } else { key.public().kid() };
            let input = entry_signing_input(&self.net_id, &self.origin, *role, &kid, &draft.body);
            Ok(EntrySignature { role: *role, kid, sig: key.sign(&input)? })
        };
        let signatures = draft.signers.iter().map(sign).collect::<Result<_, SignFault>>()?;
        Ok(to_canonical(&Leaf { body: draft.body, signatures }))
    }

    /// Signs drafts and gives their leaves in the same order.
    pub(crate) fn sign(&self, drafts: Vec<Draft>) -> Result<Vec<Vec<u8>>, SignFault> {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        if threads == 1 || drafts.len() < PARALLEL_SIGNATURES {
            return drafts.into_iter().map(|d| self.sign_one(d)).collect();
        }
        let share = drafts.len().div_ceil(threads);
        let mut rest = drafts.into_iter();
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads)
                .map(|_| rest.by_ref().take(share).collect::<Vec<_>>())
                .map(|part| {
                    scope.spawn(move || {
                        part.into_iter().map(|d| self.sign_one(d)).collect::<Result<Vec<_>, _>>()
                    })
                })
                .collect();
            #[expect(clippy::expect_used, reason = "signing does not panic")]
            let parts = workers.into_iter().map(|w| w.join().expect("a signing thread ended"));
            Ok(parts.collect::<Result<Vec<_>, _>>()?.concat())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::glance::glance;
    use counterfoil_spec::payload::KeyRevoked;

    fn author() -> Author {
        let key: Arc<dyn Signer> = counterfoil_identity::SecretKey::from_seed([1; 32]).into();
        let public = key.public();
        let origin = "a.example/log".to_owned();
        Author { kid: public.kid(), net_id: public.net_id(), key, role: Role::Router, origin }
    }

    fn entry(n: u8) -> NewEntry {
        let serial = Serial::from_bytes([n; 16]);
        NewEntry::new(serial, KeyRevoked { key_id: serial })
    }

    #[test]
    fn leaf_length_is_known_before_signing() {
        let author = author();
        let mut tip = ChainTip::new();
        for signers in 0..4 {
            let mut new = entry(1);
            new.co_signers = vec![(Role::Root, author.key.clone()); signers];
            let draft = author.draft(&mut tip, new, Millis(5)).unwrap();
            let want = draft.leaf_bytes();
            assert_eq!(author.sign(vec![draft]).unwrap().pop().unwrap().len(), want);
        }
    }

    #[test]
    fn fifth_signer_is_refused() {
        let author = author();
        let mut new = entry(1);
        new.co_signers = vec![(Role::Root, author.key.clone()); 4];
        let refused = author.draft(&mut ChainTip::new(), new, Millis(5)).err();
        assert!(matches!(refused, Some(LogError::TooManySigners { count: 5, limit: 4 })));
    }

    #[test]
    fn chain_and_time_only_go_forward() {
        let author = author();
        let mut tip = ChainTip::new();
        let first = author.draft(&mut tip, entry(1), Millis(50)).unwrap();
        let second = author.draft(&mut tip, entry(2), Millis(40)).unwrap();
        let leaves = author.sign(vec![first, second]).unwrap();
        let (_, first_body) = Leaf::read(&leaves[0]).unwrap();
        let (leaf, body) = Leaf::read(&leaves[1]).unwrap();
        assert_eq!(first_body.prev, Hash::from_bytes([0; 32]));
        assert_eq!((body.seq, body.time), (1, Millis(50)));
        assert_eq!(body.prev, chain_hash(&Leaf::read(&leaves[0]).unwrap().0.body));
        let glance = glance(&leaves[1]).unwrap();
        assert_eq!((glance.author, glance.seq, glance.time), (author.kid, 1, Millis(50)));
        assert_eq!(glance.body, leaf.body);
    }

    #[test]
    fn many_threads_keep_the_order() {
        let author = author();
        let mut tip = ChainTip::new();
        let drafts: Vec<_> = (0..200).map(|n| author.draft(&mut tip, entry(n), Millis(1)).unwrap()).collect();
        let leaves = author.sign(drafts).unwrap();
        let seqs: Vec<_> = leaves.iter().map(|l| glance(l).unwrap().seq).collect();
        assert_eq!(seqs, (0..200).collect::<Vec<_>>());
    }
}
