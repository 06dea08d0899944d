//! `POST /v1/chat/completions`, whole and as a stream of server-sent events.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde_json::Value;

use crate::desk::Desk;
use crate::generate::{self, Answer, Event, Job};
use crate::http::error::ApiError;
use crate::http::reply::ReplyHead;
use crate::http::request::ChatRequest;
use crate::http::{auth, body_bytes};
use crate::repeats::{Claim, Turn};

/// Names the request in every answer and every error after admission.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Names the request of a client who may send it again: an answer that was given is given again, and nothing is run twice.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Says that an answer was given before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
/// Names the log entry of an answer that is sent whole.
const ENTRY: HeaderName = HeaderName::from_static("x-counterfoil-entry");

pub(crate) async fn completions(
    State(desk): State<Arc<Desk>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let admitted = admit(&desk, &headers, body).await;
    let Admitted { request, answer, again } = match admitted {
        Ok(admitted) => admitted,
        Err(e) => {
            desk.metrics.refused.one();
            return Err(e);
        }
    };
    let id = answer.head.request.to_string();
    let mut response =
        if request.stream { streamed(answer, request.include_usage) } else { whole(answer).await };
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    if again {
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(response)
}

struct Admitted {
    request: ChatRequest,
    answer: Answer,
    /// Whether it was answered before.
    again: bool,
}

async fn admit(desk: &Arc<Desk>, headers: &HeaderMap, body: Body) -> Result<Admitted, ApiError> {
    let caller = auth::caller(desk, headers)?;
    let body = body_bytes(body).await?;
    let request = ChatRequest::parse(&body)?;
    let job = Job { caller, request: request.clone() };
    let Some(key) = headers.get(IDEMPOTENCY_KEY).map(|key| key.as_bytes().to_vec()) else {
        let answer = generate::begin(desk, generate::come_in(desk, job).await?);
        return Ok(Admitted { request, answer, again: false });
    };
    let (repeats, account) = (Arc::clone(&desk.repeats), caller.account);
    let turn = tokio::task::spawn_blocking(move || repeats.reserve(account, &key, &body)).await;
    match turn.map_err(|e| ApiError::internal(e.to_string()))?? {
        Turn::Again(kept) => Ok(Admitted { request, answer: kept.again(), again: true }),
        Turn::First(claim) => {
            let answer = first(Arc::clone(desk), job, claim).await?;
            Ok(Admitted { request, answer, again: false })
        }
    }
}

/// Runs what a key was not used for yet, in a task of its own: it goes on where the client leaves meanwhile.
async fn first(desk: Arc<Desk>, job: Job, claim: Claim) -> Result<Answer, ApiError> {
    let begun = tokio::spawn(async move {
        let admitted = generate::come_in(&desk, job).await?;
        let claim = claim.record(admitted.serial).await?;
        let running = Arc::clone(&admitted.running);
        Ok(claim.follow(generate::begin(&desk, admitted), running))
    });
    begun.await.map_err(|e| ApiError::internal(e.to_string()))?
}

async fn whole(mut answer: Answer) -> Response {
    let mut text = String::new();
    while let Some(event) = answer.events.recv().await {
        match event {
            Event::Text(piece) => text.push_str(&piece),
            Event::Failed(e) => return e.into_response(),
            Event::Done(end) => {
                let mut response = Json(answer.head.whole(&text, &end)).into_response();
                response.headers_mut().insert(ENTRY, HeaderValue::from(end.entry));
                return response;
            }
        }
    }
    ApiError::internal("the answer broke off; the router's own log says why").into_response()
}

fn streamed(answer: Answer, include_usage: bool) -> Response {
    let first = line(&answer.head.first_chunk());
    let lines = stream::unfold(Some((answer, Some(first))), move |state| async move {
        let (mut answer, first) = state?;
        if let Some(first) = first {
            return Some((Ok::<_, Infallible>(first), Some((answer, None))));
        }
        let (bytes, last) = match answer.events.recv().await {
            Some(event) => render(&answer.head, event, include_usage),
            None => (line(&ApiError::internal("the answer broke off").body()), true),
        };
        Some((Ok(bytes), (!last).then_some((answer, None))))
    });
    let headers =
        [(header::CONTENT_TYPE, "text/event-stream; charset=utf-8"), (header::CACHE_CONTROL, "no-cache")];
    (headers, Body::from_stream(lines)).into_response()
}

/// The bytes of one event, and whether the stream ends with them.
fn render(head: &ReplyHead, event: Event, include_usage: bool) -> (Bytes, bool) {
    match event {
        Event::Text(piece) => (line(&head.text_chunk(&piece)), false),
        Event::Failed(e) => (line(&e.body()), true),
        Event::Done(end) => {
            let mut out = line(&head.last_chunk(&end)).to_vec();
            if include_usage {
                out.extend_from_slice(&line(&head.usage_chunk(&end)));
            }
            out.extend_from_slice(b"data: [DONE]\n\n");
            (Bytes::from(out), true)
        }
    }
}

fn line(value: &Value) -> Bytes {
    Bytes::from(format!("data: {value}\n\n"))
}
