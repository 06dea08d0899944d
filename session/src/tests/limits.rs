use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use counterfoil_identity::Refused;
use counterfoil_spec::refusal::Refusal;
use quinn::SendDatagramError;
use quinn::crypto::rustls::QuicClientConfig;

use super::*;
use crate::bench::relay::Relay;
use crate::endpoint::{SERVER_NAME, open};
use crate::gate::{Limits, Rate};
use crate::{ConnectError, TurnedAway};

/// Nobody is let in without proof of its address.
fn proved_only() -> Limits {
    Limits { unproved: 0, ..Limits::default() }
}

const ONCE: Rate = Rate { per_s: 0, burst: 1 };
const NEVER: Rate = Rate { per_s: 0, burst: 0 };

struct Place {
    net: Sandbox,
    member: Member,
    endpoint: RouterEndpoint,
}

impl Place {
    fn within(limits: Limits) -> Self {
        let net = Sandbox::new(machine_clock()).unwrap();
        let member = net.member().unwrap();
        let endpoint = net.bind_within(&[&member], limits).unwrap();
        Self { net, member, endpoint }
    }

    async fn connect(&self) -> Result<NodeLane, ConnectError> {
        let target = self.net.target(self.endpoint.local_addr().unwrap());
        let node = NodeEndpoint::towards(target.addr).unwrap();
        node.connect(&target, self.net.tls(&self.member).unwrap(), hello((self.net.now)())).await
    }

    /// Connects where the gate is to send it away.
    async fn sent_away(&self) -> ConnectError {
        tokio::select! {
            _ = self.endpoint.accept() => panic!("let in"),
            connected = self.connect() => connected.map(|_| ()).unwrap_err(),
        }
    }

    async fn admit(&self) -> Result<crate::Incoming, ConnectError> {
        self.endpoint.accept().await.unwrap().admit().await
    }

    fn turned_away(&self) -> Arc<TurnedAway> {
        self.endpoint.turned_away()
    }
}

