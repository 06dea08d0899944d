use super::fixture::{NOT_HERE, Scene, unaccepted};
use super::{body, refused};
use counterfoil_session::frame::Form;
use counterfoil_spec::message::NodeMessage;
use counterfoil_spec::refusal::Refusal;

#[tokio::test]
async fn a_withdrawn_consent_serves_nothing_more() {
    let scene = Scene::new();
    let mut lane = scene.lane().await;
    let (token, order) = scene.serving(&mut lane, &scene.proposal()).await;
    lane.lane.open(order.clone()).unwrap();
    let asked = scene.rows(1, 0, 1, Form::Summed);
    lane.dispatch(&token, &asked).await;
    assert!(scene.node.revoke(order.grant.cti).await);
    assert_eq!(lane.event().await, NodeMessage::Revoke(order.grant.cti));
    assert_eq!(lane.dispatch(&token, &asked).await.segments, refused(1, Refusal::Withdrawn));
    assert_eq!(body(&scene, &lane.close(1, 2).await.unwrap()).forwards, 2);
    lane.lane.open(scene.again(&order, 2)).unwrap();
    assert_eq!(
        lane.dispatch(&token, &scene.rows(2, 0, 1, Form::Summed)).await.segments,
        refused(2, Refusal::Withdrawn)
    );
}

#[tokio::test]
async fn a_model_that_is_not_here_is_declined() {
    let scene = Scene::with(|config| config.max_disk_bytes = 0);
    let mut lane = scene.lane().await;
    lane.lane.propose(scene.net.proposal(NOT_HERE, "guide")).unwrap();
    let want = format!("no weights of model {NOT_HERE} here");
    assert_eq!(lane.event().await, NodeMessage::Decline(NOT_HERE, want.into()));
}

#[tokio::test]
async fn nothing_is_consented_to_before_the_notice_is_accepted() {
    let scene = Scene::with(|config| config.policy = unaccepted("guide"));
    let mut lane = scene.lane().await;
    lane.lane.propose(scene.proposal()).unwrap();
    let NodeMessage::Decline(manifest, reason) = lane.event().await else { panic!("not declined") };
    assert_eq!(manifest, scene.model.manifest_id());
    assert!(reason.to_string().contains("notice"), "{reason}");
}

#[tokio::test]
async fn more_weights_than_offered_are_declined() {
    let model = Scene::new().model;
    let all = model.config().all_experts().count();
    let bytes: u64 = model.manifest().experts().map(|(_, record)| record.size).sum();
    let scene = Scene::with(|config| config.max_weight_bytes = bytes - 1);
    let mut lane = scene.lane().await;
    lane.lane.propose(scene.proposal()).unwrap();
    let want = format!("{all} experts take {bytes} bytes, and {} are offered", bytes - 1);
    assert_eq!(lane.event().await, NodeMessage::Decline(scene.model.manifest_id(), want.into()));
    let mut narrower = scene.proposal();
    narrower.ranges[0].experts = (0, 0);
    lane.lane.propose(narrower).unwrap();
    assert!(matches!(lane.event().await, NodeMessage::Consent(_)));
}

#[tokio::test]
async fn a_consent_that_the_router_refuses_is_told_to_the_operator() {
    let scene = Scene::new();
    let mut lane = scene.lane().await;
    lane.lane.propose(scene.proposal()).unwrap();
    let NodeMessage::Consent(mut token) = lane.event().await else { panic!("no consent") };
    let last = token.len() - 1;
    token[last] ^= 1;
    let refused = scene.net.check(&token, &scene.member).unwrap_err();
    assert_eq!(refused.refusal, Refusal::TokenSig);
    lane.lane.refuse(refused.refusal, refused.detail.clone()).unwrap();
    let mut status = scene.node.status();
    let told = status.wait_for(|s| s.refused.is_some()).await.unwrap().refused.clone();
    assert_eq!(told, Some(format!("T_SIG: {}", refused.detail)));
}
