//! A request while it is in the batch.

use counterfoil_model::{Rows, Sequence};
use tokio::sync::oneshot;

use super::{End, Entrant, Reply, Step, Stepped, Turn, Wants};
use crate::work::{Work, WorkError};

/// A member of the batch.
pub(super) struct Member {
    pub(super) sequence: Sequence,
    pub(super) work: Work,
    ids: Vec<u32>,
    /// How many of them are part of the sequence.
    done: usize,
    pub(super) wants: Wants,
    gone: Box<dyn Fn() -> bool + Send>,
    reply: oneshot::Sender<Reply>,
    logits: Rows,
    failed: Option<WorkError>,
}

impl Member {
    pub(super) fn new(entrant: Entrant) -> Self {
        let Entrant { step: Step { sequence, work, ids, wants, gone }, reply } = entrant;
        Self { sequence, work, ids, done: 0, wants, gone, reply, logits: Rows::default(), failed: None }
    }

    /// Rows that are still to come.
    pub(super) fn left(&self) -> usize {
        self.ids.len() - self.done
    }

    /// The next ids.
    pub(super) fn next(&self, count: usize) -> &[u32] {
        self.ids.get(self.done..self.done + count).unwrap_or(&[])
    }

    /// Its next rows went through every layer.
    pub(super) fn came_on(&mut self, count: usize) {
        self.done = (self.done + count).min(self.ids.len());
    }

    /// It cannot go on; the first reason stays.
    pub(super) fn fail(&mut self, why: impl Into<WorkError>) {
        self.failed.get_or_insert(why.into());
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed.is_some()
    }

    /// Keeps logits for the reply.
    pub(super) fn keep(&mut self, logits: &Rows) {
        if let Err(e) = self.logits.append(logits) {
            self.fail(e);
        }
    }

    /// How it ended, if it has.
    pub(super) fn end(&mut self) -> Option<End> {
        if let Some(why) = self.failed.take() {
            return Some(End::Failed(why));
        }
        if self.left() == 0 {
            return Some(End::Logits(std::mem::take(&mut self.logits)));
        }
        (self.gone)().then_some(End::Gone)
    }

    /// Gives the request back to its task. Where that is gone, its work is dropped with it.
    pub(super) fn leave(self, end: End, turn: Turn) {
        let stepped = Stepped { sequence: self.sequence, work: self.work, end };
        let _ = self.reply.send(Reply { stepped, turn });
    }
}
