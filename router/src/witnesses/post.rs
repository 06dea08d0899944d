//! One request to a witness: a POST over HTTP or HTTPS, with an answer of a few lines.

use std::time::Duration;

use bytes::Bytes;
use counterfoil_https::{AGENT, Address, Connection, Trust};
use http_body_util::{BodyExt, Full, Limited};
use hyper::Request;
use hyper::header::{CONTENT_TYPE, HOST, USER_AGENT};

/// How long a witness may take for its whole answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// An answer, in bytes.
const MAX_ANSWER_BYTES: usize = 16 * 1024;

/// What a witness answered.
pub(super) struct Said {
    pub(super) status: u16,
    pub(super) body: String,
}

/// Asks; the error says in words what stood in the way.
pub(super) async fn post(prefix: &str, body: String) -> Result<Said, String> {
    tokio::time::timeout(PATIENCE, ask(prefix, body))
        .await
        .unwrap_or_else(|_| Err("no answer in 10 s".to_owned()))
}

async fn ask(prefix: &str, body: String) -> Result<Said, String> {
    let prefix = Address::parse(prefix).map_err(|e| e.to_string())?;
    let address = prefix.below("/add-checkpoint");
    let request = Request::post(address.path())
        .header(HOST, address.authority())
        .header(USER_AGENT, AGENT)
        .header(CONTENT_TYPE, "text/plain; charset=utf-8")
        .body(Full::new(Bytes::from(body)))
        .map_err(|e| e.to_string())?;
    let opened = Connection::open(&address, &Trust::of_machine(), PATIENCE).await;
    let mut connection = opened.map_err(|e| e.to_string())?;
    let response = connection.ask(request).await.map_err(|e| e.to_string())?;
    let status = response.status().as_u16();
    let body =
        Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await.map_err(|e| e.to_string())?;
    let body = String::from_utf8(body.to_bytes().to_vec()).map_err(|e| e.to_string())?;
    Ok(Said { status, body })
}

#[cfg(test)]
mod tests;
