//! Judges a log by its bytes: every file under the log's folder, from the first entry to the signed head.
//!
//! One pass over the segments; memory grows with keys, join tokens, accounts, consents and work that no request names, and not
//! with requests: what must be compared over all entries, their serials, is sorted through a file. Entries are decoded and signatures checked on several threads; chains, tree and
//! rules are followed in order on the caller's. Nothing here imports what writes a log.

mod authorities;
mod bundles;
mod check;
mod decode;
mod entries;
mod feed;
mod findings;
mod generations;
mod heads;
mod peers;
mod pool;
mod published;
mod remembered;
mod removed;
mod serials;
mod strays;
mod succeeded;
mod supply;
mod tokens;
mod tree;
mod witnessed;

use std::path::PathBuf;
use std::sync::Arc;

use counterfoil_spec::ids::{Hash, NetId};
use counterfoil_spec::rule::{Fault, Rule};
use serde::Serialize;

use crate::error::LogError;
use crate::log_keys::LogKeys;
use crate::merkle::Head;
use crate::note::NoteError;
use crate::policy::Policy;
use crate::source::{Published, Shared};
use crate::trust::TrustedKeys;

pub use check::verify;
pub use findings::MAX_FAULTS;
pub use remembered::Remembered;
pub use removed::Pruned;
pub use succeeded::Succeeded;
pub use witnessed::WitnessedHead;

/// What a valid log does not prove; every report ends with it.
pub const NOT_PROVED: &[&str] = &[
    "that everything that happened was logged",
    "that payments and revenue in it were real",
    "that machines, capacities or persons are what they claim to be",
];

/// What to verify and against what.
#[derive(Debug, Clone)]
pub struct VerifyOptions {
    /// The `log` folder; not looked at where `published` is given.
    pub dir: PathBuf,
    /// The log as it was published elsewhere: there are no segments then, and what no checkpoint covers is not seen.
    pub published: Option<Shared>,
    /// A checkpoint that was verified earlier: the signatures of what it covers are not checked again.
    pub from: Option<Remembered>,
    /// The log's verifier key, got from somewhere else than the log. Without it, genesis' own is used.
    pub vkey: Option<String>,
    /// The network, got from somewhere else than the log. Without it, it is derived from genesis.
    pub net_id: Option<NetId>,
    /// Whether signatures on entries are checked.
    pub signatures: bool,
    /// Whose cosignatures the log must have.
    pub policy: Option<Policy>,
    /// Threads that decode and check signatures; 0 for as many as there are cores.
    pub threads: usize,
}

impl VerifyOptions {
    /// Everything is checked, nothing is pinned.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            published: None,
            from: None,
            vkey: None,
            net_id: None,
            signatures: true,
            policy: None,
            threads: 0,
        }
    }

    /// The same for a log as it was published.
    #[must_use]
    pub fn published(files: Arc<dyn Published>) -> Self {
        Self { published: Some(Shared(files)), ..Self::new(PathBuf::new()) }
    }

    /// The keys of the log that the policy names, where it names one log alone.
    fn only_log(&self) -> Option<TrustedKeys> {
        TrustedKeys::of(self.policy.as_ref()?.logs().iter().map(|log| log.key.clone()))
    }
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether there is no fault.
    pub ok: bool,
    /// The checkpoint's size; where there is no readable checkpoint, the entries that were committed.
    pub size: u64,
    /// The root at that size.
    pub root: Hash,
    /// By index; faults without one come last.
    pub faults: Vec<Fault>,
    /// Faults beyond [`MAX_FAULTS`].
    pub faults_left_out: u64,
    /// No quorum of witnesses has cosigned a checkpoint of the log, or nobody said whose word counts.
    pub unwitnessed: bool,
    /// The newest checkpoint that meets the policy.
    pub witnessed: Option<WitnessedHead>,
    /// Whether the log's key was given.
    pub vkey_pinned: bool,
    /// Whether the network's id was given.
    pub net_id_pinned: bool,
    /// The log's origin.
    pub origin: String,
    /// The log's key: the newest that signs the checkpoint; the one given, where the log names another or none.
    pub log_vkey: Option<String>,
    /// All keys that its entries name, and the sizes of the heads that each signs.
    pub log_keys: Option<LogKeys>,
    /// What follows the key that was given, where that signs no such heads any more.
    pub succeeded: Option<Succeeded>,
    /// The network: the one given, or else the one in genesis.
    pub net_id: Option<NetId>,
    /// Entries that were committed; those beyond `size` were checked too, but no checkpoint covers them yet.
    pub committed: u64,
    /// Bytes behind the last commit: a group that was never acknowledged, or one that is being written.
    pub torn_bytes: u64,
    /// Signatures on entries that were checked.
    pub signatures: u64,
    /// Signatures that were not, because a remembered checkpoint covers their entries.
    pub signatures_skipped: u64,
    /// What that remembered checkpoint covers.
    pub from: Option<Head>,
    /// The log's newest checkpoint as it was read, whole.
    #[serde(skip)]
    pub checkpoint: Option<String>,
    /// Entries that the rules saw; fewer than were committed where damage stopped them.
    pub rules_saw: u64,
    /// Entries of which the hash alone is there: what they say, their signatures and their places in their author's chain were not
    /// checked.
    pub removed: u64,
    /// The prunes of the log.
    pub prunes: Vec<Pruned>,
    /// Files under the log's folder that do not belong to it; they were not read.
    pub strays: Vec<String>,
    /// [`NOT_PROVED`].
    pub not_proved: &'static [&'static str],
}

/// Why nothing could be judged.
#[derive(Debug, Clone, thiserror::Error)]
pub enum VerifyError {
    /// There is no log.
    #[error("{0} has no seg folder; give the `log` folder of a home")]
    NoLog(String),
    /// The pinned key cannot be read.
    #[error("the verifier key to pin: {0}")]
    BadPin(NoteError),
    /// A file could not be read.
    #[error(transparent)]
    Store(#[from] LogError),
}

/// Judges without rules and without a progress report.
///
/// # Errors
/// [`VerifyError`].
pub fn verify_plain(options: &VerifyOptions) -> Result<Report, VerifyError> {
    let mut none: [&mut dyn Rule; 0] = [];
    verify(options, &mut none, &mut |_, _| {})
}
