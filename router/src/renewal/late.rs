//! The next certificate at the enrolment endpoint, for a node whose last one has ended, or that does not run.

use std::collections::BTreeSet;
use std::sync::{Arc, MutexGuard, PoisonError};

use counterfoil_identity::Refused;
use counterfoil_identity::enrol::Wanted;
use counterfoil_session::ConnectError;
use counterfoil_session::enrol::Returning;
use counterfoil_spec::ids::NodeId;
use counterfoil_spec::message::{Renewal, Renewed};
use counterfoil_spec::refusal::Refusal;

use super::{Renewals, aside, given, not_proved, proved, said, seen};
use crate::desk::Desk;
use crate::succession::is_connected;

/// Answers a node that asks there.
///
/// # Errors
/// [`ConnectError`] where it did not hear the answer.
pub(crate) async fn late(desk: &Arc<Desk>, returning: Returning) -> Result<(), ConnectError> {
    let answer = tokio::select! {
        answer = answer(desk, &returning) => answer,
        // Whoever does not wait for it gets nothing.
        error = returning.gone() => return Err(error),
    };
    returning.answer(answer).await
}

/// Whether it is the node is seen first, because anybody can ask in its name and keep it busy with answers.
async fn answer(desk: &Arc<Desk>, returning: &Returning) -> Renewal {
    let (node, asked, exporter) = (returning.node(), returning.asked().clone(), *returning.exporter());
    let generation = asked.generation;
    match aside(desk, move |desk| proved(desk, &node, &asked, &exporter)).await {
        Ok(wanted) => said(desk, (node, generation), decided(desk, node, wanted).await),
        Err(refused) => not_proved(desk, refused),
    }
}

async fn decided(desk: &Arc<Desk>, node: NodeId, wanted: Wanted) -> Result<Renewed, Refused> {
    //= spec/identity.md#renewal
    //# At the enrolment endpoint: no other request of the node waits there (`E_RATE`).
    let Some(_alone) = Alone::enter(&desk.renewals, node) else {
        seen(desk, node, Refusal::EnrolRate).await;
        let detail = "another request of this node waits here for an answer".to_owned();
        return Err(Refused { refusal: Refusal::EnrolRate, detail });
    };
    if is_connected(desk, &node).await {
        seen(desk, node, Refusal::CertSuperseded).await;
        let detail = "this node is connected, and asks there: a copy of its keys asks here".to_owned();
        return Err(Refused { refusal: Refusal::CertSuperseded, detail });
    }
    aside(desk, move |desk| given(desk, node, wanted)).await
}

/// Of one node: while it is decided about, no other request of it is looked at here. Ends with this.
#[derive(Debug)]
pub(super) struct Alone<'a>(&'a Renewals, NodeId);

impl<'a> Alone<'a> {
    pub(super) fn enter(renewals: &'a Renewals, node: NodeId) -> Option<Self> {
        let is_free = waiting(renewals).insert(node);
        is_free.then(|| Self(renewals, node))
    }
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        waiting(self.0).remove(&self.1);
    }
}

fn waiting(renewals: &Renewals) -> MutexGuard<'_, BTreeSet<NodeId>> {
    renewals.late.lock().unwrap_or_else(PoisonError::into_inner)
}
