use std::path::PathBuf;
use std::sync::Arc;

use counterfoil_audit::LogReader;
use counterfoil_identity::key_file::Keyring;
use counterfoil_spec::ids::Hash;

use super::*;
use crate::home::RouterHome;
use crate::vault::Vault;

/// Noon of a day.
const NOW: Millis = Millis(20_000 * 86_400_000 + 43_200_000);
const TODAY: Day = Day(20_000);

struct Scene {
    folder: tempfile::TempDir,
}

impl Scene {
    /// A vault with a salt for each of the last four days and for today, and a log.
    fn new() -> Self {
        let scene = Self { folder: tempfile::tempdir().unwrap() };
        let vault = Vault::open(&scene.vault()).unwrap();
        for ago in 0..5_u8 {
            let started = TODAY.earlier(u64::from(ago)).start();
            vault.keep(&serial(ago), &salt(ago), started).unwrap();
        }
        scene
    }

    fn vault(&self) -> PathBuf {
        self.folder.path().join("vault")
    }

    fn office(&self) -> Office {
        let home =
            RouterHome::open_or_create(self.folder.path(), &Keyring::default(), NOW.seconds()).unwrap();
        Office::open(&home, crate::CURRENCY, Arc::new(|| NOW)).unwrap()
    }

    /// The requests whose salts can be found, by how many days ago they started.
    fn there(&self) -> Vec<u8> {
        let vault = Vault::open(&self.vault()).unwrap();
        let there = |ago: &u8| vault.salt(&serial(*ago), NOW).unwrap() == Some(salt(*ago));
        (0..5).filter(there).collect()
    }

    /// Whether the bytes of a salt stand anywhere in the vault.
    fn on_disk(&self, ago: u8) -> bool {
        let files = std::fs::read_dir(days::folder(&self.vault())).unwrap().map(|f| f.unwrap().path());
        files.map(|f| std::fs::read(f).unwrap()).any(|b| b.windows(32).any(|w| w == salt(ago).as_bytes()))
    }

    fn tombstones(&self) -> Vec<Tombstone> {
        let mut out = Vec::new();
        LogReader::open(&self.folder.path().join("log"))
            .unwrap()
            .for_each(0, |_, _, body| {
                if let Payload::Tombstone(p) = &body.payload {
                    out.push(p.clone());
                }
            })
            .unwrap();
        out
    }
}

fn serial(n: u8) -> Serial {
    Serial::from_bytes([n + 1; 16])
}

fn salt(n: u8) -> Hash {
    Hash::from_bytes([n + 101; 32])
}

fn before(day: Day) -> Tombstone {
    Tombstone { requests: Vec::new(), before: Some(day.start()) }
}

//= spec/audit-log.md#erasure
//= type=test
//# A router MUST erase by itself the salts of requests that started on earlier days of UTC, with one `tombstone` for each sweep
//# that found any.
#[test]
fn whole_days_are_swept_and_one_tombstone_says_until_when() {
    let scene = Scene::new();
    let office = scene.office();
    let swept = erase(&office, &scene.vault(), Whose::OlderThanDays(2)).unwrap();
    assert_eq!((swept.salts, scene.there()), (2, vec![0, 1, 2]));
    assert_eq!(scene.tombstones(), [before(TODAY.earlier(2))]);
    assert_eq!(swept.entry, Some(office.log_size() - 1));
    let again = erase(&office, &scene.vault(), Whose::OlderThanDays(2)).unwrap();
    assert_eq!(again, Erased { salts: 0, entry: None });
    assert_eq!(erase(&office, &scene.vault(), Whose::OlderThanDays(0)).unwrap().salts, 2);
    assert_eq!(scene.there(), [0]);
    assert_eq!(scene.tombstones(), [before(TODAY.earlier(2)), before(TODAY)]);
    let left = std::fs::read_dir(days::folder(&scene.vault())).unwrap().count();
    assert_eq!(left, 1, "today's file alone");
}

#[test]
fn a_request_that_the_log_does_not_have_is_refused_and_keeps_its_salt() {
    let scene = Scene::new();
    let office = scene.office();
    let refused = erase(&office, &scene.vault(), Whose::Request(serial(1))).unwrap_err().to_string();
    assert!(refused.starts_with("the log has no request"), "{refused}");
    assert_eq!(scene.there(), [0, 1, 2, 3, 4]);
    assert!(scene.tombstones().is_empty());
}

