//! Enrolment step by step, with each message changed where a check must notice.

mod claims;
mod requests;

use std::cell::RefCell;

use counterfoil_spec::encode::DecodeError;
use counterfoil_spec::entry::Role;
use counterfoil_spec::ids::{Hash, PublicKey, Serial, Signature};
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::time::Seconds;
use data_encoding::BASE64;
use proptest::prelude::{ProptestConfig, any, prop_assert_eq, proptest};

use super::*;
use crate::certificate::credentials::TlsKey;
use crate::certificate::tests::{Anyone, DAY, NOW, Net};
use crate::certificate::verify::{Refused, VerifiedPeer, verify_chain};
use crate::key::{SecretKey, VerifyKey};

const EXPORTER: [u8; 32] = [77; 32];

fn vkey(key: &VerifyKey) -> String {
    let mut raw = vec![1];
    raw.extend_from_slice(key.wire().as_bytes());
    format!("node.example/log+0badcafe+{}", BASE64.encode(&raw))
}

/// A router, a join token and a node that wants to use it.
struct Stage {
    net: Net,
    router: VerifiedPeer,
    tokens: MemoryTokens,
    token: JoinToken,
    identity: SecretKey,
    tls_key: TlsKey,
}

impl Stage {
    fn new() -> Self {
        let net = Net::new(1);
        let credentials = net.credentials(Role::Router, &SecretKey::from_seed([20; 32]));
        let chain = credentials.chain().certificates();
        let router = verify_chain(&chain, &net.domain, Role::Router, NOW, &Anyone).unwrap();
        let token = JoinToken::generate(net.root.net_id(), NOW.plus(3600));
        let tokens = MemoryTokens::new();
        tokens.add(token.facts());
        let (identity, tls_key) =
            (SecretKey::from_seed([40; 32]), TlsKey::from_secret(SecretKey::from_seed([41; 32])));
        Self { net, router, tokens, token, identity, tls_key }
    }

    fn client(&self) -> EnrolClient {
        let log = SecretKey::from_seed([42; 32]).public();
        EnrolClient::new(
            self.token.clone(),
            self.identity.clone(),
            self.tls_key.clone(),
            Hash::from_bytes([5; 32]),
            vkey(&log),
        )
    }

    fn offer(&self) -> EnrolOffer {
        EnrolOffer {
            net_id: self.net.root.net_id(),
            router_id: self.router.id().as_router(),
            not_after: NOW.plus(DAY),
            generation: 1,
        }
    }

    fn begin(&self, hello: &Hello) -> Result<(EnrolServer, Challenge), Refusal> {
        self.begin_at(hello, NOW)
    }

    fn begin_at(&self, hello: &Hello, now: Seconds) -> Result<(EnrolServer, Challenge), Refusal> {
        EnrolServer::begin(hello.clone(), self.offer(), &self.tokens, now).map_err(|r| r.refusal)
    }

    /// The rest of a router's part, where the log takes what it is given.
    fn finish(&self, server: EnrolServer, proof: &Proof) -> Result<Enrolled, Refusal> {
        let proved = server.prove(proof, &EXPORTER, NOW).map_err(|r| r.refusal)?;
        self.enrol(proved, &|_| false, &|_| Ok(()))
    }

    fn enrol(
        &self,
        proved: Proved,
        collides: &dyn Fn(&NodeFacts) -> bool,
        record: &dyn Fn(NodeFacts) -> Result<(), Refused>,
    ) -> Result<Enrolled, Refusal> {
        let with =
            Finish { ca: &self.net.ca, tokens: &self.tokens, collides, record, min_epoch: 3, now: NOW };
        proved.enrol(&with).map_err(|r| r.refusal)
    }

