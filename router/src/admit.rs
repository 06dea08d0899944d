//! What is checked before any work begins: the model, the prompt's length, the balance.

use std::sync::Arc;

use counterfoil_audit::cost::evidence;
use counterfoil_identity::random;
use counterfoil_ledger::HoldError;
use counterfoil_model::{Ending, Sampler, StopMatcher};
use counterfoil_spec::amount::TokenCount;
use counterfoil_spec::ids::{Hash, Serial};
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::time::Millis;
use tokio::sync::OwnedSemaphorePermit;

use crate::desk::{Desk, Unplanned};
use crate::engine::Engine;
use crate::generate::{Job, count};
use crate::http::auth::Caller;
use crate::http::error::ApiError;
use crate::http::health::unknown_model;
use crate::http::refusals::{By, What};
use crate::http::request::ChatRequest;
use crate::office::Office;

/// No vocabulary has longer tokens; a prompt with more bytes than that for each position cannot fit.
const MAX_TOKEN_BYTES: usize = 256;
/// Completion tokens where the client names no limit.
const DEFAULT_MAX_TOKENS: u64 = 1024;

/// A request that was checked, with its tokens held and its place taken.
pub(crate) struct Admitted {
    pub(crate) engine: Arc<Engine>,
    pub(crate) serial: Serial,
    pub(crate) salt: Hash,
    pub(crate) job: Job,
    pub(crate) prompt_text: String,
    pub(crate) prompt: Vec<u32>,
    pub(crate) max_tokens: u64,
    pub(crate) sampler: Sampler,
    pub(crate) stops: Option<StopMatcher>,
    pub(crate) started: Millis,
    pub(crate) running: Arc<OwnedSemaphorePermit>,
    pub(crate) _held: Held,
}

/// Tokens that are held for a request. They are given back with this, whoever drops it: a client may leave while its request
/// is admitted, and a task may break. What was posted meanwhile is not held any more.
pub(crate) struct Held {
    office: Arc<Office>,
    request: Serial,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.office.books().ledger.void(&self.request);
    }
}

/// Checks a request and holds its tokens.
///
/// # Errors
/// The error body that the client is to see; then nothing is held.
pub(crate) fn admit(desk: &Desk, job: Job) -> Result<Admitted, ApiError> {
    let engine = desk.engine(&job.request.model);
    let engine = engine.map(Arc::clone).ok_or_else(|| unknown_model(desk, &job.request.model))?;
    engine.ask();
    let running = Arc::clone(&desk.running)
        .try_acquire_owned()
        .map_err(|_| ApiError::busy("this router runs as many requests as it may; try again in a second"))?;
    if desk.office.is_short_of_room() {
        return Err(ApiError::unavailable(
            "the disk of this router's log is nearly full, and an answer that cannot be logged is not given; it goes on \
             once there is space",
        ));
    }
    desk.plan(&engine, job.caller.country).map_err(|why| {
        if let Unplanned::NotForCaller(_) = why {
            desk.metrics.refusals.one(By::Router, What::Grant, Refusal::Jurisdiction);
        }
        ApiError::unplanned(&why)
    })?;
    let started = desk.office.now();
    let bytes: usize = job.request.messages.iter().map(|m| m.content.len()).sum();
    if bytes > engine.config().context.saturating_mul(MAX_TOKEN_BYTES) {
        return Err(ApiError::context_length(engine.config().context, bytes / MAX_TOKEN_BYTES));
    }
    let (prompt_text, prompt) = tokenize(&engine, &job.request, started)?;
    let context = engine.config().context;
    let room = context.saturating_sub(prompt.len());
    if prompt.is_empty() || room == 0 {
        return Err(ApiError::context_length(context, prompt.len()));
    }
    let room = u64::try_from(room).unwrap_or(u64::MAX);
    let max_tokens = job.request.max_tokens.unwrap_or(DEFAULT_MAX_TOKENS).min(room);
    let seed = job.request.seed.unwrap_or_else(|| u64::from_le_bytes(random::bytes()));
    let sampler = Sampler::new(job.request.temperature, job.request.top_p, seed)
        .map_err(|e| ApiError::invalid("temperature", e.to_string()))?;
    let stops = StopMatcher::new(job.request.stop.iter().cloned())
        .map_err(|e| ApiError::invalid("stop", e.to_string()))?;
    let serial = random::serial();
    let total = TokenCount(count(prompt.len()).saturating_add(max_tokens));
    let held = evidence(|| hold(desk, &engine, &job.caller, (serial, total, started)))?;
    Ok(Admitted {
        engine,
        serial,
        salt: random::hash(),
        job,
        prompt_text,
        prompt,
        max_tokens,
        sampler,
        stops: Some(stops),
        started,
        running: Arc::new(running),
        _held: held,
    })
}

fn tokenize(engine: &Engine, request: &ChatRequest, now: Millis) -> Result<(String, Vec<u32>), ApiError> {
    let Some(vocabulary) = engine.vocabulary() else {
        return Err(ApiError::unavailable("this model was loaded without a tokenizer"));
    };
    let messages: Vec<_> = request
        .messages
        .iter()
        .map(|m| counterfoil_model::Message { role: m.role.clone(), content: m.content.clone() })
        .collect();
    let Some(template) = vocabulary.template() else {
        return Err(ApiError::unavailable(
            "this model has no chat template, so it cannot hold a conversation",
        ));
    };
    let text = template
        .render(&messages, Ending::Answer, now.seconds())
        .map_err(|e| ApiError::invalid("messages", e.to_string()))?;
    let ids = vocabulary.encode(&text).map_err(|e| ApiError::invalid("messages", e.to_string()))?;
    Ok((text, ids))
}

fn hold(
    desk: &Desk,
    engine: &Engine,
    caller: &Caller,
    (serial, total, now): (Serial, TokenCount, Millis),
) -> Result<Held, ApiError> {
    let mut books = desk.office.books();
    let charged = books
        .ledger
        .charge(&engine.manifest(), total, now)
        .ok_or_else(|| ApiError::invalid("max_tokens", "more tokens than can be counted"))?;
    books.ledger.hold(&caller.account, serial, charged, now.seconds()).map_err(|e| match e {
        HoldError::InsufficientQuota { .. } => ApiError::insufficient_quota(e.to_string()),
        HoldError::InFlightBudgetExhausted { .. } => ApiError::in_flight(e.to_string()),
        HoldError::UnknownAccount(_) | HoldError::RequestSeen(_) => ApiError::internal(e.to_string()),
    })?;
    Ok(Held { office: Arc::clone(&desk.office), request: serial })
}
