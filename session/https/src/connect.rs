//! A connection to a server: TCP, TLS where its address asks for that, and HTTP/1.1 on it.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use crate::Address;

/// How this program names itself to servers.
pub const AGENT: &str = concat!("counterfoil/", env!("CARGO_PKG_VERSION"));

/// Whose certificates are taken, or why this machine has no such list.
#[derive(Debug, Clone)]
pub struct Trust(Result<Arc<rustls::ClientConfig>, String>);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody listens there, or its certificate is not taken.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Nobody answered in time.
    #[error("no connection within {} s", .0.as_secs())]
    Late(Duration),
    /// This machine lists no authorities.
    #[error("{0}")]
    Trust(String),
    /// The host can be in no certificate.
    #[error("{0:?} is no host's name")]
    Host(String),
    /// Not HTTP.
    #[error(transparent)]
    Http(#[from] hyper::Error),
}

impl Trust {
    /// The machine's own certificate authorities, read once.
    #[must_use]
    pub fn of_machine() -> Self {
        static TRUST: OnceLock<Trust> = OnceLock::new();
        TRUST
            .get_or_init(|| {
                let mut roots = rustls::RootCertStore::empty();
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                Self::of(roots)
            })
            .clone()
    }

    /// Those of a list.
    #[must_use]
    pub fn of(roots: rustls::RootCertStore) -> Self {
        if roots.is_empty() {
            let why =
                "this machine lists no certificate authorities; install ca-certificates or set SSL_CERT_FILE";
            return Self(Err(why.to_owned()));
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config =
            rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.map_err(|e| e.to_string());
        Self(config.map(|config| Arc::new(config.with_root_certificates(roots).with_no_client_auth())))
    }
}

/// A connection on which requests are sent one after another; it is closed where this ends.
#[derive(Debug)]
pub struct Connection<B> {
    sender: SendRequest<B>,
    driver: JoinSet<()>,
}

impl<B: Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static>
    Connection<B>
{
    /// Connects, over TLS if the address says so.
    ///
    /// # Errors
    /// [`ConnectError`]; `Late` where it takes longer than `patience`.
    pub async fn open(address: &Address, trust: &Trust, patience: Duration) -> Result<Self, ConnectError> {
        let opened = tokio::time::timeout(patience, Self::opened(address, trust)).await;
        opened.unwrap_or(Err(ConnectError::Late(patience)))
    }

    async fn opened(address: &Address, trust: &Trust) -> Result<Self, ConnectError> {
        let tcp = TcpStream::connect((address.host(), address.port())).await?;
        tcp.set_nodelay(true)?;
        if !address.is_tls() {
            return Self::over(tcp).await;
        }
        let host = || ConnectError::Host(address.host().to_owned());
        let name = ServerName::try_from(address.host().to_owned()).map_err(|_| host())?;
        let config = trust.0.clone().map_err(ConnectError::Trust)?;
        Self::over(TlsConnector::from(config).connect(name, tcp).await?).await
    }

    async fn over(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> Result<Self, ConnectError> {
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            // Whoever reads an answer learns what broke.
            let _ = connection.await;
        });
        Ok(Self { sender, driver })
    }

    /// Asks, once the answer before was read to its end.
    ///
    /// # Errors
    /// Whatever broke.
    pub async fn ask(&mut self, request: Request<B>) -> Result<Response<Incoming>, hyper::Error> {
        self.sender.ready().await?;
        self.sender.send_request(request).await
    }

    /// Asks for the last time; the connection is closed once the answer was read or dropped.
    ///
    /// # Errors
    /// Whatever broke.
    pub async fn ask_last(mut self, request: Request<B>) -> Result<Response<Incoming>, hyper::Error> {
        let response = self.ask(request).await?;
        self.driver.detach_all();
        Ok(response)
    }
}

#[cfg(test)]
mod tests;
