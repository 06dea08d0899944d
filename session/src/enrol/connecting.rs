//! The way to a router's enrolment endpoint, and whether it is one that may be used.

use std::net::SocketAddr;
use std::sync::Arc;

use counterfoil_identity::tls::pinned_domain;
use counterfoil_identity::{
    PinnedRouter, Refused, RootDenials, TrustedRouter, VerifiedPeer, enrol_client_config, verify_chain,
};
use counterfoil_spec::entry::Role;
use counterfoil_spec::ids::NetId;
use counterfoil_spec::time::Now;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{Connection, Endpoint};
use rustls::pki_types::CertificateDer;

use super::{Wire, exporter};
use crate::end::code;
use crate::endpoint::{ConnectError, SERVER_NAME, connect_error, from_anywhere, open};
use crate::transport::{Side, enrol_transport};

/// Connects to the enrolment endpoint of a router of this network that its root does not deny, and opens the one stream.
pub(super) async fn connected(
    addr: SocketAddr,
    pin: &NetId,
    denied: &RootDenials,
    now: &Now,
) -> Result<(Endpoint, Wire, [u8; 32], VerifiedPeer), ConnectError> {
    let unreachable = |detail: String| ConnectError::Unreachable { addr, detail };
    let tls = enrol_client_config(*pin, Arc::clone(now)).map_err(|e| unreachable(e.to_string()))?;
    let crypto = QuicClientConfig::try_from(tls).map_err(|e| unreachable(e.to_string()))?;
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    config.transport_config(enrol_transport(Side::Node));
    let endpoint = open(from_anywhere(addr), None).map_err(|e| unreachable(e.to_string()))?;
    let connecting = endpoint.connect_with(config, addr, SERVER_NAME);
    let connecting = connecting.map_err(|e| unreachable(e.to_string()))?;
    let connection = connecting.await.map_err(|e| connect_error(addr, &e))?;
    let router = router(&connection, pin, denied, now).map_err(|refused| {
        connection.close(code(refused.refusal), refused.detail.as_bytes());
        ConnectError::Refused(refused)
    })?;
    let exporter = exporter(&connection, addr)?;
    let (send, recv) = connection.open_bi().await.map_err(|e| connect_error(addr, &e))?;
    Ok((endpoint, Wire { connection, send, recv, addr }, exporter, router))
}

//= spec/identity.md#the-roots-deny-list
//# A node MUST NOT enrol with a router that the list names so, nor renew its certificate there (`C_DENIED`).
fn router(
    connection: &Connection,
    pin: &NetId,
    denied: &RootDenials,
    now: &Now,
) -> Result<VerifiedPeer, Refused> {
    let chain =
        connection.peer_identity().and_then(|any| any.downcast::<Vec<CertificateDer<'static>>>().ok());
    let chain = chain.map(|chain| *chain).unwrap_or_default();
    let domain = pinned_domain(&chain, pin)?;
    let trusted = TrustedRouter { pin: PinnedRouter(None), denied: denied.clone() };
    verify_chain(&chain, &domain, Role::Router, now().seconds(), &trusted)
}
