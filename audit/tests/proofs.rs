//! Proofs made from published tiles.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed"
)]

mod support;

use counterfoil_audit::growth::Growth;
use counterfoil_audit::merkle::{Head, ProofError, verify_consistency};
use counterfoil_audit::note::{NoteError, WitnessSigner};
use counterfoil_audit::policy::Policy;
use counterfoil_audit::proof::{Proof, ProofRefused, prove, prove_consistency, published};
use counterfoil_audit::proofs::{Given, Judged, Pins, Signatures, judge};
use counterfoil_audit::{LogError, LogReader, NoteSigner};
use counterfoil_audit::{checkpoint, witnessed};
use counterfoil_spec::rule::FaultKind;
use counterfoil_spec::time::Seconds;
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
    assert_eq!(refused("x".repeat(110_000)), "too long");
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

/// Proofs of these entries, each with its leaf, as files named by their indexes.
fn files(home: &Home, indexes: &[u64]) -> Vec<(String, String)> {
    let reader = LogReader::open(&home.dir()).unwrap();
    let proof = |index: &u64| {
        let leaf = Some(reader.leaf(*index).unwrap());
        (index.to_string(), Proof { leaf, ..prove(&home.dir(), *index).unwrap() }.to_string())
    };
    indexes.iter().map(proof).collect()
}

fn judged(files: &[(String, String)], pins: &Pins<'_>) -> Judged {
    let given: Vec<Given<'_>> =
        files.iter().map(|(file, text)| Given { file, bytes: text.as_bytes(), leaf: None }).collect();
    judge(&given, pins)
}

fn faults(judged: &Judged) -> Vec<(FaultKind, Option<u64>, &str)> {
    judged.faults.iter().map(|f| (f.kind, f.index, f.file.as_deref().unwrap())).collect()
}

//= spec/audit-log.md#proofs
//= type=test
//# With its leaf as the extra line a proof needs nothing beside it. A verifier MUST hash that leaf and believe nothing
//# else of it.
#[test]
fn a_proof_with_its_leaf_stands_alone_and_a_changed_leaf_is_named() {
    let home = log_of(300);
    let own = signer();
    let pins = Pins { key: own.verifier(), net_id: None, policy: None };
    let whole = files(&home, &[7]);
    let found = judged(&whole, &pins);
    assert_eq!((found.ok, found.proofs[0].index, found.proofs[0].size), (true, 7, 300));
    assert_eq!(found.proofs[0].signatures, Signatures::Unchecked);
    assert_eq!(found.proofs[0].body, LogReader::open(&home.dir()).unwrap().entry(7).unwrap().1);

    let other = files(&home, &[8]);
    let extra = |text: &str| text.lines().nth(1).unwrap().to_owned();
    let swapped = [("7".to_owned(), whole[0].1.replace(&extra(&whole[0].1), &extra(&other[0].1)))];
    assert_eq!(faults(&judged(&swapped, &pins)), [(FaultKind::LeafHashMismatch, None, "7")]);
    let without = [("7".to_owned(), whole[0].1.replace(&format!("{}\n", extra(&whole[0].1)), ""))];
    assert_eq!(faults(&judged(&without, &pins)), [(FaultKind::ProofShape, None, "7")]);
    let stranger = NoteSigner::new(ORIGIN, key(9)).unwrap();
    let pins = Pins { key: stranger.verifier(), net_id: None, policy: None };
    assert_eq!(faults(&judged(&whole, &pins)), [(FaultKind::NoTrustedSignature, None, "7")]);
}

