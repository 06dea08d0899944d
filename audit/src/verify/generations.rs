//! Certificates of nodes: each renewal is of the generation after the last one, of a node that enrolled and is not denied.

use std::collections::HashMap;

use counterfoil_spec::deny::DenyNames;
use counterfoil_spec::ids::NodeId;
use counterfoil_spec::payload::NodeRenewed;
use counterfoil_spec::rule::FaultKind;

/// The generation that each node uses, and whom the network denies.
#[derive(Default)]
pub(super) struct Generations {
    used: HashMap<NodeId, u64>,
    denied: DenyNames,
}

impl Generations {
    /// A node enrols, for the first time or anew.
    pub(super) fn enrol(&mut self, node: NodeId, generation: u64) -> Result<(), (FaultKind, String)> {
        match self.used.insert(node, generation) {
            Some(used) if generation <= used => {
                Err((FaultKind::NotMonotonic, passed(&node, generation, used)))
            }
            _ => Ok(()),
        }
    }

    /// A node has used its next certificate. Where entries were lost, its enrolment may be among them.
    pub(super) fn renew(&mut self, renewed: &NodeRenewed, lost: bool) -> Result<(), (FaultKind, String)> {
        let NodeRenewed { node, generation, .. } = *renewed;
        if self.denied.denies_node(&node) {
            return Err((FaultKind::WrongParty, format!("node {node} is on the deny list")));
        }
        match self.used.insert(node, generation) {
            None if lost => Ok(()),
            None => Err((FaultKind::UnknownKey, format!("no entry enrolled node {node}"))),
            Some(used) if used.checked_add(1) != Some(generation) && !lost => {
                Err((FaultKind::NotMonotonic, passed(&node, generation, used)))
            }
            Some(_) => Ok(()),
        }
    }

    /// Whom the network denies from here on.
    pub(super) fn deny(&mut self, names: &DenyNames) {
        self.denied.clone_from(names);
    }
}

fn passed(node: &NodeId, generation: u64, used: u64) -> String {
    format!("node {node} has generation {generation}, and used {used} before")
}
