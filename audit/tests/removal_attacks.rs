//! What somebody else removes than who may, or more, or less, or too early: each has a name.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on has failed")]

mod support;

use std::path::{Path, PathBuf};

use counterfoil_audit::segment::{self, Frame};
use counterfoil_audit::tile::{TileId, TileKind, leaves, push_leaf};
use counterfoil_audit::verify::{Report, VerifyOptions, verify_plain};
use counterfoil_audit::{LogError, LogReader, NewEntry, Stored};
use counterfoil_spec::ids::Hash;
use counterfoil_spec::payload::{Prune, RemovedKind};
use counterfoil_spec::rule::FaultKind::{
    self, Corrupt, EntryMissing, InconsistentTree, LeafHashMismatch, NotMonotonic, PruneMismatch,
    TileMismatch, TileMissing, TimeOutOfBounds,
};
use support::aged::{CLOSED, DAYS, END, SIZE, STRADDLES, announced, prune_of, pruned, written, years_go_by};
use support::forge::named;
use support::frames::{Put, changed, without};
use support::{Home, copy, key, serial, signer};

fn home() -> Home {
    let mut home = Home::new();
    home.options.segment_bytes = 1 << 24;
    home
}

fn verify(dir: &Path) -> Report {
    let mut options = VerifyOptions::new(dir);
    options.vkey = Some(signer().vkey());
    options.net_id = Some(key(1).public().net_id());
    verify_plain(&options).unwrap()
}

/// A pruned log, and the same before.
struct Scene {
    home: Home,
    before: PathBuf,
}

impl Scene {
    fn new() -> Self {
        let home = home();
        announced(&home);
        let before = home.folder.path().join("before");
        copy(&home.dir(), &before);
        home.open().unwrap().0.close().unwrap();
        assert_eq!(verify(&home.dir()).faults, []);
        Self { home, before }
    }

    /// What a verifier says of a copy that was changed.
    fn after(&self, change: impl FnOnce(&Path)) -> Vec<(FaultKind, Option<u64>)> {
        let copied = self.home.folder.path().join("copy");
        copy(&self.home.dir(), &copied);
        change(&copied);
        let found = named(&verify(&copied));
        std::fs::remove_dir_all(&copied).unwrap();
        found
    }

    fn leaf(&self, index: u64) -> Vec<u8> {
        LogReader::open(&self.before).unwrap().leaf(index).unwrap()
    }
}

fn edit(path: &Path, change: impl FnOnce(&[u8]) -> Vec<u8>) {
    let bytes = std::fs::read(path).unwrap();
    std::fs::write(path, change(&bytes)).unwrap();
}

fn segment_of(dir: &Path) -> PathBuf {
    segment::list(dir).unwrap().remove(0).path
}

fn tile(dir: &Path, kind: TileKind, index: u64) -> PathBuf {
    dir.join(TileId::whole(kind, index).path())
}

/// Puts other leaves into the published bundle too, as who knows the form would.
fn bundle(dir: &Path, index: u64, leaf: &[u8]) {
    edit(&tile(dir, TileKind::Kept, index / 256), |bytes| {
        let mut out = Vec::new();
        for (at, old) in (index / 256 * 256..).zip(leaves(bytes)) {
            push_leaf(&mut out, if at == index { leaf } else { old });
        }
        out
    });
}

//= spec/audit-log.md#what-a-verifier-does
//= type=test
//# A verifier MUST say how many entries are missing under which `prune`, and MUST name each that is missing without one (`EntryMissing`).
#[test]
fn entry_that_is_gone_without_a_prune_is_named() {
    let home = home();
    written(&home).close().unwrap();
    assert_eq!(verify(&home.dir()).faults, []);
    edit(&segment_of(&home.dir()), |bytes| without(bytes, 0, &[5, 6, 9]));
    let report = verify(&home.dir());
    assert_eq!(named(&report), [(EntryMissing, Some(5)), (EntryMissing, Some(9)), (TileMissing, None)]);
    assert_eq!(
        report.faults[0].detail,
        "2 entries from it on: their hashes alone are there, and no prune removed them"
    );
    assert_eq!((report.removed, report.prunes.len()), (3, 0));
}

