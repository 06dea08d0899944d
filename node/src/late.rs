//! A node that was asleep past the end of its certificate: its identity key gets it another one at the enrolment endpoint.

use std::sync::Arc;

use counterfoil_identity::certificate_end;
use counterfoil_identity::enrol::Renewing;
use counterfoil_session::ConnectError;
use counterfoil_session::enrol::renew;
use counterfoil_spec::refusal::Refusal;

use crate::config::NodeError;
use crate::node::Node;
use crate::pair;
use crate::service::Left;

impl Node {
    /// Renews a certificate that has ended. Does nothing where it has not.
    pub(crate) async fn renew_late(&mut self) -> Result<Result<(), Left>, NodeError> {
        let config = &mut self.config;
        let (identity, now) = (&config.identity, (config.now)().seconds());
        let end = certificate_end(&identity.credentials.chain().leaf);
        if end.is_ok_and(|end| now <= end) {
            return Ok(Ok(()));
        }
        let Some(at) = config.enrol else {
            let words =
                "say where the router renews it: --enrol HOST:PORT, as `counterfoil router` printed it";
            return Err(NodeError::Ended(words.to_owned()));
        };
        let folder = config.home.join("identity");
        let node = identity.key.public().node_id();
        tracing::info!("the certificate has ended; asking for the next one");
        //= spec/identity.md#renewal
        //# A node whose newest certificate was not used SHOULD ask for that generation again.
        let unused = pair::has_next(&folder);
        let mut superseded = String::new();
        for same in [unused, !unused] {
            let key = Arc::clone(&identity.key);
            let next = Renewing::after(&identity.credentials, key, &identity.domain, identity.router, now);
            let next = next.map_err(|e| NodeError::Ended(e.to_string()))?;
            let next = if same { next.unused() } else { next };
            match renew(at, node, next, &config.now).await {
                Ok((renewed, credentials, renew_after)) => {
                    let kept = (renewed.tls_key(), credentials.chain());
                    if let Err(error) = pair::keep_next(&folder, &config.keys, kept) {
                        let words = format!("the next certificate cannot be kept: {error}");
                        return Ok(Err(Left::Broken(words)));
                    }
                    config.identity.credentials = credentials;
                    config.identity.renew_after = Some(renew_after);
                    return Ok(Ok(()));
                }
                // A node that was killed may not know which of the two it is.
                Err(ConnectError::RefusedByPeer { refusal: Refusal::EnrolGeneration, detail }) => {
                    superseded = detail;
                }
                Err(ConnectError::RefusedByPeer { refusal, detail }) => return refused(refusal, detail),
                Err(error) => return Ok(Err(Left::Broken(error.to_string()))),
            }
        }
        refused(Refusal::EnrolGeneration, superseded)
    }
}

/// What becomes of a node that gets no further certificate.
fn refused(refusal: Refusal, detail: String) -> Result<Result<(), Left>, NodeError> {
    match refusal {
        Refusal::CertDenied => Ok(Err(Left::Denied(detail))),
        Refusal::EnrolGeneration => Ok(Err(Left::Superseded(detail))),
        Refusal::EnrolLate | Refusal::EnrolProof => {
            let words = format!(
                "{refusal}: {detail}. Ask the router's operator for a join token, and run `counterfoil identity enroll` with it"
            );
            Err(NodeError::Ended(words))
        }
        _ => Ok(Err(Left::Broken(format!("{refusal}: {detail}")))),
    }
}
