//! A witness: follows logs, and says of a checkpoint that it saw it and that it kept all that the last one had.
//!
//! ```text
//! began                                    empty; the folder is a witness's
//! <sha-256 of the origin, hex>/checkpoint  the last checkpoint of a log: the log's signatures, then the witness's own
//! <sha-256 of the origin, hex>/fork/<size>.kept, .other    two signed checkpoints of one size with two roots
//! ```
//!
//! What is answered follows C2SP tlog-witness; what is said is durable before it is said.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use counterfoil_identity::SignFault;
use counterfoil_spec::time::Seconds;
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use crate::checkpoint::Checkpoint;
use crate::disk::LocalDisk;
use crate::error::LogError;
use crate::growth::Growth;
use crate::merkle::{Head, empty_root, verify_consistency};
use crate::note::{MAX_NOTE_BYTES, Note, NoteError, NoteVerifier, WitnessSigner};
use crate::store::{Replace, replace, sync_folder};
use crate::tile::read_limited;

/// Logs that one witness follows.
pub const MAX_WITNESSED_LOGS: usize = 1024;
/// Forks of one log that are kept.
const MAX_FORKS: usize = 16;
const CHECKPOINT: &str = "checkpoint";
const BEGAN: &str = "began";

/// Why a witness cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum WitnessError {
    /// Another process has its state open.
    #[error("{0} is in use by another witness; two with one key would contradict each other")]
    Locked(String),
    /// The key was used before and what it said is gone.
    #[error(
        "{0} is gone, and the key that signed is still here: restore the folder from a copy, or retire this witness and \
         begin one with another key"
    )]
    StateLost(String),
    /// A stored checkpoint is not one that this witness cosigned.
    #[error("{file} is not a checkpoint that this witness cosigned ({reason}); restore it from a copy")]
    Damaged {
        /// Which file.
        file: String,
        /// Why.
        reason: String,
    },
    /// More logs than one witness follows.
    #[error("{0} logs; one witness follows at most {MAX_WITNESSED_LOGS}")]
    TooManyLogs(usize),
    /// The file system.
    #[error(transparent)]
    Store(#[from] LogError),
}

/// What is answered to a request, as HTTP says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The content type.
    pub content_type: &'static str,
    /// The body.
    pub body: String,
}

impl Answer {
    fn text(status: u16, body: impl Into<String>) -> Self {
        Self { status, content_type: "text/plain; charset=utf-8", body: body.into() }
    }
}

/// The last checkpoint of one log.
#[derive(Debug, Clone)]
struct Kept {
    head: Head,
    note: String,
}

#[derive(Debug)]
struct Followed {
    keys: Vec<NoteVerifier>,
    folder: PathBuf,
    kept: Option<Kept>,
}

/// An open witness.
#[derive(Debug)]
pub struct Witness {
    signer: WitnessSigner,
    /// Guards what was said of each log, by origin; held from the check of a request until what it leads to is durable.
    logs: Mutex<BTreeMap<String, Followed>>,
    _lock: File,
}

/// Begins what a witness remembers; to be called before its key is made, and never for a key that has signed.
///
/// # Errors
/// `Store`, `DurabilityLost`.
pub fn begin(folder: &Path) -> Result<(), LogError> {
    std::fs::create_dir_all(folder).map_err(LogError::store("create", folder))?;
    let began = folder.join(BEGAN);
    File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&began)
        .map_err(LogError::store("create", &began))?;
    sync_folder(&LocalDisk, folder)
}

