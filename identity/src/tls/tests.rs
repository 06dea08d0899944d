//! Whole handshakes in memory, with rustls on both sides.

use rustls::{ClientConnection, HandshakeKind, ServerConnection};

use super::*;
use crate::certificate::tests::{Anyone, NOW, Net};
use crate::certificate::verify::VerifiedPeer;
use crate::key::SecretKey;
use counterfoil_spec::time::Seconds;

fn at(seconds: Seconds) -> Now {
    Arc::new(move || seconds.millis())
}

/// What each side says once it knows: done, or why not.
struct Outcome {
    client: Result<ClientConnection, Error>,
    server: Result<ServerConnection, Error>,
}

/// Carries bytes both ways until nobody has any more or somebody fails.
fn shake(client: Arc<ClientConfig>, server: Arc<ServerConfig>) -> Outcome {
    let name = ServerName::try_from("router.invalid").unwrap();
    let mut client = ClientConnection::new(client, name).unwrap();
    let mut server = ServerConnection::new(server).unwrap();
    let mut failed = (None, None);
    loop {
        let (mut up, mut down) = (Vec::new(), Vec::new());
        while client.wants_write() {
            client.write_tls(&mut up).unwrap();
        }
        let mut rest = up.as_slice();
        while !rest.is_empty() && failed.1.is_none() {
            server.read_tls(&mut rest).unwrap();
            failed.1 = server.process_new_packets().err();
        }
        while server.wants_write() {
            server.write_tls(&mut down).unwrap();
        }
        let mut rest = down.as_slice();
        while !rest.is_empty() && failed.0.is_none() {
            client.read_tls(&mut rest).unwrap();
            failed.0 = client.process_new_packets().err();
        }
        if up.is_empty() && down.is_empty() {
            break;
        }
    }
    Outcome { client: failed.0.map_or(Ok(client), Err), server: failed.1.map_or(Ok(server), Err) }
}

fn router() -> SecretKey {
    SecretKey::from_seed([20; 32])
}

fn node() -> SecretKey {
    SecretKey::from_seed([21; 32])
}

fn configs(net: &Net, directory: Arc<dyn Directory>) -> (ClientConfig, ServerConfig) {
    let server =
        server_config(&net.credentials(Role::Router, &router()), &net.domain, directory, at(NOW), ALPN);
    let pin = Arc::new(PinnedRouter(Some(router().public().router_id())));
    let client = client_config(&net.credentials(Role::Node, &node()), &net.domain, pin, at(NOW));
    (client.unwrap(), server.unwrap())
}

fn refusal<T>(side: &Result<T, Error>) -> Option<Refusal> {
    side.as_ref().err().and_then(refusal_in).map(|r| r.refusal)
}

