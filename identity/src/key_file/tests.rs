use super::*;

/// A folder that only its owner can reach, whatever the umask.
fn home(dir: &tempfile::TempDir) -> PathBuf {
    let folder = dir.path().join("identity");
    make_folder(&folder).unwrap();
    folder
}

#[test]
fn key_is_read_back_and_only_its_owner_can_reach_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("identity/node.pem");
    let key = create(&path).unwrap();
    assert_eq!(load(&path).unwrap().public(), key.public());
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no part file is left");
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!((text.len(), text.lines().next()), (119, Some("-----BEGIN PRIVATE KEY-----")));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |p: &Path| fs::metadata(p).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    }
}

#[test]
fn existing_file_is_not_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = home(&dir).join("node.pem");
    let key = create(&path).unwrap();
    assert!(matches!(create(&path), Err(KeyFileFault::Exists(p)) if p == path.display().to_string()));
    assert_eq!(load(&path).unwrap().public(), key.public());
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no part file is left");
}

#[test]
fn load_or_create_makes_a_key_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = home(&dir).join("node.pem");
    let first = load_or_create(&path).unwrap().public();
    assert_eq!(load_or_create(&path).unwrap().public(), first);
}

#[cfg(unix)]
#[test]
fn loose_modes_are_refused() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("identity/node.pem");
    create(&path).unwrap();
    let set = |p: &Path, mode| fs::set_permissions(p, fs::Permissions::from_mode(mode)).unwrap();
    set(&path, 0o640);
    assert!(matches!(load(&path), Err(KeyFileFault::Loose { mode: 0o640, want: 0o600, .. })));
    set(&path, 0o600);
    let folder = path.parent().unwrap();
    set(folder, 0o750);
    assert!(matches!(load(&path), Err(KeyFileFault::Loose { mode: 0o750, want: 0o700, .. })));
    assert!(matches!(create(&folder.join("other.pem")), Err(KeyFileFault::Loose { mode: 0o750, .. })));
}

#[test]
fn what_a_write_left_that_was_broken_off_goes_and_keys_stay() {
    let dir = tempfile::tempdir().unwrap();
    let folder = home(&dir);
    sweep(&folder.join("none")).unwrap();
    let key = create(&folder.join("node.key")).unwrap();
    fs::write(folder.join("node.part-aaaa"), "half a key").unwrap();
    sweep(&folder).unwrap();
    let left: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(
        (left, load(&folder.join("node.key")).unwrap().public()),
        (vec!["node.key".into()], key.public())
    );
}

#[cfg(unix)]
fn write_tight(path: &Path, text: &str) {
    write_new(path, text.as_bytes()).unwrap();
}

#[cfg(unix)]
#[test]
fn files_that_are_no_key_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let folder = home(&dir);
    let missing = load(&folder.join("none.pem"));
    assert!(
        matches!(missing, Err(KeyFileFault::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound)
    );
    let empty = folder.join("empty.pem");
    write_tight(&empty, "");
    assert!(matches!(
        load(&empty),
        Err(KeyFileFault::Pem { fault: PemFault::Structure { line: 1, label: PLAIN }, .. })
    ));
    let other = folder.join("other.pem");
    write_tight(&other, &pem::encode(PLAIN, b"not a key"));
    assert!(matches!(load(&other), Err(KeyFileFault::Key { fault: KeyFault::NotPkcs8, .. })));
    let two = folder.join("two.pem");
    let one = pem::encode(PLAIN, &SecretKey::from_seed([1; 32]).to_pkcs8_der());
    write_tight(&two, &format!("{0}{0}", one.as_str()));
    assert!(matches!(load(&two), Err(KeyFileFault::Key { fault: KeyFault::NotPkcs8, .. })));
}
