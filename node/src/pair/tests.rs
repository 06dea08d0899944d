//! A rotation that is broken off after any of its steps leaves a certificate with its key.

use std::path::PathBuf;

use counterfoil_session::sandbox::{Member, Sandbox, machine_clock};

use super::*;

struct Stage {
    home: tempfile::TempDir,
    keys: Keyring,
    pairs: [(TlsKey, Chain); 3],
}

fn pair(member: &Member) -> (TlsKey, Chain) {
    let key = counterfoil_identity::SecretKey::from_pkcs8_der(member.credentials.tls_key_pkcs8()).unwrap();
    (TlsKey::from_secret(key), member.credentials.chain().clone())
}

impl Stage {
    fn new() -> Self {
        let net = Sandbox::new(machine_clock()).unwrap();
        let (home, keys) = (tempfile::tempdir().unwrap(), Keyring::default());
        let pairs = [(); 3].map(|()| pair(&net.member().unwrap()));
        let stage = Self { home, keys, pairs };
        stage.keys.store(&stage.folder().join(KEY), stage.pairs[0].0.secret()).unwrap();
        write(&stage.folder(), CHAIN, &stage.pairs[0].1).unwrap();
        stage
    }

    fn folder(&self) -> PathBuf {
        self.home.path().join("identity")
    }

    /// Which of the three pairs holds, with its own key.
    fn held(&self) -> usize {
        let held = load(&self.folder(), &self.keys).unwrap();
        let at = self.pairs.iter().position(|(_, chain)| chain == held.chain()).unwrap();
        assert_eq!(
            held.tls_key_pkcs8(),
            Credentials::new(held.chain().clone(), &self.pairs[at].0).tls_key_pkcs8()
        );
        at
    }

    fn next(&self, at: usize) {
        let (key, chain) = &self.pairs[at];
        keep_next(&self.folder(), &self.keys, (key, chain)).unwrap();
    }
}

#[test]
fn the_newest_whole_pair_holds_after_every_step() {
    let stage = Stage::new();
    let folder = stage.folder();
    assert_eq!(stage.held(), 0);
    // The key of the next one is there, and its chain is not.
    stage.keys.store(&folder.join(NEXT_KEY), stage.pairs[1].0.secret()).unwrap();
    assert_eq!(stage.held(), 0);
    stage.next(1);
    assert_eq!(stage.held(), 1);
    // The key was moved, and the chain was not.
    fs::rename(folder.join(NEXT_KEY), folder.join(KEY)).unwrap();
    assert_eq!(stage.held(), 1);
    settle(&folder).unwrap();
    assert_eq!((stage.held(), folder.join(NEXT_CHAIN).exists()), (1, false));
    settle(&folder).unwrap();
    assert_eq!(stage.held(), 1);
}

#[test]
fn a_pair_that_was_moved_half_way_is_not_lost_to_the_one_after_it() {
    let stage = Stage::new();
    let folder = stage.folder();
    stage.next(1);
    fs::rename(folder.join(NEXT_KEY), folder.join(KEY)).unwrap();
    stage.next(2);
    assert_eq!(stage.held(), 2);
    // The last one is lost before it was used.
    fs::remove_file(folder.join(NEXT_CHAIN)).unwrap();
    assert_eq!(stage.held(), 1);
}

#[test]
fn an_enrolment_of_an_enrolled_node_has_a_key_of_its_own_which_a_repetition_finds_again() {
    let mut stage = Stage::new();
    let folder = stage.folder();
    stage.next(1);
    let key = for_enrolment(&folder, &stage.keys).unwrap();
    assert!(stage.pairs.iter().all(|(known, _)| known.public() != key.public()));
    // It is broken off: the newest certificate holds, and the key is there for the next attempt.
    assert_eq!(stage.held(), 1);
    let again = for_enrolment(&folder, &stage.keys).unwrap();
    assert_eq!(again.public(), key.public());
    // The answer comes; whoever has the folder as it was has not got this key.
    fs::remove_file(folder.join(NEXT_KEY)).unwrap();
    stage.keys.store(&folder.join(NEXT_KEY), stage.pairs[2].0.secret()).unwrap();
    keep_enrolled(&folder, &stage.pairs[2].1).unwrap();
    assert_eq!((stage.held(), has_next(&folder)), (2, false));
    // A first enrolment has the current key's place.
    stage = Stage { home: tempfile::tempdir().unwrap(), ..stage };
    let first = for_enrolment(&stage.folder(), &stage.keys).unwrap();
    assert_eq!(for_enrolment(&stage.folder(), &stage.keys).unwrap().public(), first.public());
    assert_eq!(stage.keys.load(&stage.folder().join(KEY)).unwrap().public(), first.public());
}

#[test]
fn a_chain_without_its_key_is_no_pair() {
    let stage = Stage::new();
    write(&stage.folder(), CHAIN, &stage.pairs[2].1).unwrap();
    let fault = load(&stage.folder(), &stage.keys).map(drop).map_err(|e| e.to_string());
    let path = stage.folder().join(CHAIN);
    assert_eq!(fault, Err(format!("{}: not the certificate of identity/tls.key", path.display())));
}
