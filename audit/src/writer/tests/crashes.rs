//! Processes that die and disks that fail, as a seed says, on a disk that keeps only what it was told to keep. After each
//! of them every entry that was acknowledged is in its place, nothing that was signed is contradicted, and the log
//! verifies.

use super::*;
use crate::checkpoint::{self, Checkpoint};
use crate::disk::journal::Dice;
use crate::merkle::{Frontier, leaf_hash};
use crate::reader::LogReader;

/// The errors of a system that are handed out: of the device, and of a full disk.
const EIO: i32 = 5;
const ENOSPC: i32 = 28;

/// One log through several processes.
struct Story {
    seed: u64,
    dice: Dice,
    folder: tempfile::TempDir,
    disk: Arc<Journal>,
    /// Serials by the index that was acknowledged for them.
    acknowledged: Vec<(u64, Serial)>,
    /// Heads that anybody may have seen signed.
    signed: Vec<Head>,
    next: u64,
    /// What happened, to be told when it ends badly.
    told: Vec<String>,
}

impl Story {
    fn new(seed: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let disk = Journal::new(folder.path(), seed ^ 0x5eed);
        Self {
            seed,
            dice: Dice(seed),
            folder,
            disk,
            acknowledged: Vec::new(),
            signed: Vec::new(),
            next: 1,
            told: Vec::new(),
        }
    }

    fn dir(&self) -> PathBuf {
        self.folder.path().join("home/log")
    }

    fn told(&self) -> String {
        format!("seed {}: {}", self.seed, self.told.join("; "))
    }

    fn open(&mut self) -> Result<(LogWriter, Opened), LogError> {
        // Segments that roll after a few entries, in most stories.
        let segment_bytes = if self.seed.is_multiple_of(3) { 1 << 20 } else { 1500 };
        let options =
            LogOptions { segment_bytes, publish_every: Duration::from_secs(3600), ..LogOptions::default() };
        let author = SecretKey::from_seed([2; 32]).into();
        let opened = LogWriter::open_on(
            config(self.dir(), author, options),
            Arc::new(|| Millis(7)),
            self.disk.clone(),
        );
        match &opened {
            Ok((_, opened)) => self.told.push(format!("opened with {} entries", opened.size)),
            Err(e) => {
                self.told.push(format!("not opened: {e}"));
                let allowed = matches!(
                    e,
                    LogError::DurabilityLost { .. } | LogError::DiskFull { .. } | LogError::Store { .. }
                );
                assert!(allowed, "{}", self.told());
            }
        }
        opened
    }

    fn entries(&mut self, count: u64) -> Vec<NewEntry> {
        (0..count)
            .map(|_| {
                let mut serial = [0; 16];
                serial[8..].copy_from_slice(&self.next.to_be_bytes());
                self.next += 1;
                let serial = Serial::from_bytes(serial);
                NewEntry::new(serial, KeyRevoked { key_id: serial })
            })
            .collect()
    }

    fn append(&mut self, log: &LogWriter) -> Result<(), LogError> {
        let count = 1 + self.dice.below(5) * self.dice.below(3);
        let entries = self.entries(count);
        let serials: Vec<_> = entries.iter().map(|e| e.serial).collect();
        let appended = log.append(entries);
        match &appended {
            Ok(appended) => {
                self.told.push(format!("{count} entries from {} on", appended.first));
                self.acknowledged.extend((appended.first..).zip(serials));
            }
            Err(e) => self.told.push(format!("not appended: {e}")),
        }
        appended.map(drop)
    }

    /// A process, from its start to its end.
    fn live(&mut self, fault: Option<(u64, Fault)>) {
        self.disk.begin(fault);
        self.told.push(format!("a process, {fault:?}"));
        let Ok((log, _)) = self.open() else { return };
        let mut lost = false;
        for _ in 0..self.dice.below(12) {
            let publish = self.dice.below(3) == 0;
            let before = log.checkpoint();
            let outcome = if publish { log.publish().map(|_| ()) } else { self.append(&log) };
            if publish {
                self.told.push(format!("published: {outcome:?}"));
            }
            if lost {
                let refused = matches!(outcome, Err(LogError::DurabilityLost { .. }));
                assert!(refused || publish && log.checkpoint() == before, "{}", self.told());
            }
            lost |= matches!(outcome, Err(LogError::DurabilityLost { .. }));
            // A disk that is full leaves the log as it was, and takes entries once it is not.
            if matches!(outcome, Err(LogError::DiskFull { .. })) {
                self.disk.begin(None);
                let report = verify_plain(&VerifyOptions::new(self.dir())).unwrap();
                assert_eq!((report.faults, report.torn_bytes), (Vec::new(), 0), "{}", self.told());
                let again = self.append(&log);
                assert!(again.is_ok(), "{again:?} {}", self.told());
            }
        }
        let closed = log.close().map(|head| head.size);
        self.told.push(format!("closed: {closed:?}"));
    }

    /// What others can have read while the process lived.
    fn see_what_is_signed(&mut self) {
        if let Ok(note) = std::fs::read(self.dir().join(checkpoint::FILE)) {
            let key = SecretKey::from_seed([3; 32]);
            let signer = NoteSigner::new("node.example/log", Arc::new(key)).unwrap();
            let checkpoint = Checkpoint::open(&note, signer.verifier());
            self.signed.extend(checkpoint.ok().map(|c| c.head));
        }
    }

