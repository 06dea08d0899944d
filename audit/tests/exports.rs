//! Exports in a form of the test's own: what is written is found whole, and whatever is changed is named.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed"
)]

mod support;

use std::path::{Path, PathBuf};

use counterfoil_audit::export::{
    Checked, Destination, Entry, ExportError, FaultName, Format, Header, LEAVES_FILE, MANIFEST_FILE, Piece,
    Pins, Range, Records, Sink, check, write,
};
use counterfoil_audit::{LogWriter, TrustedKeys};
use support::{Home, aged, entries, signer};

/// One line for each entry but every fifth, which has no row; with a first and a last line.
#[derive(Default)]
struct Plain {
    seen: u64,
}

impl Format for Plain {
    fn name(&self) -> &'static str {
        "plain"
    }

    fn file(&self) -> &'static str {
        "plain.txt"
    }

    fn records(&self) -> Records {
        Records::Lines
    }

    fn looks_back(&self) -> bool {
        true
    }

    fn head(&mut self, header: &Header, out: &mut dyn Sink) -> Result<(), ExportError> {
        out.piece(Piece::Frame, format!("of {}\n", header.origin).as_bytes())
    }

    fn before(&mut self, _entry: &Entry<'_>) -> Result<(), ExportError> {
        self.seen += 1;
        Ok(())
    }

    fn entry(&mut self, row: u64, entry: &Entry<'_>, out: &mut dyn Sink) -> Result<bool, ExportError> {
        self.seen += 1;
        if entry.index % 5 == 4 {
            return Ok(false);
        }
        let text = format!("{} {} {}\n", entry.leaf_hash, self.seen, entry.body.time);
        out.piece(Piece::Row { row, entry: entry.index }, text.as_bytes())?;
        Ok(true)
    }

    fn foot(&mut self, out: &mut dyn Sink) -> Result<(), ExportError> {
        out.piece(Piece::Frame, format!("{} seen\n", self.seen).as_bytes())
    }
}

/// A log of 21 entries, and one more that is committed and not yet signed for.
/// Its writer publishes what it has when it goes, so it stays.
fn log() -> (Home, LogWriter) {
    let home = Home::new();
    let (log, _) = home.open().unwrap();
    log.append(entries(0..20)).unwrap();
    log.publish().unwrap();
    log.append(entries(20..21)).unwrap();
    (home, log)
}

fn export(home: &Home, name: &str, from: u64, to: u64) -> PathBuf {
    let folder = home.folder.path().join(name);
    let range = Range { from: Some(from), to: Some(to) };
    let to_folder = Destination::Folder(folder.clone());
    let written = write(&home.dir(), range, &mut Plain::default(), to_folder, &mut |_, _| {}).unwrap();
    assert_eq!((written.entries, written.header.leaves_from), (to - from, 0));
    folder
}

fn checked(folder: &Path, pins: &Pins) -> Checked {
    let make = &mut |header: &Header| {
        let plain: Box<dyn Format> = Box::new(Plain::default());
        (header.format == "plain").then_some(plain)
    };
    check(folder, pins, make, &mut |_, _| {}).unwrap()
}

fn pinned() -> Pins {
    Pins { vkey: Some(TrustedKeys::one(signer().verifier().clone())), log: None }
}

/// Names, rows and entries of what is wrong.
fn faults(folder: &Path, pins: &Pins) -> Vec<(FaultName, Option<u64>, Option<u64>)> {
    let report = checked(folder, pins);
    assert_eq!(report.ok, report.faults.is_empty());
    report.faults.iter().map(|f| (f.fault, f.row, f.entry)).collect()
}

/// Changes a file of an export as text, and gives what it was.
fn edit(folder: &Path, file: &str, change: impl FnOnce(&mut Vec<String>)) -> Vec<u8> {
    let path = folder.join(file);
    let was = std::fs::read(&path).unwrap();
    let text = String::from_utf8(was.clone()).unwrap();
    let mut lines: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
    change(&mut lines);
    std::fs::write(&path, lines.concat()).unwrap();
    was
}

