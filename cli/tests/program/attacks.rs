//! The attack table: whoever has every key of a network rewrites the log of a real run, each time in one thing, and is named.

mod files;
mod forgery;

use counterfoil_spec::amount::{MicroUsd, TokenCount};
use counterfoil_spec::ids::{Hash, ManifestId, NodeId, PublicKey, RouterId, Serial};
use counterfoil_spec::payload::{KeyRevoked, Payload, Prune, Refund, RemovedKind, Rules};
use serde_json::Value;

use crate::harness::{Home, ask};
use forgery::{Forgery, Real};

/// What it is called, what is done, giving the entry at which it must be named, and as what.
type Attack = (&'static str, fn(&mut Forgery<'_>) -> usize, &'static str);

/// Attacks on entries: everything around them, to the signatures and the signed head, is made to fit.
const ON_ENTRIES: &[Attack] = &[
    ("an entry stands twice", twice, "DuplicateSerial"),
    ("an author leaves out a number", |f| f.last(|b| b.seq += 1), "AuthorSeqGap"),
    (
        "an author names another entry before",
        |f| f.last(|b| b.prev = Hash::from_bytes([1; 32])),
        "PrevMismatch",
    ),
    ("an entry is dated back", |f| f.last(|b| b.time.0 -= 3_600_000), "ClockRegression"),
    ("a stranger signs", stranger, "UnknownKey"),
    ("a signature is another's", other_signature, "BadEntrySignature"),
    ("bytes follow an entry", trailing, "NonCanonical"),
    ("a node's key is of small order", weak, "WeakKey"),
    ("a node has another's name", renamed, "WrongParty"),
    ("consents are left out", without_consents, "NoConsent"),
    ("work is for another node", other_node, "WrongParty"),
    ("work is older than its consent", old_work, "Expired"),
    ("work is for a model that was not consented to", other_model, "OverGrant"),
    ("work promised earlier than it was logged", broken, "BrokenPromise"),
    ("work is left out", without_work, "UncounteredReceipt"),
    ("a credit has more forwards", |f| f.inference(|i| i.credits[0].forwards += 1), "ForwardsMismatch"),
    ("a token goes to another node", moved, "ConservationViolated"),
    ("more is debited", |f| f.inference(|i| i.debits[0].tokens.0 += 1), "ConservationViolated"),
    (
        "a lot that is none is debited",
        |f| f.inference(|i| i.debits[0].lot = Serial::from_bytes([7; 16])),
        "NoLot",
    ),
    ("tokens beyond 64 bits", |f| f.inference(|i| i.prompt_tokens = TokenCount(u64::MAX)), "SumOverflow"),
    ("rules without the ones before", rules_ahead, "NotMonotonic"),
    ("more is refunded than was paid", refund, "NegativeUnits"),
    ("a prune of what stays", prune, "PruneMismatch"),
];

#[test]
fn every_attack_on_the_entries_of_a_real_log_is_named() {
    let real = Real::run();
    let report = real.forge().judge();
    assert_eq!((report["ok"].clone(), faults(&report)), (true.into(), vec![]), "rewritten as it is");
    for (what, attack, name) in ON_ENTRIES {
        let mut forgery = real.forge();
        let index = attack(&mut forgery);
        let report = forgery.judge();
        let found = faults(&report);
        assert!(found.contains(&((*name).to_owned(), Some(index as u64))), "{what}: {found:?}");
    }
    real.home.assert_logs_verify();
}

#[test]
fn every_attack_on_the_files_of_a_real_log_is_named() {
    let real = Real::run();
    for (what, attack, name) in files::ON_FILES {
        let log = real.copy();
        let more = attack(&real, &log);
        let report = real.judge(&log, &more);
        let found: Vec<String> = faults(&report).into_iter().map(|(name, _)| name).collect();
        assert!(found.iter().any(|found| found == name), "{what}: {report}");
    }
}

