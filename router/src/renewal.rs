//! The certificates of members: the next one on a node's lane, or at the enrolment endpoint where its last one has ended;
//! and which of them a node may show.
//!
//! A generation counts once it is used: that a certificate was given changes nothing, so that one which got lost on its
//! way costs nothing. Its first use stands in the log before anything else is said on its lane.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use counterfoil_identity::enrol::{Allowed, RenewAt, Shown, Standing, allow, shown};
use counterfoil_identity::{Refused, VerifiedPeer};
use counterfoil_session::enrol::Returning;
use counterfoil_session::{ConnectError, RouterLane};
use counterfoil_spec::ids::{NodeId, Serial};
use counterfoil_spec::limits::{MAX_ENROL_REFUSALS, RENEWAL_WINDOW_S};
use counterfoil_spec::message::{Renew, Renewal, Renewed};
use counterfoil_spec::payload::{NodeRenewed, RefusalSeen};
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::time::Seconds;

use crate::desk::Desk;
use crate::http::refusals::{By, What};
use crate::office::entry;

/// How often a certificate is signed again because another CA took over.
const MAX_SIGNED: u32 = 4;

/// What members were given and refused lately: one row for each, and as many rows as there are members at most.
#[derive(Debug, Default)]
pub(crate) struct Renewals {
    /// The lock is held for one look.
    rows: Mutex<BTreeMap<NodeId, Row>>,
}

#[derive(Debug, Clone, Copy)]
struct Row {
    generation: u64,
    since: Seconds,
    /// Certificates of that generation.
    issued: u32,
    /// Refusals that were logged.
    refused: u32,
}

impl Renewals {
    fn issued(&self, node: &NodeId, generation: u64, now: Seconds) -> u32 {
        self.rows().get(node).filter(|row| row.is_of(generation, now)).map_or(0, |row| row.issued)
    }

    fn issue(&self, node: NodeId, generation: u64, now: Seconds) {
        Self::row(&mut self.rows(), node, generation, now).issued += 1;
    }

    /// One that was counted was not given after all.
    fn give_back(&self, node: NodeId, generation: u64, now: Seconds) {
        let mut rows = self.rows();
        let row = Self::row(&mut rows, node, generation, now);
        row.issued = row.issued.saturating_sub(1);
    }

    /// Whether one more refusal of this node is to be logged.
    fn refuse(&self, node: NodeId, generation: u64, now: Seconds) -> bool {
        let mut rows = self.rows();
        let row = Self::row(&mut rows, node, generation, now);
        row.refused = row.refused.saturating_add(1);
        row.refused <= MAX_ENROL_REFUSALS
    }

    fn row(rows: &mut BTreeMap<NodeId, Row>, node: NodeId, generation: u64, now: Seconds) -> &mut Row {
        let fresh = Row { generation, since: now, issued: 0, refused: 0 };
        let row = rows.entry(node).or_insert(fresh);
        if !row.is_of(generation, now) {
            *row = fresh;
        }
        row
    }

    fn rows(&self) -> MutexGuard<'_, BTreeMap<NodeId, Row>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Row {
    fn is_of(&self, generation: u64, now: Seconds) -> bool {
        self.generation == generation && now < self.since.plus(RENEWAL_WINDOW_S)
    }
}

/// Answers a node on its lane.
pub(crate) async fn on_lane(desk: &Arc<Desk>, lane: &RouterLane, asked: Renew) {
    let answer = match lane.renewal_exporter() {
        Ok(exporter) => answer(desk, lane.node(), asked, exporter).await,
        Err(end) => no(desk, (Refusal::SessionInternal, end.to_string())),
    };
    if let Err(error) = lane.renewal(&answer) {
        // It waits for an answer that cannot be sent: it is to come back, as it may with what it has.
        tracing::debug!(%error, "a node did not hear of its next certificate");
        lane.shut(Refusal::SessionInternal, "the answer to a renewal found no place");
    }
}

/// Answers a node whose certificate has ended.
pub(crate) async fn late(desk: &Arc<Desk>, returning: Returning) -> Result<(), ConnectError> {
    let (node, asked, exporter) = (returning.node(), returning.asked().clone(), *returning.exporter());
    let answer = answer(desk, node, asked, exporter).await;
    returning.answer(answer).await
}

/// On a thread of its own, because an agent may take its time to sign.
async fn answer(desk: &Arc<Desk>, node: NodeId, asked: Renew, exporter: [u8; 32]) -> Renewal {
    let own = Arc::clone(desk);
    let decided = tokio::task::spawn_blocking(move || decide(&own, node, &asked, &exporter)).await;
    decided.unwrap_or_else(|e| no(desk, (Refusal::SessionInternal, e.to_string())))
}

fn decide(desk: &Desk, node: NodeId, asked: &Renew, exporter: &[u8; 32]) -> Renewal {
    let (allowed, used, now) = reserve(desk, node, asked, exporter);
    let signed = allowed
        .and_then(|allowed| signed(desk, &allowed).inspect_err(|_| desk.renewals.give_back(node, used, now)));
    match signed {
        Ok(renewed) => {
            tracing::info!(%node, generation = asked.generation, "a node was given its next certificate");
            Renewal::Renewed(renewed)
        }
        // An end that is too late is a question, and this its answer.
        Err(Refused { refusal: refusal @ Refusal::CertLifetime, detail }) => no(desk, (refusal, detail)),
        Err(Refused { refusal, detail }) => {
            desk.metrics.peers_refused.one();
            desk.metrics.refusals.one(By::Router, What::Renewal, refusal);
            tracing::warn!(%node, %refusal, detail, "a node was not given its next certificate");
            // Before its key proved itself nobody is known.
            let is_known = !matches!(refusal, Refusal::EnrolProof | Refusal::EnrolCsr | Refusal::CertWeakKey);
            if is_known {
                log(desk, node, (refusal, used), now);
            }
            no(desk, (refusal, detail))
        }
    }
}