#[test]
fn proved_genesis_lets_the_signatures_of_the_others_be_checked() {
    let home = log_of(20);
    let own = signer();
    let net_id = home.config().net_id;
    let both = files(&home, &[11, 0]);
    let pins = Pins { key: own.verifier(), net_id: Some(net_id), policy: None };
    let found = judged(&both, &pins);
    let said: Vec<_> = found.proofs.iter().map(|p| (p.index, p.signatures)).collect();
    assert_eq!((found.ok, said), (true, vec![(11, Signatures::Verified), (0, Signatures::Verified)]));
    // By the network that genesis names, where none is pinned.
    assert!(judged(&both, &Pins { net_id: None, ..pins }).ok);
    let other = key(8).public().net_id();
    let found = judged(&both, &Pins { net_id: Some(other), ..pins });
    let want = [
        (FaultKind::WrongParty, Some(0), "0"),
        (FaultKind::BadEntrySignature, Some(0), "0"),
        (FaultKind::BadEntrySignature, Some(11), "11"),
    ];
    assert_eq!(faults(&found), want);
}

#[test]
fn growth_travels_and_another_past_is_named() {
    let home = Home::new();
    let (log, _) = home.open().unwrap();
    log.append(entries(0..9)).unwrap();
    log.publish().unwrap();
    let (old, earlier) = published(&home.dir(), checkpoint::FILE).unwrap().unwrap();
    log.append(entries(9..300)).unwrap();
    log.close().unwrap();
    let growth = Growth::prove(&home.dir(), earlier.head.size).unwrap();
    let read = Growth::parse(growth.to_string().as_bytes()).unwrap();
    assert_eq!(read, growth);
    let own = signer();
    assert_eq!(read.verify(&earlier.head, own.verifier()).unwrap().head.size, 301);
    assert!(old.contains("\n10\n"));
    let forged = Head { root: read.path[0], ..earlier.head };
    let refused = Err(ProofRefused::InconsistentTree { old: 10, size: 301 });
    assert_eq!(read.verify(&forged, own.verifier()), refused);
    let shorter = Head { size: 9, ..earlier.head };
    let refused = ProofRefused::ProofShape("it begins at another size than the one that was trusted");
    assert_eq!(read.verify(&shorter, own.verifier()), Err(refused));
    let short = Growth { path: read.path[1..].to_vec(), ..read.clone() };
    let refused = ProofRefused::ProofShape("the wrong number of hashes for these sizes");
    assert_eq!(short.verify(&earlier.head, own.verifier()), Err(refused));
    assert!(matches!(Growth::prove(&home.dir(), 302), Err(LogError::OutOfRange { index: 302, size: 301 })));
    for (text, why) in [
        (growth.to_string().replace("old 10", "old 010"), "not in its one form"),
        (growth.to_string().replace("old", "new"), "no old size"),
        (growth.to_string().replace("\n\n", "\n"), "no empty line before the checkpoint"),
        ("x".repeat(100_000), "too long"),
    ] {
        assert_eq!(Growth::parse(text.as_bytes()), Err(ProofRefused::ProofShape(why)));
    }
}

#[test]
fn proofs_rest_on_the_witnessed_checkpoint_where_that_covers_the_entry() {
    let home = Home::new();
    let (log, _) = home.open().unwrap();
    log.append(entries(0..9)).unwrap();
    log.publish().unwrap();
    let (mut note, at_ten) = published(&home.dir(), checkpoint::FILE).unwrap().unwrap();
    let witness = WitnessSigner::new("w.example/1", key(7)).unwrap();
    note.push_str(&witness.cosign(&at_ten.text(), Seconds(1_800_000_000)).unwrap());
    witnessed::keep(&home.dir(), &note).unwrap();
    log.append(entries(9..300)).unwrap();
    log.close().unwrap();
    let own = signer();
    let policy: Policy = format!("witness w {}\nquorum w\n", witness.public()).parse().unwrap();
    let pins = Pins { key: own.verifier(), net_id: None, policy: Some(&policy) };
    let found = judged(&files(&home, &[9, 10]), &pins);
    assert_eq!(faults(&found), [(FaultKind::QuorumNotMet, None, "10")]);
    let cosigned = &found.proofs[0].witnessed.as_ref().unwrap().cosigned;
    assert_eq!((found.proofs[0].size, cosigned["w"]), (10, Seconds(1_800_000_000)));
}
