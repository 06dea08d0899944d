//! A log judged from what it published alone, in a folder and in an archive, and from a checkpoint that was kept.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on has failed")]

mod support;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use counterfoil_audit::archive::{self, Archive};
use counterfoil_audit::checkpoint::Checkpoint;
use counterfoil_audit::merkle::leaf_hash;
use counterfoil_audit::tile::{TileId, TileKind};
use counterfoil_audit::verify::{Remembered, Report, VerifyOptions, verify_plain};
use counterfoil_audit::{Head, LogError, NoteSigner, Published, PublishedFolder};
use counterfoil_spec::payload::KeyRevoked;
use counterfoil_spec::rule::FaultKind::{
    self, BadEntrySignature, DuplicateSerial, Fork, LeafHashMismatch, NoTrustedSignature, OriginNotPinned,
    Rollback, TileMismatch, TileMissing,
};
use support::forge::{Forge, ROUTER, named};
use support::{Home, ORIGIN, copy, entries, key, serial, signer};

/// A log of genesis and 599 entries: two whole bundles and a part of one.
fn written() -> Home {
    let home = Home::new();
    let (log, _) = home.open().unwrap();
    log.append(entries(1..600)).unwrap();
    log.close().unwrap();
    home
}

/// What it published, without its segments.
fn published(home: &Home) -> PathBuf {
    let dir = home.folder.path().join("published");
    copy(&home.dir(), &dir);
    std::fs::remove_dir_all(dir.join("seg")).unwrap();
    std::fs::remove_dir_all(dir.join("state")).unwrap();
    dir
}

fn pinned(files: Arc<dyn Published>) -> VerifyOptions {
    let mut options = VerifyOptions::published(files);
    options.vkey = Some(signer().vkey());
    options.net_id = Some(key(1).public().net_id());
    options
}

fn judged(dir: &Path) -> Report {
    verify_plain(&pinned(Arc::new(PublishedFolder(dir.to_owned())))).unwrap()
}

fn tile(kind: TileKind, index: u64, width: u16) -> String {
    TileId { kind, index, width }.path()
}

#[test]
fn published_files_give_the_report_that_the_log_gives() {
    let home = written();
    let mut options = VerifyOptions::new(home.dir());
    options.vkey = Some(signer().vkey());
    options.net_id = Some(key(1).public().net_id());
    let whole = verify_plain(&options).unwrap();
    assert_eq!((whole.ok, whole.size, whole.signatures), (true, 600, 601));
    assert_eq!(judged(&published(&home)), whole);
}

#[test]
fn what_is_wrong_with_published_files_is_named_with_its_place() {
    let home = written();
    let dir = published(&home);
    let with = |name: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let path = dir.join(name);
        let good = std::fs::read(&path).unwrap();
        let mut bad = good.clone();
        change(&mut bad);
        std::fs::write(&path, bad).unwrap();
        let found = named(&judged(&dir));
        std::fs::write(&path, good).unwrap();
        found
    };
    let (second, last) = (tile(TileKind::Entries, 1, 256), tile(TileKind::Entries, 2, 88));
    // A leaf's last byte is within a signature.
    let leaf = |bytes: &[u8]| usize::from(u16::from_be_bytes([bytes[0], bytes[1]]));
    let flip = |bytes: &mut Vec<u8>| {
        let at = 1 + leaf(bytes);
        bytes[at] ^= 1;
    };
    assert_eq!(with(&second, &flip), [(LeafHashMismatch, Some(256)), (BadEntrySignature, Some(256))]);
    assert_eq!(with(&last, &|b| b.push(0)), [(TileMismatch, None)]);
    assert_eq!(with(&last, &|b| b.truncate(b.len() - 1)), [(TileMismatch, Some(599))]);
    assert_eq!(with(&second, &|b| b[0] = 0xff), [(TileMismatch, Some(256))]);
    let hashes = tile(TileKind::Hashes(0), 1, 256);
    assert_eq!(with(&hashes, &|b| b[40] ^= 1), [(TileMismatch, Some(257))]);
    assert_eq!(
        with("checkpoint", &|b| {
            b.pop();
        }),
        [(FaultKind::MalformedNote, None)]
    );
    std::fs::remove_file(dir.join(&second)).unwrap();
    let report = judged(&dir);
    assert_eq!(named(&report), [(TileMissing, None)]);
    assert_eq!(report.faults[0].file.as_deref(), Some(second.as_str()));
    assert_eq!((report.signatures, report.rules_saw), (345, 256));
}

