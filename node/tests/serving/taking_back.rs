use super::fixture::Scene;
use super::refused;
use counterfoil_consent::{Hours, Policy};
use counterfoil_node::{OperatorOrder, Stage, asked, give_order};
use counterfoil_session::frame::Form;
use counterfoil_spec::amount::TokenCount;
use counterfoil_spec::ids::Serial;
use counterfoil_spec::message::{NodeMessage, Terms};
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::time::Seconds;

fn terms(scene: &Scene, min_epoch: u64) -> NodeMessage {
    let wants = Some(vec![scene.model.name().to_owned()]);
    NodeMessage::Terms(Terms { min_epoch, wants, concurrent: u32::MAX })
}

//= spec/consent.md#withdrawal
//= type=test
//# After a withdrawal a node MUST NOT sign for the token's models before the operator allowed them again.
#[tokio::test]
async fn what_the_operator_takes_back_ends_at_once_and_waits_for_a_yes() {
    let scene = Scene::new();
    let mut lane = scene.lane().await;
    let (token, order) = scene.serving(&mut lane, &scene.proposal()).await;
    lane.lane.open(order.clone()).unwrap();
    let asks = scene.rows(1, 0, 1, Form::Summed);
    lane.dispatch(&token, &asks).await;
    let file = give_order(scene.home.path(), OperatorOrder::Revoke(order.grant.cti)).unwrap();
    assert_eq!(lane.event().await, terms(&scene, 1));
    assert_eq!(lane.event().await, NodeMessage::Revoke(order.grant.cti));
    assert_eq!(lane.dispatch(&token, &asks).await.segments, refused(1, Refusal::Withdrawn));
    assert!(!file.exists());

    lane.lane.propose(scene.proposal()).unwrap();
    let NodeMessage::Decline(manifest, why) = lane.event().await else { panic!("not declined") };
    let want = format!("waits for the operator of the node: `counterfoil consent issue {manifest}`");
    assert_eq!((manifest, why.to_string()), (scene.model.manifest_id(), want));
    assert_eq!(asked(scene.home.path()), [scene.proposal()]);
    give_order(scene.home.path(), OperatorOrder::Allow(manifest)).unwrap();
    assert_eq!(lane.event().await, terms(&scene, 1));
    assert_eq!(asked(scene.home.path()), []);
    lane.lane.propose(scene.proposal()).unwrap();
    assert!(matches!(lane.event().await, NodeMessage::Consent(_)));
}

//= spec/consent.md#withdrawal
//= type=test
//# A node MUST tell the router at the beginning of each lane what it has withdrawn of tokens that are not over:
#[tokio::test]
async fn what_is_taken_back_while_no_router_is_there_is_logged_then_and_told_later() {
    let scene = Scene::new();
    let mut lane = scene.lane().await;
    let (_, order) = scene.serving(&mut lane, &scene.proposal()).await;
    lane.lane.shut(Refusal::SessionDrain, "the router goes");
    lane.lane.closed().await;
    // Nobody lets the node in meanwhile.
    let file = give_order(scene.home.path(), OperatorOrder::Revoke(order.grant.cti)).unwrap();
    scene.has_logged("consent-revoked").await;
    let mut lane = scene.lane().await;
    assert_eq!(lane.event().await, NodeMessage::Revoke(order.grant.cti));
    assert!(!file.exists());
}

#[tokio::test]
async fn taking_all_back_while_the_node_is_down_is_told_before_anything_else() {
    let mut scene = Scene::new();
    let mut lane = scene.lane().await;
    let (_, order) = scene.serving(&mut lane, &scene.proposal()).await;
    scene.crash().await;
    give_order(scene.home.path(), OperatorOrder::RevokeAll).unwrap();
    scene.start();
    let mut lane = scene.lane().await;
    loop {
        // The epoch of one that knows of no other than its first is not told.
        match lane.event().await {
            NodeMessage::Terms(terms) => assert_eq!(terms.min_epoch, 2),
            last => break assert_eq!(last, NodeMessage::Revoke(order.grant.cti)),
        }
    }
    lane.lane.propose(scene.proposal()).unwrap();
    assert!(matches!(lane.event().await, NodeMessage::Decline(..)));
    let logged = scene.stop().await.logged();
    assert_eq!(logged.iter().filter(|(kind, _)| *kind == "consent-revoked").count(), 1);
}