/// Whether a node may have what it asks for, the generation that counts for it, and when that was decided. What it may have
/// is counted at once, so that of those who ask at one moment no more are given one than may be.
//= spec/identity.md#renewal
//# A router MUST count a certificate as given before it signs it, and where it does not give it after all, count it no more.
fn reserve(
    desk: &Desk,
    node: NodeId,
    asked: &Renew,
    exporter: &[u8; 32],
) -> (Result<Allowed, Refused>, u64, Seconds) {
    let _alone = desk.office.decide();
    let now = desk.office.now().seconds();
    let (member, denied) = {
        let books = desk.office.books();
        (books.roster.member(&node).cloned(), books.roster.denied().names.denies_node(&node))
    };
    let used = member.as_ref().map_or(0, |m| m.generation);
    let standing = Standing {
        key: member.as_ref().map(|m| &m.key),
        used,
        since: member.as_ref().and_then(|m| m.used).map(|first| first.since),
        ended: member.as_ref().map_or(Seconds(0), |m| m.ends),
        denied,
        issued: desk.renewals.issued(&node, used, now),
        latest: desk.latest_leaf_end(now),
    };
    let (net_id, router_id) = (desk.home.net_id(), desk.home.router_id());
    let at = RenewAt { net_id: &net_id, router_id: &router_id, exporter };
    let allowed = allow(asked, &at, &standing, now);
    if allowed.is_ok() {
        desk.renewals.issue(node, used, now);
    }
    (allowed, used, now)
}

/// Has it signed. Nobody is kept from deciding meanwhile, because the CA's key may be an agent's.
//= spec/identity.md#renewal
//# A router MUST NOT give a certificate of an issuing CA whose place another took while it was signed.
fn signed(desk: &Desk, allowed: &Allowed) -> Result<Renewed, Refused> {
    for _ in 0..MAX_SIGNED {
        let ca = desk.home.ca();
        let renewed = allowed.issue(&ca)?;
        let _alone = desk.office.decide();
        if desk.home.ca().serial() == ca.serial() {
            return Ok(renewed);
        }
    }
    let detail = "another issuing CA took over meanwhile; try again later".to_owned();
    Err(Refused { refusal: Refusal::SessionInternal, detail })
}

fn no(desk: &Desk, (refusal, detail): (Refusal, String)) -> Renewal {
    Renewal::Refused(refusal, detail, desk.latest_leaf_end(desk.office.now().seconds()))
}

/// Looks at the certificate that a node shows on a new lane, and has its first use in the log.
pub(crate) async fn present(desk: &Arc<Desk>, lane: &RouterLane) -> Result<(), Refused> {
    let (own, lane) = (Arc::clone(desk), lane.clone());
    let presented = tokio::task::spawn_blocking(move || presented(&own, lane.peer())).await;
    presented.unwrap_or_else(|e| Err(Refused { refusal: Refusal::SessionInternal, detail: e.to_string() }))
}

/// Nobody else decides meanwhile: of two certificates of one generation one is used first.
fn presented(desk: &Desk, peer: &VerifiedPeer) -> Result<(), Refused> {
    let _alone = desk.office.decide();
    let (node, now) = (peer.id(), desk.office.now().seconds());
    let Some((used, certificate)) = desk
        .office
        .books()
        .roster
        .member(&node)
        .map(|m| (m.generation, m.used.map(|first| first.certificate)))
    else {
        let detail = "no entry enrolled this node".to_owned();
        return Err(Refused { refusal: Refusal::CertUnknown, detail });
    };
    match shown(peer, used, certificate) {
        Ok(Shown::Again) => Ok(()),
        //= spec/identity.md#renewal
        //# It MUST have the first use of a generation in its log, as `node-renewed`, before it sends anything on that lane.
        Ok(Shown::First) => {
            let renewed = NodeRenewed {
                node,
                generation: peer.generation(),
                certificate: Serial::from_bytes(*peer.cert_serial()),
                not_after: peer.not_after(),
            };
            desk.office.append_blocking(vec![entry(renewed)]).map(drop).map_err(|e| {
                tracing::error!(error = %e, %node, "the first use of a certificate could not be logged");
                let detail = "the router cannot write its log now; try again later".to_owned();
                Refused { refusal: Refusal::SessionInternal, detail }
            })
        }
        Err(refused) => {
            log(desk, node, (refused.refusal, used), now);
            Err(refused)
        }
    }
}

/// Has it in the log that a node was refused, as far as may be.
pub(crate) async fn seen(desk: &Arc<Desk>, node: NodeId, refusal: Refusal) {
    let own = Arc::clone(desk);
    let logged = tokio::task::spawn_blocking(move || {
        let used = own.office.books().roster.member(&node).map_or(0, |member| member.generation);
        log(&own, node, (refusal, used), own.office.now().seconds());
    });
    if let Err(error) = logged.await {
        tracing::error!(%error, %node, %refusal, "a refusal could not be logged");
    }
}

fn log(desk: &Desk, node: NodeId, (refusal, used): (Refusal, u64), now: Seconds) {
    if desk.office.books().roster.member(&node).is_none() || !desk.renewals.refuse(node, used, now) {
        return;
    }
    let seen = RefusalSeen { refusal, node: Some(node), by: desk.home.router_id() };
    if let Err(e) = desk.office.append_blocking(vec![entry(seen)]) {
        tracing::error!(error = %e, %node, %refusal, "a refusal could not be logged");
    }
}

#[cfg(test)]
mod tests;
