//! A node that goes on on another lane, with its next certificate: asked on the last one until it is ready on the new
//! one, and let go of there once nobody can order anything of it any more.
//!
//! No time decides that. A request holds the hosts that it may ask, and with them the state of their lane; while one does,
//! the lane stays. The node ends it when everything that it still owes there is settled, because only it knows that. Only
//! the end of the certificate cuts that short.

use std::sync::Arc;
use std::time::Duration;

use counterfoil_identity::Refused;
use counterfoil_session::transport::KEEP_ALIVE_MS;
use counterfoil_session::{LaneError, RouterLane};
use counterfoil_spec::ids::NodeId;
use counterfoil_spec::refusal::Refusal;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::desk::Desk;
use crate::member::Member;
use crate::registry::{Arrival, LaneState, PATIENCE_MOST, Sent, nothing_comes};

/// How often it is looked whether anybody still uses a lane that was succeeded.
const LOOK: Duration = Duration::from_millis(50);

/// How long nothing at all comes from a node that is gone, beside three round trips: one that is there makes itself heard
/// twice by then, whatever it computes.
const QUIET: Duration = Duration::from_millis(2 * KEEP_ALIVE_MS);

/// What whoever shows the certificate of a lane that is alive is told.
const SAME: &str =
    "its certificate is in use on another connection, which is alive: a copy of this node's keys";
/// The same of whoever shows the one after it.
const BESIDE: &str =
    "the node is connected, and was not given this certificate there: a copy of this node's keys";

/// How far a lane is with its succession.
#[derive(Debug, Default)]
pub(crate) struct Succeeded {
    /// Its node goes on elsewhere.
    since: Option<Instant>,
    /// The node knows that nothing is ordered here any more.
    told: bool,
}

impl Succeeded {
    /// Whether its node goes on elsewhere.
    pub(crate) const fn is_so(&self) -> bool {
        self.since.is_some()
    }

    /// Waits until there is something to look at.
    pub(crate) async fn next(&self, lane: Option<&Arc<LaneState>>) {
        match (lane, self.since) {
            (Some(lane), None) => lane.succeeded.notified().await,
            (_, Some(_)) if !self.told => tokio::time::sleep(LOOK).await,
            _ => std::future::pending().await,
        }
    }
}

impl Member {
    /// Sees who this is and what becomes of its lanes before this one. Nothing where it is not let in; it was told.
    pub(crate) async fn takes_over(&mut self) -> Option<Arrival> {
        // Whoever is refused anyhow is no reason to doubt another.
        if let Err(refused) = crate::renewal::look(&self.desk, &self.lane).await {
            self.turned_away(refused).await;
            return None;
        }
        let (arrival, doubted) = self.desk.registry.arrive(self.visit, &self.lane);
        for earlier in &doubted {
            let is_elsewhere = tokio::select! {
                is_elsewhere = is_there(earlier) => is_elsewhere,
                // Whoever does not wait for it is not let in.
                end = self.lane.closed() => {
                    self.desk.metrics.refusals.end(&end);
                    return None;
                }
            };
            if is_elsewhere {
                let is_same = earlier.peer().cert_serial() == self.lane.peer().cert_serial();
                let detail = if is_same { SAME } else { BESIDE };
                crate::renewal::seen(&self.desk, self.lane.node(), Refusal::CertSuperseded).await;
                self.turned_away(Refused { refusal: Refusal::CertSuperseded, detail: detail.to_owned() })
                    .await;
                return None;
            }
            // It is back, so its old lane is dead, whatever QUIC's timers say; what waits there goes elsewhere now.
            earlier.shut(Refusal::SessionStream, "the node connected again");
        }
        if let Err(refused) = crate::renewal::present(&self.desk, &self.lane).await {
            self.turned_away(refused).await;
            return None;
        }
        arrival.let_in();
        if let Some(last) = self.desk.registry.last(&self.lane.node())
            && last.lane.peer().generation() < self.lane.peer().generation()
            && last.lane.end().is_none()
        {
            self.before = Some(last.shared.successor());
            last.shared.succeeded.notify_one();
        }
        Some(arrival)
    }

    async fn turned_away(&self, refused: Refused) {
        let metrics = &self.desk.metrics;
        metrics.peers_refused.one();
        tracing::warn!(node = %self.lane.node(), error = %refused, "a node was not let in");
        self.lane.shut(refused.refusal, &refused.detail);
        metrics.refusals.end(&self.lane.closed().await);
    }

    /// Lets go of a lane that was succeeded, as far as may be.
    pub(crate) fn retire(&mut self, succeeded: &mut Succeeded) {
        succeeded.since.get_or_insert_with(Instant::now);
        let Some(shared) = &self.shared else { return };
        if self.desk.registry.uses(&self.lane.node(), shared) {
            return;
        }
        self.active.clear();
        self.loading.clear();
        //= spec/session.md#renewal
        //# A router MUST NOT say `Drain` on the earlier lane while a request may still be ordered there.
        if Arc::strong_count(shared) == 1 {
            succeeded.told = true;
            if let Err(error) = self.lane.drain() {
                tracing::debug!(%error, "a node left its earlier lane by itself");
            }
        }
    }
}

/// Whether a node is there on any of the lanes on which it was let in. Who asks at the enrolment endpoint has none.
//= spec/identity.md#renewal
//# As long it MUST wait before it gives a certificate at the enrolment endpoint: a node that has a lane asks there, and whoever has a copy
//# of its keys would get a certificate beside it.
pub(crate) async fn is_connected(desk: &Desk, node: &NodeId) -> bool {
    let lanes = desk.registry.lanes(node);
    let mut asking: JoinSet<bool> =
        lanes.into_iter().map(|lane| async move { is_there(&lane).await }).collect();
    while let Some(answered) = asking.join_next().await {
        if answered.unwrap_or(false) {
            return true;
        }
    }
    false
}

/// Whether somebody is there at the end of a lane whose certificate is shown on another one, or the one after it that was
/// not given there. A node that comes back has left it, and nothing comes from there.
//= spec/identity.md#renewal
//# A router that is shown a certificate which another lane was opened with, while the node there answers a `Ping`, MUST refuse it
//# (`C_SUPERSEDED`), whether that lane is asked for anything or not.
//# It MUST wait for the answer for 20 seconds, as long as for a reply to a dispatch, or until the other lane ends, or until nothing at
//# all has come on its connection for 2 seconds and three round trips after the `Ping`: a node that computes acknowledges what comes.
//# A router that is shown a certificate of the generation that follows, and gave it on no lane of the node that is there, MUST refuse it in
//# the same way while the node answers on another lane (`C_SUPERSEDED`): somebody got it while the node was away.
async fn is_there(lane: &RouterLane) -> bool {
    let sent = Sent::new(lane.datagrams(), std::time::Instant::now());
    let answers = async {
        match lane.ping().await {
            Ok(_) => true,
            Err(LaneError::Closed { .. }) => false,
            // So much waits there that this found no place; that says nothing of the node.
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        answers = answers => answers,
        () = nothing_comes(lane, sent, 3 * lane.rtt() + QUIET) => false,
        () = tokio::time::sleep(PATIENCE_MOST) => false,
    }
}

/// When the certificate of the node at the other end ends.
pub(crate) fn end_of(desk: &Desk, lane: &RouterLane) -> Instant {
    let end = lane.peer().not_after().millis().plus(1000);
    Instant::now() + Duration::from_millis(end.0.saturating_sub(desk.office.now().0))
}
