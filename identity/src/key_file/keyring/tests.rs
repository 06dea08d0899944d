use super::*;
use crate::key_file::{SealFault, load};

fn passphrase(text: &str) -> Passphrase {
    Passphrase::new(text).unwrap()
}

fn path(dir: &tempfile::TempDir) -> std::path::PathBuf {
    dir.path().join("identity/node.key")
}

#[test]
fn key_under_a_passphrase_is_read_back_with_it_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = path(&dir);
    let ring = Keyring::with(passphrase("correct horse"));
    let key = ring.create(&path).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().next(), Some("-----BEGIN ENCRYPTED PRIVATE KEY-----"));
    assert_eq!(ring.load(&path).unwrap().public(), key.public());
    assert!(matches!(load(&path), Err(KeyFileFault::Locked(named)) if named == show(&path)));
    let other = Keyring::with(passphrase("correct cow")).load(&path);
    assert!(matches!(other, Err(KeyFileFault::Sealed { fault: SealFault::Passphrase, .. })));
}

#[test]
fn key_is_sealed_in_its_place_and_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = path(&dir);
    let (plain, ring) = (Keyring::default(), Keyring::with(passphrase("p")));
    let key = plain.create(&path).unwrap();
    ring.seal_again(&path, &key).unwrap();
    assert!(matches!(plain.load(&path), Err(KeyFileFault::Locked(_))));
    plain.seal_again(&path, &ring.load(&path).unwrap()).unwrap();
    assert_eq!(plain.load(&path).unwrap().public(), key.public());
    assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no part file is left");
}

#[test]
fn passphrase_has_a_length_and_no_line_end() {
    assert!(matches!(Passphrase::new("\n"), Err(PassphraseFault::Empty)));
    assert!(matches!(Passphrase::new(&"x".repeat(1025)), Err(PassphraseFault::TooLong)));
    assert_eq!(passphrase("a b\r\n").as_bytes(), b"a b");
    assert_eq!(passphrase(&"x".repeat(1024)).as_bytes().len(), 1024);
    assert_eq!(format!("{:?}", passphrase("secret")), "Passphrase");
}

#[cfg(unix)]
#[test]
fn passphrase_file_that_others_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("passphrase");
    std::fs::write(&file, "first line\nsecond\n").unwrap();
    let set = |mode| std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
    set(0o640);
    assert!(matches!(Passphrase::read(&file), Err(PassphraseFault::Loose(named)) if named == show(&file)));
    set(0o600);
    assert_eq!(Passphrase::read(&file).unwrap().as_bytes(), b"first line");
}

#[cfg(unix)]
#[test]
fn agent_stands_in_the_place_of_a_key() {
    let dir = tempfile::tempdir().unwrap();
    let (path, socket) = (path(&dir), dir.path().join("agent.sock"));
    let key = SecretKey::from_seed([1; 32]);
    let ring = Keyring::default();
    assert!(!is_there(&path));
    store_agent(&path, &socket, &key.public()).unwrap();
    assert!(is_there(&path));
    let signer = ring.signer(&path).unwrap();
    assert_eq!(signer.public(), key.public());
    // Nobody listens, and no key is made up in its place.
    assert!(matches!(signer.sign(b"words"), Err(crate::SignFault::Unreachable { .. })));
    assert_eq!(ring.signer_or_create(&path).unwrap().public(), key.public());
    assert!(!path.exists());
    assert!(matches!(store_agent(&path, &socket, &key.public()), Err(KeyFileFault::Exists(_))));
}

#[cfg(unix)]
#[test]
fn agent_file_says_what_stands_wrong_in_which_line() {
    let key = SecretKey::from_seed([1; 32]).public();
    let good = format!("socket /run/agent.sock\nkey {}\n", key.wire());
    assert_eq!(agent_file(&good), Ok(("/run/agent.sock".into(), key)));
    assert_eq!(agent_file("socket agent.sock\n"), Err((1, "socket /PATH")));
    let want = (2, "key HEX, 32 bytes of an Ed25519 key");
    assert_eq!(agent_file("socket /run/agent.sock\n"), Err(want));
    assert_eq!(agent_file(&good.replace("key ", "key 00")), Err(want));
    let weak = format!("socket /s\nkey {}\n", "00".repeat(32));
    assert_eq!(agent_file(&weak), Err(want));
    assert_eq!(agent_file(&format!("{good}more\n")), Err((3, "the end of the file")));
}
