//! Logs that say of nodes what cannot be: renewals out of turn, and of whom the network denies.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod support;

use counterfoil_spec::deny::DenyNames;
use counterfoil_spec::ids::NodeId;
use counterfoil_spec::payload::{DenyListIssued, NodeRenewed};
use counterfoil_spec::rule::FaultKind::{NotMonotonic, UnknownKey, WrongParty};
use counterfoil_spec::time::Seconds;
use support::forge::{Forge, ROUTER, enrolled, join_token};
use support::{key, serial};

//= spec/audit-log.md#keys
//= type=test
//# `node-renewed` MUST be of a node that enrolled and is not denied, and of the generation after the last one of that node, or of that of
//# its last enrolment where that was not used yet.
#[test]
fn renewals_are_of_enrolled_nodes_and_of_one_generation_after_the_other() {
    let renewed = |generation| {
        let (certificate, not_after) = (serial(9), Seconds(10));
        NodeRenewed { node: key(40).public().node_id(), generation, certificate, not_after }
    };
    let with = |first: u64, second: u64| {
        let mut forge = Forge::good(0);
        forge.push(join_token().into(), ROUTER, |_| {});
        forge.push(enrolled(40).into(), ROUTER, |_| {});
        forge.push(renewed(first).into(), ROUTER, |_| {});
        forge.push(renewed(second).into(), ROUTER, |_| {});
        forge.faults()
    };
    assert_eq!(with(2, 3), []);
    assert_eq!(with(2, 2), [(NotMonotonic, Some(4))]);
    assert_eq!(with(2, 4), [(NotMonotonic, Some(4))]);
    assert_eq!(with(1, 2), []);
    assert_eq!(with(1, 1), [(NotMonotonic, Some(4))]);
    assert_eq!(with(2, 1), [(NotMonotonic, Some(4))]);
    assert_eq!(with(3, 4), [(NotMonotonic, Some(3))]);
    let mut forge = Forge::good(0);
    forge.push(renewed(2).into(), ROUTER, |_| {});
    assert_eq!(forge.faults(), [(UnknownKey, Some(1))]);
}

#[test]
fn a_denied_node_does_not_renew() {
    let node = key(40).public().node_id();
    let with = |nodes: Vec<NodeId>| {
        let mut forge = Forge::good(0);
        forge.push(join_token().into(), ROUTER, |_| {});
        forge.push(enrolled(40).into(), ROUTER, |_| {});
        let names = DenyNames { nodes, ..DenyNames::default() };
        let denied = DenyListIssued { epoch: 1, names, reason: "lost".to_owned() };
        forge.push(denied.into(), ROUTER, |_| {});
        let (certificate, not_after) = (serial(9), Seconds(10));
        forge.push(NodeRenewed { node, generation: 2, certificate, not_after }.into(), ROUTER, |_| {});
        forge.faults()
    };
    assert_eq!(with(vec![node]), [(WrongParty, Some(4))]);
    assert_eq!(with(vec![NodeId::from_bytes([7; 32])]), []);
}
