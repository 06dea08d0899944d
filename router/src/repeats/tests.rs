use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicU64, Ordering};

use counterfoil_spec::payload::FinishReason;
use counterfoil_spec::time::Millis;

use super::*;

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

    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("repeats")
    }

    fn open(&self) -> Arc<Repeats> {
        let clock = Arc::clone(&self.clock);
        let now: Now = Arc::new(move || Millis(clock.load(Ordering::Relaxed) * 1000));
        Arc::new(Repeats::open(&self.path(), now).unwrap())
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
    repeats.claim(account(1), key.as_bytes(), body.as_bytes())
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

fn kept(n: u8, text: String) -> Kept {
    let head = ReplyHead { request: request(n), created: START, model: "m".to_owned() };
    let end = ReplyEnd { finish: FinishReason::Stop, prompt_tokens: 3, completion_tokens: 2, entry: 7 };
    Kept { head, text, end }
}

#[test]
fn key_is_taken_once_by_one_account_for_one_body() {
    let stage = Stage::new();
    let repeats = stage.open();
    let claim = first(&repeats, "k", "body");
    assert_eq!(refused(&repeats, "k", "body"), RepeatError::Runs);
    assert_eq!(refused(&repeats, "k", "Body"), RepeatError::OtherBody);
    assert!(matches!(repeats.claim(account(2), b"k", b"Body"), Ok(Turn::First(_))));
    // What was refused before it was billed may be sent again, changed as well.
    drop(claim);
    first(&repeats, "k", "Body").answered(kept(1, "text".to_owned()));
    assert_eq!(refused(&repeats, "k", "body"), RepeatError::OtherBody);
    let Ok(Turn::Again(again)) = turn(&repeats, "k", "Body") else { panic!() };
    assert_eq!((again.text.as_str(), again.head.request, again.end.entry), ("text", request(1), 7));
    let longest = "x".repeat(MAX_KEY_BYTES);
    drop(first(&repeats, &longest, ""));
    for wrong in ["", "a b", "k\u{e9}", "\u{7f}", &format!("{longest}x")] {
        assert_eq!(refused(&repeats, wrong, ""), RepeatError::Form, "{wrong:?}");
    }
}

#[test]
fn answers_and_keys_are_forgotten_in_their_time() {
    let stage = Stage::new();
    let repeats = stage.open();
    let mut claim = first(&repeats, "k", "");
    claim.admitted(request(1));
    claim.answered(kept(1, "text".to_owned()));
    stage.pass(ANSWER_LIFE_S - 1);
    assert!(matches!(turn(&repeats, "k", ""), Ok(Turn::Again(_))));
    stage.pass(1);
    assert_eq!(refused(&repeats, "k", ""), RepeatError::Gone(Some(request(1))));
    assert_eq!(repeats.state().kept_bytes, 0);
    stage.pass(KEY_LIFE_S - ANSWER_LIFE_S - 1);
    assert_eq!(refused(&repeats, "k", ""), RepeatError::Gone(Some(request(1))));
    stage.pass(1);
    drop(first(&repeats, "k", ""));
    // What runs is not forgotten, however long it takes.
    let long = first(&repeats, "long", "");
    stage.pass(KEY_LIFE_S);
    assert_eq!(refused(&repeats, "long", ""), RepeatError::Runs);
    long.answered(kept(1, String::new()));
    stage.pass(KEY_LIFE_S);
    drop(first(&repeats, "long", ""));
}

#[test]
fn nothing_is_run_again_after_a_restart() {
    let stage = Stage::new();
    let repeats = stage.open();
    let mut runs = first(&repeats, "runs", "");
    runs.admitted(request(1));
    let begun = first(&repeats, "begun", "");
    let mut answered = first(&repeats, "answered", "");
    answered.admitted(request(2));
    answered.answered(kept(2, "text".to_owned()));
    drop(first(&repeats, "freed", ""));
    // The power fails: nobody says what became of these.
    let bytes = std::fs::read(stage.path()).unwrap();
    drop((runs, begun));
    drop(repeats);
    std::fs::write(stage.path(), [&bytes[..], &bytes[..50]].concat()).unwrap();
    let repeats = stage.open();
    assert_eq!(refused(&repeats, "runs", ""), RepeatError::Gone(Some(request(1))));
    assert_eq!(refused(&repeats, "begun", ""), RepeatError::Gone(None));
    assert_eq!(refused(&repeats, "answered", ""), RepeatError::Gone(Some(request(2))));
    assert_eq!(refused(&repeats, "answered", "x"), RepeatError::OtherBody);
    // A start leaves out what was freed.
    assert_eq!(std::fs::metadata(stage.path()).unwrap().len(), 48 + 5 * 112);
    drop(first(&repeats, "freed", ""));
    assert_eq!(std::fs::metadata(stage.path()).unwrap().permissions().mode() & 0o777, 0o600);
    // Neither a key nor whose it is can be read or guessed from the file.
    assert!(!bytes.windows(8).any(|part| part == b"answered"));
    stage.pass(KEY_LIFE_S);
    drop(repeats);
    drop(first(&stage.open(), "runs", ""));
}

#[test]
fn file_that_is_none_stops_the_start_and_is_named() {
    let stage = Stage::new();
    drop(first(&stage.open(), "k", ""));
    let good = std::fs::read(stage.path()).unwrap();
    let mut kind = good.clone();
    kind[55] = 4;
    for (bytes, why) in [
        (&good[..47], "it is cut off in its head"),
        (&[b"x", &good[1..]].concat(), "it begins with other bytes"),
        (&kind, "it holds a record of no kind"),
    ] {
        std::fs::write(stage.path(), bytes).unwrap();
        let now: Now = Arc::new(|| Millis(START * 1000));
        let refused = Repeats::open(&stage.path(), now).err().unwrap().to_string();
        let said = format!("{}: {why}; move it away", stage.path().display());
        assert!(refused.starts_with(&said), "{refused}");
    }
}

#[test]
fn keys_and_kept_answers_are_bounded() {
    let stage = Stage::new();
    let repeats = stage.open();
    let fill = |account: AccountId, count: usize| {
        for _ in 0..count {
            let mark = Mark(counterfoil_identity::random::hash());
            let (body, at) = (counterfoil_identity::random::hash(), Seconds(START));
            repeats.state().insert(mark, Known { account, body, at, request: None, stand: Stand::Gone });
        }
    };
    let _runs = first(&repeats, "k", "");
    fill(account(1), MAX_KEYS_OF_ACCOUNT - 2);
    let last = first(&repeats, "last", "");
    assert_eq!(refused(&repeats, "more", ""), RepeatError::TooMany);
    // One that is known needs no place.
    assert_eq!(refused(&repeats, "last", ""), RepeatError::Runs);
    drop(last);
    drop(first(&repeats, "more", ""));
    for n in 0..15 {
        fill(account(100 + n), MAX_KEYS_OF_ACCOUNT);
    }
    let left = MAX_KEYS - repeats.state().known.len();
    fill(account(99), left);
    assert_eq!(refused(&repeats, "more", ""), RepeatError::Full);
    stage.pass(KEY_LIFE_S);

    let quarter = MAX_KEPT_BYTES / 4;
    for n in 0..5 {
        first(&repeats, &format!("answer {n}").replace(' ', "-"), "").answered(kept(n, "x".repeat(quarter)));
    }
    assert_eq!(refused(&repeats, "answer-0", ""), RepeatError::Gone(None));
    assert!(matches!(turn(&repeats, "answer-1", ""), Ok(Turn::Again(_))));
    assert_eq!(repeats.state().kept_bytes, MAX_KEPT_BYTES);
}

#[tokio::test]
async fn request_goes_on_without_its_client_and_one_that_fails_is_not_run_again() {
    let stage = Stage::new();
    let repeats = stage.open();
    let begin = |key: &str| {
        let (events, reader) = mpsc::channel(8);
        let head = kept(1, String::new()).head;
        (events, first(&repeats, key, "").follow(Answer { head, events: reader }))
    };
    let (events, answer) = begin("left");
    drop(answer);
    let end = kept(1, String::new()).end;
    for event in [Event::Text("a".to_owned()), Event::Text("b".to_owned()), Event::Done(end)] {
        events.send(event).await.unwrap();
    }
    let mut turns = 0;
    let again = loop {
        match turn(&repeats, "left", "") {
            Ok(Turn::Again(again)) => break again,
            Err(RepeatError::Runs) if turns < 100 => tokio::task::yield_now().await,
            other => panic!("{other:?}"),
        }
        turns += 1;
    };
    let mut again = again.again();
    assert!(matches!(again.events.recv().await, Some(Event::Text(text)) if text == "ab"));
    assert!(matches!(again.events.recv().await, Some(Event::Done(done)) if done == end));
    assert!(again.events.recv().await.is_none());

    let (events, mut answer) = begin("failed");
    events.send(Event::Failed(ApiError::internal("x"))).await.unwrap();
    assert!(matches!(answer.events.recv().await, Some(Event::Failed(_))));
    assert_eq!(refused(&repeats, "failed", ""), RepeatError::Gone(Some(request(1))));
    // A task that broke says nothing at all.
    let (events, mut answer) = begin("broken");
    drop(events);
    assert!(answer.events.recv().await.is_none());
    assert_eq!(refused(&repeats, "broken", ""), RepeatError::Gone(Some(request(1))));
}
