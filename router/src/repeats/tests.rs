use std::fs::OpenOptions;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use counterfoil_spec::limits::{IDEMPOTENCY_ANSWER_LIFE_S, MAX_IDEMPOTENCY_KEPT_BYTES};
use counterfoil_spec::payload::FinishReason;
use counterfoil_spec::time::Millis;
use tokio::sync::{Semaphore, mpsc};

use super::file::{MAX_GROUP, Record};
use super::*;
use crate::generate::Event;

const START: u64 = 1_790_000_000;

/// A router's home, and its clock in seconds.
struct Stage {
    folder: tempfile::TempDir,
    clock: Arc<AtomicU64>,
}

impl Stage {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), clock: Arc::new(AtomicU64::new(START)) }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("repeats")
    }

    fn now(&self) -> Now {
        let clock = Arc::clone(&self.clock);
        Arc::new(move || Millis(clock.load(Ordering::Relaxed) * 1000))
    }

    fn open(&self) -> Arc<Repeats> {
        Arc::new(Repeats::open(&self.path(), self.now()).unwrap())
    }

    fn file(&self) -> Vec<u8> {
        std::fs::read(self.path()).unwrap()
    }

    fn pass(&self, seconds: u64) {
        self.clock.fetch_add(seconds, Ordering::Relaxed);
    }
}

fn account(n: u8) -> AccountId {
    AccountId::from_bytes([n; 32])
}

fn request(n: u8) -> Serial {
    Serial::from_bytes([n; 16])
}

/// What becomes of a key of the first account with this body.
fn turn(repeats: &Arc<Repeats>, key: &str, body: &str) -> Result<Turn, RepeatError> {
    repeats.reserve(account(1), key.as_bytes(), body.as_bytes())
}

fn first(repeats: &Arc<Repeats>, key: &str, body: &str) -> Claim {
    match turn(repeats, key, body) {
        Ok(Turn::First(claim)) => claim,
        other => panic!("{other:?}"),
    }
}

fn refused(repeats: &Arc<Repeats>, key: &str, body: &str) -> RepeatError {
    turn(repeats, key, body).unwrap_err()
}

async fn runs(repeats: &Arc<Repeats>, key: &str, n: u8) -> Claim {
    first(repeats, key, "").record(request(n)).await.unwrap()
}

fn kept(n: u8, text: String) -> Kept {
    let head = ReplyHead { request: request(n), created: START, model: "m".to_owned() };
    let end = ReplyEnd { finish: FinishReason::Stop, prompt_tokens: 3, completion_tokens: 2, entry: 7 };
    Kept { head, text, end }
}

fn record(n: u64) -> Record {
    let mark = Mark(counterfoil_identity::random::hash());
    let body = counterfoil_identity::random::hash();
    Record { at: Seconds(START + n), account: account(1), mark, body, request: request(1) }
}

//= spec/settlement.md#requests-that-are-sent-again
//= type=test
//# A key MUST be of its account alone: the same key of another account is another key.
//= spec/settlement.md#requests-that-are-sent-again
//= type=test
//# A request under a known key with another body MUST be refused.
//= spec/settlement.md#requests-that-are-sent-again
//= type=test
//# A request that is refused before its tokens are held MUST leave its key free, and SHOULD cost no bytes on the disk.
#[tokio::test]
async fn key_is_taken_once_by_one_account_for_one_body() {
    let stage = Stage::new();
    let repeats = stage.open();
    let claim = first(&repeats, "k", "body");
    assert_eq!(refused(&repeats, "k", "body"), RepeatError::Runs);
    assert_eq!(refused(&repeats, "k", "Body"), RepeatError::OtherBody);
    assert!(matches!(repeats.reserve(account(2), b"k", b"Body"), Ok(Turn::First(_))));
    // What was refused before it was billed may be sent again, changed as well, and nothing is left of it.
    drop(claim);
    assert_eq!((repeats.state.lock().len(), stage.file().len()), (0, 48));
    first(&repeats, "k", "Body").record(request(1)).await.unwrap().answered(kept(1, "text".to_owned()));
    assert_eq!(stage.file().len(), 48 + 128);
    assert_eq!(refused(&repeats, "k", "body"), RepeatError::OtherBody);
    let Ok(Turn::Again(again)) = turn(&repeats, "k", "Body") else { panic!() };
    assert_eq!((again.text.as_str(), again.head.request, again.end.entry), ("text", request(1), 7));
    let longest = "x".repeat(MAX_IDEMPOTENCY_KEY_BYTES);
    drop(first(&repeats, &longest, ""));
    for wrong in ["", "a b", "k\u{e9}", "\u{7f}", &format!("{longest}x")] {
        assert_eq!(refused(&repeats, wrong, ""), RepeatError::Form, "{wrong:?}");
    }
}

