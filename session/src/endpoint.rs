//! Where lanes begin on the node's side, and what both sides know of a connection that did not come about.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use counterfoil_identity::{Directory, Refused, TrustDomain, VerifiedPeer, verify_chain};
use counterfoil_spec::entry::Role;
use counterfoil_spec::limits::MAX_ARRIVAL_MS;
use counterfoil_spec::message::{NodeHello, NodeMessage};
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::time::Now;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{Connection, ConnectionError, Endpoint, TransportErrorCode};
use rustls::pki_types::CertificateDer;

use crate::end::{LaneEnd, code};
use crate::node_lane::NodeLane;
use crate::transport::{Distance, Side, endpoint, transport};

/// Why an endpoint could not be opened. The caller's machine or configuration is at fault, never a peer.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// The address could not be bound.
    #[error("cannot bind {addr}: {source}; is another process using the port?")]
    Bind {
        /// Which.
        addr: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The TLS configuration lacks the initial cipher suite of QUIC.
    #[error("the TLS configuration cannot be used for QUIC: {0}")]
    Tls(#[from] quinn::crypto::rustls::NoInitialCipherSuite),
}

/// Why a peer was not let in, or did not let us in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// This side refused the other.
    #[error("refused the peer: {0}")]
    Refused(Refused),
    /// The other side refused this one.
    #[error("the peer refused: {refusal} {detail}")]
    RefusedByPeer {
        /// Why.
        refusal: Refusal,
        /// In words.
        detail: String,
    },
    /// The other side has no place for this connection now, and did not look who it is.
    #[error(
        "the peer takes no more connections now, from here or from anywhere (S_CROWDED, S_PREFIX); try again later"
    )]
    Crowded,
    /// The two share no application protocol.
    #[error("the peer does not speak this protocol (S_ALPN); is this the right port?")]
    Alpn,
    /// The other side ended the TLS handshake, as it does with a certificate that it does not take.
    #[error("the peer ended the handshake: {0}")]
    Handshake(String),
    /// Nothing answered, or it broke.
    #[error("no connection to {addr}: {detail}")]
    Unreachable {
        /// Where.
        addr: SocketAddr,
        /// What happened.
        detail: String,
    },
}

/// How a node finds and recognises its router.
#[derive(Clone)]
pub struct Target {
    /// Where.
    pub addr: SocketAddr,
    /// The network.
    pub domain: TrustDomain,
    /// Which router it may be.
    pub router: Arc<dyn Directory>,
    /// The present.
    pub now: Now,
}

/// A node's endpoint, which only ever connects.
#[derive(Debug, Clone)]
pub struct NodeEndpoint {
    pub(crate) endpoint: Endpoint,
}

impl NodeEndpoint {
    /// Opens an endpoint that can reach addresses of the same kind as `to`.
    ///
    /// # Errors
    /// [`EndpointError::Bind`].
    pub fn towards(to: SocketAddr) -> Result<Self, EndpointError> {
        Ok(Self { endpoint: open(from_anywhere(to), None)? })
    }

    /// Connects, verifies the router, opens the lane and says Hello. The node is connected once a `Welcome` comes.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect(
        &self,
        target: &Target,
        tls: rustls::ClientConfig,
        hello: NodeHello,
    ) -> Result<NodeLane, ConnectError> {
        let addr = target.addr;
        let unreachable = |detail: String| ConnectError::Unreachable { addr, detail };
        let crypto = QuicClientConfig::try_from(tls).map_err(|e| unreachable(e.to_string()))?;
        let mut config = quinn::ClientConfig::new(Arc::new(crypto));
        config.transport_config(transport(Side::Node, Distance::of(addr.ip())));
        let connecting = self.endpoint.connect_with(config, addr, SERVER_NAME);
        let connecting = connecting.map_err(|e| unreachable(e.to_string()))?;
        let connected = tokio::time::timeout(Duration::from_millis(MAX_ARRIVAL_MS), connecting).await;
        let connected =
            connected.map_err(|_| unreachable(format!("no answer within {MAX_ARRIVAL_MS} ms")))?;
        let connection = connected.map_err(|e| connect_error(addr, &e))?;
        let router = verified(&connection, &target.domain, Role::Router, &target.now, &*target.router)?;
        NodeLane::open(connection, router, NodeMessage::Hello(hello), Arc::clone(&target.now))
            .await
            .map_err(|end| ended(addr, end))
    }

    /// Waits until the router knows that the lane is closed.
    pub async fn wait_idle(&self) {
        self.endpoint.wait_idle().await;
    }
}

