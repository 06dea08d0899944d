//! What is counted is what lies on disk, whatever happens on the way; and what may make room.

use std::process::Command;

use super::*;
use crate::fetch::tests::{MIB, bytes, record};

const MODEL: ManifestId = ManifestId::from_bytes([7; 32]);
const SIZE: u64 = 2_097_252;

fn key(expert: u16) -> Key {
    Key { manifest: MODEL, layer: 3, expert }
}

fn covered(experts: (u32, u32)) -> Vec<Range> {
    vec![Range { manifest: MODEL, layers: (3, 3), experts }]
}

struct Shelf {
    _home: tempfile::TempDir,
    store: Arc<Store>,
}

impl Shelf {
    fn new(max_bytes: u64) -> Self {
        let home = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(home.path(), max_bytes).unwrap());
        Self { _home: home, store }
    }

    fn part(&self, expert: u16) -> Result<Part, StoreFault> {
        self.store.part_of(&key(expert), &record(&bytes()))
    }

    fn whole(&self, expert: u16) {
        let mut part = self.part(expert).unwrap();
        let here = usize::try_from(part.position()).unwrap();
        for chunk in bytes()[here..].chunks(MIB) {
            part.take(chunk).unwrap();
        }
        part.finish().unwrap();
    }

    /// What is counted and what is there.
    fn used(&self) -> (u64, u64) {
        (self.store.books().used, room::counted(&self.store.root).unwrap())
    }
}

#[test]
fn a_part_that_is_dropped_on_its_way_gives_back_what_it_did_not_use() {
    let shelf = Shelf::new(u64::MAX);
    let mut part = shelf.part(0).unwrap();
    assert_eq!(shelf.used(), (SIZE, 0));
    part.take(&bytes()[..MIB]).unwrap();
    drop(part);
    assert_eq!(shelf.used(), (1_048_576, 1_048_576));
    shelf.whole(0);
    assert_eq!(shelf.used(), (SIZE, SIZE));
}

#[test]
fn what_is_abandoned_or_replaced_is_counted_no_longer() {
    let shelf = Shelf::new(u64::MAX);
    let mut part = shelf.part(0).unwrap();
    part.take(&bytes()[..MIB]).unwrap();
    part.abandon();
    assert_eq!(shelf.used(), (0, 0));
    shelf.whole(1);
    File::options().write(true).open(shelf.store.shard(&key(1))).unwrap().set_len(SIZE - 9).unwrap();
    shelf.store.uncount(9);
    shelf.whole(1);
    assert_eq!(shelf.used(), (SIZE, SIZE));
}

#[test]
fn nothing_makes_room_before_the_router_had_time_to_propose() {
    let shelf = Shelf::new(2 * SIZE);
    shelf.store.settle();
    shelf.whole(0);
    shelf.whole(1);
    shelf.store.unsettle();
    shelf.store.cover(covered((1, 2)));
    let fault = shelf.part(2).unwrap_err();
    assert!(matches!(fault, StoreFault::Quota { need: SIZE, .. }), "{fault}");
    assert!(!shelf.store.make_room_on_disk(1));
    assert_eq!(shelf.used(), (2 * SIZE, 2 * SIZE));
    shelf.store.settle();
    shelf.whole(2);
    assert_eq!([0, 1, 2].map(|at| shelf.store.has(&key(at), &record(&bytes()))), [false, true, true]);
    assert_eq!(shelf.used(), (2 * SIZE, 2 * SIZE));
}

#[test]
fn a_full_disk_is_relieved_of_what_is_not_covered_and_of_no_more() {
    let shelf = Shelf::new(u64::MAX);
    shelf.store.settle();
    shelf.whole(0);
    shelf.whole(1);
    shelf.store.cover(covered((0, 0)));
    assert!(shelf.store.make_room_on_disk(1));
    assert_eq!([0, 1].map(|at| shelf.store.has(&key(at), &record(&bytes()))), [true, false]);
    assert!(!shelf.store.make_room_on_disk(1));
    assert_eq!(shelf.used(), (SIZE, SIZE));
}

#[test]
fn a_manifest_that_nothing_uses_makes_room() {
    let shelf = Shelf::new(100 + SIZE);
    shelf.store.settle();
    let other = ManifestId::from_bytes([9; 32]);
    shelf.store.keep_manifest(&other, &[0; 100]).unwrap();
    shelf.store.keep_manifest(&other, &[0; 101]).unwrap();
    assert_eq!(shelf.used(), (101, 101));
    let own = Range { manifest: other, layers: (0, 0), experts: (0, 0) };
    shelf.store.cover(vec![own]);
    assert!(matches!(shelf.part(0).unwrap_err(), StoreFault::Quota { .. }));
    shelf.store.cover(covered((0, 0)));
    shelf.whole(0);
    assert_eq!(shelf.used(), (SIZE, SIZE));
    assert!(!shelf.store.folder(&other).exists());
}

/// Run by [`a_chunk_that_was_written_in_part_is_cut_off_again`], in a process whose files are limited to 1.5 MiB.
#[test]
#[ignore = "needs a process of its own"]
fn within_a_limit_of_the_system() {
    let shelf = Shelf::new(u64::MAX);
    let mut part = shelf.part(0).unwrap();
    part.take(&bytes()[..MIB]).unwrap();
    let fault = part.take(&bytes()[MIB..2 * MIB]).unwrap_err();
    assert!(matches!(fault, TakeError::Fault(StoreFault::Io { .. })), "{fault:?}");
    assert_eq!(room::counted(&shelf.store.root).unwrap(), 1_048_576);
    drop(part);
    assert_eq!(shelf.used(), (1_048_576, 1_048_576));
    assert_eq!(shelf.part(0).unwrap().position(), 1_048_576);
}

#[cfg(target_os = "linux")]
#[test]
fn a_chunk_that_was_written_in_part_is_cut_off_again() {
    // Blocks of 512 bytes; the signal is ignored, so that the write says that it cannot.
    let script = r#"trap '' XFSZ; ulimit -f 3072; exec "$0" "$@""#;
    let limited = Command::new("sh")
        .args(["-c", script])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "store::tests::within_a_limit_of_the_system", "--ignored"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&limited.stdout);
    assert!(said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&limited.stderr));
}