//= spec/audit-log.md#what-a-verifier-does
//= type=test
//# A verifier MUST hold the hashes of what is missing against each `prune` that anything is missing under (`PruneMismatch`).
#[test]
fn more_or_less_or_other_than_a_prune_says_is_named() {
    let scene = Scene::new();
    // One of a kind that stays, with the bundle changed to fit.
    let more = |index: u64| {
        scene.after(|dir| {
            edit(&segment_of(dir), |bytes| without(bytes, 0, &[index]));
            bundle(dir, index, &[]);
        })
    };
    assert_eq!(more(4), [(PruneMismatch, Some(SIZE))]);
    assert_eq!(more(STRADDLES.start), [(PruneMismatch, Some(SIZE))]);
    let leaf = scene.leaf(2);
    let back = |bytes: &[u8]| changed(bytes, 0, |index, _| (index == 2).then(|| Put::Leaf(leaf.clone())));
    let less = scene.after(|dir| {
        edit(&segment_of(dir), back);
        bundle(dir, 2, &leaf);
    });
    assert_eq!(less, [(PruneMismatch, Some(SIZE))]);
    let other = scene.after(|dir| {
        edit(&segment_of(dir), |bytes| without(&back(bytes), 0, &[4]));
        bundle(dir, 2, &leaf);
        bundle(dir, 4, &[]);
    });
    assert_eq!(other, [(PruneMismatch, Some(SIZE))]);
    // Behind the end of the prune.
    let beyond = scene.after(|dir| edit(&segment_of(dir), |bytes| without(bytes, 0, &[END + 1])));
    assert_eq!(beyond, [(EntryMissing, Some(END + 1)), (TileMissing, None)]);
    assert_eq!(scene.after(|_| {}), []);
}

#[test]
fn changed_hash_of_a_removed_entry_is_named_wherever_it_was_changed() {
    let scene = Scene::new();
    let wrong = Hash::from_bytes([9; 32]);
    let in_segment = |bytes: &[u8]| changed(bytes, 0, |index, _| (index == 2).then_some(Put::Removed(wrong)));
    let in_tile = |bytes: &[u8]| [&bytes[..64], wrong.as_bytes(), &bytes[96..]].concat();
    let segment = scene.after(|dir| edit(&segment_of(dir), in_segment));
    assert_eq!(segment, [(LeafHashMismatch, Some(2))]);
    let hashes = |dir: &Path| tile(dir, TileKind::Hashes(0), 0);
    let tile_alone = scene.after(|dir| edit(&hashes(dir), in_tile));
    assert_eq!(tile_alone, [(TileMismatch, Some(2)), (PruneMismatch, Some(SIZE))]);
    let both = scene.after(|dir| {
        edit(&segment_of(dir), in_segment);
        edit(&hashes(dir), in_tile);
    });
    assert!(
        both.contains(&(InconsistentTree, None)) && both.contains(&(PruneMismatch, Some(SIZE))),
        "{both:?}"
    );
    // The checksum alone: what stands there is still the hash under the root.
    let crc = scene.after(|dir| {
        edit(&segment_of(dir), |bytes| {
            let mut bytes = bytes.to_vec();
            let mut at = segment::HEADER_BYTES;
            while !matches!(segment::parse(&bytes[at..]), Frame::Removed { .. }) {
                at += segment::parse(&bytes[at..]).bytes();
            }
            bytes[at + 4] ^= 1;
            bytes
        });
    });
    assert_eq!(crc, [(Corrupt, Some(1))]);
}

#[test]
fn bundle_that_holds_back_what_is_there_is_named() {
    let scene = Scene::new();
    assert_eq!(scene.after(|dir| bundle(dir, 4, &[])), [(TileMismatch, Some(4))]);
    let gone = scene.after(|dir| std::fs::remove_file(tile(dir, TileKind::Kept, 1)).unwrap());
    assert_eq!(gone, [(TileMissing, None)]);
    // A bundle that should be gone and has the right entries contradicts nothing.
    let back = scene.after(|dir| {
        let path = tile(dir, TileKind::Entries, 0);
        std::fs::copy(scene.before.join(TileId::whole(TileKind::Entries, 0).path()), path).unwrap();
    });
    assert_eq!(back, []);
    let wrong = scene.after(|dir| std::fs::write(tile(dir, TileKind::Entries, 0), b"\0\x01x").unwrap());
    assert_eq!(wrong, [(TileMismatch, Some(0))]);
}

