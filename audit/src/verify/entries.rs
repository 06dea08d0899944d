//! Follows the entries in order: who may sign, whose chain goes on, and that time and keys are what they must be.

use std::collections::HashMap;

use counterfoil_identity::{KeyFault, VerifyKey};
use counterfoil_spec::entry::{EntrySignature, Role};
use counterfoil_spec::ids::{Hash, Kid, NetId, PublicKey};
use counterfoil_spec::payload::{Genesis, KeyRotation, NodeEnrolled, Payload, RotatedKey};
use counterfoil_spec::rule::FaultKind;
use counterfoil_spec::time::Millis;

use super::authorities::Authorities;
use super::decode::{Check, Parsed};
use super::findings::Findings;
use super::generations::Generations;
use super::heads::note_fault;
use super::peers::Peers;
use super::removed::Prunes;
use super::tokens::Tokens;
use crate::kinds::may_author;
use crate::log_keys::LogKeys;
use crate::note::NoteVerifier;
use crate::trust::{TrustedKeys, TrustsNotes};

struct Known {
    key: VerifyKey,
    role: Role,
}

/// Where an author's chain goes on.
#[derive(Clone, Copy)]
struct Chain {
    seq: u64,
    prev: Hash,
    /// How many entries had been removed up to there.
    removed: u64,
}

/// What the entries so far say.
pub(super) struct EntryCheck {
    pinned_origin: Option<String>,
    pinned_net: Option<NetId>,
    /// The key that genesis names, and those that follow it.
    pub(super) log_keys: Option<LogKeys>,
    /// The network of the root key that genesis names.
    pub(super) genesis_net: Option<NetId>,
    pub(super) origin: Option<String>,
    keys: HashMap<Kid, Known>,
    chains: HashMap<Kid, Chain>,
    /// Entries of which the hash alone is there, so far.
    removed: u64,
    pub(super) prunes: Prunes,
    time: Millis,
    peers: Peers,
    tokens: Tokens,
    authorities: Authorities,
    generations: Generations,
    /// Some entry could not be read: what it introduced and which chains it continued is unknown.
    pub(super) lost: bool,
}

impl EntryCheck {
    pub(super) fn new(pinned: Option<&TrustedKeys>, pinned_net: Option<NetId>) -> Self {
        let origin = pinned.map(|keys| keys.origin().to_owned());
        Self {
            pinned_origin: origin.clone(),
            pinned_net,
            log_keys: None,
            genesis_net: None,
            origin,
            keys: HashMap::new(),
            chains: HashMap::new(),
            removed: 0,
            prunes: Prunes::default(),
            time: Millis(0),
            peers: Peers::default(),
            tokens: Tokens::default(),
            authorities: Authorities::default(),
            generations: Generations::default(),
            lost: false,
        }
    }

    /// An entry cannot be read.
    pub(super) fn lose(&mut self) {
        self.lost = true;
        self.chains.clear();
    }

    /// The hash of the next entry alone is there.
    pub(super) const fn remove(&mut self) {
        self.removed += 1;
    }

    /// Checks one entry and says which signatures are to be checked.
    pub(super) fn entry(
        &mut self,
        index: u64,
        parsed: &Parsed,
        signatures: &[EntrySignature],
        checks: &mut Vec<Check>,
        findings: &mut Findings,
    ) {
        let body = &parsed.body;
        match &body.payload {
            Payload::Genesis(genesis) if index == 0 => self.genesis(genesis, signatures, findings),
            Payload::Genesis(_) => {
                findings.entry(FaultKind::UnknownKey, index, "a second genesis introduces no keys");
            }
            _ if index == 0 => findings.entry(FaultKind::UnknownKey, 0, "the first entry is not genesis"),
            payload => self.log_key(index, payload, signatures, findings),
        }
        self.follow(index, parsed, findings);
        if body.time < self.time {
            let detail = format!("{} ms, after an entry of {} ms", body.time.0, self.time.0);
            findings.entry(FaultKind::ClockRegression, index, detail);
        }
        self.time = self.time.max(body.time);
        self.signatures(index, parsed, signatures, checks, findings);
        let learnt = match &body.payload {
            Payload::JoinToken(made) => {
                self.tokens.make(made.token_id);
                Ok(())
            }
            Payload::NodeEnrolled(enrolled) => self.enrol(enrolled),
            Payload::CaIssued(issued) => self.authorities.issue(issued, body.time.seconds()),
            Payload::KeyRotation(rotation) if rotation.of == RotatedKey::IssuingCa => {
                self.authorities.rotate(rotation, body.time.seconds(), self.lost)
            }
            Payload::NodeRenewed(renewed) => self.generations.renew(renewed, self.lost),
            Payload::DenyListIssued(list) => {
                self.generations.deny(&list.names);
                Ok(())
            }
            Payload::Statement(statement) => {
                self.prunes.close(statement, body.time);
                Ok(())
            }
            Payload::Prune(prune) => self.prunes.announce(index, body.time, prune),
            Payload::PeerAnchor(anchor) => self.peers.anchor(anchor, self.lost),
            _ => Ok(()),
        };
        if let Err((kind, detail)) = learnt {
            findings.entry(kind, index, detail);
        }
    }

