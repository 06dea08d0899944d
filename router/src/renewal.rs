//! The certificates of members: the next one on a node's lane, or at the enrolment endpoint where its last one has ended;
//! and which of them a node may show.
//!
//! A generation counts once it is used: that a certificate was given changes nothing, so that one which got lost on its
//! way costs nothing. Its first use stands in the log before anything else is said on its lane.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use counterfoil_identity::enrol::{Allowed, RenewAt, Shown, Standing, Wanted, shown, wanted};
use counterfoil_identity::{Refused, VerifiedPeer, certificate_serial};
use counterfoil_session::RouterLane;
use counterfoil_spec::ids::{NodeId, Serial};
use counterfoil_spec::limits::{MAX_ENROL_REFUSALS, MAX_RENEWALS, RENEWAL_WINDOW_S};
use counterfoil_spec::message::{Renew, Renewal, Renewed};
use counterfoil_spec::payload::{NodeRenewed, RefusalSeen};
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::time::Seconds;
use tokio::task::{JoinError, JoinHandle};

use crate::desk::Desk;
use crate::http::refusals::{By, What};
use crate::office::entry;
use crate::registry::Arrival;

mod late;
mod seldom;
mod waiting;

pub(crate) use late::late;
pub(crate) use waiting::Waiting;

/// How often a certificate is signed again because another CA took over.
pub(crate) const MAX_SIGNED: u32 = 4;

/// What members were given and refused lately: one row for each, and as many rows as there are members at most.
#[derive(Debug, Default)]
pub(crate) struct Renewals {
    /// The lock is held for one look.
    rows: Mutex<BTreeMap<NodeId, Row>>,
    /// Who is being decided about at the enrolment endpoint. Guards the set alone.
    late: Mutex<BTreeSet<NodeId>>,
    /// Those of whom nobody knows who they are.
    unproved: seldom::Seldom,
}

/// Of one generation.
#[derive(Debug)]
struct Row {
    generation: u64,
    /// When its last certificates were given, `MAX_RENEWALS` of them at most.
    issued: VecDeque<Seconds>,
    /// Its refusals, and since when they are counted.
    refused: (Seconds, u32),
}

impl Renewals {
    fn issued(&self, node: &NodeId, generation: u64, now: Seconds) -> u32 {
        let rows = self.rows();
        let row = rows.get(node).filter(|row| row.generation == generation);
        let lately = |at: &&Seconds| now < at.plus(RENEWAL_WINDOW_S);
        let issued = row.map_or(0, |row| row.issued.iter().filter(lately).count());
        u32::try_from(issued).unwrap_or(u32::MAX)
    }

    fn issue(&self, node: NodeId, generation: u64, now: Seconds) {
        let mut rows = self.rows();
        let Some(row) = Self::row(&mut rows, node, generation, now) else { return };
        row.issued.push_back(now);
        while u32::try_from(row.issued.len()).unwrap_or(u32::MAX) > MAX_RENEWALS {
            row.issued.pop_front();
        }
    }

    /// One that was counted at some moment was not given after all.
    fn give_back(&self, node: &NodeId, generation: u64, at: Seconds) {
        let mut rows = self.rows();
        let row = rows.get_mut(node).filter(|row| row.generation == generation);
        if let Some(issued) = row.map(|row| &mut row.issued)
            && let Some(place) = issued.iter().position(|given| *given == at)
        {
            issued.remove(place);
        }
    }

    /// Whether one more refusal of this node is to be logged. One of a generation that was passed meanwhile is; there are
    /// no more of those than were being decided when that happened.
    fn refuse(&self, node: NodeId, generation: u64, now: Seconds) -> bool {
        let mut rows = self.rows();
        let Some(row) = Self::row(&mut rows, node, generation, now) else { return true };
        let (since, refused) = row.refused;
        row.refused =
            if now < since.plus(RENEWAL_WINDOW_S) { (since, refused.saturating_add(1)) } else { (now, 1) };
        row.refused.1 <= MAX_ENROL_REFUSALS
    }

    /// The row of a generation, made where the node has none of it; nothing where it has one of a later generation.
    fn row(
        rows: &mut BTreeMap<NodeId, Row>,
        node: NodeId,
        generation: u64,
        now: Seconds,
    ) -> Option<&mut Row> {
        let fresh = || Row { generation, issued: VecDeque::new(), refused: (now, 0) };
        let row = rows.entry(node).or_insert_with(fresh);
        if row.generation < generation {
            *row = fresh();
        }
        (row.generation == generation).then_some(row)
    }

