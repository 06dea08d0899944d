use super::*;

const STARTED: Millis = Millis(1_790_000_000_000);

fn serial(n: u8) -> Serial {
    Serial::from_bytes([n; 16])
}

fn salt(n: u8) -> Hash {
    Hash::from_bytes([n; 32])
}

#[test]
fn a_kept_salt_is_found_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let vault = Vault::open(folder.path()).unwrap();
    vault.keep(&serial(1), &salt(9), STARTED).unwrap();
    vault.keep(&serial(2), &salt(8), STARTED).unwrap();
    drop(vault);
    let vault = Vault::open(folder.path()).unwrap();
    assert_eq!(vault.salt(&serial(2), STARTED).unwrap(), Some(salt(8)));
    assert_eq!(vault.salt(&serial(3), STARTED).unwrap(), None);
}

#[test]
fn salts_lie_in_the_file_of_the_day_on_which_their_request_started() {
    let folder = tempfile::tempdir().unwrap();
    let vault = Vault::open(folder.path()).unwrap();
    let midnight = Day::of(STARTED).next().start();
    let before = Millis(midnight.0 - 1);
    for (n, started) in [(1, before), (2, midnight), (3, before)] {
        vault.keep(&serial(n), &salt(n), started).unwrap();
    }
    let len = |day: Day| std::fs::metadata(days::path(folder.path(), day)).unwrap().len();
    assert_eq!((len(Day::of(before)), len(Day::of(midnight))), (96, 48));
    assert_eq!(vault.salt(&serial(3), before).unwrap(), Some(salt(3)));
    // Whoever is wrong about the day finds it all the same.
    assert_eq!(vault.salt(&serial(3), Millis(0)).unwrap(), Some(salt(3)));
}

#[test]
fn what_runs_is_found_by_the_next_process_and_what_ended_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let running = |n: u8| Running {
        request: serial(n),
        salt: salt(n),
        account: AccountId::from_bytes([7; 32]),
        key_id: None,
        manifest: ManifestId::from_bytes([8; 32]),
        started: Millis(u64::from(n)),
    };
    let vault = Vault::open(folder.path()).unwrap();
    for n in [2, 1, 3] {
        vault.begin(&running(n)).unwrap();
    }
    vault.end(&running(3).request);
    std::fs::write(folder.path().join("running/cut"), b"{").unwrap();
    let kept = std::fs::read_to_string(folder.path().join(format!("running/{}", serial(2)))).unwrap();
    assert!(!kept.contains(&salt(2).to_string()), "{kept}");
    drop(vault);
    let vault = Vault::open(folder.path()).unwrap();
    assert_eq!(vault.left_running().unwrap(), [running(1), running(2)]);
    assert_eq!(vault.salt(&running(2).request, Millis(2)).unwrap(), Some(salt(2)));
}

#[test]
fn a_request_whose_salt_was_lost_with_the_process_gets_one() {
    let folder = tempfile::tempdir().unwrap();
    let vault = Vault::open(folder.path()).unwrap();
    let running = Running {
        request: serial(1),
        salt: salt(1),
        account: AccountId::from_bytes([7; 32]),
        key_id: None,
        manifest: ManifestId::from_bytes([8; 32]),
        started: STARTED,
    };
    vault.begin(&running).unwrap();
    std::fs::remove_file(days::path(folder.path(), Day::of(STARTED))).unwrap();
    drop(vault);
    let vault = Vault::open(folder.path()).unwrap();
    let [left] = vault.left_running().unwrap().try_into().unwrap();
    assert_eq!(vault.salt(&serial(1), STARTED).unwrap(), Some(left.salt));
    assert_ne!(left.salt, days::ERASED);
}

#[test]
fn a_torn_record_is_cut_and_the_next_one_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let vault = Vault::open(folder.path()).unwrap();
    vault.keep(&serial(1), &salt(9), STARTED).unwrap();
    drop(vault);
    let path = days::path(folder.path(), Day::of(STARTED));
    let mut bytes = std::fs::read(&path).unwrap();
    bytes.extend_from_slice(&[7; 20]);
    std::fs::write(&path, bytes).unwrap();
    let vault = Vault::open(folder.path()).unwrap();
    vault.keep(&serial(2), &salt(8), STARTED).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 96);
    assert_eq!(vault.salt(&serial(2), STARTED).unwrap(), Some(salt(8)));
}

#[test]
fn the_one_file_of_an_earlier_version_is_taken_for_the_day_it_was_written_on() {
    let folder = tempfile::tempdir().unwrap();
    let old = folder.path().join("salts.bin");
    std::fs::write(&old, [&serial(1).as_bytes()[..], salt(9).as_bytes()].concat()).unwrap();
    let written = File::options().write(true).open(&old).unwrap();
    written.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_millis(STARTED.0)).unwrap();
    let vault = Vault::open(folder.path()).unwrap();
    assert!(!old.exists() && days::path(folder.path(), Day::of(STARTED)).exists());
    assert_eq!(vault.salt(&serial(1), Millis(5)).unwrap(), Some(salt(9)));
    std::fs::write(&old, b"").unwrap();
    File::options()
        .write(true)
        .open(&old)
        .unwrap()
        .set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_millis(STARTED.0))
        .unwrap();
    let refused = Vault::open(folder.path()).unwrap_err().to_string();
    assert!(refused.contains("is there too"), "{refused}");
}