#[test]
fn every_range_checks_against_key_and_log_alone() {
    let (home, _log) = log();
    for (n, (from, to)) in [(0, 21), (0, 1), (3, 17), (4, 5), (20, 21), (16, 21)].into_iter().enumerate() {
        let folder = export(&home, &n.to_string(), from, to);
        let rows = (from..to).filter(|i| i % 5 != 4).count() as u64;
        for pins in [pinned(), Pins { vkey: None, log: Some(home.dir()) }] {
            let report = checked(&folder, &pins);
            assert_eq!(report.faults, []);
            assert_eq!((report.ok, report.from, report.to, report.rows), (true, from, to, rows));
            assert_eq!((report.size, report.vkey_pinned), (21, true));
            assert_eq!(report.held_to_log, pins.log.is_some());
        }
        assert!(!checked(&folder, &Pins::default()).vkey_pinned);
    }
}

#[test]
fn rows_that_were_added_dropped_or_edited_are_named() {
    let (home, _log) = log();
    let folder = export(&home, "e", 2, 12);
    let told = |change: &dyn Fn(&mut Vec<String>)| {
        let was = edit(&folder, "plain.txt", change);
        let found = faults(&folder, &pinned());
        assert_eq!(found, faults(&folder, &Pins { vkey: None, log: Some(home.dir()) }));
        std::fs::write(folder.join("plain.txt"), was).unwrap();
        found
    };
    // The rows are of entries 2, 3, 5, 6, 7, 8, 10, 11.
    assert_eq!(told(&|l| l[3] = l[3].replace(" 6 ", " 7 ")), [(FaultName::RowEdited, Some(2), Some(5))]);
    assert_eq!(told(&|l| drop(l.remove(4))), [(FaultName::RowDropped, Some(3), Some(6))]);
    assert_eq!(told(&|l| l.insert(5, "x\n".to_owned())), [(FaultName::RowAdded, Some(4), Some(7))]);
    assert_eq!(told(&|l| l.push("x\n".to_owned())), [(FaultName::RowAdded, Some(8), None)]);
    assert_eq!(told(&|l| l.insert(2, l[1].clone())), [(FaultName::RowAdded, Some(1), Some(3))]);
    assert_eq!(told(&|l| l[0] = "of another\n".to_owned()), [(FaultName::FrameEdited, None, None)]);
    assert_eq!(told(&|l| l[9] = "13 seen\n".to_owned()), [(FaultName::FrameEdited, None, None)]);
    assert_eq!(faults(&folder, &pinned()), []);
}

#[test]
fn lines_of_the_manifest_are_held_like_rows() {
    let (home, _log) = log();
    let folder = export(&home, "e", 2, 12);
    let told = |change: &dyn Fn(&mut Vec<String>)| {
        let was = edit(&folder, MANIFEST_FILE, change);
        let found = faults(&folder, &pinned());
        std::fs::write(folder.join(MANIFEST_FILE), was).unwrap();
        found
    };
    assert_eq!(told(&|l| drop(l.remove(4))), [(FaultName::LineDropped, None, Some(5))]);
    assert_eq!(told(&|l| l.insert(4, "{}\n".to_owned())), [(FaultName::LineAdded, None, Some(5))]);
    assert_eq!(
        told(&|l| l[1] = l[1].replace("\"row\":0", "\"row\":1")),
        [(FaultName::LineEdited, None, Some(2))]
    );
    assert_eq!(
        told(&|l| l[11] = l[11].replace("\"rows\":8", "\"rows\":9")),
        [(FaultName::LineEdited, None, None)]
    );
    assert_eq!(told(&|l| drop(l.pop())), [(FaultName::LineDropped, None, None)]);
    assert_eq!(told(&|l| l.push("x\n".to_owned())), [(FaultName::LineAdded, None, None)]);
}

