//! One request from its prompt to its log entry; reads top to bottom.
//!
//! Admit: find the model, render and tokenize the prompt, hold the tokens. Then, in a task of its own: plan the
//! nodes, run the layers step by step, send text as it comes, close the orders, write the entry, and only when that
//! is durable say that the answer is done.

use std::sync::Arc;
use std::time::{Duration, Instant};

use counterfoil_identity::random;
use counterfoil_model::{Feed, Rows, Sequence, Shown, StopMatcher, TextStream, Vocabulary, argmax};
use counterfoil_spec::claims::Purposes;
use counterfoil_spec::limits::MAX_FRAME_ROWS;
use counterfoil_spec::payload::FinishReason;
use tokio::sync::mpsc;

use crate::account::{Record, abandon, settle};
use crate::admit::{Admitted, admit};
use crate::desk::Desk;
use crate::engine::Engine;
use crate::http::auth::Caller;
use crate::http::error::ApiError;
use crate::http::reply::{ReplyEnd, ReplyHead};
use crate::http::request::ChatRequest;
use crate::vault::Running;
use crate::work::{Bounds, Work, WorkError};

/// How long a client may read nothing before it counts as gone: it holds places at nodes.
const READER_TIMEOUT: Duration = Duration::from_secs(30);
/// Pieces of text that may wait for a slow client before its generation waits too.
const MAX_WAITING_EVENTS: usize = 64;

/// A request with its caller.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) caller: Caller,
    pub(crate) request: ChatRequest,
}

/// What an answer's reader sees.
#[derive(Debug)]
pub(crate) enum Event {
    /// More text.
    Text(String),
    /// The entry is durable.
    Done(ReplyEnd),
    /// There will be no more.
    Failed(ApiError),
}

/// An admitted request.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) head: ReplyHead,
    pub(crate) events: mpsc::Receiver<Event>,
}

/// What generation came to.
struct Generated {
    finish: FinishReason,
    text: String,
    tokens: u64,
    positions: u64,
    error: Option<ApiError>,
}

/// Admits a request and begins to answer it.
pub(crate) async fn start(desk: &Arc<Desk>, job: Job) -> Result<Answer, ApiError> {
    let door = Arc::clone(desk);
    let admitted = tokio::task::spawn_blocking(move || admit(&door, job))
        .await
        .map_err(|e| ApiError::internal(format!("the request could not be read: {e}")))??;
    // The salt is durable before the entry that uses it; it is written while the answer is generated.
    let running = Running {
        request: admitted.serial,
        salt: admitted.salt,
        account: admitted.job.caller.account,
        key_id: admitted.job.caller.key_id,
        manifest: admitted.engine.manifest(),
        started: admitted.started,
    };
    let keeper = Arc::clone(desk);
    let kept = tokio::task::spawn_blocking(move || keeper.vault.begin(&running));
    let head = ReplyHead {
        request: admitted.serial,
        created: admitted.started.0 / 1000,
        model: admitted.engine.name().to_owned(),
    };
    desk.metrics.requests.one();
    let (events, reader) = mpsc::channel(MAX_WAITING_EVENTS);
    let desk = Arc::clone(desk);
    tokio::spawn(async move {
        let serial = admitted.serial;
        let last = answer(&desk, admitted, &events, kept).await;
        let keeper = Arc::clone(&desk);
        tokio::task::spawn_blocking(move || keeper.vault.end(&serial));
        match &last {
            Event::Done(end) => {
                desk.metrics.answers.one();
                desk.metrics.prompt_tokens.more(end.prompt_tokens);
                desk.metrics.completion_tokens.more(end.completion_tokens);
            }
            _ => desk.metrics.failures.one(),
        }
        // A reader that went away has been billed already.
        let _ = events.send(last).await;
    });
    Ok(Answer { head, events: reader })
}