//= spec/audit-log.md#published-elsewhere
//= type=test
//# A verifier to whom the log's key was given MUST NOT read entries under a checkpoint that neither this key signed nor one that
//# the published [succession](#succession) proves to follow it.
#[test]
fn entries_are_not_read_under_a_checkpoint_of_another_key() {
    /// Notes what is asked for.
    struct Asked(PublishedFolder, Mutex<Vec<String>>);
    impl Published for Asked {
        fn read(&self, name: &str, limit: usize) -> io::Result<Option<Vec<u8>>> {
            self.1.lock().unwrap().push(name.to_owned());
            self.0.read(name, limit)
        }

        fn name(&self) -> String {
            self.0.name()
        }
    }
    let home = written();
    let dir = published(&home);
    let forger = NoteSigner::new(ORIGIN, key(9)).unwrap();
    let head = Head { size: u64::MAX, root: leaf_hash(b"") };
    let note = Checkpoint { origin: ORIGIN.to_owned(), head }.sign(&forger).unwrap();
    std::fs::write(dir.join("checkpoint"), note).unwrap();
    let files = Arc::new(Asked(PublishedFolder(dir), Mutex::default()));
    let report = verify_plain(&pinned(Arc::<Asked>::clone(&files))).unwrap();
    assert_eq!(named(&report), [(NoTrustedSignature, None)]);
    assert_eq!(files.1.lock().unwrap().as_slice(), ["witnessed", "checkpoint", "succession"]);
}

#[test]
fn log_that_claims_more_than_it_has_is_given_up_after_some_bundles() {
    let home = written();
    let dir = published(&home);
    let head = Head { size: u64::MAX, root: leaf_hash(b"") };
    let note = Checkpoint { origin: ORIGIN.to_owned(), head }.sign(&signer()).unwrap();
    std::fs::write(dir.join("checkpoint"), note).unwrap();
    let report = judged(&dir);
    let missing = report.faults.iter().filter(|f| f.kind == TileMissing && f.detail.contains("in a row"));
    assert_eq!(missing.map(|f| f.index).collect::<Vec<_>>(), [Some(18 * 256)]);
    assert!(!report.ok);
}

#[test]
fn archive_is_a_tar_that_gives_what_the_folder_gives() {
    let home = written();
    let path = home.folder.path().join("log.tar");
    let mut bytes = Vec::new();
    assert_eq!(archive::write(&home.dir(), &mut bytes).unwrap(), 600);
    let mut again = Vec::new();
    archive::write(&home.dir(), &mut again).unwrap();
    assert_eq!(bytes, again);
    std::fs::write(&path, &bytes).unwrap();
    let options = pinned(Arc::new(Archive::open(&path).unwrap()));
    assert_eq!(verify_plain(&options).unwrap(), judged(&published(&home)));

    // The system's own program reads it, and makes one that is read as well.
    let unpacked = home.folder.path().join("unpacked");
    std::fs::create_dir(&unpacked).unwrap();
    let tar = |args: &[&str]| {
        let done = std::process::Command::new("tar").args(args).current_dir(home.folder.path()).status();
        assert!(done.unwrap().success(), "{args:?}");
    };
    tar(&["xf", "log.tar", "-C", "unpacked"]);
    assert_eq!(judged(&unpacked), judged(&published(&home)));
    tar(&["--format=ustar", "-cf", "theirs.tar", "log/checkpoint", "log/tile"]);
    let theirs = Archive::open(&home.folder.path().join("theirs.tar")).unwrap();
    assert_eq!(verify_plain(&pinned(Arc::new(theirs))).unwrap(), judged(&published(&home)));

    let refused = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        Archive::open(&path).unwrap_err().kind()
    };
    assert_eq!(refused(&bytes[..600]), io::ErrorKind::InvalidData);
    let mut bad = bytes.clone();
    bad[0] ^= 1;
    assert_eq!(refused(&bad), io::ErrorKind::InvalidData);
    std::fs::write(&path, &bytes[..bytes.len() - 1024]).unwrap();
    Archive::open(&path).unwrap();
    std::fs::remove_file(home.dir().join("checkpoint")).unwrap();
    let none = archive::write(&home.dir(), &mut Vec::new());
    assert!(matches!(none, Err(LogError::Published { .. })), "{none:?}");
}