    fn cut_power(&mut self) {
        self.told.push("power cut".to_owned());
        self.disk.cut_power();
    }

    fn assert_nothing_is_lost(&mut self) {
        self.disk.begin(None);
        let (log, _) = self.open().unwrap_or_else(|e| panic!("{e} {}", self.told()));
        log.close().unwrap();
        let report = verify_plain(&VerifyOptions::new(self.dir())).unwrap();
        let strays: Vec<_> = report.strays.iter().filter(|s| !s.ends_with(".tmp")).collect();
        assert_eq!((&report.faults, report.torn_bytes, strays), (&Vec::new(), 0, vec![]), "{}", self.told());
        assert_eq!(report.size, report.committed, "{}", self.told());
        let reader = LogReader::open(&self.dir()).unwrap();
        let mut serials = Vec::new();
        reader.for_each(0, |_, _, body| serials.push(body.serial)).unwrap();
        for (index, serial) in &self.acknowledged {
            let found = usize::try_from(*index).ok().and_then(|i| serials.get(i));
            assert_eq!(found, Some(serial), "entry {index} {}", self.told());
        }
        let mut tree = Frontier::default();
        for index in 0..reader.size() {
            tree.push(leaf_hash(&reader.leaf(index).unwrap()), |_, _, _| {});
            for head in self.signed.iter().filter(|h| h.size == tree.size()) {
                assert_eq!(head.root, tree.root(), "{}", self.told());
            }
        }
        let largest = self.signed.iter().map(|h| h.size).max();
        assert!(largest <= Some(reader.size()), "{largest:?} {}", self.told());
    }
}

fn rounds() -> u64 {
    std::env::var("COUNTERFOIL_CRASH_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(150)
}

//= spec/audit-log.md#segments
//= type=test
//# A writer MUST make a group and its commit frame durable before it acknowledges any entry of the group.
#[test]
fn nothing_that_was_acknowledged_or_signed_is_lost_whatever_dies() {
    let (mut acknowledged, mut signed, mut died) = (0, 0, 0);
    for seed in 0..rounds() {
        let mut story = Story::new(seed);
        for _ in 0..1 + story.dice.below(4) {
            let after = story.dice.below(70);
            let fault = match story.dice.below(6) {
                0 => None,
                1 => Some((after, Fault::Refusal(ENOSPC, 1 + story.dice.below(6)))),
                2 => Some((after, Fault::Refusal(EIO, 1 + story.dice.below(2)))),
                _ => Some((after, Fault::Death)),
            };
            story.live(fault);
            died += u64::from(story.disk.is_dead());
            story.see_what_is_signed();
            if story.dice.below(2) == 0 {
                story.cut_power();
            }
        }
        story.assert_nothing_is_lost();
        acknowledged += story.acknowledged.len();
        signed += story.signed.len();
    }
    // What the rounds show is worth as much as what happened in them.
    assert!(acknowledged > 500 && signed > 200 && died > 100, "{acknowledged} {signed} {died}");
}

/// Every call of a short life is once the one in which the process dies, and once the one that the disk refuses; each
/// with and without a power cut behind it.
#[test]
fn every_call_of_a_writer_may_be_its_last_or_fail() {
    let script = |fault: Option<(u64, Fault)>, power: bool| {
        let mut story = Story::new(1);
        story.disk.begin(fault);
        story.told.push(format!("{fault:?}, power cut {power}"));
        if let Ok((log, _)) = story.open() {
            for _ in 0..3 {
                let _ = story.append(&log);
                let _ = log.publish();
            }
            let _ = log.close();
        }
        let calls = story.disk.calls();
        story.see_what_is_signed();
        if power {
            story.cut_power();
        }
        story.assert_nothing_is_lost();
        calls
    };
    let calls = script(None, true);
    assert!(calls > 60, "{calls}");
    for at in 0..calls {
        for power in [false, true] {
            script(Some((at, Fault::Death)), power);
            script(Some((at, Fault::Refusal(EIO, 1))), power);
            script(Some((at, Fault::Refusal(ENOSPC, 1))), power);
        }
    }
}

//= spec/audit-log.md#recovery
//= type=test
//# A writer that opens a log MUST write its last group again and make it durable before it signs or appends anything.
#[test]
fn group_whose_writer_died_before_it_was_durable_is_durable_once_a_log_is_open_again() {
    for fault in [Fault::Death, Fault::Refusal(EIO, 1)] {
        let mut story = Story::new(3);
        story.live(None);
        story.disk.begin(None);
        let (log, _) = story.open().unwrap();
        // An append is a write and an fdatasync; the second does not happen.
        story.disk.begin(Some((1, fault)));
        let refused = story.append(&log);
        assert!(matches!(refused, Err(LogError::DurabilityLost { .. })), "{refused:?}");
        drop(log);
        story.disk.begin(None);
        let (log, opened) = story.open().unwrap();
        // The process that comes next sees the group in the file, and signs it.
        assert_eq!(opened.size, log.head().size);
        let head = log.close().unwrap();
        story.see_what_is_signed();
        assert_eq!(story.signed.last(), Some(&head));
        story.cut_power();
        story.assert_nothing_is_lost();
    }
}
