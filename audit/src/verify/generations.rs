//! Certificates of nodes: each that is used is of the generation after the last one, or the first of an enrolment's, and of a
//! node that enrolled and is not denied.

use std::collections::HashMap;

use counterfoil_spec::deny::DenyNames;
use counterfoil_spec::ids::NodeId;
use counterfoil_spec::payload::NodeRenewed;
use counterfoil_spec::rule::FaultKind;

/// The generation of each node, and whom the network denies.
#[derive(Default)]
pub(super) struct Generations {
    known: HashMap<NodeId, Generation>,
    denied: DenyNames,
}

/// A node's, as an entry says.
#[derive(Clone, Copy)]
enum Generation {
    /// It enrolled for it.
    Enrolled(u64),
    /// It has used a certificate of it.
    Used(u64),
}

impl Generation {
    const fn number(self) -> u64 {
        match self {
            Self::Enrolled(n) | Self::Used(n) => n,
        }
    }

    const fn may_be_used(self, next: u64) -> bool {
        match self {
            Self::Enrolled(n) if n == next => true,
            Self::Enrolled(n) | Self::Used(n) => matches!(n.checked_add(1), Some(n) if n == next),
        }
    }
}

impl Generations {
    /// A node enrols, for the first time or anew.
    pub(super) fn enrol(&mut self, node: NodeId, generation: u64) -> Result<(), (FaultKind, String)> {
        match self.known.insert(node, Generation::Enrolled(generation)) {
            Some(before) if generation <= before.number() => {
                Err((FaultKind::NotMonotonic, passed(&node, generation, before.number())))
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
        match self.known.insert(node, Generation::Used(generation)) {
            None if lost => Ok(()),
            None => Err((FaultKind::UnknownKey, format!("no entry enrolled node {node}"))),
            Some(before) if !before.may_be_used(generation) && !lost => {
                Err((FaultKind::NotMonotonic, passed(&node, generation, before.number())))
            }
            Some(_) => Ok(()),
        }
    }

    /// Whom the network denies from here on.
    pub(super) fn deny(&mut self, names: &DenyNames) {
        self.denied.clone_from(names);
    }
}

fn passed(node: &NodeId, generation: u64, before: u64) -> String {
    format!("node {node} has generation {generation}, and had {before} before")
}
