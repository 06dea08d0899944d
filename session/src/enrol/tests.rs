//! Enrolment over real QUIC: its own protocol, one stream, and a proof that is good on one connection only.

use counterfoil_identity::enrol::{JoinToken, MemoryTokens};
use counterfoil_identity::{ALPN, ENROL_ALPN, SecretKey, TlsKey, enrol_client_config};
use counterfoil_spec::ids::{Hash, Signature};
use data_encoding::BASE64;
use quinn::Endpoint;
use quinn::crypto::rustls::QuicClientConfig;

use super::*;
use crate::endpoint::{NodeEndpoint, SERVER_NAME, from_anywhere, open};
use crate::sandbox::{Sandbox, hello, machine_clock};

/// A router that enrols, and a token for it.
struct Place {
    net: Sandbox,
    endpoint: EnrolEndpoint,
    tokens: MemoryTokens,
    token: JoinToken,
}

impl Place {
    fn new() -> Self {
        let net = Sandbox::new(machine_clock()).unwrap();
        let endpoint = net.enrolling().unwrap();
        let token = JoinToken::generate(net.domain.net_id(), (net.now)().seconds().plus(60));
        let tokens = MemoryTokens::new();
        tokens.add(token.facts());
        Self { net, endpoint, tokens, token }
    }

    fn addr(&self) -> SocketAddr {
        self.endpoint.local_addr().unwrap()
    }

    fn client(&self) -> EnrolClient {
        let mut log = vec![1];
        log.extend_from_slice(SecretKey::generate().public().wire().as_bytes());
        let log = format!("node.invalid/log+0badcafe+{}", BASE64.encode(&log));
        let (identity, tls) = (SecretKey::generate(), TlsKey::generate());
        EnrolClient::new(self.token.clone(), identity, tls, Hash::from_bytes([0; 32]), log)
    }

    async fn enrol(&self) -> Result<Enrolled, ConnectError> {
        self.net.enrol(&self.endpoint, &self.tokens).await
    }

    async fn connected(&self) -> (Endpoint, Wire, [u8; 32], VerifiedPeer) {
        connected(self.addr(), &self.token.net_id(), &RootDenials::default(), &self.net.now).await.unwrap()
    }

    /// What the router says of the first bytes on the stream.
    async fn told(&self, first: &[u8]) -> (Refusal, String) {
        let saying = async {
            let (_endpoint, mut wire, ..) = self.connected().await;
            wire.send.write_all(first).await.unwrap();
            wire.read_answer().await.map(drop)
        };
        let (there, here) = tokio::join!(self.enrol(), saying);
        let Err(ConnectError::Refused(refused)) = there else { panic!("{there:?}") };
        let Err(ConnectError::RefusedByPeer { refusal, detail }) = here else { panic!("{here:?}") };
        assert_eq!((refused.refusal, &refused.detail), (refusal, &detail));
        (refusal, detail)
    }
}

/// A message with its length.
fn framed(message: &ClientMessage) -> Vec<u8> {
    let message = message.to_bytes();
    let mut bytes = u32::try_from(message.len()).unwrap().to_le_bytes().to_vec();
    bytes.extend_from_slice(&message);
    bytes
}

/// Enrols over the second of two connections, with a proof for the first or the second of them.
async fn proved_for(connection: usize) -> Result<(), ConnectError> {
    let place = Place::new();
    let joining = async {
        let first = place.connected().await;
        let (endpoint, mut wire, exporter, router) = place.connected().await;
        let exporters = [first.2, exporter];
        let joined =
            exchange(&mut wire, place.client(), &exporters[connection], &router, &place.net.now).await;
        wire.end(&joined);
        endpoint.wait_idle().await;
        joined.map(drop)
    };
    tokio::join!(joining, place.enrol(), place.enrol()).0
}

//= spec/identity.md#tls
//= type=test
//# label `EXPORTER-counterfoil-enroll-v1` for enrolment
#[tokio::test]
async fn a_proof_is_good_on_its_own_connection_only() {
    assert_eq!(proved_for(1).await, Ok(()));
    let Err(ConnectError::RefusedByPeer { refusal, .. }) = proved_for(0).await else { panic!("not refused") };
    assert_eq!(refusal, Refusal::EnrolProof);
}

