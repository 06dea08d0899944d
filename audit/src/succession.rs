//! That one key of a log follows another, as both of them signed it: to be checked with any of the keys, without the log.
//!
//! ```text
//! succession    { base64(leaf) ‖ 0a }: entry 0, then each key-rotation of the log's own key
//! ```

use std::fmt;
use std::path::Path;

use counterfoil_identity::VerifyKey;
use counterfoil_spec::entry::{Body, Leaf, Role, entry_signing_input};
use counterfoil_spec::ids::{Kid, NetId};
use counterfoil_spec::limits::{MAX_LOG_KEYS, MAX_SUCCESSION_BYTES};
use counterfoil_spec::payload::{Genesis, KeyRotation, Payload, RotatedKey};
use counterfoil_spec::rule::FaultKind;
use data_encoding::BASE64;

use crate::error::LogError;
use crate::glance::glance;
use crate::kinds::KEY_ROTATION;
use crate::log_keys::{KeyFold, successor};
use crate::note::{NoteError, NoteVerifier};
use crate::tile::read_limited;

/// The file's name, relative to the log's folder.
pub const FILE: &str = "succession";

/// The keys of a log, each of which signed that the next one follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Succession {
    text: String,
    net_id: NetId,
    author: VerifyKey,
    keys: Vec<NoteVerifier>,
}

