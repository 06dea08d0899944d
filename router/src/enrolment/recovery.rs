//! Whoever holds a node's recovery key has it denied, for when its other keys were stolen.

use std::sync::Arc;

use counterfoil_identity::Refused;
use counterfoil_identity::enrol::RecoveryAt;
use counterfoil_session::ConnectError;
use counterfoil_session::enrol::Recovering;
use counterfoil_spec::deny::DenyNames;
use counterfoil_spec::ids::NodeId;
use counterfoil_spec::refusal::Refusal;

use crate::admin::{AdminCommand, execute};
use crate::desk::Desk;

/// Checks what is asked and carries it out.
pub(super) async fn recover(desk: &Arc<Desk>, recovering: Recovering) -> Result<(), ConnectError> {
    let asked = recovering.asked().clone();
    let (net_id, router_id) = (desk.home.net_id(), desk.home.router_id());
    let at = RecoveryAt { net_id: &net_id, router_id: &router_id, exporter: recovering.exporter() };
    let committed = desk.office.books().roster.member(&asked.node).map(|m| m.recovery_hash);
    let decided = match at.check(&asked, committed) {
        Ok(()) => {
            let reason = format!("asked for with the node's recovery key {}", asked.key);
            deny(desk, asked.node, reason).await
        }
        Err(refused) => Err(refused),
    };
    recovering.answer(decided).await
}

/// Denies a node that is not denied yet; gives the epoch of a list that names it.
async fn deny(desk: &Arc<Desk>, node: NodeId, reason: String) -> Result<u64, Refused> {
    let names = DenyNames { nodes: vec![node], ..DenyNames::default() };
    let own = Arc::clone(desk);
    let done = tokio::task::spawn_blocking(move || {
        execute(&own.office, &own.home, AdminCommand::Deny { names, reason }).map_err(|e| e.to_string())
    });
    let done = done.await.map_err(|e| e.to_string()).flatten();
    let denied = desk.office.denied().borrow().clone();
    match done {
        _ if denied.names.denies_node(&node) => Ok(denied.epoch),
        Ok(_) => Err(no("the node was allowed again meanwhile".to_owned())),
        Err(detail) => Err(no(detail)),
    }
}

fn no(detail: String) -> Refused {
    Refused { refusal: Refusal::SessionInternal, detail }
}
