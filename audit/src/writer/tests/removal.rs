//! A removal in which the process dies, or the disk refuses, at each of its calls: at the next start it is finished, whatever a
//! power cut left of it.

use counterfoil_spec::amount::{Cents, MicroUsd};
use counterfoil_spec::ids::Hash;
use counterfoil_spec::payload::{Prune, RefusalSeen, Statement};
use counterfoil_spec::refusal::Refusal;

use super::*;
use crate::merkle::leaf_hash;
use crate::prune::plan;
use crate::reader::{LogReader, Stored};

const EIO: i32 = 5;
const ENOSPC: i32 = 28;
/// Entries before the statement: one bundle and a part of one.
const CLOSED: u64 = 270;

/// Every fourth entry is of a kind that stays.
fn entry_of(n: u64) -> NewEntry {
    let mut serial = [0; 16];
    serial[8..].copy_from_slice(&n.to_be_bytes());
    let serial = Serial::from_bytes(serial);
    let by = counterfoil_spec::ids::RouterId::from_bytes([4; 32]);
    match n % 4 {
        0 => NewEntry::new(serial, KeyRevoked { key_id: serial }),
        _ => NewEntry::new(serial, RefusalSeen { refusal: Refusal::Quota, node: None, by }),
    }
}

fn statement() -> NewEntry {
    let none = Hash::from_bytes([0; 32]);
    let payload = Statement {
        quarter: "2026Q4".to_owned(),
        first: 0,
        end: CLOSED,
        rules_hash: none,
        revenue: MicroUsd(0),
        pool: Cents(0),
        carry_micro: 0,
        root: none,
        providers: 0,
    };
    NewEntry::new(Serial::from_bytes([1; 16]), payload)
}

/// The log in some segments, with what stood in it.
struct Scene {
    place: Place,
    leaves: Vec<Vec<u8>>,
    prune: Prune,
}

impl Scene {
    fn open(&self) -> Result<(LogWriter, Opened), LogError> {
        open(&self.place)
    }

    /// A log whose prune is durable and in no checkpoint yet.
    fn new() -> Self {
        let place = Place::new();
        place.disk.begin(None);
        let (log, _) = open(&place).unwrap();
        for group in (1..CLOSED).collect::<Vec<_>>().chunks(68) {
            log.append(group.iter().map(|n| entry_of(*n)).collect()).unwrap();
        }
        log.append(vec![statement()]).unwrap();
        log.publish().unwrap();
        let reader = LogReader::open(&place.dir()).unwrap();
        let found = plan(&reader, 0..256, |_, _| {}).unwrap();
        let prune = Prune {
            first: 0,
            end: 256,
            kept: found.kept,
            removed: found.removed,
            hash: found.hash,
            kept_days: 0,
        };
        log.append(vec![NewEntry::new(Serial::from_bytes([2; 16]), prune.clone())]).unwrap();
        place.disk.begin(Some((0, Fault::Death)));
        drop(log);
        let reader = LogReader::open(&place.dir()).unwrap();
        let leaves = (0..reader.size()).map(|index| reader.leaf(index).unwrap()).collect();
        Self { place, leaves, prune }
    }

    /// Nothing is gone that was not announced to others, and what stays is as it was.
    fn assert_finished(&self, told: &str) {
        self.place.disk.begin(None);
        let (log, _) = self.open().unwrap_or_else(|e| panic!("{e}: {told}"));
        log.close().unwrap();
        let report = self.place.verify();
        assert_eq!(report.faults, [], "{told}");
        assert_eq!((report.removed, self.prune.count()), (192, 192), "{told}");
        let strays: Vec<_> = report.strays.iter().filter(|s| !s.ends_with(".tmp")).collect();
        assert!(strays.is_empty(), "{strays:?} {told}");
        let reader = LogReader::open(&self.place.dir()).unwrap();
        let mut at = 0;
        let each = |index: u64, stored: Stored<'_>| {
            let leaf = &self.leaves[usize::try_from(index).unwrap()];
            at += 1;
            match stored {
                Stored::Leaf(found) => assert_eq!(found, leaf, "entry {index} {told}"),
                Stored::Removed(hash) => assert_eq!(hash, leaf_hash(leaf), "entry {index} {told}"),
            }
            Ok::<(), LogError>(())
        };
        reader.walk(0, reader.size(), each).unwrap();
        assert_eq!(at, self.leaves.len(), "{told}");
    }
}

fn open(place: &Place) -> Result<(LogWriter, Opened), LogError> {
    let options = LogOptions {
        segment_bytes: 16_000,
        publish_every: Duration::from_secs(3600),
        ..LogOptions::default()
    };
    let author = SecretKey::from_seed([2; 32]).into();
    LogWriter::open_on(config(place.dir(), author, options), Arc::new(|| Millis(7)), place.disk.clone())
}

//= spec/audit-log.md#removal
//= type=test
//# A router MUST remove nothing but what a `prune` of its log names, and MUST finish what one names when it starts again.
#[test]
fn removal_that_breaks_off_at_any_call_is_finished_at_the_next_start() {
    let script = |fault: Option<(u64, Fault)>, power: bool| {
        let scene = Scene::new();
        let told = format!("{fault:?}, power cut {power}");
        let before = scene.place.disk.calls();
        scene.place.disk.begin(fault);
        let opened = scene.open();
        let calls = scene.place.disk.calls() - before;
        if fault.is_none() {
            let (_, opened) = opened.as_ref().unwrap();
            assert_eq!(opened.removed, 192);
        }
        drop(opened);
        // Whatever was reached, everybody can read what was published, and nothing is gone that it does not announce.
        let half_way = verify_plain(&VerifyOptions::new(scene.place.dir())).unwrap();
        let unannounced =
            |f: &&counterfoil_spec::rule::Fault| f.kind == counterfoil_spec::rule::FaultKind::EntryMissing;
        assert_eq!(half_way.faults.iter().find(unannounced), None, "{told}");
        if power {
            scene.place.disk.cut_power();
        }
        scene.assert_finished(&told);
        calls
    };
    let calls = script(None, true);
    assert!(calls > 40, "{calls}");
    for at in 0..calls {
        script(Some((at, Fault::Death)), false);
        script(Some((at, Fault::Death)), true);
        script(Some((at, Fault::Refusal(EIO, 1))), false);
        script(Some((at, Fault::Refusal(ENOSPC, 1))), true);
    }
}

//= spec/audit-log.md#removal
//= type=test
//# A router MUST append a `prune`, and sign and publish a checkpoint that covers it, before it removes the first entry.
#[test]
fn nothing_is_removed_before_a_checkpoint_says_so() {
    let scene = Scene::new();
    let signed = |scene: &Scene| {
        let note = std::fs::read_to_string(scene.place.dir().join(crate::checkpoint::FILE)).unwrap();
        note.lines().nth(1).unwrap().parse::<u64>().unwrap()
    };
    assert_eq!(signed(&scene), CLOSED + 1);
    let mut at = 0;
    while signed(&scene) == CLOSED + 1 {
        assert_eq!(scene.place.verify().removed, 0, "call {at}");
        scene.place.disk.begin(Some((at, Fault::Death)));
        drop(scene.open());
        at += 1;
    }
    assert!(at > 3, "{at}");
    scene.assert_finished("once it was announced");
}
