//! Frames that are cut out, doubled, moved or forged are named: a checksum protects frames from accidents alone.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod support;

use std::path::{Path, PathBuf};

use counterfoil_audit::LogReader;
use counterfoil_audit::segment::{self, COMMIT_BYTES, Frame, HEADER_BYTES};
use counterfoil_audit::verify::{Report, VerifyOptions, verify_plain};
use counterfoil_spec::entry::Body;
use counterfoil_spec::rule::FaultKind;
use support::{Home, entries, files, key, signer};

const SIZE: u64 = 25;

/// 25 entries in groups of different sizes, in several segments.
fn small_log() -> Home {
    let home = Home::new();
    let (log, _) = home.open().unwrap();
    let mut next = 0;
    for group in [1, 2, 3, 1, 4, 5, 2, 6] {
        log.append(entries(next..next + group)).unwrap();
        next += group;
    }
    assert_eq!(log.close().unwrap().size, SIZE);
    home
}

fn verify(dir: &Path) -> Report {
    let mut options = VerifyOptions::new(dir);
    options.vkey = Some(signer().vkey());
    options.net_id = Some(key(1).public().net_id());
    options.threads = 1;
    verify_plain(&options).unwrap()
}

fn segments(home: &Home) -> Vec<(String, PathBuf)> {
    files(&home.dir()).into_iter().filter(|(n, _)| n.starts_with("seg/")).collect()
}

/// Where a segment's frames are; the index of those that are entries.
fn frames(name: &str, bytes: &[u8]) -> Vec<(std::ops::Range<usize>, Option<u64>)> {
    let (mut at, mut index, mut out) = (HEADER_BYTES, name[4..24].parse().unwrap(), Vec::new());
    while at < bytes.len() {
        let frame = segment::parse(&bytes[at..]);
        let is_entry = matches!(frame, Frame::Entry { .. });
        out.push((at..at + frame.bytes(), is_entry.then_some(index)));
        index += u64::from(is_entry);
        at += frame.bytes();
    }
    out
}

/// A commit frame as anybody can write it.
fn forged(size: u64) -> Vec<u8> {
    let mut frame = vec![0; 4];
    frame.extend(size.to_be_bytes());
    frame.extend([7; 32]);
    let crc = crc32c::crc32c(&frame);
    frame.extend(crc.to_be_bytes());
    assert_eq!(frame.len(), COMMIT_BYTES);
    frame
}

#[test]
fn a_cut_entry_is_named_wherever_it_was() {
    let home = small_log();
    let mut cut = 0;
    for (name, path) in segments(&home) {
        let good = std::fs::read(&path).unwrap();
        for (at, index) in frames(&name, &good).into_iter().filter(|(_, index)| index.is_some()) {
            std::fs::write(&path, [&good[..at.start], &good[at.end..]].concat()).unwrap();
            let report = verify(&home.dir());
            let named = report.faults.iter().any(|f| f.file.as_deref() == Some(&name) && f.index == index);
            // Within a group the entry behind it takes its place until the commit frame counts them.
            assert!(named && !report.ok, "{index:?}: {:?}", report.faults);
            cut += 1;
        }
        std::fs::write(&path, &good).unwrap();
    }
    assert_eq!(cut, SIZE);
}

#[test]
fn a_log_without_its_entries_is_none() {
    let home = small_log();
    for (name, path) in segments(&home) {
        let good = std::fs::read(&path).unwrap();
        let commits = frames(&name, &good).into_iter().filter(|(_, index)| index.is_none());
        let kept: Vec<u8> = commits.flat_map(|(at, _)| good[at].to_vec()).collect();
        std::fs::write(&path, [&good[..HEADER_BYTES], &kept].concat()).unwrap();
    }
    let report = verify(&home.dir());
    assert_eq!((report.ok, report.rules_saw), (false, 0));
    let first = &report.faults[0];
    assert_eq!((first.kind, first.index), (FaultKind::Corrupt, Some(0)));
    assert!(first.detail.contains("counts 1 entries, and 0 are there"), "{}", first.detail);
}

#[test]
fn a_doubled_frame_is_named() {
    let home = small_log();
    for (name, path) in segments(&home) {
        let good = std::fs::read(&path).unwrap();
        for (at, index) in frames(&name, &good) {
            std::fs::write(&path, [&good[..at.end], &good[at.start..]].concat()).unwrap();
            let report = verify(&home.dir());
            assert!(!report.ok, "{name} {at:?} {index:?}");
            assert!(
                report.faults.iter().any(|f| f.file.as_deref() == Some(&name)),
                "{name} {at:?} {index:?}: {:?}",
                report.faults
            );
        }
        std::fs::write(&path, &good).unwrap();
    }
}

//= spec/audit-log.md#segments
//= type=test
//# A segment MUST end with a commit frame before the next one is begun.
#[test]
fn a_segment_without_its_last_commit_is_named() {
    let home = small_log();
    let all = segments(&home);
    for (name, path) in &all[..all.len() - 1] {
        let good = std::fs::read(path).unwrap();
        std::fs::write(path, &good[..good.len() - COMMIT_BYTES]).unwrap();
        let found: Vec<_> =
            verify(&home.dir()).faults.into_iter().map(|f| (f.kind, f.file, f.detail)).collect();
        let detail = "it ends without a commit frame".to_owned();
        assert_eq!(found, [(FaultKind::Corrupt, Some(name.clone()), detail)]);
        std::fs::write(path, &good).unwrap();
    }
}

