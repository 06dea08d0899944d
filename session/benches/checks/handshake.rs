//! TLS handshakes in memory, both ends in one thread.

use std::sync::Arc;

use counterfoil_identity::{ALPN, server_config};
use counterfoil_session::sandbox::{Member, Sandbox};
use rustls::client::ResolvesClientCert;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::WantsServerCert;
use rustls::sign::CertifiedKey;
use rustls::{
    ClientConfig, ClientConnection, ConfigBuilder, ServerConfig, ServerConnection, SignatureScheme,
    WantsVerifier,
};

use super::Anybody;
use super::chain::renewals;
use super::path::Path;
use super::turns::{Measured, measure};

/// The handshake of a session, beside one that differs in this alone: the server asks for no certificate. Both ends are
/// counted, and the node has met its router before in both.
pub(crate) fn all(network: &Sandbox, member: &Member) -> Vec<Measured> {
    let asking = || {
        let now = Arc::clone(&network.now);
        Arc::new(server_config(&network.router, &network.domain, Arc::new(Anybody), now, ALPN).unwrap())
    };
    let renewed = renewals(network, member);
    vec![
        compared("mutual TLS, a new certificate", network, &asking(), &configs(network, renewed.iter())),
        compared("mutual TLS, one that was met", network, &asking(), &configs(network, [member])),
        by_webpki(network, member),
    ]
}

/// The same where each side asks webpki alone about the other's chain.
fn by_webpki(network: &Sandbox, member: &Member) -> Measured {
    let mut showing = network.tls(member).unwrap();
    showing.dangerous().set_certificate_verifier(Arc::new(Path::of(network)));
    let asking = server(network, |builder| builder.with_client_cert_verifier(Arc::new(Path::of(network))));
    compared("mutual TLS, by webpki alone", network, &Arc::new(asking), &[showing])
}

fn configs<'a>(network: &Sandbox, members: impl IntoIterator<Item = &'a Member>) -> Vec<ClientConfig> {
    members.into_iter().map(|member| network.tls(member).unwrap()).collect()
}

/// Each call takes the next of the nodes.
fn compared(
    name: &'static str,
    network: &Sandbox,
    asking: &Arc<ServerConfig>,
    showing: &[ClientConfig],
) -> Measured {
    let silent = |config: &ClientConfig| {
        let mut silent = config.clone();
        silent.client_auth_cert_resolver = Arc::new(Nothing);
        Arc::new(silent)
    };
    let silent: Vec<_> = showing.iter().map(silent).collect();
    let showing: Vec<_> = showing.iter().map(|config| Arc::new(config.clone())).collect();
    let plain = Arc::new(server(network, |builder| builder.with_no_client_auth()));
    let (mut showing, mut silent) = (showing.iter().cycle(), silent.iter().cycle());
    let mut next = move || (showing.next().unwrap(), silent.next().unwrap());
    let mut without = next.clone();
    measure(
        (name, 50),
        || assert!(shaken(next().0, asking).peer_certificates().is_some()),
        || assert!(shaken(without().1, &plain).peer_certificates().is_none()),
    )
}

/// The router's configuration of a session with another question who the client is.
fn server(
    network: &Sandbox,
    question: impl FnOnce(
        ConfigBuilder<ServerConfig, WantsVerifier>,
    ) -> ConfigBuilder<ServerConfig, WantsServerCert>,
) -> ServerConfig {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(network.router.tls_key_pkcs8().to_vec()));
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider);
    let builder = builder.with_protocol_versions(&[&rustls::version::TLS13]).unwrap();
    let chain = network.router.chain().certificates();
    let mut config = question(builder).with_single_cert(chain, key).unwrap();
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.send_tls13_tickets = 0;
    config
}

/// One handshake to its end; the server's side of it.
fn shaken(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>) -> ServerConnection {
    let name = ServerName::try_from("router.invalid").unwrap();
    let mut client = ClientConnection::new(Arc::clone(client), name).unwrap();
    let mut server = ServerConnection::new(Arc::clone(server)).unwrap();
    let mut wire = Vec::new();
    while client.is_handshaking() || server.is_handshaking() {
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        let mut from = wire.as_slice();
        while !from.is_empty() {
            server.read_tls(&mut from).unwrap();
            server.process_new_packets().unwrap();
        }
        wire.clear();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        let mut from = wire.as_slice();
        while !from.is_empty() {
            client.read_tls(&mut from).unwrap();
            client.process_new_packets().unwrap();
        }
        wire.clear();
    }
    server
}

/// A client without a certificate.
#[derive(Debug)]
struct Nothing;

impl ResolvesClientCert for Nothing {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}
