//! Every changed byte of every file is named; what a crash leaves is recovered; what must not start does not.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed"
)]

mod support;

use std::collections::BTreeMap;
use std::path::Path;

use counterfoil_audit::segment::{self, Frame, HEADER_BYTES};
use counterfoil_audit::verify::{Report, VerifyOptions, verify_plain};
use counterfoil_audit::{LogError, LogReader, tile};
use counterfoil_spec::rule::FaultKind;
use support::{Home, copy, entries, files, key, signer};

/// 25 entries in groups of different sizes, in several segments.
fn small_log() -> Home {
    let home = Home::new();
    let (log, _) = home.open().unwrap();
    let mut next = 0;
    for group in [1, 2, 3, 1, 4, 5, 2, 6] {
        log.append(entries(next..next + group)).unwrap();
        next += group;
    }
    assert_eq!(log.close().unwrap().size, 25);
    home
}

fn verify(dir: &Path) -> Report {
    let mut options = VerifyOptions::new(dir);
    options.vkey = Some(signer().vkey());
    options.net_id = Some(key(1).public().net_id());
    options.signatures = false;
    options.threads = 1;
    verify_plain(&options).unwrap()
}

/// For every file, which bytes are inside which leaf.
fn leaf_bytes(name: &str, bytes: &[u8]) -> BTreeMap<usize, u64> {
    let mut out = BTreeMap::new();
    if name.starts_with("seg/") {
        let (mut at, mut index) = (HEADER_BYTES, name[4..24].parse().unwrap());
        while at < bytes.len() {
            let frame = segment::parse(&bytes[at..]);
            if let Frame::Entry { .. } = frame {
                out.extend((at..at + frame.bytes()).map(|b| (b, index)));
                index += 1;
            }
            at += frame.bytes();
        }
    } else if name.starts_with("tile/entries") {
        let mut at = 0;
        for (index, leaf) in (0..).zip(tile::leaves(bytes)) {
            out.extend((at..at + 2 + leaf.len()).map(|b| (b, index)));
            at += 2 + leaf.len();
        }
    } else if name.starts_with("tile/0/") {
        out.extend((0..bytes.len()).map(|b| (b, u64::try_from(b / 32).unwrap())));
    }
    out
}

#[test]
fn every_flipped_byte_of_every_file_is_named() {
    let home = small_log();
    let dir = home.dir();
    assert_eq!(verify(&dir).faults, []);
    let all = files(&dir);
    let segments = all.iter().filter(|(n, _)| n.starts_with("seg/")).count();
    assert!(segments >= 4, "{segments} segments");
    let mut flipped = 0;
    for (name, path) in &all {
        let good = std::fs::read(path).unwrap();
        let inside = leaf_bytes(name, &good);
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            std::fs::write(path, &bad).unwrap();
            let report = verify(&dir);
            assert!(!report.ok, "byte {at} of {name}");
            let first = &report.faults[0];
            assert_eq!(
                first.file.as_deref(),
                Some(name.as_str()),
                "byte {at} of {name}: {:?}",
                report.faults
            );
            if let Some(index) = inside.get(&at) {
                assert_eq!(first.index, Some(*index), "byte {at} of {name}: {:?}", report.faults);
            }
            flipped += 1;
        }
        std::fs::write(path, &good).unwrap();
    }
    std::fs::write(dir.join("lock"), b"x").unwrap();
    let faults = verify(&dir).faults;
    assert_eq!(
        (faults.len(), faults[0].kind, faults[0].file.as_deref()),
        (1, FaultKind::Corrupt, Some("lock"))
    );
    assert!(flipped > 10_000, "{flipped} bytes");
}

#[test]
fn flipped_leaf_byte_is_one_fault_and_stays_one_with_signatures() {
    let home = small_log();
    let (name, path) = files(&home.dir()).into_iter().find(|(n, _)| n.starts_with("seg/")).unwrap();
    let good = std::fs::read(&path).unwrap();
    for (at, index) in leaf_bytes(&name, &good).into_iter().filter(|(at, _)| at % 40 == 0) {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        std::fs::write(&path, &bad).unwrap();
        let report = verify_plain(&VerifyOptions::new(home.dir())).unwrap();
        let found: Vec<_> = report.faults.iter().map(|f| f.index).collect();
        assert_eq!(found, [Some(index)], "byte {at}: {:?}", report.faults);
    }
}