//= spec/audit-log.md#erasure
//= type=test
//# A router that erases a salt MUST overwrite it durably before it appends the `tombstone` that says so.
#[test]
fn where_the_log_takes_nothing_more_the_salts_are_gone_and_it_is_said_later() {
    let scene = Scene::new();
    let office = scene.office();
    office.close().unwrap();
    note(&scene.vault(), &[(serial(0), TODAY)]).unwrap();
    erase(&office, &scene.vault(), Whose::OlderThanDays(3)).unwrap_err();
    assert_eq!(scene.there(), [1, 2, 3, 4], "the note that was there comes first");
    assert!(!scene.on_disk(0));
    drop(office);
    let office = scene.office();
    finish(&office, &scene.vault()).unwrap();
    assert_eq!(scene.tombstones(), [Tombstone { requests: vec![serial(0)], before: None }]);
    office.close().unwrap();
    begin_days(&scene.vault(), TODAY.earlier(3)).unwrap();
    finish(&office, &scene.vault()).unwrap_err();
    assert!(!scene.on_disk(4) && scene.on_disk(3));
    drop(office);
    finish(&scene.office(), &scene.vault()).unwrap();
    assert_eq!(scene.tombstones().last(), Some(&before(TODAY.earlier(3))));
}

//= spec/audit-log.md#erasure
//= type=test
//# A router MUST note which salts it is about to erase before it overwrites the first, and MUST finish what it noted when it
//# starts again, so that no salt is gone without a `tombstone`.
#[test]
fn what_a_crash_left_at_any_step_is_finished_once() {
    let requests = [(serial(0), TODAY), (serial(2), TODAY.earlier(2))];
    let named = Tombstone { requests: requests.iter().map(|(r, _)| *r).collect(), before: None };
    let steps: [&dyn Fn(&Path); 4] = [
        &|_| {},
        &|vault| overwrite(vault, &requests[..1]).unwrap(),
        &|vault| {
            overwrite(vault, &requests).unwrap();
            days::overwrite_all(vault, TODAY.earlier(4)).unwrap();
        },
        &|vault| std::fs::write(vault.join("erasing.new"), b"torn").unwrap(),
    ];
    for (at, step) in steps.iter().enumerate() {
        let scene = Scene::new();
        note(&scene.vault(), &requests).unwrap();
        begin_days(&scene.vault(), TODAY.earlier(3)).unwrap();
        step(&scene.vault());
        let office = scene.office();
        finish(&office, &scene.vault()).unwrap();
        assert_eq!(scene.there(), [1, 3], "step {at}");
        assert!([0, 2, 4].iter().all(|ago| !scene.on_disk(*ago)), "step {at}");
        assert_eq!(scene.tombstones(), [named.clone(), before(TODAY.earlier(3))], "step {at}");
        assert_eq!(finish(&office, &scene.vault()).unwrap(), None, "step {at}");
    }
}

#[test]
fn a_tombstone_names_no_more_requests_than_it_may() {
    let scene = Scene::new();
    let office = scene.office();
    let serials: Vec<(Serial, Day)> = (0..=MAX_TOMBSTONE_REQUESTS)
        .map(|n| (Serial::from_bytes(u128::try_from(n).unwrap().to_be_bytes()), TODAY))
        .collect();
    note(&scene.vault(), &serials).unwrap();
    finish(&office, &scene.vault()).unwrap();
    let lengths: Vec<usize> = scene.tombstones().iter().map(|t| t.requests.len()).collect();
    assert_eq!(lengths, [MAX_TOMBSTONE_REQUESTS, 1]);
}

//= spec/audit-log.md#erasure
//= type=test
//# A router whose vault was brought back from an older copy MUST erase again what its log says is erased; no further `tombstone` is
//# needed for that.
#[test]
fn what_an_older_copy_of_the_vault_brings_back_is_erased_again() {
    let scene = Scene::new();
    let office = scene.office();
    let kept: Vec<(PathBuf, Vec<u8>)> = std::fs::read_dir(days::folder(&scene.vault()))
        .unwrap()
        .map(|f| f.unwrap().path())
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .collect();
    note(&scene.vault(), &[(serial(0), TODAY)]).unwrap();
    erase(&office, &scene.vault(), Whose::OlderThanDays(3)).unwrap();
    let (size, said) = (office.log_size(), office.books().tombstones.clone());
    assert_eq!(again(&scene.vault(), &said).unwrap(), 0);
    for (path, bytes) in kept {
        std::fs::write(path, bytes).unwrap();
    }
    assert_eq!(scene.there(), [0, 1, 2, 3, 4]);
    assert_eq!(again(&scene.vault(), &said).unwrap(), 2);
    assert_eq!(scene.there(), [1, 2, 3]);
    assert!(!scene.on_disk(0) && !scene.on_disk(4));
    assert_eq!(office.log_size(), size);
    assert_eq!(finish(&office, &scene.vault()).unwrap(), None);
    // What the log says is known to the next process too.
    office.close().unwrap();
    drop(office);
    assert_eq!(scene.office().books().tombstones, said);
}