#[test]
fn edited_leaves_with_rows_and_manifest_to_match_do_not_lead_to_the_root() {
    let (home, _log) = log();
    let folder = export(&home, "e", 2, 12);
    // Another log of the same keys, whose entries have other times, in the place of this one.
    let other = Home::new();
    other.clock.fetch_add(1000, std::sync::atomic::Ordering::Relaxed);
    let (log, _) = other.open().unwrap();
    log.append(entries(0..20)).unwrap();
    log.close().unwrap();
    let forged = export(&other, "e", 2, 12);
    assert_eq!(faults(&forged, &pinned()), []);
    let header = edit(&folder, MANIFEST_FILE, |_| {});
    let header = String::from_utf8(header).unwrap().split_inclusive('\n').next().unwrap().to_owned();
    edit(&forged, MANIFEST_FILE, |l| l[0] = header);
    assert_eq!(faults(&forged, &pinned()), [(FaultName::InconsistentTree, None, None)]);
    // Held to the log, each leaf is named as well, and so is each row.
    let to_log = faults(&forged, &Pins { vkey: None, log: Some(home.dir()) });
    let leaves: Vec<_> = to_log.iter().filter(|f| f.0 == FaultName::LeafEdited).map(|f| f.2).collect();
    assert_eq!(leaves, (0..12).map(Some).collect::<Vec<_>>());
}

#[test]
fn other_keys_other_sides_and_other_logs_are_named() {
    let (home, _log) = log();
    let folder = export(&home, "e", 2, 12);
    let other = counterfoil_audit::NoteSigner::new(support::ORIGIN, support::key(9)).unwrap();
    let wrong = Pins { vkey: Some(TrustedKeys::one(other.verifier().clone())), log: None };
    assert_eq!(
        faults(&folder, &wrong),
        [(FaultName::OriginNotPinned, None, None), (FaultName::NoTrustedSignature, None, None)]
    );
    let told = |from: &str, to: &str| {
        let was = edit(&folder, MANIFEST_FILE, |l| l[0] = l[0].replace(from, to));
        let found = faults(&folder, &pinned());
        std::fs::write(folder.join(MANIFEST_FILE), was).unwrap();
        found
    };
    let none: Option<u64> = None;
    assert_eq!(told("log\\n21\\n", "log\\n22\\n"), [(FaultName::BadLogSignature, none, none)]);
    assert_eq!(told("\"right\":[", "\"right\":[\"00"), [(FaultName::Unreadable, none, none)]);
    let first = edit(&folder, MANIFEST_FILE, |_| {});
    let text = String::from_utf8(first).unwrap();
    let hash = text.split("\"right\":[\"").nth(1).unwrap().split('"').next().unwrap();
    assert_eq!(told(&format!("[\"{hash}\","), "["), [(FaultName::InconsistentTree, none, none)]);
    let zeros = "0".repeat(64);
    assert_eq!(told(hash, &zeros), [(FaultName::InconsistentTree, none, none)]);
    assert_eq!(told("\"plain\"", "\"odd\""), [(FaultName::Unreadable, none, none)]);
    assert_eq!(told("plain.txt", "leaves.bin"), [(FaultName::Unreadable, none, none)]);

    let short = Home::new();
    short.open().unwrap().0.close().unwrap();
    let found = faults(&folder, &Pins { vkey: None, log: Some(short.dir()) });
    assert_eq!(found, [(FaultName::Rollback, none, none)]);
}

#[test]
fn files_that_are_cut_missing_or_overlong_are_unreadable() {
    let (home, _log) = log();
    let none: Option<u64> = None;
    let folder = export(&home, "e", 2, 12);
    let leaves = std::fs::read(folder.join(LEAVES_FILE)).unwrap();
    for (n, bytes) in [&leaves[..leaves.len() - 1], &leaves[..1], &[], &[leaves.clone(), vec![0]].concat()]
        .into_iter()
        .enumerate()
    {
        std::fs::write(folder.join(LEAVES_FILE), bytes).unwrap();
        let found = faults(&folder, &pinned());
        assert!(found.contains(&(FaultName::Unreadable, none, none)), "{n}: {found:?}");
    }
    std::fs::write(folder.join(LEAVES_FILE), leaves).unwrap();
    let rows = std::fs::read(folder.join("plain.txt")).unwrap();
    std::fs::write(folder.join("plain.txt"), vec![b'x'; (1 << 20) + 1]).unwrap();
    assert_eq!(faults(&folder, &pinned()), [(FaultName::Unreadable, none, none)]);
    std::fs::remove_file(folder.join("plain.txt")).unwrap();
    assert_eq!(faults(&folder, &pinned()), [(FaultName::Unreadable, none, none)]);
    std::fs::create_dir(folder.join("plain.txt")).unwrap();
    assert_eq!(faults(&folder, &pinned()), [(FaultName::Unreadable, none, none)]);
    std::fs::remove_dir(folder.join("plain.txt")).unwrap();
    std::fs::write(folder.join("plain.txt"), rows).unwrap();
    assert_eq!(faults(&folder, &pinned()), []);
    std::fs::write(folder.join(MANIFEST_FILE), b"{").unwrap();
    assert_eq!(faults(&folder, &pinned()), [(FaultName::Unreadable, none, none)]);
}