impl Witness {
    /// Opens what a witness remembers.
    ///
    /// # Errors
    /// [`WitnessError`]; then nothing must be cosigned with this key.
    pub fn open(folder: &Path, signer: WitnessSigner, logs: Vec<NoteVerifier>) -> Result<Self, WitnessError> {
        let began = folder.join(BEGAN);
        //= spec/audit-log.md#witnesses
        //# A witness whose key has signed before and whose memory is gone MUST NOT begin.
        let lock = File::options().write(true).open(&began).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => WitnessError::StateLost(began.display().to_string()),
            _ => LogError::store("open", &began)(e).into(),
        })?;
        if lock.try_lock().is_err() {
            return Err(WitnessError::Locked(folder.display().to_string()));
        }
        if logs.len() > MAX_WITNESSED_LOGS {
            return Err(WitnessError::TooManyLogs(logs.len()));
        }
        let mut followed: BTreeMap<String, Followed> = BTreeMap::new();
        for key in logs {
            match followed.get_mut(key.name()) {
                Some(log) => log.keys.push(key),
                None => {
                    let own = folder.join(origin_hash(key.name()));
                    let kept = read_kept(&own, key.name(), &signer)?;
                    followed.insert(key.name().to_owned(), Followed { keys: vec![key], folder: own, kept });
                }
            }
        }
        Ok(Self { signer, logs: Mutex::new(followed), _lock: lock })
    }

    /// Answers `POST add-checkpoint`. Blocks until what it says is durable.
    pub fn add_checkpoint(&self, body: &[u8], now: Seconds) -> Answer {
        //= spec/audit-log.md#witnesses
        //# A witness MUST make a checkpoint durable before it answers with a cosignature of it, and MUST do both and the check of the old size as one step.
        let mut logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        self.judge(&mut logs, body, now).unwrap_or_else(|refused| refused)
    }

    /// Answers `GET <origin hash>/checkpoint`.
    #[must_use]
    pub fn checkpoint(&self, hash: &str) -> Answer {
        let logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        let log = logs.iter().find(|(origin, _)| origin_hash(origin) == hash);
        match log.and_then(|(_, log)| log.kept.as_ref()) {
            Some(kept) => Answer::text(200, kept.note.clone()),
            None => Answer::text(404, "no checkpoint of such a log was cosigned here\n"),
        }
    }

    fn judge(
        &self,
        logs: &mut BTreeMap<String, Followed>,
        body: &[u8],
        now: Seconds,
    ) -> Result<Answer, Answer> {
        let malformed = |e: &dyn std::fmt::Display| Answer::text(400, format!("{e}\n"));
        let growth = Growth::parse(body).map_err(|e| malformed(&e))?;
        let note = Note::parse(growth.note.as_bytes()).map_err(|e| malformed(&e))?;
        let (origin, head) = head_of(&note.text).ok_or_else(|| malformed(&"not a checkpoint"))?;
        let log = logs.get_mut(origin).ok_or_else(|| Answer::text(404, "this log is not followed here\n"))?;
        let signed = log_lines(&note, &log.keys).map_err(|e| Answer::text(403, format!("{e}\n")))?;
        if growth.old > head.size {
            return Err(malformed(&"the old size is above the checkpoint's"));
        }
        let last = log.kept.as_ref().map_or(Head { size: 0, root: empty_root() }, |kept| kept.head);
        if growth.old != last.size {
            let body = format!("{}\n", last.size);
            return Err(Answer { status: 409, content_type: "text/x.tlog.size", body });
        }
        //= spec/audit-log.md#witnesses
        //# A checkpoint of the size that was cosigned last with another root MUST be answered with 409, and a witness MUST keep both of them.
        if head.size > 0 && head.size == last.size && head.root != last.root {
            keep_fork(log, &growth.note, head.size);
            return Err(Answer::text(409, "another root was cosigned for this size\n"));
        }
        let grown = if head.size == 0 { head.root == empty_root() } else { true };
        if !grown || verify_consistency(&last, &head, &growth.path).is_err() {
            return Err(Answer::text(422, "the checkpoint is not proved to follow from the last one\n"));
        }
        let failed = |e: &dyn std::fmt::Display| {
            tracing::error!(error = %e, origin, "nothing was cosigned");
            Answer::text(500, "the witness cannot sign or store; nothing was cosigned\n")
        };
        let line = self.signer.cosign(&note.text, now).map_err(|e: SignFault| failed(&e))?;
        let kept = format!("{}\n{signed}{line}", note.text);
        replace_durably(&log.folder, &kept).map_err(|e| failed(&e))?;
        log.kept = Some(Kept { head, note: kept });
        Ok(Answer::text(200, line))
    }
}

