use super::*;
use counterfoil_identity::SecretKey;
use counterfoil_spec::time::Seconds;

const NAME: &str = "a.example/log";
const TEXT: &str = "a.example/log\n7\nAAAA\n";

fn signer(seed: u8) -> NoteSigner {
    NoteSigner::new(NAME, Arc::new(SecretKey::from_seed([seed; 32]))).unwrap()
}

fn vkey_of(raw: &[u8], name: &str) -> String {
    let mut h = Sha256::new();
    h.update(name.as_bytes());
    h.update([b'\n', 1]);
    h.update(raw);
    let id: [u8; 32] = h.finalize().into();
    let mut key = vec![1];
    key.extend_from_slice(raw);
    format!("{name}+{}+{}", HEXLOWER.encode(&id[..4]), BASE64.encode(&key))
}

#[test]
fn key_and_note_read_back() {
    let signer = signer(1);
    let verifier: NoteVerifier = signer.vkey().parse().unwrap();
    assert_eq!(signer.vkey(), vkey_of(verifier.key().wire().as_bytes(), NAME));
    let note = Note::parse(signer.sign(TEXT).unwrap().as_bytes()).unwrap();
    assert_eq!((note.text.as_str(), note.signatures.len()), (TEXT, 1));
    assert_eq!(verifier.verify(&note), Ok(()));
}

#[test]
fn another_key_of_the_same_name_is_not_trusted() {
    let note = Note::parse(signer(1).sign(TEXT).unwrap().as_bytes()).unwrap();
    let other = signer(2);
    assert_eq!(other.verifier().verify(&note), Err(NoteError::NoTrustedSignature(other.vkey())));
}

#[test]
fn changed_text_is_a_bad_signature() {
    let mut note = Note::parse(signer(1).sign(TEXT).unwrap().as_bytes()).unwrap();
    note.text = note.text.replace('7', "8");
    let refused = signer(1).verifier().verify(&note);
    assert_eq!(refused, Err(NoteError::BadLogSignature(NAME.to_owned())));
}

#[test]
fn other_keys_signatures_are_passed_over() {
    let (ours, theirs) = (signer(1), signer(2));
    let mut note = theirs.sign(TEXT).unwrap();
    note.push_str(ours.sign(TEXT).unwrap().rsplit_once("\n\n").unwrap().1);
    assert_eq!(ours.verifier().verify(&Note::parse(note.as_bytes()).unwrap()), Ok(()));
}

#[test]
fn malformed_notes_are_refused() {
    let good = signer(1).sign(TEXT).unwrap();
    let refused = |text: String| match Note::parse(text.as_bytes()) {
        Err(NoteError::MalformedNote(what)) => what,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(good.replace("\n\n", "\n")), "no empty line before the signatures");
    assert_eq!(refused(good.trim_end().to_owned()), "it does not end with a signature line");
    assert_eq!(refused(good.replace('\u{2014}', "-")), "a bad signature line");
    assert_eq!(refused(good.replace('7', "\t")), "a control character");
    assert_eq!(refused(format!("{good}x\n")), "a bad signature line");
    assert_eq!(refused("x".repeat(MAX_NOTE_BYTES + 1)), "longer than 16 KiB");
    let line = good.rsplit_once("\n\n").unwrap().1;
    assert_eq!(refused(good.clone() + &line.repeat(32)), "more than 32 signatures");
    assert_eq!(Note::parse((good.clone() + &line.repeat(31)).as_bytes()).unwrap().signatures.len(), 32);
    assert_eq!(Note::parse(b"\xff\n\n"), Err(NoteError::MalformedNote("not UTF-8")));
}

#[test]
fn malformed_and_weak_keys_are_refused() {
    let read = |text: &str| text.parse::<NoteVerifier>().map(|_| ()).unwrap_err();
    let good = signer(1).vkey();
    assert_eq!(read("name"), NoteError::MalformedKey("it has the form <name>+<key id>+<base64>"));
    assert_eq!(
        read(&good.replace("a.example", "b.example")),
        NoteError::MalformedKey("the key id does not match")
    );
    assert_eq!(read(&good.replace("+A", "+B")), NoteError::MalformedKey("not an Ed25519 log key (type 01)"));
    let mut identity = [0; 32];
    identity[0] = 1;
    assert_eq!(read(&vkey_of(&identity, NAME)), NoteError::WeakKey);
    assert_eq!(read(&vkey_of(&identity[1..], NAME)), NoteError::MalformedKey("the key is not 32 bytes long"));
}

#[test]
fn names_have_no_space_and_no_plus_sign() {
    for name in ["", "a b", "a+b", "a\nb", &"a".repeat(201)] {
        assert!(!is_name(name), "{name:?}");
    }
    assert!(is_name(&"a".repeat(200)));
}

fn witness(seed: u8) -> WitnessSigner {
    WitnessSigner::new("w.example/1", Arc::new(SecretKey::from_seed([seed; 32]))).unwrap()
}

#[test]
fn cosignature_is_of_one_text_one_key_and_one_time() {
    let cosigned =
        |line: &str| Note::parse(format!("{}{line}", signer(1).sign(TEXT).unwrap()).as_bytes()).unwrap();
    let line = witness(5).cosign(TEXT, Seconds(1_800_000_000)).unwrap();
    let note = cosigned(&line);
    assert_eq!(witness(5).public().time_of(&note), Ok(Some(Seconds(1_800_000_000))));
    assert_eq!(signer(1).verifier().verify(&note), Ok(()));
    assert_eq!(witness(6).public().time_of(&note), Ok(None));
    assert_eq!(witness(5).public().time_of(&cosigned("")), Ok(None));
    let bad = Err(NoteError::BadCosignature("w.example/1".to_owned()));
    for at in [0, 7, 8, 71] {
        let mut note = note.clone();
        note.signatures[1].signature[at] ^= 1;
        assert_eq!(witness(5).public().time_of(&note), bad, "byte {at}");
    }
    let mut other = note.clone();
    other.text = other.text.replace('7', "8");
    assert_eq!(witness(5).public().time_of(&other), bad);
    let later = witness(5).cosign(TEXT, Seconds(1_800_000_001)).unwrap();
    assert_eq!(
        witness(5).public().time_of(&cosigned(&format!("{later}{line}"))),
        Ok(Some(Seconds(1_800_000_001)))
    );
}

#[test]
fn keys_of_witnesses_and_logs_are_not_each_others() {
    let key = witness(5).public().to_string();
    assert_eq!(key.parse::<WitnessKey>().map(|k| k.to_string()), Ok(key.clone()));
    let want = NoteError::MalformedKey("not an Ed25519 log key (type 01)");
    assert_eq!(key.parse::<NoteVerifier>().map(|k| k.to_string()), Err(want));
    let want = NoteError::MalformedKey("not an Ed25519 witness key (type 04)");
    assert_eq!(signer(1).vkey().parse::<WitnessKey>().map(|k| k.to_string()), Err(want));
}

#[test]
fn each_line_of_a_trusted_key_must_verify() {
    let good = signer(1).sign(TEXT).unwrap();
    let other = signer(1).sign("a.example/log\n8\nAAAA\n").unwrap();
    let wrong = other.split_once("\n\n").unwrap().1;
    let note = Note::parse(format!("{good}{wrong}").as_bytes()).unwrap();
    assert_eq!(signer(1).verifier().verify(&note), Err(NoteError::BadLogSignature(NAME.to_owned())));
}
