use std::sync::atomic::Ordering;

use super::fixture::{Lane, Scene};
use super::refused;
use counterfoil_identity::{SecretKey, certificate_serial};
use counterfoil_node::NodeError;
use counterfoil_session::LaneEnd;
use counterfoil_session::frame::{Form, Outcome, Served};
use counterfoil_spec::deny::{DenyNames, MinEpoch, SignedDenyList};
use counterfoil_spec::encode::to_canonical;
use counterfoil_spec::ids::{NodeId, Serial};
use counterfoil_spec::message::NodeMessage;
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::time::Seconds;

fn somebody() -> DenyNames {
    DenyNames { nodes: vec![NodeId::from_bytes([1; 32])], ..DenyNames::default() }
}

fn myself(scene: &Scene) -> DenyNames {
    DenyNames { nodes: vec![scene.member.key.public().node_id()], ..DenyNames::default() }
}

/// The refusal with which the node ends the lane when it is sent a list.
async fn ended_by(lane: &Lane, list: &SignedDenyList) -> Refusal {
    lane.lane.deny(list).unwrap();
    match lane.lane.closed().await {
        LaneEnd::RefusedByPeer(refusal, _) => refusal,
        other => panic!("{other}"),
    }
}

fn served(slot: u32) -> Vec<Served> {
    vec![Served { slot, outcome: Outcome::Served(1) }]
}

#[tokio::test]
async fn a_list_of_the_router_is_taken_and_answered() {
    let scene = Scene::new();
    let mut lane = scene.bare_lane().await;
    lane.lane.deny(&scene.net.denying(3, somebody())).unwrap();
    assert_eq!(lane.event().await, NodeMessage::DenyTaken(3));
    lane.lane.deny(&scene.net.denying(4, DenyNames::default())).unwrap();
    assert_eq!(lane.event().await, NodeMessage::DenyTaken(4));
}

#[tokio::test]
async fn a_forged_list_and_one_of_the_future_end_the_lane() {
    let scene = Scene::new();
    let lane = scene.bare_lane().await;
    let mut forged = scene.net.denying(3, somebody());
    let forger = SecretKey::generate();
    let input = [b"counterfoil/deny-list/v1\0", &scene.net.domain.net_id().as_bytes()[..]].concat();
    forged.sig = forger.sign(&[input, to_canonical(&forged.list)].concat());
    assert_eq!(ended_by(&lane, &forged).await, Refusal::CertDenyList);

    let lane = scene.bare_lane().await;
    let mut changed = scene.net.denying(3, somebody());
    changed.list.names = DenyNames::default();
    assert_eq!(ended_by(&lane, &changed).await, Refusal::CertDenyList);

    let lane = scene.bare_lane().await;
    scene.skew.store(10_000_000, Ordering::SeqCst);
    let future = scene.net.denying(3, somebody());
    scene.skew.store(0, Ordering::SeqCst);
    assert_eq!(ended_by(&lane, &future).await, Refusal::CertDenyList);
}

//= spec/identity.md#the-deny-list
//= type=test
//# A node MUST keep the list of the highest epoch that it took, so that it takes no earlier one after a restart.
#[tokio::test]
async fn a_list_that_goes_back_is_refused_after_a_restart_too() {
    let mut scene = Scene::new();
    let mut lane = scene.bare_lane().await;
    lane.lane.deny(&scene.net.denying(3, somebody())).unwrap();
    assert_eq!(lane.event().await, NodeMessage::DenyTaken(3));
    let back = scene.net.denying(2, somebody());
    assert_eq!(ended_by(&lane, &back).await, Refusal::CertDenyBack);
    scene.bare_lane().await;
    scene.crash().await;
    scene.start();
    let lane = scene.bare_lane().await;
    assert_eq!(ended_by(&lane, &back).await, Refusal::CertDenyBack);
    let lane = scene.bare_lane().await;
    let other_names = scene.net.denying(3, DenyNames::default());
    assert_eq!(ended_by(&lane, &other_names).await, Refusal::CertDenyBack);
    let mut lane = scene.bare_lane().await;
    lane.lane.deny(&scene.net.denying(3, somebody())).unwrap();
    assert_eq!(lane.event().await, NodeMessage::DenyTaken(3));
}

//= spec/consent.md#the-deny-list
//= type=test
//# A node whose deny list is not fresh MUST refuse every order and every dispatch (`T_STALE`).
#[tokio::test]
async fn without_a_fresh_list_nothing_is_served() {
    let scene = Scene::with(|config| config.policy.life_s = 3600);
    let mut lane = scene.bare_lane().await;
    let (token, order) = scene.serving(&mut lane, &scene.proposal()).await;
    let asks = |slot| scene.rows(slot, 0, 1, Form::Summed);
    lane.lane.open(order.clone()).unwrap();
    assert_eq!(lane.dispatch(&token, &asks(1)).await.segments, refused(1, Refusal::TokenStale));
    assert_eq!(lane.lane.refusal(1).unwrap().refusal, Refusal::TokenStale);

    lane.lane.deny(&scene.net.nothing_denied()).unwrap();
    let mut grant = order.grant.clone();
    (grant.slot, grant.deadline) = (2, grant.deadline.plus(3_600_000));
    lane.lane.open(scene.net.signed(order.open.node, grant, order.open.issued)).unwrap();
    assert_eq!(lane.dispatch(&token, &asks(2)).await.segments, served(2));
    // The router falls silent: a minute until the next list was due, and a minute of patience.
    let signed = scene.net.nothing_denied().list;
    assert_eq!(signed.next_update, signed.issued.plus(60));
    scene.skew.store(119_000, Ordering::SeqCst);
    assert_eq!(lane.dispatch(&token, &asks(2)).await.segments, served(2));
    scene.skew.store(125_000, Ordering::SeqCst);
    assert_eq!(lane.dispatch(&token, &asks(2)).await.segments, refused(2, Refusal::TokenStale));
    lane.lane.open(scene.again(&order, 3)).unwrap();
    assert_eq!(lane.dispatch(&token, &asks(3)).await.segments, refused(3, Refusal::TokenStale));
    // It comes back.
    lane.lane.deny(&scene.net.nothing_denied()).unwrap();
    assert_eq!(lane.dispatch(&token, &asks(2)).await.segments, served(2));
}

