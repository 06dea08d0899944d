//! Logs whose files agree with each other and with the log's key, and whose entries are wrong.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed"
)]

mod support;

use std::collections::BTreeSet;

use counterfoil_audit::NoteSigner;
use counterfoil_audit::checkpoint::Checkpoint;
use counterfoil_audit::merkle::{Head, leaf_hash};
use counterfoil_audit::verify::{VerifyOptions, verify, verify_plain};
use counterfoil_identity::{IssuingCa, Root, SecretKey};
use counterfoil_spec::entry::Role;
use counterfoil_spec::ids::{Hash, PublicKey};
use counterfoil_spec::payload::{
    CaIssued, Genesis, KeyRotation, NodeEnrolled, Payload, PeerAnchor, RotatedKey,
};
use counterfoil_spec::rule::FaultKind::{
    self, AuthorSeqGap, BadEntrySignature, BadLogSignature, ClockRegression, DuplicateSerial, Expired,
    MalformedNote, NoTrustedSignature, NonCanonical, NotMonotonic, OriginNotPinned, PrevMismatch, Rollback,
    TileMismatch, UnknownKey, WeakKey, WrongParty,
};
use counterfoil_spec::rule::{Fault, Rule, Seen};
use counterfoil_spec::time::{Millis, Seconds};
use support::forge::{Forge, ROUTER, enrolled, genesis, join_token, named, revoked};
use support::{ORIGIN, key, serial, signer};

#[test]
fn well_made_log_has_no_fault() {
    let forge = Forge::good(5);
    let report = verify_plain(&forge.options()).unwrap();
    assert_eq!((named(&report), report.ok, report.signatures), (vec![], true, 7));
    assert_eq!((report.size, report.root), (6, forge.head().root));
    assert!(report.unwitnessed && report.vkey_pinned && report.net_id_pinned);
    let report = verify_plain(&VerifyOptions::new(forge.write())).unwrap();
    assert_eq!((report.ok, report.vkey_pinned, report.net_id_pinned), (true, false, false));
    assert_eq!((report.log_vkey, report.net_id), (Some(signer().vkey()), Some(forge.net)));
}

#[test]
fn repeated_serial_is_named() {
    let mut forge = Forge::good(3);
    forge.push(revoked(9), ROUTER, |b| b.serial = serial(2));
    let report = verify_plain(&forge.options()).unwrap();
    assert_eq!(named(&report), [(DuplicateSerial, Some(4))]);
    assert!(report.faults[0].detail.starts_with("entry 2 "), "{}", report.faults[0].detail);
}

#[test]
fn gap_and_wrong_predecessor_are_told_apart() {
    let mut forge = Forge::good(3);
    forge.push(revoked(9), ROUTER, |b| b.seq += 1);
    assert_eq!(forge.faults(), [(AuthorSeqGap, Some(4))]);
    let mut forge = Forge::good(3);
    forge.push(revoked(9), ROUTER, |b| b.prev = Hash::from_bytes([1; 32]));
    assert_eq!(forge.faults(), [(PrevMismatch, Some(4))]);
}

#[test]
fn time_may_stand_still_but_not_go_back() {
    let mut forge = Forge::good(3);
    forge.push(revoked(9), ROUTER, |b| b.time = Millis(1003));
    assert_eq!(forge.faults(), []);
    let mut forge = Forge::good(3);
    forge.push(revoked(9), ROUTER, |b| b.time = Millis(1002));
    assert_eq!(forge.faults(), [(ClockRegression, Some(4))]);
}

#[test]
fn signatures_are_held_to_author_role_and_network() {
    let mut forge = Forge::good(1);
    forge.push(revoked(9), &[(Role::Router, 7)], |_| {});
    assert_eq!(forge.faults(), [(BadEntrySignature, Some(2)), (UnknownKey, Some(2))]);
    let mut forge = Forge::good(1);
    forge.push(revoked(9), &[(Role::Node, 2)], |_| {});
    assert_eq!(forge.faults(), [(UnknownKey, Some(2))]);
    let mut forge = Forge::good(1);
    forge.net = key(5).public().net_id();
    forge.push(revoked(9), ROUTER, |_| {});
    forge.net = key(1).public().net_id();
    assert_eq!(forge.faults(), [(BadEntrySignature, Some(2))]);
    let mut options = forge.options();
    options.signatures = false;
    assert_eq!(named(&verify_plain(&options).unwrap()), []);
}

#[test]
fn second_signature_is_checked_like_the_first() {
    let mut forge = Forge::good(1);
    forge.push(revoked(9), &[(Role::Router, 2), (Role::Root, 1)], |_| {});
    assert_eq!(forge.faults(), []);
    let leaf = forge.leaves.last_mut().unwrap();
    let last = leaf.len() - 1;
    leaf[last - 40] ^= 1;
    assert_eq!(forge.faults(), [(BadEntrySignature, Some(2))]);
}

