//! Payout identities and the nodes that they may have.

use counterfoil_identity::random;
use counterfoil_spec::ids::{AccountId, NodeId, ProviderId};
use counterfoil_spec::payload::ProviderRegistered;
use serde_json::{Value, json};

use super::AdminError;
use super::accounts::known;
use crate::office::{Office, entry};

pub(super) fn nodes(office: &Office) -> Value {
    let books = office.books();
    let nodes: Vec<Value> = books
        .roster
        .members()
        .map(|(id, m)| json!({ "node": id, "log_vkey": m.log_vkey, "generation": m.generation }))
        .collect();
    json!({ "nodes": nodes })
}

pub(super) fn register(
    office: &Office,
    mut nodes: Vec<NodeId>,
    mut accounts: Vec<AccountId>,
    affiliated: bool,
) -> Result<Value, AdminError> {
    nodes.sort_unstable();
    nodes.dedup();
    accounts.sort_unstable();
    accounts.dedup();
    for node in &nodes {
        if office.books().roster.member(node).is_none() {
            return Err(AdminError::Caller(format!("no node {node} ever enrolled here")));
        }
    }
    for account in &accounts {
        known(office, account)?;
    }
    let provider = ProviderId::from_bytes(random::bytes());
    let at =
        office.append_blocking(vec![entry(ProviderRegistered { provider, nodes, accounts, affiliated })])?;
    Ok(json!({ "provider": provider, "entry": at.first }))
}
