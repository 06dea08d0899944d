use counterfoil_spec::deny::{DenyNames, MinEpoch};
use counterfoil_spec::payload::DenyListIssued;

use super::*;

fn issued(epoch: u64, names: DenyNames) -> Payload {
    DenyListIssued { epoch, names, reason: "for a test".to_owned() }.into()
}

fn nodes(nodes: Vec<NodeId>) -> DenyNames {
    DenyNames { nodes, ..DenyNames::default() }
}

/// Work that was opened so many seconds after the list.
fn work_after(seconds: u64, names: DenyNames) -> Vec<(FaultKind, Option<u64>)> {
    let work = worked(move |b| {
        b.opened = NOW.plus(seconds).millis();
        b.closed = b.opened;
    });
    with(work, |l| {
        l.insert(4, (0, serial(94), issued(1, names)));
        l.insert(5, (0, serial(95), issued(2, DenyNames::default())));
        l[6].0 = seconds;
    })
}

#[test]
fn work_after_its_consent_was_denied() {
    let own = node().public().node_id();
    let epoch = |epoch| DenyNames { epochs: vec![MinEpoch { node: own, epoch }], ..DenyNames::default() };
    let consent = |n| DenyNames { consents: vec![serial(n)], ..DenyNames::default() };
    for void in [nodes(vec![own]), consent(1), epoch(claims().epoch + 1)] {
        assert_eq!(work_after(60, void.clone()), NONE, "the clocks may differ by a minute");
        assert_eq!(work_after(61, void), [(FaultKind::NoConsent, Some(6))]);
    }
    for other in [nodes(vec![NodeId::from_bytes([1; 32])]), consent(2), epoch(claims().epoch)] {
        assert_eq!(work_after(61, other), NONE);
    }
}

#[test]
fn consent_that_was_granted_after_it_was_denied() {
    let log = |seconds: u64| {
        let work = worked(move |b| {
            b.opened = NOW.plus(seconds).millis();
            b.closed = b.opened;
        });
        with(work, |l| {
            l.insert(3, (0, serial(94), issued(1, nodes(vec![node().public().node_id()]))));
            l[5].0 = seconds;
        })
    };
    assert_eq!(log(60), NONE);
    assert_eq!(log(61), [(FaultKind::NoConsent, Some(5))]);
}

#[test]
fn epochs_of_lists_rise_by_one_and_names_ascend() {
    let epochs = |epochs: &[u64]| {
        with(worked(|_| {}), |l| {
            l.extend(epochs.iter().map(|e| (3, serial(94), issued(*e, DenyNames::default()))));
        })
    };
    assert_eq!(epochs(&[1, 2, 3]), NONE);
    assert_eq!(epochs(&[2]), [(FaultKind::NotMonotonic, Some(5))]);
    assert_eq!(epochs(&[1, 1]), [(FaultKind::NotMonotonic, Some(6))]);
    assert_eq!(epochs(&[1, 3]), [(FaultKind::NotMonotonic, Some(6))]);
    let twice = nodes(vec![NodeId::from_bytes([1; 32]); 2]);
    let log = with(worked(|_| {}), |l| l.push((3, serial(94), issued(1, twice))));
    assert_eq!(log, [(FaultKind::NonCanonical, Some(5))]);
}
