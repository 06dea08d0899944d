//! A node over real QUIC: what it consents to, what it computes, what it refuses, and what it signs.

mod fixture;

use std::sync::atomic::Ordering;

use counterfoil_consent::check_node_half;
use counterfoil_node::Stage;
use counterfoil_session::frame::{Form, Outcome, Served};
use counterfoil_session::lane::EARLIER_LANE;
use counterfoil_session::{LaneEnd, LaneError, Transcript};
use counterfoil_spec::claims::{ALL, Range};
use counterfoil_spec::limits::MAX_UNSETTLED_RECEIPTS;
use counterfoil_spec::message::{NodeMessage, NodeReceipt, SignedOpen};
use counterfoil_spec::receipt::ReceiptBody;
use counterfoil_spec::refusal::Refusal;
use fixture::{NOT_HERE, Scene, unaccepted};

fn body(scene: &Scene, receipt: &NodeReceipt) -> ReceiptBody {
    let (key, net) = (scene.member.key.public(), scene.net.domain.net_id());
    check_node_half(&receipt.body, &receipt.node_sig, &key, &net).unwrap().into_body()
}

fn refused(slot: u32, refusal: Refusal) -> Vec<Served> {
    vec![Served { slot, outcome: Outcome::Refused(refusal) }]
}

#[tokio::test]
async fn answers_are_the_bits_of_one_process_and_both_halves_are_logged() {
    let scene = Scene::new();
    let mut lane = scene.lane().await;
    let (token, order) = scene.serving(&mut lane, &scene.proposal()).await;
    lane.lane.open(order.clone()).unwrap();
    let mut transcript = Transcript::new(&order.grant.transcript_key);
    for (first, rows, form) in [(0, 5, Form::Summed), (5, 1, Form::Summed), (6, 3, Form::Separate)] {
        let asked = scene.rows(1, first, rows, form);
        let combine = lane.dispatch(&token, &asked).await;
        assert_eq!(combine.segments, [Served { slot: 1, outcome: Outcome::Served(rows) }]);
        assert_eq!(combine.values, scene.reference(&asked));
        transcript.add(&asked, &combine, 0);
    }
    let receipt = lane.close(1, 17).await.unwrap();
    assert!(receipt.last);
    let body = body(&scene, &receipt);
    assert_eq!((body.forwards, body.made), (17, 18));
    assert_eq!(body.transcript, transcript.digest());
    assert_eq!(body.serial, order.open.serial);
    assert_eq!(body.cti, order.grant.cti);
    let (_, ack) = scene.half(&receipt, body.serial);
    lane.lane.ack(ack).unwrap();
    let stopped = scene.stop().await;
    let kinds: Vec<&str> = stopped.logged().iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, ["genesis", "consent-granted", "work"]);
    assert_eq!(stopped.logged()[2].1, order.open.serial);
    assert_eq!(stopped.unsettled(), Vec::<std::path::PathBuf>::new());
}

#[tokio::test]
async fn a_receipt_never_claims_more_than_was_made() {
    let scene = Scene::new();
    let mut lane = scene.lane().await;
    let (token, order) = scene.serving(&mut lane, &scene.proposal()).await;
    lane.lane.open(order).unwrap();
    lane.dispatch(&token, &scene.rows(1, 0, 1, Form::Summed)).await;
    let body = body(&scene, &lane.close(1, 3).await.unwrap());
    assert_eq!((body.forwards, body.made), (2, 2));
}

#[tokio::test]
async fn two_requests_in_one_frame_get_what_each_gets_alone() {
    let scene = Scene::new();
    let mut lane = scene.lane().await;
    let (token, order) = scene.serving(&mut lane, &scene.proposal()).await;
    lane.lane.open(order.clone()).unwrap();
    lane.lane.open(scene.again(&order, 2)).unwrap();
    let (mut one, two) = (scene.rows(1, 0, 2, Form::Summed), scene.rows(2, 7, 3, Form::Separate));
    let alone = [lane.dispatch(&token, &one).await.values, lane.dispatch(&token, &two).await.values].concat();
    one.segments.extend(&two.segments);
    one.rows.extend(&two.rows);
    one.experts.extend(&two.experts);
    one.activations.extend(&two.activations);
    assert_eq!(lane.dispatch(&token, &one).await.values, alone);
}

