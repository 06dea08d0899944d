use counterfoil_audit::NoteSigner;
use counterfoil_audit::checkpoint::Checkpoint;
use counterfoil_audit::merkle::{Head, empty_root};
use counterfoil_audit::note::WitnessSigner;
use counterfoil_identity::SecretKey;
use counterfoil_spec::time::Seconds;

use super::*;

fn signer(seed: u8) -> WitnessSigner {
    WitnessSigner::new("w.example/1", Arc::new(SecretKey::from_seed([seed; 32]))).unwrap()
}

fn policy() -> Policy {
    let line = format!("witness one {} http://127.0.0.1:9\nquorum one\n", signer(1).public());
    line.parse().unwrap()
}

fn checkpoint() -> (Checkpoint, String) {
    let head = Head { size: 0, root: empty_root() };
    let checkpoint = Checkpoint { origin: "a.example/log".to_owned(), head };
    let log = NoteSigner::new("a.example/log", Arc::new(SecretKey::from_seed([9; 32]))).unwrap();
    let note = checkpoint.sign(&log).unwrap();
    (checkpoint, note)
}

fn read_as(status: u16, body: &str) -> Read {
    let said = post::Said { status, body: body.to_owned() };
    read(&policy().witnesses()[0], &checkpoint().1, &said)
}

#[test]
fn only_the_witnesss_own_cosignature_of_this_checkpoint_is_taken() {
    let (checkpoint, _) = checkpoint();
    let line = |seed, text: &str| signer(seed).cosign(text, Seconds(1_800_000_000)).unwrap();
    let own = line(1, &checkpoint.text());
    assert_eq!(read_as(200, &own), Read::Line(own.clone()));
    let other = line(2, &checkpoint.text());
    assert_eq!(read_as(200, &format!("{other}{own}")), Read::Line(own.clone()));
    assert_eq!(read_as(200, &other), Read::Nothing("its answer is by another key".to_owned()));
    let of_another = line(1, "a.example/log\n1\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n");
    let bad = "the cosignature by w.example/1 does not verify".to_owned();
    assert_eq!(read_as(200, &of_another), Read::Nothing(bad));
    let empty_line = "malformed note: the answer has an empty line".to_owned();
    assert_eq!(read_as(200, &format!("x\n\n{own}")), Read::Nothing(empty_line));
    assert_eq!(
        read_as(200, ""),
        Read::Nothing("malformed note: it does not end with a signature line".to_owned())
    );
}

#[test]
fn sizes_are_numbers_in_one_form_and_other_answers_are_told() {
    assert_eq!(read_as(409, "7\n"), Read::Size(7));
    for body in ["7", "07\n", "+7\n", "", "seven\n"] {
        assert_eq!(read_as(409, body), Read::Nothing(format!("409 without a size: {}", body.trim_end())));
    }
    assert_eq!(read_as(409, "a\u{1b}\n"), Read::Nothing("409 without a size: a\\u{1b}".to_owned()));
    assert_eq!(read_as(403, "no\nsignature\n"), Read::Nothing("403: no\\u{a}signature".to_owned()));
}

#[test]
fn a_witness_that_fails_is_left_out_for_longer_and_longer_and_one_that_is_ahead_for_good() {
    let mut known = Known::default();
    let pauses: Vec<u32> = (0..8)
        .map(|_| {
            known.take("w", 3, Asked::Failed("no".to_owned()));
            known.pause
        })
        .collect();
    assert_eq!(pauses, [0, 1, 3, 7, 15, 31, 31, 31]);
    known.take("w", 5, Asked::Cosigned("line".to_owned()));
    assert_eq!((known.old, known.failures, known.line.as_deref()), (5, 0, Some("line")));
    known.take("w", 5, Asked::Ahead(9));
    assert!(known.ahead);
}

//= spec/audit-log.md#witnesses
//= type=test
//# A router MUST put a checkpoint into `log/witnessed` only where the cosignatures under it meet the policy, and MUST NOT
//# replace one there by a smaller one.
#[test]
fn a_checkpoint_without_the_quorum_is_not_kept() {
    let folder = tempfile::tempdir().unwrap();
    let (checkpoint, note) = checkpoint();
    let mut round = Round { policy: Arc::new(policy()), note: note.clone(), known: BTreeMap::new() };
    let kept = || std::fs::read_to_string(folder.path().join(witnessed::FILE)).ok();
    round.keep(folder.path(), &note, 0).unwrap();
    assert_eq!(kept(), None);
    let line = signer(1).cosign(&checkpoint.text(), Seconds(1_800_000_000)).unwrap();
    round.known.entry("one".to_owned()).or_default().line = Some(line.clone());
    round.keep(folder.path(), &note, 0).unwrap();
    assert_eq!(kept(), Some(format!("{note}{line}")));
    let larger = format!("{note}{line}").replace("\n0\n", "\n5\n");
    std::fs::write(folder.path().join(witnessed::FILE), &larger).unwrap();
    round.keep(folder.path(), &note, 0).unwrap();
    assert_eq!(kept(), Some(larger));
}