#[tokio::test]
async fn consent_that_the_list_names_is_over_at_once() {
    for by_id in [true, false] {
        let scene = Scene::new();
        let mut lane = scene.lane().await;
        let (token, order) = scene.serving(&mut lane, &scene.proposal()).await;
        lane.lane.open(order.clone()).unwrap();
        let asks = scene.rows(1, 0, 1, Form::Summed);
        assert_eq!(lane.dispatch(&token, &asks).await.segments, served(1));
        let own = MinEpoch { node: scene.member.key.public().node_id(), epoch: 2 };
        let names = match by_id {
            true => DenyNames { consents: vec![order.grant.cti], ..DenyNames::default() },
            false => DenyNames { epochs: vec![own], ..DenyNames::default() },
        };
        lane.lane.deny(&scene.net.denying(1, names)).unwrap();
        assert_eq!(lane.dispatch(&token, &asks).await.segments, refused(1, Refusal::Withdrawn));
        assert_eq!(lane.event().await, NodeMessage::Revoke(order.grant.cti));
        assert_eq!(lane.event().await, NodeMessage::DenyTaken(1));
        // A node that leaves waits ten seconds for what is open, and for the other half of what is closed.
        let receipt = lane.close(1, 2).await.unwrap();
        lane.lane.ack(scene.half(&receipt, order.open.serial).1).unwrap();
        let logged = scene.stop().await.logged();
        assert!(logged.iter().any(|(kind, _)| *kind == "consent-revoked"));
    }
}

#[tokio::test]
async fn a_token_that_was_welcomed_after_the_list_came_is_over_too() {
    let scene = Scene::new();
    let mut lane = scene.lane().await;
    lane.lane.propose(scene.proposal()).unwrap();
    let NodeMessage::Consent(token) = lane.event().await else { panic!("no consent") };
    let permit = scene.net.check(&token, &scene.member).unwrap();
    let cti = permit.claims().cti;
    lane.lane.deny(&scene.net.denying(1, DenyNames { consents: vec![cti], ..DenyNames::default() })).unwrap();
    assert_eq!(lane.event().await, NodeMessage::DenyTaken(1));
    lane.lane.welcome(&permit, 0, Seconds(u64::MAX)).unwrap();
    assert_eq!(lane.event().await, NodeMessage::Revoke(cti));
}

//= spec/identity.md#the-roots-deny-list
//= type=test
//# A node MUST NOT open a lane to a router that the list names, by its id or by the CA of its certificate, and MUST end such a lane
//# within a second of taking the list (`C_DENIED`).
#[tokio::test]
async fn a_lane_ends_where_the_root_denies_the_ca_of_its_router_and_stands_with_another_ca() {
    let mut scene = Scene::new();
    let lane = scene.lane().await;
    let ca = certificate_serial(&scene.net.router.chain().ca).unwrap();
    scene.deny_by_root(1, vec![], vec![ca]);
    let end = lane.lane.closed().await;
    assert!(matches!(end, LaneEnd::RefusedByPeer(Refusal::CertDenied, _)), "{end}");
    scene.net.roll_over(&scene.endpoint, &[&scene.member]).unwrap();
    let lane = scene.lane().await;
    assert!(lane.lane.ping().await.is_ok());
    scene.deny_by_root(2, vec![scene.net.router_key.public().router_id()], vec![]);
    let end = lane.lane.closed().await;
    assert!(matches!(end, LaneEnd::RefusedByPeer(Refusal::CertDenied, _)), "{end}");
    assert!(matches!(scene.gave_up().await, NodeError::RouterDenied(_)));
}

#[tokio::test]
async fn a_node_that_the_list_names_says_so_and_stops() {
    let mut scene = Scene::new();
    let lane = scene.lane().await;
    assert_eq!(ended_by(&lane, &scene.net.denying(1, myself(&scene))).await, Refusal::CertDenied);
    let NodeError::Denied(why) = scene.gave_up().await else { panic!("another reason") };
    assert_eq!(why, "the router's deny list names this node");
    // By its certificate as well, and where the router ends the lane itself.
    scene.start();
    let lane = scene.bare_lane().await;
    let serials = vec![Serial::from_bytes(*lane.lane.peer().cert_serial())];
    let list = scene.net.denying(2, DenyNames { serials, ..DenyNames::default() });
    assert_eq!(ended_by(&lane, &list).await, Refusal::CertDenied);
    assert!(matches!(scene.gave_up().await, NodeError::Denied(_)));
    scene.start();
    scene.bare_lane().await.lane.shut(Refusal::CertDenied, "go away");
    let NodeError::Denied(why) = scene.gave_up().await else { panic!("another reason") };
    assert_eq!(why, "go away");
}
