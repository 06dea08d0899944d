use counterfoil_spec::ids::Signature;
use counterfoil_spec::message::{CloseSlot, NodeMessage, NodeReceipt, RouterMessage, SlotRefusal};
use counterfoil_spec::refusal::Refusal;

use super::*;

#[tokio::test]
async fn rows_come_back_to_the_task_that_sent_them() {
    let mut pair = connected().await;
    let token = consented(&mut pair).await;
    let first = pair.router.dispatch(&token, &one_row(1.0)).unwrap();
    let second = pair.router.dispatch(&token, &one_row(2.0)).unwrap();
    let one = asked(&mut pair.node).await;
    let reply_to_one = echo(pair.node.dispatch());
    let two = asked(&mut pair.node).await;
    assert_eq!(pair.node.dispatch(), &one_row(2.0));
    pair.node.answer(&two, &echo(pair.node.dispatch())).unwrap();
    pair.node.answer(&one, &reply_to_one).unwrap();
    assert_eq!(first.await.unwrap().values, [1.0, -1.0]);
    assert_eq!(second.await.unwrap().values, [2.0, -2.0]);
}

#[tokio::test]
async fn how_long_a_combine_took_does_not_depend_on_when_it_is_asked_for() {
    let mut pair = connected().await;
    let token = consented(&mut pair).await;
    let started = std::time::Instant::now();
    let mut answer = pair.router.dispatch(&token, &one_row(1.0)).unwrap();
    let one = asked(&mut pair.node).await;
    pair.node.answer(&one, &echo(&one_row(1.0))).unwrap();
    // What comes after it on the same lane is there, so it is there too.
    let next = pair.router.dispatch(&token, &one_row(2.0)).unwrap();
    let two = asked(&mut pair.node).await;
    pair.node.answer(&two, &echo(&one_row(2.0))).unwrap();
    next.await.unwrap();
    let there = started.elapsed();
    // Twice as late, so that it cannot pass for it.
    while started.elapsed() < 2 * there {
        std::hint::spin_loop();
    }
    assert_eq!((&mut answer).await.unwrap().values, [1.0, -1.0]);
    assert!(std::time::Duration::ZERO < answer.took() && answer.took() <= there);
}

#[tokio::test]
async fn a_combine_after_the_caller_left_is_thrown_away() {
    let mut pair = connected().await;
    let token = consented(&mut pair).await;
    drop(pair.router.dispatch(&token, &one_row(1.0)).unwrap());
    let one = asked(&mut pair.node).await;
    pair.node.answer(&one, &echo(&one_row(1.0))).unwrap();
    let next = pair.router.dispatch(&token, &one_row(2.0)).unwrap();
    let two = asked(&mut pair.node).await;
    pair.node.answer(&two, &echo(&one_row(2.0))).unwrap();
    assert_eq!(next.await.unwrap().values, [2.0, -2.0]);
}

#[tokio::test]
async fn a_frame_of_sixteen_mebibytes_passes() {
    let mut pair = connected().await;
    let token = consented(&mut pair).await;
    let rows = 511_u16;
    let dispatch = Dispatch {
        layer: 0,
        hidden: 8192,
        segments: vec![Segment { slot: 5, rows }],
        rows: (0..u32::from(rows)).map(|position| Row { position, experts: 1, form: Form::Summed }).collect(),
        experts: vec![Routed { expert: 0, weight: 1.0 }; usize::from(rows)],
        activations: Activations::F32(vec![0.25; usize::from(rows) * 8192]),
    };
    let answer = Combine {
        compute_us: 0,
        hidden: 8192,
        segments: vec![Served { slot: 5, outcome: Outcome::Served(rows) }],
        rows: vec![RowVectors { vectors: 1, form: Form::Summed }; usize::from(rows)],
        values: dispatch.activations.to_floats(),
    };
    let pending = pair.router.dispatch(&token, &dispatch).unwrap();
    let one = asked(&mut pair.node).await;
    assert!(pair.node.dispatch() == &dispatch);
    pair.node.answer(&one, &answer).unwrap();
    assert!(pending.await.unwrap() == answer);
}

#[tokio::test]
async fn a_malformed_dispatch_never_leaves() {
    let mut pair = connected().await;
    let token = consented(&mut pair).await;
    let mut bad = one_row(1.0);
    bad.activations = Activations::F32(vec![1.0]);
    let error = pair.router.dispatch(&token, &bad).map(|_| ()).unwrap_err();
    assert!(matches!(error, LaneError::Frame(_)), "{error}");
    assert_eq!(pair.router.end(), None);
}

#[tokio::test]
async fn a_token_of_another_lane_sends_nothing() {
    let mut first = connected().await;
    let token = consented(&mut first).await;
    let second = connected().await;
    let error = second.router.dispatch(&token, &one_row(1.0)).map(|_| ()).unwrap_err();
    assert!(matches!(error, LaneError::Closed { .. }), "{error}");
}

#[tokio::test]
async fn everybody_who_waits_learns_of_the_end() {
    let mut pair = connected().await;
    let token = consented(&mut pair).await;
    let order = pair.net.order(&permit(&pair), 5);
    pair.router.open(order).unwrap();
    let dispatched = pair.router.dispatch(&token, &one_row(1.0)).unwrap();
    let closing = pair.router.close(CloseSlot { slot: 5, used: 0, cancelled: false }).unwrap();
    let _ = message(&mut pair.node).await;
    pair.node.shut(Refusal::SessionDrain, "bye");
    let want = LaneEnd::RefusedByPeer(Refusal::SessionDrain, "bye".to_owned());
    assert_eq!(closed(dispatched.await.unwrap_err()), want);
    assert_eq!(closed(closing.await.unwrap_err()), want);
    assert_eq!(pair.router.closed().await, want);
    assert_eq!(pair.events.recv().await, None);
    let later = pair.router.dispatch(&token, &one_row(1.0)).map(|_| ()).unwrap_err();
    assert_eq!(closed(later), want);
}

