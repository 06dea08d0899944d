//! The enrolment endpoint: whoever holds a join token and an identity key becomes a member, and the log says so
//! before the answer leaves. Whoever is refused after it proved who it is, is in the log too.

mod claims;
mod recovery;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::sync::Arc;

use counterfoil_audit::NoteVerifier;
use counterfoil_identity::enrol::{
    Claim, Consumed, EnrolOffer, EnrolServer, Enrolled, Finish, MemoryTokens, NodeFacts, Proof, Proved,
    TokenFacts, TokenStore,
};
use counterfoil_identity::{IssuingCa, Refused, VerifyKey};
use counterfoil_session::ConnectError;
use counterfoil_session::enrol::{EnrolEndpoint, Visitor};
use counterfoil_spec::ids::{NodeId, Serial};
use counterfoil_spec::limits::MAX_ENROL_REFUSALS;
use counterfoil_spec::payload::{NodeEnrolled, RefusalSeen};
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::time::Seconds;

use crate::desk::Desk;
use crate::enrolment::claims::Claims;
use crate::http::refusals::What;
use crate::office::{Office, entry};
use crate::renewal::MAX_SIGNED;

/// Join tokens as the log knows them, with what happened to them since.
struct Tokens<'a> {
    office: &'a Office,
    memory: &'a MemoryTokens,
}

impl TokenStore for Tokens<'_> {
    fn find(&self, token_id: &Serial) -> Option<TokenFacts> {
        if let Some(facts) = self.memory.find(token_id) {
            return Some(facts);
        }
        let books = self.office.books();
        let state = books.roster.token(token_id)?;
        let key = VerifyKey::from_wire(state.public_key).ok()?;
        let facts = TokenFacts { token_id: *token_id, key, expires: state.expires };
        self.memory.add(facts);
        if state.used_by.is_some() {
            self.memory.mark_used(token_id);
        }
        Some(facts)
    }

    fn consume(&self, claim: &Claim, now: Seconds) -> Result<Consumed, Refusal> {
        self.memory.consume(claim, now)
    }

    fn answered(&self, claim: &Claim, answer: &Enrolled) {
        self.memory.answered(claim, answer);
    }

    fn release(&self, claim: &Claim) {
        self.memory.release(claim);
    }
}

/// Enrols whoever comes, until the endpoint closes. How many come at one time is the endpoint's to bound.
pub(crate) async fn serve(desk: Arc<Desk>, endpoint: EnrolEndpoint) {
    let claims = Arc::new(Claims::default());
    while let Some(knocking) = endpoint.accept().await {
        let (desk, claims) = (Arc::clone(&desk), Arc::clone(&claims));
        tokio::spawn(async move {
            let applicant = match knocking.came().await {
                Ok(Visitor::Applicant(applicant)) => applicant,
                Ok(Visitor::Recovering(recovering)) => {
                    let from = recovering.remote_addr();
                    if let Err(e) = recovery::recover(&desk, recovering).await {
                        desk.metrics.peers_refused.one();
                        desk.metrics.refusals.connection(What::Recovery, &e);
                        tracing::warn!(%from, error = %e, "a recovery was refused");
                    }
                    return;
                }
                Ok(Visitor::Returning(returning)) => {
                    let from = returning.remote_addr();
                    if let Err(e) = crate::renewal::late(&desk, returning).await {
                        tracing::warn!(%from, error = %e, "a node did not get its certificate renewed");
                    }
                    return;
                }
                Err(e) => {
                    desk.metrics.peers_refused.one();
                    desk.metrics.refusals.connection(What::Enrolment, &e);
                    if matches!(e, ConnectError::Unreachable { .. }) {
                        tracing::debug!(error = %e, "a connection came to nothing");
                    } else {
                        tracing::warn!(error = %e, "an enrolment did not begin");
                    }
                    return;
                }
            };
            let from = applicant.remote_addr();
            let now = desk.office.now().seconds();
            let tokens = Tokens { office: &desk.office, memory: &claims.memory };
            let generation = {
                let books = desk.office.books();
                let key = VerifyKey::from_wire(applicant.hello().identity_key).ok();
                key.and_then(|k| books.roster.member(&k.node_id()).map(|m| m.generation + 1)).unwrap_or(1)
            };
            let offer = EnrolOffer {
                net_id: desk.home.net_id(),
                router_id: desk.home.router_id(),
                not_after: desk.latest_leaf_end(now),
                generation,
            };
            let decided = applicant
                .run(offer, &tokens, now, |server, proof, exporter| {
                    decide(&desk, &claims, (server, proof), exporter)
                })
                .await;
            if let Err(e) = decided {
                desk.metrics.peers_refused.one();
                desk.metrics.refusals.connection(What::Enrolment, &e);
                tracing::warn!(%from, error = %e, "an enrolment was refused");
            }
            claims.memory.purge(now);
        });
    }
}

