//! The enrolment endpoint: whoever holds a join token and an identity key becomes a member, and the log says so
//! before the answer leaves.

mod recovery;

use std::sync::Arc;

use counterfoil_audit::NoteVerifier;
use counterfoil_identity::enrol::{
    Claim, Consumed, EnrolOffer, EnrolServer, Enrolled, Finish, MemoryTokens, Proof,
};
use counterfoil_identity::enrol::{NodeFacts, TokenFacts, TokenStore};
use counterfoil_identity::{Refused, VerifyKey};
use counterfoil_session::enrol::{EnrolEndpoint, Visitor};
use counterfoil_spec::ids::Serial;
use counterfoil_spec::payload::NodeEnrolled;
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::time::Seconds;

use crate::desk::Desk;
use crate::http::refusals::What;
use crate::office::{Office, entry};

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
}

/// Enrols whoever comes, until the endpoint closes. How many come at one time is the endpoint's to bound.
pub(crate) async fn serve(desk: Arc<Desk>, endpoint: EnrolEndpoint) {
    let memory = Arc::new(MemoryTokens::new());
    while let Some(knocking) = endpoint.accept().await {
        let (desk, memory) = (Arc::clone(&desk), Arc::clone(&memory));
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
                Err(e) => {
                    desk.metrics.peers_refused.one();
                    desk.metrics.refusals.connection(What::Enrolment, &e);
                    tracing::warn!(error = %e, "an enrolment did not begin");
                    return;
                }
            };
            let from = applicant.remote_addr();
            let now = desk.office.now().seconds();
            let tokens = Tokens { office: &desk.office, memory: &memory };
            let generation = {
                let books = desk.office.books();
                let key = VerifyKey::from_wire(applicant.hello().identity_key).ok();
                key.and_then(|k| books.roster.member(&k.node_id()).map(|m| m.generation + 1)).unwrap_or(1)
            };
            let offer = EnrolOffer {
                net_id: desk.home.net_id(),
                router_id: desk.home.router_id(),
                not_after: desk.home.ca().latest_leaf_end(now),
                generation,
            };
            let decided = applicant
                .run(offer, &tokens, now, |server, proof, exporter| {
                    decide(&desk, &tokens, (server, proof), exporter, now)
                })
                .await;
            if let Err(e) = decided {
                desk.metrics.peers_refused.one();
                desk.metrics.refusals.connection(What::Enrolment, &e);
                tracing::warn!(%from, error = %e, "an enrolment was refused");
            }
            memory.purge(now);
        });
    }
}

async fn decide(
    desk: &Desk,
    tokens: &Tokens<'_>,
    (server, proof): (EnrolServer, Proof),
    exporter: [u8; 32],
    now: Seconds,
) -> Result<Enrolled, Refused> {
    check_log_name(&server)?;
    if desk.office.denied().borrow().names.denies_node(&server.node()) {
        let detail = "this node is on the deny list".to_owned();
        return Err(Refused { refusal: Refusal::CertDenied, detail });
    }
    let collides = |key: &VerifyKey| {
        let books = desk.office.books();
        let taken = books.roster.members().any(|(id, m)| m.key.kid() == key.kid() && *id != key.node_id());
        taken || key.kid() == desk.office.identity().public().kid()
    };
    let finished = server.finish(
        &proof,
        &Finish { exporter: &exporter, ca: desk.home.ca(), tokens, collides: &collides, min_epoch: 1, now },
    )?;
    if let Some(facts) = finished.facts {
        let token_id = facts.token_id;
        if let Err(e) = desk.office.append(vec![entry(enrolled(facts))]).await {
            tracing::error!(error = %e, %token_id, "an enrolment could not be logged");
            let detail =
                "the router cannot write its log now; try again later with a new join token".to_owned();
            return Err(Refused { refusal: Refusal::SessionInternal, detail });
        }
    }
    Ok(finished.enrolled)
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
