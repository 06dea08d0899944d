//! Long logs: they open once their end is checked, and sign nothing before the rest is.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod support;

use std::path::{Path, PathBuf};

use counterfoil_audit::merkle::{Frontier, leaf_hash};
use counterfoil_audit::segment::{self, Frame, HEADER_BYTES};
use counterfoil_audit::verify::{Report, VerifyOptions, verify_plain};
use counterfoil_audit::{Head, LogError, LogWriter};
use counterfoil_spec::rule::FaultKind;
use support::keys::{FIRST, NEXT, keyed, of, retired, rotation, signed_by};
use support::{Home, copy, entries, files, key, signer};

/// Entries of the log that is damaged here: the last 189 are read when it opens.
const SIZE: u64 = 701;
/// Those that are not.
const UNCHECKED: u64 = 512;

/// A log that was closed, in a home that opens it as a long one.
fn long_log(size: u64) -> Home {
    let mut home = Home::new();
    let (log, _) = home.open().unwrap();
    for first in (1..size).step_by(50) {
        log.append(entries(first..size.min(first + 50))).unwrap();
    }
    assert_eq!(log.close().unwrap().size, size);
    home.options.checked_at_open = 0;
    home
}

fn copied(home: &Home) -> Home {
    let mut other = Home::new();
    (other.options, other.clock) = (home.options, home.clock.clone());
    copy(&home.dir(), &other.dir());
    other
}

fn bytes(dir: &Path) -> Vec<(String, Vec<u8>)> {
    files(dir).into_iter().map(|(name, path)| (name, std::fs::read(path).unwrap())).collect()
}

fn verify(dir: &Path) -> Report {
    let mut options = VerifyOptions::new(dir);
    options.vkey = Some(signer().vkey());
    options.net_id = Some(key(1).public().net_id());
    verify_plain(&options).unwrap()
}

/// The segment that an entry is in, and where its leaf begins there.
fn leaf_at(dir: &Path, index: u64) -> (PathBuf, usize) {
    let segments = segment::list(dir).unwrap();
    let segment = segments.iter().rfind(|s| s.first <= index).unwrap();
    let found = std::fs::read(&segment.path).unwrap();
    let (mut at, mut next) = (HEADER_BYTES, segment.first);
    loop {
        let frame = segment::parse(&found[at..]);
        match frame {
            Frame::Entry { .. } if next == index => return (segment.path.clone(), at + 8),
            Frame::Entry { .. } => next += 1,
            _ => {}
        }
        at += frame.bytes();
    }
}

#[test]
fn long_log_goes_on_as_one_that_was_checked_as_a_whole() {
    for size in [257, 512, 513, SIZE] {
        let home = long_log(size);
        let mut whole = copied(&home);
        whole.options.checked_at_open = u64::MAX;
        let now = home.clock.load(std::sync::atomic::Ordering::Relaxed);
        let mut after = Vec::new();
        for (home, unchecked) in [(&home, (size - 1) / 256 * 256), (&whole, 0)] {
            home.clock.store(now, std::sync::atomic::Ordering::Relaxed);
            let (log, opened) = home.open().unwrap();
            assert_eq!((opened.size, opened.unchecked), (size, unchecked));
            assert_eq!(log.append(entries(2000..2300)).unwrap().first, size);
            log.close().unwrap();
            assert_eq!(verify(&home.dir()).faults, []);
            after.push(bytes(&home.dir()));
        }
        assert_eq!(after[0], after[1], "{size} entries");
    }
}

//= spec/audit-log.md#recovery
//= type=test
//# It MUST NOT sign a head before it has checked those entries and their tiles, and MUST append and sign nothing more where an
//# entry is damaged.
#[test]
fn damaged_entry_behind_the_start_ends_the_writer_before_it_signs() {
    let home = long_log(SIZE);
    for index in [1, 100, 500] {
        let home = copied(&home);
        let (path, at) = leaf_at(&home.dir(), index);
        let mut bad = std::fs::read(&path).unwrap();
        bad[at + 40] ^= 1;
        std::fs::write(&path, bad).unwrap();
        let name = format!("seg/{}", path.file_name().unwrap().to_str().unwrap());
        assert_eq!(ended(&home), LogErrorIs::Corrupt(name), "entry {index}");
        let faults = verify(&home.dir()).faults;
        assert_eq!((faults[0].kind, faults[0].index), (FaultKind::LeafHashMismatch, Some(index)));
    }
}