    /// The same network and token, and another node.
    fn as_another(&self) -> (EnrolServer, Proof) {
        let log = vkey(&SecretKey::from_seed([52; 32]).public());
        let (identity, tls_key) =
            (SecretKey::from_seed([50; 32]), TlsKey::from_secret(SecretKey::from_seed([51; 32])));
        let client = EnrolClient::new(self.token.clone(), identity, tls_key, Hash::from_bytes([5; 32]), log);
        let (server, challenge) = self.begin(client.hello()).unwrap();
        let (_, proof) = client.on_challenge(&challenge, &EXPORTER, &self.router, NOW).unwrap();
        (server, proof)
    }

    /// Up to the proof, with both sides waiting.
    fn proved(&self) -> (EnrolServer, Proving, Proof) {
        let client = self.client();
        let (server, challenge) = self.begin(client.hello()).unwrap();
        let (proving, proof) = client.on_challenge(&challenge, &EXPORTER, &self.router, NOW).unwrap();
        (server, proving, proof)
    }
}

#[test]
fn node_joins_and_both_sides_know_the_same_facts() {
    let stage = Stage::new();
    let (server, proving, proof) = stage.proved();
    let logged = RefCell::new(Vec::new());
    let proved = server.prove(&proof, &EXPORTER, NOW).unwrap();
    let record = |facts| {
        logged.borrow_mut().push(facts);
        Ok(())
    };
    let enrolled = stage.enrol(proved, &|_| false, &record).unwrap();
    let joined = proving.on_enrolled(&enrolled, NOW).unwrap();
    let key = stage.identity.public();
    assert_eq!(
        logged.into_inner(),
        [NodeFacts {
            node: key.node_id(),
            key,
            log_vkey: vkey(&SecretKey::from_seed([42; 32]).public()),
            token_id: stage.token.token_id(),
            generation: 1,
            recovery_hash: Hash::from_bytes([5; 32]),
        }]
    );
    assert_eq!((joined.node, joined.router), (key.node_id(), stage.router.id().as_router()));
    assert_eq!((joined.min_epoch, joined.renew_after), (3, NOW.plus(DAY / 2)));
    let chain = joined.credentials.chain().certificates();
    let peer = verify_chain(&chain, &stage.net.domain, Role::Node, NOW, &Anyone).unwrap();
    assert_eq!((peer.key(), peer.not_after()), (&key, NOW.plus(DAY)));
}

#[test]
fn messages_survive_the_wire_and_nothing_else_does() {
    let stage = Stage::new();
    let client = stage.client();
    let hello = ClientMessage::Hello(client.hello().clone());
    let bytes = hello.to_bytes();
    assert_eq!(ClientMessage::from_bytes(&bytes), Ok(hello));
    let mut longer = bytes.clone();
    longer.push(0);
    assert_eq!(ClientMessage::from_bytes(&longer), Err(DecodeError::NonCanonical));
    assert_eq!(
        ClientMessage::from_bytes(&vec![0; 16 * 1024 + 1]),
        Err(DecodeError::TooLong { len: 16 * 1024 + 1, limit: 16 * 1024 })
    );
    let refused = ServerMessage::Refused(Refusal::EnrolUsed, "used".into());
    assert_eq!(ServerMessage::from_bytes(&refused.to_bytes()), Ok(refused));
}

#[test]
fn token_must_be_known_and_not_expired() {
    let stage = Stage::new();
    let client = stage.client();
    let mut unknown = client.hello().clone();
    unknown.token_id = Serial::from_bytes([0; 16]);
    assert_eq!(stage.begin(&unknown).map(|_| ()), Err(Refusal::EnrolToken));
    assert_eq!(stage.begin_at(client.hello(), NOW.plus(3599)).map(|_| ()), Ok(()));
    assert_eq!(stage.begin_at(client.hello(), NOW.plus(3600)).map(|_| ()), Err(Refusal::EnrolExpired));
    stage.tokens.purge(NOW.plus(3600));
    assert_eq!(stage.begin(client.hello()).map(|_| ()), Err(Refusal::EnrolToken));
}

