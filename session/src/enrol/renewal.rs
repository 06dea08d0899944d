//! A renewal over the enrolment endpoint: one message and its answer, for a node whose certificate has ended.

use std::net::SocketAddr;
use std::time::Duration;

use counterfoil_identity::enrol::{ClientMessage, Renewing, ServerMessage};
use counterfoil_identity::{Credentials, Refused, RootDenials};
use counterfoil_spec::ids::NodeId;
use counterfoil_spec::limits::MAX_ARRIVAL_MS;
use counterfoil_spec::message::{Renew, Renewal};
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::time::{Now, Seconds};

use super::{Wire, connected, out_of_order};
use crate::door::Arrival;
use crate::endpoint::{ConnectError, connect_error};

/// How long an answer is waited for: as long as the way there may take, and as long as a router asks the node's lanes.
const ANSWER: Duration = Duration::from_millis(MAX_ARRIVAL_MS + 20_000);

/// A member that wants its next certificate.
pub struct Returning {
    pub(super) _arrival: Arrival,
    pub(super) wire: Wire,
    pub(super) exporter: [u8; 32],
    pub(super) node: NodeId,
    pub(super) asked: Renew,
}

impl Returning {
    /// Where it is.
    #[must_use]
    pub const fn remote_addr(&self) -> SocketAddr {
        self.wire.addr
    }

    /// Who it says it is.
    #[must_use]
    pub const fn node(&self) -> NodeId {
        self.node
    }

    /// What it asks.
    #[must_use]
    pub const fn asked(&self) -> &Renew {
        &self.asked
    }

    /// The connection, for the check.
    #[must_use]
    pub const fn exporter(&self) -> &[u8; 32] {
        &self.exporter
    }

    /// Waits until it does not wait any more.
    pub async fn gone(&self) -> ConnectError {
        connect_error(self.wire.addr, &self.wire.connection.closed().await)
    }

    /// Says what was decided, be it a certificate or a refusal.
    ///
    /// # Errors
    /// [`ConnectError`] where it could not be said.
    pub async fn answer(mut self, decided: Renewal) -> Result<(), ConnectError> {
        self.wire.write(&ServerMessage::Renewal(decided).to_bytes()).await?;
        self.wire.finish().await;
        Ok(())
    }
}

/// Gets a node the certificate after one that has ended, and when it is to ask for the one after that. Where the router allows only an earlier end, it is asked once
/// more.
///
/// # Errors
/// [`ConnectError`], among them every refusal of the router.
pub async fn renew(
    addr: SocketAddr,
    node: NodeId,
    renewing: Renewing,
    denied: &RootDenials,
    now: &Now,
) -> Result<(Renewing, Credentials, Seconds), ConnectError> {
    let (renewing, latest) =
        match answered(addr, Box::pin(renewed(addr, node, renewing, denied, now))).await? {
            Ok(done) => return Ok(done),
            Err(shorter) => shorter,
        };
    let refused = |detail: &str| ConnectError::RefusedByPeer {
        refusal: Refusal::CertLifetime,
        detail: detail.to_owned(),
    };
    let shorter = renewing.ending(latest).ok_or_else(|| refused("and no shorter life is allowed"))?;
    let again = answered(addr, Box::pin(renewed(addr, node, shorter, denied, now))).await?;
    again.map_err(|_| refused("and the router changed its mind about what is allowed"))
}

async fn answered<T>(
    addr: SocketAddr,
    asking: impl Future<Output = Result<T, ConnectError>>,
) -> Result<T, ConnectError> {
    let late = |_| ConnectError::Unreachable { addr, detail: format!("no answer within {ANSWER:?}") };
    tokio::time::timeout(ANSWER, asking).await.map_err(late)?
}

type Outcome = Result<(Renewing, Credentials, Seconds), (Renewing, Seconds)>;

async fn renewed(
    addr: SocketAddr,
    node: NodeId,
    renewing: Renewing,
    denied: &RootDenials,
    now: &Now,
) -> Result<Outcome, ConnectError> {
    let (endpoint, mut wire, exporter, router) = connected(addr, &renewing.net_id(), denied, now).await?;
    let outcome = if router.id().as_router() == renewing.router() {
        exchange(&mut wire, node, renewing, &exporter, now).await
    } else {
        let detail = "another router than the one that this node pinned".to_owned();
        Err(ConnectError::Refused(Refused { refusal: Refusal::CertPin, detail }))
    };
    wire.end(&outcome);
    endpoint.wait_idle().await;
    outcome
}

async fn exchange(
    wire: &mut Wire,
    node: NodeId,
    renewing: Renewing,
    exporter: &[u8; 32],
    now: &Now,
) -> Result<Outcome, ConnectError> {
    let asked = renewing.ask(exporter).map_err(ConnectError::Refused)?;
    wire.write(&ClientMessage::Renew(node, asked).to_bytes()).await?;
    match wire.read_answer().await? {
        ServerMessage::Renewal(Renewal::Renewed(renewed)) => {
            let credentials = renewing.on_renewed(&renewed, now().seconds());
            Ok(Ok((renewing, credentials.map_err(ConnectError::Refused)?, renewed.renew_after)))
        }
        ServerMessage::Renewal(Renewal::Refused(Refusal::CertLifetime, _, latest)) => {
            Ok(Err((renewing, latest)))
        }
        ServerMessage::Renewal(Renewal::Refused(refusal, words, _)) => {
            Err(ConnectError::RefusedByPeer { refusal, detail: words.to_string() })
        }
        _ => Err(ConnectError::Refused(out_of_order())),
    }
}