#[test]
fn genesis_is_held_to_what_is_pinned() {
    let with = |change: fn(&mut Genesis), signers: &[(Role, u8)]| {
        let mut forge = Forge::new();
        let mut facts = genesis();
        change(&mut facts);
        forge.push(facts.into(), signers, |_| {});
        forge.faults()
    };
    let both = &[(Role::Router, 2), (Role::Root, 1)];
    assert_eq!(with(|_| {}, both), []);
    assert_eq!(with(|_| {}, ROUTER), [(BadEntrySignature, Some(0))]);
    assert_eq!(with(|g| g.author_id = key(1).public().node_id(), both), [(WrongParty, Some(0))]);
    let log_key = |g: &mut Genesis| {
        g.log_vkey = NoteSigner::new(ORIGIN, key(8)).unwrap().vkey();
    };
    assert_eq!(with(log_key, both), [(OriginNotPinned, Some(0))]);
    assert_eq!(with(|g| g.log_vkey.clear(), both)[0], (MalformedNote, Some(0)));
    let weak = |g: &mut Genesis| g.author_key = PublicKey::from_bytes([0; 32]);
    assert_eq!(with(weak, both)[0], (WeakKey, Some(0)));
    assert_eq!(with(|g| g.author_role = 1, both)[0], (WrongParty, Some(0)));
    let other_root =
        with(|g| g.root_spki = key(6).public().spki_der(), &[(Role::Router, 2), (Role::Root, 6)]);
    assert_eq!(other_root[0], (WrongParty, Some(0)));
}

#[test]
fn log_without_genesis_or_with_two_is_refused() {
    let mut forge = Forge::new();
    forge.push(revoked(1), ROUTER, |_| {});
    assert_eq!(forge.faults(), [(UnknownKey, Some(0)), (UnknownKey, Some(0))]);
    let mut forge = Forge::good(0);
    forge.push(genesis().into(), ROUTER, |_| {});
    assert_eq!(forge.faults(), [(UnknownKey, Some(1))]);
}

#[test]
fn enrolment_names_a_join_token_that_was_made_and_no_other_names_it() {
    let mut forge = Forge::good(0);
    forge.push(enrolled(40).into(), ROUTER, |_| {});
    assert_eq!(forge.faults(), [(UnknownKey, Some(1))]);
    let mut forge = Forge::good(0);
    forge.push(join_token().into(), ROUTER, |_| {});
    forge.push(enrolled(40).into(), ROUTER, |_| {});
    assert_eq!(forge.faults(), []);
    forge.push(enrolled(41).into(), ROUTER, |_| {});
    let report = verify_plain(&forge.options()).unwrap();
    assert_eq!(named(&report), [(DuplicateSerial, Some(3))]);
    let first = key(40).public().node_id().to_string();
    assert!(report.faults[0].detail.contains(&first), "{}", report.faults[0].detail);
}

/// An issuing CA of the network with the root of this seed; the forged log's has seed 1.
fn authority(root: u8, seed: u8) -> IssuingCa {
    let now = Seconds(1_800_000_000);
    let key = |seed| SecretKey::from_seed([seed; 32]);
    Root::create(key(root), now, 1 << 30).unwrap().issue_ca(key(seed), now).unwrap()
}

fn issued(ca: &IssuingCa) -> Payload {
    CaIssued { certificate: ca.der().to_vec(), not_after: ca.not_after() }.into()
}

fn rotated(ca: &IssuingCa) -> Payload {
    KeyRotation { of: RotatedKey::IssuingCa, successor: ca.der().to_vec() }.into()
}

//= spec/audit-log.md#keys
//= type=test
//# `key-rotation` of an issuing CA MUST name one that an earlier `ca-issued` announced, that has not ended, and that is not in use and never was.
#[test]
fn issuing_ca_takes_a_place_once_and_after_it_was_announced() {
    let (first, next) = (authority(1, 50), authority(1, 51));
    let with = |payloads: &[Payload]| {
        let mut forge = Forge::good(0);
        for payload in payloads {
            forge.push(payload.clone(), ROUTER, |_| {});
        }
        forge.faults()
    };
    let good = [issued(&first), issued(&next), rotated(&next)];
    assert_eq!(with(&good), []);
    assert_eq!(with(&[issued(&first), rotated(&next)]), [(UnknownKey, Some(2))]);
    assert_eq!(with(&[issued(&first), rotated(&first)]), [(NotMonotonic, Some(2))]);
    assert_eq!(with(&[&good[..], &[rotated(&first)]].concat()), [(NotMonotonic, Some(4))]);
    let mut forge = Forge::good(0);
    forge.push(issued(&first), ROUTER, |_| {});
    forge.push(issued(&next), ROUTER, |_| {});
    forge.push(rotated(&next), ROUTER, |b| b.time = next.not_after().plus(1).millis());
    assert_eq!(forge.faults(), [(Expired, Some(3))]);
}

