//! What a node does where its router is slow to give it a certificate, or ends its lane meanwhile.

use std::path::PathBuf;
use std::sync::atomic::Ordering;

use super::fixture::{Lane, MAX_LOOKS, Scene};
use counterfoil_identity::{certificate_serial, key_file};
use counterfoil_node::{NodeError, OperatorOrder, give_order, refused_renewal};
use counterfoil_session::frame::{Form, Outcome, Served};
use counterfoil_session::{LaneEnd, RouterLane};
use counterfoil_spec::deny::DenyNames;
use counterfoil_spec::limits::{MAX_LEAF_CERT_LIFE_S, MAX_RENEWALS};
use counterfoil_spec::message::{NodeMessage, Renew, Renewal};
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::time::Seconds;

/// A scene whose certificates end in so many seconds: the node asks for its next one when an eighth of them is over, and
/// again after an eighth of what is left.
fn ending_in(seconds: u64) -> Scene {
    let scene = Scene::new();
    // Makes the folder, as an enrolment does.
    key_file::create(&scene.home.path().join("identity/tls.key")).unwrap();
    scene.skew.store(1000 * (MAX_LEAF_CERT_LIFE_S - seconds), Ordering::SeqCst);
    scene
}

async fn asked(lane: &mut Lane) -> Renew {
    match lane.event().await {
        NodeMessage::Renew(asked) => asked,
        other => panic!("{other:?}"),
    }
}

/// Gives the node what it asks for.
fn give(scene: &Scene, lane: &RouterLane, asked: &Renew) {
    let exporter = lane.renewal_exporter().unwrap();
    let renewed = scene.net.renew(&scene.member, asked, &exporter).unwrap();
    lane.renewal(&Renewal::Renewed(renewed)).unwrap();
}

fn drained(end: &LaneEnd) -> bool {
    matches!(end, LaneEnd::RefusedByPeer(Refusal::SessionDrain, _))
}

//= spec/session.md#renewal
//= type=test
//# A node that was not answered within 30 seconds, or within an eighth of what is left of its certificate's life where that is less, but at least a second, MAY ask again
#[tokio::test]
async fn what_is_not_answered_is_asked_for_again_and_late_answers_are_no_fault() {
    let scene = ending_in(24);
    let mut lane = scene.bare_lane().await;
    let (first, second) = (asked(&mut lane).await, asked(&mut lane).await);
    assert_eq!((first.generation, second.generation), (2, 2));
    assert_ne!(first.csr, second.csr);
    give(&scene, &lane.lane, &first);
    give(&scene, &lane.lane, &second);
    let next = scene.bare_lane().await;
    assert_eq!(next.lane.peer().generation(), 2);
    let end = lane.lane.closed().await;
    assert!(drained(&end), "{end}");
    assert!(next.lane.ping().await.is_ok());
}

#[tokio::test]
async fn an_answer_that_is_late_by_a_lane_leaves_what_runs_there_alone() {
    let scene = ending_in(40);
    let mut lane = scene.lane().await;
    let first = asked(&mut lane).await;
    let (token, order) = scene.serving(&mut lane, &scene.proposal()).await;
    lane.lane.open(order).unwrap();
    let second = asked(&mut lane).await;
    give(&scene, &lane.lane, &first);
    let next = scene.bare_lane().await;
    assert_eq!(next.lane.peer().generation(), 2);
    give(&scene, &lane.lane, &second);
    let served = lane.dispatch(&token, &scene.rows(1, 0, 1, Form::Summed)).await;
    assert_eq!(served.segments, [Served { slot: 1, outcome: Outcome::Served(1) }]);
    // One more than was asked for is one too many.
    give(&scene, &lane.lane, &second);
    let end = lane.lane.closed().await;
    assert!(matches!(end, LaneEnd::RefusedByPeer(Refusal::SessionOrder, _)), "{end}");
    assert!(next.lane.ping().await.is_ok());
}

//= spec/identity.md#the-roots-deny-list
//= type=test
//# A node MUST NOT open a lane to a router that the list names, by its id or by the CA of its certificate, and MUST end such a lane
//# within a second of taking the list (`C_DENIED`).
#[tokio::test]
async fn the_lane_before_a_renewal_ends_where_the_root_denies_the_ca_that_the_router_showed_there() {
    let mut scene = ending_in(32);
    let mut lane = scene.lane().await;
    let first = asked(&mut lane).await;
    let (_, order) = scene.serving(&mut lane, &scene.proposal()).await;
    lane.lane.open(order).unwrap();
    let ca = certificate_serial(&scene.net.router.chain().ca).unwrap();
    scene.net.roll_over(&scene.endpoint, &[&scene.member]).unwrap();
    give(&scene, &lane.lane, &first);
    let next = scene.bare_lane().await;
    assert_eq!((next.lane.peer().generation(), lane.lane.end()), (2, None));
    scene.deny_by_root(1, vec![], vec![ca]);
    let end = lane.lane.closed().await;
    assert!(matches!(end, LaneEnd::RefusedByPeer(Refusal::CertDenied, _)), "{end}");
    assert!(next.lane.ping().await.is_ok());
}

