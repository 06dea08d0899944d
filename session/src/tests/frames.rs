use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::time::Millis;

use super::*;
use crate::frame::{FrameHeader, HEADER_BYTES, Kind, encode_control};

#[tokio::test]
async fn an_answer_of_another_shape_ends_the_lane() {
    let mut pair = connected().await;
    let token = consented(&mut pair).await;
    let pending = pair.router.dispatch(&token, &one_row(1.0)).unwrap();
    let one = asked(&mut pair.node).await;
    let mut wrong = echo(&one_row(1.0));
    wrong.segments[0].slot = 6;
    pair.node.answer(&one, &wrong).unwrap();
    let LaneEnd::RefusedHere(refusal, _) = closed(pending.await.unwrap_err()) else {
        panic!("not refused here")
    };
    assert_eq!(refusal, Refusal::SessionOrder);
    let LaneEnd::RefusedByPeer(refusal, _) = pair.node.next().await.unwrap_err() else { panic!("not told") };
    assert_eq!(refusal, Refusal::SessionOrder);
}

#[tokio::test]
async fn a_frame_longer_than_its_limit_ends_the_lane() {
    let pair = connected().await;
    let header = FrameHeader::control(64 * 1024 + 1);
    assert_eq!(raw(pair, &header.to_bytes()).await, Refusal::SessionLength);
}

#[tokio::test]
async fn a_combine_before_any_consent_ends_the_lane() {
    let pair = connected().await;
    let header = FrameHeader { len: 0, kind: Kind::Combine, token_slot: 0, counter: 1, seq: 0, mac: [0; 16] };
    assert_eq!(raw(pair, &header.to_bytes()).await, Refusal::SessionOrder);
}

#[tokio::test]
async fn a_wrong_mac_ends_the_lane() {
    let mut pair = connected().await;
    let _token = consented(&mut pair).await;
    let header = FrameHeader { len: 0, kind: Kind::Combine, token_slot: 0, counter: 1, seq: 0, mac: [0; 16] };
    assert_eq!(raw(pair, &header.to_bytes()).await, Refusal::Mac);
}

#[tokio::test]
async fn a_counter_seen_before_ends_the_lane() {
    let mut pair = connected().await;
    let token = consented(&mut pair).await;
    let pending = pair.router.dispatch(&token, &one_row(1.0)).unwrap();
    let one = asked(&mut pair.node).await;
    let mut body = vec![0; HEADER_BYTES];
    echo(&one_row(1.0)).encode(&mut body).unwrap();
    let mut header = FrameHeader {
        len: u32::try_from(body.len() - HEADER_BYTES).unwrap(),
        kind: Kind::Combine,
        token_slot: 0,
        counter: 1,
        seq: 0,
        mac: [0; 16],
    };
    header.mac = one.seal.mac(&header.authenticated());
    body[..HEADER_BYTES].copy_from_slice(&header.to_bytes());
    pair.node.outbox.send(body.clone().into()).unwrap();
    pending.await.unwrap();
    assert_eq!(raw(pair, &body).await, Refusal::Replay);
}

#[tokio::test]
async fn a_second_hello_ends_the_lane() {
    let pair = connected().await;
    let frame = encode_control(&NodeMessage::Hello(hello(Millis(0)))).unwrap();
    assert_eq!(raw(pair, &frame).await, Refusal::SessionOrder);
}

#[tokio::test]
async fn a_message_that_is_not_canonical_ends_the_lane() {
    let pair = connected().await;
    // Drain is [9, []]; here 9 is written in two bytes.
    let mut frame = FrameHeader::control(4).to_bytes().to_vec();
    frame.extend_from_slice(&[0x82, 0x18, 0x09, 0x80]);
    assert_eq!(raw(pair, &frame).await, Refusal::SessionShape);
}

/// Sends bytes past the lane's own encoder and gives the refusal that both sides end with.
async fn raw(mut pair: Pair, bytes: &[u8]) -> Refusal {
    pair.node.outbox.send(bytes.to_vec().into()).unwrap();
    let LaneEnd::RefusedHere(refusal, _) = pair.router.closed().await else { panic!("not refused here") };
    let told = pair.node.next().await.map(|_| ()).unwrap_err();
    assert!(matches!(told, LaneEnd::RefusedByPeer(r, _) if r == refusal), "{told}");
    refusal
}