async fn answer(
    desk: &Desk,
    mut admitted: Admitted,
    events: &mpsc::Sender<Event>,
    kept: tokio::task::JoinHandle<Result<(), crate::vault::VaultError>>,
) -> Event {
    let bounds = Bounds {
        request: admitted.serial,
        max_tokens: count(admitted.prompt.len()).saturating_add(admitted.max_tokens),
        purpose: Purposes::CHAT,
    };
    let engine = Arc::clone(&admitted.engine);
    let (parties, failed, made) = match Work::begin(desk, &engine, bounds).await {
        Ok(mut work) => {
            let made = generate(&engine, &mut work, &mut admitted, events).await;
            (work.parties, work.failed, made)
        }
        Err(e) => (Vec::new(), None, Generated::failed(&e)),
    };
    let salted = match kept.await {
        Ok(Ok(())) => None,
        Ok(Err(e)) => Some(ApiError::unavailable(e.to_string())),
        Err(e) => Some(ApiError::internal(e.to_string())),
    };
    if let Some(e) = salted {
        abandon(parties, "the router cannot keep the request's salt");
        desk.office.books().ledger.void(&admitted.serial);
        return Event::Failed(e);
    }
    let failed_node = if made.error.is_some() { failed } else { None };
    let record = Record {
        serial: admitted.serial,
        salt: admitted.salt,
        manifest: engine.manifest(),
        caller: admitted.job.caller,
        prompt_text: &admitted.prompt_text,
        prompt_tokens: count(admitted.prompt.len()),
        output_text: &made.text,
        completion_tokens: made.tokens,
        positions: made.positions,
        started: admitted.started,
        finish: made.finish,
        failed_node,
    };
    match (settle(desk, record, parties).await, made.error) {
        (Err(e), _) | (Ok(_), Some(e)) => Event::Failed(e),
        (Ok(entry), None) => Event::Done(ReplyEnd {
            finish: made.finish,
            prompt_tokens: count(admitted.prompt.len()),
            completion_tokens: made.tokens,
            entry,
        }),
    }
}

impl Generated {
    fn failed(e: &WorkError) -> Self {
        let error = match e {
            WorkError::Uncovered(_) => ApiError::unavailable(e.to_string()),
            WorkError::NoPlace => ApiError::busy(e.to_string()),
            WorkError::Compute(_) => ApiError::internal(e.to_string()),
        };
        Self {
            finish: FinishReason::Failed,
            text: String::new(),
            tokens: 0,
            positions: 0,
            error: Some(error),
        }
    }
}

async fn generate(
    engine: &Engine,
    work: &mut Work<'_>,
    admitted: &mut Admitted,
    events: &mpsc::Sender<Event>,
) -> Generated {
    let stops = admitted.stops.take();
    let mut writer = Writer {
        events,
        stream: engine.vocabulary().map(Vocabulary::stream),
        stops,
        text: String::new(),
        gone: false,
    };
    let mut progress = Progress { tokens: 0, positions: 0 };
    let ended = tokens(engine, work, admitted, &mut writer, &mut progress).await;
    let Progress { tokens, positions } = progress;
    match ended {
        Ok(finish) => Generated { finish, text: writer.text, tokens, positions, error: None },
        Err(e) => Generated { positions, ..Generated::failed(&e) },
    }
}

/// How far generation has come.
struct Progress {
    tokens: u64,
    positions: u64,
}

async fn tokens(
    engine: &Engine,
    work: &mut Work<'_>,
    admitted: &mut Admitted,
    writer: &mut Writer<'_>,
    progress: &mut Progress,
) -> Result<FinishReason, WorkError> {
    let room = admitted.prompt.len() + usize::try_from(admitted.max_tokens).unwrap_or(usize::MAX);
    let mut sequence = engine.decoder().begin(room)?;
    let mut feed = admitted.prompt.clone();
    loop {
        let mut last = Rows::default();
        for chunk in feed.chunks(MAX_FRAME_ROWS) {
            if writer.gone || writer.events.is_closed() {
                return Ok(FinishReason::Disconnected);
            }
            last = step(engine, work, &mut sequence, chunk).await?;
            progress.positions += count(chunk.len());
        }
        let logits = engine.compute(|d| d.logits(&last.slice(last.len() - 1, last.len())))?;
        let id = admitted.sampler.sample(logits.values());
        progress.tokens += 1;
        if engine.config().eos.contains(&id) {
            writer.finish().await;
            return Ok(FinishReason::Stop);
        }
        if writer.write(id).await {
            return Ok(FinishReason::Stop);
        }
        if progress.tokens >= admitted.max_tokens {
            writer.finish().await;
            return Ok(FinishReason::Length);
        }
        feed = vec![id];
    }
}

