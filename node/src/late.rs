//! A node that gets its next certificate at the enrolment endpoint, by its identity key: because the last one has ended, or
//! because its operator wants it so.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use counterfoil_identity::certificate_end;
use counterfoil_identity::enrol::Renewing;
use counterfoil_identity::key_file::Keyring;
use counterfoil_session::ConnectError;
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::time::Now;

use crate::config::NodeError;
use crate::home::{HomeError, NodeIdentity};
use crate::node::Node;
use crate::pair;
use crate::root_denials::{self, RootListFault};
use crate::service::Left;

/// Why a node got no further certificate.
#[derive(Debug, thiserror::Error)]
pub enum NotRenewed {
    /// The router gives it none.
    #[error("{0}: {1}")]
    Refused(Refusal, String),
    /// The way to the router, or what it answered.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// It was given one that cannot be kept.
    #[error("the next certificate cannot be kept: {0}")]
    Home(#[from] HomeError),
    /// What it has is no certificate of its own.
    #[error("this node's own certificate cannot be followed by another: {0}")]
    Own(counterfoil_identity::Refused),
    /// What its root denies cannot be read.
    #[error(transparent)]
    RootList(#[from] RootListFault),
}

/// Gets a node its next certificate at a router's enrolment endpoint and keeps it in its home, where the node must not run
/// meanwhile.
///
/// # Errors
/// [`NotRenewed`]; what the home had it still has then.
pub async fn renew(
    at: SocketAddr,
    home: &Path,
    keys: &Keyring,
    identity: &mut NodeIdentity,
    now: &Now,
) -> Result<(), NotRenewed> {
    let denied = root_denials::known(home, identity.domain.root_key())?;
    let folder = home.join("identity");
    let node = identity.key.public().node_id();
    //= spec/identity.md#renewal
    //# A node whose newest certificate was not used SHOULD ask for that generation again.
    let unused = pair::has_next(&folder);
    let mut superseded = String::new();
    for same in [unused, !unused] {
        let (key, last) = (Arc::clone(&identity.key), &identity.credentials);
        let next = Renewing::after(last, key, &identity.domain, identity.router, now().seconds());
        let next = next.map_err(NotRenewed::Own)?;
        let next = if same { next.unused() } else { next };
        match counterfoil_session::enrol::renew(at, node, next, &denied, now).await {
            Ok((renewed, credentials, renew_after)) => {
                pair::keep_next(&folder, keys, (renewed.tls_key(), credentials.chain()))?;
                identity.credentials = credentials;
                identity.renew_after = Some(renew_after);
                return Ok(());
            }
            // A node that was killed may not know which of the two it is.
            Err(ConnectError::RefusedByPeer { refusal: Refusal::EnrolGeneration, detail }) => {
                superseded = detail;
            }
            Err(ConnectError::RefusedByPeer { refusal, detail }) => {
                return Err(NotRenewed::Refused(refusal, detail));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(NotRenewed::Refused(Refusal::EnrolGeneration, superseded))
}

impl Node {
    /// Renews a certificate that has ended. Does nothing where it has not.
    pub(crate) async fn renew_late(&mut self) -> Result<Result<(), Left>, NodeError> {
        let config = &mut self.config;
        let end = certificate_end(&config.identity.credentials.chain().leaf);
        if end.is_ok_and(|end| (config.now)().seconds() <= end) {
            return Ok(Ok(()));
        }
        let Some(at) = config.enrol else {
            let words =
                "say where the router renews it: --enrol HOST:PORT, as `counterfoil router` printed it";
            return Err(NodeError::Ended(words.to_owned()));
        };
        tracing::info!("the certificate has ended; asking for the next one");
        match renew(at, &config.home, &config.keys, &mut config.identity, &config.now).await {
            Ok(()) => Ok(Ok(())),
            Err(NotRenewed::Refused(refusal, detail)) => refused(refusal, detail),
            Err(NotRenewed::Own(fault)) => Err(NodeError::Ended(fault.to_string())),
            Err(error) => Ok(Err(Left::Broken(error.to_string()))),
        }
    }
}

/// What becomes of a node that gets no further certificate.
fn refused(refusal: Refusal, detail: String) -> Result<Result<(), Left>, NodeError> {
    match refusal {
        Refusal::CertDenied => Ok(Err(Left::Denied(detail))),
        Refusal::EnrolGeneration | Refusal::CertSuperseded => Ok(Err(Left::Superseded(detail))),
        Refusal::EnrolLate | Refusal::EnrolProof => {
            let words = format!(
                "{refusal}: {detail}. Ask the router's operator for a join token, and run `counterfoil identity enroll` with it"
            );
            Err(NodeError::Ended(words))
        }
        _ => Ok(Err(Left::Broken(format!("{refusal}: {detail}")))),
    }
}