#[tokio::test]
async fn enrolment_and_sessions_do_not_speak_each_others_protocol() {
    let place = Place::new();
    let mut tls = enrol_client_config(place.token.net_id(), Arc::clone(&place.net.now)).unwrap();
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    let endpoint = open(from_anywhere(place.addr()), None).unwrap();
    let connecting = endpoint.connect_with(config, place.addr(), SERVER_NAME).unwrap();
    let (there, here) = tokio::join!(place.enrol(), connecting);
    assert_eq!(there.map(drop), Err(ConnectError::Alpn));
    assert_eq!(here.map(drop).map_err(|e| connect_error(place.addr(), &e)), Err(ConnectError::Alpn));

    let member = place.net.member().unwrap();
    let lanes = place.net.bind(&[&member]).unwrap();
    let target = place.net.target(lanes.local_addr().unwrap());
    let mut tls = place.net.tls(&member).unwrap();
    tls.alpn_protocols = vec![ENROL_ALPN.to_vec()];
    let node = NodeEndpoint::towards(target.addr).unwrap();
    let admitting = async { lanes.accept().await.unwrap().admit().await };
    let (there, here) = tokio::join!(admitting, node.connect(&target, tls, hello((place.net.now)())));
    assert_eq!(there.map(drop), Err(ConnectError::Alpn));
    assert_eq!(here.map(drop), Err(ConnectError::Alpn));

    let denied = RootDenials::default();
    let (there, here) =
        tokio::join!(place.enrol(), join(place.addr(), place.client(), &denied, &place.net.now));
    assert_eq!((there.map(drop), here.map(drop)), (Ok(()), Ok(())));
}

#[tokio::test]
async fn a_length_is_refused_before_what_it_announces_comes() {
    let long = u32::try_from(MAX_ENROL_BYTES).unwrap() + 1;
    let told = Place::new().told(&long.to_le_bytes()).await;
    assert_eq!(told, (Refusal::EnrolShape, "a message of 16385 bytes, more than 16384".to_owned()));
    let told = Place::new().told(&u32::MAX.to_le_bytes()).await;
    assert_eq!(told, (Refusal::EnrolShape, "a message of 4294967295 bytes, more than 16384".to_owned()));
    // One byte less is read to its end.
    let mut whole = (long - 1).to_le_bytes().to_vec();
    whole.resize(4 + MAX_ENROL_BYTES, 0);
    let (refusal, detail) = Place::new().told(&whole).await;
    assert_eq!(refusal, Refusal::EnrolShape);
    assert!(!detail.contains("more than"), "{detail}");
}

#[tokio::test]
async fn messages_have_one_order() {
    let sig = Signature::from_bytes([0; 64]);
    let proof = Proof { csr: Vec::new(), node_sig: sig, token_sig: sig, binding_sig: sig };
    let first = framed(&ClientMessage::Proof(proof));
    assert_eq!(Place::new().told(&first).await.0, Refusal::SessionOrder);

    let place = Place::new();
    let greeting = framed(&ClientMessage::Hello(place.client().hello().clone()));
    let twice = async {
        let (_endpoint, mut wire, ..) = place.connected().await;
        wire.send.write_all(&[&*greeting, &*greeting].concat()).await.unwrap();
        let ServerMessage::Challenge(_) = wire.read_answer().await.unwrap() else { panic!("no challenge") };
        wire.read_answer().await.map(drop)
    };
    let (_, told) = tokio::join!(place.enrol(), twice);
    let Err(ConnectError::RefusedByPeer { refusal, .. }) = told else { panic!("{told:?}") };
    assert_eq!(refusal, Refusal::SessionOrder);
}

#[tokio::test]
async fn there_is_one_stream_and_nothing_beside_it() {
    let place = Place::new();
    let joining = async {
        let (endpoint, mut wire, exporter, router) = place.connected().await;
        let connection = wire.connection.clone();
        assert_eq!(connection.max_datagram_size(), None);
        let joined = tokio::select! {
            biased;
            _ = connection.open_bi() => panic!("a second stream"),
            _ = connection.open_uni() => panic!("a stream of one direction"),
            joined = exchange(&mut wire, place.client(), &exporter, &router, &place.net.now) => joined,
        };
        wire.end(&joined);
        endpoint.wait_idle().await;
        joined.map(drop)
    };
    let (there, here) = tokio::join!(place.enrol(), joining);
    assert_eq!((there.map(drop), here), (Ok(()), Ok(())));
}
