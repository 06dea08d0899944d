//! Where lanes begin on the router's side: whoever passes the gate shows its certificate and says Hello.

use std::net::SocketAddr;
use std::sync::Arc;

use counterfoil_consent::ReplayWindow;
use counterfoil_identity::{Directory, Refused, TrustDomain};
use counterfoil_spec::entry::Role;
use counterfoil_spec::message::NodeHello;
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::time::Now;
use quinn::{Connection, ConnectionError, TransportConfig};
use tokio::sync::{mpsc, watch};

use crate::door::{Caller, Door, TurnedAway};
use crate::end::code;
use crate::endpoint::{ConnectError, EndpointError, connect_error, ended, verified};
use crate::fetch::Fetcher;
use crate::frame::{Combine, Intake};
use crate::gate::Limits;
use crate::lane::{Desk, Events, MAX_EVENTS, Proposals, Reader, RouterLane, Shared, fill, first};
use crate::outbox::Outbox;
use crate::stay::Stays;
use crate::token::Exporter;
use crate::transport::{Distance, Side, transport};

/// Whom a router lets in.
#[derive(Clone)]
pub struct Admission {
    /// The network.
    pub domain: TrustDomain,
    /// Who is enrolled and who is denied.
    pub directory: Arc<dyn Directory>,
    /// The present.
    pub now: Now,
}

/// A router's endpoint.
#[derive(Clone)]
pub struct RouterEndpoint {
    door: Door,
    stays: Stays,
    admission: Admission,
}

/// A node that knocked; its handshake is not done.
pub struct Arriving {
    caller: Caller,
    stays: Stays,
    admission: Admission,
}

/// A node that was let in and has said Hello.
#[derive(Debug)]
pub struct Incoming {
    /// Its first message.
    pub hello: NodeHello,
    /// Its lane.
    pub lane: RouterLane,
    /// What it says from here on that no call on the lane waits for.
    pub events: Events,
}

impl RouterEndpoint {
    /// Opens the endpoint. The TLS configuration comes from `identity::server_config` with the same admission.
    ///
    /// # Errors
    /// [`EndpointError`].
    pub fn bind(
        addr: SocketAddr,
        tls: rustls::ServerConfig,
        admission: Admission,
        limits: Limits,
    ) -> Result<Self, EndpointError> {
        let door = Door::open(addr, tls, of_lanes(addr), limits)?;
        Ok(Self { door, stays: Stays::default(), admission })
    }

    /// Shows another certificate to nodes that connect from here on; lanes that stand are not touched.
    ///
    /// # Errors
    /// [`EndpointError`].
    pub fn renew(&self, tls: rustls::ServerConfig) -> Result<(), EndpointError> {
        self.door.renew(tls)
    }

    /// The address that it is bound to.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.door.local_addr()
    }

    /// Whom the gate sent away.
    #[must_use]
    pub fn turned_away(&self) -> Arc<TurnedAway> {
        self.door.turned_away()
    }

    /// Waits for the next node that may begin its handshake; `None` once the endpoint is closed. Await
    /// [`Arriving::admit`] in a task of its own: its place is free for another when that is done.
    pub async fn accept(&self) -> Option<Arriving> {
        let caller = self.door.next().await?;
        Some(Arriving { caller, stays: self.stays.clone(), admission: self.admission.clone() })
    }

    /// Closes every lane and takes no more.
    pub fn close(&self, refusal: Refusal, detail: &str) {
        self.door.close(refusal, detail);
    }

    /// Waits until every peer knows that its lane is closed.
    pub async fn wait_idle(&self) {
        self.door.wait_idle().await;
    }
}

impl Arriving {
    /// Where it comes from.
    #[must_use]
    pub fn remote_addr(&self) -> SocketAddr {
        self.caller.addr()
    }

    /// Finishes the handshake, verifies who it is and reads its Hello.
    ///
    /// # Errors
    /// [`ConnectError`]; the peer has been told.
    pub async fn admit(self) -> Result<Incoming, ConnectError> {
        Box::pin(self.admitted()).await
    }

    async fn admitted(self) -> Result<Incoming, ConnectError> {
        let Self { caller, stays, admission } = self;
        let addr = caller.addr();
        let lost = |e: ConnectionError| connect_error(addr, &e);
        let (connection, arrival) = caller.handshake().await?;
        let Admission { domain, directory, now } = &admission;
        let peer = verified(&connection, domain, Role::Node, now, directory.as_ref())?;
        //= spec/session.md#limits-on-connections
        //# A router MUST refuse a third connection of one node (`S_LANES`)
        let Some(stay) = stays.enter(peer.id()) else {
            let detail = "as many connections as one node may have stand already".to_owned();
            return Err(refuse(&connection, Refusal::SessionLanes, detail));
        };
        let exporter = Exporter::of(&connection).map_err(|end| ended(addr, end))?;
        let greeted = arrival.within(async {
            let (send, mut recv) = connection.accept_bi().await.map_err(lost)?;
            let outbox = Outbox::new(send);
            let mut intake = Intake::default();
            loop {
                match intake.take() {
                    Ok(Some((header, body))) => {
                        let hello = first(&header, body);
                        return hello.map(|hello| (hello, outbox, recv, intake)).map_err(refused);
                    }
                    Ok(None) => {}
                    Err(error) => return Err(refused((error.refusal(), error.to_string()))),
                }
                fill(&mut recv, &mut intake, &outbox).await.map_err(|end| ended(addr, end))?;
            }
        });
        let (hello, outbox, recv, intake) = match greeted.await {
            Ok(greeted) => greeted,
            Err(ConnectError::Refused(Refused { refusal, detail })) => {
                return Err(refuse(&connection, refusal, detail));
            }
            Err(other) => return Err(other),
        };
        drop(arrival);
        let (tx, events) = mpsc::channel(MAX_EVENTS);
        let (ended, acks) = (watch::Sender::new(None), watch::Sender::new(0));
        let fetcher = Fetcher::new(connection.clone());
        let (desk, proposals) = (Desk::default(), Proposals::default());
        let shared = Shared { peer, connection, fetcher, exporter, outbox, desk, proposals, acks, ended };
        let shared = Arc::new(shared);
        let lane = RouterLane::new(Arc::clone(&shared));
        let (window, combine) = (ReplayWindow::default(), Combine::default());
        let reader =
            Reader { shared, recv, intake, window, events: tx, combine, now: admission.now, _stay: stay };
        tokio::spawn(reader.run());
        Ok(Incoming { hello, lane, events })
    }
}

/// How a lane's transport is set up, by the address that is bound.
fn of_lanes(addr: SocketAddr) -> Arc<TransportConfig> {
    transport(Side::Router, Distance::of(addr.ip()))
}

fn refused((refusal, detail): (Refusal, String)) -> ConnectError {
    ConnectError::Refused(Refused { refusal, detail })
}

fn refuse(connection: &Connection, refusal: Refusal, detail: String) -> ConnectError {
    connection.close(code(refusal), detail.as_bytes());
    refused((refusal, detail))
}
