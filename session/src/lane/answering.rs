//! A dispatch that is under way.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::Shared;
use crate::end::{LaneEnd, LaneError};
use crate::frame::Combine;

/// Brings what came back. Dropped before that, it gives the combine up; the late answer is thrown away.
#[derive(Debug)]
pub struct Answering {
    shared: Arc<Shared>,
    seq: u32,
    done: bool,
    asked: Instant,
    took: Duration,
}

impl Answering {
    /// What was just sent.
    pub(super) fn new(shared: Arc<Shared>, seq: u32) -> Self {
        Self { shared, seq, done: false, asked: Instant::now(), took: Duration::ZERO }
    }

    /// How long the combine that this has brought took to come; whoever asks for it may have done something else
    /// meanwhile. Nothing before it was brought.
    #[must_use]
    pub const fn took(&self) -> Duration {
        self.took
    }
}

impl Future for Answering {
    type Output = Result<Combine, LaneError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = self.shared.desk.poll_answer(self.seq, cx);
        polled.map(|answer| {
            self.done = true;
            if let Some((_, came)) = &answer {
                self.took = came.saturating_duration_since(self.asked);
            }
            answer.map(|(combine, _)| combine).ok_or_else(|| {
                // The lane's end is noted before those who wait are told.
                let end = self.shared.ended.borrow().clone();
                let end = end.unwrap_or_else(|| LaneEnd::Lost("unknown".into()));
                LaneError::Closed { node: self.shared.peer.id(), end }
            })
        })
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        if !self.done {
            self.shared.desk.leave(self.seq);
        }
    }
}
