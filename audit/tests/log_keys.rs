//! The log's key is changed: what the writer signs in each phase, what a verifier finds with either key pinned, and what nobody may do.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod support;

use counterfoil_audit::checkpoint::Checkpoint;
use counterfoil_audit::log_keys::KeyFold;
use counterfoil_audit::succession::FILE;
use counterfoil_audit::verify::{Remembered, Succeeded, VerifyOptions, verify_plain};
use counterfoil_audit::{LogError, LogWriter, NewEntry, Succession};
use counterfoil_spec::entry::Role;
use counterfoil_spec::payload::{KeyRotation, Payload, RotatedKey};
use counterfoil_spec::rule::FaultKind::{
    self, BadEntrySignature, Corrupt, NoTrustedSignature, NotMonotonic, OriginNotPinned, RetiredKey,
    UnknownKey, WeakKey,
};
use support::forge::{Forge, ROUTER, named, revoked};
use support::keys::{FIRST, NEXT, THIRD, changed, keyed, of, pinned, retired, rotation, signed_by};
use support::{Home, ORIGIN, entries, entry};

//= spec/audit-log.md#keys-of-the-log
//= type=test
//# A head MUST be signed by every key that signs heads of its size.
#[test]
fn heads_bear_the_lines_of_the_keys_of_their_size() {
    let home = Home::new();
    let (log, _) = home.open().unwrap();
    log.append(entries(1..3)).unwrap();
    assert_eq!(signed_by(&log.publish().unwrap()), [FIRST]);
    assert!(!home.dir().join(FILE).exists());
    log.hold(of(NEXT));
    log.append(vec![entry(3), keyed(100, rotation(NEXT), &[FIRST, NEXT])]).unwrap();
    assert_eq!(signed_by(&log.publish().unwrap()), [FIRST, NEXT]);
    let told = std::fs::read(home.dir().join(FILE)).unwrap();
    assert_eq!(Succession::parse(&told).unwrap().keys(), [FIRST, NEXT].map(|s| of(s).verifier().clone()));
    for seed in [FIRST, NEXT] {
        let report = pinned(&home.dir(), seed);
        assert_eq!(
            (named(&report), report.log_vkey, report.succeeded),
            (vec![], Some(of(NEXT).vkey()), None)
        );
    }
    log.append(vec![keyed(101, retired(FIRST), &[NEXT]), entry(4)]).unwrap();
    assert_eq!(signed_by(&log.publish().unwrap()), [NEXT]);
    log.let_go();
    log.append(vec![entry(5)]).unwrap();
    log.close().unwrap();
    assert_eq!(signed_by(&log.checkpoint()), [NEXT]);
    assert_eq!(std::fs::read(home.dir().join(FILE)).unwrap(), told);
    let keys = verify_plain(&VerifyOptions::new(home.dir())).unwrap().log_keys.unwrap();
    let sizes: Vec<_> = keys.all().map(|key| (key.vkey.clone(), key.from, key.until)).collect();
    let [first, next] = [FIRST, NEXT].map(|seed| of(seed).verifier().clone());
    assert_eq!(sizes, [(first, 0, Some(6)), (next, 5, None)]);
}

//= spec/audit-log.md#keys-of-the-log
//= type=test
//# To a verifier to whom a key was given that signs the log's head no more, it MUST say which key follows that one, and which entries
//# say so; it is no fault.
#[test]
fn whoever_pinned_the_old_key_is_told_the_new_one() {
    let home = Home::new();
    let log = changed(&home);
    log.close().unwrap();
    let report = pinned(&home.dir(), FIRST);
    let [first, next] = [FIRST, NEXT].map(|seed| of(seed).verifier().clone());
    let told = Succeeded { pinned: first, retired_by: 6, vkey: next, named_by: 3 };
    assert_eq!((named(&report), report.succeeded), (vec![], Some(told)));
    assert_eq!((report.ok, report.log_vkey), (true, Some(of(NEXT).vkey())));
    let report = pinned(&home.dir(), NEXT);
    assert_eq!((named(&report), report.succeeded), (vec![], None));
    let report = pinned(&home.dir(), THIRD);
    assert_eq!(named(&report), [(OriginNotPinned, Some(0)), (NoTrustedSignature, None)]);
    // What was not checked proves nothing.
    let mut options = VerifyOptions::new(home.dir());
    (options.vkey, options.signatures) = (Some(of(FIRST).vkey()), false);
    assert_eq!(named(&verify_plain(&options).unwrap()), [(NoTrustedSignature, None)]);
}