fn faults(report: &Value) -> Vec<(String, Option<u64>)> {
    let one = |f: &Value| (f["fault"].as_str().unwrap().to_owned(), f["index"].as_u64());
    report["faults"].as_array().unwrap().iter().map(one).collect()
}

fn twice(f: &mut Forgery<'_>) -> usize {
    let at = f.find(|p| matches!(p, Payload::Inference(_)));
    let again = f.entries[at].clone();
    f.append(again)
}

fn stranger(f: &mut Forgery<'_>) -> usize {
    let at = f.entries.len() - 1;
    f.strangers.push(at);
    at
}

fn other_signature(f: &mut Forgery<'_>) -> usize {
    let at = f.entries.len() - 1;
    f.flipped.push(at);
    at
}

fn trailing(f: &mut Forgery<'_>) -> usize {
    let at = f.entries.len() - 1;
    f.trailing.push(at);
    at
}

fn weak(f: &mut Forgery<'_>) -> usize {
    let at = f.find(|p| matches!(p, Payload::NodeEnrolled(_)));
    if let Payload::NodeEnrolled(node) = &mut f.entries[at].body.payload {
        node.identity_key = PublicKey::from_bytes([0; 32]);
    }
    at
}

fn renamed(f: &mut Forgery<'_>) -> usize {
    let at = f.find(|p| matches!(p, Payload::NodeEnrolled(_)));
    if let Payload::NodeEnrolled(node) = &mut f.entries[at].body.payload {
        node.node = NodeId::from_bytes([9; 32]);
    }
    at
}

fn without_consents(f: &mut Forgery<'_>) -> usize {
    f.entries.retain(|e| !matches!(e.body.payload, Payload::ConsentGranted(_)));
    f.find(|p| matches!(p, Payload::Work(_)))
}

fn without_work(f: &mut Forgery<'_>) -> usize {
    let at = f.find(|p| matches!(p, Payload::Work(_)));
    f.entries.remove(at);
    f.find(|p| matches!(p, Payload::Inference(_)))
}

fn other_node(f: &mut Forgery<'_>) -> usize {
    f.work(|body| body.router = RouterId::from_bytes([3; 32]))
}

fn old_work(f: &mut Forgery<'_>) -> usize {
    f.work(|body| body.opened.0 -= 30 * 86_400_000)
}

fn other_model(f: &mut Forgery<'_>) -> usize {
    f.work(|body| body.manifest = ManifestId::from_bytes([4; 32]))
}

fn broken(f: &mut Forgery<'_>) -> usize {
    f.work(|body| {
        body.opened.0 -= 7_200_000;
        body.closed.0 -= 7_200_000;
    })
}

fn moved(f: &mut Forgery<'_>) -> usize {
    f.inference(|i| {
        i.credits[0].micro_tokens.0 -= 1;
        i.credits[1].micro_tokens.0 += 1;
    })
}

fn rules_ahead(f: &mut Forgery<'_>) -> usize {
    let at = f.find(|p| matches!(p, Payload::Rules(_)));
    let Payload::Rules(rules) = f.entries[at].body.payload.clone() else { panic!("no rules") };
    let version = rules.version + 2;
    f.add(Rules { version, ..rules }.into())
}

fn refund(f: &mut Forgery<'_>) -> usize {
    let at = f.find(|p| matches!(p, Payload::Payment(_)));
    let payment = f.entries[at].body.serial;
    f.add(Refund { payment, amount: MicroUsd(1 << 50) }.into())
}

fn prune(f: &mut Forgery<'_>) -> usize {
    let kind = Payload::from(KeyRevoked { key_id: Serial::from_bytes([0; 16]) }).kind();
    let removed = vec![RemovedKind { kind, count: 1 }];
    let hash = Hash::from_bytes([1; 32]);
    f.add(Prune { first: 0, end: 256, kept: vec![], removed, hash, kept_days: 3653 }.into())
}
