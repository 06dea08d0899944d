//! The messages of enrolment, and what a router answers to a hello and a proof, or to who has a node denied.
//!
//! ```text
//! input = u16be length ‖ Hello ‖ Proof, each a canonical ClientMessage
//!       | Recover
//!       | a ServerMessage
//! ```
#![no_main]

use std::cell::Cell;

use counterfoil_identity::digest::{context, derive};
use counterfoil_identity::enrol::{
    ClientMessage, EnrolOffer, EnrolServer, Enrolled, Finish, Hello, MemoryTokens, NodeFacts, Proof, Recover,
    RecoveryAt, ServerMessage, TokenFacts, recovery_hash,
};
use counterfoil_identity::{IssuingCa, Refused, binding_input, verify_chain};
use counterfoil_session_fuzz::{Anybody, PRESENT, flipped, mark, network};
use counterfoil_spec::encode::{signing_input, to_canonical};
use counterfoil_spec::entry::Role;
use counterfoil_spec::ids::{Hash, Serial};
use counterfoil_spec::refusal::Refusal;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    server_message(input);
    if let Some(ClientMessage::Recover(asked)) = client_message(input) {
        return hold_recovery(&asked);
    }
    let Some((length, rest)) = input.split_first_chunk::<2>() else { return };
    let Some((hello, proof)) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length))) else {
        return;
    };
    let (hello, proof) = (client_message(hello), client_message(proof));
    let Some(ClientMessage::Hello(hello)) = hello else { return };
    let Some(ClientMessage::Proof(proof)) = proof else { return drop(Router::new().begin(&hello)) };
    hold(&hello, &proof);
    let net = network();
    let hello = Hello {
        version: 1,
        token_id: TOKEN_ID,
        identity_key: net.node.public().wire(),
        tls_key: net.tls.public().wire(),
        ..hello
    };
    hold(&hello, &proved(&hello, proof));
});

fn client_message(bytes: &[u8]) -> Option<ClientMessage> {
    let message = ClientMessage::from_bytes(bytes).ok()?;
    assert_eq!(message.to_bytes(), bytes);
    Some(message)
}

fn server_message(bytes: &[u8]) {
    if let Ok(message) = ServerMessage::from_bytes(bytes) {
        assert_eq!(message.to_bytes(), bytes);
    }
}

/// What is issued is for the keys of the hello, once, on this connection, and for no other proof.
fn hold(hello: &Hello, proof: &Proof) {
    let router = Router::new();
    let Ok((enrolled, logged)) = router.answer(hello, proof) else { return };
    server_message(&ServerMessage::Enrolled(enrolled.clone()).to_bytes());
    let chain = [enrolled.leaf.clone().into(), enrolled.ca.clone().into()];
    let peer =
        verify_chain(&chain, router.ca.domain(), Role::Node, PRESENT, &Anybody).expect("a good certificate");
    assert_eq!(peer.key().wire(), hello.identity_key);
    assert_eq!(
        peer.tls_spki_hash(),
        derive(context::TLS_SPKI, &[&[SPKI, hello.tls_key.as_bytes()].concat()])
    );
    assert_eq!((peer.not_after(), peer.generation()), (router.offer.not_after, router.offer.generation));
    assert_eq!(logged.map(|facts| facts.node), Some(peer.id()));

    let again = router.answer(hello, proof).expect("the same claim again");
    assert_eq!(again, (enrolled, None));
    let bytes = ClientMessage::Proof(proof.clone()).to_bytes();
    let bit = mark(&bytes) % (bytes.len() * 8);
    if let Ok(ClientMessage::Proof(changed)) = ClientMessage::from_bytes(&flipped(&bytes, bit)) {
        assert!(Router::new().answer(hello, &changed).is_err(), "bit {bit} of the proof");
    }
    let elsewhere = Router { exporter: [0x99; 32], ..Router::new() };
    assert_eq!(refusal(elsewhere.answer(hello, proof)), Some(Refusal::EnrolProof));
    let later = Hello { nonce: Hash::from_bytes([0x98; 32]), ..hello.clone() };
    assert!(later == *hello || refusal(Router::new().answer(&later, proof)) == Some(Refusal::EnrolProof));
    assert_eq!(refusal(router.answer(&later, &proved(&later, proof.clone()))), None, "the same claim");
}