//= spec/session.md#renewal
//= type=test
//# and MUST NOT let more than 4 requests wait for an answer.
#[tokio::test]
async fn a_router_that_stays_silent_is_asked_four_times_and_the_operator_is_told() {
    let scene = ending_in(16);
    let mut lane = scene.bare_lane().await;
    for _ in 0..MAX_RENEWALS {
        asked(&mut lane).await;
    }
    let words = format!("the router has not answered {MAX_RENEWALS} requests for the next certificate");
    let mut status = scene.node.status();
    status.wait_for(|status| status.refused.as_ref() == Some(&words)).await.unwrap();
    // The lane goes on, and nothing more is asked for on it.
    lane.lane.ping().await.unwrap();
    assert!(lane.events.try_recv().is_err());
    assert_eq!(lane.lane.end(), None);
}

/// Answers a request and ends the lane before the node's second connection stands. Gives what becomes of the node: the
/// generation with which it comes back, or why it stopped.
async fn cut_while_it_connects(
    scene: &mut Scene,
    cut: impl FnOnce(&Scene, &RouterLane),
) -> Result<u64, NodeError> {
    let mut lane = scene.bare_lane().await;
    let asked = asked(&mut lane).await;
    give(scene, &lane.lane, &asked);
    // Nobody lets the second connection in. The node has begun it once its home has the certificate.
    let next = scene.home.path().join("identity/next.pem");
    for _ in 0..MAX_LOOKS {
        tokio::task::yield_now().await;
        if next.exists() {
            break;
        }
    }
    assert!(next.exists(), "it was not kept");
    cut(scene, &lane.lane);
    lane.lane.closed().await;
    let endpoint = scene.endpoint.clone();
    let comes = async {
        loop {
            let arriving = endpoint.accept().await.unwrap();
            if let Ok(incoming) = arriving.admit().await
                && incoming.lane.ping().await.is_ok()
            {
                return incoming.lane.peer().generation();
            }
        }
    };
    tokio::select! {
        generation = comes => Ok(generation),
        why = scene.gave_up() => Err(why),
    }
}

//= spec/session.md#renewal
//= type=test
//# A node whose lane ends with `C_DENIED`, while it has a newer certificate and no list that it took names it or that, comes back with that.
#[tokio::test]
async fn a_certificate_that_is_denied_while_the_next_one_is_on_its_way_stops_no_node() {
    let mut scene = ending_in(40);
    let came = cut_while_it_connects(&mut scene, |_, lane| {
        lane.shut(Refusal::CertDenied, "its issuing CA was retired");
    });
    assert!(matches!(came.await, Ok(2)));
}

#[tokio::test]
async fn a_node_that_is_denied_while_its_next_certificate_is_on_its_way_stops() {
    let mut scene = ending_in(40);
    let came = cut_while_it_connects(&mut scene, |scene, lane| {
        let nodes = vec![scene.member.key.public().node_id()];
        lane.deny(&scene.net.denying(1, DenyNames { nodes, ..DenyNames::default() })).unwrap();
    });
    let came = came.await;
    assert!(matches!(came, Err(NodeError::Denied(_))), "{came:?}");
}

/// Has the operator order the next certificate; gives the order once the node has asked for it.
async fn ordered(scene: &Scene, lane: &mut Lane) -> (PathBuf, Renew) {
    let order = give_order(scene.home.path(), OperatorOrder::Renew).unwrap();
    let asked = asked(lane).await;
    (order, asked)
}

/// Refuses what was asked for first, and waits until the node has heard it.
async fn refuse(scene: &Scene, lane: &Lane, words: &str) {
    lane.lane.renewal(&Renewal::Refused(Refusal::EnrolRate, words.into(), Seconds(0))).unwrap();
    let said = format!("E_RATE: {words}");
    let mut status = scene.node.status();
    status.wait_for(|status| status.refused.as_ref() == Some(&said)).await.unwrap();
}

#[tokio::test]
async fn an_order_to_ask_stands_until_its_own_request_is_answered_and_not_until_another_is() {
    let scene = ending_in(MAX_LEAF_CERT_LIFE_S);
    let home = scene.home.path();
    let mut lane = scene.bare_lane().await;
    let ((first, _), (second, _)) = (ordered(&scene, &mut lane).await, ordered(&scene, &mut lane).await);
    assert!(first.exists() && second.exists());
    refuse(&scene, &lane, "the first").await;
    assert_eq!(refused_renewal(home, &first), Some((Refusal::EnrolRate, "the first".to_owned())));
    assert_eq!((refused_renewal(home, &second), first.exists(), second.exists()), (None, false, true));
    refuse(&scene, &lane, "the second").await;
    assert_eq!(refused_renewal(home, &second), Some((Refusal::EnrolRate, "the second".to_owned())));
    assert!(!second.exists());
}

#[tokio::test]
async fn one_certificate_answers_all_orders_and_no_refusal_does_later() {
    let scene = ending_in(MAX_LEAF_CERT_LIFE_S);
    let home = scene.home.path();
    let mut lane = scene.bare_lane().await;
    let ((first, wish), (second, _)) = (ordered(&scene, &mut lane).await, ordered(&scene, &mut lane).await);
    give(&scene, &lane.lane, &wish);
    let mut next = scene.bare_lane().await;
    assert_eq!((next.lane.peer().generation(), first.exists(), second.exists()), (2, false, false));
    let (third, _) = ordered(&scene, &mut next).await;
    refuse(&scene, &next, "the third").await;
    let told = [&first, &second, &third].map(|order| refused_renewal(home, order).is_some());
    assert_eq!(told, [false, false, true]);
}
