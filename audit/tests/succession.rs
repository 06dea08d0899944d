//! The succession of a log's keys: the published file, and whoever follows it.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod support;

use std::sync::Arc;

use counterfoil_audit::checkpoint::Checkpoint;
use counterfoil_audit::log_keys::KeyFold;
use counterfoil_audit::merkle::{Head, leaf_hash};
use counterfoil_audit::succession::{FILE, SuccessionFault};
use counterfoil_audit::verify::{VerifyOptions, verify_plain};
use counterfoil_audit::{NoteVerifier, PublishedFolder, Succession, TrustedKeys, TrustsNotes};
use counterfoil_spec::payload::{Payload, PeerAnchor};
use counterfoil_spec::rule::FaultKind::{Corrupt, NoTrustedSignature, OriginNotPinned};
use support::forge::{Forge, ROUTER, named};
use support::keys::{FIRST, NEXT, THIRD, changed, of, pinned};
use support::{Home, ORIGIN, copy};

#[test]
fn published_files_are_followed_from_the_old_key_by_the_succession_alone() {
    let home = Home::new();
    changed(&home).close().unwrap();
    let there = home.folder.path().join("published");
    copy(&home.dir(), &there);
    for name in ["seg", "state"] {
        std::fs::remove_dir_all(there.join(name)).unwrap();
    }
    let judged = |seed| {
        let mut options = VerifyOptions::published(Arc::new(PublishedFolder(there.clone())));
        options.vkey = Some(of(seed).vkey());
        let report = verify_plain(&options).unwrap();
        (named(&report), report.committed, report.succeeded.map(|s| s.vkey.to_string()))
    };
    assert_eq!(judged(FIRST), (vec![], 8, Some(of(NEXT).vkey())));
    assert_eq!(judged(NEXT), (vec![], 8, None));
    // A stranger's checkpoint is not read under, whatever the log says.
    let (faults, read, _) = judged(THIRD);
    assert_eq!((faults.contains(&(NoTrustedSignature, None)), read), (true, 0));
    std::fs::remove_file(there.join(FILE)).unwrap();
    let (faults, read, _) = judged(FIRST);
    assert_eq!((faults.contains(&(NoTrustedSignature, None)), read), (true, 0));
    assert_eq!(judged(NEXT), (vec![(Corrupt, None)], 8, None));
}

#[test]
fn succession_is_checked_line_by_line_and_leads_forward_only() {
    let home = Home::new();
    changed(&home).close().unwrap();
    let text = std::fs::read_to_string(home.dir().join(FILE)).unwrap();
    let read = Succession::parse(text.as_bytes()).unwrap();
    let [first, next, third] = [FIRST, NEXT, THIRD].map(|seed| of(seed).verifier().clone());
    assert_eq!((read.origin(), read.to_string()), (ORIGIN, text.clone()));
    assert_eq!(read.after(&first), Some(&[next.clone()][..]));
    assert_eq!((read.after(&next), read.after(&third)), (Some(&[][..]), None));
    let trusted = |key: &NoteVerifier| TrustedKeys::one(key.clone()).with(&read);
    let has = |key: &NoteVerifier, other| trusted(key).has(other);
    assert_eq!((has(&first, &next), has(&next, &first), has(&third, &next)), (true, false, false));

    let lines: Vec<&str> = text.lines().collect();
    let parse = |lines: &[&str]| Succession::parse(format!("{}\n", lines.join("\n")).as_bytes());
    let form = |parsed: Result<Succession, SuccessionFault>| match parsed {
        Err(SuccessionFault::Form(why)) => why,
        other => panic!("{other:?}"),
    };
    assert_eq!(form(parse(&lines[1..])), "its first line is not genesis");
    assert_eq!(form(parse(&[lines[0], lines[0]])), "a line that is no change of the log's key");
    assert_eq!(form(parse(&[lines[0], "AA=="])), "a line that is no entry");
    assert_eq!(form(Succession::parse(text.trim_end().as_bytes())), "no newline at its end");
    let again = SuccessionFault::Fold { line: 3, source: KeyFold::Again };
    assert_eq!(parse(&[lines[0], lines[1], lines[1]]), Err(again));
    // Each signature counts: the author's, that of the key before and that of the key that follows.
    let mut leaf = data_encoding::BASE64.decode(lines[1].as_bytes()).unwrap();
    let sizes = [(3, "the author"), (2, "the key before"), (1, "the key that follows")];
    for (from_end, who) in sizes {
        let at = leaf.len() - 77 * from_end + 20;
        leaf[at] ^= 1;
        let line = data_encoding::BASE64.encode(&leaf);
        assert_eq!(parse(&[lines[0], &line]), Err(SuccessionFault::Signature { line: 2, who }));
        leaf[at] ^= 1;
    }
}

