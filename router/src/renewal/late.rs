//! The next certificate at the enrolment endpoint, for a node whose last one has ended, or that does not run.

use std::sync::Arc;

use counterfoil_identity::Refused;
use counterfoil_session::ConnectError;
use counterfoil_session::enrol::Returning;
use counterfoil_spec::message::Renewed;
use counterfoil_spec::refusal::Refusal;

use super::{aside, given, proved, said, seen};
use crate::desk::Desk;
use crate::succession::is_connected;

/// Answers a node that asks there.
///
/// # Errors
/// [`ConnectError`] where it did not hear the answer.
pub(crate) async fn late(desk: &Arc<Desk>, returning: Returning) -> Result<(), ConnectError> {
    let decided = tokio::select! {
        decided = decided(desk, &returning) => decided,
        // Whoever does not wait for it gets nothing.
        error = returning.gone() => return Err(error),
    };
    let whose = (returning.node(), returning.asked().generation);
    returning.answer(said(desk, whose, decided)).await
}

/// Whether it is the node is seen first, because anybody can ask in its name and keep it busy with answers.
async fn decided(desk: &Arc<Desk>, returning: &Returning) -> Result<Renewed, Refused> {
    let (node, asked, exporter) = (returning.node(), returning.asked().clone(), *returning.exporter());
    let wanted = aside(desk, move |desk| proved(desk, &node, &asked, &exporter)).await?;
    if is_connected(desk, &node).await {
        seen(desk, node, Refusal::CertSuperseded).await;
        let detail = "this node is connected, and asks there: a copy of its keys asks here".to_owned();
        return Err(Refused { refusal: Refusal::CertSuperseded, detail });
    }
    aside(desk, move |desk| given(desk, node, wanted)).await
}
