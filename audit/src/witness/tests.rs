use std::sync::Arc;

use counterfoil_identity::SecretKey;
use counterfoil_spec::ids::Hash;

use super::*;
use crate::merkle::{consistency_path, leaf_hash, root_of};
use crate::note::NoteSigner;

const ORIGIN: &str = "a.example/log";
const NOW: Seconds = Seconds(1_800_000_000);

fn log(seed: u8) -> NoteSigner {
    NoteSigner::new(ORIGIN, Arc::new(SecretKey::from_seed([seed; 32]))).unwrap()
}

fn signer() -> WitnessSigner {
    WitnessSigner::new("w.example/1", Arc::new(SecretKey::from_seed([7; 32]))).unwrap()
}

fn open(folder: &Path) -> Result<Witness, WitnessError> {
    Witness::open(folder, signer(), vec![log(1).verifier().clone()])
}

fn fresh(folder: &Path) -> Witness {
    begin(folder).unwrap();
    open(folder).unwrap()
}

/// The leaf hashes of a log; those of another one part from it at leaf 5.
fn leaves(n: u64, other: bool) -> Vec<Hash> {
    (0..n)
        .map(|i| {
            leaf_hash(if other && i >= 5 { b"other".to_vec() } else { i.to_be_bytes().to_vec() }.as_slice())
        })
        .collect()
}

fn note(n: u64, other: bool) -> String {
    let head = Head { size: n, root: root_of(&leaves(n, other)) };
    Checkpoint { origin: ORIGIN.to_owned(), head }.sign(&log(1)).unwrap()
}

fn path(old: u64, n: u64, other: bool) -> Vec<Hash> {
    let all = leaves(n, other);
    let mut node = |level: u32, index: u64| {
        let width = 1_u64 << level;
        let range = usize::try_from(index * width).unwrap()..usize::try_from((index + 1) * width).unwrap();
        Ok::<_, ()>(root_of(&all[range]))
    };
    consistency_path(old, n, &mut node).unwrap().unwrap()
}

fn body(old: u64, n: u64) -> String {
    Growth { old, path: path(old, n, false), note: note(n, false) }.to_string()
}

fn ask(witness: &Witness, body: &str) -> (u16, String) {
    let answer = witness.add_checkpoint(body.as_bytes(), NOW);
    (answer.status, answer.body)
}

fn checkpoint_of(witness: &Witness) -> (u16, String) {
    let answer = witness.checkpoint(&origin_hash(ORIGIN));
    (answer.status, answer.body)
}

#[test]
fn a_log_that_grows_is_cosigned_and_what_was_said_outlives_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let witness = fresh(folder.path());
    assert_eq!(checkpoint_of(&witness).0, 404);
    for (old, new) in [(0, 3), (3, 3), (3, 8), (8, 700)] {
        let (status, line) = ask(&witness, &body(old, new));
        assert_eq!(status, 200, "{line}");
        let cosigned = Note::parse(format!("{}{line}", note(new, false)).as_bytes()).unwrap();
        assert_eq!(signer().public().time_of(&cosigned), Ok(Some(NOW)));
        assert_eq!(checkpoint_of(&witness), (200, format!("{}{line}", note(new, false))));
    }
    let Err(WitnessError::Locked(_)) = open(folder.path()) else { panic!("two at a time") };
    let last = checkpoint_of(&witness);
    drop(witness);
    let witness = open(folder.path()).unwrap();
    assert_eq!(checkpoint_of(&witness), last);
    assert_eq!(ask(&witness, &body(0, 700)), (409, "700\n".to_owned()));
    assert_eq!(ask(&witness, &body(700, 701)).0, 200);
}