/// Opens a socket with the lane's own limits.
pub(crate) fn open(addr: SocketAddr, server: Option<quinn::ServerConfig>) -> Result<Endpoint, EndpointError> {
    let at = |source| EndpointError::Bind { addr, source };
    let socket = std::net::UdpSocket::bind(addr).map_err(at)?;
    Endpoint::new(endpoint(), server, socket, Arc::new(quinn::TokioRuntime)).map_err(at)
}

/// Any port on any local address of the same kind.
pub(crate) fn from_anywhere(to: SocketAddr) -> SocketAddr {
    let ip = match to.ip() {
        IpAddr::V4(ip) if ip.is_loopback() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_loopback() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    SocketAddr::new(ip, 0)
}

/// Who is at the other end. TLS has asked the same question; here the answer becomes a proof that can be kept.
pub(crate) fn verified(
    connection: &Connection,
    domain: &TrustDomain,
    want: Role,
    now: &Now,
    directory: &dyn Directory,
) -> Result<VerifiedPeer, ConnectError> {
    let chain =
        connection.peer_identity().and_then(|any| any.downcast::<Vec<CertificateDer<'static>>>().ok());
    let chain = chain.map(|chain| *chain).unwrap_or_default();
    verify_chain(&chain, domain, want, now().seconds(), directory).map_err(|refused| {
        connection.close(code(refused.refusal), refused.detail.as_bytes());
        ConnectError::Refused(refused)
    })
}

pub(crate) fn ended(addr: SocketAddr, end: LaneEnd) -> ConnectError {
    match end {
        LaneEnd::RefusedByPeer(refusal, detail) => ConnectError::RefusedByPeer { refusal, detail },
        LaneEnd::RefusedHere(refusal, detail) => ConnectError::Refused(Refused { refusal, detail }),
        LaneEnd::Lost(detail) => ConnectError::Unreachable { addr, detail },
    }
}

/// Reads quinn's account of a connection that did not come about.
pub(crate) fn connect_error(addr: SocketAddr, error: &ConnectionError) -> ConnectError {
    match error {
        ConnectionError::TransportError(e) => {
            if is_alert(e.code, NO_APPLICATION_PROTOCOL) {
                return ConnectError::Alpn;
            }
            refused_here(&e.reason)
                .map_or_else(|| ConnectError::Handshake(e.to_string()), ConnectError::Refused)
        }
        ConnectionError::ConnectionClosed(close) if is_alert(close.error_code, NO_APPLICATION_PROTOCOL) => {
            ConnectError::Alpn
        }
        ConnectionError::ConnectionClosed(close)
            if close.error_code == TransportErrorCode::CONNECTION_REFUSED =>
        {
            ConnectError::Crowded
        }
        ConnectionError::ConnectionClosed(close) if !is_revoked(close.error_code) => {
            ConnectError::Handshake(close.to_string())
        }
        other => ended(addr, LaneEnd::from_connection(other)),
    }
}

/// The refusal in what rustls says of a certificate that our verifier refused. quinn keeps only the words of a TLS
/// error, and in them rustls writes the verifier's own error in its debug form, which begins with the refusal's name.
fn refused_here(reason: &str) -> Option<Refused> {
    if reason.contains("certificate: Revoked") {
        let detail = "the peer is on the deny list".to_owned();
        return Some(Refused { refusal: Refusal::CertDenied, detail });
    }
    let refusal = Refusal::ALL.iter().find(|r| reason.contains(&format!("Refused {{ refusal: {r:?}, ")))?;
    let detail = reason.split_once("detail: \"").and_then(|(_, rest)| rest.split_once('"'));
    let detail = detail.map_or(reason, |(detail, _)| detail).to_owned();
    Some(Refused { refusal: *refusal, detail })
}

/// Whether the peer ended the handshake because this side's certificate is on its deny list.
pub(crate) fn is_revoked(code: TransportErrorCode) -> bool {
    is_alert(code, CERTIFICATE_REVOKED)
}

fn is_alert(code: TransportErrorCode, alert: u8) -> bool {
    code == TransportErrorCode::crypto(alert)
}

/// TLS asks for a name; whom we talk to is decided by the identity in the certificate alone.
pub(crate) const SERVER_NAME: &str = "router.counterfoil.invalid";
/// TLS alert 44.
const CERTIFICATE_REVOKED: u8 = 44;
/// TLS alert 120.
const NO_APPLICATION_PROTOCOL: u8 = 120;
