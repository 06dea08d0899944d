//! Requests that were sent with an `Idempotency-Key`: what has the same key is not run a second time.
//!
//! ```text
//! reserve, in memory -> admit, with its tokens held -> record, durable -> run -> keep the answer, in memory
//! ```
//!
//! A key is of its account, for a day from the time of its record. What is refused before it has one costs no bytes on
//! the disk and leaves its key free; what has one is not run again, whatever became of it.

mod claim;
mod file;
mod state;
#[cfg(test)]
mod tests;
mod writer;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use counterfoil_spec::ids::{AccountId, Hash, Serial};
use counterfoil_spec::limits::{
    IDEMPOTENCY_KEY_LIFE_S, MAX_IDEMPOTENCY_KEY_BYTES, MAX_IDEMPOTENCY_KEYS, MAX_IDEMPOTENCY_KEYS_OF_ACCOUNT,
};
use counterfoil_spec::time::{Now, Seconds};

use crate::generate::Answer;
use crate::http::error::ApiError;
use crate::http::reply::{ReplyEnd, ReplyHead};
pub(crate) use claim::Claim;
use file::Marks;
use state::{Known, Stand, State};
use writer::Writer;

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

/// All keys that this router remembers.
pub(crate) struct Repeats {
    now: Now,
    secret: [u8; 32],
    state: Shared,
    writer: Writer,
}

/// Guards the map of keys alone: nothing is hashed, written or synced under it.
#[derive(Debug, Clone, Default)]
struct Shared(Arc<Mutex<State>>);

/// What a key entitles to.
#[derive(Debug)]
pub(crate) enum Turn {
    /// To be run.
    First(Claim),
    /// To what was answered before.
    Again(Arc<Kept>),
}

/// Why a key is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RepeatError {
    #[error("`Idempotency-Key` has 1 to {MAX_IDEMPOTENCY_KEY_BYTES} visible ASCII characters")]
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
    #[error(
        "this account has used {MAX_IDEMPOTENCY_KEYS_OF_ACCOUNT} Idempotency-Keys within a day; ask without one"
    )]
    TooMany,
    #[error("no more Idempotency-Keys can be remembered now; ask without one")]
    Full,
    #[error(
        "this Idempotency-Key cannot be remembered, so its request was not begun: {0}; ask again, or without one"
    )]
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
        let from = now().seconds().0.saturating_sub(IDEMPOTENCY_KEY_LIFE_S);
        let (marks, records) = Marks::open(path, Seconds(from))?;
        let state = Shared::default();
        records.iter().for_each(|record| state.lock().remember(record));
        Self::over(marks, state, now)
    }

    fn over(marks: Marks, state: Shared, now: Now) -> std::io::Result<Self> {
        let secret = marks.secret();
        let writer = Writer::begin(marks, state.clone())?;
        Ok(Self { now, secret, state, writer })
    }

    /// What only this router can tell of these bytes.
    fn hash(&self, parts: &[&[u8]]) -> Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.secret);
        for part in parts {
            hasher.update(part);
        }
        Hash::from_bytes(*hasher.finalize().as_bytes())
    }

    /// Takes a key for a request with this body, in memory: until it is recorded it costs the disk nothing. Hashes the body, so
    /// it is not for a thread of the runtime.
    ///
    /// # Errors
    /// [`RepeatError`].
    pub(crate) fn reserve(
        self: &Arc<Self>,
        account: AccountId,
        key: &[u8],
        body: &[u8],
    ) -> Result<Turn, RepeatError> {
        if key.is_empty() || key.len() > MAX_IDEMPOTENCY_KEY_BYTES || !key.iter().all(u8::is_ascii_graphic) {
            return Err(RepeatError::Form);
        }
        //= spec/settlement.md#requests-that-are-sent-again
        //# A key MUST be of its account alone: the same key of another account is another key.
        let (mark, body) = (Mark(self.hash(&[account.as_bytes(), key])), self.hash(&[body]));
        let at = (self.now)().seconds();
        let mut state = self.state.lock();
        state.forget(at);
        if let Some(known) = state.known(&mark) {
            return match &known.stand {
                //= spec/settlement.md#requests-that-are-sent-again
                //# A request under a known key with another body MUST be refused.
                _ if known.body != body => Err(RepeatError::OtherBody),
                Stand::Runs => Err(RepeatError::Runs),
                Stand::Answered(kept) => Ok(Turn::Again(Arc::clone(kept))),
                Stand::Gone => Err(RepeatError::Gone(known.request)),
            };
        }
        if state.of_account(&account) >= MAX_IDEMPOTENCY_KEYS_OF_ACCOUNT {
            return Err(RepeatError::TooMany);
        }
        if state.len() >= MAX_IDEMPOTENCY_KEYS {
            return Err(RepeatError::Full);
        }
        state.reserve(mark, Known { account, body, at, request: None, stand: Stand::Runs });
        drop(state);
        Ok(Turn::First(Claim::new(Arc::clone(self), mark)))
    }
}

impl Kept {
    /// The same answer once more; its text comes in one piece.
    pub(crate) fn again(&self) -> Answer {
        claim::whole(&self.head, &self.text, self.end)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Repeats {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Repeats({})", self.state.lock().len())
    }
}