#[tokio::test]
async fn a_bad_row_refuses_its_own_request_only() {
    let scene = Scene::new();
    let mut lane = scene.lane().await;
    let (token, order) = scene.serving(&mut lane, &scene.proposal()).await;
    lane.lane.open(order.clone()).unwrap();
    lane.lane.open(scene.again(&order, 2)).unwrap();
    let (good, mut both) = (scene.rows(1, 0, 1, Form::Summed), scene.rows(1, 1, 1, Form::Summed));
    let want = lane.dispatch(&token, &good).await.values;
    let mut bad = scene.rows(2, 0, 1, Form::Summed);
    bad.activations[3] = f32::NAN;
    both.segments.extend(&bad.segments);
    both.rows.extend(&bad.rows);
    both.experts.extend(&bad.experts);
    both.activations.extend(&bad.activations);
    let combine = lane.dispatch(&token, &both).await;
    assert_eq!(
        combine.segments,
        [
            Served { slot: 1, outcome: Outcome::Served(1) },
            Served { slot: 2, outcome: Outcome::Refused(Refusal::Shape) }
        ]
    );
    assert_eq!(combine.values, want);
}

#[tokio::test]
async fn rows_of_another_width_are_refused() {
    let scene = Scene::new();
    let mut lane = scene.lane().await;
    let (token, order) = scene.serving(&mut lane, &scene.proposal()).await;
    lane.lane.open(order).unwrap();
    let mut asked = scene.rows(1, 0, 1, Form::Summed);
    asked.hidden -= 1;
    asked.activations.pop();
    assert_eq!(lane.dispatch(&token, &asked).await.segments, refused(1, Refusal::Shape));
}

#[tokio::test]
async fn an_expert_outside_the_token_is_refused() {
    let scene = Scene::new();
    let mut lane = scene.lane().await;
    let mut proposal = scene.proposal();
    proposal.ranges[0].experts = (0, 1);
    let (token, order) = scene.serving(&mut lane, &proposal).await;
    lane.lane.open(order).unwrap();
    let mut asked = scene.rows(1, 0, 1, Form::Summed);
    assert_eq!(lane.dispatch(&token, &asked).await.values, scene.reference(&asked));
    asked.experts[1].expert = 2;
    assert_eq!(lane.dispatch(&token, &asked).await.segments, refused(1, Refusal::Scope));
}

#[tokio::test]
async fn an_expert_that_the_model_does_not_have_is_refused() {
    let scene = Scene::new();
    let mut lane = scene.lane().await;
    let (token, order) = scene.serving(&mut lane, &scene.proposal()).await;
    lane.lane.open(order).unwrap();
    let mut asked = scene.rows(1, 0, 1, Form::Summed);
    asked.experts[1].expert = u16::MAX;
    assert_eq!(lane.dispatch(&token, &asked).await.segments, refused(1, Refusal::Scope));
}

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
        *order = counterfoil_consent::sign_open(open, grant, &forger, &net);
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

#[tokio::test]
async fn a_dispatch_after_the_deadline_is_refused() {
    let scene = Scene::new();
    let mut lane = scene.lane().await;
    let (token, order) = scene.serving(&mut lane, &scene.proposal()).await;
    lane.lane.open(order).unwrap();
    let asked = scene.rows(1, 0, 1, Form::Summed);
    assert_eq!(lane.dispatch(&token, &asked).await.values, scene.reference(&asked));
    scene.skew.store(61_000, Ordering::SeqCst);
    assert_eq!(lane.dispatch(&token, &asked).await.segments, refused(1, Refusal::Deadline));
}

#[tokio::test]
async fn a_dispatch_after_the_consent_ended_is_refused() {
    let scene = Scene::with(|config| config.policy.life_s = 100);
    let mut lane = scene.lane().await;
    let (token, order) = scene.serving(&mut lane, &scene.proposal()).await;
    let mut grant = order.grant.clone();
    grant.deadline = grant.deadline.plus(3_600_000);
    lane.lane.open(scene.net.signed(order.open.node, grant, order.open.issued)).unwrap();
    let asked = scene.rows(1, 0, 1, Form::Summed);
    // Within the tolerated skew of 60 s, and past it.
    scene.skew.store(130_000, Ordering::SeqCst);
    assert_eq!(lane.dispatch(&token, &asked).await.values, scene.reference(&asked));
    scene.skew.store(161_000, Ordering::SeqCst);
    assert_eq!(lane.dispatch(&token, &asked).await.segments, refused(1, Refusal::Withdrawn));
}