    fn rows(&self) -> MutexGuard<'_, BTreeMap<NodeId, Row>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells a node on its lane what came of its wish.
pub(crate) fn tell(lane: &RouterLane, arrival: &Arrival, answer: &Renewal) {
    if let Renewal::Renewed(renewed) = answer
        && let Ok(serial) = certificate_serial(&renewed.leaf)
    {
        // Before it can show it.
        arrival.gave(serial);
    }
    if let Err(error) = lane.renewal(answer) {
        // It waits for an answer that cannot be sent: it is to come back, as it may with what it has.
        tracing::debug!(%error, "a node did not hear of its next certificate");
        lane.shut(Refusal::SessionInternal, "the answer to a renewal found no place");
    }
}

/// On a thread of its own, because an agent may take its time to sign.
fn begin(desk: &Arc<Desk>, node: NodeId, asked: Renew, exporter: [u8; 32]) -> JoinHandle<Renewal> {
    let own = Arc::clone(desk);
    tokio::task::spawn_blocking(move || decide(&own, node, &asked, &exporter))
}

fn ended(desk: &Desk, decided: Result<Renewal, JoinError>) -> Renewal {
    decided.unwrap_or_else(|e| no(desk, (Refusal::SessionInternal, e.to_string())))
}

fn decide(desk: &Desk, node: NodeId, asked: &Renew, exporter: &[u8; 32]) -> Renewal {
    // Nobody is kept from deciding while signatures are checked, because anybody can ask in a node's name.
    match proved(desk, &node, asked, exporter) {
        Ok(wanted) => said(desk, (node, asked.generation), given(desk, node, wanted)),
        Err(refused) => not_proved(desk, refused),
    }
}

/// The answer to whoever proved nothing. It is counted, and fills no log of the operator's: anybody can ask.
fn not_proved(desk: &Desk, Refused { refusal, detail }: Refused) -> Renewal {
    desk.metrics.refusals.one(By::Router, What::Renewal, refusal);
    desk.metrics.peers_refused.one();
    if let Some(left_out) = desk.renewals.unproved.one(Instant::now()) {
        tracing::warn!(%refusal, detail, left_out, "somebody who did not prove who it is was given no certificate");
    }
    no(desk, (refusal, detail))
}

/// The answer, which people and counters are told too.
fn said(desk: &Desk, (node, generation): (NodeId, u64), decided: Result<Renewed, Refused>) -> Renewal {
    match decided {
        Ok(renewed) => {
            tracing::info!(%node, generation, "a node was given its next certificate");
            Renewal::Renewed(renewed)
        }
        Err(Refused { refusal, detail }) => {
            desk.metrics.refusals.one(By::Router, What::Renewal, refusal);
            // An end that is too late is a question, and this its answer.
            if refusal != Refusal::CertLifetime {
                desk.metrics.peers_refused.one();
                tracing::warn!(%node, %refusal, detail, "a node was not given its next certificate");
            }
            no(desk, (refusal, detail))
        }
    }
}

/// Whether it is the node itself that asks.
fn proved(desk: &Desk, node: &NodeId, asked: &Renew, exporter: &[u8; 32]) -> Result<Wanted, Refused> {
    // A node's id is the hash of its key, so no later entry has another key for it.
    let key = desk.office.books().roster.member(node).map(|member| member.key);
    let (net_id, router_id) = (desk.home.net_id(), desk.home.router_id());
    let wanted = wanted(asked, &RenewAt { net_id: &net_id, router_id: &router_id, exporter }, key.as_ref())?;
    match crate::own_keys::owner(desk, wanted.tls_key()) {
        None => Ok(wanted),
        Some(owner) => {
            let detail = format!("the request is for {owner}, not for a TLS key of the node's own");
            Err(Refused { refusal: Refusal::EnrolCsr, detail })
        }
    }
}

/// Gives whoever proved itself what it wants, or has in the log that it got nothing.
fn given(desk: &Desk, node: NodeId, wanted: Wanted) -> Result<Renewed, Refused> {
    let (allowed, used, now) = reserve(desk, node, wanted);
    let signed =
        |allowed| signed(desk, &node, &allowed).inspect_err(|_| desk.renewals.give_back(&node, used, now));
    allowed.and_then(signed).inspect_err(|refused| {
        if refused.refusal != Refusal::CertLifetime {
            log(desk, node, (refused.refusal, used), now);
        }
    })
}

/// Whether a node may have what it asks for, the generation that counts for it, and when that was decided. What it may have
/// is counted at once, so that of those who ask at one moment no more are given one than may be.
//= spec/identity.md#renewal
//# A router MUST count a certificate as given before it signs it, and where it does not give it after all, count it no more.
fn reserve(desk: &Desk, node: NodeId, wanted: Wanted) -> (Result<Allowed, Refused>, u64, Seconds) {
    let _alone = desk.office.decide();
    let now = desk.office.now().seconds();
    let (member, denied) = {
        let books = desk.office.books();
        (books.roster.member(&node).cloned(), books.roster.denied().names.denies_node(&node))
    };
    let used = member.as_ref().map_or(0, |m| m.generation);
    let standing = Standing {
        used,
        since: member.as_ref().and_then(|m| m.used).map(|first| first.since),
        ended: member.as_ref().map_or(Seconds(0), |m| m.ends),
        denied,
        issued: desk.renewals.issued(&node, used, now),
        latest: desk.latest_leaf_end(now),
    };
    let allowed = wanted.allow(&standing, now);
    if allowed.is_ok() {
        desk.renewals.issue(node, used, now);
    }
    (allowed, used, now)
}

/// Has it signed. Nobody is kept from deciding meanwhile, because the CA's key may be an agent's.
//= spec/identity.md#renewal
//# A router MUST NOT give a certificate of an issuing CA whose place another took while it was signed.
//# A router MUST NOT give a certificate to a node that was denied while it was signed (`C_DENIED`).
fn signed(desk: &Desk, node: &NodeId, allowed: &Allowed) -> Result<Renewed, Refused> {
    for _ in 0..MAX_SIGNED {
        let ca = desk.home.ca();
        let renewed = allowed.issue(&ca)?;
        let _alone = desk.office.decide();
        crate::deny::check(desk, node)?;
        if desk.home.ca().serial() == ca.serial() {
            return Ok(renewed);
        }
    }
    let detail = "another issuing CA took over meanwhile; try again later".to_owned();
    Err(Refused { refusal: Refusal::SessionInternal, detail })
}

fn no(desk: &Desk, (refusal, detail): (Refusal, String)) -> Renewal {
    Renewal::Refused(refusal, detail.into(), desk.latest_leaf_end(desk.office.now().seconds()))
}

/// Looks at the certificate that a node shows on a new lane.
pub(crate) async fn look(desk: &Arc<Desk>, lane: &RouterLane) -> Result<(), Refused> {
    let lane = lane.clone();
    aside(desk, move |desk| looked_at(desk, lane.peer()).map(drop)).await
}

/// The same, and has its first use in the log.
pub(crate) async fn present(desk: &Arc<Desk>, lane: &RouterLane) -> Result<(), Refused> {
    let lane = lane.clone();
    aside(desk, move |desk| presented(desk, lane.peer())).await
}

/// On a thread that may wait for the log.
async fn aside<T: Send + 'static>(
    desk: &Arc<Desk>,
    act: impl FnOnce(&Desk) -> Result<T, Refused> + Send + 'static,
) -> Result<T, Refused> {
    let own = Arc::clone(desk);
    let done = tokio::task::spawn_blocking(move || act(&own)).await;
    done.unwrap_or_else(|e| Err(Refused { refusal: Refusal::SessionInternal, detail: e.to_string() }))
}

/// What a certificate is that a node shows, or has in the log that it is refused.
fn looked_at(desk: &Desk, peer: &VerifiedPeer) -> Result<Shown, Refused> {
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
    shown(peer, used, certificate).inspect_err(|refused| log(desk, node, (refused.refusal, used), now))
}

/// Nobody else decides meanwhile: of two certificates of one generation one is used first.
fn presented(desk: &Desk, peer: &VerifiedPeer) -> Result<(), Refused> {
    let _alone = desk.office.decide();
    match looked_at(desk, peer)? {
        Shown::Again => Ok(()),
        //= spec/identity.md#renewal
        //# It MUST have the first use of a generation in its log, as `node-renewed`, before it sends anything on that lane.
        Shown::First => {
            let node = peer.id();
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
pub(crate) mod tests;