#[tokio::test]
async fn a_token_that_a_changed_policy_does_not_allow_is_withdrawn_and_others_are_signed_anew() {
    let scene = Scene::new();
    let mut lane = scene.lane().await;
    let (_, order) = scene.serving(&mut lane, &scene.proposal()).await;
    let mut policy = counterfoil_session::sandbox::open_policy(scene.model.name());
    policy.price_floor_micro_per_1k = 10_000;
    assert!(scene.node.change_policy(policy.clone()));
    assert_eq!(lane.event().await, NodeMessage::Revoke(order.grant.cti));
    assert_eq!(lane.event().await, terms(&scene, 1));
    let (_, order) = scene.serving(&mut lane, &scene.proposal()).await;
    policy.price_floor_micro_per_1k = 5000;
    assert!(scene.node.change_policy(policy));
    assert_eq!(lane.event().await, terms(&scene, 1));
    let NodeMessage::Consent(token) = lane.event().await else { panic!("not signed anew") };
    let permit = scene.net.check(&token, &scene.member).unwrap();
    assert_ne!(permit.claims().cti, order.grant.cti);
    assert_eq!(permit.claims().price_floor.micro_per_1k.0, 5000);
}

//= spec/consent.md#policy
//= type=test
//# A node MUST withdraw its tokens when the policy's hours end.
#[tokio::test]
async fn a_token_ends_with_the_hours_and_the_router_may_ask_again_when_they_begin() {
    let now = (counterfoil_session::sandbox::machine_clock())().seconds();
    let minute = |ahead: u64| {
        let of_day = (now.0 / 60 + 1440 + ahead) % 1440;
        format!("{:02}:{:02}", of_day / 60, of_day % 60)
    };
    let windows = [(1440 - 10, 60), (180, 240)].map(|(from, to)| format!("{}-{}", minute(from), minute(to)));
    let hours = Hours::parse(&windows, "UTC").unwrap();
    let end = hours.end(now).unwrap();
    let scene = Scene::with(|config| {
        config.policy.hours = hours;
        config.policy.quota.tokens_per_day = TokenCount(u64::MAX);
    });
    let mut lane = scene.lane().await;
    lane.lane.propose(scene.proposal()).unwrap();
    let NodeMessage::Consent(token) = lane.event().await else { panic!("no consent") };
    let permit = scene.net.check(&token, &scene.member).unwrap();
    assert_eq!(permit.claims().expires, end);
    lane.lane.welcome(&permit, 0, Seconds(u64::MAX)).unwrap();
    assert_eq!(lane.event().await, NodeMessage::Ready(permit.claims().cti));
    scene.skew.store(3_700_000, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(lane.event().await, NodeMessage::Revoke(permit.claims().cti));
    lane.lane.propose(scene.proposal()).unwrap();
    let NodeMessage::Decline(_, why) = lane.event().await else { panic!("not declined") };
    let opens = (now.0 / 60 + 180) * 60;
    assert_eq!(
        why.to_string(),
        format!("the policy serves at other hours; the next begin at {opens} (unix)")
    );
    // Well within the life of the certificates.
    scene.skew.store(181 * 60_000, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(lane.event().await, terms(&scene, 1));
}

/// Serves once, and loses the lane.
async fn served_and_lost(scene: &Scene) -> Serial {
    let mut lane = scene.lane().await;
    let (_, order) = scene.serving(&mut lane, &scene.proposal()).await;
    drop(lane);
    let mut status = scene.node.status();
    status.wait_for(|status| matches!(status.stage, Stage::Connecting(_))).await.unwrap();
    order.grant.cti
}

//= spec/consent.md#policy
//= type=test
//# A node whose policy changes MUST withdraw the consent tokens that the new one does not allow, and signs anew for the others.
#[tokio::test]
async fn a_policy_that_changes_while_there_is_no_lane_holds_for_the_next_one() {
    let scene = Scene::new();
    let old = served_and_lost(&scene).await;
    let mut policy = counterfoil_session::sandbox::open_policy(scene.model.name());
    policy.price_floor_micro_per_1k = 7000;
    policy.quota.concurrent = 3;
    assert!(scene.node.change_policy(policy));
    let mut lane = scene.lane().await;
    assert_eq!(lane.event().await, NodeMessage::Revoke(old));
    assert_eq!(lane.hello.concurrent, 3);
    lane.lane.propose(scene.proposal()).unwrap();
    let NodeMessage::Consent(token) = lane.event().await else { panic!("not signed") };
    let permit = scene.net.check(&token, &scene.member).unwrap();
    assert_eq!(permit.claims().price_floor.micro_per_1k.0, 7000);
    let logged = scene.stop().await.logged();
    assert_eq!(logged.iter().filter(|(kind, _)| *kind == "consent-revoked").count(), 1);
}

#[tokio::test]
async fn a_policy_that_changes_while_the_router_looks_at_a_token_holds_for_that_token() {
    let scene = Scene::new();
    let mut lane = scene.lane().await;
    lane.lane.propose(scene.proposal()).unwrap();
    let NodeMessage::Consent(token) = lane.event().await else { panic!("not signed") };
    let permit = scene.net.check(&token, &scene.member).unwrap();
    let mut policy = counterfoil_session::sandbox::open_policy(scene.model.name());
    policy.price_floor_micro_per_1k = 7000;
    assert!(scene.node.change_policy(policy));
    assert_eq!(lane.event().await, terms(&scene, 1));
    lane.lane.welcome(&permit, 0, Seconds(u64::MAX)).unwrap();
    assert_eq!(lane.event().await, NodeMessage::Revoke(permit.claims().cti));
    assert_eq!(lane.event().await, terms(&scene, 1));
}

#[tokio::test]
async fn what_a_handle_takes_back_while_there_is_no_lane_is_logged_and_told_on_the_next_one() {
    let scene = Scene::new();
    let old = served_and_lost(&scene).await;
    assert!(scene.node.revoke(old).await);
    let mut lane = scene.lane().await;
    assert_eq!(lane.event().await, NodeMessage::Revoke(old));
    let logged = scene.stop().await.logged();
    assert_eq!(logged.iter().filter(|(kind, _)| *kind == "consent-revoked").count(), 1);
}

//= spec/consent.md#withdrawal
//= type=test
//# A node MUST tell the router at the beginning of each lane what it has withdrawn of tokens that are not over:
#[tokio::test]
async fn what_was_taken_back_without_a_lane_is_told_after_a_restart_on_each_lane() {
    let mut scene = Scene::new();
    let old = served_and_lost(&scene).await;
    assert!(scene.node.revoke(old).await);
    scene.has_logged("consent-revoked").await;
    scene.crash().await;
    scene.start();
    for _ in 0..2 {
        // The second lane is told again: nobody knows what became of what the first was told.
        let mut lane = scene.lane().await;
        assert_eq!(lane.event().await, NodeMessage::Revoke(old));
    }
    let logged = scene.stop().await.logged();
    assert_eq!(logged.iter().filter(|(kind, _)| *kind == "consent-revoked").count(), 1);
}

#[tokio::test]
async fn a_policy_that_was_changed_while_the_node_was_down_withdraws_what_it_does_not_allow() {
    let mut scene = Scene::new();
    let mut lane = scene.lane().await;
    let (_, order) = scene.serving(&mut lane, &scene.proposal()).await;
    scene.crash().await;
    scene.start();
    let mut lane = scene.lane().await;
    lane.lane.propose(scene.proposal()).unwrap();
    let NodeMessage::Consent(token) = lane.event().await else { panic!("something was withdrawn") };
    let second = scene.net.check(&token, &scene.member).unwrap().claims().cti;
    lane.lane.welcome(&scene.net.check(&token, &scene.member).unwrap(), 0, Seconds(u64::MAX)).unwrap();
    assert_eq!(lane.event().await, NodeMessage::Ready(second));
    scene.crash().await;
    scene.policy(|policy| policy.quota.concurrent = 3);
    scene.start();
    let mut lane = scene.lane().await;
    let mut told = vec![lane.event().await, lane.event().await];
    let mut want = [order.grant.cti, second].map(NodeMessage::Revoke).to_vec();
    let cti = |message: &NodeMessage| if let NodeMessage::Revoke(cti) = message { Some(*cti) } else { None };
    told.sort_by_key(cti);
    want.sort_by_key(cti);
    assert_eq!(told, want);
}

//= spec/consent.md#policy
//= type=test
//# Where the operator is to be asked, a node MUST decline a model until the operator said yes to it.
#[tokio::test]
async fn asking_begins_and_ends_while_the_node_runs() {
    let scene = Scene::new();
    let mut lane = scene.lane().await;
    let (_, order) = scene.serving(&mut lane, &scene.proposal()).await;
    let policy = counterfoil_session::sandbox::open_policy(scene.model.name());
    assert!(scene.node.change_policy(Policy { ask: true, ..policy.clone() }));
    assert_eq!(lane.event().await, NodeMessage::Revoke(order.grant.cti));
    assert_eq!(lane.event().await, terms(&scene, 1));
    lane.lane.propose(scene.proposal()).unwrap();
    assert!(matches!(lane.event().await, NodeMessage::Decline(..)));
    assert_eq!(asked(scene.home.path()), [scene.proposal()]);

    // A yes outlives the asking, and a no as well.
    give_order(scene.home.path(), OperatorOrder::Allow(scene.model.manifest_id())).unwrap();
    assert_eq!(lane.event().await, terms(&scene, 1));
    let (_, order) = scene.serving(&mut lane, &scene.proposal()).await;
    assert!(scene.node.change_policy(policy.clone()));
    assert_eq!(lane.event().await, terms(&scene, 1));
    let NodeMessage::Consent(_) = lane.event().await else { panic!("not signed anew") };
    give_order(scene.home.path(), OperatorOrder::Revoke(order.grant.cti)).unwrap();
    loop {
        if lane.event().await == NodeMessage::Revoke(order.grant.cti) {
            break;
        }
    }
    for ask in [true, false] {
        assert!(scene.node.change_policy(Policy { ask, ..policy.clone() }));
        assert_eq!(lane.event().await, terms(&scene, 1));
        lane.lane.propose(scene.proposal()).unwrap();
        assert!(matches!(lane.event().await, NodeMessage::Decline(..)), "asking: {ask}");
    }
}