//= spec/audit-log.md#keys
//= type=test
//# another key of that origin later MUST follow the one before by the succession in the same entry.
#[test]
fn heads_of_another_log_are_kept_under_the_keys_that_follow_each_other() {
    let peer = Home::new();
    changed(&peer).close().unwrap();
    let succession = std::fs::read_to_string(peer.dir().join(FILE)).unwrap();
    let anchor = |size: u64, by: u8, names: Option<u8>, succession: Option<&String>| -> Payload {
        let head = Head { size, root: leaf_hash(&[1]) };
        let note = Checkpoint { origin: ORIGIN.to_owned(), head }.sign(&of(by)).unwrap();
        let vkey = names.map(|seed| of(seed).vkey());
        PeerAnchor { note, vkey, succession: succession.cloned() }.into()
    };
    let with = |anchors: &[Payload]| {
        let mut forge = Forge::good(0);
        let own = anchor(5, FIRST, Some(FIRST), None);
        for payload in std::iter::once(&own).chain(anchors) {
            forge.push(payload.clone(), ROUTER, |_| {});
        }
        forge.faults()
    };
    let followed = anchor(6, NEXT, Some(NEXT), Some(&succession));
    assert_eq!(with(&[followed.clone(), anchor(7, NEXT, None, None)]), []);
    assert_eq!(with(&[anchor(6, NEXT, Some(NEXT), None)]), [(OriginNotPinned, Some(2))]);
    assert_eq!(with(&[anchor(6, THIRD, Some(THIRD), Some(&succession))]), [(OriginNotPinned, Some(2))]);
    let cut = succession.lines().next().map(|line| format!("{line}\n"));
    assert_eq!(with(&[anchor(6, NEXT, Some(NEXT), cut.as_ref())]), [(OriginNotPinned, Some(2))]);
    // From then on the first key's signature is nothing.
    assert_eq!(with(&[followed.clone(), anchor(7, FIRST, None, None)]), [(NoTrustedSignature, Some(3))]);
    let back = anchor(7, FIRST, Some(FIRST), Some(&succession));
    assert_eq!(with(&[followed, back]), [(OriginNotPinned, Some(3))]);
}

#[test]
fn file_that_the_entries_do_not_make_is_damage() {
    let home = Home::new();
    changed(&home).close().unwrap();
    let file = home.dir().join(FILE);
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.lines().next().unwrap()).unwrap();
    assert_eq!(named(&pinned(&home.dir(), NEXT)), [(Corrupt, None)]);
    std::fs::remove_file(&file).unwrap();
    assert_eq!(named(&pinned(&home.dir(), NEXT)), [(Corrupt, None)]);
    let other = Home::new();
    let (log, _) = other.open().unwrap();
    log.close().unwrap();
    std::fs::write(other.dir().join(FILE), text).unwrap();
    assert_eq!(named(&pinned(&other.dir(), FIRST)), [(Corrupt, None)]);
}

#[test]
fn every_flipped_bit_of_a_succession_is_refused() {
    let home = Home::new();
    changed(&home).close().unwrap();
    let text = std::fs::read(home.dir().join(FILE)).unwrap();
    for at in 0..text.len() {
        for bit in 0..8 {
            let mut bad = text.clone();
            bad[at] ^= 1 << bit;
            assert!(Succession::parse(&bad).is_err(), "bit {bit} of byte {at}");
        }
    }
}
