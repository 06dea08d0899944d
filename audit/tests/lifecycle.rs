//! A log from its first entry on: appends, reopening, concurrent callers, and what is published meanwhile.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed"
)]

mod support;

use std::collections::BTreeSet;
use std::sync::mpsc::channel;

use counterfoil_audit::checkpoint::Checkpoint;
use counterfoil_audit::verify::{VerifyOptions, verify_plain};
use counterfoil_audit::{Appended, LogError, LogReader, Opened};
use counterfoil_identity::SecretKey;
use counterfoil_spec::entry::Role;
use counterfoil_spec::payload::Payload;
use support::{Home, ORIGIN, entries, entry, files, key, serial, signer};

#[test]
fn fresh_log_begins_with_genesis_signed_by_the_root_too() {
    let home = Home::new();
    let (log, opened) = home.open().unwrap();
    let want = Opened { size: 1, torn_bytes: 0, fresh: true, repaired_tiles: 0, unchecked: 0, removed: 0 };
    assert_eq!(opened, want);
    let reader = LogReader::open(&home.dir()).unwrap();
    let (leaf, body) = reader.entry(0).unwrap();
    let Payload::Genesis(genesis) = &body.payload else { panic!("{:?}", body.payload) };
    assert_eq!(genesis.origin, ORIGIN);
    assert_eq!(genesis.log_vkey, signer().vkey());
    let signers: Vec<_> = leaf.signatures.iter().map(|s| (s.role, s.kid)).collect();
    assert_eq!(signers, [(Role::Router, key(2).public().kid()), (Role::Root, key(1).public().kid())]);
    let checkpoint = Checkpoint::open(log.checkpoint().as_bytes(), signer().verifier()).unwrap();
    assert_eq!(checkpoint.head, log.head());
}

#[test]
fn router_without_the_root_key_cannot_begin_a_log_but_goes_on_with_one() {
    let home = Home::new();
    let mut config = home.config();
    config.genesis.root = None;
    let refused = counterfoil_audit::LogWriter::open(config.clone(), home.now()).err();
    assert!(matches!(refused, Some(LogError::RootKeyNeeded)), "{refused:?}");
    home.open().unwrap().0.close().unwrap();
    let (_, opened) = counterfoil_audit::LogWriter::open(config, home.now()).unwrap();
    assert!(!opened.fresh);
}

#[test]
fn second_writer_is_locked_out_until_the_first_closes() {
    let home = Home::new();
    let (first, _) = home.open().unwrap();
    assert!(matches!(home.open().err(), Some(LogError::Locked { .. })));
    first.close().unwrap();
    home.open().unwrap();
}

#[test]
fn closed_log_takes_nothing() {
    let home = Home::new();
    let (log, _) = home.open().unwrap();
    let clone = log.clone();
    log.close().unwrap();
    assert!(matches!(clone.append(entries(1..2)), Err(LogError::Closed)));
}

#[test]
fn reopening_continues_chain_time_and_tree() {
    let home = Home::new();
    for part in 0..5 {
        // The clock is set back before every start but the first.
        home.clock.fetch_sub(part * 100, std::sync::atomic::Ordering::Relaxed);
        let (log, opened) = home.open().unwrap();
        assert_eq!(opened.size, 1 + part * 10);
        let appended = log.append(entries(part * 10..part * 10 + 10)).unwrap();
        assert_eq!(appended, Appended { first: 1 + part * 10, count: 10 });
        log.close().unwrap();
    }
    let report = verify_plain(&VerifyOptions::new(home.dir())).unwrap();
    assert_eq!((report.faults.as_slice(), report.size, report.signatures), (&[][..], 51, 52));
    let mut seqs = Vec::new();
    LogReader::open(&home.dir()).unwrap().for_each(0, |_, _, body| seqs.push(body.seq)).unwrap();
    assert_eq!(seqs, (0..51).collect::<Vec<_>>());
}

#[test]
fn nothing_appended_is_nothing_written() {
    let home = Home::new();
    let (log, _) = home.open().unwrap();
    assert_eq!(log.append(Vec::new()).unwrap(), Appended { first: 1, count: 0 });
    assert_eq!(log.head().size, 1);
}