#[test]
fn entry_that_was_exchanged_with_its_checksums_and_commits_is_found_behind_the_start() {
    let home = long_log(SIZE);
    let (path, at) = leaf_at(&home.dir(), 100);
    let mut bad = std::fs::read(&path).unwrap();
    bad[at + 40] ^= 1;
    std::fs::write(&path, bad).unwrap();
    reseal(&home.dir(), UNCHECKED);
    let mut whole = copied(&home);
    whole.options.checked_at_open = u64::MAX;
    let before = bytes(&whole.dir());
    assert!(matches!(whole.open().err(), Some(LogError::Corrupt { .. })));
    assert_eq!(bytes(&whole.dir()), before);
    assert_eq!(ended(&home), LogErrorIs::SignedStateDiffers(UNCHECKED));
    let faults = verify(&home.dir()).faults;
    // The tiles were left as they are: with them the entry is told from the one that was signed.
    let leaves = faults.iter().filter(|f| f.kind == FaultKind::LeafHashMismatch).map(|f| f.index);
    assert_eq!(leaves.collect::<Vec<_>>(), [Some(100)]);
}

#[derive(Debug, PartialEq, Eq)]
enum LogErrorIs {
    Corrupt(String),
    SignedStateDiffers(u64),
}

/// Opens a log that is damaged where opening does not look, and says what ends it.
fn ended(home: &Home) -> LogErrorIs {
    let signed = |name: &str| std::fs::read(home.dir().join(name)).unwrap();
    let before = (signed("checkpoint"), signed("state/signed"));
    let (log, opened) = home.open().unwrap();
    assert_eq!((opened.size, opened.unchecked), (SIZE, UNCHECKED));
    // The append may come before the check is done; what covers it is not signed then.
    let kind = |refused: LogError| match refused {
        LogError::Corrupt { file, .. } => LogErrorIs::Corrupt(file),
        LogError::SignedStateDiffers { size } => LogErrorIs::SignedStateDiffers(size),
        other => panic!("{other:?}"),
    };
    let refused = kind(log.append(entries(5000..5001)).and_then(|_| log.publish()).unwrap_err());
    assert_eq!(kind(log.append(entries(5001..5002)).unwrap_err()), refused);
    assert_eq!(kind(log.close().unwrap_err()), refused);
    assert_eq!((signed("checkpoint"), signed("state/signed")), before);
    refused
}

/// Makes all checksums anew and the commit frames of fewer than `until` entries, as somebody would who covers a trace. Gives the
/// hashes of the tile of level 1.
fn reseal(dir: &Path, until: u64) -> Vec<u8> {
    let (mut tree, mut tile) = (Frontier::default(), Vec::new());
    for segment in segment::list(dir).unwrap() {
        let old = std::fs::read(&segment.path).unwrap();
        let mut new = old[..HEADER_BYTES].to_vec();
        let mut at = HEADER_BYTES;
        while at < old.len() {
            let frame = segment::parse(&old[at..]);
            match frame {
                Frame::Entry { leaf, .. } => {
                    segment::push_entry(&mut new, leaf);
                    tree.push(leaf_hash(leaf), |level, _, hash| {
                        tile.extend_from_slice(if level == 8 { hash.as_bytes() } else { &[] });
                    });
                }
                Frame::Commit(head) => {
                    let ours = Head { size: head.size, root: tree.root() };
                    new.extend(segment::commit(if head.size < until { &ours } else { &head }));
                }
                other => panic!("{other:?}"),
            }
            at += frame.bytes();
        }
        std::fs::write(&segment.path, new).unwrap();
    }
    tile
}

#[test]
fn log_whose_every_commit_and_edge_were_made_anew_does_not_lead_to_its_checkpoint() {
    let home = long_log(SIZE);
    let edge = home.dir().join("tile/1/000.p/2");
    assert_eq!(reseal(&home.dir(), u64::MAX), std::fs::read(&edge).unwrap());
    let (path, at) = leaf_at(&home.dir(), 100);
    let mut bad = std::fs::read(&path).unwrap();
    bad[at + 40] ^= 1;
    std::fs::write(&path, bad).unwrap();
    std::fs::write(&edge, reseal(&home.dir(), u64::MAX)).unwrap();
    let before = bytes(&home.dir());
    let refused = home.open().err();
    assert!(matches!(refused, Some(LogError::SignedStateDiffers { size: SIZE })), "{refused:?}");
    assert_eq!(bytes(&home.dir()), before);
}

#[test]
fn tiles_behind_the_start_are_written_again_before_the_next_head_is_signed() {
    let home = long_log(SIZE);
    let whole = copied(&home);
    std::fs::remove_file(home.dir().join("tile/0/000")).unwrap();
    std::fs::write(home.dir().join("tile/entries/001"), b"").unwrap();
    let (log, opened) = home.open().unwrap();
    assert_eq!((opened.repaired_tiles, opened.unchecked), (0, UNCHECKED));
    log.close().unwrap();
    assert_eq!(bytes(&home.dir()), bytes(&whole.dir()));
}

