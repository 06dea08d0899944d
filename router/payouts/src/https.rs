//! One request to a provider over HTTPS, and its answer. Plain HTTP is for this machine alone: keys travel in it.

use std::time::Duration;

use bytes::Bytes;
use counterfoil_https::{AGENT, Address, Connection, Trust};
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use hyper::{Method, Request};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::order::Unclear;

/// How long a provider may take for its whole answer. Stripe ends requests at 80 s; what takes longer is unclear.
const PATIENCE: Duration = Duration::from_secs(80);
/// An answer, in bytes: a list of a hundred transfers has 60 kB.
const MAX_ANSWER_BYTES: usize = 1024 * 1024;

/// Where a provider's paths begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base(Address);

/// Why an address is not one to send keys to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no https:// address, nor http:// on this machine: {1}")]
pub struct BaseError(pub String, pub String);

impl std::str::FromStr for Base {
    type Err = BaseError;

    fn from_str(text: &str) -> Result<Self, BaseError> {
        let fault = |why: String| BaseError(text.to_owned(), why);
        let base = Address::private(text.trim_end_matches('/')).map_err(|e| fault(e.0))?;
        if base.path().contains('?') {
            return Err(fault("paths are put behind it, so it has no query".to_owned()));
        }
        Ok(Self(base))
    }
}

/// What is asked.
pub(crate) struct Ask<'a> {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) authorization: Zeroizing<String>,
    pub(crate) headers: &'a [(&'static str, &'a str)],
    pub(crate) content_type: &'static str,
    pub(crate) body: String,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Whether it was saved for the request's key before.
    pub(crate) replayed: bool,
    pub(crate) body: Value,
}

impl Answer {
    /// The text at a place of the answer.
    pub(crate) fn text(&self, at: &str) -> Option<&str> {
        self.body.pointer(at).and_then(Value::as_str)
    }
}

impl Base {
    /// Asks; an answer that is not whole, or not JSON, is unclear.
    pub(crate) async fn ask(&self, ask: Ask<'_>) -> Result<Answer, Unclear> {
        match tokio::time::timeout(PATIENCE, self.send(ask)).await {
            Ok(answer) => answer,
            Err(_) => Err(Unclear::Broken(format!("none in {} s", PATIENCE.as_secs()))),
        }
    }

    async fn send(&self, ask: Ask<'_>) -> Result<Answer, Unclear> {
        let at = self.0.below(&ask.path);
        let request = request(&at, ask)?;
        let broken = |e: &dyn std::fmt::Display| Unclear::Broken(e.to_string());
        let opened = Connection::open(&at, &Trust::of_machine(), PATIENCE).await;
        let mut connection = opened.map_err(|e| broken(&e))?;
        let response = connection.ask(request).await.map_err(|e| broken(&e))?;
        let status = response.status().as_u16();
        let replayed = response.headers().get("idempotent-replayed").is_some_and(|v| v == "true");
        let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await;
        let body = body.map_err(|e| broken(&e))?.to_bytes();
        // An error page of something in between is no JSON; its status still says what to do.
        let body = match serde_json::from_slice(&body) {
            Ok(body) => body,
            Err(_) if status >= 400 => Value::Null,
            Err(e) => return Err(Unclear::Unreadable(e.to_string())),
        };
        Ok(Answer { status, replayed, body })
    }
}

fn request(at: &Address, ask: Ask<'_>) -> Result<Request<Full<Bytes>>, Unclear> {
    let mut shown = HeaderValue::from_str(&ask.authorization)
        .map_err(|_| Unclear::Broken("a key that is no header".to_owned()))?;
    shown.set_sensitive(true);
    let mut request = Request::builder().method(ask.method).uri(at.path()).header(HOST, at.authority());
    request = request.header(USER_AGENT, AGENT).header(AUTHORIZATION, shown);
    request = request.header(CONTENT_TYPE, ask.content_type);
    for (name, value) in ask.headers {
        request = request.header(*name, *value);
    }
    let body = Full::new(Bytes::from(ask.body));
    request.body(body).map_err(|_| Unclear::Broken("a header that is none".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_go_over_tls_or_stay_on_this_machine() {
        for (text, read) in [
            ("https://api.stripe.com/", "https://api.stripe.com"),
            ("http://[::1]:12111/v2", "http://[::1]:12111/v2"),
        ] {
            assert_eq!(text.parse::<Base>().unwrap().0.to_string(), read);
        }
        let refused = |text: &str| text.parse::<Base>().unwrap_err().1;
        let why = "http:// is for this machine only; use https://api.stripe.com";
        assert_eq!(refused("http://api.stripe.com"), why);
        assert_eq!(refused("https://h/?a=b"), "paths are put behind it, so it has no query");
        assert_eq!(refused(""), "it is no https:// address");
    }
}
