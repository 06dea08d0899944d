//! Proofs made from published tiles.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed"
)]

mod support;

use counterfoil_audit::merkle::{Head, ProofError, verify_consistency};
use counterfoil_audit::note::NoteError;
use counterfoil_audit::proof::{Proof, ProofRefused, prove, prove_consistency};
use counterfoil_audit::{LogError, LogReader, NoteSigner};
use support::{Home, ORIGIN, entries, key, signer};

fn log_of(entry_count: u64) -> Home {
    let mut home = Home::new();
    home.options.segment_bytes = 1 << 20;
    let (log, _) = home.open().unwrap();
    log.append(entries(0..entry_count - 1)).unwrap();
    log.close().unwrap();
    home
}

#[test]
fn every_kind_of_place_is_proved_and_its_neighbour_is_not() {
    let home = log_of(700);
    let reader = LogReader::open(&home.dir()).unwrap();
    for index in [0, 1, 255, 256, 511, 512, 698, 699] {
        let proof = prove(&home.dir(), index).unwrap();
        let read = Proof::parse(proof.to_string().as_bytes()).unwrap();
        assert_eq!(read, proof);
        let leaf = reader.leaf(index).unwrap();
        assert_eq!(read.verify(&leaf, signer().verifier()).unwrap().head, reader.head());
        let other = reader.leaf((index + 1) % 700).unwrap();
        assert_eq!(read.verify(&other, signer().verifier()), Err(ProofRefused::LeafHashMismatch));
    }
    assert!(matches!(prove(&home.dir(), 700), Err(LogError::OutOfRange { index: 700, size: 700 })));
}

#[test]
fn proof_is_held_to_key_and_form() {
    let home = log_of(5);
    let leaf = LogReader::open(&home.dir()).unwrap().leaf(3).unwrap();
    let proof = prove(&home.dir(), 3).unwrap();
    let other = NoteSigner::new(ORIGIN, key(8)).unwrap();
    let refused = proof.verify(&leaf, other.verifier());
    assert_eq!(refused, Err(ProofRefused::Note(NoteError::NoTrustedSignature(other.vkey()))));
    let short = Proof { path: proof.path[1..].to_vec(), ..proof.clone() };
    let want = ProofRefused::ProofShape("the wrong number of hashes for this tree");
    assert_eq!(short.verify(&leaf, signer().verifier()), Err(want));
    let text = proof.to_string();
    let refused = |text: String| match Proof::parse(text.as_bytes()) {
        Err(ProofRefused::ProofShape(what)) => what,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(text.replace("index 3", "index 03")), "not in its one form");
    assert_eq!(refused(text.replace("@v1", "@v2")), "another first line");
    assert_eq!(refused(text.replace("index", "place")), "no index");
    assert_eq!(refused(text.replacen("=\n", "\n", 1)), "a hash that is not 32 bytes");
    assert_eq!(refused("x".repeat(100_000)), "too long");
}

#[test]
fn growth_is_proved_from_tiles() {
    let home = Home::new();
    let (log, _) = home.open().unwrap();
    let mut heads = vec![log.head()];
    for part in 0..7 {
        log.append(entries(part * 100..part * 100 + 100)).unwrap();
        log.publish().unwrap();
        heads.push(log.head());
    }
    let last = heads[heads.len() - 1];
    for old in &heads {
        let path = prove_consistency(&home.dir(), old.size, last.size).unwrap();
        assert_eq!(verify_consistency(old, &last, &path), Ok(()));
        let forged = Head { root: last.root, ..*old };
        if *old != last {
            assert_eq!(verify_consistency(&forged, &last, &path), Err(ProofError::RootMismatch));
        }
    }
}