#[test]
fn log_goes_on_after_a_restart_with_the_keys_that_its_entries_name() {
    let home = Home::new();
    let (log, _) = home.open().unwrap();
    log.hold(of(NEXT));
    log.append(vec![keyed(100, rotation(NEXT), &[FIRST, NEXT])]).unwrap();
    log.close().unwrap();
    let open = |own: u8, more: &[u8]| {
        let config = counterfoil_audit::LogConfig { note: of(own), ..home.config() };
        let more = more.iter().map(|seed| of(*seed)).collect();
        LogWriter::open_with(config, more, home.now()).map(|(log, _)| log)
    };
    let missing = |opened: Result<LogWriter, LogError>| match opened {
        Err(LogError::LogKeyMissing { vkey }) => vkey,
        other => panic!("{other:?}"),
    };
    assert_eq!(missing(open(FIRST, &[])), of(NEXT).vkey());
    assert_eq!(missing(open(NEXT, &[THIRD])), of(FIRST).vkey());
    let log = open(FIRST, &[NEXT]).unwrap();
    assert_eq!(signed_by(&log.checkpoint()), [FIRST, NEXT]);
    log.append(vec![keyed(101, retired(FIRST), &[NEXT])]).unwrap();
    log.close().unwrap();
    assert_eq!(missing(open(FIRST, &[])), of(NEXT).vkey());
    // The file of the first key is not there any more.
    let log = open(NEXT, &[]).unwrap();
    assert_eq!(signed_by(&log.checkpoint()), [NEXT]);
    // One that was lost, or never written because the writer died, is made again.
    log.close().unwrap();
    std::fs::remove_file(home.dir().join(FILE)).unwrap();
    open(NEXT, &[]).unwrap().close().unwrap();
    assert_eq!(named(&pinned(&home.dir(), FIRST)), []);
}

#[test]
fn writer_takes_no_change_that_a_verifier_would_not() {
    let home = Home::new();
    let (log, _) = home.open().unwrap();
    let refused = |new: NewEntry| log.append(vec![new]).unwrap_err();
    let by_both = |seed| keyed(100, rotation(seed), &[FIRST, seed]);
    assert!(matches!(refused(by_both(NEXT)), LogError::LogKeyMissing { vkey } if vkey == of(NEXT).vkey()));
    log.hold(of(NEXT));
    let unsigned = |new| match refused(new) {
        LogError::LogKeyUnsigned { vkey } => vkey,
        other => panic!("{other}"),
    };
    assert_eq!(unsigned(keyed(100, rotation(NEXT), &[FIRST])), of(NEXT).vkey());
    assert_eq!(unsigned(keyed(100, rotation(NEXT), &[NEXT])), of(FIRST).vkey());
    let fold = |new| match refused(new) {
        LogError::LogKey(fold) => fold,
        other => panic!("{other}"),
    };
    assert_eq!(fold(by_both(FIRST)), KeyFold::Again);
    assert_eq!(fold(keyed(101, retired(FIRST), &[FIRST])), KeyFold::Last);
    assert_eq!(fold(keyed(101, retired(NEXT), &[FIRST])), KeyFold::Unknown);
    let weak = KeyRotation { of: RotatedKey::Log, successor: vec![0; 32] };
    assert_eq!(fold(keyed(100, weak.into(), &[FIRST])), KeyFold::Weak);
    log.append(vec![by_both(NEXT)]).unwrap();
    log.hold(of(THIRD));
    assert_eq!(fold(keyed(102, rotation(THIRD), &[FIRST, NEXT, THIRD])), KeyFold::Crowded);
    assert_eq!(unsigned(keyed(101, retired(FIRST), &[FIRST])), of(NEXT).vkey());
    log.close().unwrap();
    assert_eq!(log.head().size, 2);
    assert_eq!(named(&pinned(&home.dir(), FIRST)), []);
}