#[tokio::test]
async fn answers_and_keys_are_forgotten_in_their_time() {
    let stage = Stage::new();
    let repeats = stage.open();
    runs(&repeats, "k", 1).await.answered(kept(1, "text".to_owned()));
    stage.pass(IDEMPOTENCY_ANSWER_LIFE_S - 1);
    assert!(matches!(turn(&repeats, "k", ""), Ok(Turn::Again(_))));
    stage.pass(1);
    assert_eq!(refused(&repeats, "k", ""), RepeatError::Gone(Some(request(1))));
    assert_eq!(repeats.state.lock().kept_bytes(), 0);
    stage.pass(IDEMPOTENCY_KEY_LIFE_S - IDEMPOTENCY_ANSWER_LIFE_S - 1);
    assert_eq!(refused(&repeats, "k", ""), RepeatError::Gone(Some(request(1))));
    stage.pass(1);
    drop(first(&repeats, "k", ""));
    // What runs is not forgotten, however long it takes.
    let long = runs(&repeats, "long", 1).await;
    stage.pass(IDEMPOTENCY_KEY_LIFE_S);
    assert_eq!(refused(&repeats, "long", ""), RepeatError::Runs);
    long.answered(kept(1, String::new()));
    stage.pass(IDEMPOTENCY_KEY_LIFE_S);
    drop(first(&repeats, "long", ""));
}

//= spec/settlement.md#requests-that-are-sent-again
//= type=test
//# A router MUST have written a key to its disk before it runs the request.
//= spec/settlement.md#requests-that-are-sent-again
//= type=test
//# For a day from then it MUST NOT run a request under that key again, whatever became of the first one and of the router.
//= spec/settlement.md#requests-that-are-sent-again
//= type=test
//# Neither a key nor a text MUST be readable in what is written.
#[tokio::test]
async fn nothing_is_run_again_after_a_restart() {
    let stage = Stage::new();
    let repeats = stage.open();
    let running = runs(&repeats, "runs", 1).await;
    let begun = first(&repeats, "begun", "");
    runs(&repeats, "answered", 2).await.answered(kept(2, "what was said".to_owned()));
    // The power fails: nobody says what became of these.
    let bytes = stage.file();
    assert_eq!(bytes.len(), 48 + 2 * 128);
    drop((running, begun));
    drop(repeats);
    std::fs::write(stage.path(), [&bytes[..], &bytes[..50]].concat()).unwrap();
    let repeats = stage.open();
    assert_eq!(refused(&repeats, "runs", ""), RepeatError::Gone(Some(request(1))));
    assert_eq!(refused(&repeats, "answered", ""), RepeatError::Gone(Some(request(2))));
    assert_eq!(refused(&repeats, "answered", "x"), RepeatError::OtherBody);
    drop(first(&repeats, "begun", ""));
    assert_eq!(stage.file().len(), bytes.len());
    assert_eq!(std::fs::metadata(stage.path()).unwrap().permissions().mode() & 0o777, 0o600);
    for text in [&b"answered"[..], b"said"] {
        assert!(!bytes.windows(text.len()).any(|part| part == text));
    }
    stage.pass(IDEMPOTENCY_KEY_LIFE_S - 1);
    drop(repeats);
    let repeats = stage.open();
    assert_eq!(refused(&repeats, "runs", ""), RepeatError::Gone(Some(request(1))));
    stage.pass(1);
    drop(repeats);
    drop(first(&stage.open(), "runs", ""));
    assert_eq!(stage.file().len(), 48);
}

