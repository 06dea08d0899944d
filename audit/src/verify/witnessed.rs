//! What witnesses have said of the log: the cosigned checkpoint that lies beside the newest one, held against a policy.

use counterfoil_spec::ids::Hash;
use counterfoil_spec::rule::FaultKind;
use counterfoil_spec::time::{Millis, Seconds};
use serde::Serialize;

use super::findings::Findings;
use super::heads::Heads;
use super::succeeded::Trust;
use crate::error::LogError;
use crate::merkle::verify_consistency;
use crate::note::{MAX_NOTE_BYTES, Note};
use crate::policy::{Policy, Witnessed};
use crate::proof::consistency;
use crate::proofs::quorum_detail;
use crate::source::Files;
use crate::witnessed::FILE;
use crate::{checkpoint, checkpoint::Checkpoint};

/// By how much an entry behind a cosigned checkpoint may be dated before that was cosigned.
const TOLERANCE_S: u64 = 300;

/// The newest checkpoint that meets the policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WitnessedHead {
    /// How many entries it covers.
    pub size: u64,
    /// The root over them.
    pub root: Hash,
    /// Who cosigned it, and when.
    #[serde(flatten)]
    pub by: Witnessed,
}

/// Read before the log's newest head, so that it is never ahead of that.
pub(super) struct Cosigned {
    note: Option<(Note, Checkpoint)>,
}

impl Cosigned {
    pub(super) fn read(files: &Files, findings: &mut Findings) -> Result<Self, LogError> {
        let bytes = match files.read(FILE, MAX_NOTE_BYTES) {
            Ok(None) => return Ok(Self { note: None }),
            Ok(Some(bytes)) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::InvalidData => {
                findings.file(FaultKind::MalformedNote, FILE, e.to_string());
                return Ok(Self { note: None });
            }
            Err(e) => return Err(files.refused(FILE, e)),
        };
        let read = Note::parse(&bytes).and_then(|note| Ok((Checkpoint::parse(&note.text)?, note)));
        let note = match read {
            Ok((checkpoint, note)) => Some((note, checkpoint)),
            Err(e) => {
                findings.file(FaultKind::MalformedNote, FILE, e.to_string());
                None
            }
        };
        Ok(Self { note })
    }

    /// The first instant at which an entry behind the cosigned checkpoint may be dated, and how many come before it.
    pub(super) fn bound(&self, policy: Option<&Policy>) -> Option<(u64, Millis)> {
        let (note, checkpoint) = self.note.as_ref()?;
        let latest = policy?.judge(note).as_of?;
        Some((checkpoint.head.size, Millis(latest.0.saturating_sub(TOLERANCE_S).saturating_mul(1000))))
    }

    /// Checks that it is the log's own, and that the policy is met.
    pub(super) fn check(
        &self,
        files: &Files,
        heads: &Heads,
        (trust, origin, policy): (&Trust<'_>, &str, Option<&Policy>),
        findings: &mut Findings,
    ) -> Option<WitnessedHead> {
        if let Some((note, checkpoint)) = &self.note {
            if checkpoint.origin != origin {
                let detail = format!("origin {:?} where {origin:?} was expected", checkpoint.origin);
                findings.file(FaultKind::OriginNotPinned, FILE, detail);
            }
            if let Err((kind, detail)) = trust.check(note, checkpoint.head.size) {
                findings.file(kind, FILE, detail);
            }
            follows(files, checkpoint, heads, findings);
        }
        //= spec/audit-log.md#witnesses
        //# Where a policy is given, a checkpoint that does not meet its quorum MUST be refused (`QuorumNotMet`).
        let policy = policy?;
        let own = heads.note_and_checkpoint();
        let newest = self.note.as_ref().map(|(note, checkpoint)| (note, checkpoint)).or(own);
        let Some((note, checkpoint)) = newest else {
            findings.file(FaultKind::QuorumNotMet, checkpoint::FILE, "there is no checkpoint");
            return None;
        };
        let by = policy.judge(note);
        if !by.quorum_met {
            let file = if self.note.is_some() { FILE } else { checkpoint::FILE };
            findings.file(FaultKind::QuorumNotMet, file, quorum_detail(&by));
            return None;
        }
        policy.asks_for_witnesses().then(|| {
            let head = checkpoint.head;
            WitnessedHead { size: head.size, root: head.root, by }
        })
    }
}

/// The cosigned tree must be the beginning of the newest one, which is held against the leaves elsewhere.
fn follows(files: &Files, cosigned: &Checkpoint, heads: &Heads, findings: &mut Findings) {
    let Some(newest) = heads.checkpoint.as_ref().map(|c| c.head) else { return };
    if cosigned.head.size > newest.size {
        let detail = format!("have a checkpoint of {}, want at least {}", newest.size, cosigned.head.size);
        findings.file(FaultKind::Rollback, checkpoint::FILE, detail);
        return;
    }
    // Where a tile is missing or wrong that is said of the tile.
    let Ok(path) = consistency(files, cosigned.head.size, newest.size) else { return };
    if verify_consistency(&cosigned.head, &newest, &path).is_err() {
        let detail = format!("the first {} entries do not give its root", cosigned.head.size);
        findings.file(FaultKind::InconsistentTree, FILE, detail);
    }
}

/// Whether an entry is dated before what comes ahead of it was seen by a witness.
pub(super) fn dated(bound: Option<(u64, Millis)>, index: u64, time: Millis) -> Option<String> {
    let (size, first) = bound?;
    (index >= size && time < first).then(|| {
        let seen = Seconds(first.0 / 1000 + TOLERANCE_S);
        format!("{} ms, but the {size} entries before it were cosigned at {seen} s", time.0)
    })
}
