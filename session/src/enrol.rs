//! The enrolment exchange over QUIC: its own endpoint, one stream, four messages.
//!
//! ```text
//! message = u32 little-endian length (at most 16 KiB) ‖ canonical CBOR of an `identity::enrol` message
//! ```
//!
//! What is proved and decided is in `identity::enrol`; here bytes only travel.

mod connecting;
mod recovery;
mod renewal;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use counterfoil_identity::enrol::{
    Challenge, ClientMessage, EnrolClient, EnrolOffer, EnrolServer, Enrolled, Hello, Joined, Proof, Recover,
    ServerMessage, TokenStore,
};
use counterfoil_identity::{ENROL_EXPORTER_LABEL, Refused, RootDenials, VerifiedPeer};
use counterfoil_spec::ids::NodeId;
use counterfoil_spec::limits::{MAX_ARRIVAL_MS, MAX_ENROL_BYTES};
use counterfoil_spec::message::Renew;
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::time::{Now, Seconds};
use quinn::{Connection, RecvStream, SendStream, VarInt};

use crate::door::{Arrival, Caller, Door, TurnedAway};
use crate::end::{LaneEnd, code};
use crate::endpoint::{ConnectError, EndpointError, connect_error};
use crate::gate::Limits;
use crate::transport::{Side, enrol_transport};

use connecting::connected;
pub use recovery::{Recovering, recover};
pub use renewal::{Returning, renew};

/// Where nodes join.
#[derive(Debug, Clone)]
pub struct EnrolEndpoint {
    door: Door,
}

/// Somebody who wants to join; the handshake is not done.
pub struct Knocking(Caller);

/// Somebody who has said Hello.
pub struct Applicant {
    /// Nobody knows it before it is enrolled, so it keeps its place until then.
    _arrival: Arrival,
    wire: Wire,
    exporter: [u8; 32],
    hello: Hello,
}

/// What somebody may say first.
enum First {
    Hello(Hello),
    Recover(Recover),
    Renew(NodeId, Renew),
}

/// What somebody came for.
pub enum Visitor {
    /// To join.
    Applicant(Applicant),
    /// To have a node denied.
    Recovering(Recovering),
    /// For the certificate after one that has ended.
    Returning(Returning),
}

impl EnrolEndpoint {
    /// Opens the endpoint. The TLS configuration comes from `identity::enrol_server_config`.
    ///
    /// # Errors
    /// [`EndpointError`].
    pub fn bind(addr: SocketAddr, tls: rustls::ServerConfig, limits: Limits) -> Result<Self, EndpointError> {
        Ok(Self { door: Door::open(addr, tls, enrol_transport(Side::Router), limits)? })
    }

    /// Shows another certificate to whoever enrols from here on.
    ///
    /// # Errors
    /// [`EndpointError`].
    pub fn renew(&self, tls: rustls::ServerConfig) -> Result<(), EndpointError> {
        self.door.renew(tls)
    }

    /// Whom the gate sent away.
    #[must_use]
    pub fn turned_away(&self) -> Arc<TurnedAway> {
        self.door.turned_away()
    }

    /// The address that it is bound to.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.door.local_addr()
    }

    /// Waits for the next; `None` once the endpoint is closed. Await [`Knocking::came`] in a task of its own.
    pub async fn accept(&self) -> Option<Knocking> {
        self.door.next().await.map(Knocking)
    }

    /// Takes no more.
    pub fn close(&self) {
        self.door.close(Refusal::SessionDrain, "the router is going away");
    }
}

impl Knocking {
    /// Finishes the handshake and reads what it came for.
    ///
    /// # Errors
    /// [`ConnectError`]; the peer has been told.
    pub async fn came(self) -> Result<Visitor, ConnectError> {
        Box::pin(self.greeted()).await
    }

    /// The same where nobody comes but to join.
    ///
    /// # Errors
    /// [`ConnectError`]; the peer has been told.
    pub async fn hello(self) -> Result<Applicant, ConnectError> {
        match self.came().await? {
            Visitor::Applicant(applicant) => Ok(applicant),
            Visitor::Recovering(Recovering { mut wire, .. })
            | Visitor::Returning(Returning { mut wire, .. }) => Err(wire.refuse(out_of_order()).await),
        }
    }

