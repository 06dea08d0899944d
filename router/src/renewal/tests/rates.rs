//! How often a node is given a certificate, and how often it is logged that it was given none.

use super::*;
use crate::renewal::late::Alone;

fn node(n: u8) -> NodeId {
    NodeId::from_bytes([n; 32])
}

#[test]
fn certificates_are_counted_by_node_and_generation_over_the_last_ten_minutes() {
    let renewals = Renewals::default();
    let at = |s| NOW.plus(s);
    let issued = |s| renewals.issued(&node(1), 1, at(s));
    // A refusal begins nothing.
    assert!(renewals.refuse(node(1), 1, NOW));
    for s in [0, 599, 599, 599] {
        renewals.issue(node(1), 1, at(s));
    }
    assert_eq!([0, 599, 600, 1198, 1199].map(issued), [4, 4, 3, 3, 0]);
    assert_eq!((renewals.issued(&node(1), 2, NOW), renewals.issued(&node(2), 1, NOW)), (0, 0));
    renewals.issue(node(1), 1, at(600));
    assert_eq!([600, 1198, 1199, 1200].map(issued), [4, 4, 1, 0]);
    // Of those of one moment it is the same which is given back; where none is of that moment nothing is.
    renewals.give_back(&node(1), 1, at(599));
    renewals.give_back(&node(1), 1, at(598));
    assert_eq!((issued(600), renewals.rows().len()), (3, 1));
}

#[test]
fn what_is_decided_late_of_a_generation_changes_nothing_of_the_next_one() {
    let renewals = Renewals::default();
    renewals.issue(node(1), 1, NOW);
    renewals.issue(node(1), 2, NOW);
    for _ in 0..MAX_ENROL_REFUSALS {
        assert!(renewals.refuse(node(1), 2, NOW));
    }
    renewals.give_back(&node(1), 1, NOW);
    assert!(renewals.refuse(node(1), 1, NOW));
    assert_eq!((renewals.issued(&node(1), 1, NOW), renewals.issued(&node(1), 2, NOW)), (0, 1));
    assert!(!renewals.refuse(node(1), 2, NOW));
}

#[test]
fn as_many_refusals_of_a_node_are_logged_as_may_be() {
    let renewals = Renewals::default();
    let logged = (0..2 * MAX_ENROL_REFUSALS).filter(|_| renewals.refuse(node(1), 1, NOW)).count();
    assert_eq!(u32::try_from(logged), Ok(MAX_ENROL_REFUSALS));
    assert!(!renewals.refuse(node(1), 1, NOW.plus(RENEWAL_WINDOW_S - 1)));
    assert!(renewals.refuse(node(1), 1, NOW.plus(RENEWAL_WINDOW_S)));
    assert!(renewals.refuse(node(2), 1, NOW) && renewals.refuse(node(1), 2, NOW));
}

#[tokio::test]
async fn a_node_uses_one_generation_in_an_eighth_of_a_life_at_most() {
    let scene = Scene::new();
    let eighth = MAX_LEAF_CERT_LIFE_S / 8;
    // Before the first use nothing is counted by time.
    assert_eq!(scene.refused(&scene.wish(1)), None);
    for generation in 1..4 {
        let (_, peer) = scene.certificate(generation);
        assert_eq!(scene.shows(&peer), Ok(()));
        let refused = || scene.refused(&scene.wish(generation));
        assert_eq!(refused(), Some(Refusal::EnrolRate));
        scene.pass(eighth - 1);
        assert_eq!(refused(), Some(Refusal::EnrolRate));
        scene.pass(1);
        assert_eq!(refused(), None);
    }
}

/// One that holds for half as long as it may counts for half as long.
#[tokio::test]
async fn a_node_uses_one_generation_in_a_sixteenth_of_a_life_at_most() {
    let scene = Scene::new();
    let (half, sixteenth) = (MAX_LEAF_CERT_LIFE_S / 2, MAX_LEAF_CERT_LIFE_S / 16);
    let ending = |generation, s| {
        let renewing = scene.renewing(generation, scene.now()).ending(scene.now().plus(s)).unwrap();
        let asked = renewing.ask(&EXPORTER).unwrap();
        (renewing, asked)
    };
    for generation in 1..4 {
        assert_eq!(scene.refused(&ending(generation, half - 1).1), Some(Refusal::CertLifetime));
        let (renewing, asked) = ending(generation, half);
        let Renewal::Renewed(renewed) = scene.decided(&asked) else { panic!("it is given one") };
        let next = renewing.on_renewed(&renewed, scene.now()).unwrap();
        assert_eq!(scene.shows(&scene.peer(&next)), Ok(()));
        let refused = || scene.refused(&ending(generation + 1, half).1);
        scene.pass(sixteenth - 1);
        assert_eq!(refused(), Some(Refusal::EnrolRate));
        scene.pass(1);
        assert_eq!(refused(), None);
    }
    assert_eq!(scene.used().iter().map(|(generation, _)| *generation).collect::<Vec<_>>(), [2, 3, 4]);
}

#[tokio::test]
async fn no_more_than_four_are_given_within_any_ten_minutes() {
    let scene = Scene::new();
    let all = usize::try_from(MAX_RENEWALS).unwrap();
    let ask = |times| (0..times).filter(|_| scene.refused(&scene.wish(1)).is_none()).count();
    assert_eq!(ask(1), 1);
    scene.pass(RENEWAL_WINDOW_S - 1);
    assert_eq!(ask(2 * all), all - 1);
    scene.pass(1);
    assert_eq!(ask(2 * all), 1);
    scene.pass(RENEWAL_WINDOW_S - 1);
    assert_eq!(ask(2 * all), all - 1);
}

//= spec/identity.md#renewal
//= type=test
//# At the enrolment endpoint: no other request of the node waits there (`E_RATE`).
#[test]
fn of_one_node_one_request_waits_at_the_enrolment_endpoint() {
    let renewals = Renewals::default();
    let first = Alone::enter(&renewals, node(1));
    assert!(first.is_some() && Alone::enter(&renewals, node(1)).is_none());
    assert!(Alone::enter(&renewals, node(2)).is_some());
    drop(first);
    assert!(Alone::enter(&renewals, node(1)).is_some());
}