//= spec/audit-log.md#remembered-checkpoints
//= type=test
//# It MAY leave out the signatures
//# of the entries that it covers, as these are the same bytes, and MUST say so; everything else MUST be checked as without it.
#[test]
fn signatures_under_a_remembered_checkpoint_are_left_out_and_nothing_else() {
    let mut forge = Forge::good(9);
    let first = Checkpoint { origin: ORIGIN.to_owned(), head: forge.head() }.sign(&signer()).unwrap();
    forge.push(KeyRevoked { key_id: serial(77) }.into(), ROUTER, |_| {});
    let from = |forge: &Forge, note: &str| {
        let mut options = forge.options();
        options.from = Some(Remembered::parse(note.as_bytes()).unwrap());
        verify_plain(&options).unwrap()
    };
    let report = from(&forge, &first);
    assert_eq!(named(&report), []);
    assert_eq!((report.signatures, report.signatures_skipped), (1, 11));
    assert_eq!(report.from.map(|head| head.size), Some(10));
    assert_eq!(
        report.checkpoint.as_deref(),
        std::fs::read_to_string(forge.write().join("checkpoint")).ok().as_deref()
    );

    // What is new is checked against what is old.
    forge.push(KeyRevoked { key_id: serial(78) }.into(), ROUTER, |body| body.serial = serial(3));
    forge.push(
        KeyRevoked { key_id: serial(79) }.into(),
        &[(counterfoil_spec::entry::Role::Router, 9)],
        |_| {},
    );
    let faults = named(&from(&forge, &first));
    assert_eq!(faults, named(&verify_plain(&forge.options()).unwrap()));
    assert!(faults.contains(&(DuplicateSerial, Some(11))), "{faults:?}");
}

//= spec/audit-log.md#remembered-checkpoints
//= type=test
//# It MUST check that the log's key signed it, that
//# the log's tree has its root at its size (`Fork`) and that the log did not become shorter (`Rollback`).
#[test]
fn remembered_checkpoint_that_the_log_contradicts_is_named() {
    let forge = Forge::good(9);
    let remembered = |size, root: &[u8], signer: &NoteSigner| {
        let head = Head { size, root: leaf_hash(root) };
        let origin = signer.verifier().name().to_owned();
        let note = Checkpoint { origin, head }.sign(signer).unwrap();
        let mut options = forge.options();
        options.from = Some(Remembered::parse(note.as_bytes()).unwrap());
        named(&verify_plain(&options).unwrap())
    };
    let genesis = &forge.leaves[0];
    assert_eq!(remembered(1, genesis, &signer()), []);
    assert_eq!(remembered(1, b"other", &signer()), [(Fork, None)]);
    assert_eq!(remembered(11, b"", &signer()), [(Rollback, None)]);
    let stranger = NoteSigner::new(ORIGIN, key(9)).unwrap();
    assert_eq!(remembered(1, genesis, &stranger), [(NoTrustedSignature, None)]);
    let other = NoteSigner::new("other.example/log", key(3)).unwrap();
    assert_eq!(remembered(1, genesis, &other), [(OriginNotPinned, None), (NoTrustedSignature, None)]);
}
