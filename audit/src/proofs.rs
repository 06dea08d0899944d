//! Judges proofs that came from elsewhere, without the log: each by the pinned key, and all of them together by the keys
//! that some of them introduce.

use std::collections::BTreeMap;

use counterfoil_identity::VerifyKey;
use counterfoil_spec::entry::{Body, Leaf, Role, entry_signing_input};
use counterfoil_spec::ids::{Hash, Kid, NetId};
use counterfoil_spec::payload::{Genesis, Payload, RotatedKey};
use counterfoil_spec::rule::{Fault, FaultKind};
use serde::Serialize;

use crate::checkpoint::Checkpoint;
use crate::log_keys::successor;
use crate::merkle::leaf_hash;
use crate::note::{Note, NoteError, NoteVerifier};
use crate::policy::{Policy, Witnessed};
use crate::proof::{Proof, ProofRefused};
use crate::trust::TrustsNotes;

/// Proofs that are judged at a time.
pub const MAX_PROOFS: usize = 4096;

/// What is known from elsewhere than the proofs.
#[derive(Debug, Clone, Copy)]
pub struct Pins<'a> {
    /// The log's key, or several where it was changed.
    pub key: &'a dyn TrustsNotes,
    /// The network.
    pub net_id: Option<NetId>,
    /// Whose cosignatures are enough.
    pub policy: Option<&'a Policy>,
}

/// A proof in a file, and its entry where that does not travel in it.
#[derive(Debug, Clone, Copy)]
pub struct Given<'a> {
    /// The file's name.
    pub file: &'a str,
    /// What it holds.
    pub bytes: &'a [u8],
    /// The leaf, if it came another way.
    pub leaf: Option<&'a [u8]>,
}

/// How far an entry's own signatures were checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Signatures {
    /// All of them verify, by keys that other proofs introduce.
    Verified,
    /// Some key, or the network, is not known here; the log's key vouches for the entry alone.
    Unchecked,
}

/// An entry that is proved to be in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Proved {
    /// Where the proof was.
    pub file: String,
    /// The entry's index.
    pub index: u64,
    /// The size of the tree it was proved in.
    pub size: u64,
    /// The root of that tree.
    pub root: Hash,
    /// The hash of its leaf.
    pub leaf_hash: Hash,
    /// Its own signatures.
    pub signatures: Signatures,
    /// Who cosigned the checkpoint, where a policy was given.
    pub witnessed: Option<Witnessed>,
    /// What the entry says.
    pub body: Body,
}

/// What became of all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Judged {
    /// Whether nothing is wrong with any.
    pub ok: bool,
    /// Those that prove something, in the order in which they were given.
    pub proofs: Vec<Proved>,
    /// What is wrong with the others.
    pub faults: Vec<Fault>,
}

struct Read {
    proved: Proved,
    leaf: Leaf,
}