#[tokio::test]
async fn a_dispatch_beyond_the_granted_tokens_is_refused() {
    let scene = Scene::new();
    let mut lane = scene.lane().await;
    let (token, order) = scene.serving(&mut lane, &scene.proposal()).await;
    let mut grant = order.grant.clone();
    grant.max_tokens = 3;
    lane.lane.open(scene.net.signed(order.open.node, grant, order.open.issued)).unwrap();
    let last = scene.rows(1, 2, 1, Form::Summed);
    assert_eq!(
        lane.dispatch(&token, &last).await.segments,
        [Served { slot: 1, outcome: Outcome::Served(1) }]
    );
    assert_eq!(
        lane.dispatch(&token, &scene.rows(1, 3, 1, Form::Summed)).await.segments,
        refused(1, Refusal::Quota)
    );
}

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
    let scene = Scene::new();
    let mut lane = scene.lane().await;
    lane.lane.propose(scene.net.proposal(NOT_HERE, "guide")).unwrap();
    let want = format!("no weights of model {NOT_HERE} here");
    assert_eq!(lane.event().await, NodeMessage::Decline(NOT_HERE, want));
}

#[tokio::test]
async fn nothing_is_consented_to_before_the_notice_is_accepted() {
    let scene = Scene::with(|config| config.policy = unaccepted("guide"));
    let mut lane = scene.lane().await;
    lane.lane.propose(scene.proposal()).unwrap();
    let NodeMessage::Decline(manifest, reason) = lane.event().await else { panic!("not declined") };
    assert_eq!(manifest, scene.model.manifest_id());
    assert!(reason.contains("notice"), "{reason}");
}

#[tokio::test]
async fn more_weights_than_offered_are_declined() {
    let all = Scene::new().model.config().all_experts().count();
    let bytes = u64::try_from(all).unwrap() * Scene::new().model.expert_weight_bytes();
    let scene = Scene::with(|config| config.max_weight_bytes = bytes - 1);
    let mut lane = scene.lane().await;
    lane.lane.propose(scene.proposal()).unwrap();
    let want = format!("{all} experts take {bytes} bytes, and {} are offered", bytes - 1);
    assert_eq!(lane.event().await, NodeMessage::Decline(scene.model.manifest_id(), want));
    let mut narrower = scene.proposal();
    narrower.ranges[0].experts = (0, 0);
    lane.lane.propose(narrower).unwrap();
    assert!(matches!(lane.event().await, NodeMessage::Consent(_)));
}

#[tokio::test]
async fn a_router_that_owes_nine_halves_gets_no_more_work() {
    let scene = Scene::new();
    let mut lane = scene.lane().await;
    let (token, order) = scene.serving(&mut lane, &scene.proposal()).await;
    let most = u32::try_from(MAX_UNSETTLED_RECEIPTS).unwrap();
    let mut receipts = Vec::new();
    for slot in 1..=most + 1 {
        lane.lane.open(scene.again(&order, slot)).unwrap();
        let asked = scene.rows(slot, 0, 1, Form::Summed);
        assert_eq!(
            lane.dispatch(&token, &asked).await.segments,
            [Served { slot, outcome: Outcome::Served(1) }]
        );
        receipts.push(lane.close(slot, 2).await.unwrap());
    }
    let slot = most + 2;
    lane.lane.open(scene.again(&order, slot)).unwrap();
    let asked = scene.rows(slot, 0, 1, Form::Summed);
    assert_eq!(lane.dispatch(&token, &asked).await.segments, refused(slot, Refusal::Unsettled));
    let first = body(&scene, &receipts[0]).serial;
    lane.lane.ack(scene.half(&receipts[0], first).1).unwrap();
    lane.lane.open(scene.again(&order, slot + 1)).unwrap();
    let asked = scene.rows(slot + 1, 0, 1, Form::Summed);
    let served = Served { slot: slot + 1, outcome: Outcome::Served(1) };
    assert_eq!(lane.dispatch(&token, &asked).await.segments, [served]);
}

#[tokio::test]
async fn a_half_that_is_not_the_routers_ends_the_lane() {
    let scene = Scene::new();
    let mut lane = scene.lane().await;
    let (token, order) = scene.serving(&mut lane, &scene.proposal()).await;
    lane.lane.open(order.clone()).unwrap();
    lane.dispatch(&token, &scene.rows(1, 0, 1, Form::Summed)).await;
    let receipt = lane.close(1, 2).await.unwrap();
    let (_, mut ack) = scene.half(&receipt, order.open.serial);
    ack.include_by = ack.include_by.plus(1);
    lane.lane.ack(ack).unwrap();
    let LaneEnd::RefusedByPeer(refusal, _) = lane.lane.closed().await else { panic!("not refused") };
    assert_eq!(refusal, Refusal::Unsettled);
}