#[test]
fn log_whose_edge_does_not_give_its_signed_head_is_checked_as_a_whole() {
    let home = long_log(SIZE);
    let damaged: [(&str, &[u8], u64); 4] = [
        ("tile/1/000.p/2", &[7; 64], 0),
        ("tile/1/000.p/2", b"", 0),
        ("checkpoint", b"torn", 0),
        // Not looked at before the rest is checked.
        ("tile/0/002.p/189", b"", UNCHECKED),
    ];
    for (name, bad, unchecked) in damaged {
        let home = copied(&home);
        let before = bytes(&home.dir());
        std::fs::write(home.dir().join(name), bad).unwrap();
        let (log, opened) = home.open().unwrap();
        assert_eq!(opened.unchecked, unchecked, "{name}");
        log.close().unwrap();
        assert_eq!(bytes(&home.dir()), before, "{name}");
    }
}

#[test]
fn end_and_beginning_of_a_long_log_are_looked_at_before_it_opens() {
    let home = long_log(SIZE);
    let mut config = home.config();
    config.genesis.currency = "EUR".to_owned();
    config.author = key(9);
    let refused = LogWriter::open(config, home.now()).err();
    assert!(matches!(refused, Some(LogError::GenesisDiffers { what: "identity key" })), "{refused:?}");
    for index in [UNCHECKED, SIZE - 1] {
        let home = copied(&home);
        let (path, at) = leaf_at(&home.dir(), index);
        let mut bad = std::fs::read(&path).unwrap();
        bad[at + 40] ^= 1;
        std::fs::write(&path, bad).unwrap();
        let refused = home.open().err();
        assert!(matches!(refused, Some(LogError::Corrupt { .. })), "{refused:?}");
    }
}

/// A log whose key was changed early, and then as long as one that opens by its end.
fn changed_early(retires: bool) -> Home {
    let mut home = Home::new();
    let (log, _) = home.open().unwrap();
    log.hold(of(NEXT));
    log.append(vec![keyed(2000, rotation(NEXT), &[FIRST, NEXT])]).unwrap();
    if retires {
        log.append(vec![keyed(2001, retired(FIRST), &[NEXT])]).unwrap();
    }
    log.append(entries(1..SIZE)).unwrap();
    log.close().unwrap();
    home.options.checked_at_open = 0;
    home
}

#[test]
fn log_whose_key_was_changed_is_read_whole_before_it_opens() {
    for (retires, signs) in [(false, vec![FIRST, NEXT]), (true, vec![NEXT])] {
        let home = changed_early(retires);
        let (log, opened) = LogWriter::open_with(home.config(), vec![of(NEXT)], home.now()).unwrap();
        assert_eq!((opened.unchecked, signed_by(&log.checkpoint())), (0, signs));
        log.close().unwrap();
    }
    // Its key is changed after it opened by its end.
    let home = long_log(SIZE);
    let (log, opened) = home.open().unwrap();
    assert_eq!(opened.unchecked, UNCHECKED);
    log.hold(of(NEXT));
    log.append(vec![keyed(2000, rotation(NEXT), &[FIRST, NEXT])]).unwrap();
    log.close().unwrap();
    assert_eq!(signed_by(&log.checkpoint()), [FIRST, NEXT]);
    assert_eq!(verify(&home.dir()).faults, []);
}

#[test]
fn head_that_hides_a_change_of_the_key_is_the_last_one() {
    let home = changed_early(false);
    let file = home.dir().join("checkpoint");
    let note = std::fs::read_to_string(&file).unwrap();
    let (stripped, _) = note.trim_end().rsplit_once('\n').unwrap();
    assert_eq!(signed_by(&format!("{stripped}\n")), [FIRST]);
    std::fs::write(&file, format!("{stripped}\n")).unwrap();
    let (log, opened) = home.open().unwrap();
    assert_eq!(opened.unchecked, UNCHECKED);
    let LogError::Corrupt { file: named, reason, .. } = log.close().unwrap_err() else { panic!() };
    assert_eq!((named.as_str(), reason.starts_with("entry 1 changes the log's key")), ("checkpoint", true));
    drop(log);
    std::fs::remove_file(&file).unwrap();
    let (log, opened) = LogWriter::open_with(home.config(), vec![of(NEXT)], home.now()).unwrap();
    assert_eq!((opened.unchecked, signed_by(&log.checkpoint())), (0, vec![FIRST, NEXT]));
    log.close().unwrap();
}