    async fn greeted(self) -> Result<Visitor, ConnectError> {
        let addr = self.0.addr();
        let (connection, arrival) = self.0.handshake().await?;
        let exporter = exporter(&connection, addr)?;
        let held = connection.clone();
        let greeted = arrival.within(async {
            let (send, recv) = connection.accept_bi().await.map_err(|e| connect_error(addr, &e))?;
            let mut wire = Wire { connection, send, recv, addr };
            match wire.read(ClientMessage::from_bytes).await? {
                ClientMessage::Proof(_) => Err(wire.refuse(out_of_order()).await),
                ClientMessage::Hello(hello) => Ok((wire, First::Hello(hello))),
                ClientMessage::Recover(asked) => Ok((wire, First::Recover(asked))),
                ClientMessage::Renew(node, asked) => Ok((wire, First::Renew(node, asked))),
            }
        });
        let (wire, first) = greeted.await.inspect_err(|error| {
            if let ConnectError::Refused(refused) = error {
                held.close(code(refused.refusal), refused.detail.as_bytes());
            }
        })?;
        Ok(match first {
            First::Hello(hello) => Visitor::Applicant(Applicant { _arrival: arrival, wire, exporter, hello }),
            First::Recover(asked) => {
                Visitor::Recovering(Recovering { _arrival: arrival, wire, exporter, asked })
            }
            First::Renew(node, asked) => {
                Visitor::Returning(Returning { _arrival: arrival, wire, exporter, node, asked })
            }
        })
    }
}

impl Applicant {
    /// Where it is.
    #[must_use]
    pub const fn remote_addr(&self) -> SocketAddr {
        self.wire.addr
    }

    /// Who it says it is, and by which token.
    #[must_use]
    pub const fn hello(&self) -> &Hello {
        &self.hello
    }

    /// Runs the rest of the exchange. `decide` gets the state, the proof and the TLS exporter; it calls
    /// [`EnrolServer::prove`] and then `Proved::enrol`, which logs what is new before there is an answer.
    ///
    /// # Errors
    /// [`ConnectError`], among them every refusal; the peer has been told.
    pub async fn run<F, D>(
        mut self,
        offer: EnrolOffer,
        tokens: &dyn TokenStore,
        now: Seconds,
        decide: F,
    ) -> Result<Enrolled, ConnectError>
    where
        F: FnOnce(EnrolServer, Proof, [u8; 32]) -> D,
        D: Future<Output = Result<Enrolled, Refused>>,
    {
        let (server, challenge) = match EnrolServer::begin(self.hello.clone(), offer, tokens, now) {
            Ok(begun) => begun,
            Err(refused) => return Err(self.wire.refuse(refused).await),
        };
        let proof = within(self.wire.addr, Box::pin(self.challenged(challenge))).await?;
        match decide(server, proof, self.exporter).await {
            Ok(enrolled) => {
                self.wire.write(&ServerMessage::Enrolled(enrolled.clone()).to_bytes()).await?;
                self.wire.finish().await;
                Ok(enrolled)
            }
            Err(refused) => Err(self.wire.refuse(refused).await),
        }
    }

    async fn challenged(&mut self, challenge: Challenge) -> Result<Proof, ConnectError> {
        self.wire.write(&ServerMessage::Challenge(challenge).to_bytes()).await?;
        match self.wire.read(ClientMessage::from_bytes).await? {
            ClientMessage::Proof(proof) => Ok(proof),
            _ => Err(self.wire.refuse(out_of_order()).await),
        }
    }
}

/// Joins a network: the whole exchange from a node's side.
///
/// # Errors
/// [`ConnectError`], among them every refusal of the router.
pub async fn join(
    addr: SocketAddr,
    client: EnrolClient,
    denied: &RootDenials,
    now: &Now,
) -> Result<Joined, ConnectError> {
    within(addr, Box::pin(joining(addr, client, denied, now))).await
}

async fn joining(
    addr: SocketAddr,
    client: EnrolClient,
    denied: &RootDenials,
    now: &Now,
) -> Result<Joined, ConnectError> {
    let pin = client.token().net_id();
    let (endpoint, mut wire, exporter, router) = connected(addr, &pin, denied, now).await?;
    let joined = exchange(&mut wire, client, &exporter, &router, now).await;
    wire.end(&joined);
    endpoint.wait_idle().await;
    joined
}

async fn exchange(
    wire: &mut Wire,
    client: EnrolClient,
    exporter: &[u8; 32],
    router: &VerifiedPeer,
    now: &Now,
) -> Result<Joined, ConnectError> {
    wire.write(&ClientMessage::Hello(client.hello().clone()).to_bytes()).await?;
    let ServerMessage::Challenge(challenge) = wire.read_answer().await? else {
        return Err(ConnectError::Refused(out_of_order()));
    };
    let step = client.on_challenge(&challenge, exporter, router, now().seconds());
    let (proving, proof) = step.map_err(ConnectError::Refused)?;
    wire.write(&ClientMessage::Proof(proof).to_bytes()).await?;
    let ServerMessage::Enrolled(enrolled) = wire.read_answer().await? else {
        return Err(ConnectError::Refused(out_of_order()));
    };
    proving.on_enrolled(&enrolled, now().seconds()).map_err(ConnectError::Refused)
}

