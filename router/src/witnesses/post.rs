//! One request to a witness: a POST over HTTP or HTTPS, with an answer of a few lines.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{CONTENT_TYPE, HOST, USER_AGENT};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// How long a witness may take for its whole answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// An answer, in bytes.
const MAX_ANSWER_BYTES: usize = 16 * 1024;
const AGENT: &str = concat!("counterfoil/", env!("CARGO_PKG_VERSION"));

/// What a witness answered.
pub(super) struct Said {
    pub(super) status: u16,
    pub(super) body: String,
}

/// Asks; the error says in words what stood in the way.
pub(super) async fn post(prefix: &str, body: String) -> Result<Said, String> {
    tokio::time::timeout(PATIENCE, ask(prefix, body, trust))
        .await
        .unwrap_or_else(|_| Err("no answer in 10 s".to_owned()))
}

/// A client's side of TLS, or why this machine has none.
type Trust = Result<Arc<rustls::ClientConfig>, String>;

async fn ask(prefix: &str, body: String, trust: impl Fn() -> Trust) -> Result<Said, String> {
    let url = format!("{}/add-checkpoint", prefix.trim_end_matches('/'));
    let uri: Uri = url.parse().map_err(|e| format!("not a URL: {e}"))?;
    let tls = match uri.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        _ => return Err("not an http:// or https:// URL".to_owned()),
    };
    let authority = uri.authority().ok_or("a URL without a host")?.clone();
    let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
    let request = Request::post(uri.path())
        .header(HOST, authority.as_str())
        .header(USER_AGENT, AGENT)
        .header(CONTENT_TYPE, "text/plain; charset=utf-8")
        .body(Full::new(Bytes::from(body)))
        .map_err(|e| e.to_string())?;
    let tcp = TcpStream::connect((host.as_str(), port)).await.map_err(|e| e.to_string())?;
    if tls {
        let name = ServerName::try_from(host).map_err(|e| e.to_string())?;
        let connected = TlsConnector::from(trust()?).connect(name, tcp).await;
        over(connected.map_err(|e| e.to_string())?, request).await
    } else {
        over(tcp, request).await
    }
}

async fn over(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<Said, String> {
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|e| e.to_string())?;
    // Ends with the answer, or with the request that is given up.
    let mut driver = tokio::task::JoinSet::new();
    driver.spawn(async move {
        // Whoever reads the answer learns what broke.
        let _ = connection.await;
    });
    let response = sender.send_request(request).await.map_err(|e| e.to_string())?;
    let status = response.status().as_u16();
    let body =
        Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await.map_err(|e| e.to_string())?;
    let body = String::from_utf8(body.to_bytes().to_vec()).map_err(|e| e.to_string())?;
    Ok(Said { status, body })
}

/// The machine's own certificate authorities, read once.
fn trust() -> Trust {
    static TRUST: OnceLock<Trust> = OnceLock::new();
    TRUST
        .get_or_init(|| {
            let mut roots = rustls::RootCertStore::empty();
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            trusting(roots)
        })
        .clone()
}

fn trusting(roots: rustls::RootCertStore) -> Trust {
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
mod tests;