/// What this router decides of a proof, on a thread that may wait for the log.
async fn decide(
    desk: &Arc<Desk>,
    claims: &Arc<Claims>,
    (server, proof): (EnrolServer, Proof),
    exporter: [u8; 32],
) -> Result<Enrolled, Refused> {
    let (desk, claims) = (Arc::clone(desk), Arc::clone(claims));
    let decided = tokio::task::spawn_blocking(move || {
        check_log_name(&server)?;
        let is_of_the_router = check_keys(&desk, &server);
        let proved = server.prove(&proof, &exporter, desk.office.now().seconds())?;
        // From here on somebody is known, so the log says of both ends whose they were.
        let (node, token_id) = (proved.facts().node, proved.facts().token_id);
        is_of_the_router.and_then(|()| admit(&desk, &claims, proved)).inspect_err(|refused| {
            if claims.memory.count_refusal(&token_id) < MAX_ENROL_REFUSALS {
                log_refusal(&desk, node, refused.refusal);
            }
        })
    });
    decided.await.unwrap_or_else(|e| Err(internal(e.to_string())))
}

/// Makes a member of whoever proved its keys. Others decide while the CA signs, so that a slow one keeps nobody waiting
/// but those who want the same token.
fn admit(desk: &Desk, claims: &Claims, proved: Proved) -> Result<Enrolled, Refused> {
    crate::deny::check(desk, &proved.facts().node)?;
    let Some(_turn) = claims.turn(proved.facts().token_id) else {
        let detail = "as many enrolments wait for this join token as may; try again later".to_owned();
        return Err(Refused { refusal: Refusal::EnrolRate, detail });
    };
    let tokens = Tokens { office: &desk.office, memory: &claims.memory };
    let collides = |facts: &NodeFacts| collides(desk, facts);
    for _ in 0..MAX_SIGNED {
        let (ca, is_passed) = (desk.home.ca(), Cell::new(false));
        let record = |facts| record(desk, (&ca, &is_passed), facts);
        let now = desk.office.now().seconds();
        let (ca, collides, record) = (&*ca, &collides, &record);
        let done = proved.clone().enrol(&Finish { ca, tokens: &tokens, collides, record, min_epoch: 1, now });
        // Nothing came of it, so the token is free, and it is this claim's turn.
        if !is_passed.get() {
            return done;
        }
    }
    Err(internal("another issuing CA took over meanwhile; try again later".to_owned()))
}

