//! One request to a provider over HTTPS, and its answer. Plain HTTP is for this machine alone: keys travel in it.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use hyper::{Method, Request, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use crate::order::Unclear;

/// How long a provider may take for its whole answer. Stripe ends requests at 80 s; what takes longer is unclear.
const PATIENCE: Duration = Duration::from_secs(80);
/// An answer, in bytes: a list of a hundred transfers has 60 kB.
const MAX_ANSWER_BYTES: usize = 1024 * 1024;
const AGENT: &str = concat!("counterfoil/", env!("CARGO_PKG_VERSION"));

/// Where a provider's paths begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    text: String,
    host: String,
    port: u16,
    tls: bool,
}

/// Why an address is not one to send keys to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no https:// address, nor http:// on this machine")]
pub struct BaseError(pub String);

impl std::str::FromStr for Base {
    type Err = BaseError;

    fn from_str(text: &str) -> Result<Self, BaseError> {
        let fault = || BaseError(text.to_owned());
        let text = text.trim_end_matches('/');
        let uri: Uri = text.parse().map_err(|_| fault())?;
        let authority = uri.authority().ok_or_else(fault)?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") if host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback()) => false,
            _ => return Err(fault()),
        };
        if uri.query().is_some() || authority.as_str().contains('@') {
            return Err(fault());
        }
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        Ok(Self { text: text.to_owned(), host, port, tls })
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
        let request = self.request(ask)?;
        let broken = |e: &dyn std::fmt::Display| Unclear::Broken(e.to_string());
        let tcp = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(|e| broken(&e))?;
        if !self.tls {
            return over(tcp, request).await;
        }
        let name = ServerName::try_from(self.host.clone()).map_err(|e| broken(&e))?;
        let connector = TlsConnector::from(trust().map_err(|e| broken(&e))?);
        over(connector.connect(name, tcp).await.map_err(|e| broken(&e))?, request).await
    }

    fn request(&self, ask: Ask<'_>) -> Result<Request<Full<Bytes>>, Unclear> {
        let uri: Uri = format!("{}{}", self.text, ask.path)
            .parse()
            .map_err(|_| Unclear::Broken("a path that is none".to_owned()))?;
        // HTTP/1.1 names the path alone; the host stands in its own header.
        let path = uri.path_and_query().map_or("/", |p| p.as_str()).to_owned();
        let authority = uri.authority().map(|a| a.as_str().to_owned()).unwrap_or_default();
        let mut shown = HeaderValue::from_str(&ask.authorization)
            .map_err(|_| Unclear::Broken("a key that is no header".to_owned()))?;
        shown.set_sensitive(true);
        let mut request = Request::builder().method(ask.method).uri(path).header(HOST, authority);
        request = request.header(USER_AGENT, AGENT).header(AUTHORIZATION, shown);
        request = request.header(CONTENT_TYPE, ask.content_type);
        for (name, value) in ask.headers {
            request = request.header(*name, *value);
        }
        let body = Full::new(Bytes::from(ask.body));
        request.body(body).map_err(|_| Unclear::Broken("a header that is none".to_owned()))
    }
}

async fn over(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<Answer, Unclear> {
    let broken = |e: &dyn std::fmt::Display| Unclear::Broken(e.to_string());
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|e| broken(&e))?;
    // Ends with the answer, or with the request that is given up.
    let mut driver = tokio::task::JoinSet::new();
    driver.spawn(async move {
        // Whoever reads the answer learns what broke.
        let _ = connection.await;
    });
    let response = sender.send_request(request).await.map_err(|e| broken(&e))?;
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

/// A client's side of TLS, or why this machine has none.
type Trust = Result<Arc<rustls::ClientConfig>, String>;

/// The machine's own certificate authorities, read once.
fn trust() -> Trust {
    static TRUST: OnceLock<Trust> = OnceLock::new();
    TRUST.get_or_init(read_trust).clone()
}

fn read_trust() -> Trust {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err("this machine lists no certificate authorities; install ca-certificates".to_owned());
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_go_over_tls_or_stay_on_this_machine() {
        let base: Base = "https://api.stripe.com/".parse().unwrap();
        assert_eq!((base.host.as_str(), base.port, base.tls), ("api.stripe.com", 443, true));
        let local: Base = "http://[::1]:12111".parse().unwrap();
        assert_eq!((local.host.as_str(), local.port, local.tls), ("::1", 12_111, false));
        for refused in
            ["http://api.stripe.com", "http://localhost:1", "ftp://127.0.0.1", "https://a@b", "x", ""]
        {
            assert_eq!(refused.parse::<Base>(), Err(BaseError(refused.to_owned())));
        }
    }
}