fn exporter(connection: &Connection, addr: SocketAddr) -> Result<[u8; 32], ConnectError> {
    let mut key = [0; 32];
    connection
        .export_keying_material(&mut key, ENROL_EXPORTER_LABEL, b"")
        .map_err(|_| ConnectError::Unreachable { addr, detail: "TLS gave no exporter".into() })?;
    Ok(key)
}

fn out_of_order() -> Refused {
    Refused { refusal: Refusal::SessionOrder, detail: "a message out of order".into() }
}

async fn within<T>(
    addr: SocketAddr,
    step: impl Future<Output = Result<T, ConnectError>>,
) -> Result<T, ConnectError> {
    match tokio::time::timeout(Duration::from_millis(MAX_ARRIVAL_MS), step).await {
        Ok(result) => result,
        Err(_) => {
            Err(ConnectError::Unreachable { addr, detail: format!("no answer within {MAX_ARRIVAL_MS} ms") })
        }
    }
}

/// One stream of length-prefixed messages.
struct Wire {
    connection: Connection,
    send: SendStream,
    recv: RecvStream,
    addr: SocketAddr,
}

impl Wire {
    async fn write(&mut self, message: &[u8]) -> Result<(), ConnectError> {
        let len = u32::try_from(message.len()).unwrap_or(u32::MAX);
        let mut bytes = len.to_le_bytes().to_vec();
        bytes.extend_from_slice(message);
        self.send.write_all(&bytes).await.map_err(|e| self.lost(e.to_string()))
    }

    async fn read<T, E: std::fmt::Display>(
        &mut self,
        parse: fn(&[u8]) -> Result<T, E>,
    ) -> Result<T, ConnectError> {
        let mut len = [0; 4];
        self.recv.read_exact(&mut len).await.map_err(|e| self.lost(e.to_string()))?;
        let len = usize::try_from(u32::from_le_bytes(len)).unwrap_or(usize::MAX);
        if len > MAX_ENROL_BYTES {
            let detail = format!("a message of {len} bytes, more than {MAX_ENROL_BYTES}");
            return Err(self.refuse(Refused { refusal: Refusal::EnrolShape, detail }).await);
        }
        let mut bytes = vec![0; len];
        self.recv.read_exact(&mut bytes).await.map_err(|e| self.lost(e.to_string()))?;
        match parse(&bytes) {
            Ok(message) => Ok(message),
            Err(error) => {
                let refused = Refused { refusal: Refusal::EnrolShape, detail: error.to_string() };
                Err(self.refuse(refused).await)
            }
        }
    }

    async fn read_answer(&mut self) -> Result<ServerMessage, ConnectError> {
        match self.read(ServerMessage::from_bytes).await? {
            ServerMessage::Refused(refusal, words) => {
                Err(ConnectError::RefusedByPeer { refusal, detail: words.to_string() })
            }
            other => Ok(other),
        }
    }

    /// Tells the peer no, and waits until it has heard.
    async fn refuse(&mut self, refused: Refused) -> ConnectError {
        let message = ServerMessage::Refused(refused.refusal, refused.detail.as_str().into()).to_bytes();
        if self.connection.side().is_server() && self.write(&message).await.is_ok() {
            self.finish().await;
        }
        self.connection.close(code(refused.refusal), refused.detail.as_bytes());
        ConnectError::Refused(refused)
    }

    /// Ends the connection from the asker's side, with the refusal where it refused.
    fn end<T>(&self, outcome: &Result<T, ConnectError>) {
        if let Err(ConnectError::Refused(refused)) = outcome {
            self.connection.close(code(refused.refusal), refused.detail.as_bytes());
        } else {
            self.connection.close(VarInt::from(0_u8), b"");
        }
    }

    /// Ends this side and waits until the peer, which has everything then, closes.
    async fn finish(&mut self) {
        let _ = self.send.finish();
        let _ = tokio::time::timeout(Duration::from_millis(MAX_ARRIVAL_MS), self.connection.closed()).await;
    }

    fn lost(&self, detail: String) -> ConnectError {
        match self.connection.close_reason().map(|reason| LaneEnd::from_connection(&reason)) {
            Some(LaneEnd::RefusedByPeer(refusal, detail)) => ConnectError::RefusedByPeer { refusal, detail },
            _ => ConnectError::Unreachable { addr: self.addr, detail },
        }
    }
}
