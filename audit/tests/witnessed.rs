//! A cosigned checkpoint beside the log, and what a verifier names of it.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed"
)]

mod support;

use std::sync::atomic::Ordering;

use counterfoil_audit::note::WitnessSigner;
use counterfoil_audit::policy::Policy;
use counterfoil_audit::proof::published;
use counterfoil_audit::verify::{Report, VerifyOptions, verify_plain};
use counterfoil_audit::{NoteSigner, checkpoint, witnessed};
use counterfoil_spec::rule::FaultKind;
use counterfoil_spec::time::Seconds;
use support::{Home, ORIGIN, copy, entries, key, signer};

fn witness(seed: u8) -> WitnessSigner {
    WitnessSigner::new("w.example/1", key(seed)).unwrap()
}

fn policy() -> Policy {
    format!("witness w {}\nquorum w\n", witness(7).public()).parse().unwrap()
}

/// A log of 10 entries at a checkpoint that was cosigned as its clock then said, and of 300 now.
fn log() -> (Home, String, u64) {
    let home = Home::new();
    let (log, _) = home.open().unwrap();
    log.append(entries(0..9)).unwrap();
    log.publish().unwrap();
    let (note, at_ten) = published(&home.dir(), checkpoint::FILE).unwrap().unwrap();
    let now = home.clock.load(Ordering::Relaxed) / 1000;
    let cosigned = format!("{note}{}", witness(7).cosign(&at_ten.text(), Seconds(now)).unwrap());
    witnessed::keep(&home.dir(), &cosigned).unwrap();
    log.append(entries(9..299)).unwrap();
    log.close().unwrap();
    (home, cosigned, now)
}

fn verify(home: &Home, policy: Option<Policy>) -> Report {
    let mut options = VerifyOptions::new(home.dir());
    options.vkey = Some(signer().vkey());
    options.policy = policy;
    verify_plain(&options).unwrap()
}

fn faults(report: &Report) -> Vec<(FaultKind, Option<u64>, &str)> {
    report.faults.iter().map(|f| (f.kind, f.index, f.file.as_deref().unwrap_or_default())).collect()
}

#[test]
fn a_policy_that_is_met_says_how_much_of_the_log_was_seen() {
    let (home, _, now) = log();
    let report = verify(&home, Some(policy()));
    let head = report.witnessed.as_ref().unwrap();
    assert_eq!((report.ok, report.unwitnessed, head.size, report.size), (true, false, 10, 300));
    assert_eq!(head.by.cosigned["w"], Seconds(now));
    assert_eq!(report.strays, [""; 0]);
    let without = verify(&home, None);
    assert_eq!((without.ok, without.unwitnessed, without.witnessed), (true, true, None));
    let nobody = verify(&home, Some("quorum none\n".parse().unwrap()));
    assert_eq!((nobody.ok, nobody.unwitnessed), (true, true));
}

