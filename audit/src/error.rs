//! Why a log could not be opened, read or written.

use std::io;
use std::path::Path;
use std::sync::Arc;

use counterfoil_identity::SignFault;
use counterfoil_spec::encode::DecodeError;
use counterfoil_spec::ids::Hash;

use crate::log_keys::KeyFold;

/// What went wrong with a log, named for the fact.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// Another process, or another writer of this one, has the log open.
    #[error("{path} is locked by another writer; stop that process, or use another --home")]
    Locked {
        /// The lock file.
        path: String,
    },
    /// Damaged bytes before the last commit frame.
    #[error(
        "{file} is damaged at byte {offset} ({reason}); nothing was changed. Run `counterfoil audit verify` to see \
         which entries are affected, and restore the file from a copy"
    )]
    Corrupt {
        /// The file, relative to the log's folder.
        file: String,
        /// Where the damage begins.
        offset: u64,
        /// What is wrong there.
        reason: String,
    },
    /// The log has fewer entries than it had when a head was last signed.
    #[error(
        "the log has {have} entries, but a head of {want} was signed; starting would rewrite signed history. Restore \
         log/seg from a copy that has them"
    )]
    SignedStateAhead {
        /// Committed entries.
        have: u64,
        /// Entries of the signed head.
        want: u64,
    },
    /// The entries do not give the root that was signed.
    #[error("the first {size} entries do not give the root that was signed; restore log/seg from a copy")]
    SignedStateDiffers {
        /// The size that was signed.
        size: u64,
    },
    /// The log was begun with other facts than the configuration has.
    #[error(
        "this log's genesis has another {what} than the configuration; use the home that it was made with"
    )]
    GenesisDiffers {
        /// Which fact.
        what: &'static str,
    },
    /// A key that must sign the log's heads is not at hand.
    #[error(
        "heads of this log are signed by {vkey}, as its entries say, and this key is not here: put its file, or the agent that \
         holds it, back into the home"
    )]
    LogKeyMissing {
        /// Which.
        vkey: String,
    },
    /// An entry about the log's own keys that does not follow from those before it.
    #[error("the log's key is not changed: {0}")]
    LogKey(#[from] KeyFold),
    /// A change of the log's key that the keys concerned did not sign.
    #[error("the log's key is not changed: {vkey} must sign the entry that says so, and does not")]
    LogKeyUnsigned {
        /// Which.
        vkey: String,
    },
    /// A new router log cannot begin without the root's signature.
    #[error(
        "a router's log begins with an entry that the network root signs; give its key for the first start"
    )]
    RootKeyNeeded,
    /// The origin cannot stand in a note or in an entry.
    #[error("{origin:?} cannot be an origin: 1 to 200 bytes without space, plus sign or control character")]
    BadOrigin {
        /// The text.
        origin: String,
    },
    /// An entry longer than a leaf may be.
    #[error("an entry of {len} bytes; at most {limit} fit")]
    LeafTooLong {
        /// Its length.
        len: usize,
        /// The limit.
        limit: usize,
    },
    /// A kind of entry that this writer's role does not author.
    #[error("a {role:?} does not write entries of kind {kind}")]
    WrongAuthor {
        /// The number of the kind.
        kind: u16,
        /// The writer's role.
        role: counterfoil_spec::entry::Role,
    },
    /// More signers than a leaf may have.
    #[error("{count} signers of one entry; at most {limit} fit")]
    TooManySigners {
        /// How many, with the author.
        count: usize,
        /// The limit.
        limit: usize,
    },
    /// More bytes or entries in one call than a group may have.
    #[error(
        "more entries in one append than a group holds ({entries} entries, {bytes} bytes); split the append"
    )]
    GroupTooLarge {
        /// How many entries.
        entries: usize,
        /// Their bytes so far.
        bytes: usize,
    },
    /// No space left. The log is whole, nothing of the group was kept, and later appends work once there is space.
    #[error("no space left on the disk of {file}; the log is whole, free some space and try again")]
    DiskFull {
        /// The file that could not grow.
        file: String,
    },
    /// The disk did not confirm that bytes are durable; what it holds is unknown and this writer takes no more.
    #[error(
        "the disk did not confirm a write ({detail}); restart after checking it, the log recovers by itself"
    )]
    DurabilityLost {
        /// What failed.
        detail: String,
    },
    /// A key did not sign. The log is whole, nothing of the group was kept, and later appends work once it signs.
    #[error("the log is not written: {0}")]
    Sign(#[from] SignFault),
    /// The file system refused.
    #[error("cannot {op} {path}: {source}")]
    Store {
        /// What was tried.
        op: &'static str,
        /// On what.
        path: String,
        /// What it said.
        source: Arc<io::Error>,
    },
    /// An entry that is not one.
    #[error("entry {index}: {source}")]
    BadEntry {
        /// Its index.
        index: u64,
        /// What is wrong with it.
        source: DecodeError,
    },
    /// No such entry.
    #[error("no entry {index}; the log has {size}")]
    OutOfRange {
        /// The index asked for.
        index: u64,
        /// Entries there are.
        size: u64,
    },
    /// It was removed.
    #[error(
        "entry {index} was removed when its time was over, and the hash of its leaf alone is left ({hash}); a copy of the \
         log from before has it"
    )]
    Removed {
        /// Its index.
        index: u64,
        /// The hash of its leaf.
        hash: Hash,
    },
    /// What is left of a range is not what its prune says, so that nothing more is removed.
    #[error(
        "entry {index} says what is to be removed, and the log has other entries there; nothing was changed. Restore \
         log/seg from a copy"
    )]
    PruneDiffers {
        /// The index of the prune.
        index: u64,
    },
    /// A published file that does not say what it must.
    #[error("{file}: {reason}")]
    Published {
        /// The file, relative to the log's folder.
        file: String,
        /// What is wrong.
        reason: String,
    },
    /// Too many appends wait already.
    #[error("the log's queue is full; try again")]
    Overloaded,
    /// The writer was closed.
    #[error("the log was closed")]
    Closed,
}

impl LogError {
    pub(crate) fn store(op: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.display().to_string();
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { file: path },
            _ => Self::Store { op, path, source: Arc::new(source) },
        }
    }

    pub(crate) fn corrupt(file: &str, offset: u64, reason: impl Into<String>) -> Self {
        Self::Corrupt { file: file.to_owned(), offset, reason: reason.into() }
    }
}