/// Why a file proves no succession.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SuccessionFault {
    /// Not in its form.
    #[error("no succession of a log's keys: {0}")]
    Form(&'static str),
    /// A verifier key that cannot be one.
    #[error(transparent)]
    Key(#[from] NoteError),
    /// The key that is to follow cannot.
    #[error("line {line}: {source}")]
    Fold {
        /// Counted from 1.
        line: usize,
        /// Why.
        source: KeyFold,
    },
    /// A signature that must be there is not, or does not verify.
    #[error("line {line}: the signature of {who} is missing or does not verify")]
    Signature {
        /// Counted from 1.
        line: usize,
        /// Whose.
        who: &'static str,
    },
}

impl SuccessionFault {
    /// The verifier's name for it.
    #[must_use]
    pub const fn fault(&self) -> FaultKind {
        match self {
            Self::Form(_) => FaultKind::ProofShape,
            Self::Key(e) => e.fault(),
            Self::Fold { source, .. } => source.fault(),
            Self::Signature { .. } => FaultKind::BadEntrySignature,
        }
    }
}

/// Whose signature an entry must bear.
type Wanted<'a> = (&'static str, Role, &'a VerifyKey);

impl Succession {
    /// Reads one and checks every signature in it.
    ///
    /// # Errors
    /// [`SuccessionFault`].
    pub fn parse(bytes: &[u8]) -> Result<Self, SuccessionFault> {
        if bytes.len() > MAX_SUCCESSION_BYTES {
            return Err(SuccessionFault::Form("too long"));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| SuccessionFault::Form("not UTF-8"))?;
        let lines = text.strip_suffix('\n').ok_or(SuccessionFault::Form("no newline at its end"))?;
        let mut leaves = Vec::new();
        for line in lines.split('\n') {
            if leaves.len() == MAX_LOG_KEYS {
                return Err(SuccessionFault::Form("more keys than a log has"));
            }
            let leaf = BASE64.decode(line.as_bytes()).ok().and_then(|leaf| Leaf::read(&leaf).ok());
            leaves.push(leaf.ok_or(SuccessionFault::Form("a line that is no entry"))?);
        }
        let mut leaves = leaves.into_iter();
        let Some((leaf, Body { payload: Payload::Genesis(genesis), .. })) = leaves.next() else {
            return Err(SuccessionFault::Form("its first line is not genesis"));
        };
        let mut read = Self::begin(&leaf, &genesis)?;
        //= spec/audit-log.md#succession
        //# Whoever follows it MUST check in each line the signature of the log's author, that of the key before and that of the key that
        //# follows, and in the first line that of the root; the network is the one of the root's key.
        for (line, (leaf, body)) in (2..).zip(leaves) {
            read.follow(line, &leaf, &body)?;
        }
        text.clone_into(&mut read.text);
        Ok(read)
    }

    /// The file of a log's folder, where there is one.
    ///
    /// # Errors
    /// `Published` where it proves nothing, and what stands in the way of reading it.
    pub fn of_log(dir: &Path) -> Result<Option<Self>, LogError> {
        let path = dir.join(FILE);
        let bytes = read_limited(&path, MAX_SUCCESSION_BYTES).map_err(LogError::store("read", &path))?;
        let read = bytes.map(|bytes| Self::parse(&bytes)).transpose();
        read.map_err(|e| LogError::Published { file: FILE.to_owned(), reason: e.to_string() })
    }

    fn begin(leaf: &Leaf, genesis: &Genesis) -> Result<Self, SuccessionFault> {
        let root = VerifyKey::from_spki_der(&genesis.root_spki);
        let root = root.map_err(|_| SuccessionFault::Form("genesis without a root's key"))?;
        let author = VerifyKey::from_wire(genesis.author_key);
        let author = author.map_err(|_| SuccessionFault::Form("genesis with a weak author's key"))?;
        let role = Role::from_number(genesis.author_role).filter(|role| *role == Role::Router);
        let role = role.ok_or(SuccessionFault::Form("the log is not a router's"))?;
        let key: NoteVerifier = genesis.log_vkey.parse()?;
        if key.name() != genesis.origin {
            return Err(SuccessionFault::Form("genesis' log key has another name than the log"));
        }
        let read = Self { text: String::new(), net_id: root.net_id(), author, keys: vec![key] };
        read.signed(1, leaf, &[("the author", role, &read.author), ("the root", Role::Root, &root)])?;
        Ok(read)
    }

    fn follow(&mut self, line: usize, leaf: &Leaf, body: &Body) -> Result<(), SuccessionFault> {
        let Payload::KeyRotation(rotation @ KeyRotation { of: RotatedKey::Log, .. }) = &body.payload else {
            return Err(SuccessionFault::Form("a line that is no change of the log's key"));
        };
        if body.author != self.author.kid() {
            return Err(SuccessionFault::Form("an entry by another author"));
        }
        let fold = |source| SuccessionFault::Fold { line, source };
        let next = successor(self.origin(), rotation).map_err(fold)?;
        if self.keys.contains(&next) {
            return Err(fold(KeyFold::Again));
        }
        if let Some(last) = self.keys.last() {
            let wanted: [Wanted<'_>; 3] = [
                ("the author", Role::Router, &self.author),
                ("the key before", Role::Log, last.key()),
                ("the key that follows", Role::Log, next.key()),
            ];
            self.signed(line, leaf, &wanted)?;
        }
        self.keys.push(next);
        Ok(())
    }

    fn signed(&self, line: usize, leaf: &Leaf, wanted: &[Wanted<'_>]) -> Result<(), SuccessionFault> {
        let origin = self.origin();
        for (who, role, key) in wanted {
            let kid: Kid = key.kid();
            let input = entry_signing_input(&self.net_id, origin, *role, &kid, &leaf.body);
            let good = |s: &counterfoil_spec::entry::EntrySignature| key.verify(&input, &s.sig).is_ok();
            if !leaf.signatures.iter().any(|s| s.role == *role && s.kid == kid && good(s)) {
                return Err(SuccessionFault::Signature { line, who });
            }
        }
        Ok(())
    }

    /// The log.
    #[must_use]
    pub fn origin(&self) -> &str {
        self.keys.first().map_or("", NoteVerifier::name)
    }

    /// The network that its entries are of.
    #[must_use]
    pub const fn net_id(&self) -> &NetId {
        &self.net_id
    }

    /// Who writes the log.
    #[must_use]
    pub const fn author(&self) -> &VerifyKey {
        &self.author
    }

    /// All keys, oldest first.
    #[must_use]
    pub fn keys(&self) -> &[NoteVerifier] {
        &self.keys
    }

    /// The keys that follow one, oldest first; `None` where that is none of the log's.
    #[must_use]
    pub fn after(&self, key: &NoteVerifier) -> Option<&[NoteVerifier]> {
        let at = self.keys.iter().position(|known| known == key)?;
        self.keys.get(at + 1..)
    }

    /// The newest key, where it follows this one or is this one.
    #[must_use]
    pub fn newest_after(&self, key: &NoteVerifier) -> Option<&NoteVerifier> {
        self.after(key).and_then(|_| self.keys.last())
    }
}

impl fmt::Display for Succession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The entries of which a log's file is made, as they go by.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lines {
    leaves: Vec<(u64, Vec<u8>)>,
}

impl Lines {
    /// Keeps an entry that belongs into the file.
    pub(crate) fn see(&mut self, index: u64, leaf: &[u8]) {
        let known = self.leaves.last().is_some_and(|(last, _)| *last >= index);
        if !known && self.leaves.len() < MAX_LOG_KEYS && (index == 0 || rotates(leaf)) {
            self.leaves.push((index, leaf.to_vec()));
        }
    }

    /// The file's text once a log has this many entries; `None` while its first key is its only one.
    pub(crate) fn text(&self, size: u64) -> Option<String> {
        let lines: Vec<String> = self
            .leaves
            .iter()
            .filter(|(index, _)| *index < size)
            .map(|(_, leaf)| format!("{}\n", BASE64.encode(leaf)))
            .collect();
        (lines.len() > 1).then(|| lines.concat())
    }

    /// The sizes at which the file changes.
    pub(crate) fn sizes(&self) -> impl Iterator<Item = u64> {
        self.leaves.iter().skip(1).map(|(index, _)| index.saturating_add(1))
    }
}

/// Whether an entry names a key of the log.
pub(crate) fn rotates(leaf: &[u8]) -> bool {
    glance(leaf).is_some_and(|seen| seen.kind == KEY_ROTATION)
        && Leaf::read(leaf).is_ok_and(|(_, body)| {
            matches!(body.payload, Payload::KeyRotation(KeyRotation { of: RotatedKey::Log, .. }))
        })
}