#[tokio::test]
async fn an_interim_receipt_comes_with_the_256th_token() {
    let scene = Scene::new();
    let mut lane = scene.lane().await;
    let (token, order) = scene.serving(&mut lane, &scene.proposal()).await;
    lane.lane.open(order).unwrap();
    lane.dispatch(&token, &scene.rows(1, 0, 255, Form::Summed)).await;
    lane.lane.ping().await.unwrap();
    assert_eq!(lane.lane.interim_receipt(1), None);
    lane.dispatch(&token, &scene.rows(1, 255, 1, Form::Summed)).await;
    lane.lane.ping().await.unwrap();
    let interim = lane.lane.interim_receipt(1).unwrap();
    assert!(!interim.last);
    let body = body(&scene, &interim);
    assert_eq!((body.forwards, body.made), (512, 512));
}

#[tokio::test]
async fn work_of_a_broken_lane_is_receipted_on_the_next_and_logged_once() {
    let scene = Scene::new();
    let mut lane = scene.lane().await;
    let (token, order) = scene.serving(&mut lane, &scene.proposal()).await;
    lane.lane.open(order.clone()).unwrap();
    lane.dispatch(&token, &scene.rows(1, 0, 3, Form::Summed)).await;
    lane.lane.shut(Refusal::SessionInternal, "the test");
    let mut next = scene.lane().await;
    let NodeMessage::Receipt(receipt) = next.event().await else { panic!("no receipt") };
    assert_eq!((receipt.slot, receipt.last), (EARLIER_LANE, true));
    let body = body(&scene, &receipt);
    assert_eq!((body.serial, body.forwards, body.made), (order.open.serial, 6, 6));
    next.lane.ack(scene.half(&receipt, body.serial).1).unwrap();
    // The node serves on the new lane as on the first.
    let (token, order) = scene.serving(&mut next, &scene.proposal()).await;
    next.lane.open(order).unwrap();
    let asked = scene.rows(1, 0, 1, Form::Summed);
    assert_eq!(next.dispatch(&token, &asked).await.values, scene.reference(&asked));
    drop(next.close(1, 2).await.unwrap());
    next.lane.shut(Refusal::SessionInternal, "the test");
    let third = scene.lane().await;
    drop(third);
    let logged = scene.stop().await.logged();
    assert_eq!(logged.iter().filter(|(kind, serial)| *kind == "work" && *serial == body.serial).count(), 1);
}

#[tokio::test]
async fn a_node_that_is_told_to_stop_finishes_what_is_open() {
    let scene = Scene::new();
    let mut lane = scene.lane().await;
    let (token, order) = scene.serving(&mut lane, &scene.proposal()).await;
    lane.lane.open(order.clone()).unwrap();
    let asked = scene.rows(1, 0, 1, Form::Summed);
    lane.dispatch(&token, &asked).await;
    let want = scene.reference(&asked);
    let half = |receipt: &NodeReceipt| {
        let (key, net) = (scene.member.key.public(), scene.net.domain.net_id());
        counterfoil_consent::countersign(&receipt.body, &receipt.node_sig, &key, &scene.net.router_key, &net)
            .unwrap()
    };
    let status = scene.node.status();
    assert_eq!(status.borrow().stage, Stage::Serving);
    assert_eq!(status.borrow().consents[0].experts, Some(scene.model.config().all_experts().count()));
    let finish = async {
        assert_eq!(lane.event().await, NodeMessage::Drain);
        assert_eq!(lane.dispatch(&token, &asked).await.values, want);
        let receipt = lane.close(1, 4).await.unwrap();
        let whole = half(&receipt);
        let serial = order.open.serial;
        let ack = counterfoil_spec::message::ReceiptAck {
            serial,
            router_sig: whole.router_sig,
            include_by: whole.include_by,
        };
        lane.lane.ack(ack).unwrap();
        lane.lane.closed().await
    };
    scene.halt();
    let end = finish.await;
    assert!(matches!(end, LaneEnd::RefusedByPeer(Refusal::SessionDrain, _)), "{end}");
    assert_eq!(scene.stopped().await.logged().len(), 3);
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