#[test]
fn hello_must_have_this_version_three_strong_keys_and_a_log() {
    let stage = Stage::new();
    let with = |change: &dyn Fn(&mut Hello)| {
        let mut hello = stage.client().hello().clone();
        change(&mut hello);
        stage.begin(&hello).map(|_| ())
    };
    let own = stage.identity.public();
    assert_eq!(with(&|_| {}), Ok(()));
    assert_eq!(with(&|h| h.version = 2), Err(Refusal::EnrolShape));
    assert_eq!(with(&|h| h.identity_key = PublicKey::from_bytes([0; 32])), Err(Refusal::CertWeakKey));
    assert_eq!(with(&|h| h.tls_key = PublicKey::from_bytes([0; 32])), Err(Refusal::CertWeakKey));
    assert_eq!(with(&|h| h.tls_key = h.identity_key), Err(Refusal::EnrolShape));
    assert_eq!(with(&|h| h.log_vkey = vkey(&own)), Err(Refusal::EnrolShape));
    for bad in ["", "name", "name+0badcafe", "name+0badcafe+!", "a b+0badcafe+AAAA", "+0badcafe+AAAA"] {
        assert_eq!(with(&|h| h.log_vkey = bad.to_owned()), Err(Refusal::EnrolShape), "{bad:?}");
    }
    let upper = |h: &mut Hello| h.log_vkey = h.log_vkey.replace("0badcafe", "0BADCAFE");
    assert_eq!(with(&upper), Err(Refusal::EnrolShape));
    let long = |h: &mut Hello| h.log_vkey = format!("{}{}", "n".repeat(300), h.log_vkey);
    assert_eq!(with(&long), Err(Refusal::EnrolShape));
    let mut weak = vec![1];
    weak.extend_from_slice(&[0; 32]);
    let weak = format!("name+0badcafe+{}", BASE64.encode(&weak));
    assert_eq!(with(&|h| h.log_vkey.clone_from(&weak)), Err(Refusal::CertWeakKey));
}

#[test]
fn each_signature_of_the_proof_is_needed() {
    let other = SecretKey::from_seed([99; 32]);
    let with = |change: &dyn Fn(&mut Proof)| {
        let stage = Stage::new();
        let (server, _, mut proof) = stage.proved();
        change(&mut proof);
        stage.finish(server, &proof).map(|_| ())
    };
    let forged: Signature = other.sign(b"");
    assert_eq!(with(&|_| {}), Ok(()));
    assert_eq!(with(&|p| p.node_sig = forged), Err(Refusal::EnrolProof));
    assert_eq!(with(&|p| p.token_sig = forged), Err(Refusal::EnrolProof));
    assert_eq!(with(&|p| p.token_sig = p.node_sig), Err(Refusal::EnrolProof));
    assert_eq!(with(&|p| p.binding_sig = forged), Err(Refusal::EnrolProof));
}

#[test]
fn proof_is_bound_to_connection_nonces_and_hello() {
    let stage = Stage::new();
    let (server, _, proof) = stage.proved();
    let prove = |server: EnrolServer, exporter| server.prove(&proof, exporter, NOW).map(drop);
    let refusal = |result: Result<(), Refused>| result.map_err(|r| r.refusal);
    assert_eq!(refusal(prove(server.clone(), &[78; 32])), Err(Refusal::EnrolProof));
    let (second, _) = stage.begin(stage.client().hello()).unwrap();
    assert_eq!(refusal(prove(second, &EXPORTER)), Err(Refusal::EnrolProof));
    assert_eq!(refusal(prove(server, &EXPORTER)), Ok(()));
}