/// What a verifier says of a log whose prune says something else, before and after it was carried out.
fn faults_of(home: &Home, change: impl FnOnce(&mut Prune)) -> Vec<(FaultKind, Option<u64>)> {
    let mut prune = prune_of(home, 0..END);
    change(&mut prune);
    let log = home.open().unwrap().0;
    log.append(vec![NewEntry::new(serial(SIZE), prune)]).unwrap();
    log.close().unwrap();
    named(&verify(&home.dir()))
}

/// A log of a closed quarter whose entries' time is over.
fn aged() -> Home {
    let home = home();
    written(&home).close().unwrap();
    years_go_by(&home);
    home
}

//= spec/audit-log.md#removal
//= type=test
//# `first` MUST be the `end` of the `prune` before it, and 0 in the first one; `end` MUST be a multiple of 256 beyond it.
#[test]
fn prune_is_held_to_its_rules() {
    let at = Some(SIZE);
    assert_eq!(faults_of(&aged(), |_| {}), []);
    assert_eq!(faults_of(&aged(), |p| p.first = 256), [(NotMonotonic, at)]);
    assert_eq!(faults_of(&aged(), |p| p.end = 511), [(NotMonotonic, at)]);
    assert_eq!(faults_of(&aged(), |p| p.end = 0), [(NotMonotonic, at)]);
    assert_eq!(faults_of(&aged(), |p| p.kept = vec![7, 7]), [(PruneMismatch, at)]);
    assert_eq!(faults_of(&aged(), |p| p.kept = vec![END]), [(PruneMismatch, at)]);
    let kind = |kind, count| move |p: &mut Prune| p.removed = vec![RemovedKind { kind, count }];
    assert_eq!(faults_of(&aged(), kind(16, 1)), [(PruneMismatch, at)]);
    assert_eq!(faults_of(&aged(), kind(20, 0)), [(PruneMismatch, at)]);
}

//= spec/audit-log.md#removal
//= type=test
//# `end` MUST NOT lie beyond the end of the last `statement` before the `prune`
#[test]
fn prune_beyond_the_closed_quarters_is_named() {
    assert_eq!(faults_of(&aged(), |p| p.end = CLOSED / 256 * 256), []);
    assert_eq!(faults_of(&aged(), |p| p.end = CLOSED.next_multiple_of(256)), [(PruneMismatch, Some(SIZE))]);
}

//= spec/audit-log.md#removal
//= type=test
//# The first `statement` whose end is not before the `end` of a `prune` MUST be at least `kept days` older than that `prune`.
#[test]
fn prune_before_the_time_is_over_is_named() {
    assert_eq!(faults_of(&aged(), |p| p.kept_days = DAYS + 1), [(TimeOutOfBounds, Some(SIZE))]);
    assert_eq!(faults_of(&aged(), |p| p.kept_days = DAYS), []);
}

#[test]
fn prune_that_names_another_hash_or_count_than_is_gone_is_named_and_not_carried_out() {
    let other_hash = |p: &mut Prune| p.hash = Hash::from_bytes([7; 32]);
    let other_count = |p: &mut Prune| p.removed[0].count += 1;
    let right = removed_by_a_right_prune();
    for change in [&other_hash as &dyn Fn(&mut Prune), &other_count] {
        let home = aged();
        assert_eq!(faults_of(&home, change), []);
        let before = std::fs::read(segment_of(&home.dir())).unwrap();
        let refused = home.open().err();
        assert!(matches!(refused, Some(LogError::PruneDiffers { index: SIZE })), "{refused:?}");
        assert_eq!(std::fs::read(segment_of(&home.dir())).unwrap(), before);
        // What the right one would have removed is removed by hand.
        edit(&segment_of(&home.dir()), |bytes| without(bytes, 0, &right));
        let found = named(&verify(&home.dir()));
        assert_eq!(found, [(PruneMismatch, Some(SIZE)), (TileMissing, None), (TileMissing, None)]);
    }
}

fn removed_by_a_right_prune() -> Vec<u64> {
    let home = home();
    pruned(&home);
    let mut out = Vec::new();
    let each = |index, stored: Stored<'_>| {
        out.extend(matches!(stored, Stored::Removed(_)).then_some(index));
        Ok::<(), LogError>(())
    };
    LogReader::open(&home.dir()).unwrap().walk(0, END, each).unwrap();
    out
}
