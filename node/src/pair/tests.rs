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
        keep_chain(&stage.folder(), &stage.pairs[0].1).unwrap();
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
fn what_was_to_follow_is_forgotten_with_an_enrolment() {
    let stage = Stage::new();
    stage.next(1);
    forget_next(&stage.folder()).unwrap();
    assert_eq!(stage.held(), 0);
    forget_next(&stage.folder()).unwrap();
    assert_eq!(stage.held(), 0);
}

#[test]
fn a_chain_without_its_key_is_no_pair() {
    let stage = Stage::new();
    keep_chain(&stage.folder(), &stage.pairs[2].1).unwrap();
    let fault = load(&stage.folder(), &stage.keys).map(drop).map_err(|e| e.to_string());
    let path = stage.folder().join(CHAIN);
    assert_eq!(fault, Err(format!("{}: not the certificate of identity/tls.key", path.display())));
}
