use super::fixture::Scene;
use super::{body, refused};
use counterfoil_node::Stage;
use counterfoil_session::frame::{Form, Outcome, Served};
use counterfoil_session::lane::EARLIER_LANE;
use counterfoil_session::{LaneEnd, Transcript};
use counterfoil_spec::limits::MAX_UNSETTLED_RECEIPTS;
use counterfoil_spec::message::{NodeMessage, NodeReceipt, UnusedForwards};
use counterfoil_spec::refusal::Refusal;

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
    assert_eq!(lane.lane.interim_receipts(1), []);
    lane.dispatch(&token, &scene.rows(1, 255, 1, Form::Summed)).await;
    lane.lane.ping().await.unwrap();
    let interim = lane.lane.interim_receipts(1).remove(0);
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
async fn what_entered_no_sum_is_left_out_of_receipts() {
    let scene = Scene::new();
    let mut lane = scene.lane().await;
    let (token, order) = scene.serving(&mut lane, &scene.proposal()).await;
    lane.lane.open(order).unwrap();
    let unused = |slot, forwards| lane.lane.unused(UnusedForwards { slot, forwards });
    // Nothing was answered yet, and nothing is open on slot 9.
    unused(1, 3).unwrap();
    unused(9, 5).unwrap();
    lane.lane.ping().await.unwrap();
    assert_eq!(lane.lane.interim_receipts(1), []);
    lane.dispatch(&token, &scene.rows(1, 0, 256, Form::Summed)).await;
    lane.lane.ping().await.unwrap();
    lane.lane.unused(UnusedForwards { slot: 1, forwards: 2 }).unwrap();
    lane.lane.ping().await.unwrap();
    let bodies: Vec<_> = lane.lane.interim_receipts(1).iter().map(|half| body(&scene, half)).collect();
    assert_eq!(
        bodies.iter().map(|body| (body.forwards, body.made)).collect::<Vec<_>>(),
        [(510, 512), (512, 512)]
    );
    let last = lane.close(1, 510).await.unwrap();
    assert_eq!(body(&scene, &last).forwards, 510);
}

#[tokio::test]
async fn an_interim_receipt_that_the_router_signed_instead_of_the_last_is_logged() {
    let scene = Scene::new();
    let mut lane = scene.lane().await;
    let (token, order) = scene.serving(&mut lane, &scene.proposal()).await;
    lane.lane.open(order.clone()).unwrap();
    lane.dispatch(&token, &scene.rows(1, 0, 256, Form::Summed)).await;
    lane.dispatch(&token, &scene.rows(1, 256, 1, Form::Summed)).await;
    let interim = lane.lane.interim_receipts(1).remove(0);
    let last = lane.close(1, 514).await.unwrap();
    assert_eq!((body(&scene, &interim).forwards, body(&scene, &last).forwards), (512, 514));
    let (_, ack) = scene.half(&interim, order.open.serial);
    lane.lane.ack(ack.clone()).unwrap();
    // Said twice, it is taken once.
    lane.lane.ack(ack).unwrap();
    lane.lane.ping().await.unwrap();
    let stopped = scene.stop().await;
    let kinds: Vec<&str> = stopped.logged().iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, ["genesis", "consent-granted", "work"]);
    assert_eq!(stopped.unsettled(), Vec::<std::path::PathBuf>::new());
}
