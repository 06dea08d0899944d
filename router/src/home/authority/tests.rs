use std::path::Path;

use counterfoil_identity::key_file::Keyring;
use counterfoil_spec::time::Seconds;

use crate::home::{HomeError, NextCa, RouterHome};

const NOW: Seconds = Seconds(1_800_000_000);

fn created(path: &Path) -> RouterHome {
    RouterHome::open_or_create(path, &Keyring::default(), NOW).unwrap()
}

fn opened(path: &Path) -> RouterHome {
    RouterHome::open(path, &Keyring::default()).unwrap()
}

#[test]
fn next_takes_the_place_of_the_ca_and_its_key_is_gone_with_that() {
    let folder = tempfile::tempdir().unwrap();
    let home = created(folder.path());
    assert!(home.next_ca().unwrap().is_none());
    let NextCa::Certified(next) = home.make_next_ca(NOW).unwrap() else { panic!("the root is here") };
    assert_ne!(next.serial(), home.ca().serial());
    let switched = home.switch_ca().unwrap();
    assert_eq!(switched.serial(), next.serial());
    assert!(home.next_ca().unwrap().is_none());
    assert_eq!(opened(folder.path()).ca().serial(), next.serial());
    let mut left: Vec<_> = std::fs::read_dir(folder.path().join("identity"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("ca."))
        .collect();
    left.sort();
    assert_eq!(left, ["ca.der", "ca.key"]);
}

#[test]
fn break_between_the_two_files_is_mended_when_they_are_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let home = created(folder.path());
    let NextCa::Certified(next) = home.make_next_ca(NOW).unwrap() else { panic!("the root is here") };
    let at = |name: &str| folder.path().join("identity").join(name);
    // The key is in its place, and the certificate is not yet.
    std::fs::rename(at("next-ca.key"), at("ca.key")).unwrap();
    assert_eq!(opened(folder.path()).ca().serial(), next.serial());
    assert!(!at("next-ca.der").exists());
}

#[test]
fn certificate_of_another_key_is_no_break_to_be_mended() {
    let folder = tempfile::tempdir().unwrap();
    let home = created(folder.path());
    let own = home.ca().serial();
    home.make_next_ca(NOW).unwrap();
    let at = |name: &str| folder.path().join("identity").join(name);
    std::fs::remove_file(at("next-ca.key")).unwrap();
    assert_eq!(opened(folder.path()).ca().serial(), own);
    assert!(at("next-ca.der").exists());
}

#[test]
fn home_without_the_roots_key_opens_and_founds_no_other_network() {
    let folder = tempfile::tempdir().unwrap();
    let net_id = created(folder.path()).net_id();
    let root = folder.path().join("identity/root.key");
    std::fs::remove_file(&root).unwrap();
    assert!(opened(folder.path()).root().is_none());
    let again = created(folder.path());
    assert_eq!((again.net_id(), root.exists()), (net_id, false));
    assert!(matches!(again.make_next_ca(NOW), Ok(NextCa::Asked(_))));
    // Its certificate, on the other hand, is the network.
    std::fs::remove_file(folder.path().join("identity/root.der")).unwrap();
    assert!(matches!(
        RouterHome::open(folder.path(), &Keyring::default()),
        Err(HomeError::Missing(path)) if path.ends_with("root.der")
    ));
}
