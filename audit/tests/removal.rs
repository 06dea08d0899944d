//! Old entries go under a prune, their hashes stay, and the log verifies as far as it can and says so.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on has failed")]

mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use counterfoil_audit::archive::{self, Archive};
use counterfoil_audit::merkle::leaf_hash;
use counterfoil_audit::proof::prove;
use counterfoil_audit::tile::{TileId, TileKind, leaves};
use counterfoil_audit::verify::{Pruned, Report, VerifyOptions, verify_plain};
use counterfoil_audit::{LogError, LogReader, PublishedFolder, Stored};
use counterfoil_spec::payload::{Prune, REMOVABLE_KINDS, RemovedKind};
use support::aged::{DAYS, END, HOURS, SIZE, STRADDLES, announced, pruned, written};
use support::{Home, copy, key, signer};

fn pinned(options: VerifyOptions) -> Report {
    let vkey = Some(signer().vkey());
    verify_plain(&VerifyOptions { vkey, net_id: Some(key(1).public().net_id()), ..options }).unwrap()
}

fn verify(dir: &Path) -> Report {
    pinned(VerifyOptions::new(dir))
}

/// Segments of some dozen entries.
fn home() -> Home {
    let mut home = Home::new();
    home.options.segment_bytes = 12_000;
    home
}

/// What a log has of its entries: leaves, or their hashes.
fn stored(dir: &Path) -> Vec<Result<Vec<u8>, String>> {
    let reader = LogReader::open(dir).unwrap();
    let mut out = Vec::new();
    let each = |_, stored: Stored<'_>| {
        out.push(match stored {
            Stored::Leaf(leaf) => Ok(leaf.to_vec()),
            Stored::Removed(hash) => Err(hash.to_string()),
        });
        Ok::<(), LogError>(())
    };
    reader.walk(0, reader.size(), each).unwrap();
    out
}

fn tile(kind: TileKind, index: u64) -> String {
    TileId::whole(kind, index).path()
}

fn said(prune: &Prune, missing: u64) -> Pruned {
    let Prune { first, end, kept_days, .. } = *prune;
    Pruned { entry: SIZE, first, end, says: prune.count(), missing, kept_days }
}

//= spec/audit-log.md#removal
//= type=test
//# of each its leaf hash stays, so that root,
//# inclusion and consistency still follow.
#[test]
fn removed_entries_leave_their_hashes_and_the_log_verifies() {
    let home = home();
    let prune = announced(&home);
    let before = stored(&home.dir());
    let (log, opened) = home.open().unwrap();
    assert_eq!((opened.removed, opened.size), (prune.count(), SIZE + 1));
    log.close().unwrap();
    let after = stored(&home.dir());
    let mut gone = 0;
    for (index, (before, after)) in (0..).zip(before.iter().zip(&after)) {
        let leaf = before.as_ref().unwrap();
        match after {
            Ok(after) => assert_eq!(after, leaf, "entry {index}"),
            Err(hash) => {
                assert_eq!(*hash, leaf_hash(leaf).to_string(), "entry {index}");
                assert!(index < END && !prune.kept.contains(&index), "entry {index}");
                gone += 1;
            }
        }
    }
    let of =
        |kind| RemovedKind { kind, count: prune.removed.iter().find(|of| of.kind == kind).unwrap().count };
    assert_eq!(prune.removed, REMOVABLE_KINDS.map(of));
    assert_eq!(prune.kept, [STRADDLES.start, HOURS.start]);
    assert_eq!((gone, before.len()), (prune.count(), after.len()));
    assert!(gone > 300, "{gone}");

    let report = verify(&home.dir());
    assert_eq!(report.faults, []);
    assert_eq!((report.removed, &report.prunes), (gone, &vec![said(&prune, gone)]));
    assert_eq!((report.size, report.rules_saw), (SIZE + 1, SIZE + 1 - gone));
    assert_eq!(report.strays, Vec::<String>::new());
    let (log, opened) = home.open().unwrap();
    assert_eq!((opened.removed, opened.repaired_tiles), (0, 0));
    log.append(support::entries(900..910)).unwrap();
    log.close().unwrap();
    assert_eq!(verify(&home.dir()).faults, []);
}

//= spec/audit-log.md#published-files
//= type=test
//# Of 256 entries of which any was removed a writer MUST publish `tile/kept/<N>` and MUST NOT publish `tile/entries/<N>`
#[test]
fn what_is_left_is_published_under_another_name_and_judged_alike() {
    let home = home();
    let prune = pruned(&home);
    let dir = home.dir();
    for (bundle, before) in [(0, 0), (1, 256)] {
        assert!(!dir.join(tile(TileKind::Entries, bundle)).exists());
        let kept = std::fs::read(dir.join(tile(TileKind::Kept, bundle))).unwrap();
        let here = stored(&dir).into_iter().skip(before).take(256);
        let want: Vec<Vec<u8>> = here.map(Result::unwrap_or_default).collect();
        assert_eq!(leaves(&kept).map(<[u8]>::to_vec).collect::<Vec<_>>(), want);
    }
    let whole = verify(&dir);
    assert_eq!((whole.faults.len(), whole.removed), (0, prune.count()));

    let published: PathBuf = home.folder.path().join("published");
    copy(&dir, &published);
    std::fs::remove_dir_all(published.join("seg")).unwrap();
    std::fs::remove_dir_all(published.join("state")).unwrap();
    assert_eq!(pinned(VerifyOptions::published(Arc::new(PublishedFolder(published)))), whole);

    let file = home.folder.path().join("archive.tar");
    let size = archive::write(&dir, &mut std::fs::File::create(&file).unwrap()).unwrap();
    assert_eq!(size, SIZE + 1);
    assert_eq!(pinned(VerifyOptions::published(Arc::new(Archive::open(&file).unwrap()))), whole);
}