#[test]
fn what_nobody_signed_and_what_is_there_already_is_not_exported() {
    let (home, _log) = log();
    let to = |name: &str| Destination::Folder(home.folder.path().join(name));
    let go = |range, destination| {
        write(&home.dir(), range, &mut Plain::default(), destination, &mut |_, _| {}).unwrap_err()
    };
    let range = |from, to| Range { from: Some(from), to: Some(to) };
    let unsigned = go(range(0, 22), to("a"));
    assert!(matches!(unsigned, ExportError::Unsigned { signed: 21, asked: 22 }), "{unsigned}");
    let empty = go(range(5, 5), to("b"));
    assert!(matches!(empty, ExportError::EmptyRange { from: 5, to: 5 }), "{empty}");
    export(&home, "c", 0, 21);
    let there = go(range(0, 21), to("c"));
    assert!(matches!(there, ExportError::Exists { .. }), "{there}");
    let files: Vec<_> =
        std::fs::read_dir(home.folder.path()).unwrap().map(|f| f.unwrap().file_name()).collect();
    assert!(!files.iter().any(|f| f == "a" || f == "b"), "{files:?}");
}

#[test]
fn a_tree_that_its_checkpoint_does_not_sign_is_not_exported() {
    let (home, _log) = log();
    let other = Home::new();
    other.clock.fetch_add(1000, std::sync::atomic::Ordering::Relaxed);
    let (log, _) = other.open().unwrap();
    log.append(entries(0..20)).unwrap();
    log.close().unwrap();
    std::fs::copy(other.dir().join("checkpoint"), home.dir().join("checkpoint")).unwrap();
    let folder = home.folder.path().join("e");
    let done = write(
        &home.dir(),
        Range::default(),
        &mut Plain::default(),
        Destination::Folder(folder.clone()),
        &mut |_, _| {},
    );
    assert!(matches!(done, Err(ExportError::InconsistentTree)), "{done:?}");
    assert!(!folder.exists());
}

//= spec/export.md#rules
//= type=test
//# An export MUST be refused where an entry that it needs was removed; it MUST NOT be shortened.
#[test]
fn export_over_removed_entries_is_refused_and_an_earlier_one_is_held_to_the_hashes_that_are_left() {
    let mut home = Home::new();
    home.options.segment_bytes = 1 << 24;
    aged::announced(&home);
    let folder = export(&home, "before", 0, aged::SIZE);
    home.open().unwrap().0.close().unwrap();
    let of_range = |from| {
        let range = Range { from: Some(from), to: Some(aged::SIZE) };
        let folder = Destination::Folder(home.folder.path().join("after"));
        write(&home.dir(), range, &mut Plain::default(), folder, &mut |_, _| {}).unwrap_err()
    };
    for from in [0, aged::END] {
        let refused = of_range(from);
        assert!(matches!(refused, ExportError::Removed { index: 1 }), "{refused:?}");
    }
    assert!(!home.folder.path().join("after").exists());

    let log = Pins { log: Some(home.dir()), ..pinned() };
    assert_eq!(faults(&folder, &log), []);
    let path = folder.join(LEAVES_FILE);
    let mut leaves = std::fs::read(&path).unwrap();
    let first = 2 + usize::from(u16::from_be_bytes([leaves[0], leaves[1]]));
    let second = 2 + usize::from(u16::from_be_bytes([leaves[first], leaves[first + 1]]));
    // The last byte of entry 1 is within its signature.
    leaves[first + second - 1] ^= 1;
    std::fs::write(&path, leaves).unwrap();
    let found = faults(&folder, &log);
    assert_eq!(found[0], (FaultName::LeafEdited, None, Some(1)));
}