    fn follow(&mut self, index: u64, parsed: &Parsed, findings: &mut Findings) {
        let body = &parsed.body;
        let start = Chain { seq: 0, prev: Hash::from_bytes([0; 32]), removed: 0 };
        let next = Chain { seq: body.seq.saturating_add(1), prev: parsed.chain, removed: self.removed };
        let known = self.chains.insert(body.author, next).or((!self.lost).then_some(start));
        if let Some(Chain { seq, prev, removed }) = known {
            // Any of those that were removed may have been the author's.
            let most = seq.saturating_add(self.removed - removed);
            if !(seq..=most).contains(&body.seq) {
                let follows = if most == seq { seq.to_string() } else { format!("{seq} to {most}") };
                let detail = format!("author {} has seq {} where {follows} follows", body.author, body.seq);
                findings.entry(FaultKind::AuthorSeqGap, index, detail);
            } else if body.seq == seq && body.prev != prev {
                let detail = format!("author {} names another body than its last", body.author);
                findings.entry(FaultKind::PrevMismatch, index, detail);
            }
        }
    }

    fn signatures(
        &self,
        index: u64,
        parsed: &Parsed,
        signatures: &[EntrySignature],
        checks: &mut Vec<Check>,
        findings: &mut Findings,
    ) {
        let kind = parsed.body.payload.kind();
        if signatures.first().is_none_or(|s| s.kid != parsed.body.author) {
            findings.entry(FaultKind::BadEntrySignature, index, "the first signature is not the author's");
        }
        for (place, signature) in signatures.iter().enumerate() {
            match self.keys.get(&signature.kid) {
                Some(known) if known.role == signature.role => {
                    if place == 0 && !may_author(kind, signature.role) {
                        let detail = "its author's role does not write such entries";
                        findings.entry(FaultKind::WrongParty, index, detail);
                    }
                    let (signature, body) = (*signature, parsed.span.clone());
                    checks.push(Check { index, body, signature, key: known.key });
                }
                // The key may have entered with the entry that was lost.
                None if self.lost => {}
                _ => {
                    let detail = format!("no entry introduced key {} as {:?}", signature.kid, signature.role);
                    findings.entry(FaultKind::UnknownKey, index, detail);
                }
            }
        }
    }

    fn introduce(&mut self, key: PublicKey, role: Role) -> Result<VerifyKey, (FaultKind, String)> {
        let key = VerifyKey::from_wire(key).map_err(|e| (FaultKind::WeakKey, e.to_string()))?;
        let kid = key.kid();
        match self.keys.get(&kid) {
            Some(known) if known.key != key || known.role != role => {
                Err((FaultKind::WrongParty, format!("key id {kid} already stands for another key or role")))
            }
            _ => {
                self.keys.insert(kid, Known { key, role });
                Ok(key)
            }
        }
    }

    fn enrol(&mut self, enrolled: &NodeEnrolled) -> Result<(), (FaultKind, String)> {
        let key = self.introduce(enrolled.identity_key, Role::Node)?;
        if key.node_id() != enrolled.node {
            return Err((FaultKind::WrongParty, "the node id is not that of the identity key".to_owned()));
        }
        self.tokens.consume(enrolled.token_id, enrolled.node, self.lost)?;
        self.generations.enrol(enrolled.node, enrolled.generation)?;
        self.peers.enrol(&enrolled.log_vkey)
    }