#[test]
fn both_sides_prove_themselves() {
    let net = Net::new(1);
    let (client, server) = configs(&net, Arc::new(Anyone));
    let done = shake(Arc::new(client), Arc::new(server));
    let (client, server) = (done.client.unwrap(), done.server.unwrap());
    assert_eq!((client.alpn_protocol(), server.alpn_protocol()), (Some(ALPN), Some(ALPN)));
    assert_eq!(client.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
    assert_eq!(server.server_name(), None);
    let seen =
        verify_chain(server.peer_certificates().unwrap(), &net.domain, Role::Node, NOW, &Anyone).unwrap();
    assert_eq!(seen.key(), &node().public());
    let pinned = PinnedRouter(Some(router().public().router_id()));
    let seen =
        verify_chain(client.peer_certificates().unwrap(), &net.domain, Role::Router, NOW, &pinned).unwrap();
    assert_eq!(seen.key(), &router().public());
}

#[test]
fn exporters_agree_and_differ_by_label_and_connection() {
    let net = Net::new(1);
    let (client, server) = configs(&net, Arc::new(Anyone));
    let (client, server) = (Arc::new(client), Arc::new(server));
    let one = shake(client.clone(), server.clone());
    let (one_client, one_server) = (one.client.unwrap(), one.server.unwrap());
    let of = |label: &[u8]| {
        let here = one_client.export_keying_material([0u8; 32], label, Some(b"")).unwrap();
        assert_eq!(here, one_server.export_keying_material([0u8; 32], label, Some(b"")).unwrap());
        here
    };
    let frames = of(FRAME_EXPORTER_LABEL);
    assert_ne!(frames, of(ENROL_EXPORTER_LABEL));
    let two = shake(client, server).client.unwrap();
    assert_ne!(frames, two.export_keying_material([0u8; 32], FRAME_EXPORTER_LABEL, Some(b"")).unwrap());
}

#[test]
fn second_connection_is_a_full_handshake_again() {
    //= spec/identity.md#tls
    //= type=test
    //# A side MUST NOT resume a session, issue or accept a ticket, or send or accept early data.
    let net = Net::new(1);
    let (client, server) = configs(&net, Arc::new(Anyone));
    let (client, server) = (Arc::new(client), Arc::new(server));
    for _ in 0..2 {
        let done = shake(client.clone(), server.clone());
        let (client, server) = (done.client.unwrap(), done.server.unwrap());
        assert_eq!(client.tls13_tickets_received(), 0);
        assert_eq!(client.handshake_kind(), Some(HandshakeKind::Full));
        assert_eq!(server.handshake_kind(), Some(HandshakeKind::Full));
    }
}

#[test]
fn unknown_node_is_refused_by_name() {
    struct Nobody;
    impl Directory for Nobody {
        fn check(&self, _: &VerifiedPeer) -> Result<(), Refusal> {
            Err(Refusal::CertUnknown)
        }
    }
    let (client, server) = configs(&Net::new(1), Arc::new(Nobody));
    let done = shake(Arc::new(client), Arc::new(server));
    assert_eq!(refusal(&done.server), Some(Refusal::CertUnknown));
}

#[test]
fn other_router_of_the_network_is_refused_by_the_pin() {
    let net = Net::new(1);
    let (_, server) = configs(&net, Arc::new(Anyone));
    let pin = Arc::new(PinnedRouter(Some(SecretKey::from_seed([30; 32]).public().router_id())));
    let client = client_config(&net.credentials(Role::Node, &node()), &net.domain, pin, at(NOW)).unwrap();
    let done = shake(Arc::new(client), Arc::new(server));
    assert_eq!(refusal(&done.client), Some(Refusal::CertPin));
}

#[test]
fn other_network_is_refused_on_both_sides() {
    let (here, there) = (Net::new(1), Net::new(5));
    let (client, _) = configs(&here, Arc::new(Anyone));
    let (_, server) = configs(&there, Arc::new(Anyone));
    let done = shake(Arc::new(client), Arc::new(server));
    assert_eq!(refusal(&done.client), Some(Refusal::CertUntrusted));
    let mixed = client_config(
        &here.credentials(Role::Node, &node()),
        &there.domain,
        Arc::new(PinnedRouter(None)),
        at(NOW),
    )
    .unwrap();
    let (_, server) = configs(&there, Arc::new(Anyone));
    assert_eq!(refusal(&shake(Arc::new(mixed), Arc::new(server)).server), Some(Refusal::CertUntrusted));
}

#[test]
fn node_cannot_stand_in_for_a_router_nor_a_router_for_a_node() {
    let net = Net::new(1);
    let (client, server) = configs(&net, Arc::new(Anyone));
    let as_server =
        server_config(&net.credentials(Role::Node, &node()), &net.domain, Arc::new(Anyone), at(NOW), ALPN)
            .unwrap();
    assert_eq!(refusal(&shake(Arc::new(client), Arc::new(as_server)).client), Some(Refusal::CertRole));
    let as_client = client_config(
        &net.credentials(Role::Router, &router()),
        &net.domain,
        Arc::new(PinnedRouter(None)),
        at(NOW),
    )
    .unwrap();
    assert_eq!(refusal(&shake(Arc::new(as_client), Arc::new(server)).server), Some(Refusal::CertRole));
}

#[test]
fn certificate_is_judged_by_the_clock_that_was_passed() {
    let net = Net::new(1);
    let (_, server) = configs(&net, Arc::new(Anyone));
    let late = at(NOW.plus(86_401));
    let client =
        client_config(&net.credentials(Role::Node, &node()), &net.domain, Arc::new(PinnedRouter(None)), late)
            .unwrap();
    assert_eq!(refusal(&shake(Arc::new(client), Arc::new(server)).client), Some(Refusal::CertExpired));
}

#[test]
fn client_without_a_certificate_is_refused() {
    let net = Net::new(1);
    let (_, server) = configs(&net, Arc::new(Anyone));
    let bare = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Check {
            domain: net.domain.clone(),
            want: Role::Router,
            directory: Arc::new(PinnedRouter(None)),
            now: at(NOW),
            provider: Arc::new(aws_lc_rs::default_provider()),
        }))
        .with_no_client_auth();
    let mut bare = bare;
    bare.alpn_protocols = vec![ALPN.to_vec()];
    let done = shake(Arc::new(bare), Arc::new(server));
    assert_eq!(done.server.err(), Some(Error::NoCertificatesPresented));
}

#[test]
fn other_application_protocol_is_refused() {
    let net = Net::new(1);
    let (client, _) = configs(&net, Arc::new(Anyone));
    let server = enrol_server_config(&net.credentials(Role::Router, &router()), &net.domain).unwrap();
    let done = shake(Arc::new(client), Arc::new(server));
    assert_eq!(done.server.err(), Some(Error::NoApplicationProtocol));
}

#[test]
fn joining_node_knows_its_network_by_the_pin() {
    let (net, other) = (Net::new(1), Net::new(5));
    let server =
        Arc::new(enrol_server_config(&net.credentials(Role::Router, &router()), &net.domain).unwrap());
    let with = |pin: NetId| {
        let client = enrol_client_config(pin, at(NOW)).unwrap();
        shake(Arc::new(client), server.clone()).client
    };
    let client = with(net.root.net_id()).unwrap();
    let chain = client.peer_certificates().unwrap();
    let domain = pinned_domain(chain, &net.root.net_id()).unwrap();
    let peer = verify_chain(chain, &domain, Role::Router, NOW, &PinnedRouter(None)).unwrap();
    assert_eq!(peer.key(), &router().public());
    assert_eq!(client.alpn_protocol(), Some(ENROL_ALPN));
    assert_eq!(refusal(&with(other.root.net_id())), Some(Refusal::CertUntrusted));
}
