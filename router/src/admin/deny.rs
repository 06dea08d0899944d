//! What the router's operator denies, and allows again.

use counterfoil_identity::CaPhase;
use counterfoil_spec::deny::{DenyNames, MinEpoch};
use counterfoil_spec::ids::Serial;
use counterfoil_spec::limits::MAX_DENY_REASON_BYTES;
use counterfoil_spec::payload::DenyListIssued;
use serde_json::{Value, json};

use super::AdminError;
use crate::office::{Office, entry};

/// Puts names on the list.
pub(super) fn deny(office: &Office, names: DenyNames, reason: String) -> Result<Value, AdminError> {
    known(office, &names)?;
    let mut fresh = office.denied().borrow().names.clone();
    let before = fresh.clone();
    fresh.nodes = merged(fresh.nodes, names.nodes);
    fresh.serials = merged(fresh.serials, names.serials);
    fresh.consents = merged(fresh.consents, names.consents);
    for MinEpoch { node, epoch } in names.epochs {
        let epoch = epoch.max(fresh.min_epoch(&node));
        fresh.epochs.retain(|own| own.node != node);
        fresh.epochs = merged(fresh.epochs, vec![MinEpoch { node, epoch }]);
    }
    issue(office, (before, fresh), reason)
}

/// Takes nodes and certificates off the list. What was void of consent stays void.
pub(super) fn allow(office: &Office, names: &DenyNames, reason: String) -> Result<Value, AdminError> {
    let mut fresh = office.denied().borrow().names.clone();
    let before = fresh.clone();
    fresh.nodes.retain(|node| !names.nodes.contains(node));
    fresh.serials.retain(|serial| !names.serials.contains(serial));
    issue(office, (before, fresh), reason)
}

/// The list as it stands.
pub(super) fn list(office: &Office) -> Value {
    let denied = office.denied().borrow().clone();
    json!({ "epoch": denied.epoch, "names": denied.names, "reason": denied.reason })
}

fn issue(
    office: &Office,
    (before, names): (DenyNames, DenyNames),
    reason: String,
) -> Result<Value, AdminError> {
    if names == before {
        return Err(AdminError::Caller("the deny list says so already".to_owned()));
    }
    if let Some(fault) = names.fault() {
        return Err(AdminError::Caller(format!("{fault}; `counterfoil router allow` takes names off it")));
    }
    if reason.trim().is_empty() || reason.len() > MAX_DENY_REASON_BYTES {
        let words = format!("a reason has 1 to {MAX_DENY_REASON_BYTES} bytes; it stands in the log");
        return Err(AdminError::Caller(words));
    }
    let epoch = office.denied().borrow().epoch.saturating_add(1);
    let issued = DenyListIssued { epoch, names: names.clone(), reason };
    let at = office.append_blocking(vec![entry(issued)])?;
    Ok(json!({ "epoch": epoch, "names": names, "entry": at.first }))
}

/// A name that nobody has is a slip of the pen, but for certificates, which the log does not know.
fn known(office: &Office, names: &DenyNames) -> Result<(), AdminError> {
    let books = office.books();
    let nodes = names.nodes.iter().chain(names.epochs.iter().map(|own| &own.node));
    for node in nodes {
        if books.roster.member(node).is_none() {
            return Err(AdminError::Caller(format!("no node {node} ever enrolled here")));
        }
    }
    let now = office.now().seconds();
    let in_use = |serial: &&Serial| {
        let phase = books.roster.cas().find(serial).map(|ca| ca.phase(now));
        matches!(phase, Some(CaPhase::InUse(_)))
    };
    if let Some(serial) = names.serials.iter().find(in_use) {
        return Err(AdminError::Caller(format!(
            "{serial} is the CA that issues certificates here: every node would be out; let another take its place first \
             (`counterfoil identity ca next`, `identity ca activate`)"
        )));
    }
    match names.consents.iter().find(|cti| !books.roster.has_consent(cti)) {
        Some(cti) => Err(AdminError::Caller(format!("no consent token {cti} was ever accepted here"))),
        None => Ok(()),
    }
}

fn merged<T: Ord>(mut own: Vec<T>, more: Vec<T>) -> Vec<T> {
    own.extend(more);
    own.sort_unstable();
    own.dedup();
    own
}
