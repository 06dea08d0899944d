//! What the other side wrote for people, where people see it.

use counterfoil_spec::limits::MAX_SHOWN_CHARS;
use counterfoil_spec::message::{CloseSlot, NodeMessage, SlotRefusal};
use counterfoil_spec::refusal::Refusal;
use quinn::VarInt;

use super::*;

/// Clears a screen, begins a line of a log, and turns what follows around.
const WILD: &str = "\x1b[2J\x1b[H\r\nERROR all is well\u{202e}txt";
const SHOWN: &str = "\\u{1b}[2J\\u{1b}[H\\u{d}\\u{a}ERROR all is well\\u{202e}txt";

//= spec/session.md#the-connection
//= type=test
//# Whoever shows words of the other side to a person, or writes them where lines are read, MUST escape in them control characters,
//# separators of lines and paragraphs, marks of writing direction and letters without width, and MUST cut them after 1,000 letters.
#[tokio::test]
async fn the_reason_of_an_end_is_escaped_on_both_sides() {
    let pair = connected().await;
    pair.node.shut(Refusal::SessionInternal, WILD);
    let end = pair.router.closed().await;
    assert_eq!(end, LaneEnd::RefusedByPeer(Refusal::SessionInternal, SHOWN.to_owned()));
    let mut pair = connected().await;
    pair.router.shut(Refusal::SessionInternal, WILD);
    let end = pair.node.next().await.map(drop).unwrap_err();
    assert_eq!(end, LaneEnd::RefusedByPeer(Refusal::SessionInternal, SHOWN.to_owned()));
}

#[tokio::test]
async fn the_reason_of_an_end_without_a_code_of_ours_is_escaped() {
    let mut pair = connected().await;
    pair.router.connection().close(VarInt::from(9999_u16), WILD.as_bytes());
    let LaneEnd::Lost(words) = pair.node.next().await.map(drop).unwrap_err() else {
        panic!("a code of ours")
    };
    assert!(words.contains(SHOWN), "{words:?}");
    assert!(!words.contains(char::is_control), "{words:?}");
}

#[tokio::test]
async fn what_an_order_is_refused_with_is_escaped_and_cut() {
    let mut pair = connected().await;
    let _token = consented(&mut pair).await;
    pair.router.open(pair.net.order(&permit(&pair), 5)).unwrap();
    let node = pair.router.node();
    let detail = WILD.repeat(1000);
    let long = detail.len();
    let refusal = SlotRefusal { slot: 5, refusal: Refusal::Price, detail: detail.into(), node };
    pair.node.send(&NodeMessage::Refuse(refusal.clone())).unwrap();
    let closing = pair.router.close(CloseSlot { slot: 5, used: 0, cancelled: true }).unwrap();
    pair.node.send(&NodeMessage::Refuse(refusal)).unwrap();
    let LaneError::Refused { detail, .. } = closing.await.unwrap_err() else { panic!("not refused") };
    assert!(detail.starts_with(SHOWN), "{detail}");
    assert!(detail.ends_with(&format!("… ({long} bytes)")), "{detail}");
    assert!(detail.chars().count() <= MAX_SHOWN_CHARS + 20);
    assert!(!detail.contains(char::is_control), "{detail:?}");
}