//= spec/audit-log.md#witnesses
//= type=test
//# A witness MUST answer with the status codes of C2SP tlog-witness.
//= spec/audit-log.md#witnesses
//= type=test
//# A checkpoint of the size that was cosigned last with another root MUST be answered with 409, and a witness MUST keep both of them.
#[test]
fn each_refusal_has_its_status_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let witness = fresh(folder.path());
    assert_eq!(ask(&witness, &body(0, 8)).0, 200);
    let before = checkpoint_of(&witness);
    let good = body(8, 12);
    let of_other_log = good.replace(ORIGIN, "b.example/log");
    let head = Head { size: 12, root: root_of(&leaves(12, false)) };
    let unsigned = Checkpoint { origin: ORIGIN.to_owned(), head }.sign(&log(2)).unwrap();
    let unsigned = Growth { old: 8, path: path(8, 12, false), note: unsigned }.to_string();
    let forged = good.replace("\n12\n", "\n13\n");
    let gap =
        log(1).sign(&format!("{}\nmore\n", Checkpoint { origin: ORIGIN.to_owned(), head }.text())).unwrap();
    let gap = Growth { old: 8, path: path(8, 12, false), note: gap }.to_string();
    let wrong_proof = Growth { old: 8, path: path(7, 12, false), note: note(12, false) }.to_string();
    let other_tree = Growth { old: 8, path: path(8, 12, true), note: note(12, true) }.to_string();
    let fork = Growth { old: 8, path: Vec::new(), note: note(8, true) }.to_string();
    for (what, request, status) in [
        ("no empty line", good.replace("\n\n", "\n"), 400),
        ("a size with a zero before it", good.replace("old 8", "old 08"), 400),
        ("a hash that is none", good.replacen("=\n", "\n", 1), 400),
        ("an empty line before an extension", gap, 400),
        ("not a checkpoint", good.replace("\n12\n", "\ntwelve\n"), 400),
        ("an older tree than the old size", body(8, 8).replace("old 8", "old 9"), 400),
        ("another log", of_other_log, 404),
        ("another key", unsigned, 403),
        ("a signature that does not verify", forged, 403),
        ("an old size that is behind", body(3, 12), 409),
        ("an old size that is zero", body(0, 12), 409),
        ("another proof", wrong_proof, 422),
        ("another tree", other_tree, 422),
        ("another root for the same size", fork.clone(), 409),
    ] {
        let (got, said) = ask(&witness, &request);
        assert_eq!(got, status, "{what}: {said}");
        assert_eq!(checkpoint_of(&witness), before, "{what}");
    }
    assert_eq!(witness.add_checkpoint(body(3, 12).as_bytes(), NOW).content_type, "text/x.tlog.size");
    let evidence = folder.path().join(origin_hash(ORIGIN)).join("fork");
    assert_eq!(std::fs::read_to_string(evidence.join("8.kept")).unwrap(), before.1);
    assert_eq!(std::fs::read_to_string(evidence.join("8.other")).unwrap(), note(8, true));
    assert_eq!(ask(&witness, &good).0, 200);
}

#[test]
fn a_first_checkpoint_needs_no_proof_and_may_not_have_one() {
    let folder = tempfile::tempdir().unwrap();
    let witness = fresh(folder.path());
    let proved = Growth { old: 0, path: path(3, 8, false), note: note(8, false) }.to_string();
    assert_eq!(ask(&witness, &proved).0, 422);
    let empty = Head { size: 0, root: Hash::from_bytes([1; 32]) };
    let wrong = Checkpoint { origin: ORIGIN.to_owned(), head: empty }.sign(&log(1)).unwrap();
    assert_eq!(ask(&witness, &Growth { old: 0, path: Vec::new(), note: wrong }.to_string()).0, 422);
    assert_eq!(ask(&witness, &body(0, 0)).0, 200);
    assert_eq!(ask(&witness, &body(0, 8)).0, 200);
}

#[test]
fn extension_lines_are_cosigned_with_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let witness = fresh(folder.path());
    let head = Head { size: 2, root: root_of(&leaves(2, false)) };
    let text = format!("{}more\n", Checkpoint { origin: ORIGIN.to_owned(), head }.text());
    let growth = Growth { old: 0, path: Vec::new(), note: log(1).sign(&text).unwrap() };
    let (status, line) = ask(&witness, &growth.to_string());
    assert_eq!(status, 200, "{line}");
    let cosigned = |text: &str| Note::parse(format!("{text}\n{line}").as_bytes()).unwrap();
    assert_eq!(signer().public().time_of(&cosigned(&text)), Ok(Some(NOW)));
    let without = text.replace("more\n", "");
    let bad = NoteError::BadCosignature("w.example/1".to_owned());
    assert_eq!(signer().public().time_of(&cosigned(&without)), Err(bad));
}

#[test]
fn a_key_whose_memory_is_gone_or_damaged_cosigns_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("witness");
    let Err(WitnessError::StateLost(_)) = open(&state) else { panic!("its memory is gone") };
    let witness = fresh(&state);
    assert_eq!(ask(&witness, &body(0, 8)).0, 200);
    drop(witness);
    let file = state.join(origin_hash(ORIGIN)).join("checkpoint");
    let kept = std::fs::read_to_string(&file).unwrap();
    for (text, why) in [
        (note(8, false), "without this witness's cosignature"),
        (kept.replace("\n8\n", "\n7\n"), "the cosignature by w.example/1 does not verify"),
        (kept.replace(ORIGIN, "b.example/log"), "another log's, or none"),
        ("x".to_owned(), "malformed note: no empty line before the signatures"),
    ] {
        std::fs::write(&file, text).unwrap();
        match open(&state) {
            Err(WitnessError::Damaged { reason, .. }) => assert_eq!(reason, why),
            other => panic!("{other:?}"),
        }
    }
    std::fs::write(&file, kept).unwrap();
    assert_eq!(checkpoint_of(&open(&state).unwrap()).0, 200);
}
