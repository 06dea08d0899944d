//! The log's witnesses: each is asked to cosign the newest checkpoint, and what a quorum has cosigned is kept.

mod post;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use counterfoil_audit::growth::Growth;
use counterfoil_audit::note::Note;
use counterfoil_audit::policy::{Policy, PolicyWitness};
use counterfoil_audit::proof::published;
use counterfoil_audit::{LogError, checkpoint, witnessed};
use counterfoil_spec::text::shown;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::office::Office;

/// Requests to one witness in one round: one may be needed to learn what it remembers.
const MAX_ASKED: u32 = 3;
/// Rounds that a witness which did not answer is left out of at most.
const MAX_PAUSE_ROUNDS: u32 = 32;

/// How long a router that ends waits for its witnesses.
const LAST_PATIENCE: Duration = Duration::from_secs(3);

/// Whom to ask, and how often.
#[derive(Debug, Clone)]
pub struct Witnessing {
    /// The witnesses and the quorum.
    pub policy: Arc<Policy>,
    /// Between two rounds.
    pub every: Duration,
}

/// What is known of one witness.
#[derive(Debug, Default)]
struct Known {
    /// The size that it remembers, as far as is known.
    old: u64,
    /// Its cosignature of the checkpoint of this round.
    line: Option<String>,
    failures: u32,
    pause: u32,
    /// It remembers more than this log has.
    ahead: bool,
}

/// How one witness took a checkpoint.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    /// With its cosignature.
    Cosigned(String),
    /// It remembers a larger tree than the checkpoint's.
    Ahead(u64),
    /// Nothing came of it, and why.
    Failed(String),
}

/// The task that asks, for as long as the router runs.
pub(crate) struct Following {
    closed: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Following {
    /// Begins to ask.
    pub(crate) fn begin(office: Arc<Office>, witnessing: Witnessing) -> Self {
        let (closed, told) = oneshot::channel();
        Self { closed, task: tokio::spawn(follow(office, witnessing, told)) }
    }

    /// The log is closed: its last checkpoint is cosigned too, where the witnesses answer in time.
    pub(crate) async fn end(self) {
        let _ = self.closed.send(());
        let abort = self.task.abort_handle();
        if tokio::time::timeout(LAST_PATIENCE, self.task).await.is_err() {
            abort.abort();
            tracing::warn!(
                "not every witness has answered; the last entries are cosigned after the next start"
            );
        }
    }
}

async fn follow(office: Arc<Office>, witnessing: Witnessing, closed: oneshot::Receiver<()>) {
    let mut closed = std::pin::pin!(closed);
    let mut is_last = false;
    let mut tick = tokio::time::interval(witnessing.every);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut round = Round { policy: witnessing.policy, note: String::new(), known: BTreeMap::new() };
    while !is_last {
        tokio::select! {
            _ = tick.tick() => {}
            _ = &mut closed => {
                is_last = true;
                round.known.values_mut().for_each(|known| known.pause = 0);
            }
        }
        if let Err(e) = round.go(office.log_folder()).await {
            tracing::error!(error = %e, "the log's checkpoint was not witnessed");
        }
    }
}

struct Round {
    policy: Arc<Policy>,
    /// The checkpoint that the lines are of.
    note: String,
    known: BTreeMap<String, Known>,
}

impl Round {
    async fn go(&mut self, folder: &Path) -> Result<(), LogError> {
        let Some((note, newest)) = published(folder, checkpoint::FILE)? else { return Ok(()) };
        if self.note != note {
            self.note.clone_from(&note);
            self.known.values_mut().for_each(|known| known.line = None);
        }
        let mut asking = Vec::new();
        for witness in self.policy.witnesses().iter().filter(|w| w.url.is_some()) {
            let known = self.known.entry(witness.name.clone()).or_default();
            if known.line.is_some() || known.ahead {
                continue;
            }
            if known.pause > 0 {
                known.pause -= 1;
                continue;
            }
            asking.push(ask(folder, witness, known.old, &note, newest.head.size));
        }
        if asking.is_empty() {
            return Ok(());
        }
        for (name, old, asked) in futures_util::future::join_all(asking).await {
            let Some(known) = self.known.get_mut(&name) else { continue };
            known.take(&name, old, asked);
        }
        self.keep(folder, &note, newest.head.size)
    }

