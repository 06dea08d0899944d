//! What orders took, over restarts, cuts and failures of the machine.

use std::fs;
use std::sync::Mutex;

use futures_util::FutureExt;

use super::*;
use crate::config::fdatasync;

const NOW: Millis = Millis(20_000 * DAY_MS + 5000);

fn booking(n: u8, opened: Millis, leased: u64, used: Option<u64>) -> Booking {
    let order = Serial::from_bytes([n; 16]);
    Booking { order, cti: Serial::from_bytes([99; 16]), opened, leased, used, limited: true }
}

fn reopened(home: &Path, now: Millis) -> (Journal, Usage) {
    let mut usage = Usage::new();
    let journal = Journal::open(home, now, &BTreeMap::new(), &mut usage, fdatasync()).unwrap();
    (journal, usage)
}

#[test]
fn what_was_open_counts_with_its_lease_and_what_was_over_with_what_it_used() {
    let home = tempfile::tempdir().unwrap();
    let (mut journal, usage) = reopened(home.path(), NOW);
    assert_eq!(usage.tokens_in_day(NOW), 0);
    let booked = [
        booking(1, NOW, 256, None),
        booking(2, NOW, 256, None),
        booking(1, NOW, 256, Some(7)),
        booking(2, NOW, 512, None),
    ];
    journal.keep(&booked, NOW).unwrap();
    // As after kill -9: nothing was closed.
    for _ in 0..2 {
        let (_, usage) = reopened(home.path(), NOW);
        assert_eq!(usage.tokens_in_day(NOW), 7 + 512);
        assert_eq!(usage.tokens_in_day(Millis(NOW.0 - DAY_MS)), 0);
    }
}

#[test]
fn orders_are_remembered_as_long_as_they_could_come_again() {
    let home = tempfile::tempdir().unwrap();
    let (mut journal, _) = reopened(home.path(), NOW);
    journal.keep(&[booking(1, NOW, 256, None), booking(1, NOW, 256, Some(0))], NOW).unwrap();
    journal.keep(&[booking(2, NOW, 256, None)], NOW).unwrap();
    let recent = |now| reopened(home.path(), now).0.said.recent.len();
    assert_eq!(recent(NOW.plus(REMEMBER_MS)), 2);
    assert_eq!(recent(NOW.plus(REMEMBER_MS + 1)), 0);
    assert_eq!(reopened(home.path(), NOW).1.tokens_in_day(NOW), 256, "only its name is forgotten");
}

#[test]
fn what_was_cut_short_is_left_out_and_what_the_log_knows_holds_as_well() {
    let home = tempfile::tempdir().unwrap();
    let (mut journal, _) = reopened(home.path(), NOW);
    journal.keep(&[booking(1, NOW, 256, None), booking(2, NOW, 100, None)], NOW).unwrap();
    let path = home.path().join("usage");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    for (logged, want) in [(0, 256), (256, 256), (356, 356)] {
        let mut usage = Usage::new();
        let logged = BTreeMap::from([(day_of(NOW), logged)]);
        Journal::open(home.path(), NOW, &logged, &mut usage, fdatasync()).unwrap();
        assert_eq!(usage.tokens_in_day(NOW), want);
    }
}

#[test]
fn a_file_that_grew_is_written_anew_and_says_the_same() {
    let home = tempfile::tempdir().unwrap();
    let (mut journal, _) = reopened(home.path(), NOW);
    journal.keep(&[booking(1, NOW, 512, None)], NOW).unwrap();
    journal.bytes = MAX_FILE_BYTES;
    journal.keep(&[booking(2, NOW, 256, Some(9))], NOW).unwrap();
    assert_eq!(fs::metadata(home.path().join("usage")).unwrap().len(), 3 * 33);
    journal.keep(&[booking(1, NOW, 512, Some(300))], NOW).unwrap();
    assert_eq!(reopened(home.path(), NOW).1.tokens_in_day(NOW), 309);
}

/// A journal whose disk is this.
fn on(home: &Path, sync: SyncFile) -> Journal {
    Journal::open(home, NOW, &BTreeMap::new(), &mut Usage::new(), sync).unwrap()
}

#[tokio::test]
async fn what_was_durable_is_there_after_the_power_failed() {
    let home = tempfile::tempdir().unwrap();
    // How long the file was at its last sync; what came later the power takes.
    let synced = Arc::new(Mutex::new(0));
    let seen = Arc::clone(&synced);
    let mut journal = on(
        home.path(),
        Arc::new(move |file: &File| {
            *seen.lock().unwrap() = file.metadata()?.len();
            file.sync_data()
        }),
    );
    journal.durable().await.unwrap();
    assert_eq!(*synced.lock().unwrap(), 0, "nothing to wait for");
    journal.keep(&[booking(1, NOW, 256, None), booking(1, NOW, 512, None)], NOW).unwrap();
    journal.begin_sync();
    journal.keep(&[booking(2, NOW, 256, None)], NOW).unwrap();
    journal.durable().await.unwrap();
    assert_eq!(*synced.lock().unwrap(), 3 * 33, "what came while a sync ran waits for another");
    journal.keep(&[booking(2, NOW, 256, Some(9))], NOW).unwrap();
    journal.durable().await.unwrap();
    assert_eq!(*synced.lock().unwrap(), 3 * 33, "no work waits for an end");
    drop(journal);
    let file = OpenOptions::new().write(true).open(home.path().join("usage")).unwrap();
    file.set_len(*synced.lock().unwrap()).unwrap();
    let (journal, usage) = reopened(home.path(), NOW);
    assert_eq!(usage.tokens_in_day(NOW), 512 + 256);
    let known: Vec<Serial> = journal.said.recent.iter().map(|(_, order)| *order).collect();
    assert_eq!(known, [1, 2].map(|n| Serial::from_bytes([n; 16])));
}

#[tokio::test]
async fn work_waits_for_its_disk_and_for_nothing_else() {
    let home = tempfile::tempdir().unwrap();
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let sync: SyncFile = Arc::new(move |_: &File| wait.lock().unwrap().recv().map_err(io::Error::other));
    let mut journal = on(home.path(), sync);
    journal.keep(&[booking(1, NOW, 256, None)], NOW).unwrap();
    journal.begin_sync();
    assert!(journal.durable().now_or_never().is_none());
    go.send(()).unwrap();
    journal.durable().await.unwrap();
    journal.keep(&[booking(1, NOW, 256, Some(3))], NOW).unwrap();
    assert!(matches!(journal.durable().now_or_never(), Some(Ok(()))));
}

#[tokio::test]
async fn after_an_error_of_a_sync_nothing_more_is_kept() {
    let home = tempfile::tempdir().unwrap();
    let mut journal = on(home.path(), Arc::new(|_: &File| Err(io::Error::other("the disk is ill"))));
    journal.keep(&[booking(1, NOW, 256, None)], NOW).unwrap();
    assert!(journal.lost().is_none());
    assert!(journal.durable().await.is_err());
    assert!(journal.keep(&[booking(2, NOW, 256, None)], NOW).is_err());
    assert!(journal.durable().await.is_err());
    let said = journal.lost().unwrap().to_string();
    assert!(said.contains("usage") && said.ends_with("could not be made durable: the disk is ill"), "{said}");
}