#[test]
fn concurrent_appends_are_contiguous_and_all_there() {
    let home = Home::new();
    let (log, _) = home.open().unwrap();
    let mut places: Vec<Appended> = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..8u64)
            .map(|caller| {
                let log = log.clone();
                scope.spawn(move || {
                    (0..20u64)
                        .map(|n| {
                            let from = caller * 1000 + n * 10;
                            log.append(entries(from..from + 1 + n % 3)).unwrap()
                        })
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        callers.into_iter().flat_map(|c| c.join().unwrap()).collect()
    });
    places.sort_by_key(|p| p.first);
    let mut next = 1;
    for place in &places {
        assert_eq!(place.first, next);
        next += place.count;
    }
    let head = log.close().unwrap();
    assert_eq!((places.len(), head.size), (160, next));
    let report = verify_plain(&VerifyOptions::new(home.dir())).unwrap();
    assert_eq!((report.faults, report.size, report.root), (Vec::new(), head.size, head.root));
}

#[test]
fn callback_may_drop_the_last_handle() {
    let home = Home::new();
    let (log, _) = home.open().unwrap();
    let (send, receive) = channel();
    let last = log.clone();
    log.append_then(
        entries(1..3),
        Box::new(move |result| {
            drop(last);
            send.send(result.unwrap()).unwrap();
        }),
    );
    drop(log);
    assert_eq!(receive.recv().unwrap(), Appended { first: 1, count: 2 });
}

#[test]
fn oversized_entry_is_refused_and_the_next_is_not() {
    let home = Home::new();
    let (log, _) = home.open().unwrap();
    let note = "x".repeat(61_440);
    let long = counterfoil_audit::NewEntry::new(
        serial(1),
        counterfoil_spec::payload::PeerAnchor { note, vkey: None, succession: None },
    );
    let refused = log.append(vec![entry(2), long]);
    assert!(matches!(refused, Err(LogError::LeafTooLong { limit: 61_440, .. })), "{refused:?}");
    assert_eq!(log.append(vec![entry(2)]).unwrap(), Appended { first: 1, count: 1 });
}

#[test]
fn node_cannot_write_what_only_a_router_may() {
    let home = Home::new();
    let mut config = home.config();
    config.role = Role::Node;
    let (log, _) = counterfoil_audit::LogWriter::open(config, home.now()).unwrap();
    let refused = log.append(entries(1..2));
    assert!(matches!(refused, Err(LogError::WrongAuthor { kind: 16, role: Role::Node })), "{refused:?}");
}

#[test]
fn log_of_another_identity_is_not_continued() {
    let home = Home::new();
    home.open().unwrap().0.close().unwrap();
    let what = |config| match counterfoil_audit::LogWriter::open(config, home.now()).err() {
        Some(LogError::GenesisDiffers { what }) => what,
        other => panic!("{other:?}"),
    };
    let mut other = home.config();
    other.author = std::sync::Arc::new(SecretKey::from_seed([9; 32]));
    assert_eq!(what(other), "identity key");
    let mut other = home.config();
    other.note = counterfoil_audit::NoteSigner::new("else.example/log", key(3)).unwrap();
    assert_eq!(what(other), "origin");
    let mut other = home.config();
    other.net_id = key(9).public().net_id();
    assert_eq!(what(other), "network id");
}

#[test]
fn only_the_tiles_of_the_checkpoint_are_left() {
    let home = Home::new();
    let (log, _) = home.open().unwrap();
    for part in 0..6 {
        log.append(entries(part * 100..part * 100 + 100)).unwrap();
        log.publish().unwrap();
    }
    let names: BTreeSet<_> =
        files(&home.dir()).into_iter().map(|(n, _)| n).filter(|n| n.starts_with("tile/")).collect();
    let want = [
        "tile/0/000",
        "tile/0/001",
        "tile/0/002.p/89",
        "tile/1/000.p/2",
        "tile/entries/000",
        "tile/entries/001",
        "tile/entries/002.p/89",
    ];
    assert_eq!(names, want.map(str::to_owned).into());
}

#[test]
fn missing_and_damaged_tiles_are_written_again_at_the_next_start() {
    let home = Home::new();
    let (log, _) = home.open().unwrap();
    log.append(entries(0..600)).unwrap();
    log.close().unwrap();
    let before: Vec<_> =
        files(&home.dir()).iter().map(|(n, p)| (n.clone(), std::fs::read(p).unwrap())).collect();
    std::fs::remove_file(home.dir().join("tile/0/001")).unwrap();
    std::fs::write(home.dir().join("tile/entries/000"), b"").unwrap();
    std::fs::write(home.dir().join("tile/entries/002.p/3"), b"left by a crash").unwrap();
    let (log, opened) = home.open().unwrap();
    assert_eq!(opened.repaired_tiles, 2);
    log.close().unwrap();
    let after: Vec<_> =
        files(&home.dir()).iter().map(|(n, p)| (n.clone(), std::fs::read(p).unwrap())).collect();
    assert_eq!(before, after);
}

#[test]
fn reader_sees_what_was_committed_and_no_more() {
    let home = Home::new();
    let (log, _) = home.open().unwrap();
    let mut reader = LogReader::open(&home.dir()).unwrap();
    log.append(entries(0..300)).unwrap();
    assert_eq!(reader.size(), 1);
    assert!(matches!(reader.leaf(1), Err(LogError::OutOfRange { index: 1, size: 1 })));
    reader.refresh().unwrap();
    assert_eq!(reader.head(), log.head());
    for index in [1, 63, 64, 65, 255, 300] {
        assert_eq!(reader.entry(index).unwrap().1.serial, serial(index - 1));
    }
    let mut seen = Vec::new();
    reader.for_each(298, |index, _, body| seen.push((index, body.serial))).unwrap();
    assert_eq!(seen, [(298, serial(297)), (299, serial(298)), (300, serial(299))]);
    reader.for_each(301, |_, _, _| panic!("there is no entry 301")).unwrap();
    assert!(matches!(
        reader.for_each(302, |_, _, _| {}),
        Err(LogError::OutOfRange { index: 302, size: 301 })
    ));
}

#[test]
fn verifier_runs_beside_the_writer() {
    let home = Home::new();
    let (log, _) = home.open().unwrap();
    let report = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for n in 0..120 {
                log.append(entries(n * 10..n * 10 + 10)).unwrap();
                if n % 3 == 0 {
                    log.publish().unwrap();
                }
            }
        });
        let mut options = VerifyOptions::new(home.dir());
        options.signatures = false;
        let mut runs = 0;
        while !writer.is_finished() {
            let report = verify_plain(&options).unwrap();
            assert_eq!(report.faults, []);
            runs += 1;
        }
        assert!(runs > 0);
        writer.join().unwrap();
        verify_plain(&options).unwrap()
    });
    assert_eq!((report.faults, report.committed), (Vec::new(), 1201));
}