#[test]
fn node_answers_only_the_router_that_tls_has_shown() {
    let stage = Stage::new();
    let (_, challenge) = stage.begin(stage.client().hello()).unwrap();
    let with = |challenge: &Challenge, router: &VerifiedPeer, now| {
        stage
            .client()
            .on_challenge(challenge, &EXPORTER, router, now)
            .map(|_| ())
            .map_err(|Refused { refusal, .. }| refusal)
    };
    assert_eq!(with(&challenge, &stage.router, NOW), Ok(()));
    let mut other = challenge.clone();
    other.router_id = counterfoil_spec::ids::RouterId::from_bytes([0; 32]);
    assert_eq!(with(&other, &stage.router, NOW), Err(Refusal::EnrolProof));
    let node = stage.net.credentials(Role::Node, &SecretKey::from_seed([20; 32])).chain().certificates();
    let node = verify_chain(&node, &stage.net.domain, Role::Node, NOW, &Anyone).unwrap();
    assert_eq!(with(&challenge, &node, NOW), Err(Refusal::EnrolProof));
    let there = Net::new(5);
    let chain = there.credentials(Role::Router, &SecretKey::from_seed([20; 32])).chain().certificates();
    let stranger = verify_chain(&chain, &there.domain, Role::Router, NOW, &Anyone).unwrap();
    assert_eq!(with(&challenge, &stranger, NOW), Err(Refusal::EnrolProof));
    assert_eq!(with(&challenge, &stage.router, Seconds(NOW.0 - 60)), Ok(()));
    assert_eq!(with(&challenge, &stage.router, Seconds(NOW.0 - 61)), Err(Refusal::EnrolShape));
    assert_eq!(with(&challenge, &stage.router, NOW.plus(DAY)), Err(Refusal::EnrolShape));
}

#[test]
fn node_takes_only_its_own_certificate_under_the_pinned_root() {
    let stage = Stage::new();
    let (server, _, proof) = stage.proved();
    let good = stage.finish(server, &proof).unwrap();
    let with = |change: &dyn Fn(&mut Enrolled)| {
        let mut enrolled = good.clone();
        change(&mut enrolled);
        let (_, proving, _) = stage.proved();
        proving.on_enrolled(&enrolled, NOW).map(|j| j.node).map_err(|r| r.refusal)
    };
    assert_eq!(with(&|_| {}), Ok(stage.identity.public().node_id()));
    assert_eq!(with(&|e| e.root = Net::new(5).root.der().to_vec()), Err(Refusal::CertUntrusted));
    let leaf_for = |identity: &SecretKey| {
        let credentials = stage.net.credentials(Role::Node, identity);
        credentials.chain().leaf.clone()
    };
    assert_eq!(with(&|e| e.leaf = leaf_for(&SecretKey::from_seed([50; 32]))), Err(Refusal::CertId));
    assert_eq!(with(&|e| e.leaf = leaf_for(&stage.identity)), Err(Refusal::CertBinding));
}

#[test]
fn join_token_is_one_string_and_tells_what_is_wrong_with_it() {
    let token = JoinToken::generate(Net::new(1).root.net_id(), NOW);
    let text = token.to_string();
    assert_eq!((text.len(), &text[..7]), (156, "cfjoin1"));
    let read: JoinToken = format!(" {text}\n").parse().unwrap();
    assert_eq!((read.facts(), read.net_id(), read.expires()), (token.facts(), token.net_id(), NOW));
    let fault = |text: &str| text.parse::<JoinToken>().map(|_| ());
    assert_eq!(fault(&text[..155]), Err(TokenSyntax::Shape));
    assert_eq!(fault(&text.to_uppercase()), Err(TokenSyntax::Shape));
    assert_eq!(fault("cfjoin2"), Err(TokenSyntax::Shape));
    let changed = if text.as_bytes()[20] == b'a' { "b" } else { "a" };
    assert_eq!(fault(&format!("{}{changed}{}", &text[..20], &text[21..])), Err(TokenSyntax::Check));
    assert_eq!(format!("{token:?}"), format!("JoinToken({} until {})", token.token_id(), NOW.0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_bytes_make_the_decoders_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), text in ".{0,200}") {
        let _ = ClientMessage::from_bytes(&bytes);
        let _ = ServerMessage::from_bytes(&bytes);
        prop_assert_eq!(text.parse::<JoinToken>().is_ok(), false);
    }
}
