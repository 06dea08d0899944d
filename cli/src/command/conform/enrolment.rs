//! Join tokens, and a router's answers to the messages of enrolment.

use counterfoil_identity::enrol::{
    ClientMessage, EnrolOffer, EnrolServer, Finish, JoinToken, MemoryTokens, NodeFacts, RecoveryAt,
    TokenFacts,
};
use counterfoil_identity::{
    Directory, IssuingCa, Refused, SecretKey, TrustDomain, VerifiedPeer, verify_chain,
};
use counterfoil_spec::entry::Role;
use counterfoil_spec::ids::{Hash, Kid, NetId, PublicKey, RouterId, Serial};
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::time::Seconds;
use serde::Deserialize;
use serde_json::Value;

use super::judge::{Hex, Judged, Verdict, exactly, read};
use super::keys::strong;

#[derive(Deserialize)]
struct Pasted {
    text: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Group {
    net_id: NetId,
    router_id: RouterId,
    root: Hex,
    ca: Hex,
    ca_seed: Hex,
    exporter: Hex,
    nonce: Hash,
    not_after: Seconds,
    generation: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Exchange {
    attempts: Vec<Attempt>,
    tokens: Vec<Token>,
    enrolled_kids: Vec<Kid>,
    finish_at: Option<Seconds>,
}

#[derive(Deserialize)]
struct Attempt {
    hello: Hex,
    proof: Option<Hex>,
    now: Seconds,
}

#[derive(Deserialize)]
struct Token {
    id: Serial,
    key: PublicKey,
    expires: Seconds,
}

/// A router on its own.
struct Router {
    ca: IssuingCa,
    offer: EnrolOffer,
    exporter: [u8; 32],
    nonce: Hash,
    tokens: MemoryTokens,
    enrolled: Vec<Kid>,
    finish_at: Option<Seconds>,
}

/// The text that somebody pastes.
pub(super) fn join_token(test: &Value) -> Judged {
    let test: Pasted = read(test)?;
    Ok(Verdict::uncoded(test.text.parse::<JoinToken>()))
}

/// Attempts to enrol, one after the other; the last one is judged.
pub(super) fn exchange(group: &Value, test: &Value) -> Judged {
    let (group, test): (Group, Exchange) = (read(group)?, read(test)?);
    let attempts = test.attempts;
    let router = match router(&group, &test.tokens, test.enrolled_kids) {
        Ok(router) => Router { exporter: exactly(&group.exporter)?, finish_at: test.finish_at, ..router },
        Err(detail) => return Ok(Verdict::Skipped(detail)),
    };
    let mut last = Verdict::Skipped("no attempt".to_owned());
    for attempt in &attempts {
        last = Verdict::of(router.answer(attempt));
    }
    Ok(last)
}

/// The issuing CA of a group's router.
pub(super) fn authority(root: &Hex, ca: &Hex, seed: &Hex) -> Result<IssuingCa, String> {
    let domain = TrustDomain::new(&root.0).map_err(|e| e.to_string())?;
    let seed = seed.0.as_slice().try_into().map_err(|_| "the seed of the issuing CA".to_owned())?;
    IssuingCa::from_parts(SecretKey::from_seed(seed), ca.0.clone(), &domain).map_err(|e| e.to_string())
}

fn router(group: &Group, tokens: &[Token], enrolled: Vec<Kid>) -> Result<Router, String> {
    let ca = authority(&group.root, &group.ca, &group.ca_seed)?;
    let store = MemoryTokens::new();
    for token in tokens {
        let key = strong(token.key).map_err(|e| e.to_string())?;
        store.add(TokenFacts { token_id: token.id, key, expires: token.expires });
    }
    let offer = EnrolOffer {
        net_id: group.net_id,
        router_id: group.router_id,
        not_after: group.not_after,
        generation: group.generation,
    };
    let (nonce, exporter) = (group.nonce, [0; 32]);
    Ok(Router { ca, offer, exporter, nonce, tokens: store, enrolled, finish_at: None })
}

impl Router {
    fn answer(&self, attempt: &Attempt) -> Result<(), Refused> {
        let ClientMessage::Hello(hello) = message(&attempt.hello)? else {
            return Err(no(Refusal::SessionOrder, "a proof before a hello"));
        };
        let (server, _) = EnrolServer::begin_with(hello, self.offer, &self.tokens, attempt.now, self.nonce)?;
        let Some(proof) = &attempt.proof else { return Ok(()) };
        let ClientMessage::Proof(proof) = message(proof)? else {
            return Err(no(Refusal::SessionOrder, "a second hello"));
        };
        let now = self.finish_at.unwrap_or(attempt.now);
        let enrolled = server.prove(&proof, &self.exporter, now)?.enrol(&Finish {
            ca: &self.ca,
            tokens: &self.tokens,
            collides: &|facts: &NodeFacts| self.enrolled.contains(&facts.key.kid()),
            record: &|_| Ok(()),
            min_epoch: 1,
            now,
        })?;
        is_issued((enrolled.leaf, enrolled.ca), &self.ca, now)
    }
}

/// Whether a peer accepts what was issued: a leaf and its CA.
pub(super) fn is_issued((leaf, ca): (Vec<u8>, Vec<u8>), by: &IssuingCa, now: Seconds) -> Result<(), Refused> {
    verify_chain(&[leaf.into(), ca.into()], by.domain(), Role::Node, now, &Anybody).map(drop)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Place {
    net_id: NetId,
    router_id: RouterId,
    exporter: Hex,
}

#[derive(Deserialize)]
struct Asked {
    message: Hex,
    committed: Option<Hash>,
}

/// A node that is to be denied.
pub(super) fn recovery(group: &Value, test: &Value) -> Judged {
    let (group, test): (Place, Asked) = (read(group)?, read(test)?);
    let exporter = exactly(&group.exporter)?;
    let at = RecoveryAt { net_id: &group.net_id, router_id: &group.router_id, exporter: &exporter };
    Ok(Verdict::of(message(&test.message).and_then(|said| match said {
        ClientMessage::Recover(asked) => at.check(&asked, test.committed),
        _ => Err(no(Refusal::SessionOrder, "no recovery")),
    })))
}

struct Anybody;

impl Directory for Anybody {
    fn check(&self, _: &VerifiedPeer) -> Result<(), Refusal> {
        Ok(())
    }
}

pub(super) fn message(bytes: &Hex) -> Result<ClientMessage, Refused> {
    ClientMessage::from_bytes(&bytes.0).map_err(|e| no(Refusal::EnrolShape, &e.to_string()))
}

pub(super) fn no(refusal: Refusal, detail: &str) -> Refused {
    Refused { refusal, detail: detail.to_owned() }
}