//= spec/audit-log.md#proofs
//= type=test
//# An entry that was removed is still proved by its leaf hash, without the extra line, to whoever has the leaf from elsewhere.
#[test]
fn removed_entry_is_proved_to_who_has_it_from_elsewhere() {
    let home = home();
    announced(&home);
    let leaf = LogReader::open(&home.dir()).unwrap().leaf(1).unwrap();
    home.open().unwrap().0.close().unwrap();
    let reader = LogReader::open(&home.dir()).unwrap();
    let gone = reader.leaf(1);
    assert!(
        matches!(gone, Err(LogError::Removed { index: 1, hash }) if hash == leaf_hash(&leaf)),
        "{gone:?}"
    );
    let proof = prove(&home.dir(), 1).unwrap();
    assert_eq!(proof.verify(&leaf, signer().verifier()).unwrap().head, reader.head());
    let other = reader.leaf(4).unwrap();
    assert!(proof.verify(&other, signer().verifier()).is_err());
}

//= spec/audit-log.md#what-a-verifier-does
//= type=test
//# A `prune` of whose entries all are there is one that was not carried out yet, or in another copy of the log: that is no fault.
#[test]
fn prune_that_was_not_carried_out_is_no_fault_and_an_older_copy_is_pruned_again() {
    let home = home();
    let prune = announced(&home);
    let report = verify(&home.dir());
    assert_eq!((report.faults, report.removed, report.prunes), (Vec::new(), 0, vec![said(&prune, 0)]));
    let before = home.folder.path().join("before");
    copy(&home.dir(), &before);
    home.open().unwrap().0.close().unwrap();
    let once = stored(&home.dir());
    std::fs::remove_dir_all(home.dir()).unwrap();
    copy(&before, &home.dir());
    let (log, opened) = home.open().unwrap();
    log.close().unwrap();
    assert_eq!((opened.removed, stored(&home.dir())), (prune.count(), once));
    assert_eq!(verify(&home.dir()).faults, []);
}

#[test]
fn next_prune_goes_on_where_the_last_one_ended() {
    let home = home();
    let first = pruned(&home);
    let (log, _) = home.open().unwrap();
    let more: Vec<u64> = (SIZE + 1..1100).collect();
    log.append(more.iter().map(|n| support::aged::inference(*n, 5)).collect()).unwrap();
    log.append(vec![support::aged::statement(1100, support::aged::CLOSED, 1000)]).unwrap();
    support::aged::years_go_by(&home);
    let second = support::aged::prune_of(&home, END..768);
    log.append(vec![counterfoil_audit::NewEntry::new(support::serial(1101), second.clone())]).unwrap();
    log.close().unwrap();
    let (log, opened) = home.open().unwrap();
    log.close().unwrap();
    assert_eq!(opened.removed, second.count());
    let report = verify(&home.dir());
    assert_eq!(report.faults, []);
    let missing: Vec<_> = report.prunes.iter().map(|p| (p.first, p.end, p.missing, p.kept_days)).collect();
    assert_eq!(missing, [(0, END, first.count(), DAYS), (END, 768, second.count(), DAYS)]);
}

#[test]
fn entries_that_are_gone_without_a_prune_keep_a_writer_from_starting() {
    let home = home();
    written(&home).close().unwrap();
    let segment = counterfoil_audit::segment::list(&home.dir()).unwrap().remove(0);
    let bytes = std::fs::read(&segment.path).unwrap();
    let changed = support::frames::without(&bytes, 0, &[1]);
    std::fs::write(&segment.path, changed).unwrap();
    let refused = home.open().err();
    let named = matches!(&refused, Some(LogError::Corrupt { reason, .. }) if reason == "1 entries are gone, and 0 were to be");
    assert!(named, "{refused:?}");
}

//= spec/audit-log.md#removal
//= type=test
//# A writer that finds a `prune` among the entries that it reads at its start MUST read all others too before it appends, since what it names may
//# be among them.
#[test]
fn long_log_is_pruned_at_its_start_and_opens_by_its_end_once_the_prune_lies_behind() {
    let mut home = home();
    home.options.checked_at_open = 0;
    let prune = pruned(&home);
    let (log, opened) = home.open().unwrap();
    assert_eq!((opened.removed, opened.unchecked), (0, 0));
    log.append(support::entries(2000..2300)).unwrap();
    log.close().unwrap();
    let (log, opened) = home.open().unwrap();
    assert_eq!((opened.size, opened.unchecked), (SIZE + 301, 768));
    log.append(support::entries(3000..3001)).unwrap();
    log.publish().unwrap();
    log.close().unwrap();
    let report = verify(&home.dir());
    assert_eq!((report.faults, report.removed), (Vec::new(), prune.count()));
}