/// Judges proofs.
#[must_use]
pub fn judge(given: &[Given<'_>], pins: &Pins<'_>) -> Judged {
    let mut faults = Vec::new();
    let mut found = Vec::new();
    for one in given.iter().take(MAX_PROOFS) {
        match read(one, pins) {
            Ok(read) => found.push(read),
            Err((kind, detail)) => faults.push(fault(kind, None, one.file, detail)),
        }
    }
    if let Some(more) = given.get(MAX_PROOFS) {
        let detail = format!("more than {MAX_PROOFS} proofs at a time");
        faults.push(fault(FaultKind::ProofShape, None, more.file, detail));
    }
    let mut keys = Keys::default();
    found.sort_by_key(|read| read.proved.index);
    for read in &found {
        keys.learn(read, pins, &mut faults);
    }
    keys.pinned(pins, &mut faults);
    let net_id = pins.net_id.or(keys.net_id);
    let mut proofs = Vec::with_capacity(found.len());
    for Read { mut proved, leaf } in found {
        match net_id
            .map_or(Ok(Signatures::Unchecked), |net| keys.check(&proved, &leaf, &net, pins.key.origin()))
        {
            Ok(signatures) => proved.signatures = signatures,
            Err(detail) => {
                faults.push(fault(FaultKind::BadEntrySignature, Some(proved.index), &proved.file, detail));
            }
        }
        proofs.push(proved);
    }
    let place = |file: &str| given.iter().position(|one| one.file == file);
    proofs.sort_by_key(|proved| place(&proved.file));
    Judged { ok: faults.is_empty(), proofs, faults }
}

fn read(given: &Given<'_>, pins: &Pins<'_>) -> Result<Read, (FaultKind, String)> {
    let refused = |e: ProofRefused| (e.fault(), e.to_string());
    let proof = Proof::parse(given.bytes).map_err(refused)?;
    let bytes = proof.leaf.as_deref().or(given.leaf).ok_or_else(|| {
        (FaultKind::ProofShape, "the entry does not travel in it and was not given beside it".to_owned())
    })?;
    let Checkpoint { head, .. } = proof.verify(bytes, pins.key).map_err(refused)?;
    let witnessed = pins.policy.map(|policy| witnesses(&proof.note, policy)).transpose()?;
    let (leaf, body) = Leaf::read(bytes).map_err(|e| (FaultKind::NonCanonical, e.to_string()))?;
    let proved = Proved {
        file: given.file.to_owned(),
        index: proof.index,
        size: head.size,
        root: head.root,
        leaf_hash: leaf_hash(bytes),
        signatures: Signatures::Unchecked,
        witnessed,
        body,
    };
    Ok(Read { proved, leaf })
}

fn witnesses(note: &str, policy: &Policy) -> Result<Witnessed, (FaultKind, String)> {
    let note = Note::parse(note.as_bytes()).map_err(|e| (FaultKind::MalformedNote, e.to_string()))?;
    let found = policy.judge(&note);
    //= spec/audit-log.md#witnesses
    //# Where a policy is given, a checkpoint that does not meet its quorum MUST be refused (`QuorumNotMet`).
    if found.quorum_met { Ok(found) } else { Err((FaultKind::QuorumNotMet, quorum_detail(&found))) }
}

/// What is missing, in words.
pub(crate) fn quorum_detail(found: &Witnessed) -> String {
    let names =
        |list: &mut dyn Iterator<Item = &String>| list.map(String::as_str).collect::<Vec<_>>().join(", ");
    let cosigned = names(&mut found.cosigned.keys());
    let cosigned = if cosigned.is_empty() { "nobody".to_owned() } else { cosigned };
    let bad = names(&mut found.bad.iter());
    let bad = if bad.is_empty() { bad } else { format!("; the lines of {bad} do not verify") };
    format!("cosigned by {cosigned}, which is no quorum{bad}")
}

impl ProofRefused {
    /// The verifier's name for it.
    #[must_use]
    pub const fn fault(&self) -> FaultKind {
        match self {
            Self::ProofShape(_) => FaultKind::ProofShape,
            Self::Note(e) => e.fault(),
            Self::LeafHashMismatch => FaultKind::LeafHashMismatch,
            Self::InconsistentTree { .. } => FaultKind::InconsistentTree,
        }
    }
}

impl NoteError {
    /// The verifier's name for it.
    #[must_use]
    pub const fn fault(&self) -> FaultKind {
        match self {
            Self::MalformedNote(_) | Self::MalformedKey(_) => FaultKind::MalformedNote,
            Self::WeakKey => FaultKind::WeakKey,
            Self::NoTrustedSignature(_) => FaultKind::NoTrustedSignature,
            Self::BadLogSignature(_) | Self::BadCosignature(_) => FaultKind::BadLogSignature,
        }
    }
}

/// Who may have signed, as the proved entries say.
#[derive(Default)]
struct Keys {
    net_id: Option<NetId>,
    known: BTreeMap<Kid, (VerifyKey, Role, u64)>,
    /// The log's own keys from genesis on, where that is proved, and in which file.
    log: Vec<NoteVerifier>,
    genesis: String,
}

impl Keys {
    fn learn(&mut self, Read { proved, leaf }: &Read, pins: &Pins<'_>, faults: &mut Vec<Fault>) {
        match &proved.body.payload {
            Payload::Genesis(genesis) if proved.index == 0 => self.genesis(genesis, proved, pins, faults),
            Payload::NodeEnrolled(node) => {
                if let Ok(key) = VerifyKey::from_wire(node.identity_key) {
                    self.known.insert(key.kid(), (key, Role::Node, proved.index));
                }
            }
            Payload::KeyRotation(rotation) if rotation.of == RotatedKey::Log => {
                // What is signed wrongly is named where the entry's signatures are checked.
                let signed = |key: &NoteVerifier| {
                    leaf.signatures.iter().any(|s| s.role == Role::Log && s.kid == key.key().kid())
                };
                let next = self.log.last().filter(|last| signed(last));
                let next = next.and_then(|last| successor(last.name(), rotation).ok()).filter(signed);
                if let Some(next) = next {
                    self.known.insert(next.key().kid(), (*next.key(), Role::Log, proved.index));
                    self.log.push(next);
                }
            }
            _ => {}
        }
    }

    /// The key that was pinned must be one that the log's proved entries lead to.
    fn pinned(&self, pins: &Pins<'_>, faults: &mut Vec<Fault>) {
        if !self.log.is_empty() && !self.log.iter().any(|key| pins.key.has(key)) {
            let detail = "genesis names another log key than the pinned one, and no entry that is proved beside it lets that follow \
                          (`audit prove --keys` has those that do)";
            faults.push(fault(FaultKind::OriginNotPinned, Some(0), &self.genesis, detail));
        }
    }

    fn genesis(&mut self, genesis: &Genesis, proved: &Proved, pins: &Pins<'_>, faults: &mut Vec<Fault>) {
        let mut wrong = |kind, detail: &str| faults.push(fault(kind, Some(0), &proved.file, detail));
        match genesis.log_vkey.parse::<NoteVerifier>() {
            Ok(key) => self.log.push(key),
            Err(e) => wrong(e.fault(), "genesis names no log key"),
        }
        self.genesis.clone_from(&proved.file);
        let root = VerifyKey::from_spki_der(&genesis.root_spki).ok();
        let net_id = root.as_ref().map(VerifyKey::net_id);
        if pins.net_id.is_some() && net_id != pins.net_id {
            wrong(FaultKind::WrongParty, "genesis names the root of another network");
        }
        self.net_id = net_id;
        let author =
            VerifyKey::from_wire(genesis.author_key).ok().zip(Role::from_number(genesis.author_role));
        let log = self.log.first().map(|key| (*key.key(), Role::Log));
        for (key, role) in root.map(|root| (root, Role::Root)).into_iter().chain(author).chain(log) {
            self.known.insert(key.kid(), (key, role, 0));
        }
    }

    fn check(
        &self,
        proved: &Proved,
        leaf: &Leaf,
        net_id: &NetId,
        origin: &str,
    ) -> Result<Signatures, String> {
        let mut all = !leaf.signatures.is_empty();
        for signature in &leaf.signatures {
            match self.known.get(&signature.kid) {
                Some((key, role, since)) if *role == signature.role && *since <= proved.index => {
                    let input = entry_signing_input(net_id, origin, *role, &signature.kid, &leaf.body);
                    key.verify(&input, &signature.sig).map_err(|_| {
                        format!("the signature by {role:?} {} does not verify", signature.kid)
                    })?;
                }
                _ => all = false,
            }
        }
        Ok(if all { Signatures::Verified } else { Signatures::Unchecked })
    }
}

fn fault(kind: FaultKind, index: Option<u64>, file: &str, detail: impl Into<String>) -> Fault {
    Fault { kind, index, file: Some(file.to_owned()), detail: detail.into() }
}

#[cfg(test)]
mod tests {
    use counterfoil_identity::SecretKey;
    use counterfoil_spec::entry::{ENTRY_VERSION, EntrySignature};
    use counterfoil_spec::ids::Serial;
    use counterfoil_spec::payload::KeyRevoked;
    use counterfoil_spec::time::Millis;

    use super::*;

    //= spec/audit-log.md#proofs
    //= type=test
    //# An entry's own signatures are checked by the keys that genesis and `node-enrolled` introduce, where those entries are
    //# proved too, at the same index or an earlier one
    #[test]
    fn a_key_signs_nothing_before_it_was_introduced_and_nothing_in_another_role() {
        let (key, net_id, hash) =
            (SecretKey::from_seed([5; 32]), NetId::from_bytes([1; 32]), Hash::from_bytes([0; 32]));
        let (kid, role) = (key.public().kid(), Role::Node);
        let leaf_body = b"what the node signed".to_vec();
        let sig = key.sign(&entry_signing_input(&net_id, "a.example/log", role, &kid, &leaf_body));
        let leaf = Leaf { body: leaf_body, signatures: vec![EntrySignature { role, kid, sig }] };
        let serial = Serial::from_bytes([7; 16]);
        let payload = Payload::from(KeyRevoked { key_id: serial });
        let (version, time) = (ENTRY_VERSION, Millis(0));
        let proved = |index| Proved {
            file: "a".to_owned(),
            index,
            size: 9,
            root: hash,
            leaf_hash: hash,
            signatures: Signatures::Unchecked,
            witnessed: None,
            body: Body {
                version,
                author: kid,
                seq: 0,
                prev: hash,
                time,
                serial,
                payload: payload.clone(),
                anchor: None,
            },
        };
        let mut keys = Keys { known: [(kid, (key.public(), role, 5))].into(), ..Keys::default() };
        let check = |keys: &Keys, index| keys.check(&proved(index), &leaf, &net_id, "a.example/log");
        assert_eq!((check(&keys, 4), check(&keys, 5)), (Ok(Signatures::Unchecked), Ok(Signatures::Verified)));
        keys.known.insert(kid, (key.public(), Role::Router, 5));
        assert_eq!(check(&keys, 5), Ok(Signatures::Unchecked));
        keys.known.insert(kid, (SecretKey::from_seed([6; 32]).public(), role, 5));
        assert_eq!(check(&keys, 5), Err(format!("the signature by Node {kid} does not verify")));
    }
}
