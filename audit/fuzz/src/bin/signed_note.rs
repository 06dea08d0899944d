//! A signed note as it comes, and one that the log's key and a witness's have signed over what came.
#![no_main]

use counterfoil_audit::checkpoint::Checkpoint;
use counterfoil_audit::note::{MAX_NOTE_BYTES, Note};
use counterfoil_audit_fuzz::{changed, log, witness};
use counterfoil_spec::time::Seconds;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let key = log();
    if let Ok(note) = Note::parse(input) {
        assert!(note.text.ends_with('\n') && (1..=32).contains(&note.signatures.len()));
        assert!(key.verifier().verify(&note).is_err(), "nobody signed this");
        if let Ok(checkpoint) = Checkpoint::parse(&note.text) {
            assert_eq!(checkpoint.text(), note.text);
        }
    }
    let Ok(text) = std::str::from_utf8(input) else { return };
    let text = format!("{text}\n");
    let plain = !text.chars().any(|c| c.is_ascii_control() && c != '\n');
    let (signer, time) = (witness(1), Seconds(1_800_000_000));
    let signed = key.sign(&text).expect("a key in memory signs");
    let whole = format!("{signed}{}", signer.cosign(&text, time).expect("a key in memory signs"));
    let note = Note::parse(whole.as_bytes());
    assert_eq!(note.is_ok(), plain && whole.len() <= MAX_NOTE_BYTES);
    let Ok(note) = note else { return };
    assert_eq!((note.text.as_str(), key.verifier().verify(&note)), (text.as_str(), Ok(())));
    assert_eq!(signer.public().time_of(&note), Ok(Some(time)));
    if let Ok(other) = Note::parse(&changed(whole.as_bytes())) {
        let both = key.verifier().verify(&other).is_ok() && signer.public().time_of(&other) == Ok(Some(time));
        assert!(!both, "a bit was changed");
    }
});
