//! Heads of logs on a lane: the router's is logged whole, and the node's own answers it.

use std::time::Duration;

use counterfoil_audit::note::NoteError;
use counterfoil_audit::peer::PeerLog;
use counterfoil_audit::{NewEntry, NoteVerifier};
use counterfoil_identity::random;
use counterfoil_spec::message::{LogHead, NodeMessage};
use counterfoil_spec::payload::PeerAnchor;
use counterfoil_spec::refusal::Refusal;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use super::{Service, Step};

/// The shortest time between two heads that are logged.
const APART: Duration = Duration::from_secs(1);
/// How long a node that leaves waits for the head that covers what was acknowledged.
const LAST: Duration = Duration::from_secs(1);

/// What is under way of it on one lane.
#[derive(Debug, Default)]
pub(super) struct Heads {
    answers: JoinSet<Result<String, String>>,
    /// When the one before was logged.
    before: Option<Instant>,
    /// Something was acknowledged that no head has covered.
    owed: bool,
    /// Until when a node that leaves waits.
    leaves: Option<Instant>,
    /// In words, what in a head that the router's key signed contradicts one before it.
    contradiction: Option<String>,
}

impl Heads {
    /// The router's half of a receipt has come.
    pub(super) const fn owe(&mut self) {
        self.owed = true;
    }

    /// The node leaves.
    pub(super) fn leave(&mut self) {
        self.leaves = Some(Instant::now() + LAST);
    }

    /// Whether a node that leaves need not wait for anything here.
    pub(super) fn are_over(&self) -> bool {
        let waits = self.leaves.is_none_or(|until| Instant::now() < until);
        !waits || (self.answers.is_empty() && !self.owed)
    }

    /// In words, how the router's log contradicts itself.
    pub(super) fn contradiction(&self) -> Option<&str> {
        self.contradiction.as_deref()
    }

    /// Waits for a head that can be answered now. May be dropped and called again.
    pub(super) async fn answer(&mut self) -> Result<Result<String, String>, JoinError> {
        match self.answers.join_next().await {
            Some(answer) => answer,
            None => std::future::pending().await,
        }
    }
}

impl Service<'_> {
    /// Logs a head of the router's log, or ends the lane.
    pub(super) fn head_came(&mut self, head: LogHead) -> Step {
        if !self.heads.answers.is_empty() {
            return Err(self.lane.shut(Refusal::SessionOrder, "a head before the last one was answered"));
        }
        let no = |lane: &mut counterfoil_session::NodeLane, e: &dyn std::fmt::Display| {
            lane.shut(Refusal::SessionHead, &e.to_string())
        };
        let vkey: NoteVerifier = head.vkey.parse().map_err(|e: NoteError| no(&mut self.lane, &e))?;
        let known = self.node.router_log.clone();
        let is_new = known.as_ref().is_none_or(|log| *log.key() != vkey);
        //= spec/session.md#heads
        //# for a node's log that is the key with which it enrolled, for a
        //# router's the one in the first head that the node logged, or one that follows it.
        let follows = head.succession.filter(|_| is_new && known.is_some());
        let mut router_log = known.unwrap_or_else(|| PeerLog::new(vkey.clone(), None));
        router_log.follow(&vkey, follows.as_deref()).map_err(|e| no(&mut self.lane, &e))?;
        let taken = router_log.take(&head.note);
        let anchor = PeerAnchor { note: head.note, vkey: is_new.then_some(head.vkey), succession: follows };
        let entry = NewEntry::new(random::serial(), anchor);
        let log = self.node.log.clone();
        match taken {
            Ok(_) => self.node.router_log = Some(router_log),
            Err(fault) => {
                tracing::error!(%fault, "the router's log is not what it was");
                if fault.is_signed() {
                    if log.append(entry).is_err() {
                        return Err(self
                            .lane
                            .shut(Refusal::SessionInternal, "the node cannot write its log"));
                    }
                    //= spec/session.md#heads
                    //# A node whose router contradicts a head of its own MUST withdraw its consent tokens and stop.
                    self.heads.contradiction = Some(fault.to_string());
                }
                return Err(no(&mut self.lane, &fault));
            }
        }
        let now = Instant::now();
        let at = self.heads.before.map_or(now, |before| now.max(before + APART));
        (self.heads.before, self.heads.owed) = (Some(at), false);
        self.heads.answers.spawn(async move {
            tokio::time::sleep_until(at).await;
            let logged = tokio::task::spawn_blocking(move || log.append_and_publish(entry)).await;
            logged.map_err(|e| e.to_string())?.map_err(|e| e.to_string())
        });
        Ok(())
    }

    /// Sends the node's own head, which has the router's.
    pub(super) fn answer_head(&mut self, answer: Result<Result<String, String>, JoinError>) -> Step {
        match answer {
            Ok(Ok(note)) => {
                let vkey = self.node.log.vkey().to_owned();
                // A node's log keeps its key.
                self.lane.send(&NodeMessage::Head(LogHead { note, vkey, succession: None }))
            }
            // The lane that it was for is gone.
            Err(error) if error.is_cancelled() => Ok(()),
            // The router asks no more on this lane, which is as good as before.
            Ok(Err(words)) => {
                tracing::error!(words, "a head of the router's log could not be kept");
                Ok(())
            }
            Err(error) => Err(self.lane.shut(Refusal::SessionInternal, &error.to_string())),
        }
    }
}
