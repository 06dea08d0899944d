//! The right to run the request of a key, from its reservation to its answer.

use std::sync::Arc;
use std::time::Duration;

use counterfoil_spec::ids::Serial;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::{Kept, Mark, RepeatError, Repeats};
use crate::generate::{Answer, Event};
use crate::http::reply::{ReplyEnd, ReplyHead};

/// How long a client may read nothing, once its request is finished, before its answer is given up.
const READER_TIMEOUT: Duration = Duration::from_secs(30);
/// Pieces of text that may wait for a client.
const MAX_WAITING_EVENTS: usize = 64;

/// The right to run the request of a key. Given up before the key was recorded, the key is free again; after that nobody knows
/// here what was billed, and the key stays taken.
pub(crate) struct Claim {
    repeats: Arc<Repeats>,
    mark: Mark,
    open: bool,
}

impl Claim {
    pub(super) fn new(repeats: Arc<Repeats>, mark: Mark) -> Self {
        Self { repeats, mark, open: true }
    }

    //= spec/settlement.md#requests-that-are-sent-again
    //# A router MUST have written a key to its disk before it runs the request.
    /// Makes the key durable, with the name of its request, which was admitted and does not run yet.
    ///
    /// # Errors
    /// [`RepeatError::Store`]; then the request must not run.
    pub(crate) async fn record(self, request: Serial) -> Result<Self, RepeatError> {
        let at = (self.repeats.now)().seconds();
        let record = self.repeats.state.lock().record(&self.mark, request, at);
        let record = record.ok_or_else(|| RepeatError::Store("it was forgotten".into()))?;
        self.repeats.writer.write(record).await.map_err(RepeatError::Store)?;
        Ok(self)
    }

    pub(super) fn answered(mut self, kept: Kept) {
        self.open = false;
        let now = (self.repeats.now)().seconds();
        self.repeats.state.lock().answered(self.mark, kept, now);
    }

    /// Keeps an answer and gives it to its client, who is not waited for while there is more to come. The request goes on to its end
    /// where the client leaves, because who sends a key comes back for the answer; `running` is held until that is kept.
    pub(crate) fn follow(self, mut answer: Answer, running: Arc<OwnedSemaphorePermit>) -> Answer {
        let (events, reader) = mpsc::channel(MAX_WAITING_EVENTS);
        let head = answer.head.clone();
        tokio::spawn(async move {
            let mut followed = Followed { head: answer.head, text: String::new(), told: 0 };
            let last = loop {
                let behind = followed.told < followed.text.len();
                tokio::select! {
                    biased;
                    event = answer.events.recv() => match event {
                        Some(Event::Text(piece)) => followed.text.push_str(&piece),
                        last => break last,
                    },
                    Ok(place) = events.reserve(), if behind => place.send(followed.next()),
                }
            };
            let rest = followed.rest();
            match &last {
                //= spec/settlement.md#requests-that-are-sent-again
                //# An answer MUST be there to be given again once its request is finished, whether its client has read it or not.
                Some(Event::Done(end)) => self.answered(followed.kept(*end)),
                // Its entry may be durable all the same.
                Some(_) | None => drop(self),
            }
            drop(running);
            for event in rest.into_iter().chain(last) {
                let sent = tokio::time::timeout(READER_TIMEOUT, events.send(event)).await;
                if !matches!(sent, Ok(Ok(()))) {
                    break;
                }
            }
        });
        Answer { head, events: reader }
    }
}

/// What came of an answer so far, and how much of it its client was given.
struct Followed {
    head: ReplyHead,
    text: String,
    told: usize,
}

impl Followed {
    /// All that its client was not given yet.
    fn next(&mut self) -> Event {
        let piece = self.text.get(self.told..).unwrap_or_default().to_owned();
        self.told = self.text.len();
        Event::Text(piece)
    }

    fn rest(&mut self) -> Option<Event> {
        (self.told < self.text.len()).then(|| self.next())
    }

    fn kept(self, end: ReplyEnd) -> Kept {
        Kept { head: self.head, text: self.text, end }
    }
}

/// An answer that is there as a whole.
pub(super) fn whole(head: &ReplyHead, text: &str, end: ReplyEnd) -> Answer {
    let (events, reader) = mpsc::channel(2);
    let text = Some(text.to_owned()).filter(|text| !text.is_empty());
    for event in text.map(Event::Text).into_iter().chain([Event::Done(end)]) {
        // There is room for both.
        let _ = events.try_send(event);
    }
    Answer { head: head.clone(), events: reader }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.open {
            self.repeats.state.lock().given_up(&self.mark);
        }
    }
}

impl std::fmt::Debug for Claim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Claim({:?})", self.mark)
    }
}