/// Has an enrolment in the log whose certificate was signed, unless the CA has been passed by then. Nobody else decides
/// meanwhile, so what the books say stays true until the log has the entry: of two certificates of one generation, and of a
/// node that is denied at this moment.
//= spec/identity.md#enrolment
//# A router MUST NOT enrol a node that was denied while its certificate was signed (`C_DENIED`), nor give it a certificate of an issuing
//# CA whose place another took meanwhile.
fn record(desk: &Desk, (ca, is_passed): (&IssuingCa, &Cell<bool>), facts: NodeFacts) -> Result<(), Refused> {
    let _alone = desk.office.decide();
    if desk.home.ca().serial() != ca.serial() {
        is_passed.set(true);
        return Err(internal("another issuing CA took over".to_owned()));
    }
    crate::deny::check(desk, &facts.node)?;
    if collides(desk, &facts) {
        let detail = "this identity key, or one with the same key id, was enrolled meanwhile".to_owned();
        return Err(Refused { refusal: Refusal::EnrolCollision, detail });
    }
    let token_id = facts.token_id;
    desk.office.append_blocking(vec![entry(enrolled(facts))]).map(drop).map_err(|e| {
        tracing::error!(error = %e, %token_id, "an enrolment could not be logged");
        internal("the router cannot write its log now; try again later".to_owned())
    })
}

/// Whether the key's id stands in the log for another key, the log's key is another node's, or the node has a certificate of this
/// generation already.
//= spec/identity.md#enrolment
//# A router MUST refuse a NIK or a log key that stands in its log as that of another node (`E_COLLISION`), because nothing proves that a
//# node holds its log's key.
fn collides(desk: &Desk, facts: &NodeFacts) -> bool {
    let (books, kid) = (desk.office.books(), facts.key.kid());
    let own = [desk.office.identity().public().kid(), desk.home.domain().root_key().kid()];
    let log_key = key_of(&facts.log_vkey);
    own.contains(&kid)
        || books.roster.members().any(|(id, member)| {
            if *id == facts.node {
                member.generation >= facts.generation
            } else {
                member.key.kid() == kid || (log_key.is_some() && key_of(&member.log_vkey) == log_key)
            }
        })
}

/// The key of a verifier key's text, which has it after its name and its id.
fn key_of(vkey: &str) -> Option<&str> {
    vkey.splitn(3, '+').nth(2)
}

/// A step that failed is an entry too.
fn log_refusal(desk: &Desk, node: NodeId, refusal: Refusal) {
    let seen = RefusalSeen { refusal, node: Some(node), by: desk.home.router_id() };
    if let Err(e) = desk.office.append_blocking(vec![entry(seen)]) {
        tracing::error!(error = %e, %node, %refusal, "a refusal could not be logged");
    }
}

fn internal(detail: String) -> Refused {
    Refused { refusal: Refusal::SessionInternal, detail }
}

/// A node's log bears the node's own name, so that no note of it can pass for another's.
fn check_log_name(server: &EnrolServer) -> Result<(), Refused> {
    let want = format!("counterfoil/node/{}", server.node());
    let named = server.log_vkey().parse::<NoteVerifier>().is_ok_and(|v| v.name() == want);
    if named {
        return Ok(());
    }
    let detail = format!("the node's log must be named {want}, with a C2SP verifier key");
    Err(Refused { refusal: Refusal::EnrolShape, detail })
}

/// Nobody enrols with a key of the router's own.
fn check_keys(desk: &Desk, server: &EnrolServer) -> Result<(), Refused> {
    let owned = |key: &VerifyKey| crate::own_keys::owner(desk, key);
    //= spec/identity.md#enrolment
    //# A router MUST refuse, after the proof, a node whose NIK, TLS key or log key is one of its [own](#keys) (`E_COLLISION`).
    match server.keys().iter().find_map(owned) {
        None => Ok(()),
        Some(owner) => {
            let detail = format!("one of the node's keys is {owner}; a node makes its own keys");
            Err(Refused { refusal: Refusal::EnrolCollision, detail })
        }
    }
}

fn enrolled(facts: NodeFacts) -> NodeEnrolled {
    NodeEnrolled {
        node: facts.node,
        identity_key: facts.key.wire(),
        log_vkey: facts.log_vkey,
        token_id: facts.token_id,
        generation: facts.generation,
        recovery_hash: facts.recovery_hash,
    }
}
