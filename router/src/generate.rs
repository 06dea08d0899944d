//! One request from its prompt to its log entry; reads top to bottom.
//!
//! Admit: find the model, render and tokenize the prompt, hold the tokens. Then, in a task of its own: plan the
//! nodes, come on step by step with whoever else asks the same model, send text as it comes, close the orders, write
//! the entry, and only when that is durable say that the answer is done.

use std::sync::Arc;
use std::time::Duration;

use counterfoil_audit::cost::evidence;
use counterfoil_model::{Rows, Sequence, Shown, StopMatcher, TextStream, Vocabulary};
use counterfoil_spec::claims::Purposes;
use counterfoil_spec::payload::FinishReason;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::account::{Record, abandon, settle};
use crate::admit::{Admitted, admit};
use crate::batch::{End, Seat, Step, Stepped, Wants};
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

/// Admits a request. Whoever drops what this gives has given its tokens back.
pub(crate) async fn come_in(desk: &Arc<Desk>, job: Job) -> Result<Admitted, ApiError> {
    let door = Arc::clone(desk);
    tokio::task::spawn_blocking(move || admit(&door, job))
        .await
        .map_err(|e| ApiError::internal(format!("the request could not be read: {e}")))?
}

/// Begins to answer a request.
pub(crate) fn begin(desk: &Arc<Desk>, admitted: Admitted) -> Answer {
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
    let kept = tokio::task::spawn_blocking(move || evidence(|| keeper.vault.begin(&running)));
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
        tokio::task::spawn_blocking(move || evidence(|| keeper.vault.end(&serial)));
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
    Answer { head, events: reader }
}