/// Turns token ids into the text that the client sees.
struct Writer<'a> {
    events: &'a mpsc::Sender<Event>,
    stream: Option<TextStream<'a>>,
    stops: Option<StopMatcher>,
    text: String,
    /// Whether the reader went away, or reads no more.
    gone: bool,
}

impl Writer<'_> {
    /// Sends what an id completes; true where a stop string ended the answer.
    async fn write(&mut self, id: u32) -> bool {
        let piece = self.stream.as_mut().map(|s| s.push(id).unwrap_or_default()).unwrap_or_default();
        let (piece, stopped) = match self.stops.as_mut().map(|s| s.push(&piece)) {
            None => (piece, false),
            Some(Shown::More(piece)) => (piece, false),
            Some(Shown::Last(piece)) => (piece, true),
        };
        self.send(piece).await;
        stopped
    }

    /// Sends what was held back.
    async fn finish(&mut self) {
        let rest = self.stream.take().map(|s| s.finish().unwrap_or_default()).unwrap_or_default();
        let tail = match self.stops.take() {
            None => rest,
            Some(stops) => finish_stops(stops, &rest),
        };
        self.send(tail).await;
    }

    async fn send(&mut self, piece: String) {
        if piece.is_empty() {
            return;
        }
        self.text.push_str(&piece);
        let sent = tokio::time::timeout(READER_TIMEOUT, self.events.send(Event::Text(piece))).await;
        self.gone |= !matches!(sent, Ok(Ok(())));
    }
}

fn finish_stops(mut stops: StopMatcher, rest: &str) -> String {
    match stops.push(rest) {
        Shown::More(piece) => piece + &stops.finish(),
        Shown::Last(piece) => piece,
    }
}

/// The next rows of a sequence through all layers.
async fn step(
    engine: &Engine,
    work: &mut Work<'_>,
    sequence: &mut Sequence,
    ids: &[u32],
) -> Result<Rows, WorkError> {
    let position = sequence.position();
    let mut rows = engine.decoder().embed(ids)?;
    for layer in 0..engine.config().layers {
        let feed = engine.compute(|decoder| {
            decoder.attend(sequence, layer, &mut rows)?;
            decoder.gate(layer, &mut rows)
        })?;
        if let Feed::Experts { normed, routing } = feed {
            let mut sums = work.layer(layer, position, &normed, &routing).await?;
            if let Some(shared) = engine.compute(|decoder| decoder.shared(layer, &normed))? {
                sums.add(&shared)?;
            }
            rows.add(&sums)?;
        }
    }
    engine.decoder().advance(sequence, ids.len());
    Ok(rows)
}

/// The logits of every position, through the nodes; nothing is held and no inference is logged.
pub(crate) async fn logits(desk: &Desk, engine: &Engine, ids: &[u32]) -> Result<Rows, WorkError> {
    let bounds =
        Bounds { request: random::serial(), max_tokens: count(ids.len()), purpose: Purposes::VERIFICATION };
    let mut work = Work::begin(desk, engine, bounds).await?;
    let mut sequence = engine.decoder().begin(ids.len())?;
    let mut all = Rows::default();
    for chunk in ids.chunks(MAX_FRAME_ROWS) {
        let rows = step(engine, &mut work, &mut sequence, chunk).await?;
        all.append(&engine.decoder().logits(&rows)?)?;
    }
    Ok(all)
}

/// Greedy continuation of a prompt by `n` token ids through the nodes; gives the time without the prompt's own.
pub(crate) async fn decode(
    desk: &Desk,
    engine: &Engine,
    prompt: &[u32],
    n: u32,
) -> Result<Duration, WorkError> {
    let room = prompt.len() + usize::try_from(n).unwrap_or(usize::MAX);
    let bounds =
        Bounds { request: random::serial(), max_tokens: count(room), purpose: Purposes::VERIFICATION };
    let mut work = Work::begin(desk, engine, bounds).await?;
    let mut sequence = engine.decoder().begin(room)?;
    let mut last = step(engine, &mut work, &mut sequence, prompt).await?;
    let started = Instant::now();
    for _ in 0..n {
        let row = last.slice(last.len().saturating_sub(1), last.len());
        let logits = engine.compute(|d| d.logits(&row))?;
        let id = u32::try_from(argmax(logits.values())).unwrap_or(u32::MAX);
        last = step(engine, &mut work, &mut sequence, &[id]).await?;
    }
    Ok(started.elapsed())
}

pub(crate) fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}
