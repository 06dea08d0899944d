//! The program's own client for routers over HTTPS, or over HTTP on this machine, with streaming.

use std::time::Duration;

use bytes::Bytes;
use counterfoil_https::{AGENT, Address, Connection, Trust};
use counterfoil_spec::text::shown;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::Value;

use crate::exit::Failure;

/// How long to wait for a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// The longest answer that is read whole, in bytes.
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// A router by its address, with the key to use there.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    at: Address,
    key: Option<String>,
}

impl Client {
    /// Takes `https://HOST:PORT` or `http://…`, with or without a path behind it.
    pub(crate) fn new(url: &str, key: Option<String>) -> Result<Self, Failure> {
        Ok(Self { at: address(url, key.as_deref())?, key })
    }

    /// Sends a request and returns the answer with its body still to be read.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Response<Incoming>, Failure> {
        let unreachable = |e: &dyn std::fmt::Display| {
            let at = (if self.at.is_tls() { "https" } else { "http" }, self.at.authority());
            Failure::store(anyhow::anyhow!(
                "no router answers at {}://{}: {e}; start one with `counterfoil run`",
                at.0,
                at.1
            ))
        };
        let opened = Connection::open(&self.at, &Trust::of_machine(), CONNECT).await;
        let connection = opened.map_err(|e| unreachable(&e))?;
        let mut request = Request::builder().method(method).uri(path).header(HOST, self.at.authority());
        request = request.header(USER_AGENT, AGENT);
        if let Some(key) = &self.key {
            request = request.header(AUTHORIZATION, format!("Bearer {key}"));
        }
        let payload = match body {
            Some(v) => {
                request = request.header(CONTENT_TYPE, "application/json");
                Bytes::from(v.to_string())
            }
            None => Bytes::new(),
        };
        let request = request.body(Full::new(payload)).map_err(|e| Failure::wrong_use(e.to_string()))?;
        connection.ask_last(request).await.map_err(|e| unreachable(&e))
    }

    /// Sends a request and reads the answer as JSON; an error body becomes a failure.
    pub(crate) async fn json(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, Failure> {
        let response = self.send(method, path, body).await?;
        let status = response.status();
        let bytes = whole(response).await?;
        if !status.is_success() {
            return Err(refusal(status, &bytes));
        }
        serde_json::from_slice(&bytes)
            .map_err(|e| Failure::store(anyhow::anyhow!("the router's answer is not JSON: {e}")))
    }
}

/// Where a router is; a key is sent there over TLS, or stays on this machine.
pub(crate) fn address(url: &str, key: Option<&str>) -> Result<Address, Failure> {
    let read = if key.is_some() { Address::private(url) } else { Address::parse(url) };
    read.map_err(|e| Failure::wrong_use(format!("{url:?} cannot be asked: {e}")))
}

/// Reads an answer to its end.
pub(crate) async fn whole(mut response: Response<Incoming>) -> Result<Vec<u8>, Failure> {
    let mut out = Vec::new();
    while let Some(frame) = response.body_mut().frame().await {
        let frame = frame.map_err(|e| Failure::store(anyhow::anyhow!("the router broke off: {e}")))?;
        if let Some(piece) = frame.data_ref() {
            if out.len() + piece.len() > MAX_ANSWER_BYTES {
                return Err(Failure::refused(format!("an answer of more than {MAX_ANSWER_BYTES} bytes")));
            }
            out.extend_from_slice(piece);
        }
    }
    Ok(out)
}

/// Reads a streamed answer to its end, event by event; an event that says what went wrong becomes a failure.
pub(crate) async fn events(
    mut response: Response<Incoming>,
    mut on: impl FnMut(&Value),
) -> Result<(), Failure> {
    let mut rest = Vec::new();
    while let Some(frame) = response.body_mut().frame().await {
        let frame = frame.map_err(|e| Failure::store(anyhow::anyhow!("the router broke off: {e}")))?;
        rest.extend_from_slice(frame.data_ref().map_or(&[][..], |d| d));
        while let Some(end) = rest.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            let chunk = line.trim_end().strip_prefix("data: ").filter(|d| *d != "[DONE]");
            let Some(chunk) = chunk.and_then(|d| serde_json::from_str::<Value>(d).ok()) else { continue };
            if let Some(message) = chunk.pointer("/error/message").and_then(Value::as_str) {
                return Err(Failure::refused(shown(message)));
            }
            on(&chunk);
        }
        if rest.len() > MAX_ANSWER_BYTES {
            return Err(Failure::refused(format!("an event of more than {MAX_ANSWER_BYTES} bytes")));
        }
    }
    Ok(())
}

/// What an error body says.
pub(crate) fn words(body: &[u8]) -> String {
    serde_json::from_slice::<Value>(body)
        .ok()
        .and_then(|v| v.pointer("/error/message").and_then(Value::as_str).map(shown))
        .unwrap_or_else(|| shown(&String::from_utf8_lossy(body)))
}

/// The same, as a failure.
pub(crate) fn refusal(status: StatusCode, body: &[u8]) -> Failure {
    let message = words(body);
    if status == StatusCode::BAD_REQUEST {
        return Failure::wrong_use(message);
    }
    Failure::refused(format!("the router answered {status}: {message}"))
}
