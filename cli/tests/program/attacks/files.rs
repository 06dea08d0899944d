//! Attacks on the files of a log, by who has none of its keys or all of them.

use std::path::{Path, PathBuf};

use counterfoil_audit::checkpoint::Checkpoint;
use counterfoil_audit::merkle::{Head, leaf_hash};
use counterfoil_audit::segment::{self, COMMIT_BYTES, Frame, HEADER_BYTES};

use super::forgery::Real;

/// What it is called, what is done (giving more flags for the verifier), and as what it is named.
type Attack = (&'static str, fn(&Real, &Path) -> Vec<String>, &'static str);

pub(super) const ON_FILES: &[Attack] = &[
    ("a byte of an entry", other_leaf, "LeafHashMismatch"),
    ("a byte of a segment", |_, log| flip(&segment_of(log), HEADER_BYTES + 5), "Corrupt"),
    ("an entry cut out", cut_entry, "Corrupt"),
    ("all entries cut out", cut_all, "Corrupt"),
    ("an entry in the place of which its hash stands", removed, "EntryMissing"),
    ("a hash in a tile", |_, log| flip(&hashes_of(log), 7), "TileMismatch"),
    ("no tile", |_, log| gone(&hashes_of(log)), "TileMissing"),
    ("the newest entries", cut_tail, "Rollback"),
    ("a head of another tree", other_root, "InconsistentTree"),
    ("a signature under the head", bad_signature, "BadLogSignature"),
    ("no head", |_, log| gone(&log.join("checkpoint")), "NoTrustedSignature"),
    ("a head that ends early", short_head, "MalformedNote"),
    ("a head of another log", other_origin, "OriginNotPinned"),
    ("another history of the same length", fork, "Fork"),
    ("no witness", no_witness, "QuorumNotMet"),
];

fn segment_of(log: &Path) -> PathBuf {
    log.join("seg/00000000000000000000.log")
}

/// The only tile of hashes.
fn hashes_of(log: &Path) -> PathBuf {
    std::fs::read_dir(log.join("tile/0/000.p")).unwrap().next().unwrap().unwrap().path()
}

fn flip(path: &Path, at: usize) -> Vec<String> {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 1;
    std::fs::write(path, bytes).unwrap();
    Vec::new()
}

fn gone(path: &Path) -> Vec<String> {
    std::fs::remove_file(path).unwrap();
    Vec::new()
}

/// Writes the segment again, frame by frame.
fn change(log: &Path, mut each: impl FnMut(u64, &Frame<'_>, &[u8]) -> Vec<u8>) -> Vec<String> {
    let path = segment_of(log);
    let bytes = std::fs::read(&path).unwrap();
    let (mut at, mut index, mut out) = (HEADER_BYTES, 0, bytes[..HEADER_BYTES].to_vec());
    while at < bytes.len() {
        let frame = segment::parse(&bytes[at..]);
        let end = at + frame.bytes();
        out.extend(each(index, &frame, &bytes[at..end]));
        index += u64::from(matches!(frame, Frame::Entry { .. }));
        at = end;
    }
    std::fs::write(path, out).unwrap();
    Vec::new()
}

fn other_leaf(_: &Real, log: &Path) -> Vec<String> {
    change(log, |index, frame, whole| match frame {
        Frame::Entry { leaf, .. } if index == 5 => {
            let (mut leaf, mut out) = (leaf.to_vec(), Vec::new());
            leaf[20] ^= 1;
            segment::push_entry(&mut out, &leaf);
            out
        }
        _ => whole.to_vec(),
    })
}

fn cut_entry(_: &Real, log: &Path) -> Vec<String> {
    change(log, |index, frame, whole| match frame {
        Frame::Entry { .. } if index == 5 => Vec::new(),
        _ => whole.to_vec(),
    })
}

fn cut_all(_: &Real, log: &Path) -> Vec<String> {
    change(log, |_, frame, whole| match frame {
        Frame::Entry { .. } => Vec::new(),
        _ => whole.to_vec(),
    })
}

fn removed(_: &Real, log: &Path) -> Vec<String> {
    change(log, |index, frame, whole| match frame {
        Frame::Entry { leaf, .. } if index == 5 => {
            let mut out = Vec::new();
            segment::push_removed(&mut out, &leaf_hash(leaf));
            out
        }
        _ => whole.to_vec(),
    })
}

fn cut_tail(_: &Real, log: &Path) -> Vec<String> {
    let path = segment_of(log);
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(path, &bytes[..bytes.len() - COMMIT_BYTES]).unwrap();
    Vec::new()
}

fn note_of(log: &Path) -> String {
    std::fs::read_to_string(log.join("checkpoint")).unwrap()
}

fn put_note(log: &Path, note: &str) -> Vec<String> {
    std::fs::write(log.join("checkpoint"), note).unwrap();
    Vec::new()
}

fn head_of(log: &Path) -> Checkpoint {
    let text = note_of(log);
    Checkpoint::parse(text.split_once("\n\n").map(|(text, _)| format!("{text}\n")).unwrap().as_str()).unwrap()
}

fn other_root(real: &Real, log: &Path) -> Vec<String> {
    let Checkpoint { origin, head } = head_of(log);
    let root = leaf_hash(b"another tree");
    put_note(log, &Checkpoint { origin, head: Head { root, ..head } }.sign(&real.signer()).unwrap())
}

fn bad_signature(_: &Real, log: &Path) -> Vec<String> {
    let note = note_of(log);
    let at = note.len() - 20;
    let other = if note.as_bytes()[at] == b'A' { "B" } else { "A" };
    put_note(log, &format!("{}{other}{}", &note[..at], &note[at + 1..]))
}

fn short_head(_: &Real, log: &Path) -> Vec<String> {
    let note = note_of(log);
    put_note(log, &note[..note.len() / 2])
}

fn other_origin(real: &Real, log: &Path) -> Vec<String> {
    let head = head_of(log).head;
    put_note(log, &Checkpoint { origin: "another/log".to_owned(), head }.sign(&real.signer()).unwrap())
}

/// Somebody has kept a checkpoint; then its tree is another one.
fn fork(real: &Real, log: &Path) -> Vec<String> {
    let kept = real.home.beside("kept");
    std::fs::copy(log.join("checkpoint"), &kept).unwrap();
    let mut forgery = real.forge();
    forgery.entries.last_mut().unwrap().body.time.0 += 1;
    std::fs::remove_dir_all(log).unwrap();
    std::fs::rename(forgery.write(), log).unwrap();
    vec!["--from".to_owned(), kept.display().to_string()]
}

/// The policy names a witness, whose key is that of RFC 8032's first test, and nobody asked it.
fn no_witness(real: &Real, _: &Path) -> Vec<String> {
    let witness = "w.example/w+118893fd+BNdamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea";
    let policy = real.home.beside("policy");
    let text = format!("log {}\nwitness w {witness}\nquorum w\n", real.vkey);
    std::fs::write(&policy, text).unwrap();
    vec!["--policy".to_owned(), policy.display().to_string()]
}