/// A node is denied by its own recovery key, on this connection, and by nothing that differs from what was signed.
fn hold_recovery(asked: &Recover) {
    let (net, router) = (network(), network().router.public().router_id());
    let (net_id, key) = (net.net_id(), &net.join);
    let here = RecoveryAt { net_id: &net_id, router_id: &router, exporter: &net.exporter };
    let elsewhere = RecoveryAt { exporter: &[0x99; 32], ..here };
    let signed = here.sign(asked.node, key).expect("a key in memory signs");
    let committed = Some(recovery_hash(&key.public()));
    assert_eq!(here.check(&signed, committed), Ok(()));
    assert!(here.check(asked, committed).is_err() || *asked == signed);
    assert!(here.check(&signed, None).is_err(), "nobody enrolled it");
    assert!(elsewhere.check(&signed, committed).is_err());
    assert!(here.check(&signed, Some(recovery_hash(&net.tls.public()))).is_err());
    let bytes = ClientMessage::Recover(signed).to_bytes();
    let bit = mark(&bytes) % (bytes.len() * 8);
    if let Some(ClientMessage::Recover(changed)) = client_message(&flipped(&bytes, bit)) {
        assert!(here.check(&changed, committed).is_err(), "bit {bit} of the recovery");
    }
}

/// The proof of a hello by the keys of the vectors, as `spec/identity.md` writes it.
fn proved(hello: &Hello, proof: Proof) -> Proof {
    let (net, router) = (network(), Router::new());
    let binding = binding_input(
        &net.net_id(),
        Role::Node,
        &net.tls.public().spki_der(),
        router.offer.generation,
        router.offer.not_after,
    );
    let sign = |purpose| {
        signing_input(
            purpose,
            &net.net_id(),
            &[
                router.offer.router_id.as_bytes(),
                &router.exporter,
                hello.nonce.as_bytes(),
                NONCE.as_bytes(),
                hello.token_id.as_bytes(),
                derive(context::CSR, &[&proof.csr]).as_bytes(),
                derive(context::ENROL_HELLO, &[&to_canonical(hello)]).as_bytes(),
            ],
        )
    };
    Proof {
        node_sig: net.node.sign(&sign("enrol-node")),
        token_sig: net.join.sign(&sign("enrol-token")),
        binding_sig: net.node.sign(&binding),
        csr: proof.csr,
    }
}

/// A router that has handed out one join token.
struct Router {
    ca: IssuingCa,
    offer: EnrolOffer,
    exporter: [u8; 32],
    tokens: MemoryTokens,
}

impl Router {
    fn new() -> Self {
        let net = network();
        let offer = EnrolOffer {
            net_id: net.net_id(),
            router_id: net.router.public().router_id(),
            not_after: PRESENT.plus(80_000),
            generation: 1,
        };
        let tokens = MemoryTokens::new();
        tokens.add(TokenFacts { token_id: TOKEN_ID, key: net.join.public(), expires: PRESENT.plus(60) });
        Self { ca: net.issuing_ca(), offer, exporter: net.exporter, tokens }
    }

    fn begin(&self, hello: &Hello) -> Result<EnrolServer, Refused> {
        let begun = EnrolServer::begin_with(hello.clone(), self.offer, &self.tokens, PRESENT, NONCE);
        let (server, challenge) = begun?;
        server_message(&ServerMessage::Challenge(challenge).to_bytes());
        assert_eq!(server.log_vkey(), hello.log_vkey);
        Ok(server)
    }

    /// The answer, and what was logged before it.
    fn answer(&self, hello: &Hello, proof: &Proof) -> Result<(Enrolled, Option<NodeFacts>), Refused> {
        let logged = Cell::new(None);
        let record = |facts| {
            logged.set(Some(facts));
            Ok(())
        };
        let with = Finish {
            ca: &self.ca,
            tokens: &self.tokens,
            collides: &|_| false,
            record: &record,
            min_epoch: 1,
            now: PRESENT,
        };
        let enrolled = self.begin(hello)?.prove(proof, &self.exporter, PRESENT)?.enrol(&with)?;
        Ok((enrolled, logged.take()))
    }
}

fn refusal<T>(answer: Result<T, Refused>) -> Option<Refusal> {
    answer.map_err(|refused| refused.refusal).err()
}

const TOKEN_ID: Serial = Serial::from_bytes([0x11; 16]);
const NONCE: Hash = Hash::from_bytes([0x53; 32]);
/// What stands before an Ed25519 key in its SPKI.
const SPKI: &[u8] = &[0x30, 0x2a, 0x30, 5, 0x06, 3, 0x2b, 0x65, 0x70, 0x03, 0x21, 0];
