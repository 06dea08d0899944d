use std::path::Path;

use counterfoil_identity::key_file::{self, Keyring};
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
    assert_eq!(files(folder.path()), ["ca.der", "ca.key"]);
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

/// Puts an agent in the place of a key.
fn give_to_agent(key: &Path) {
    let public = Keyring::default().load(key).unwrap().public();
    key_file::store_agent(key, Path::new("/run/agent"), &public).unwrap();
    std::fs::remove_file(key).unwrap();
}

/// The files of CAs that a home has.
fn files(path: &Path) -> Vec<String> {
    let names = std::fs::read_dir(path.join("identity")).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut own: Vec<_> = names.filter(|name| name.contains("ca.")).collect();
    own.sort();
    own
}

#[test]
fn switch_that_breaks_after_any_step_is_finished_when_the_home_is_read_again() {
    let kinds = [(false, false), (false, true), (true, false), (true, true)];
    for (old_agent, new_agent) in kinds {
        for done in 0.. {
            let folder = tempfile::tempdir().unwrap();
            let old = created(folder.path()).ca().serial();
            let NextCa::Certified(next) = opened(folder.path()).make_next_ca(NOW).unwrap() else { panic!() };
            let at = |name: &str| folder.path().join("identity").join(name);
            for (agent, key) in [(old_agent, "ca.key"), (new_agent, "next-ca.key")] {
                if agent {
                    give_to_agent(&at(key));
                }
            }
            let home = opened(folder.path());
            let authority = home.authority();
            let steps = authority.steps(&authority.certified_next().unwrap().unwrap()).unwrap();
            steps.iter().take(done).for_each(|step| step.carry_out().unwrap());
            let kind = if new_agent { "ca.agent" } else { "ca.key" };
            for _ in 0..2 {
                let home = opened(folder.path());
                let (in_use, after) = (home.ca().serial(), home.next_ca().unwrap().is_some());
                let want = if done == 0 { (old, true) } else { (next.serial(), false) };
                assert_eq!((in_use, after), want, "{old_agent} {new_agent} {done}");
                if done > 0 {
                    let mut left = vec!["ca.der".to_owned(), kind.to_owned()];
                    left.sort();
                    assert_eq!(files(folder.path()), left, "{old_agent} {new_agent} {done}");
                }
            }
            if done == steps.len() {
                break;
            }
        }
    }
}

#[test]
fn key_that_an_agent_holds_too_is_followed_by_its_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let home = created(folder.path());
    let NextCa::Certified(next) = home.make_next_ca(NOW).unwrap() else { panic!("the root is here") };
    let key = folder.path().join("identity/next-ca.key");
    let public = Keyring::default().load(&key).unwrap().public();
    key_file::store_agent(&key, Path::new("/run/agent"), &public).unwrap();
    assert_eq!(home.switch_ca().unwrap().serial(), next.serial());
    assert_eq!(opened(folder.path()).ca().serial(), next.serial());
    assert_eq!(files(folder.path()), ["ca.agent", "ca.der", "ca.key"]);
}

#[test]
fn next_ca_that_is_forgotten_half_way_gets_another_key() {
    let folder = tempfile::tempdir().unwrap();
    let home = created(folder.path());
    let NextCa::Certified(void) = home.make_next_ca(NOW).unwrap() else { panic!("the root is here") };
    // The key goes first.
    std::fs::remove_file(folder.path().join("identity/next-ca.key")).unwrap();
    assert!(home.next_ca().unwrap().is_none());
    // The one that follows breaks off before it has its certificate.
    key_file::create(&folder.path().join("identity/next-ca.key")).unwrap();
    assert!(matches!(home.next_ca(), Ok(Some(NextCa::Asked(_)))));
    let NextCa::Certified(next) = home.make_next_ca(NOW).unwrap() else { panic!("the root is here") };
    assert_ne!(next.issued().key, void.issued().key);
    assert!(matches!(home.next_ca(), Ok(Some(NextCa::Certified(ca))) if ca.serial() == next.serial()));
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