    /// Keeps the checkpoint where the quorum is met.
    fn keep(&self, folder: &Path, note: &str, size: u64) -> Result<(), LogError> {
        let lines: String = self.known.values().filter_map(|known| known.line.as_deref()).collect();
        let cosigned = format!("{note}{lines}");
        let parsed = Note::parse(cosigned.as_bytes())
            .map_err(|e| LogError::Published { file: witnessed::FILE.to_owned(), reason: e.to_string() })?;
        //= spec/audit-log.md#witnesses
        //# A router MUST put a checkpoint into `log/witnessed` only where the cosignatures under it meet the policy, and
        //# MUST NOT replace one there by a smaller one.
        let before = published(folder, witnessed::FILE)?.map_or(0, |(_, before)| before.head.size);
        if size < before || !self.policy.judge(&parsed).quorum_met {
            return Ok(());
        }
        witnessed::keep(folder, &cosigned)
    }
}

impl Known {
    fn take(&mut self, name: &str, old: u64, asked: Asked) {
        self.old = old;
        match asked {
            Asked::Cosigned(line) => {
                self.line = Some(line);
                self.failures = 0;
            }
            //= spec/audit-log.md#witnesses
            //# A witness that remembers a larger tree than the log has is evidence of a rollback: a router MUST say so and
            //# MUST NOT go on asking it.
            Asked::Ahead(size) => {
                self.ahead = true;
                tracing::error!(
                    witness = name,
                    size,
                    "Rollback: the witness has cosigned more entries than this log has; was it restored from an old copy?"
                );
            }
            Asked::Failed(why) => {
                self.pause = (1_u32 << self.failures.min(5)).min(MAX_PAUSE_ROUNDS) - 1;
                self.failures = self.failures.saturating_add(1);
                tracing::warn!(witness = name, why, "a witness did not cosign the log's checkpoint");
            }
        }
    }
}

/// Asks one witness, from the size that it remembers; gives that size as it is known after that.
async fn ask(
    folder: &Path,
    witness: &PolicyWitness,
    mut old: u64,
    note: &str,
    size: u64,
) -> (String, u64, Asked) {
    let failed = |why: String| Asked::Failed(why);
    let mut asked = failed("its memory changed with every answer".to_owned());
    for _ in 0..MAX_ASKED {
        let body = match Growth::prove_to(folder, old.min(size), note.to_owned(), size) {
            Ok(growth) => growth.to_string(),
            Err(e) => {
                asked = failed(e.to_string());
                break;
            }
        };
        let said = match post::post(witness.url.as_deref().unwrap_or_default(), body).await {
            Ok(said) => said,
            Err(why) => {
                asked = failed(why);
                break;
            }
        };
        match read(witness, note, &said) {
            Read::Size(remembered) if remembered > size => {
                asked = Asked::Ahead(remembered);
                break;
            }
            Read::Size(remembered) => old = remembered,
            Read::Line(line) => {
                old = size;
                asked = Asked::Cosigned(line);
                break;
            }
            Read::Nothing(why) => {
                asked = failed(why);
                break;
            }
        }
    }
    (witness.name.clone(), old, asked)
}

/// What an answer means.
#[derive(Debug, PartialEq, Eq)]
enum Read {
    Line(String),
    Size(u64),
    Nothing(String),
}

fn read(witness: &PolicyWitness, note: &str, said: &post::Said) -> Read {
    match said.status {
        200 => {
            let text = note.rfind("\n\n").and_then(|at| note.get(..=at)).unwrap_or_default();
            match witness.key.line_in(text, &said.body) {
                Ok(Some(line)) => Read::Line(line),
                Ok(None) => Read::Nothing("its answer is by another key".to_owned()),
                Err(e) => Read::Nothing(e.to_string()),
            }
        }
        409 => {
            let size = said
                .body
                .strip_suffix('\n')
                .and_then(|n| n.parse().ok().filter(|s: &u64| s.to_string() == n));
            size.map_or_else(
                || Read::Nothing(format!("409 without a size: {}", shown(said.body.trim_end()))),
                Read::Size,
            )
        }
        status => {
            let said = shown(said.body.trim_end());
            Read::Nothing(format!("{status}: {said}"))
        }
    }
}

#[cfg(test)]
mod tests;
