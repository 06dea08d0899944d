//! The way in over quinn: first packets come to the gate, and what it decides is done and counted.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use counterfoil_identity::Refused;
use counterfoil_spec::limits::MAX_FIRST_PACKETS;
use counterfoil_spec::refusal::Refusal;
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Connection, Endpoint, ServerConfig, TransportConfig};
use tokio::time::{Instant, timeout_at};

use crate::end::code;
use crate::endpoint::{ConnectError, EndpointError, connect_error, open};
use crate::gate::{Address, Entrant, Gate, Limits, Verdict};

/// An endpoint that takes connections.
#[derive(Debug, Clone)]
pub(crate) struct Door {
    endpoint: Endpoint,
    transport: Arc<TransportConfig>,
    entrance: Arc<Entrance>,
}

/// What all that arrive have in common.
#[derive(Debug)]
struct Entrance {
    /// The lock guards the gate's counts and is held for one decision.
    gate: Mutex<Gate>,
    limits: Limits,
    opened: Instant,
    turned_away: Arc<TurnedAway>,
}

/// First packets that did not become a handshake, counted from the start.
#[derive(Debug, Default)]
pub struct TurnedAway {
    crowded: AtomicU64,
    prefix: AtomicU64,
    asked: AtomicU64,
}

impl TurnedAway {
    /// Those that found no place (`S_CROWDED`).
    #[must_use]
    pub fn crowded(&self) -> u64 {
        self.crowded.load(Ordering::Relaxed)
    }

    /// Those from prefixes that begin too many (`S_PREFIX`).
    #[must_use]
    pub fn prefix(&self) -> u64 {
        self.prefix.load(Ordering::Relaxed)
    }

    /// Those that were asked to prove their address.
    #[must_use]
    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    fn count(&self, refusal: Refusal) {
        let of = if refusal == Refusal::SessionPrefix { &self.prefix } else { &self.crowded };
        of.fetch_add(1, Ordering::Relaxed);
    }
}

impl Door {
    /// Opens the endpoint.
    pub(crate) fn open(
        addr: SocketAddr,
        tls: rustls::ServerConfig,
        transport: Arc<TransportConfig>,
        limits: Limits,
    ) -> Result<Self, EndpointError> {
        let endpoint = open(addr, Some(configured(tls, &transport)?))?;
        let entrance = Entrance {
            gate: Mutex::new(Gate::new(limits)),
            limits,
            opened: Instant::now(),
            turned_away: Arc::default(),
        };
        Ok(Self { endpoint, transport, entrance: Arc::new(entrance) })
    }

    /// Shows another certificate from here on.
    pub(crate) fn renew(&self, tls: rustls::ServerConfig) -> Result<(), EndpointError> {
        self.endpoint.set_server_config(Some(configured(tls, &self.transport)?));
        Ok(())
    }

    pub(crate) fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    pub(crate) fn turned_away(&self) -> Arc<TurnedAway> {
        Arc::clone(&self.entrance.turned_away)
    }

    /// Waits for the next that may begin its handshake; `None` once the endpoint is closed.
    pub(crate) async fn next(&self) -> Option<Caller> {
        loop {
            let incoming = self.endpoint.accept().await?;
            let from = incoming.remote_address().ip();
            let address =
                if incoming.remote_address_validated() { Address::Proved } else { Address::Unproved };
            let turned_away = &self.entrance.turned_away;
            match self.entrance.knock(from, address) {
                Verdict::Enter(entrant) => {
                    let place = Place { entrant, entrance: Arc::clone(&self.entrance) };
                    return Some(Caller { incoming, arrival: Arrival { began: Instant::now(), place } });
                }
                Verdict::Prove => {
                    turned_away.asked.fetch_add(1, Ordering::Relaxed);
                    // Whoever has not proved its address may always be asked.
                    let _ = incoming.retry();
                }
                Verdict::Refuse(refusal) => {
                    turned_away.count(refusal);
                    incoming.refuse();
                }
                Verdict::Ignore(refusal) => {
                    turned_away.count(refusal);
                    incoming.ignore();
                }
            }
            // First packets may wait without end; others of this thread are not to wait with them.
            tokio::task::consume_budget().await;
        }
    }

    /// Closes every connection and takes no more.
    pub(crate) fn close(&self, refusal: Refusal, detail: &str) {
        self.endpoint.close(code(refusal), detail.as_bytes());
    }

    pub(crate) async fn wait_idle(&self) {
        self.endpoint.wait_idle().await;
    }
}

impl Entrance {
    fn knock(&self, from: std::net::IpAddr, address: Address) -> Verdict {
        let now_ms = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.gate().knock(from, address, now_ms)
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody who may begin a handshake.
pub(crate) struct Caller {
    incoming: quinn::Incoming,
    arrival: Arrival,
}

/// The time and the place that somebody has until it is known. Dropped, the place is free.
#[derive(Debug)]
pub(crate) struct Arrival {
    began: Instant,
    place: Place,
}

#[derive(Debug)]
struct Place {
    entrant: Entrant,
    entrance: Arc<Entrance>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.entrance.gate().left(self.entrant);
    }
}

impl Caller {
    /// Where it comes from.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.incoming.remote_address()
    }

    /// Finishes the handshake, in the time that there is for it.
    pub(crate) async fn handshake(self) -> Result<(Connection, Arrival), ConnectError> {
        let Self { incoming, arrival } = self;
        let addr = incoming.remote_address();
        let connecting = incoming.accept().map_err(|e| connect_error(addr, &e))?;
        //= spec/session.md#limits-on-connections
        //# A router MUST end a connection whose handshake is not done 5 seconds after its first packet
        let connection =
            arrival.until(arrival.place.entrance.limits.handshake_ms, "the handshake is not done", async {
                connecting.await.map_err(|e| connect_error(addr, &e))
            });
        Ok((connection.await?, arrival))
    }
}

impl Arrival {
    /// Waits for the peer's first message, in the time that there is for it.
    pub(crate) async fn within<T>(
        &self,
        step: impl Future<Output = Result<T, ConnectError>>,
    ) -> Result<T, ConnectError> {
        //= spec/session.md#limits-on-connections
        //# one whose Hello has not arrived 10 seconds after it
        self.until(self.place.entrance.limits.arrival_ms, "no Hello", step).await
    }

    async fn until<T>(
        &self,
        ms: u64,
        what: &str,
        step: impl Future<Output = Result<T, ConnectError>>,
    ) -> Result<T, ConnectError> {
        match timeout_at(self.began + Duration::from_millis(ms), step).await {
            Ok(result) => result,
            Err(_) => {
                let detail = format!("{what} within {ms} ms");
                Err(ConnectError::Refused(Refused { refusal: Refusal::SessionIdle, detail }))
            }
        }
    }
}

fn configured(
    tls: rustls::ServerConfig,
    transport: &Arc<TransportConfig>,
) -> Result<ServerConfig, EndpointError> {
    let mut config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
    config
        .transport_config(Arc::clone(transport))
        .migration(true)
        .max_incoming(MAX_FIRST_PACKETS)
        .incoming_buffer_size(FIRST_FLIGHT_BYTES)
        .incoming_buffer_size_total(FIRST_FLIGHTS_BYTES);
    Ok(config)
}

/// What comes behind a first packet before it is looked at: the rest of a long ClientHello.
const FIRST_FLIGHT_BYTES: u64 = 16 * 1024;
/// The same of all that wait.
const FIRST_FLIGHTS_BYTES: u64 = 1024 * 1024;