/// A forged log with these entries about keys, whose head these keys sign.
fn forged(entries: &[(Payload, &[u8])], heads: &[u8], pin: u8) -> Vec<(FaultKind, Option<u64>)> {
    let mut forge = Forge::good(1);
    for (payload, seeds) in entries {
        let signers: Vec<_> =
            ROUTER.iter().copied().chain(seeds.iter().map(|seed| (Role::Log, *seed))).collect();
        forge.push(payload.clone(), &signers, |_| {});
    }
    forge.push(revoked(7), ROUTER, |_| {});
    let mut options = forge.options();
    let checkpoint = Checkpoint { origin: ORIGIN.to_owned(), head: forge.head() };
    let signers: Vec<_> = heads.iter().map(|seed| of(*seed)).collect();
    std::fs::write(options.dir.join("checkpoint"), checkpoint.sign_by(&signers).unwrap()).unwrap();
    options.vkey = Some(of(pin).vkey());
    let faults = named(&verify_plain(&options).unwrap());
    // The published file is not forged along; that it is not there is said besides.
    faults.into_iter().filter(|fault| *fault != (Corrupt, None)).collect()
}

//= spec/audit-log.md#keys-of-the-log
//= type=test
//# The key in use and the key that follows it MUST both sign the `key-rotation` beside its author, each in role 4.
//= spec/audit-log.md#keys-of-the-log
//= type=test
//# The key that goes on signing MUST sign the `log-key-retired` beside its author, in role 4.
#[test]
fn change_is_signed_by_the_keys_concerned() {
    let good: (Payload, &[u8]) = (rotation(NEXT), &[FIRST, NEXT]);
    assert_eq!(forged(std::slice::from_ref(&good), &[FIRST, NEXT], FIRST), []);
    // Without proof of possession, and without the key in use: a foreign key that claims to follow.
    assert_eq!(forged(&[(rotation(NEXT), &[FIRST])], &[FIRST, NEXT], FIRST), [(BadEntrySignature, Some(2))]);
    assert_eq!(forged(&[(rotation(NEXT), &[NEXT])], &[NEXT], FIRST)[0], (BadEntrySignature, Some(2)));
    // Another's signature in its place.
    let faults = forged(&[(rotation(NEXT), &[FIRST, THIRD])], &[FIRST, NEXT], FIRST);
    assert_eq!(faults, [(BadEntrySignature, Some(2)), (UnknownKey, Some(2))]);
    let end: (Payload, &[u8]) = (retired(FIRST), &[NEXT]);
    assert_eq!(forged(&[good.clone(), end], &[NEXT], FIRST), []);
    let by_itself: (Payload, &[u8]) = (retired(FIRST), &[FIRST]);
    assert_eq!(forged(&[good, by_itself], &[NEXT], NEXT), [(BadEntrySignature, Some(3))]);
}

#[test]
fn signature_of_a_change_that_does_not_verify_is_named() {
    let mut forge = Forge::good(1);
    forge.push(rotation(NEXT), &[(Role::Router, 2), (Role::Log, FIRST), (Role::Log, NEXT)], |_| {});
    let leaf = forge.leaves.last_mut().unwrap();
    let last = leaf.len() - 1;
    leaf[last - 40] ^= 1;
    let dir = forge.write();
    let checkpoint = Checkpoint { origin: ORIGIN.to_owned(), head: forge.head() };
    std::fs::write(dir.join("checkpoint"), checkpoint.sign_by(&[of(FIRST), of(NEXT)]).unwrap()).unwrap();
    let faults = named(&pinned(&dir, FIRST));
    assert_eq!(faults, [(BadEntrySignature, Some(2)), (Corrupt, None)]);
}

