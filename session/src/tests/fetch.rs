use counterfoil_spec::fetch::{FetchHeader, FetchOffer, FetchRequest, ShardRequest};
use counterfoil_spec::ids::{ManifestId, NodeId};
use counterfoil_spec::limits::SHARD_CHUNK_BYTES;
use counterfoil_spec::message::NodeMessage;
use counterfoil_spec::refusal::Refusal;
use quinn::VarInt;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TryRecvError;

use super::{Pair, asked, connected, consented, echo, one_row};
use crate::FetchError;
use crate::fetch::Reply;

const MIB: usize = SHARD_CHUNK_BYTES;
const FROM: NodeId = NodeId::from_bytes([2; 32]);

fn request() -> FetchRequest {
    FetchRequest::Shard(shard(Vec::new()))
}

fn shard(not_from: Vec<NodeId>) -> ShardRequest {
    ShardRequest { manifest: ManifestId::from_bytes([1; 32]), layer: 2, expert: 5, first_chunk: 3, not_from }
}

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|i| u8::try_from(i * 31 % 251).unwrap()).collect()
}

/// The router answers every request with these bytes.
fn answering(pair: &Pair, length: usize) {
    let door = pair.router.fetch_door();
    tokio::spawn(door.serve(move |_, reply: Reply| async move {
        let _ = reply.whole(FROM, &bytes(length)).await;
    }));
}

/// The lane works still, both ways.
async fn lane_works(pair: &mut Pair) {
    let token = consented(pair).await;
    let waiting = pair.router.dispatch(&token, &one_row(1.5)).unwrap();
    let dispatch = asked(&mut pair.node).await;
    let combine = echo(pair.node.dispatch());
    pair.node.answer(&dispatch, &combine).unwrap();
    assert_eq!(waiting.await.unwrap().values, [1.5, -1.5]);
}

/// The router asks and the node answers.
async fn there_and_back(pair: &Pair) {
    assert_eq!(pair.router.fetcher().whole(&request(), 1).await, Ok((FROM, vec![0])));
}

fn broken(error: &FetchError) -> Refusal {
    match error {
        FetchError::Broken { refusal, .. } => *refusal,
        other => panic!("{other}"),
    }
}

