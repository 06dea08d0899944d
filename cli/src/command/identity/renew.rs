//! `counterfoil identity renew`: a node's next certificate now, whether the node runs or not.

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use counterfoil_audit::LOCK_FILE;
use counterfoil_identity::certificate_serial;
use counterfoil_node::{NodeIdentity, NotRenewed, OperatorOrder, give_order, renew};
use counterfoil_router::clock;
use counterfoil_session::ConnectError;
use counterfoil_spec::ids::Serial;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use tokio::time::Instant;

use crate::exit::Failure;
use crate::keys::keyring;

/// How long a node that runs has for it: a router that says no now may say yes when an eighth of what is left is over.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often its home is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Whether the node of a home runs.
enum Runs {
    Yes,
    /// And it cannot while the lock is held; a node that never ran has none.
    No(#[expect(dead_code, reason = "what matters is that it is held")] Option<File>),
}

/// Gets it, and gives who the node is then.
pub(super) async fn run(home: &Path, at: Option<SocketAddr>) -> Result<NodeIdentity, Failure> {
    let keys = keyring()?;
    let mut identity = NodeIdentity::load(home, &keys).map_err(|e| {
        let home = home.display();
        Failure::wrong_use(format!("{home} holds no node's identity ({e}); say which with --home"))
    })?;
    let _alone = match (runs(home)?, at) {
        (Runs::Yes, _) => return asked(home, serial(&identity)).await,
        (Runs::No(_), None) => {
            return Err(Failure::wrong_use(
                "no node runs on this home: say where the router renews it: --enrol HOST:PORT, as `counterfoil router` printed it",
            ));
        }
        (alone @ Runs::No(_), Some(at)) => {
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
        tokio::time::sleep(LOOK).await;
    }
    Err(Failure::refused(if order.exists() {
        "the node runs and has no connection; it asks as soon as it has one"
    } else {
        "the node has asked and has no new certificate yet; what its `serve` prints says why"
    }))
}

/// The serial number of its newest certificate.
fn serial(identity: &NodeIdentity) -> Option<Serial> {
    certificate_serial(&identity.credentials.chain().leaf).ok()
}

fn runs(home: &Path) -> Result<Runs, Failure> {
    let path = home.join("log").join(LOCK_FILE);
    let file = match OpenOptions::new().write(true).open(&path) {
        Ok(file) => file,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Runs::No(None)),
        Err(e) => return Err(Failure::store(anyhow::anyhow!("{}: {e}", path.display()))),
    };
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Runs::No(Some(file))),
        Err(Errno::WOULDBLOCK) => Ok(Runs::Yes),
        Err(e) => Err(Failure::store(anyhow::anyhow!("{}: {e}", path.display()))),
    }
}