#[test]
fn a_forged_commit_counts_nothing_and_costs_nothing() {
    let home = small_log();
    let (name, path) = segments(&home).pop().unwrap();
    let good = std::fs::read(&path).unwrap();
    for size in [SIZE, SIZE + 1, 10_000_000, 1 << 60, u64::MAX] {
        std::fs::write(&path, [good.as_slice(), &forged(size)].concat()).unwrap();
        let report = verify(&home.dir());
        assert_eq!((report.ok, report.rules_saw), (false, SIZE), "{size}");
        let first = &report.faults[0];
        assert_eq!(
            (first.kind, first.index, first.file.as_deref()),
            (FaultKind::Corrupt, (size > SIZE).then_some(SIZE), Some(name.as_str())),
            "{size}: {:?}",
            report.faults
        );
    }
}

#[test]
fn a_forged_commit_hides_no_segment_behind_it() {
    let home = small_log();
    let all = segments(&home);
    let (name, path) = &all[0];
    let good = std::fs::read(path).unwrap();
    for size in [SIZE, 1 << 60] {
        std::fs::write(path, [good.as_slice(), &forged(size)].concat()).unwrap();
        let report = verify(&home.dir());
        let found: Vec<_> = report.faults.iter().map(|f| (f.kind, f.file.as_deref())).collect();
        assert_eq!(found, [(FaultKind::Corrupt, Some(name.as_str()))], "{size}");
        assert_eq!(report.rules_saw, SIZE);
    }
}

#[test]
fn a_segment_far_behind_the_log_is_named_and_not_counted_up_to() {
    let home = small_log();
    let (_, path) = segments(&home).pop().unwrap();
    let (first, last) = (home.dir().join("seg/00000000000000000000.log"), u64::MAX / 2);
    for from in [&first, &path] {
        for begins in [SIZE + 1, 10_000_000, last] {
            let name = format!("seg/{begins:020}.log");
            std::fs::copy(from, home.dir().join(&name)).unwrap();
            let report = verify(&home.dir());
            let faults = &report.faults;
            assert!(
                faults.iter().any(|f| f.kind == FaultKind::Corrupt && f.file.as_deref() == Some(&name)),
                "{begins}: {faults:?}"
            );
            std::fs::remove_file(home.dir().join(&name)).unwrap();
        }
    }
    assert_eq!(verify(&home.dir()).faults, []);
}

#[test]
fn another_leaf_is_called_that_before_what_follows_from_it() {
    let home = small_log();
    let (name, path) = segments(&home).remove(1);
    let good = std::fs::read(&path).unwrap();
    let (at, index) = frames(&name, &good).remove(0);
    let Frame::Entry { leaf, .. } = segment::parse(&good[at.clone()]) else { panic!("no entry") };
    let mut leaf = leaf.to_vec();
    let last = leaf.len() - 1;
    leaf[last] ^= 1;
    let mut frame = Vec::new();
    segment::push_entry(&mut frame, &leaf);
    std::fs::write(&path, [&good[..at.start], &frame, &good[at.end..]].concat()).unwrap();
    let faults = verify(&home.dir()).faults;
    let found: Vec<_> = faults.iter().map(|f| (f.kind, f.index)).collect();
    assert_eq!(found, [(FaultKind::LeafHashMismatch, index), (FaultKind::BadEntrySignature, index)]);
}

#[test]
fn a_pipe_in_the_place_of_a_file_is_refused_and_not_waited_for() {
    let home = small_log();
    for name in ["checkpoint", "state/signed", "tile/0/000.p/25", "seg/00000000000000000000.log"] {
        let path = home.dir().join(name);
        let good = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        let refused = verify_plain(&VerifyOptions::new(home.dir())).unwrap_err().to_string();
        assert!(refused.contains(name) && refused.contains("not a regular file"), "{refused}");
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, &good).unwrap();
    }
    assert_eq!(verify(&home.dir()).faults, []);
}

#[test]
fn a_survey_decodes_what_is_wanted_and_gives_time_and_index_of_the_rest() {
    let home = small_log();
    let reader = LogReader::open(&home.dir()).unwrap();
    let mut all = Vec::new();
    reader.for_each(0, |index, _, body| all.push((index, body.time, body.payload.kind()))).unwrap();
    assert_eq!(all.len(), 25);
    let genesis = all[0].2;
    let mut seen = Vec::new();
    for part in [0..12, 12..SIZE] {
        let note =
            |index, time, body: Option<&Body>| seen.push((index, time, body.map(|b| b.payload.kind())));
        reader.survey(part, |kind| kind == genesis, note).unwrap();
    }
    let wanted: Vec<_> =
        all.into_iter().map(|(index, time, kind)| (index, time, (kind == genesis).then_some(kind))).collect();
    assert_eq!(seen, wanted);
}