/// A log's name in paths.
#[must_use]
pub fn origin_hash(origin: &str) -> String {
    HEXLOWER.encode(&Sha256::digest(origin.as_bytes()))
}

/// Origin and head of any log's checkpoint, which may have extension lines.
fn head_of(text: &str) -> Option<(&str, Head)> {
    let mut lines = text.strip_suffix('\n')?.split('\n');
    let (origin, size, root) = (lines.next()?, lines.next()?, lines.next()?);
    if lines.any(str::is_empty) {
        return None;
    }
    let three = Checkpoint::parse(&format!("{origin}\n{size}\n{root}\n")).ok()?;
    Some((origin, three.head))
}

/// The lines of a log's trusted keys; all of them verify, and there is one at least.
fn log_lines(note: &Note, keys: &[NoteVerifier]) -> Result<String, NoteError> {
    let mut lines = String::new();
    let mut missing = None;
    for key in keys {
        match key.verify(note) {
            Ok(()) => lines.push_str(&note.lines_of(key.name(), key.id())),
            Err(e @ NoteError::NoTrustedSignature(_)) => missing = Some(e),
            Err(e) => return Err(e),
        }
    }
    match missing {
        Some(e) if lines.is_empty() => Err(e),
        _ => Ok(lines),
    }
}

fn read_kept(folder: &Path, origin: &str, signer: &WitnessSigner) -> Result<Option<Kept>, WitnessError> {
    let path = folder.join(CHECKPOINT);
    let damaged = |reason: String| WitnessError::Damaged { file: path.display().to_string(), reason };
    let Some(bytes) = read_limited(&path, MAX_NOTE_BYTES).map_err(LogError::store("read", &path))? else {
        return Ok(None);
    };
    let note = Note::parse(&bytes).map_err(|e| damaged(e.to_string()))?;
    let head = head_of(&note.text).filter(|(of, _)| *of == origin).map(|(_, head)| head);
    let head = head.ok_or_else(|| damaged("another log's, or none".to_owned()))?;
    match signer.public().time_of(&note) {
        Ok(Some(_)) => {}
        Ok(None) => return Err(damaged("without this witness's cosignature".to_owned())),
        Err(e) => return Err(damaged(e.to_string())),
    }
    let note = String::from_utf8(bytes).map_err(|e| damaged(e.to_string()))?;
    Ok(Some(Kept { head, note }))
}

fn replace_durably(folder: &Path, note: &str) -> Result<(), LogError> {
    let begun = folder.is_dir();
    replace(&LocalDisk, &folder.join(CHECKPOINT), note.as_bytes(), Replace::Durable)?;
    match folder.parent() {
        Some(above) if !begun => sync_folder(&LocalDisk, above),
        _ => Ok(()),
    }
}

/// Keeps two signed checkpoints that cannot both be true; that they were seen is no reason to answer otherwise.
fn keep_fork(log: &Followed, other: &str, size: u64) {
    let Some(kept) = &log.kept else { return };
    let folder = log.folder.join("fork");
    let known = std::fs::read_dir(&folder).map_or(0, Iterator::count);
    let first = folder.join(format!("{size}.kept"));
    if known >= 2 * MAX_FORKS || first.exists() {
        return;
    }
    let written = replace(&LocalDisk, &first, kept.note.as_bytes(), Replace::Ordered).and_then(|()| {
        replace(&LocalDisk, &folder.join(format!("{size}.other")), other.as_bytes(), Replace::Ordered)
    });
    match written {
        Ok(()) => {
            tracing::warn!(folder = %folder.display(), size, "Fork: a log signed two roots for one size")
        }
        Err(e) => tracing::error!(error = %e, "the evidence of a fork could not be kept"),
    }
}

#[cfg(test)]
mod tests;