/// What a stream that carries these bytes is reset with.
async fn reset_with(pair: &Pair, bytes: &[u8]) -> VarInt {
    let (mut send, mut recv) = pair.node.fetcher().connection.open_bi().await.unwrap();
    send.write_all(bytes).await.unwrap();
    match recv.read(&mut [0]).await {
        Err(quinn::ReadError::Reset(code)) => code,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_answer_comes_whole_in_chunks_from_whom_it_names() {
    let pair = connected().await;
    answering(&pair, 2 * MIB + 100);
    let mut answer = pair.node.fetcher().ask(&request()).await.unwrap();
    assert_eq!((answer.from(), answer.length()), (FROM, 2_097_252));
    let mut lengths = Vec::new();
    let mut all = Vec::new();
    while let Some(chunk) = answer.chunk().await.unwrap() {
        lengths.push(chunk.len());
        all.extend(chunk);
    }
    assert_eq!(lengths, [MIB, MIB, 100]);
    assert_eq!(all, bytes(2 * MIB + 100));
}

#[tokio::test]
async fn the_router_asks_a_node_in_the_same_way() {
    let pair = connected().await;
    let door = pair.node.fetch_door();
    tokio::spawn(door.serve(|asked, reply: Reply| async move {
        assert_eq!(asked, request());
        let _ = reply.whole(FROM, &bytes(7)).await;
    }));
    assert_eq!(pair.router.fetcher().whole(&request(), 7).await, Ok((FROM, bytes(7))));
    let too_long = pair.router.fetcher().whole(&request(), 6).await.unwrap_err();
    assert_eq!(broken(&too_long), Refusal::SessionLength);
}

#[tokio::test]
async fn a_refusal_comes_with_its_words() {
    let pair = connected().await;
    let door = pair.router.fetch_door();
    let words = "é".repeat(5000);
    tokio::spawn(door.serve(move |_, reply: Reply| {
        let words = words.clone();
        async move { reply.refuse(Refusal::FetchSource, &words).await }
    }));
    let Err(FetchError::Refused { refusal, detail }) = pair.node.fetcher().ask(&request()).await else {
        panic!("not refused")
    };
    assert_eq!((refusal, detail), (Refusal::FetchSource, "é".repeat(257)));
}

#[tokio::test]
async fn an_asker_that_takes_nothing_gets_four_chunks_and_the_lane_goes_on() {
    let mut pair = connected().await;
    let (sent, mut sending) = mpsc::unbounded_channel();
    let door = pair.router.fetch_door();
    tokio::spawn(door.serve(move |_, reply: Reply| {
        let sent = sent.clone();
        async move {
            let mut body = reply.offer(FROM, 6 * 1_048_576).await.unwrap();
            while body.left() > 0 {
                body.chunk(&bytes(MIB)).await.unwrap();
                sent.send(body.left()).unwrap();
            }
            body.finish().await.unwrap();
        }
    }));
    let door = pair.node.fetch_door();
    tokio::spawn(door.serve(|_, reply: Reply| async move { drop(reply.whole(FROM, &[0]).await) }));
    let fetcher = pair.node.fetcher();
    let mut answers = Vec::new();
    for _ in 0..4 {
        assert!(fetcher.is_free());
        answers.push(fetcher.ask(&request()).await.unwrap());
        for left in [5, 4, 3, 2] {
            assert_eq!(sending.recv().await, Some(left));
        }
    }
    assert!(!fetcher.is_free());
    lane_works(&mut pair).await;
    assert_eq!(sending.try_recv(), Err(TryRecvError::Empty));
    let mut first = answers.remove(0);
    first.chunk().await.unwrap();
    // A chunk that was read opens the stream's window again; whatever that allows is sent before a later request is
    // answered.
    there_and_back(&pair).await;
    assert_eq!(sending.try_recv(), Err(TryRecvError::Empty));
    // Asking for the next one says that the first was taken.
    first.chunk().await.unwrap();
    assert_eq!(sending.recv().await, Some(1));
}

#[tokio::test]
async fn a_request_that_breaks_the_rules_is_reset_and_the_lane_stays() {
    let mut pair = connected().await;
    answering(&pair, 1);
    let number = |refusal: Refusal| VarInt::from(refusal.number());
    // More bytes than a request may have, which are not waited for.
    assert_eq!(reset_with(&pair, &1025_u32.to_le_bytes()).await, number(Refusal::SessionLength));
    assert_eq!(reset_with(&pair, &u32::MAX.to_le_bytes()).await, number(Refusal::SessionLength));
    assert_eq!(reset_with(&pair, &[1, 0, 0, 0, 0xff]).await, number(Refusal::SessionShape));
    // Not in canonical form: a long integer.
    assert_eq!(reset_with(&pair, &[3, 0, 0, 0, 0x82, 0x18, 0x01]).await, number(Refusal::SessionShape));
    let many = FetchRequest::Shard(shard(vec![FROM; 17]));
    let reset = pair.node.fetcher().ask(&many).await.unwrap_err();
    assert!(matches!(reset, FetchError::Refused { refusal: Refusal::SessionLength, .. }), "{reset}");
    let sixteen = FetchRequest::Shard(shard(vec![FROM; 16]));
    assert_eq!(pair.node.fetcher().whole(&sixteen, 1).await, Ok((FROM, vec![0])));
    lane_works(&mut pair).await;
}

#[tokio::test]
async fn chunks_that_were_not_sent_cannot_be_taken() {
    let pair = connected().await;
    let (ended, mut ending) = mpsc::unbounded_channel();
    let door = pair.router.fetch_door();
    tokio::spawn(door.serve(move |_, reply: Reply| {
        let ended = ended.clone();
        async move { ended.send(reply.whole(FROM, &bytes(5)).await.unwrap_err()).unwrap() }
    }));
    for said in [[1_u8, 1], [2, 2]] {
        let (mut send, _recv) = pair.node.fetcher().connection.open_bi().await.unwrap();
        send.write_all(&[crate::fetch::framed(&request()), said.to_vec()].concat()).await.unwrap();
        assert_eq!(broken(&ending.recv().await.unwrap()), Refusal::SessionShape);
    }
}

#[tokio::test]
async fn an_answer_of_another_length_than_offered_is_broken_off() {
    let mut pair = connected().await;
    let offer = |length| FetchHeader::Offer(FetchOffer { from: FROM, length });
    let connection = pair.router.fetcher().connection;
    for (offered, sent) in [(3_u64, vec![9_u8; 4]), (3, vec![9; 2])] {
        let asking = pair.node.fetcher();
        let there = async {
            let (mut send, recv) = connection.accept_bi().await.unwrap();
            send.write_all(&[crate::fetch::framed(&offer(offered)), sent].concat()).await.unwrap();
            send.finish().unwrap();
            (send, recv)
        };
        let asked = request();
        let (ends, answer) = tokio::join!(there, asking.whole(&asked, 10));
        assert_eq!(broken(&answer.unwrap_err()), Refusal::SessionLength);
        drop(ends);
    }
    lane_works(&mut pair).await;
}

#[tokio::test]
async fn a_lane_that_ends_ends_its_fetches() {
    let pair = connected().await;
    answering(&pair, 8 * MIB);
    let mut answer = pair.node.fetcher().ask(&request()).await.unwrap();
    pair.node.send(&NodeMessage::Drain).unwrap();
    pair.router.shut(Refusal::SessionDrain, "the test");
    pair.router.closed().await;
    let end = loop {
        match answer.chunk().await {
            Ok(chunk) => assert_ne!(chunk, None),
            Err(end) => break end,
        }
    };
    assert!(matches!(end, FetchError::Lost(_)), "{end}");
}

#[test]
fn the_text_shows_these_bytes() {
    let text = include_str!("../../../spec/session.md");
    let text: String = text.split_whitespace().collect();
    let hex = |bytes: Vec<u8>| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let shown = hex(crate::fetch::framed(&request()));
    assert!(text.contains(&shown), "{shown}");
    let offer = FetchHeader::Offer(FetchOffer { from: FROM, length: 700 });
    let shown = hex(crate::fetch::framed(&offer));
    assert!(text.contains(&shown), "{shown}");
}
