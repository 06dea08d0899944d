use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::fixture::{Lane, Scene};
use super::refused;
use counterfoil_session::LaneError;
use counterfoil_session::frame::Form;
use counterfoil_session::sandbox::rows::{Before, LIFE_S, ORDERS, order, policy, serial};
use counterfoil_spec::amount::TokenCount;
use counterfoil_spec::claims::{ALL, Range};
use counterfoil_spec::limits::MAX_UNSETTLED_RECEIPTS;
use counterfoil_spec::message::{NodeMessage, SignedOpen};
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::time::Seconds;

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

//= spec/consent.md#quotas
//= type=test
//# After a restart a node MUST count an order that was open with all that it had reserved, and MUST refuse an order that it
//# took before (`R_REPLAY`).
#[tokio::test]
async fn a_crash_gives_no_quota_back_and_takes_no_order_twice() {
    let mut scene = Scene::with(|config| config.policy.quota.tokens_per_day = TokenCount(512));
    let mut lane = scene.lane().await;
    let (token, mut order) = scene.serving(&mut lane, &scene.proposal()).await;
    order.grant.max_tokens = 256;
    let order = scene.again(&order, 1);
    lane.lane.open(order.clone()).unwrap();
    lane.dispatch(&token, &scene.rows(1, 0, 1, Form::Summed)).await;

    scene.crash().await;
    scene.start();
    let mut lane = scene.lane().await;
    let proposal = scene.proposal();
    lane.lane.propose(proposal.clone()).unwrap();
    let NodeMessage::Consent(bytes) = lane.event().await else { panic!("no consent") };
    let permit = scene.net.check(&bytes, &scene.member).unwrap();
    lane.lane.welcome(&permit, 0, Seconds(u64::MAX)).unwrap();
    assert_eq!(lane.event().await, NodeMessage::Ready(permit.claims().cti));

    let refusal_of = async |slot, order: SignedOpen| {
        lane.lane.open(order).unwrap();
        match lane.close(slot, 0).await {
            Ok(_) => None,
            Err(LaneError::Refused { refusal, .. }) => Some(refusal),
            Err(e) => panic!("{e}"),
        }
    };
    // The same order, under the token of before: the token is not ready here, and its serial is known all the same.
    let mut anew = order.clone();
    anew.grant.cti = permit.claims().cti;
    let mut repeated = scene.again(&anew, 2);
    repeated.open.serial = order.open.serial;
    let key = &scene.net.router_key;
    let net = scene.net.domain.net_id();
    let repeated = counterfoil_consent::sign_open(repeated.open, repeated.grant, key, &net).unwrap();
    assert_eq!(refusal_of(2, repeated).await, Some(Refusal::Replay));
    // 256 of 512 tokens are gone, so another 256 fit, and not one more.
    let mut last = anew.clone();
    last.grant.max_tokens = 256;
    lane.lane.open(scene.again(&last, 3)).unwrap();
    assert_eq!(refusal_of(4, scene.again(&anew, 4)).await, Some(Refusal::Quota));
}

//= spec/consent.md#quotas
//= type=test
//# A node that cannot MUST answer nothing more and stop.
#[tokio::test]
async fn an_order_that_the_disk_does_not_keep_is_not_answered() {
    let mut scene =
        Scene::with(|config| config.sync = Arc::new(|_| Err(std::io::Error::other("the disk is ill"))));
    let mut lane = scene.lane().await;
    let (token, order) = scene.serving(&mut lane, &scene.proposal()).await;
    lane.lane.open(order).unwrap();
    let asked = lane.lane.dispatch(&token, &scene.rows(1, 0, 1, Form::Summed)).unwrap();
    assert!(matches!(asked.await, Err(LaneError::Closed { .. })));
    let said = scene.gave_up().await.to_string();
    assert!(said.ends_with("could not be made durable: the disk is ill"), "{said}");
}

/// What a slot's close says of its order: nothing where it was taken.
async fn refusal_of(lane: &Lane, slot: u32) -> Option<Refusal> {
    match lane.close(slot, 0).await {
        Ok(_) => None,
        Err(LaneError::Refused { refusal, .. }) => Some(refusal),
        Err(e) => panic!("{e}"),
    }
}

//= spec/consent.md#orders-and-grants
//= type=test
//# A node MUST make these checks before it works, in this order, and MUST refuse at the first that fails.
#[tokio::test]
async fn every_row_that_a_router_does_not_send_is_refused_with_the_same_code() {
    for row in &ORDERS {
        let scene = Scene::with(|config| config.policy = policy("guide"));
        let mut lane = scene.lane().await;
        let (_, permit) = scene.permitted(&mut lane, &scene.proposal()).await;
        let (first, mut slots) = (serial(), 1..);
        let mut opened = |serial| {
            let slot = slots.next().unwrap();
            lane.lane.open(order(&scene.net, &permit, (slot, serial))).unwrap();
            slot
        };
        match row.before {
            Before::Nothing | Before::Withdrawn => {}
            Before::Over => {
                scene.skew.store((LIFE_S + 61) * 1000, Ordering::SeqCst);
                lane.lane.deny(&scene.net.nothing_denied()).unwrap();
            }
            Before::Full => {
                opened(serial());
                opened(serial());
            }
            Before::Closed => {
                let slot = opened(first);
                let receipt = lane.close(slot, 0).await.unwrap();
                lane.lane.ack(scene.half(&receipt, first).1).unwrap();
            }
            Before::Owed => {
                for _ in 0..=MAX_UNSETTLED_RECEIPTS {
                    let slot = opened(serial());
                    assert_eq!(refusal_of(&lane, slot).await, None, "{}", row.what);
                }
            }
        }
        lane.lane.open(row.order(&scene.net, &permit, (1000, first))).unwrap();
        assert_eq!(refusal_of(&lane, 1000).await, Some(row.refusal), "{}", row.what);
    }
}
