//! A recovery over the enrolment endpoint: one message and its answer.

use std::net::SocketAddr;

use counterfoil_identity::enrol::{ClientMessage, Recover, RecoveryAt, ServerMessage};
use counterfoil_identity::{Refused, RootDenials, Signer};
use counterfoil_spec::ids::{NetId, NodeId};
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::time::Now;

use super::{Wire, connected, out_of_order, within};
use crate::door::Arrival;
use crate::endpoint::ConnectError;

/// Somebody who wants a node to be denied.
pub struct Recovering {
    pub(super) _arrival: Arrival,
    pub(super) wire: Wire,
    pub(super) exporter: [u8; 32],
    pub(super) asked: Recover,
}

impl Recovering {
    /// Where it is.
    #[must_use]
    pub const fn remote_addr(&self) -> SocketAddr {
        self.wire.addr
    }

    /// What it asks.
    #[must_use]
    pub const fn asked(&self) -> &Recover {
        &self.asked
    }

    /// The connection, for the check.
    #[must_use]
    pub const fn exporter(&self) -> &[u8; 32] {
        &self.exporter
    }

    /// Says what was decided: the epoch of the deny list that names the node, once that is in the log, or no.
    ///
    /// # Errors
    /// [`ConnectError`], among them the refusal.
    pub async fn answer(mut self, decided: Result<u64, Refused>) -> Result<(), ConnectError> {
        match decided {
            Ok(epoch) => {
                self.wire.write(&ServerMessage::Denied(epoch).to_bytes()).await?;
                self.wire.finish().await;
                Ok(())
            }
            Err(refused) => Err(self.wire.refuse(refused).await),
        }
    }
}

/// Has a node denied by its recovery key; gives the epoch of the deny list that names it.
///
/// # Errors
/// [`ConnectError`], among them every refusal of the router.
pub async fn recover(
    addr: SocketAddr,
    pin: NetId,
    (node, key): (NodeId, &dyn Signer),
    now: &Now,
) -> Result<u64, ConnectError> {
    within(addr, Box::pin(recovering(addr, pin, (node, key), now))).await
}

async fn recovering(
    addr: SocketAddr,
    pin: NetId,
    (node, key): (NodeId, &dyn Signer),
    now: &Now,
) -> Result<u64, ConnectError> {
    let (endpoint, mut wire, exporter, router) = connected(addr, &pin, &RootDenials::default(), now).await?;
    let at = RecoveryAt { net_id: &pin, router_id: &router.id().as_router(), exporter: &exporter };
    let signed = at.sign(node, key);
    let asked = signed.map_err(|e| {
        ConnectError::Refused(Refused { refusal: Refusal::EnrolRecovery, detail: e.to_string() })
    });
    let denied = match asked {
        Ok(asked) => asking(&mut wire, asked).await,
        Err(error) => Err(error),
    };
    wire.end(&denied);
    endpoint.wait_idle().await;
    denied
}

async fn asking(wire: &mut Wire, asked: Recover) -> Result<u64, ConnectError> {
    wire.write(&ClientMessage::Recover(asked).to_bytes()).await?;
    match wire.read_answer().await? {
        ServerMessage::Denied(epoch) => Ok(epoch),
        _ => Err(ConnectError::Refused(out_of_order())),
    }
}
