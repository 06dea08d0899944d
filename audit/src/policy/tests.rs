use std::sync::Arc;

use counterfoil_identity::SecretKey;

use super::*;
use crate::note::{NoteSigner, WitnessSigner};

const TEXT: &str = "a.example/log\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n";

fn witness(n: u8) -> WitnessSigner {
    WitnessSigner::new(&format!("w{n}.example"), Arc::new(SecretKey::from_seed([n; 32]))).unwrap()
}

fn vkey(n: u8) -> String {
    witness(n).public().to_string()
}

/// Witnesses 1 to `n` by the names w1, w2, …
fn witnesses(n: u8) -> String {
    (1..=n).map(|n| format!("witness w{n} {}\n", vkey(n))).collect()
}

/// The log's note with cosignatures of these witnesses, each at its own time.
fn note(cosigned: &[u8]) -> Note {
    let log = NoteSigner::new("a.example/log", Arc::new(SecretKey::from_seed([99; 32]))).unwrap();
    let mut all = log.sign(TEXT).unwrap();
    for n in cosigned {
        all.push_str(&witness(*n).cosign(TEXT, Seconds(100 + u64::from(*n))).unwrap());
    }
    Note::parse(all.as_bytes()).unwrap()
}

fn met(policy: &str, cosigned: &[u8]) -> bool {
    policy.parse::<Policy>().unwrap().judge(&note(cosigned)).quorum_met
}

fn fault(policy: &str) -> (usize, PolicyFault) {
    let refused = policy.parse::<Policy>().unwrap_err();
    (refused.line, refused.fault)
}

#[test]
fn quorum_of_groups_of_groups() {
    let policy = format!(
        "# two of three here, and one of two there\n\n{}group X 2 w1 w2 w3\n\tgroup Y  any w4 w5 \ngroup all-of all X Y\nquorum all-of\n",
        witnesses(5)
    );
    for (cosigned, want) in [
        (&[1, 2, 4][..], true),
        (&[2, 3, 5], true),
        (&[1, 2, 3, 4, 5], true),
        (&[1, 2, 3], false),
        (&[1, 4, 5], false),
        (&[], false),
        (&[9, 8, 7], false),
    ] {
        assert_eq!(met(&policy, cosigned), want, "{cosigned:?}");
    }
}

#[test]
fn one_witness_and_none() {
    let one = format!("{}quorum w2\n", witnesses(2));
    assert!(met(&one, &[2]) && !met(&one, &[1]));
    let none = format!("{}quorum none\n", witnesses(1));
    assert!(met(&none, &[]));
    assert!(!none.parse::<Policy>().unwrap().asks_for_witnesses());
}

#[test]
fn cosignatures_are_named_with_their_times_and_a_bad_one_counts_for_nothing() {
    let policy: Policy = format!("{}group g 2 w1 w2\nquorum g\n", witnesses(2)).parse().unwrap();
    let mut signed = note(&[1, 2]);
    let found = policy.judge(&signed);
    let times = [("w1".to_owned(), Seconds(101)), ("w2".to_owned(), Seconds(102))];
    assert_eq!(
        found,
        Witnessed {
            quorum_met: true,
            cosigned: times.clone().into(),
            as_of: Some(Seconds(101)),
            bad: vec![]
        }
    );
    *signed.signatures.last_mut().unwrap().signature.last_mut().unwrap() ^= 1;
    let found = policy.judge(&signed);
    let [first, _] = times;
    assert_eq!(
        found,
        Witnessed { quorum_met: false, cosigned: [first].into(), as_of: None, bad: vec!["w2".to_owned()] }
    );
}

#[test]
fn an_instant_counts_that_a_quorum_states_and_not_one_that_fewer_do() {
    let as_of =
        |policy: &str, cosigned: &[u8]| policy.parse::<Policy>().unwrap().judge(&note(cosigned)).as_of;
    let two = format!("{}group g 2 w1 w2 w3 w4\nquorum g\n", witnesses(4));
    // Each states 100 s and its number.
    assert_eq!(as_of(&two, &[1, 2, 4]), Some(Seconds(102)));
    assert_eq!(as_of(&two, &[1, 4]), Some(Seconds(101)));
    assert_eq!(as_of(&two, &[4]), None);
    assert_eq!(as_of(&format!("{}quorum none\n", witnesses(4)), &[4]), None);
}

#[test]
fn every_wrong_line_is_named() {
    let w = witnesses(3);
    let log = NoteSigner::new("a.example/log", Arc::new(SecretKey::from_seed([99; 32]))).unwrap().vkey();
    let name = |n: &str| n.to_owned();
    for (policy, line, want) in [
        (String::new(), 1, PolicyFault::QuorumLines),
        (format!("{w}quorum w1\nquorum w1\n"), 5, PolicyFault::QuorumLines),
        (format!("{w}quorum w4\n"), 4, PolicyFault::UnknownName(name("w4"))),
        (format!("group g any w1\n{w}quorum w1\n"), 1, PolicyFault::UnknownName(name("w1"))),
        (format!("{w}group g any none\n"), 4, PolicyFault::UnknownName(name("none"))),
        (format!("{w}group none any w1\n"), 4, PolicyFault::NameTaken(name("none"))),
        (format!("{w}group w1 any w2\n"), 4, PolicyFault::NameTaken(name("w1"))),
        (format!("{w}group g 2 w1 w1\n"), 4, PolicyFault::MemberTwice(name("w1"))),
        (format!("{w}group g any w1\ngroup h any w1\n"), 5, PolicyFault::MemberTwice(name("w1"))),
        (format!("{w}group g 0 w1\n"), 4, PolicyFault::Threshold),
        (format!("{w}group g 02 w1 w2\n"), 4, PolicyFault::Threshold),
        (format!("{w}group g 3 w1 w2\n"), 4, PolicyFault::Threshold),
        (format!("{w}group g any\n"), 4, PolicyFault::Form),
        (format!("{w}witnesses\n"), 4, PolicyFault::Form),
        (format!("{w}quorum w1"), 4, PolicyFault::NoNewline),
        (format!("{w}quorum w1\r\n"), 4, PolicyFault::ControlCharacter),
        (format!("{w}witness w4 {}\n", vkey(1)), 4, PolicyFault::DuplicateKey),
        (format!("log {log}\nlog {log} http://a.example\n"), 2, PolicyFault::DuplicateKey),
        (
            format!("log {}\n", vkey(1)),
            1,
            PolicyFault::Key(NoteError::MalformedKey("not an Ed25519 log key (type 01)")),
        ),
        (
            format!("witness w {log}\n"),
            1,
            PolicyFault::Key(NoteError::MalformedKey("not an Ed25519 witness key (type 04)")),
        ),
        (format!("{}quorum none\n", witnesses(33)), 33, PolicyFault::TooMany),
        ("#".repeat(MAX_POLICY_BYTES + 1), 1, PolicyFault::TooLong),
    ] {
        assert_eq!(fault(&policy), (line, want), "{policy}");
    }
    let most: Policy = format!("{}quorum none\n", witnesses(32)).parse().unwrap();
    assert_eq!(most.witnesses().len(), 32);
}
