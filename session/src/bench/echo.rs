//! The baseline: a QUIC stream whose other end sends back what it gets, as it comes, set up as a lane is.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use counterfoil_identity::{ALPN, Directory, PinnedRouter, VerifiedPeer, server_config};
use counterfoil_spec::entry::Role;
use counterfoil_spec::refusal::Refusal;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use tokio::sync::oneshot;

use super::BenchError;
use crate::endpoint::{SERVER_NAME, open};
use crate::sandbox::{Member, Sandbox, SandboxError};
use crate::transport::{Distance, Side, transport};

/// Where the raw echo is taken: as a lane is, but for what is above TLS.
pub(super) fn endpoint(net: &Sandbox) -> Result<quinn::Endpoint, BenchError> {
    let known: Arc<dyn Directory> = Arc::new(Anyone);
    let tls = server_config(&net.router, &net.domain, known, Arc::clone(&net.now), ALPN);
    let crypto = QuicServerConfig::try_from(tls.map_err(SandboxError::from)?);
    let crypto = crypto.map_err(|e| BenchError::Echo(e.to_string()))?;
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(transport(Side::Router, Distance::Loopback));
    Ok(open(ANY, Some(config)).map_err(SandboxError::from)?)
}

/// A message of `there` bytes that is answered with `back` bytes; it begins with both lengths.
pub(super) fn message(there: usize, back: usize) -> Bytes {
    let mut message = BytesMut::with_capacity(there);
    message.put_u32_le(u32::try_from(there).unwrap_or(u32::MAX));
    message.put_u32_le(u32::try_from(back).unwrap_or(u32::MAX));
    message.put_bytes(7, there.saturating_sub(LENGTHS));
    message.freeze()
}

/// The near end.
pub(super) struct Echo {
    connection: quinn::Connection,
    send: quinn::SendStream,
    recv: quinn::RecvStream,
    buffer: Vec<u8>,
}

impl Echo {
    pub(super) async fn accept(endpoint: &quinn::Endpoint) -> Result<Self, BenchError> {
        let incoming = endpoint.accept().await.ok_or(BenchError::Gone)?;
        let connection = incoming.await.map_err(failed)?;
        let (send, mut recv) = connection.accept_bi().await.map_err(failed)?;
        let mut first = [0; 1];
        recv.read_exact(&mut first).await.map_err(failed)?;
        Ok(Self { connection, send, recv, buffer: Vec::new() })
    }

    pub(super) async fn there_and_back(&mut self, message: &Bytes, back: usize) -> Result<(), BenchError> {
        self.buffer.resize(back, 0);
        self.send.write_chunk(message.clone()).await.map_err(failed)?;
        self.recv.read_exact(&mut self.buffer).await.map_err(failed)
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.connection.close(quinn::VarInt::from(0_u8), b"");
    }
}

/// The far end: whatever arrives goes back at once, and what an answer has beyond its message once that is complete.
pub(super) async fn reflect(
    net: &Sandbox,
    member: &Member,
    addr: SocketAddr,
    stopped: oneshot::Receiver<()>,
) -> Result<(), BenchError> {
    let crypto = QuicClientConfig::try_from(net.tls(member)?).map_err(failed)?;
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    config.transport_config(transport(Side::Node, Distance::Loopback));
    let endpoint = open(ANY, None).map_err(SandboxError::from)?;
    let connecting = endpoint.connect_with(config, addr, SERVER_NAME).map_err(failed)?;
    let connection = connecting.await.map_err(failed)?;
    let (mut send, mut recv) = connection.open_bi().await.map_err(failed)?;
    send.write_all(&[1]).await.map_err(failed)?;
    let echoing = async {
        let (mut there, mut back, mut rest) = (0, 0, Bytes::new());
        while let Some(chunk) = recv.read_chunk(usize::MAX, true).await.map_err(failed)? {
            let mut arrived = chunk.bytes;
            while !arrived.is_empty() {
                if there == 0 {
                    // A message is only sent when the one before it was answered, so its lengths come in one piece.
                    (there, back) = lengths(&arrived).ok_or(BenchError::Gone)?;
                }
                let mut part = arrived.split_to(arrived.len().min(there));
                there -= part.len();
                part.truncate(back);
                back -= part.len();
                send.write_chunk(part).await.map_err(failed)?;
            }
            if there == 0 && back > 0 {
                if rest.len() < back {
                    rest = Bytes::from(vec![7; back]);
                }
                send.write_chunk(rest.slice(..std::mem::take(&mut back))).await.map_err(failed)?;
            }
        }
        Ok(())
    };
    tokio::select! { end = echoing => end, _ = stopped => Ok(()) }
}

fn lengths(message: &[u8]) -> Option<(usize, usize)> {
    let (there, rest) = message.split_first_chunk::<4>()?;
    let back = rest.first_chunk::<4>()?;
    let length = |bytes: &[u8; 4]| usize::try_from(u32::from_le_bytes(*bytes)).ok();
    Some((length(there)?, length(back)?))
}

fn failed(error: impl std::fmt::Display) -> BenchError {
    BenchError::Echo(error.to_string())
}

struct Anyone;

impl Directory for Anyone {
    fn check(&self, peer: &VerifiedPeer) -> Result<(), Refusal> {
        match peer.role() {
            Role::Node => Ok(()),
            _ => PinnedRouter(None).check(peer),
        }
    }
}

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);
const LENGTHS: usize = 8;