//= spec/audit-log.md#witnesses
//= type=test
//# Where a policy is given, a checkpoint that does not meet its quorum MUST be refused (`QuorumNotMet`).
#[test]
fn each_attack_on_the_cosigned_checkpoint_is_named() {
    let (home, cosigned, now) = log();
    let (_, newest) = published(&home.dir(), checkpoint::FILE).unwrap().unwrap();
    let (text, lines) = cosigned.split_once("\n\n").unwrap();
    let text = format!("{text}\n");
    let forged_root = text.replace(text.lines().nth(2).unwrap(), newest.text().lines().nth(2).unwrap());
    let sign = |text: &str, time| {
        format!("{}{}", signer().sign(text).unwrap(), witness(7).cosign(text, Seconds(time)).unwrap())
    };
    let stranger = NoteSigner::new(ORIGIN, key(8)).unwrap().sign(&text).unwrap();
    let own = witness(7).cosign(&text, Seconds(now)).unwrap();
    let other_witness = witness(6).cosign(&text, Seconds(now)).unwrap();
    let only_log = signer().sign(&text).unwrap();
    let larger = text.replace("\n10\n", "\n301\n");
    let mut flipped = cosigned.clone().into_bytes();
    let last = flipped.len() - 10;
    flipped[last] = if flipped[last] == b'A' { b'B' } else { b'A' };
    let of = |kind| vec![(kind, None, "witnessed")];
    for (what, note, want) in [
        ("without cosignatures", only_log.clone(), of(FaultKind::QuorumNotMet)),
        ("another witness of that name", format!("{only_log}{other_witness}"), of(FaultKind::QuorumNotMet)),
        ("a flipped bit", String::from_utf8(flipped).unwrap(), of(FaultKind::QuorumNotMet)),
        ("without the log's line", format!("{text}\n{own}"), of(FaultKind::NoTrustedSignature)),
        ("another log key", format!("{stranger}{own}"), of(FaultKind::NoTrustedSignature)),
        (
            "a line of another text",
            format!("{forged_root}\n{lines}"),
            vec![
                (FaultKind::BadLogSignature, None, "witnessed"),
                (FaultKind::InconsistentTree, None, "witnessed"),
                (FaultKind::QuorumNotMet, None, "witnessed"),
            ],
        ),
        ("another past", sign(&forged_root, now), of(FaultKind::InconsistentTree)),
        ("more than the log has", sign(&larger, now), vec![(FaultKind::Rollback, None, "checkpoint")]),
        (
            "not a note",
            "x".to_owned(),
            vec![
                (FaultKind::MalformedNote, None, "witnessed"),
                (FaultKind::QuorumNotMet, None, "checkpoint"),
            ],
        ),
        (
            "too long",
            "x".repeat(20_000),
            vec![
                (FaultKind::MalformedNote, None, "witnessed"),
                (FaultKind::QuorumNotMet, None, "checkpoint"),
            ],
        ),
    ] {
        witnessed::keep(&home.dir(), &note).unwrap();
        assert_eq!(faults(&verify(&home, Some(policy()))), want, "{what}");
    }
    std::fs::remove_file(home.dir().join(witnessed::FILE)).unwrap();
    let gone = verify(&home, Some(policy()));
    assert_eq!(faults(&gone), [(FaultKind::QuorumNotMet, None, "checkpoint")]);
}

#[test]
fn entries_dated_before_what_lies_ahead_of_them_was_seen_are_named() {
    let (home, _, _) = log();
    let (_, at) = published(&home.dir(), checkpoint::FILE).unwrap().unwrap();
    let cosigned = |time| {
        let kept = published(&home.dir(), witnessed::FILE).unwrap().unwrap().1;
        assert_eq!((kept.head.size, at.head.size), (10, 300));
        let line = witness(7).cosign(&kept.text(), Seconds(time)).unwrap();
        witnessed::keep(&home.dir(), &format!("{}{line}", signer().sign(&kept.text()).unwrap())).unwrap();
    };
    let reader = counterfoil_audit::LogReader::open(&home.dir()).unwrap();
    let time = |index| reader.entry(index).unwrap().1.time.0;
    // Entry 10 is the first that the witness has not seen: five minutes later is the last instant that it may state.
    let last = time(10) / 1000 + 300;
    cosigned(last);
    assert_eq!(faults(&verify(&home, Some(policy()))), []);
    cosigned(last + 1);
    let late = verify(&home, Some(policy()));
    assert_eq!(late.faults[0].kind, FaultKind::TimeOutOfBounds);
    let bound = (last - 299) * 1000;
    let want: Vec<u64> = (10..300).filter(|i| time(*i) < bound).collect();
    assert_eq!(late.faults.iter().filter_map(|f| f.index).collect::<Vec<_>>(), want);
    assert!(!want.is_empty());
}

#[test]
fn a_copy_of_the_folder_verifies_with_its_cosigned_checkpoint() {
    let (home, _, _) = log();
    let other = Home::new();
    copy(&home.dir(), &other.dir());
    assert_eq!(verify(&other, Some(policy())), verify(&home, Some(policy())));
}