#[test]
fn missing_files_are_named() {
    let home = small_log();
    for (name, kind) in [
        ("tile/0/000.p/25", FaultKind::TileMissing),
        ("tile/entries/000.p/25", FaultKind::TileMissing),
        ("checkpoint", FaultKind::NoTrustedSignature),
    ] {
        let path = home.dir().join(name);
        let good = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let report = verify(&home.dir());
        let found: Vec<_> = report.faults.iter().map(|f| (f.kind, f.file.as_deref())).collect();
        assert_eq!(found, [(kind, Some(name))]);
        std::fs::write(&path, good).unwrap();
    }
    let (name, path) = files(&home.dir()).into_iter().filter(|(n, _)| n.starts_with("seg/")).nth(1).unwrap();
    std::fs::remove_file(path).unwrap();
    let report = verify(&home.dir());
    let first: u64 = name[4..24].parse().unwrap();
    assert_eq!((report.faults[0].kind, report.faults[0].index), (FaultKind::Corrupt, Some(first)));
}

/// The log as it is before its last group, and the last segment as it is after it.
fn crashed() -> (Home, String, Vec<u8>, usize) {
    let mut home = small_log();
    home.options.segment_bytes = 1 << 20;
    let before = home.folder.path().join("before");
    copy(&home.dir(), &before);
    let (log, _) = home.open().unwrap();
    log.append(entries(100..103)).unwrap();
    log.close().unwrap();
    let (name, path) = files(&home.dir()).into_iter().rfind(|(n, _)| n.starts_with("seg/")).unwrap();
    let grown = std::fs::read(path).unwrap();
    let committed = std::fs::read(before.join(&name)).map_or(0, |b| b.len());
    std::fs::remove_dir_all(home.dir()).unwrap();
    copy(&before, &home.dir());
    (home, name, grown, committed)
}

#[test]
fn tail_cut_anywhere_is_recovered_to_the_last_commit() {
    let (home, name, grown, committed) = crashed();
    assert!(committed > 0);
    let path = home.dir().join(&name);
    for cut in committed..grown.len() {
        std::fs::write(&path, &grown[..cut]).unwrap();
        let report = verify(&home.dir());
        assert_eq!((report.faults.as_slice(), report.torn_bytes), (&[][..], (cut - committed) as u64));
        let (log, opened) = home.open().unwrap();
        assert_eq!((opened.size, opened.torn_bytes), (25, (cut - committed) as u64), "cut to {cut}");
        assert_eq!(std::fs::metadata(&path).unwrap().len(), committed as u64);
        log.close().unwrap();
    }
    std::fs::write(&path, &grown).unwrap();
    assert_eq!(home.open().unwrap().1.size, 28);
}

#[test]
fn segment_that_a_crash_left_without_a_commit_is_dropped() {
    let (mut home, ..) = crashed();
    home.options.segment_bytes = 1;
    let before = home.folder.path().join("before");
    let (log, _) = home.open().unwrap();
    log.append(entries(200..203)).unwrap();
    log.close().unwrap();
    let (name, path) = files(&home.dir()).into_iter().rfind(|(n, _)| n.starts_with("seg/")).unwrap();
    let grown = std::fs::read(path).unwrap();
    for cut in (0..grown.len()).filter(|c| *c < 60 || c % 41 == 0) {
        std::fs::remove_dir_all(home.dir()).unwrap();
        copy(&before, &home.dir());
        std::fs::write(home.dir().join(&name), &grown[..cut]).unwrap();
        assert_eq!(verify(&home.dir()).faults, [], "cut to {cut}");
        let (log, opened) = home.open().unwrap();
        assert_eq!((opened.size, opened.torn_bytes), (25, cut as u64));
        assert_eq!(log.append(entries(300..301)).unwrap().first, 25);
        log.close().unwrap();
        assert_eq!(verify(&home.dir()).faults, []);
    }
}