    fn genesis(&mut self, genesis: &Genesis, signatures: &[EntrySignature], findings: &mut Findings) {
        match VerifyKey::from_spki_der(&genesis.root_spki) {
            Ok(root) => {
                self.genesis_net = Some(root.net_id());
                self.authorities.found(root);
                if let Err((kind, detail)) = self.introduce(root.wire(), Role::Root) {
                    findings.entry(kind, 0, detail);
                }
            }
            Err(e @ KeyFault::Weak(_)) => findings.entry(FaultKind::WeakKey, 0, e.to_string()),
            Err(e) => findings.entry(FaultKind::NonCanonical, 0, format!("root key: {e}")),
        }
        if self.pinned_net.is_some() && self.pinned_net != self.genesis_net {
            findings.entry(FaultKind::WrongParty, 0, "genesis names the root of another network");
        }
        self.genesis_author(genesis, signatures, findings);
        match genesis.log_vkey.parse::<NoteVerifier>() {
            Ok(key) => {
                if key.name() != genesis.origin {
                    findings.entry(FaultKind::OriginNotPinned, 0, "the log key's name is not the origin");
                }
                if let Err((kind, detail)) = self.introduce(key.key().wire(), Role::Log) {
                    findings.entry(kind, 0, detail);
                }
                self.log_keys = Some(LogKeys::found(key));
            }
            Err(e) => findings.entry(note_fault(&e), 0, format!("log key: {e}")),
        }
        if self.pinned_origin.is_none() {
            self.origin = Some(genesis.origin.clone());
        }
    }

    /// An entry about the log's own keys. What it names may sign it already.
    fn log_key(
        &mut self,
        index: u64,
        payload: &Payload,
        signatures: &[EntrySignature],
        findings: &mut Findings,
    ) {
        let concerned = match payload {
            Payload::KeyRotation(KeyRotation { of: RotatedKey::Log, .. }) => true,
            Payload::LogKeyRetired(_) => false,
            _ => return,
        };
        let Some(keys) = &mut self.log_keys else { return };
        let mut must_sign: Vec<NoteVerifier> = keys.in_use().map(|key| key.vkey.clone()).collect();
        // The entry that says what is amiss here may be one that was lost.
        if let Err(fold) = keys.apply(index, payload) {
            if !self.lost {
                findings.entry(fold.fault(), index, fold.to_string());
            }
            return;
        }
        //= spec/audit-log.md#keys-of-the-log
        //# The key in use and the key that follows it MUST both sign the `key-rotation` beside its author, each in role 4.
        //= spec/audit-log.md#keys-of-the-log
        //# The key that goes on signing MUST sign the `log-key-retired` beside its author, in role 4.
        if !concerned {
            must_sign.retain(|key| keys.in_use().any(|used| used.vkey == *key));
        }
        let newest = keys.in_use().last().filter(|_| concerned).map(|key| key.vkey.clone());
        for vkey in must_sign.iter().chain(&newest) {
            let kid = vkey.key().kid();
            if !signatures.iter().any(|s| s.role == Role::Log && s.kid == kid) {
                let detail = format!("{vkey} has not signed it, and it takes that key's signature too");
                findings.entry(FaultKind::BadEntrySignature, index, detail);
            }
        }
        if let Some(next) = newest
            && let Err((kind, detail)) = self.introduce(next.key().wire(), Role::Log)
        {
            findings.entry(kind, index, detail);
        }
    }

    fn genesis_author(&mut self, genesis: &Genesis, signatures: &[EntrySignature], findings: &mut Findings) {
        let Some(role @ (Role::Router | Role::Node)) = Role::from_number(genesis.author_role) else {
            let detail = format!("role {} cannot write a log", genesis.author_role);
            return findings.entry(FaultKind::WrongParty, 0, detail);
        };
        match self.introduce(genesis.author_key, role) {
            Ok(key) if key.node_id() != genesis.author_id => {
                findings.entry(FaultKind::WrongParty, 0, "the author's id is not that of its key");
            }
            Ok(_) => {}
            Err((kind, detail)) => findings.entry(kind, 0, detail),
        }
        if role == Role::Router && !signatures.iter().any(|s| s.role == Role::Root) {
            findings.entry(FaultKind::BadEntrySignature, 0, "the root has not signed a router's genesis");
        }
    }
}