async fn answer(
    desk: &Arc<Desk>,
    mut admitted: Admitted,
    events: &mpsc::Sender<Event>,
    kept: tokio::task::JoinHandle<Result<(), crate::vault::VaultError>>,
) -> Event {
    let bounds = Bounds {
        request: admitted.serial,
        max_tokens: count(admitted.prompt.len()).saturating_add(admitted.max_tokens),
        purpose: Purposes::CHAT,
        country: admitted.job.caller.country,
    };
    let engine = Arc::clone(&admitted.engine);
    let (parties, failed, made) = match Work::begin(desk, &engine, bounds).await {
        Ok(work) => {
            let (work, made) = generate(desk, &engine, work, &mut admitted, events).await;
            let (parties, failed) = work.map(|work| (work.parties, work.failed)).unwrap_or_default();
            (parties, failed, made)
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
            WorkError::Unplanned(why) => ApiError::unplanned(why),
            WorkError::NoPlace => ApiError::busy(e.to_string()),
            WorkError::Spent { left_s } => ApiError::spent(e.to_string(), *left_s),
            WorkError::Compute(_) | WorkError::Unlogged(_) | WorkError::Ended => {
                ApiError::internal(e.to_string())
            }
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
    desk: &Desk,
    engine: &Engine,
    work: Work,
    admitted: &mut Admitted,
    events: &mpsc::Sender<Event>,
) -> (Option<Work>, Generated) {
    let room = admitted.prompt.len() + usize::try_from(admitted.max_tokens).unwrap_or(usize::MAX);
    let (sequence, seat) = match (engine.decoder().begin(room), desk.seat(engine)) {
        (Ok(sequence), Some(seat)) => (sequence, seat),
        (Err(e), _) => return (Some(work), Generated::failed(&e.into())),
        (_, None) => return (Some(work), Generated::failed(&WorkError::Ended)),
    };
    let mut writer = Writer {
        events,
        stream: engine.vocabulary().map(Vocabulary::stream),
        stops: admitted.stops.take(),
        text: String::new(),
        gone: false,
    };
    let mut progress = Progress { seat, state: Some((sequence, work)), tokens: 0 };
    let ended = tokens(engine, admitted, &mut writer, &mut progress).await;
    let Progress { state, tokens, .. } = progress;
    let positions = state.as_ref().map_or(0, |(sequence, _)| count(sequence.position()));
    let work = state.map(|(_, work)| work);
    let made = match ended {
        Ok(finish) => Generated { finish, text: writer.text, tokens, positions, error: None },
        Err(e) => Generated { positions, ..Generated::failed(&e) },
    };
    (work, made)
}

/// How far generation has come.
struct Progress {
    seat: Seat,
    /// Away only while a step is under way.
    state: Option<(Sequence, Work)>,
    tokens: u64,
}

impl Progress {
    /// The logits of the last of the next ids; nothing where the reader went away before that.
    async fn step(&mut self, ids: Vec<u32>, events: &mpsc::Sender<Event>) -> Result<Option<Rows>, WorkError> {
        let (sequence, work) = self.state.take().ok_or(WorkError::Ended)?;
        let reader = events.clone();
        let gone = Box::new(move || reader.is_closed());
        let step = Step { sequence, work, ids, wants: Wants::Last, gone };
        let Stepped { sequence, work, end } = self.seat.step(step).await.ok_or(WorkError::Ended)?;
        self.state = Some((sequence, work));
        match end {
            End::Logits(logits) => Ok(Some(logits)),
            End::Gone => Ok(None),
            End::Failed(why) => Err(why),
        }
    }
}

async fn tokens(
    engine: &Engine,
    admitted: &mut Admitted,
    writer: &mut Writer<'_>,
    progress: &mut Progress,
) -> Result<FinishReason, WorkError> {
    let mut feed = admitted.prompt.clone();
    loop {
        if writer.gone {
            return Ok(FinishReason::Disconnected);
        }
        let Some(logits) = progress.step(feed, writer.events).await? else {
            return Ok(FinishReason::Disconnected);
        };
        let id = admitted.sampler.sample(logits.values());
        progress.tokens += 1;
        if engine.config().eos.contains(&id) {
            writer.finish(&mut progress.seat).await;
            return Ok(FinishReason::Stop);
        }
        if writer.write(id, &mut progress.seat).await {
            return Ok(FinishReason::Stop);
        }
        if progress.tokens >= admitted.max_tokens {
            writer.finish(&mut progress.seat).await;
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
    async fn write(&mut self, id: u32, seat: &mut Seat) -> bool {
        let piece = self.stream.as_mut().map(|s| s.push(id).unwrap_or_default()).unwrap_or_default();
        let (piece, stopped) = match self.stops.as_mut().map(|s| s.push(&piece)) {
            None => (piece, false),
            Some(Shown::More(piece)) => (piece, false),
            Some(Shown::Last(piece)) => (piece, true),
        };
        self.send(piece, seat).await;
        stopped
    }

    /// Sends what was held back.
    async fn finish(&mut self, seat: &mut Seat) {
        let rest = self.stream.take().map(|s| s.finish().unwrap_or_default()).unwrap_or_default();
        let tail = match self.stops.take() {
            None => rest,
            Some(stops) => finish_stops(stops, &rest),
        };
        self.send(tail, seat).await;
    }

    async fn send(&mut self, piece: String, seat: &mut Seat) {
        if piece.is_empty() {
            return;
        }
        self.text.push_str(&piece);
        self.gone |= match self.events.try_send(Event::Text(piece)) {
            Ok(()) => false,
            Err(TrySendError::Closed(_)) => true,
            Err(TrySendError::Full(event)) => {
                // The other requests do not wait for this one's reader.
                seat.pause();
                let sent = tokio::time::timeout(READER_TIMEOUT, self.events.send(event)).await;
                !matches!(sent, Ok(Ok(())))
            }
        };
    }
}

fn finish_stops(mut stops: StopMatcher, rest: &str) -> String {
    match stops.push(rest) {
        Shown::More(piece) => piece + &stops.finish(),
        Shown::Last(piece) => piece,
    }
}

pub(crate) fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}