#[tokio::test]
async fn file_that_is_none_stops_the_start_and_is_named() {
    let stage = Stage::new();
    drop(runs(&stage.open(), "k", 1).await);
    let good = stage.file();
    let shifted = [&good[..], &[0], &good[48..].repeat(MAX_GROUP)].concat();
    for (bytes, why) in [
        (&good[..47], "it is cut off in its head"),
        (&[b"x", &good[1..]].concat(), "it begins with other bytes"),
        (&shifted, "a record in it is not what was written"),
    ] {
        std::fs::write(stage.path(), bytes).unwrap();
        let refused = Repeats::open(&stage.path(), stage.now()).err().unwrap().to_string();
        let said = format!("{}: {why}; move it away", stage.path().display());
        assert!(refused.starts_with(&said), "{refused}");
    }
    // Of the last group any may be torn, and nobody was told that it is durable.
    std::fs::write(stage.path(), [&good[..], &[0; 128], &good[48..].repeat(MAX_GROUP - 1)].concat()).unwrap();
    assert_eq!(refused(&stage.open(), "k", ""), RepeatError::Gone(Some(request(1))));
    assert_eq!(stage.file(), good);
}

#[tokio::test]
async fn keys_and_kept_answers_are_bounded() {
    let stage = Stage::new();
    let repeats = stage.open();
    let fill = |account: AccountId, count: usize| {
        (0..count).for_each(|_| repeats.state.lock().remember(&Record { account, ..record(0) }));
    };
    let _runs = first(&repeats, "k", "");
    fill(account(1), MAX_IDEMPOTENCY_KEYS_OF_ACCOUNT - 2);
    let last = first(&repeats, "last", "");
    assert_eq!(refused(&repeats, "more", ""), RepeatError::TooMany);
    // One that is known needs no place.
    assert_eq!(refused(&repeats, "last", ""), RepeatError::Runs);
    drop(last);
    drop(first(&repeats, "more", ""));
    for n in 0..15 {
        fill(account(100 + n), MAX_IDEMPOTENCY_KEYS_OF_ACCOUNT);
    }
    let left = MAX_IDEMPOTENCY_KEYS - repeats.state.lock().len();
    fill(account(99), left);
    assert_eq!(refused(&repeats, "more", ""), RepeatError::Full);
    stage.pass(IDEMPOTENCY_KEY_LIFE_S);

    let quarter = MAX_IDEMPOTENCY_KEPT_BYTES / 4;
    for n in 0..5 {
        runs(&repeats, &format!("answer-{n}"), n).await.answered(kept(n, "x".repeat(quarter)));
    }
    assert_eq!(refused(&repeats, "answer-0", ""), RepeatError::Gone(Some(request(0))));
    assert!(matches!(turn(&repeats, "answer-1", ""), Ok(Turn::Again(_))));
    assert_eq!(repeats.state.lock().kept_bytes(), MAX_IDEMPOTENCY_KEPT_BYTES);
}

#[test]
fn file_is_short_however_long_a_router_runs() {
    let stage = Stage::new();
    let (mut marks, _) = Marks::open(&stage.path(), Seconds(0)).unwrap();
    let records: Vec<Record> = (0..=MAX_IDEMPOTENCY_KEYS_OF_ACCOUNT as u64).map(record).collect();
    let (last, full) = records.split_last().unwrap();
    for group in full.chunks(MAX_GROUP) {
        marks.write(group, Vec::new).unwrap();
    }
    assert_eq!(stage.file().len(), 48 + MAX_IDEMPOTENCY_KEYS_OF_ACCOUNT * 128);
    // All but two were forgotten meanwhile.
    marks.write(&[*last], || full[..2].to_vec()).unwrap();
    assert_eq!(stage.file().len(), 48 + 3 * 128);
    marks.write(&[records[5]], || panic!("there is room behind the others")).unwrap();
    drop(marks);
    let (_, left) = Marks::open(&stage.path(), Seconds(0)).unwrap();
    assert_eq!(left, [full[0], full[1], records[5], *last]);
}