#[test]
fn heads_of_other_keys_than_the_log_names_are_named_faults() {
    let good: (Payload, &[u8]) = (rotation(NEXT), &[FIRST, NEXT]);
    let end: (Payload, &[u8]) = (retired(FIRST), &[NEXT]);
    let both = [good.clone(), end];
    // Attack: whoever has the retired key signs a later head.
    assert_eq!(forged(&both, &[FIRST], FIRST), [(RetiredKey, None)]);
    assert_eq!(forged(&both, &[FIRST], NEXT), [(RetiredKey, None)]);
    // A key that the log does not name.
    assert_eq!(forged(&both, &[THIRD], NEXT), [(NoTrustedSignature, None)]);
    // While one follows the other both must sign.
    assert_eq!(forged(std::slice::from_ref(&good), &[FIRST], FIRST), [(NoTrustedSignature, None)]);
    assert_eq!(forged(&[good], &[NEXT], NEXT), [(NoTrustedSignature, None)]);
    // A line that somebody else added says nothing.
    assert_eq!(forged(&both, &[NEXT, FIRST, THIRD], NEXT), []);
}

#[test]
fn keys_follow_each_other_in_order_and_once() {
    let to = |seed, by: &'static [u8]| -> (Payload, &[u8]) { (rotation(seed), by) };
    let next = to(NEXT, &[FIRST, NEXT]);
    let crowd = to(THIRD, &[FIRST, NEXT, THIRD]);
    // What an entry may not say changes nothing, so the heads are those of before it.
    assert_eq!(forged(&[next.clone(), crowd], &[FIRST, NEXT], FIRST)[0], (NotMonotonic, Some(3)));
    let end: (Payload, &[u8]) = (retired(FIRST), &[NEXT]);
    let again = to(FIRST, &[NEXT, FIRST]);
    assert_eq!(forged(&[next.clone(), end.clone(), again], &[NEXT], NEXT)[0], (NotMonotonic, Some(4)));
    let third = to(THIRD, &[NEXT, THIRD]);
    assert_eq!(forged(&[next.clone(), end, third], &[NEXT, THIRD], FIRST), []);
    let newest: (Payload, &[u8]) = (retired(NEXT), &[FIRST]);
    assert_eq!(forged(&[next.clone(), newest], &[FIRST, NEXT], FIRST)[0], (NotMonotonic, Some(3)));
    let stranger: (Payload, &[u8]) = (retired(THIRD), &[FIRST]);
    assert_eq!(forged(&[stranger], &[FIRST], FIRST), [(UnknownKey, Some(2))]);
    let weak: Payload = KeyRotation { of: RotatedKey::Log, successor: vec![0; 32] }.into();
    assert_eq!(forged(&[(weak, &[FIRST])], &[FIRST], FIRST), [(WeakKey, Some(2))]);
}

#[test]
fn remembered_checkpoint_is_held_to_the_key_of_its_time() {
    let home = Home::new();
    let (log, _) = home.open().unwrap();
    log.append(entries(1..3)).unwrap();
    let before = log.publish().unwrap();
    drop(log);
    let (log, _) = home.open().unwrap();
    log.hold(of(NEXT));
    log.append(vec![keyed(100, rotation(NEXT), &[FIRST, NEXT])]).unwrap();
    log.append(vec![keyed(101, retired(FIRST), &[NEXT])]).unwrap();
    log.close().unwrap();
    let after = log.checkpoint();
    let from = |note: &str, pin| {
        let mut options = VerifyOptions::new(home.dir());
        options.from = Some(Remembered::parse(note.as_bytes()).unwrap());
        options.vkey = Some(of(pin).vkey());
        named(&verify_plain(&options).unwrap())
    };
    for pin in [FIRST, NEXT] {
        assert_eq!((from(&before, pin), from(&after, pin)), (vec![], vec![]));
    }
    let head = Checkpoint::open(after.as_bytes(), of(NEXT).verifier()).unwrap();
    assert_eq!(from(&head.sign(&of(FIRST)).unwrap(), NEXT), [(RetiredKey, None)]);
}
