//! The certificate that the router itself shows, on both of its endpoints: another one well before it ends.

use std::sync::Arc;
use std::time::Duration;

use counterfoil_identity::{ALPN, enrol_server_config, server_config};
use counterfoil_session::RouterEndpoint;
use counterfoil_session::enrol::EnrolEndpoint;
use counterfoil_spec::limits::MAX_LEAF_CERT_LIFE_S;
use counterfoil_spec::time::Millis;

use crate::authority::own_credentials;
use crate::desk::Desk;
use crate::member::Members;
use crate::serve::StartError;

/// How old a certificate becomes: half the life that leaves may have.
const LIFE_MS: u64 = 1000 * MAX_LEAF_CERT_LIFE_S / 2;
/// How often it is looked whether that is over: by the clock, which goes on while a machine sleeps. So long it takes, too,
/// until what failed is tried again.
const LOOK: Duration = Duration::from_secs(60);

/// The TLS configurations of both endpoints, under a fresh certificate.
pub(crate) fn tls(desk: &Desk) -> Result<(rustls::ServerConfig, rustls::ServerConfig), StartError> {
    let credentials = own_credentials(desk)?;
    let domain = desk.home.domain();
    let fault = |e: counterfoil_identity::TlsFault| StartError::Certificate(e.to_string());
    let directory = Arc::new(Members(Arc::clone(&desk.office)));
    let nodes = server_config(&credentials, domain, directory, desk.office.clock(), ALPN).map_err(fault)?;
    Ok((nodes, enrol_server_config(&credentials, domain).map_err(fault)?))
}

/// Shows a new certificate well before the old one ends, and as soon as another CA issues them.
pub(crate) async fn keep_certificate(desk: Arc<Desk>, nodes: RouterEndpoint, enrol: EnrolEndpoint) {
    let mut ca = desk.home.ca_in_use();
    let mut made = Some(desk.office.now());
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            Ok(()) = ca.changed() => made = None,
        }
        let now = desk.office.now();
        if !is_due(made, now) {
            continue;
        }
        let shown = |(n, e)| nodes.renew(n).and_then(|()| enrol.renew(e)).map_err(|e| e.to_string());
        match tls(&desk).map_err(|e| e.to_string()).and_then(shown) {
            Ok(()) => made = Some(now),
            Err(error) => tracing::error!(error, "the router's certificate was not renewed; trying again"),
        }
    }
}

/// Whether a certificate that was made then, if it may go on being shown, is to be followed by another one.
fn is_due(made: Option<Millis>, now: Millis) -> bool {
    made.is_none_or(|made| now >= made.plus(LIFE_MS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_followed_by_another_at_half_its_life_or_once_its_ca_was() {
        let made = Millis(5);
        assert!(!is_due(Some(made), made.plus(LIFE_MS - 1)));
        assert!(is_due(Some(made), made.plus(LIFE_MS)));
        assert!(is_due(None, made));
    }
}
