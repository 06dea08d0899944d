//! Follows the entries in order: who may sign, whose chain goes on, and that time and keys are what they must be.

use std::collections::HashMap;

use counterfoil_identity::{KeyFault, VerifyKey};
use counterfoil_spec::entry::{EntrySignature, Role};
use counterfoil_spec::ids::{Hash, Kid, NetId, PublicKey};
use counterfoil_spec::payload::{Genesis, NodeEnrolled, Payload};
use counterfoil_spec::rule::FaultKind;
use counterfoil_spec::time::Millis;

use super::authorities::Authorities;
use super::decode::{Check, Parsed};
use super::findings::Findings;
use super::generations::Generations;
use super::heads::note_fault;
use super::peers::Peers;
use super::tokens::Tokens;
use crate::kinds::may_author;
use crate::note::NoteVerifier;

struct Known {
    key: VerifyKey,
    role: Role,
}

/// What the entries so far say.
pub(super) struct EntryCheck {
    pinned_key: Option<NoteVerifier>,
    pinned_net: Option<NetId>,
    /// The key that genesis names.
    pub(super) genesis_key: Option<NoteVerifier>,
    /// The network of the root key that genesis names.
    pub(super) genesis_net: Option<NetId>,
    pub(super) origin: Option<String>,
    keys: HashMap<Kid, Known>,
    chains: HashMap<Kid, (u64, Hash)>,
    time: Millis,
    peers: Peers,
    tokens: Tokens,
    authorities: Authorities,
    generations: Generations,
    /// Some entry could not be read: what it introduced and which chains it continued is unknown.
    pub(super) lost: bool,
}

impl EntryCheck {
    pub(super) fn new(pinned_key: Option<NoteVerifier>, pinned_net: Option<NetId>) -> Self {
        let origin = pinned_key.as_ref().map(|k| k.name().to_owned());
        Self {
            pinned_key,
            pinned_net,
            genesis_key: None,
            genesis_net: None,
            origin,
            keys: HashMap::new(),
            chains: HashMap::new(),
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
            _ => {}
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
            Payload::KeyRotation(rotation) => {
                self.authorities.rotate(rotation, body.time.seconds(), self.lost)
            }
            Payload::NodeRenewed(renewed) => self.generations.renew(renewed, self.lost),
            Payload::DenyListIssued(list) => {
                self.generations.deny(&list.names);
                Ok(())
            }
            Payload::PeerAnchor(anchor) => self.peers.anchor(anchor, self.lost),
            _ => Ok(()),
        };
        if let Err((kind, detail)) = learnt {
            findings.entry(kind, index, detail);
        }
    }

    fn follow(&mut self, index: u64, parsed: &Parsed, findings: &mut Findings) {
        let body = &parsed.body;
        let next = (body.seq.saturating_add(1), parsed.chain);
        let start = (0, Hash::from_bytes([0; 32]));
        let known = self.chains.insert(body.author, next).or((!self.lost).then_some(start));
        if let Some((seq, prev)) = known {
            if body.seq != seq {
                let detail = format!("author {} has seq {} where {seq} follows", body.author, body.seq);
                findings.entry(FaultKind::AuthorSeqGap, index, detail);
            } else if body.prev != prev {
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
                self.genesis_key = Some(key);
            }
            Err(e) => findings.entry(note_fault(&e), 0, format!("log key: {e}")),
        }
        match &self.pinned_key {
            Some(pinned) if pinned.to_string() != genesis.log_vkey || pinned.name() != genesis.origin => {
                let detail =
                    format!("genesis names {} as its key, not the pinned {pinned}", genesis.log_vkey);
                findings.entry(FaultKind::OriginNotPinned, 0, detail);
            }
            Some(_) => {}
            None => self.origin = Some(genesis.origin.clone()),
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