fn refusal(error: ConnectError) -> Refusal {
    match error {
        ConnectError::Refused(Refused { refusal, .. }) => refusal,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_third_connection_of_one_node_is_refused() {
    let place = Place::within(Limits::default());
    let mut lanes = Vec::new();
    for _ in 0..2 {
        let (there, here) = tokio::join!(place.admit(), place.connect());
        lanes.push((there.unwrap(), here.unwrap()));
    }
    let (there, here) = tokio::join!(place.admit(), place.connect());
    assert_eq!(refusal(there.map(|_| ()).unwrap_err()), Refusal::SessionLanes);
    let LaneEnd::RefusedByPeer(told, _) = here.unwrap().next().await.unwrap_err() else { panic!("not told") };
    assert_eq!(told, Refusal::SessionLanes);

    // Once one of the two is over there is a place again. Its count ends with the task that reads it, a little later.
    let (there, here) = lanes.pop().unwrap();
    here.shut(Refusal::SessionDrain, "going");
    there.lane.closed().await;
    drop(there);
    let again = loop {
        let (there, here) = tokio::join!(place.admit(), place.connect());
        match there {
            Ok(there) => break (there, here),
            Err(error) => assert_eq!(refusal(error), Refusal::SessionLanes),
        }
    };
    assert_eq!(again.0.lane.node(), place.member.key.public().node_id());
}

#[tokio::test]
async fn whoever_proves_its_address_is_let_in() {
    let place = Place::within(proved_only());
    let (there, here) = tokio::join!(place.admit(), place.connect());
    assert_eq!(there.unwrap().lane.node(), place.member.key.public().node_id());
    here.unwrap();
    let away = place.turned_away();
    assert_eq!((away.asked(), away.crowded(), away.prefix()), (1, 0, 0));
}

#[tokio::test]
async fn a_router_that_is_not_busy_asks_for_no_proof() {
    let place = Place::within(Limits::default());
    let (there, _here) = tokio::join!(place.admit(), place.connect());
    there.unwrap();
    assert_eq!(place.turned_away().asked(), 0);
}

#[tokio::test]
async fn one_more_than_there_are_places_is_refused() {
    let place = Place::within(Limits { arriving: 1, ..proved_only() });
    let taking = async {
        // It has its place until it is known who it is.
        let first = place.endpoint.accept().await.unwrap();
        let away = place.sent_away().await;
        (first.admit().await, away)
    };
    let ((first, away), _here) = tokio::join!(taking, place.connect());
    assert_eq!(away, ConnectError::Crowded);
    // `Refusal::SessionCrowded`: no code can be told before TLS.
    assert_eq!(place.turned_away().crowded(), 1);
    first.unwrap();
    let (next, _here) = tokio::join!(place.admit(), place.connect());
    next.unwrap();
}

#[tokio::test]
async fn a_prefix_over_its_rate_is_refused() {
    let place = Place::within(Limits { prefix_rate: ONCE, ..proved_only() });
    let (first, _here) = tokio::join!(place.admit(), place.connect());
    first.unwrap();
    assert_eq!(place.sent_away().await, ConnectError::Crowded);
    // `Refusal::SessionPrefix`: no code can be told before TLS.
    let away = place.turned_away();
    assert_eq!((away.prefix(), away.crowded()), (1, 0));
}

#[tokio::test]
async fn what_may_not_even_be_asked_for_proof_is_not_answered() {
    let place = Place::within(Limits { retry_rate: NEVER, ..proved_only() });
    let away = place.turned_away();
    let counted = async {
        while away.crowded() == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        _ = place.endpoint.accept() => panic!("let in"),
        answered = place.connect() => panic!("{:?}", answered.map(|_| ())),
        () = counted => {}
    }
    assert_eq!(away.asked(), 0);
}

/// A way to the router on which nothing comes back.
fn one_way(to: std::net::SocketAddr) -> std::net::SocketAddr {
    let front = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let addr = front.local_addr().unwrap();
    std::thread::spawn(move || {
        let back = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let mut buffer = [0; 65_536];
        // Ends with the process: nobody closes the socket.
        while let Ok((n, _)) = front.recv_from(&mut buffer) {
            let _ = back.send_to(&buffer[..n], to);
        }
    });
    addr
}

#[tokio::test]
async fn a_slow_handshake_is_dropped() {
    let place = Place::within(Limits { handshake_ms: 200, ..Limits::default() });
    let mut target = place.net.target(place.endpoint.local_addr().unwrap());
    target.addr = one_way(target.addr);
    let node = NodeEndpoint::towards(target.addr).unwrap();
    let tls = place.net.tls(&place.member).unwrap();
    let connecting = node.connect(&target, tls, hello((place.net.now)()));
    let admitted = tokio::select! {
        admitted = place.admit() => admitted,
        connected = connecting => panic!("{:?}", connected.map(|_| ())),
    };
    assert_eq!(refusal(admitted.map(|_| ()).unwrap_err()), Refusal::SessionIdle);
    let (next, _here) = tokio::join!(place.admit(), place.connect());
    next.unwrap();
}

#[tokio::test]
async fn who_says_nothing_after_its_handshake_is_sent_away() {
    let place = Place::within(Limits { arrival_ms: 300, ..Limits::default() });
    let connecting = async {
        let connection = raw(&place).await;
        connection.closed().await
    };
    let (admitted, closed) = tokio::join!(place.admit(), connecting);
    assert_eq!(refusal(admitted.map(|_| ()).unwrap_err()), Refusal::SessionIdle);
    let LaneEnd::RefusedByPeer(told, _) = LaneEnd::from_connection(&closed) else { panic!("{closed}") };
    assert_eq!(told, Refusal::SessionIdle);
}

/// A connection of the node without the code that keeps to the rules.
async fn raw(place: &Place) -> quinn::Connection {
    let crypto = QuicClientConfig::try_from(place.net.tls(&place.member).unwrap()).unwrap();
    let config = quinn::ClientConfig::new(Arc::new(crypto));
    let endpoint = open((Ipv4Addr::LOCALHOST, 0).into(), None).unwrap();
    let addr = place.endpoint.local_addr().unwrap();
    endpoint.connect_with(config, addr, SERVER_NAME).unwrap().await.unwrap()
}

/// Whether a stream is there at once; the peer has said by now how many it takes.
async fn at_once<T>(opening: impl Future<Output = T>) -> bool {
    tokio::time::timeout(Duration::ZERO, opening).await.is_ok()
}

/// No stream of one direction and no datagram can be sent; the peer has said by now what it takes.
async fn takes_neither(peer: &quinn::Connection) {
    assert!(!at_once(peer.open_uni()).await);
    assert_eq!(peer.max_datagram_size(), None);
    let refused = peer.send_datagram(bytes::Bytes::from_static(b"datagram"));
    // A side that takes none itself does not get as far as to look what the other takes.
    assert!(matches!(refused, Err(SendDatagramError::UnsupportedByPeer | SendDatagramError::Disabled)));
}

#[tokio::test]
async fn neither_side_takes_unidirectional_streams_or_datagrams() {
    let place = Place::within(Limits::default());
    let endpoint = place.endpoint.clone();
    let admitting = tokio::spawn(async move { endpoint.accept().await.unwrap().admit().await });
    let towards_router = raw(&place).await;
    takes_neither(&towards_router).await;
    // A lane and four fetch streams, and not one more.
    let mut streams = Vec::new();
    while streams.len() < 5 {
        streams.push(towards_router.open_bi().await.unwrap());
    }
    assert!(!at_once(towards_router.open_bi()).await);
    admitting.abort();

    let pair = connected().await;
    takes_neither(pair.router.connection()).await;
}

#[tokio::test]
async fn a_node_that_moves_keeps_its_lane() {
    let mut pair = connected().await;
    let token = consented(&mut pair).await;
    let before = pair.router.remote_addr();
    for moved in [false, true] {
        if moved {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            pair._ends.1.endpoint.rebind(socket).unwrap();
        }
        let answer = pair.router.dispatch(&token, &one_row(2.0)).unwrap();
        let asked = asked(&mut pair.node).await;
        pair.node.answer(&asked, &echo(pair.node.dispatch())).unwrap();
        assert_eq!(answer.await.unwrap().values, [2.0, -2.0]);
        assert_eq!(pair.router.remote_addr() != before, moved);
    }
    assert_eq!(pair.router.end(), None);
}

#[tokio::test]
async fn a_node_behind_an_address_translation_needs_no_open_port() {
    let net = Sandbox::new(machine_clock()).unwrap();
    let member = net.member().unwrap();
    let endpoint = net.bind(&[&member]).unwrap();
    // The router knows the address that the relay opened for this node, and never the node's own.
    let nat = Relay::start(endpoint.local_addr().unwrap(), Duration::ZERO).unwrap();
    let target = net.target(nat.addr());
    let ours = NodeEndpoint::towards(target.addr).unwrap();
    let tls = net.tls(&member).unwrap();
    let admitting = async { endpoint.accept().await.unwrap().admit().await };
    let (incoming, node) = tokio::join!(admitting, ours.connect(&target, tls, hello((net.now)())));
    let incoming = incoming.unwrap();
    let (router, events, node) = (incoming.lane, incoming.events, node.unwrap());
    assert_ne!(router.remote_addr(), ours.endpoint.local_addr().unwrap());
    let mut pair = Pair { net, member, _ends: (endpoint, ours), router, events, node };
    let token = consented(&mut pair).await;
    let answer = pair.router.dispatch(&token, &one_row(3.0)).unwrap();
    let asked = asked(&mut pair.node).await;
    pair.node.answer(&asked, &echo(pair.node.dispatch())).unwrap();
    assert_eq!(answer.await.unwrap().values, [3.0, -3.0]);
}