//= spec/audit-log.md#keys
//= type=test
//# The certificate in `ca-issued` MUST be that of an issuing CA of this network's root with the end that the entry says, and neither its
//# serial number nor its key that of an earlier one.
#[test]
fn issuing_ca_is_the_roots_and_no_earlier_one() {
    let with = |payload: Payload| {
        let mut forge = Forge::good(0);
        forge.push(issued(&authority(1, 50)), ROUTER, |_| {});
        forge.push(payload, ROUTER, |_| {});
        forge.faults()
    };
    let next = authority(1, 51);
    assert_eq!(with(issued(&next)), []);
    assert_eq!(with(issued(&authority(1, 50))), [(DuplicateSerial, Some(2))]);
    assert_eq!(with(issued(&authority(9, 51))), [(WrongParty, Some(2))]);
    let end = next.not_after().plus(1);
    assert_eq!(
        with(CaIssued { certificate: next.der().to_vec(), not_after: end }.into()),
        [(Expired, Some(2))]
    );
    let leafless = CaIssued { certificate: vec![0x30, 0], not_after: next.not_after() };
    assert_eq!(with(leafless.into()), [(NonCanonical, Some(2))]);
    assert_eq!(with(rotated(&authority(9, 51))), [(WrongParty, Some(2))]);
}

#[test]
fn node_signs_once_it_is_enrolled() {
    let mut forge = Forge::good(1);
    let node = &[(Role::Router, 2), (Role::Node, 40)];
    forge.push(join_token().into(), ROUTER, |_| {});
    forge.push(revoked(5), node, |_| {});
    forge.push(enrolled(40).into(), ROUTER, |_| {});
    forge.push(revoked(6), node, |_| {});
    assert_eq!(forge.faults(), [(UnknownKey, Some(3))]);
}

#[test]
fn node_does_not_author_what_only_the_router_may() {
    let mut forge = Forge::good(0);
    forge.push(join_token().into(), ROUTER, |_| {});
    forge.push(enrolled(40).into(), ROUTER, |_| {});
    let own = |body: &mut counterfoil_spec::entry::Body| {
        body.author = key(40).public().kid();
        body.seq = 0;
        body.prev = Hash::from_bytes([0; 32]);
    };
    forge.push(revoked(5), &[(Role::Node, 40)], own);
    assert_eq!(forge.faults(), [(WrongParty, Some(3))]);
}

#[test]
fn enrolment_is_held_to_its_key() {
    let with = |change: fn(&mut NodeEnrolled)| {
        let mut forge = Forge::good(0);
        let mut facts = enrolled(40);
        change(&mut facts);
        forge.push(join_token().into(), ROUTER, |_| {});
        forge.push(facts.into(), ROUTER, |_| {});
        forge.faults()
    };
    assert_eq!(with(|_| {}), []);
    assert_eq!(with(|e| e.node = key(2).public().node_id()), [(WrongParty, Some(2))]);
    assert_eq!(with(|e| e.identity_key = PublicKey::from_bytes([0; 32])), [(WeakKey, Some(2))]);
    assert_eq!(with(|e| e.log_vkey = "x".to_owned()), [(MalformedNote, Some(2))]);
    // The router's own key cannot come back as a node's.
    assert_eq!(with(|e| e.identity_key = key(2).public().wire()), [(WrongParty, Some(2))]);
}

#[test]
fn anchored_checkpoint_of_a_node_may_not_go_back() {
    let note = |size, seed| {
        let head = Head { size, root: leaf_hash(&[1]) };
        let log = NoteSigner::new("node.example/log", key(seed)).unwrap();
        Payload::from(PeerAnchor {
            note: Checkpoint { origin: "node.example/log".to_owned(), head }.sign(&log).unwrap(),
            vkey: None,
            succession: None,
        })
    };
    let mut forge = Forge::good(0);
    forge.push(join_token().into(), ROUTER, |_| {});
    forge.push(enrolled(40).into(), ROUTER, |_| {});
    forge.push(note(5, 140), ROUTER, |_| {});
    forge.push(note(4, 140), ROUTER, |_| {});
    forge.push(note(9, 141), ROUTER, |_| {});
    forge.push(PeerAnchor { note: "none".to_owned(), vkey: None, succession: None }.into(), ROUTER, |_| {});
    assert_eq!(
        forge.faults(),
        [(Rollback, Some(4)), (NoTrustedSignature, Some(5)), (MalformedNote, Some(6))]
    );
}

