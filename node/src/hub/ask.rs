//! One range of one file: asked for, redirected, and read as it comes.

use std::time::Duration;

use bytes::Bytes;
use counterfoil_https::{AGENT, Address, AddressError, ConnectError, Connection};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_RANGE, HOST, HeaderMap, LOCATION, RANGE, RETRY_AFTER, USER_AGENT,
};
use hyper::{Request, Response, StatusCode};

use super::{Hub, HubError};

/// Redirects of one request.
const MAX_REDIRECTS: usize = 5;
/// How long a connection may take, and how long an answer or its next piece.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a server may ask to be left alone.
const MAX_RETRY_AFTER_S: u64 = 60;

/// The bytes of a range as they come.
pub(super) struct RangeBody {
    url: String,
    body: Incoming,
    left: u64,
    /// What came and was not given yet.
    held: Bytes,
    /// Gives the body as long as it lives.
    _connection: Connection<Empty<Bytes>>,
}

impl Hub {
    /// Asks for `length` bytes of a file from `first` on.
    pub(super) async fn range(&self, file: &Address, first: u64, length: u64) -> Result<RangeBody, HubError> {
        let mut at = file.clone();
        for _ in 0..=MAX_REDIRECTS {
            let (response, connection) = self.send(&at, first, length).await?;
            if response.status().is_redirection() {
                let location = response.headers().get(LOCATION).and_then(|v| v.to_str().ok());
                let location = location.ok_or_else(|| useless(&at, "a redirect that leads nowhere"))?;
                at = at
                    .follow(location)
                    .map_err(|AddressError(why)| useless(&at, &format!("a redirect: {why}")))?;
                continue;
            }
            judge(&at, &response, (first, length))?;
            return Ok(RangeBody {
                url: at.to_string(),
                body: response.into_body(),
                left: length,
                held: Bytes::new(),
                _connection: connection,
            });
        }
        Err(useless(file, &format!("more than {MAX_REDIRECTS} redirects")))
    }

    async fn send(
        &self,
        at: &Address,
        first: u64,
        length: u64,
    ) -> Result<(Response<Incoming>, Connection<Empty<Bytes>>), HubError> {
        let last = first.saturating_add(length).saturating_sub(1);
        let mut request = Request::get(at.path())
            .header(HOST, at.authority())
            .header(USER_AGENT, AGENT)
            .header(ACCEPT_ENCODING, "identity")
            .header(RANGE, format!("bytes={first}-{last}"));
        // Whoever a redirect leads to has an address that was signed for it, and no right to the token.
        if let Some(token) = self.token.as_ref().filter(|_| at.is_with(&self.endpoint)) {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Empty::new()).map_err(|e| useless(at, &e.to_string()))?;
        let mut connection = Connection::open(at, &self.trust, PATIENCE).await.map_err(|e| match e {
            ConnectError::Trust(_) | ConnectError::Host(_) => useless(at, &e.to_string()),
            _ => HubError::Broken { url: at.to_string(), why: e.to_string(), after_s: None },
        })?;
        let response = in_time(at, connection.ask(request)).await?;
        Ok((response, connection))
    }
}

/// Whether an answer is the range that was asked for.
fn judge(at: &Address, response: &Response<Incoming>, (first, length): (u64, u64)) -> Result<(), HubError> {
    let status = response.status();
    match status {
        StatusCode::PARTIAL_CONTENT => {
            let found =
                response.headers().get(CONTENT_RANGE).and_then(|v| v.to_str().ok()).unwrap_or_default();
            let wanted = format!("bytes {first}-{}/", first + length - 1);
            if found.starts_with(&wanted) {
                return Ok(());
            }
            Err(useless(at, &format!("the range {found:?} instead of {wanted:?}")))
        }
        StatusCode::OK => Err(useless(at, "the whole file instead of the range that was asked for")),
        StatusCode::NOT_FOUND => Err(useless(at, "no such repository, revision or file (404)")),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            Err(useless(at, &format!("not allowed ({}); set COUNTERFOIL_HUB_TOKEN", status.as_u16())))
        }
        StatusCode::RANGE_NOT_SATISFIABLE => Err(useless(at, "the file is shorter than the manifest says")),
        _ if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() => Err(HubError::Broken {
            url: at.to_string(),
            why: format!("the server answered {}", status.as_u16()),
            after_s: retry_after(response.headers()),
        }),
        _ => Err(useless(at, &format!("the server answered {}", status.as_u16()))),
    }
}

fn retry_after(headers: &HeaderMap) -> Option<u64> {
    let seconds: u64 = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(seconds.min(MAX_RETRY_AFTER_S))
}

impl RangeBody {
    /// The next piece, of at most so many bytes; nothing once all of the range has come.
    pub(super) async fn piece(&mut self, most: usize) -> Result<Option<Bytes>, HubError> {
        while self.held.is_empty() && self.left > 0 {
            let broken =
                |why: &str| HubError::Broken { url: self.url.clone(), why: why.to_owned(), after_s: None };
            let frame = tokio::time::timeout(PATIENCE, self.body.frame()).await;
            let frame = frame.map_err(|_| broken("no byte for too long"))?;
            let frame = frame.ok_or_else(|| broken("it ended early"))?;
            let frame = frame.map_err(|e| broken(&e.to_string()))?;
            let Ok(mut piece) = frame.into_data() else { continue };
            let length = u64::try_from(piece.len()).unwrap_or(u64::MAX);
            if length > self.left {
                piece.truncate(usize::try_from(self.left).unwrap_or(0));
            }
            self.left = self.left.saturating_sub(length);
            self.held = piece;
        }
        let piece = self.held.split_to(self.held.len().min(most));
        Ok((!piece.is_empty()).then_some(piece))
    }
}

fn useless(at: &Address, why: &str) -> HubError {
    HubError::Answer { url: at.to_string(), why: why.to_owned() }
}

async fn in_time<T, E: std::fmt::Display>(
    at: &Address,
    what: impl Future<Output = Result<T, E>>,
) -> Result<T, HubError> {
    let broken = |why: String| HubError::Broken { url: at.to_string(), why, after_s: None };
    match tokio::time::timeout(PATIENCE, what).await {
        Ok(done) => done.map_err(|e| broken(e.to_string())),
        Err(_) => Err(broken(format!("no answer within {} s", PATIENCE.as_secs()))),
    }
}