//= spec/audit-log.md#recovery
//= type=test
//# A writer MUST refuse a log in which anything before the last commit frame is damaged (`Corrupt`).
#[test]
fn damage_before_the_last_commit_is_refused_and_changes_nothing() {
    let home = small_log();
    for (name, path) in files(&home.dir()).into_iter().filter(|(n, _)| n.starts_with("seg/")) {
        let good = std::fs::read(&path).unwrap();
        let is_last = files(&home.dir()).iter().rfind(|(n, _)| n.starts_with("seg/")).unwrap().0 == name;
        let end = if is_last { good.len() - segment::COMMIT_BYTES } else { good.len() };
        for at in (0..end).step_by(13) {
            let mut bad = good.clone();
            bad[at] ^= 0x81;
            std::fs::write(&path, &bad).unwrap();
            let refused = home.open().err();
            assert!(
                matches!(&refused, Some(LogError::Corrupt { file, .. }) if *file == name),
                "byte {at} of {name}: {refused:?}"
            );
            assert_eq!(std::fs::read(&path).unwrap(), bad);
        }
        std::fs::write(&path, &good).unwrap();
    }
    home.open().unwrap();
}

#[test]
fn corrupt_names_the_frame_that_is_damaged() {
    let home = small_log();
    let path = home.dir().join("seg/00000000000000000000.log");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[HEADER_BYTES + 20] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let refused = home.open().err();
    assert!(matches!(refused, Some(LogError::Corrupt { offset: 52, .. })), "{refused:?}");
    assert!(matches!(LogReader::open(&home.dir()).err(), Some(LogError::Corrupt { offset: 52, .. })));
}

//= spec/audit-log.md#recovery
//= type=test
//# A writer MUST refuse a log with fewer entries than `state/signed` or the checkpoint says (`SignedStateAhead`).
#[test]
fn log_behind_its_signed_state_does_not_start() {
    let home = small_log();
    let (name, path) = files(&home.dir()).into_iter().rfind(|(n, _)| n.starts_with("seg/")).unwrap();
    let good = std::fs::read(&path).unwrap();
    std::fs::write(&path, &good[..good.len() - 1]).unwrap();
    let refused = home.open().err();
    assert!(matches!(refused, Some(LogError::SignedStateAhead { want: 25, .. })), "{refused:?}");
    assert_eq!(std::fs::read(&path).unwrap().len(), good.len() - 1);
    let kinds: Vec<_> =
        verify(&home.dir()).faults.iter().map(|f| (f.kind, f.file.clone().unwrap())).collect();
    assert_eq!(
        kinds,
        [
            (FaultKind::Corrupt, name),
            (FaultKind::Rollback, "checkpoint".to_owned()),
            (FaultKind::Rollback, "state/signed".to_owned()),
        ]
    );
    std::fs::remove_file(home.dir().join("state/signed")).unwrap();
    assert!(matches!(home.open().err(), Some(LogError::SignedStateAhead { want: 25, .. })));
}

#[test]
fn rewritten_history_does_not_start() {
    let (ours, theirs) = (small_log(), Home::new());
    theirs.clock.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let (log, _) = theirs.open().unwrap();
    log.append(entries(0..24)).unwrap();
    log.close().unwrap();
    for name in ["state/signed", "checkpoint"] {
        std::fs::copy(ours.dir().join(name), theirs.dir().join(name)).unwrap();
    }
    let refused = theirs.open().err();
    assert!(matches!(refused, Some(LogError::SignedStateDiffers { size: 25 })), "{refused:?}");
    let report = verify(&theirs.dir());
    let found: Vec<_> = report.faults.iter().map(|f| (f.kind, f.file.as_deref())).collect();
    assert_eq!(
        found,
        [
            (FaultKind::InconsistentTree, Some("checkpoint")),
            (FaultKind::InconsistentTree, Some("state/signed"))
        ]
    );
}