#[test]
fn entry_in_another_form_is_named_even_where_the_tree_commits_to_it() {
    let mut forge = Forge::good(2);
    // The first byte of the second signature array: one signature in the long form of its count.
    let leaf = &mut forge.leaves[1];
    let at = leaf.len() - 78;
    assert_eq!(leaf[at], 0x81);
    leaf.splice(at..=at, [0x98, 0x01]);
    assert_eq!(forge.faults(), [(NonCanonical, Some(1))]);
}

#[test]
fn checkpoint_is_held_to_the_pinned_key() {
    let forge = Forge::good(2);
    let path = forge.write().join("checkpoint");
    let checkpoint = Checkpoint { origin: ORIGIN.to_owned(), head: forge.head() };
    let verify = |note: String| {
        let mut options = forge.options();
        std::fs::write(&path, note).unwrap();
        options.signatures = false;
        named(&verify_plain(&options).unwrap())
    };
    assert_eq!(verify(checkpoint.sign(&signer()).unwrap()), []);
    let other = NoteSigner::new(ORIGIN, key(8)).unwrap();
    assert_eq!(verify(checkpoint.sign(&other).unwrap()), [(NoTrustedSignature, None)]);
    let bad = checkpoint.sign(&signer()).unwrap().replace("\n3\n", "\n2\n");
    assert_eq!(verify(bad)[0], (BadLogSignature, None));
    let elsewhere = Checkpoint { origin: "else.example/log".to_owned(), ..checkpoint };
    assert_eq!(verify(elsewhere.sign(&signer()).unwrap()), [(OriginNotPinned, None)]);
    assert_eq!(verify("none".to_owned()), [(MalformedNote, None)]);
}

#[test]
fn tiles_of_another_tree_are_named_and_leaves_are_not() {
    let forge = Forge::good(4);
    let options = forge.options();
    let path = options.dir.join("tile/0/000.p/5");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[64..96].copy_from_slice(leaf_hash(b"other").as_bytes());
    std::fs::write(&path, bytes).unwrap();
    let report = verify_plain(&options).unwrap();
    let found: Vec<_> = report.faults.iter().map(|f| (f.kind, f.index, f.file.as_deref())).collect();
    assert_eq!(found, [(TileMismatch, Some(2), Some("tile/0/000.p/5"))]);
}

#[test]
fn file_of_nobody_is_listed_and_is_no_fault() {
    let forge = Forge::good(1);
    let options = forge.options();
    std::fs::write(options.dir.join("notes.txt"), b"x").unwrap();
    std::fs::create_dir_all(options.dir.join("tile/0/001.p")).unwrap();
    std::fs::write(options.dir.join("tile/0/001.p/7"), b"x").unwrap();
    let report = verify_plain(&options).unwrap();
    assert_eq!((report.ok, report.strays), (true, vec!["notes.txt".to_owned(), "tile/0/001.p/7".to_owned()]));
}

/// Remembers what it was shown and finds fault with one entry and with the whole.
#[derive(Default)]
struct Witness {
    seen: BTreeSet<u64>,
}

impl Rule for Witness {
    fn entry(&mut self, seen: &Seen<'_>, faults: &mut Vec<Fault>) {
        self.seen.insert(seen.index);
        if seen.index == 2 {
            faults.push(Fault::at(FaultKind::NoLot, 2, "two"));
        }
    }

    fn finish(&mut self, faults: &mut Vec<Fault>) {
        faults.push(Fault::at(FaultKind::SumOverflow, self.seen.len() as u64, "end"));
    }
}

#[test]
fn rules_see_every_entry_and_their_faults_count() {
    let forge = Forge::good(4);
    let mut rule = Witness::default();
    let mut told = Vec::new();
    let report = verify(&forge.options(), &mut [&mut rule], &mut |at, of| told.push((at, of)));
    assert_eq!(named(&report.unwrap()), [(FaultKind::NoLot, Some(2)), (FaultKind::SumOverflow, Some(5))]);
    assert_eq!(rule.seen, (0..5).collect());
    assert_eq!(told, [(5, 5)]);
}

#[test]
fn rules_stop_where_an_entry_is_hidden() {
    let mut forge = Forge::good(6);
    forge.leaves[3][0] = 0x83;
    let mut rule = Witness::default();
    let report = verify(&forge.options(), &mut [&mut rule], &mut |_, _| {}).unwrap();
    assert_eq!(report.rules_saw, 3);
    assert_eq!(rule.seen, (0..3).collect());
    assert_eq!(named(&report)[1], (NonCanonical, Some(3)));
}
