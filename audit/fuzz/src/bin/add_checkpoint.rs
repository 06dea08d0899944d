//! What a witness is sent: no answer but those of the protocol, and no cosignature without the log's key and a proof.
#![no_main]

use std::sync::OnceLock;

use counterfoil_audit::growth::Growth;
use counterfoil_audit::witness::{Witness, begin};
use counterfoil_audit_fuzz::{hashes, log, note, witness};
use counterfoil_spec::ids::Hash;
use counterfoil_spec::time::Seconds;

const NOW: Seconds = Seconds(1_800_000_000);

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let ours = ours();
    let answer = ours.add_checkpoint(input, NOW);
    assert!([400, 403, 404].contains(&answer.status), "{answer:?}");
    // The log's own checkpoint of seven entries, with a proof that came from elsewhere.
    let path: Vec<Hash> = input.chunks_exact(32).filter_map(Hash::from_slice).take(63).collect();
    let growth = Growth { old: 3, path, note: note(&hashes(7, 0, b"first")) };
    assert_eq!(ours.add_checkpoint(growth.to_string().as_bytes(), NOW).status, 422);
});

/// A witness that remembers three entries of the log.
fn ours() -> &'static Witness {
    static OURS: OnceLock<(Witness, tempfile::TempDir)> = OnceLock::new();
    let (witness, _folder) = OURS.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        begin(folder.path()).expect("a disk");
        let witness =
            Witness::open(folder.path(), witness(9), vec![log().verifier().clone()]).expect("a new one");
        let first = Growth { old: 0, path: Vec::new(), note: note(&hashes(3, 0, b"first")) };
        assert_eq!(witness.add_checkpoint(first.to_string().as_bytes(), NOW).status, 200);
        (witness, folder)
    });
    witness
}
