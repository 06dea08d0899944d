//! Requests that were sent with an `Idempotency-Key`: what has the same key is not run a second time.
//!
//! A key is of its account, for a day. It is durable before tokens are held, so that neither a crash nor a restart
//! has anything run and billed twice; the answer itself is text and stays in memory, for a while.

mod file;

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use counterfoil_spec::ids::{AccountId, Hash, Serial};
use counterfoil_spec::time::{Now, Seconds};
use tokio::sync::mpsc;

use crate::generate::{Answer, Event};
use crate::http::error::ApiError;
use crate::http::reply::{ReplyEnd, ReplyHead};
use file::{Marks, Record};

/// How long a key is remembered, in seconds.
const KEY_LIFE_S: u64 = 86_400;
/// How long an answer is kept to be given again, in seconds.
const ANSWER_LIFE_S: u64 = 600;
/// The text of answers that are kept, in bytes; the oldest go first.
const MAX_KEPT_BYTES: usize = 64 * 1024 * 1024;
/// Keys of all accounts.
const MAX_KEYS: usize = 65_536;
/// Keys of one account.
const MAX_KEYS_OF_ACCOUNT: usize = 4096;
/// The longest key, in bytes.
const MAX_KEY_BYTES: usize = 255;
/// How long a client may read nothing before its request goes on without it.
const READER_TIMEOUT: Duration = Duration::from_secs(30);
/// Pieces of text that may wait for a client.
const MAX_WAITING_EVENTS: usize = 64;

/// Whose key, as a hash that only this router can make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mark(pub(crate) Hash);

/// An answer that can be given again.
#[derive(Debug)]
pub(crate) struct Kept {
    head: ReplyHead,
    text: String,
    end: ReplyEnd,
}

/// Where a request with a key stands.
#[derive(Debug, Clone)]
enum Stand {
    Runs,
    Answered(Arc<Kept>),
    /// It was answered, or it ran when a router ended.
    Gone,
}

#[derive(Debug)]
struct Known {
    account: AccountId,
    body: Hash,
    at: Seconds,
    request: Option<Serial>,
    stand: Stand,
}

#[derive(Debug, Default)]
struct State {
    known: BTreeMap<Mark, Known>,
    /// By the time at which they came, which is the order in which they are forgotten.
    order: VecDeque<(Seconds, Mark)>,
    of_account: BTreeMap<AccountId, usize>,
    /// Those that are kept, oldest first, with when they were answered.
    kept: VecDeque<(Seconds, Mark)>,
    kept_bytes: usize,
    marks: Option<Marks>,
}

/// All keys that this router remembers.
pub(crate) struct Repeats {
    now: Now,
    /// Guards the map and the order of records in the file; nothing is synced under it.
    state: Mutex<State>,
}

/// What a key entitles to.
#[derive(Debug)]
pub(crate) enum Turn {
    /// To be run.
    First(Claim),
    /// To what was answered before.
    Again(Arc<Kept>),
}

/// The right to run the request of a key. Given up before it was admitted, the key is free again; after that nobody knows here
/// what was billed, and the key stays taken.
pub(crate) struct Claim {
    repeats: Arc<Repeats>,
    mark: Mark,
    open: bool,
    admitted: bool,
}

/// Why a key is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RepeatError {
    #[error("`Idempotency-Key` has 1 to {MAX_KEY_BYTES} visible ASCII characters")]
    Form,
    #[error("this Idempotency-Key came with another body before; use a key for one request alone")]
    OtherBody,
    #[error("the request with this Idempotency-Key still runs; ask again for its answer")]
    Runs,
    #[error(
        "the request with this Idempotency-Key was begun before{} and its answer is not kept any more; what it cost is in \
         the log; ask with a new key to have it answered again",
        .0.map(|request| format!(" (GET /v1/receipts/{request})")).unwrap_or_default()
    )]
    Gone(Option<Serial>),
    #[error("this account has used {MAX_KEYS_OF_ACCOUNT} Idempotency-Keys within a day; ask without one")]
    TooMany,
    #[error("no more Idempotency-Keys can be remembered now; ask without one")]
    Full,
    #[error("this Idempotency-Key cannot be remembered: {0}")]
    Store(String),
}

