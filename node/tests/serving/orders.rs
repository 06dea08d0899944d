use super::fixture::Scene;
use super::refused;
use counterfoil_session::LaneError;
use counterfoil_session::frame::Form;
use counterfoil_spec::claims::{ALL, Range};
use counterfoil_spec::message::SignedOpen;
use counterfoil_spec::refusal::Refusal;

/// Opens with a changed grant; gives what the first dispatch, the router's books and the close say.
async fn open_refused(change: impl FnOnce(&Scene, &mut SignedOpen)) -> Refusal {
    let scene = Scene::new();
    let mut lane = scene.lane().await;
    let mut proposal = scene.proposal();
    proposal.ranges[0].experts = (0, 1);
    let (token, mut order) = scene.serving(&mut lane, &proposal).await;
    change(&scene, &mut order);
    lane.lane.open(order).unwrap();
    let combine = lane.dispatch(&token, &scene.rows(1, 0, 1, Form::Summed)).await;
    let told = lane.lane.refusal(1).unwrap().refusal;
    assert_eq!(combine.segments, refused(1, told));
    let Err(LaneError::Refused { refusal, .. }) = lane.close(1, 0).await else { panic!("not refused") };
    assert_eq!(refusal, told);
    told
}

#[tokio::test]
async fn a_grant_wider_than_its_token_is_refused() {
    let refusal = open_refused(|scene, order| {
        let mut grant = order.grant.clone();
        grant.ranges = vec![Range { experts: (0, ALL), ..grant.ranges[0] }];
        *order = scene.net.signed(order.open.node, grant, order.open.issued);
    });
    assert_eq!(refusal.await, Refusal::Scope);
}

#[tokio::test]
async fn an_order_that_the_router_did_not_sign_is_refused() {
    let refusal = open_refused(|scene, order| {
        let forger = scene.net.member().unwrap().key;
        let (open, grant, net) = (order.open.clone(), order.grant.clone(), scene.net.domain.net_id());
        *order = counterfoil_consent::sign_open(open, grant, &forger, &net).unwrap();
    });
    assert_eq!(refusal.await, Refusal::Grant);
}

#[tokio::test]
async fn an_order_after_its_deadline_is_refused() {
    let refusal = open_refused(|scene, order| {
        let mut grant = order.grant.clone();
        grant.deadline = (scene.net.now)();
        *order = scene.net.signed(order.open.node, grant, order.open.issued);
    });
    assert_eq!(refusal.await, Refusal::Deadline);
}
