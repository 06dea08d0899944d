use std::path::Path;

use counterfoil_identity::key_file::{self, Keyring};
use counterfoil_spec::time::Seconds;

use super::*;

fn created(path: &Path) -> RouterHome {
    RouterHome::open_or_create(path, &Keyring::default(), Seconds(1_800_000_000)).unwrap()
}

fn opened(path: &Path) -> RouterHome {
    RouterHome::open(path, &Keyring::default()).unwrap()
}

/// Puts an agent in the place of a key.
fn give_to_agent(key: &Path) {
    let public = Keyring::default().load(key).unwrap().public();
    key_file::store_agent(key, Path::new("/run/agent"), &public).unwrap();
    std::fs::remove_file(key).unwrap();
}

/// The files of the log's keys that a home has.
fn files(path: &Path) -> Vec<String> {
    let names = std::fs::read_dir(path.join("identity")).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut own: Vec<_> = names.filter(|name| name.contains("log.")).collect();
    own.sort();
    own
}

#[test]
fn key_that_is_to_follow_is_made_once_and_stays_beside_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let home = created(folder.path());
    assert!(home.next_log_key().unwrap().is_none());
    let next = home.make_next_log_key().unwrap().public();
    assert_eq!(home.make_next_log_key().unwrap().public(), next);
    let own = home.log_key().public();
    let at_hand: Vec<_> = opened(folder.path()).log_keys().unwrap().iter().map(|k| k.public()).collect();
    assert_eq!(at_hand, [own, next]);
    // While the older one is the only one that signs nothing moves.
    home.settle_log_key(&own).unwrap();
    assert_eq!(files(folder.path()), ["log.key", "next-log.key"]);
    // A key that is not here takes nobody's place.
    home.settle_log_key(&counterfoil_identity::SecretKey::from_seed([9; 32]).public()).unwrap();
    assert_eq!(files(folder.path()), ["log.key", "next-log.key"]);
    home.settle_log_key(&next).unwrap();
    assert_eq!(
        (files(folder.path()), opened(folder.path()).log_key().public()),
        (vec!["log.key".to_owned()], next)
    );
}

#[test]
fn key_is_at_hand_after_each_step_and_the_next_start_goes_on_from_there() {
    let kinds = [(false, false), (false, true), (true, false), (true, true)];
    for (old_agent, new_agent) in kinds {
        for done in 0.. {
            let folder = tempfile::tempdir().unwrap();
            let next = created(folder.path()).make_next_log_key().unwrap().public();
            let at = |name: &str| folder.path().join("identity").join(name);
            for (agent, key) in [(old_agent, "log.key"), (new_agent, "next-log.key")] {
                if agent {
                    give_to_agent(&at(key));
                }
            }
            let home = opened(folder.path());
            let steps = home.log_key_files().steps(&next).unwrap();
            steps.iter().take(done).for_each(|step| step.carry_out().unwrap());
            let home = opened(folder.path());
            let at_hand = home.log_keys().unwrap();
            assert!(at_hand.iter().any(|key| key.public() == next), "{old_agent} {new_agent} {done}");
            home.settle_log_key(&next).unwrap();
            let kind = if new_agent { "log.agent" } else { "log.key" };
            assert_eq!(files(folder.path()), [kind], "{old_agent} {new_agent} {done}");
            assert_eq!(opened(folder.path()).log_key().public(), next);
            if done == steps.len() {
                break;
            }
        }
    }
}