impl From<RepeatError> for ApiError {
    fn from(e: RepeatError) -> Self {
        let message = e.to_string();
        match e {
            RepeatError::Form => Self::invalid("Idempotency-Key", message),
            RepeatError::OtherBody => Self::conflict("idempotency_key_reused", message, None),
            RepeatError::Runs => Self::conflict("idempotency_key_in_use", message, Some(1)),
            RepeatError::Gone(_) => Self::conflict("idempotency_answer_gone", message, None),
            RepeatError::TooMany => Self { retry_after_s: None, ..Self::busy(message) },
            RepeatError::Full | RepeatError::Store(_) => Self::unavailable(message),
        }
    }
}

impl Repeats {
    /// Those that an earlier process remembered, out of a file that is made where it is missing.
    ///
    /// # Errors
    /// What the system said.
    pub(crate) fn open(path: &Path, now: Now) -> std::io::Result<Self> {
        let from = now().seconds().0.saturating_sub(KEY_LIFE_S);
        let (marks, records) = Marks::open(path, Seconds(from))?;
        let mut state = State { marks: Some(marks), ..State::default() };
        for record in records {
            match record {
                Record::Claimed { at, account, mark, body } => {
                    state.insert(mark, Known { account, body, at, request: None, stand: Stand::Gone });
                }
                Record::Admitted { mark, request } => {
                    if let Some(known) = state.known.get_mut(&mark) {
                        known.request = Some(request);
                    }
                }
                Record::Freed { mark } => state.remove(&mark),
            }
        }
        Ok(Self { now, state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a key for a request with this body; durable when it returns. Blocks.
    ///
    /// # Errors
    /// [`RepeatError`].
    pub(crate) fn claim(
        self: &Arc<Self>,
        account: AccountId,
        key: &[u8],
        body: &[u8],
    ) -> Result<Turn, RepeatError> {
        if key.is_empty() || key.len() > MAX_KEY_BYTES || !key.iter().all(u8::is_ascii_graphic) {
            return Err(RepeatError::Form);
        }
        let at = (self.now)().seconds();
        let mut guard = self.state();
        let state = &mut *guard;
        state.forget(at);
        let marks =
            state.marks.as_mut().ok_or_else(|| RepeatError::Store("its file failed before".into()))?;
        let (mark, body) = (Mark(marks.hash(&[account.as_bytes(), key])), marks.hash(&[body]));
        if let Some(known) = state.known.get(&mark) {
            return match &known.stand {
                _ if known.body != body => Err(RepeatError::OtherBody),
                Stand::Runs => Err(RepeatError::Runs),
                Stand::Answered(kept) => Ok(Turn::Again(Arc::clone(kept))),
                Stand::Gone => Err(RepeatError::Gone(known.request)),
            };
        }
        if state.of_account.get(&account).is_some_and(|n| *n >= MAX_KEYS_OF_ACCOUNT) {
            return Err(RepeatError::TooMany);
        }
        if state.known.len() >= MAX_KEYS {
            return Err(RepeatError::Full);
        }
        let store = |e: std::io::Error| RepeatError::Store(e.to_string());
        let file = marks.claim(&Record::Claimed { at, account, mark, body }).map_err(store)?;
        state.insert(mark, Known { account, body, at, request: None, stand: Stand::Runs });
        drop(guard);
        let claim = Claim { repeats: Arc::clone(self), mark, open: true, admitted: false };
        if let Err(e) = file.sync_data() {
            // What of the file is on the disk nobody knows; a restart reads it.
            self.state().marks = None;
            return Err(store(e));
        }
        Ok(Turn::First(claim))
    }
}

impl State {
    fn insert(&mut self, mark: Mark, known: Known) {
        *self.of_account.entry(known.account).or_default() += 1;
        self.order.push_back((known.at, mark));
        self.known.insert(mark, known);
    }

    fn remove(&mut self, mark: &Mark) {
        let Some(known) = self.known.remove(mark) else { return };
        if let Some(left) = self.of_account.get_mut(&known.account) {
            *left = left.saturating_sub(1);
            if *left == 0 {
                self.of_account.remove(&known.account);
            }
        }
        if let Stand::Answered(kept) = known.stand {
            self.kept_bytes = self.kept_bytes.saturating_sub(kept.text.len());
        }
    }

    /// Forgets keys and answers whose time is over.
    fn forget(&mut self, now: Seconds) {
        let over = |at: Seconds, life: u64| now.0.saturating_sub(at.0) >= life;
        while self.order.front().is_some_and(|(at, _)| over(*at, KEY_LIFE_S)) {
            let Some((at, mark)) = self.order.pop_front() else { break };
            // One that was freed may have come again since.
            let Some(known) = self.known.get_mut(&mark).filter(|known| known.at == at) else { continue };
            if matches!(known.stand, Stand::Runs) {
                known.at = now;
                self.order.push_back((now, mark));
            } else {
                self.remove(&mark);
            }
        }
        while self.kept_bytes > MAX_KEPT_BYTES
            || self.kept.front().is_some_and(|(at, _)| over(*at, ANSWER_LIFE_S))
        {
            let Some((_, mark)) = self.kept.pop_front() else { break };
            let Some(known) = self.known.get_mut(&mark) else { continue };
            if let Stand::Answered(kept) = &known.stand {
                self.kept_bytes = self.kept_bytes.saturating_sub(kept.text.len());
                known.stand = Stand::Gone;
            }
        }
    }
}

impl Claim {
    /// The request was admitted, under this name.
    fn admitted(&mut self, request: Serial) {
        self.admitted = true;
        let mut state = self.repeats.state();
        if let Some(known) = state.known.get_mut(&self.mark) {
            known.request = Some(request);
        }
        self.write(&mut state, &Record::Admitted { mark: self.mark, request });
    }

    fn answered(mut self, kept: Kept) {
        self.open = false;
        let now = (self.repeats.now)().seconds();
        let mut state = self.repeats.state();
        let Some(known) = state.known.get_mut(&self.mark) else { return };
        let bytes = kept.text.len();
        known.stand = Stand::Answered(Arc::new(kept));
        state.kept_bytes += bytes;
        state.kept.push_back((now, self.mark));
        state.forget(now);
    }

    /// Writes what may be lost with the machine's power: without it a key is held for longer.
    fn write(&self, state: &mut State, record: &Record) {
        if let Some(Err(e)) = state.marks.as_mut().map(|marks| marks.note(record)) {
            tracing::warn!(error = %e, "what came of an Idempotency-Key could not be kept");
        }
    }

    /// Gives an answer to its client and keeps it. The request goes on to its end where the client leaves, because who
    /// sends a key comes back for the answer.
    pub(crate) fn follow(mut self, mut answer: Answer) -> Answer {
        self.admitted(answer.head.request);
        let (events, reader) = mpsc::channel(MAX_WAITING_EVENTS);
        let head = answer.head.clone();
        tokio::spawn(async move {
            let (mut claim, mut text, mut reads) = (Some(self), String::new(), true);
            while let Some(event) = answer.events.recv().await {
                match &event {
                    Event::Text(piece) => text.push_str(piece),
                    Event::Done(end) => {
                        let kept =
                            Kept { head: answer.head.clone(), text: std::mem::take(&mut text), end: *end };
                        if let Some(claim) = claim.take() {
                            claim.answered(kept);
                        }
                    }
                    // Its entry may be durable all the same.
                    Event::Failed(_) => drop(claim.take()),
                }
                if reads {
                    let sent = tokio::time::timeout(READER_TIMEOUT, events.send(event)).await;
                    reads = matches!(sent, Ok(Ok(())));
                }
            }
        });
        Answer { head, events: reader }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.open {
            let repeats = Arc::clone(&self.repeats);
            let mut state = repeats.state();
            if self.admitted {
                if let Some(known) = state.known.get_mut(&self.mark) {
                    known.stand = Stand::Gone;
                }
                return;
            }
            state.remove(&self.mark);
            self.write(&mut state, &Record::Freed { mark: self.mark });
        }
    }
}

impl Kept {
    /// The same answer once more; its text comes in one piece.
    pub(crate) fn again(&self) -> Answer {
        let (events, reader) = mpsc::channel(2);
        let text = Some(self.text.clone()).filter(|text| !text.is_empty());
        for event in text.map(Event::Text).into_iter().chain([Event::Done(self.end)]) {
            // There is room for both.
            let _ = events.try_send(event);
        }
        Answer { head: self.head.clone(), events: reader }
    }
}

impl std::fmt::Debug for Repeats {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Repeats({})", self.state().known.len())
    }
}

impl std::fmt::Debug for Claim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Claim({:?})", self.mark)
    }
}

#[cfg(test)]
mod tests;