#[tokio::test]
async fn keys_are_taken_again_once_the_disk_keeps_them() {
    let stage = Stage::new();
    let (mut marks, _) = Marks::open(&stage.path(), Seconds(0)).unwrap();
    // The kernel's own file without room.
    marks.instead(OpenOptions::new().write(true).open("/dev/full").unwrap());
    let repeats = Arc::new(Repeats::over(marks, Shared::default(), stage.now()).unwrap());
    let away = stage.folder.path().with_extension("away");
    let full = first(&repeats, "k", "").record(request(1)).await.unwrap_err();
    assert_eq!(full, RepeatError::Store("No space left on device (os error 28)".to_owned()));
    assert_eq!(ApiError::from(full).status.as_u16(), 503);
    std::fs::rename(stage.folder.path(), &away).unwrap();
    let gone = first(&repeats, "k", "").record(request(2)).await.unwrap_err();
    assert_eq!(gone, RepeatError::Store("No such file or directory (os error 2)".to_owned()));
    std::fs::rename(&away, stage.folder.path()).unwrap();
    let running = runs(&repeats, "k", 3).await;
    assert_eq!(stage.file().len(), 48 + 128);
    drop((running, repeats));
    assert_eq!(refused(&stage.open(), "k", ""), RepeatError::Gone(Some(request(3))));
}

//= spec/settlement.md#requests-that-are-sent-again
//= type=test
//# An answer MUST be there to be given again once its request is finished, whether its client has read it or not.
#[tokio::test]
async fn request_goes_on_without_its_client_and_one_that_fails_is_not_run_again() {
    let stage = Stage::new();
    let repeats = stage.open();
    let (place, end) = (Arc::new(Semaphore::new(1)), kept(1, String::new()).end);
    let begin = async |key: &str| {
        let (events, reader) = mpsc::channel(8);
        let answer = Answer { head: kept(1, String::new()).head, events: reader };
        let running = Arc::new(Arc::clone(&place).acquire_owned().await.unwrap());
        (events, runs(&repeats, key, 1).await.follow(answer, running))
    };
    let (events, answer) = begin("left").await;
    drop(answer);
    for event in [Event::Text("a".to_owned()), Event::Text("b".to_owned()), Event::Done(end)] {
        events.send(event).await.unwrap();
    }
    // A place is free again once its answer is kept.
    drop(place.acquire().await.unwrap());
    let Ok(Turn::Again(again)) = turn(&repeats, "left", "") else { panic!() };
    let mut again = again.again();
    assert!(matches!(again.events.recv().await, Some(Event::Text(text)) if text == "ab"));
    assert!(matches!(again.events.recv().await, Some(Event::Done(done)) if done == end));
    assert!(again.events.recv().await.is_none());

    // A client that reads nothing is not waited for, and misses nothing.
    let (events, mut answer) = begin("stalled").await;
    for _ in 0..500 {
        events.send(Event::Text("x".to_owned())).await.unwrap();
    }
    events.send(Event::Done(end)).await.unwrap();
    drop(place.acquire().await.unwrap());
    assert!(matches!(turn(&repeats, "stalled", ""), Ok(Turn::Again(kept)) if kept.text == "x".repeat(500)));
    let mut text = String::new();
    while let Some(Event::Text(piece)) = answer.events.recv().await {
        text.push_str(&piece);
    }
    assert_eq!(text, "x".repeat(500));

    let (events, mut answer) = begin("failed").await;
    events.send(Event::Failed(ApiError::internal("x"))).await.unwrap();
    assert!(matches!(answer.events.recv().await, Some(Event::Failed(_))));
    assert_eq!(refused(&repeats, "failed", ""), RepeatError::Gone(Some(request(1))));
    // A task that broke says nothing at all.
    let (events, mut answer) = begin("broken").await;
    drop(events);
    assert!(answer.events.recv().await.is_none());
    assert_eq!(refused(&repeats, "broken", ""), RepeatError::Gone(Some(request(1))));
}
