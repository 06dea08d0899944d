//! The certificates of members: the next one on a node's lane, or at the enrolment endpoint where its last one has ended;
//! and which of them a node may show.
//!
//! A generation counts once it is used: that a certificate was given changes nothing, so that one which got lost on its
//! way costs nothing. Its first use stands in the log before anything else is said on its lane.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use counterfoil_identity::Refused;
use counterfoil_identity::enrol::{RenewAt, Shown, Standing, renew, shown};
use counterfoil_session::enrol::Returning;
use counterfoil_session::{ConnectError, RouterLane};
use counterfoil_spec::ids::{NodeId, Serial};
use counterfoil_spec::limits::{MAX_ENROL_REFUSALS, RENEWAL_WINDOW_S};
use counterfoil_spec::message::{Renew, Renewal};
use counterfoil_spec::payload::{NodeRenewed, RefusalSeen};
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::time::Seconds;

use crate::desk::Desk;
use crate::http::refusals::{By, What};
use crate::office::entry;

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
        // It asks once on a lane: where the answer cannot be sent it is to come back, as it may with what it has.
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
    let now = desk.office.now().seconds();
    let (member, denied) = {
        let books = desk.office.books();
        (books.roster.member(&node).cloned(), books.roster.denied().names.denies_node(&node))
    };
    let used = member.as_ref().map_or(0, |m| m.generation);
    let standing = Standing {
        key: member.as_ref().map(|m| &m.key),
        used,
        ended: member.as_ref().map_or(Seconds(0), |m| m.ends),
        denied,
        issued: desk.renewals.issued(&node, used, now),
        latest: desk.latest_leaf_end(now),
    };
    let (net_id, router_id) = (desk.home.net_id(), desk.home.router_id());
    let at = RenewAt { net_id: &net_id, router_id: &router_id, exporter };
    match renew(asked, &at, &standing, &desk.home.ca(), now) {
        Ok(renewed) => {
            desk.renewals.issue(node, used, now);
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

fn no(desk: &Desk, (refusal, detail): (Refusal, String)) -> Renewal {
    Renewal::Refused(refusal, detail, desk.latest_leaf_end(desk.office.now().seconds()))
}

/// Looks at the certificate that a node shows on a new lane, and has its first use in the log.
pub(crate) async fn present(desk: &Arc<Desk>, lane: &RouterLane) -> Result<(), Refused> {
    let (own, lane) = (Arc::clone(desk), lane.clone());
    let presented = tokio::task::spawn_blocking(move || presented(&own, &lane)).await;
    presented.unwrap_or_else(|e| Err(Refused { refusal: Refusal::SessionInternal, detail: e.to_string() }))
}

/// Nobody else decides meanwhile: of two certificates of one generation one is used first.
fn presented(desk: &Desk, lane: &RouterLane) -> Result<(), Refused> {
    let _alone = desk.office.decide();
    let (peer, now) = (lane.peer(), desk.office.now().seconds());
    let node = peer.id();
    let Some((used, certificate)) =
        desk.office.books().roster.member(&node).map(|m| (m.generation, m.certificate))
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
mod tests {
    use super::*;

    const NOW: Seconds = Seconds(1_800_000_000);

    fn node(n: u8) -> NodeId {
        NodeId::from_bytes([n; 32])
    }

    #[test]
    fn certificates_are_counted_by_node_and_generation_within_a_window() {
        let renewals = Renewals::default();
        renewals.issue(node(1), 1, NOW);
        renewals.issue(node(1), 1, NOW.plus(RENEWAL_WINDOW_S - 1));
        assert_eq!(renewals.issued(&node(1), 1, NOW.plus(RENEWAL_WINDOW_S - 1)), 2);
        assert_eq!(renewals.issued(&node(1), 1, NOW.plus(RENEWAL_WINDOW_S)), 0);
        assert_eq!((renewals.issued(&node(1), 2, NOW), renewals.issued(&node(2), 1, NOW)), (0, 0));
        renewals.issue(node(1), 2, NOW);
        assert_eq!((renewals.issued(&node(1), 2, NOW), renewals.rows().len()), (1, 1));
    }

    #[test]
    fn as_many_refusals_of_a_node_are_logged_as_may_be() {
        let renewals = Renewals::default();
        let logged = (0..2 * MAX_ENROL_REFUSALS).filter(|_| renewals.refuse(node(1), 1, NOW)).count();
        assert_eq!(u32::try_from(logged), Ok(MAX_ENROL_REFUSALS));
        assert!(renewals.refuse(node(2), 1, NOW) && renewals.refuse(node(1), 2, NOW));
    }
}
