use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use counterfoil_identity::{PinnedRouter, Refused, client_config};
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::time::Millis;

use super::*;
use crate::ConnectError;

#[tokio::test]
async fn both_sides_know_whom_they_talk_to() {
    let pair = connected().await;
    assert_eq!(pair.router.node(), pair.member.key.public().node_id());
    assert_eq!(pair.node.router().id().as_router(), pair.net.router_key.public().router_id());
}

#[tokio::test]
async fn an_unknown_root_is_refused_by_both() {
    let net = Sandbox::new(machine_clock()).unwrap();
    let other = Sandbox::new(machine_clock()).unwrap();
    let stranger = other.member().unwrap();
    let endpoint = net.bind(&[&stranger]).unwrap();
    let addr = endpoint.local_addr().unwrap();
    let node = NodeEndpoint::towards(addr).unwrap();
    let admitting = async { endpoint.accept().await.unwrap().admit().await };
    let tls = other.tls(&stranger).unwrap();
    let target = other.target(addr);
    let (_, refused) = tokio::join!(admitting, node.connect(&target, tls, hello(Millis(0))));
    let Err(ConnectError::Refused(Refused { refusal, .. })) = refused else { panic!("{:?}", refused.err()) };
    assert_eq!(refusal, Refusal::CertUntrusted);

    // The same stranger, told to trust this root, is refused by the router.
    let admitting = async { endpoint.accept().await.unwrap().admit().await };
    let tls =
        client_config(&stranger.credentials, &net.domain, Arc::new(PinnedRouter(None)), machine_clock())
            .unwrap();
    let mut target = net.target(addr);
    target.router = Arc::new(PinnedRouter(None));
    let connecting = async {
        // With TLS 1.3 the client is done before the server has looked at its certificate.
        match node.connect(&target, tls, hello(Millis(0))).await {
            Ok(mut lane) => lane.next().await.map(|_| ()).unwrap_err(),
            Err(error) => panic!("{error}"),
        }
    };
    let (refused, end) = tokio::join!(admitting, connecting);
    let Err(ConnectError::Refused(Refused { refusal, .. })) = refused else { panic!("{:?}", refused.err()) };
    assert_eq!(refusal, Refusal::CertUntrusted);
    assert!(matches!(end, LaneEnd::Lost(_)), "{end}");
}

#[tokio::test]
async fn a_node_that_nobody_enrolled_is_refused() {
    let net = Sandbox::new(machine_clock()).unwrap();
    let (known, unknown) = (net.member().unwrap(), net.member().unwrap());
    let endpoint = net.bind(&[&known]).unwrap();
    let target = net.target(endpoint.local_addr().unwrap());
    let node = NodeEndpoint::towards(target.addr).unwrap();
    let admitting = async { endpoint.accept().await.unwrap().admit().await };
    let tls = net.tls(&unknown).unwrap();
    let (refused, _lane) = tokio::join!(admitting, node.connect(&target, tls, hello(Millis(0))));
    let Err(ConnectError::Refused(Refused { refusal, .. })) = refused else { panic!("{:?}", refused.err()) };
    assert_eq!(refusal, Refusal::CertUnknown);
}

#[tokio::test]
async fn another_router_than_the_pinned_one_is_refused() {
    let net = Sandbox::new(machine_clock()).unwrap();
    let member = net.member().unwrap();
    let endpoint = net.bind(&[&member]).unwrap();
    let mut target = net.target(endpoint.local_addr().unwrap());
    let pin = Arc::new(PinnedRouter(Some(member.key.public().router_id())));
    target.router = pin.clone();
    let tls = client_config(&member.credentials, &net.domain, pin, machine_clock()).unwrap();
    let node = NodeEndpoint::towards(target.addr).unwrap();
    let admitting = async { endpoint.accept().await.unwrap().admit().await };
    let (_, refused) = tokio::join!(admitting, node.connect(&target, tls, hello(Millis(0))));
    let Err(ConnectError::Refused(Refused { refusal, .. })) = refused else { panic!("{:?}", refused.err()) };
    assert_eq!(refusal, Refusal::CertPin);
}

#[tokio::test]
async fn another_application_protocol_is_refused() {
    let net = Sandbox::new(machine_clock()).unwrap();
    let member = net.member().unwrap();
    let endpoint = net.bind(&[&member]).unwrap();
    let target = net.target(endpoint.local_addr().unwrap());
    let mut tls = net.tls(&member).unwrap();
    tls.alpn_protocols = vec![b"h3".to_vec()];
    let node = NodeEndpoint::towards(target.addr).unwrap();
    let admitting = async { endpoint.accept().await.unwrap().admit().await };
    let (there, here) = tokio::join!(admitting, node.connect(&target, tls, hello(Millis(0))));
    assert_eq!(there.map(|_| ()).unwrap_err(), ConnectError::Alpn);
    assert_eq!(here.map(|_| ()).unwrap_err(), ConnectError::Alpn);
}

#[tokio::test]
async fn another_session_version_is_refused() {
    let net = Sandbox::new(machine_clock()).unwrap();
    let member = net.member().unwrap();
    let endpoint = net.bind(&[&member]).unwrap();
    let target = net.target(endpoint.local_addr().unwrap());
    let node = NodeEndpoint::towards(target.addr).unwrap();
    let mut greeting = hello(Millis(0));
    greeting.version = 1;
    let tls = net.tls(&member).unwrap();
    let admitting = async { endpoint.accept().await.unwrap().admit().await };
    let (there, here) = tokio::join!(admitting, node.connect(&target, tls, greeting));
    let Err(ConnectError::Refused(Refused { refusal, .. })) = there else { panic!("not refused") };
    assert_eq!(refusal, Refusal::SessionVersion);
    let LaneEnd::RefusedByPeer(refusal, _) = here.unwrap().next().await.unwrap_err() else {
        panic!("not told")
    };
    assert_eq!(refusal, Refusal::SessionVersion);
}

#[tokio::test]
async fn nothing_is_taken_after_the_certificate_ended() {
    let skew = Arc::new(AtomicU64::new(0));
    let (clock, turned) = (machine_clock(), Arc::clone(&skew));
    let net = Sandbox::new(Arc::new(move || clock().plus(turned.load(Ordering::SeqCst)))).unwrap();
    let pair = connected_in(net).await;
    pair.node.send(&NodeMessage::Drain).unwrap();
    let mut events = pair.events;
    assert_eq!(events.recv().await, Some(NodeMessage::Drain));
    skew.store(86_400_000 + 1000, Ordering::SeqCst);
    pair.node.send(&NodeMessage::Drain).unwrap();
    let LaneEnd::RefusedHere(refusal, _) = pair.router.closed().await else { panic!("not refused here") };
    assert_eq!(refusal, Refusal::CertExpired);
}