#[tokio::test]
async fn a_fault_of_the_refusers_own_side_is_told() {
    let pair = connected().await;
    let words = "the node cannot write its log";
    let here = LaneEnd::RefusedHere(Refusal::SessionInternal, words.to_owned());
    assert_eq!(pair.node.shut(Refusal::SessionInternal, words), here);
    let told = LaneEnd::RefusedByPeer(Refusal::SessionInternal, words.to_owned());
    assert_eq!(pair.router.closed().await, told);
}

#[tokio::test]
async fn receipts_find_their_request() {
    let mut pair = connected().await;
    let _token = consented(&mut pair).await;
    let order = pair.net.order(&permit(&pair), 5);
    pair.router.open(order.clone()).unwrap();
    assert_eq!(pair.router.open(order.clone()).unwrap_err(), LaneError::InUse(5));
    assert_eq!(message(&mut pair.node).await, RouterMessage::Open(order));
    let receipt =
        |last| NodeReceipt { slot: 5, body: vec![1, 2], node_sig: Signature::from_bytes([3; 64]), last };
    pair.node.send(&NodeMessage::Receipt(receipt(false))).unwrap();
    let closing = pair.router.close(CloseSlot { slot: 5, used: 9, cancelled: false }).unwrap();
    assert_eq!(
        message(&mut pair.node).await,
        RouterMessage::Close(CloseSlot { slot: 5, used: 9, cancelled: false })
    );
    pair.node.send(&NodeMessage::Receipt(receipt(true))).unwrap();
    assert_eq!(closing.await.unwrap(), receipt(true));
    assert_eq!(
        pair.router.close(CloseSlot { slot: 5, used: 9, cancelled: false }).map(|_| ()).unwrap_err(),
        LaneError::NotOpen(5)
    );
}

#[tokio::test]
async fn interim_receipt_outlives_its_lane() {
    let mut pair = connected().await;
    let _token = consented(&mut pair).await;
    pair.router.open(pair.net.order(&permit(&pair), 5)).unwrap();
    let _ = message(&mut pair.node).await;
    let interim =
        NodeReceipt { slot: 5, body: vec![7], node_sig: Signature::from_bytes([3; 64]), last: false };
    pair.node.send(&NodeMessage::Receipt(interim.clone())).unwrap();
    let (pong, _) = tokio::join!(pair.router.ping(), async {
        let RouterMessage::Ping(nonce) = message(&mut pair.node).await else { panic!("no ping") };
        pair.node.send(&NodeMessage::Pong(nonce)).unwrap();
    });
    pong.unwrap();
    pair.node.shut(Refusal::SessionInternal, "");
    pair.router.closed().await;
    assert_eq!(pair.router.interim_receipts(5), [interim]);
}

#[tokio::test]
async fn a_refused_order_is_refused_again_when_closed() {
    let mut pair = connected().await;
    let _token = consented(&mut pair).await;
    pair.router.open(pair.net.order(&permit(&pair), 5)).unwrap();
    let refusal = SlotRefusal {
        slot: 5,
        refusal: Refusal::Price,
        detail: "too cheap".into(),
        node: pair.router.node(),
    };
    pair.node.send(&NodeMessage::Refuse(refusal.clone())).unwrap();
    let closing = pair.router.close(CloseSlot { slot: 5, used: 0, cancelled: true }).unwrap();
    pair.node.send(&NodeMessage::Refuse(refusal)).unwrap();
    assert_eq!(
        closing.await.unwrap_err(),
        LaneError::Refused {
            node: pair.router.node(),
            refusal: Refusal::Price,
            detail: "too cheap".to_owned()
        }
    );
}

#[tokio::test]
async fn a_receipt_after_the_caller_gave_up_is_an_event_and_an_unasked_one_ends_the_lane() {
    let mut pair = connected().await;
    let _token = consented(&mut pair).await;
    pair.router.open(pair.net.order(&permit(&pair), 5)).unwrap();
    drop(pair.router.close(CloseSlot { slot: 5, used: 0, cancelled: true }).unwrap());
    pair.router.forget(5);
    let late = NodeReceipt { slot: 5, body: vec![7], node_sig: Signature::from_bytes([3; 64]), last: true };
    pair.node.send(&NodeMessage::Receipt(late.clone())).unwrap();
    assert_eq!(pair.events.recv().await, Some(NodeMessage::Receipt(late.clone())));
    pair.node.send(&NodeMessage::Receipt(late)).unwrap();
    let LaneEnd::RefusedHere(refusal, _) = pair.router.closed().await else { panic!("not refused here") };
    assert_eq!(refusal, Refusal::SessionOrder);
}

#[tokio::test]
async fn a_lane_that_nobody_holds_is_closed() {
    let mut pair = connected().await;
    let clone = pair.router.clone();
    drop(pair.router);
    clone.drain().unwrap();
    let RouterFrame::Message(said) = pair.node.next().await.unwrap() else { panic!("a dispatch") };
    assert_eq!(*said, RouterMessage::Drain);
    drop(clone);
    let LaneEnd::RefusedByPeer(refusal, _) = pair.node.next().await.map(|_| ()).unwrap_err() else {
        panic!("not told")
    };
    assert_eq!(refusal, Refusal::SessionDrain);
}
