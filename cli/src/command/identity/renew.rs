//! `counterfoil identity renew`: a node's next certificate now, whether the node runs or not.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use counterfoil_identity::certificate_serial;
use counterfoil_node::{NodeIdentity, NotRenewed, OperatorOrder, give_order, refused_renewal, renew};
use counterfoil_router::clock;
use counterfoil_session::ConnectError;
use counterfoil_spec::ids::Serial;
use tokio::time::Instant;

use crate::alone;
use crate::exit::Failure;
use crate::keys::keyring;

/// How long a node that runs has for it; a no of its router is heard at once.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often its home is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Gets it, and gives who the node is then.
pub(super) async fn run(home: &Path, at: Option<SocketAddr>) -> Result<NodeIdentity, Failure> {
    let keys = keyring()?;
    let mut identity = NodeIdentity::load(home, &keys).map_err(|e| {
        let home = home.display();
        Failure::wrong_use(format!("{home} holds no node's identity ({e}); say which with --home"))
    })?;
    let _alone = match (alone::take(home)?, at) {
        (alone::Home::Busy, _) => return asked(home, serial(&identity)).await,
        (alone::Home::Alone(_), None) => {
            return Err(Failure::wrong_use(
                "no node runs on this home: say where the router renews it: --enrol HOST:PORT, as `counterfoil router` printed it",
            ));
        }
        (alone @ alone::Home::Alone(_), Some(at)) => {
            let given = Box::pin(renew(at, home, &keys, &mut identity, &clock::system())).await;
            given.map_err(|e| match e {
                NotRenewed::Refused(..)
                | NotRenewed::Connect(ConnectError::Refused(_) | ConnectError::RefusedByPeer { .. }) => {
                    Failure::refused(e)
                }
                e => Failure::store(e),
            })?;
            alone
        }
    };
    Ok(identity)
}

/// Tells the node that runs, and waits until its home has the certificate.
async fn asked(home: &Path, before: Option<Serial>) -> Result<NodeIdentity, Failure> {
    let order = give_order(home, OperatorOrder::Renew).map_err(Failure::store)?;
    let (keys, until) = (keyring()?, Instant::now() + PATIENCE);
    while Instant::now() < until {
        // A pair that is half written is looked at again.
        if let Ok(identity) = NodeIdentity::load(home, &keys)
            && serial(&identity) != before
        {
            return Ok(identity);
        }
        if let Some((refusal, words)) = refused_renewal(home, &order) {
            return Err(Failure::refused(format!("{refusal}: {words}")));
        }
        tokio::time::sleep(LOOK).await;
    }
    Err(Failure::refused(if order.exists() {
        "the node runs and has no answer of its router, or no connection to it; it asks as soon as it can"
    } else {
        "the node was answered and its home has no new certificate; what its `serve` prints says why"
    }))
}

/// The serial number of its newest certificate.
fn serial(identity: &NodeIdentity) -> Option<Serial> {
    certificate_serial(&identity.credentials.chain().leaf).ok()
}
