//! Logs with one thing wrong.

mod denials;
mod origins;

use counterfoil_spec::amount::MicroTokens;
use counterfoil_spec::entry::Body;
use counterfoil_spec::ids::Kid;
use counterfoil_spec::payload::{
    ConsentGranted, ConsentRevoked, Credit, FinishReason, Genesis, Inference, ModelPublished, NodeEnrolled,
    Payload, Work,
};
use counterfoil_spec::rule::{FaultKind, Rule, Seen};

use super::*;
use crate::{ConsentRule, countersign, sign_receipt};

/// A log as a list of entries: (seconds after the beginning, serial, payload).
type Log = Vec<(u64, Serial, Payload)>;

fn genesis(author: &SecretKey, role: u8) -> Payload {
    Genesis {
        root_spki: root().public().spki_der(),
        next_root_hash: None,
        origin: "router.example/log".to_owned(),
        log_vkey: "router.example/log+0badcafe+AQ==".to_owned(),
        currency: "USD".to_owned(),
        author_key: author.public().wire(),
        author_id: author.public().node_id(),
        author_role: role,
    }
    .into()
}

fn enrolled(key: &SecretKey) -> Payload {
    NodeEnrolled {
        node: key.public().node_id(),
        identity_key: key.public().wire(),
        log_vkey: "node+0badcafe+AQ==".to_owned(),
        token_id: serial(0),
        generation: 1,
        recovery_hash: Hash::from_bytes([0; 32]),
    }
    .into()
}

/// Four MoE layers of eight experts, two per token: at most eight forwards a token.
fn published() -> Payload {
    ModelPublished {
        manifest: MODEL,
        name: "guide".to_owned(),
        family: "mixtral".to_owned(),
        layers: 4,
        moe_layers: vec![0, 1, 2, 3],
        experts: 8,
        top_k: 2,
        source: None,
        size: None,
    }
    .into()
}

fn granted(change: impl FnOnce(&mut Claims)) -> Payload {
    let mut claims = claims();
    change(&mut claims);
    ConsentGranted {
        node: node().public().node_id(),
        cti: claims.cti,
        token: sign_token(&claims, &node()).unwrap(),
    }
    .into()
}

fn revoked(min_epoch: u64) -> Payload {
    ConsentRevoked { node: node().public().node_id(), cti: serial(1), min_epoch }.into()
}

fn worked(change: impl FnOnce(&mut ReceiptBody)) -> Work {
    let mut body = receipt_body();
    change(&mut body);
    let (bytes, sig) = sign_receipt(&body, &node(), &net()).unwrap();
    let receipt = countersign(&bytes, &sig, &node().public(), &router(), &net()).unwrap();
    Work { receipt, request: serial(50) }
}

fn inferred(works: Vec<Serial>, forwards: u64) -> Payload {
    Inference {
        prompt_commitment: Hash::from_bytes([0; 32]),
        output_commitment: Hash::from_bytes([0; 32]),
        manifest: MODEL,
        account: counterfoil_spec::ids::AccountId::from_bytes([0; 32]),
        key_id: None,
        prompt_tokens: TokenCount(4),
        cached_tokens: TokenCount(0),
        completion_tokens: TokenCount(6),
        positions: 10,
        price_micro_per_1k: 10_000,
        debits: Vec::new(),
        started: NOW.millis(),
        ended: NOW.millis(),
        finish: FinishReason::Stop,
        works,
        credits: vec![Credit {
            node: node().public().node_id(),
            forwards,
            micro_tokens: MicroTokens(10_000_000),
        }],
        unreceipted: 0,
        failed_node: None,
    }
    .into()
}

/// Entries 0 to 4 of a router's log, up to one work entry.
fn log(work: Work) -> Log {
    vec![
        (0, serial(90), genesis(&router(), 2)),
        (0, serial(91), enrolled(&node())),
        (0, serial(92), published()),
        (0, serial(93), granted(|c| c.callers.countries.clear())),
        (3, serial(60), work.into()),
    ]
}

fn faults_of(mut rule: ConsentRule, log: Log) -> Vec<(FaultKind, Option<u64>)> {
    let mut faults = Vec::new();
    for (index, (after, serial, payload)) in (0..).zip(log) {
        let body = Body {
            version: 1,
            author: Kid::from_bytes([0; 8]),
            seq: index,
            prev: Hash::from_bytes([0; 32]),
            time: NOW.plus(after).millis(),
            serial,
            payload,
            anchor: None,
        };
        rule.entry(&Seen { index, body: &body }, &mut faults);
    }
    rule.finish(&mut faults);
    faults.into_iter().map(|f| (f.kind, f.index)).collect()
}

fn faults(log: Log) -> Vec<(FaultKind, Option<u64>)> {
    faults_of(ConsentRule::new(), log)
}

fn with(work: Work, change: impl FnOnce(&mut Log)) -> Vec<(FaultKind, Option<u64>)> {
    let mut log = log(work);
    change(&mut log);
    faults(log)
}

const NONE: [(FaultKind, Option<u64>); 0] = [];

#[test]
fn log_in_order_has_no_fault() {
    assert_eq!(with(worked(|_| {}), |l| l.push((3, serial(50), inferred(vec![serial(60)], 80)))), NONE);
}

#[test]
fn inference_may_stand_before_its_work() {
    let before = |l: &mut Log| l.insert(4, (3, serial(50), inferred(vec![serial(60)], 80)));
    assert_eq!(with(worked(|_| {}), before), NONE);
}

#[test]
fn work_without_a_consent_before_it() {
    assert_eq!(with(worked(|_| {}), |l| drop(l.remove(3))), [(FaultKind::NoConsent, Some(3))]);
    assert_eq!(with(worked(|_| {}), |l| l.swap(3, 4)), [(FaultKind::NoConsent, Some(3))]);
    assert_eq!(with(worked(|b| b.cti = serial(2)), |_| {}), [(FaultKind::NoConsent, Some(4))]);
}

#[test]
fn work_after_its_consent_was_withdrawn() {
    let later = |seconds: u64| {
        let work = worked(move |b| {
            b.opened = NOW.plus(seconds).millis();
            b.closed = b.opened;
        });
        with(work, |l| {
            l.insert(4, (10, serial(94), revoked(4)));
            l[5].0 = seconds;
        })
    };
    assert_eq!(later(70), NONE, "the clocks may differ by a minute");
    assert_eq!(later(71), [(FaultKind::NoConsent, Some(5))]);
}

#[test]
fn raised_epoch_voids_earlier_consents_and_never_falls() {
    let later = |epoch| {
        let work = worked(|b| {
            b.opened = NOW.plus(100).millis();
            b.closed = b.opened;
        });
        let other = ConsentRevoked { node: node().public().node_id(), cti: serial(77), min_epoch: epoch };
        with(work, |l| {
            l.insert(4, (0, serial(94), other.into()));
            l[5].0 = 100;
        })
    };
    assert_eq!(later(4), NONE);
    assert_eq!(later(5), [(FaultKind::NoConsent, Some(5))]);
    assert_eq!(later(3), [(FaultKind::NotMonotonic, Some(4))]);
}

#[test]
fn work_after_the_consent_ended() {
    let at = |seconds: u64| {
        let work = worked(move |b| {
            b.opened = NOW.plus(seconds).millis();
            b.closed = b.opened;
        });
        with(work, |l| l[4].0 = seconds)
    };
    assert_eq!(at(DAY + 59), NONE);
    assert_eq!(at(DAY + 60), [(FaultKind::Expired, Some(4))]);
}

#[test]
fn consent_entry_must_hold_a_token_in_order() {
    let consent = |payload: Payload| {
        with(worked(|_| {}), |l| {
            l.truncate(3);
            l.push((0, serial(93), payload));
        })
    };
    assert_eq!(consent(granted(|_| {})), NONE);
    assert_eq!(consent(granted(|c| c.expires = NOW)), [(FaultKind::Expired, Some(3))]);
    assert_eq!(
        consent(granted(|c| c.audience = RouterId::from_bytes([0; 32]))),
        [(FaultKind::WrongParty, Some(3))]
    );
    assert_eq!(
        consent(granted(|c| c.ranges[0].manifest = ManifestId::from_bytes([0; 32]))),
        [(FaultKind::NoConsent, Some(3))]
    );
    let token = sign_token(&claims(), &router()).unwrap();
    let forged = ConsentGranted { node: claims().issuer, cti: serial(1), token };
    assert_eq!(consent(forged.clone().into()), [(FaultKind::NoConsent, Some(3))]);
    let unknown = ConsentGranted { node: NodeId::from_bytes([0; 32]), ..forged.clone() };
    assert_eq!(consent(unknown.into()), [(FaultKind::UnknownKey, Some(3))]);
    let broken = ConsentGranted { token: vec![0], ..forged };
    assert_eq!(consent(broken.into()), [(FaultKind::NonCanonical, Some(3))]);
    let token = sign_token(&claims(), &node()).unwrap();
    let renamed = ConsentGranted { node: claims().issuer, cti: serial(2), token };
    assert_eq!(consent(renamed.into()), [(FaultKind::WrongParty, Some(3))]);
}

#[test]
fn consent_of_a_lower_epoch_follows_none_of_a_higher() {
    let next = |epoch| {
        with(worked(|_| {}), |l| {
            l.push((3, serial(95), granted(|c| (c.cti, c.epoch) = (serial(3), epoch))));
        })
    };
    assert_eq!(next(4), NONE);
    assert_eq!(next(3), [(FaultKind::NotMonotonic, Some(5))]);
}

#[test]
fn receipt_needs_both_halves() {
    let forged = node().sign(b"");
    let mut work = worked(|_| {});
    work.receipt.router_sig = forged;
    assert_eq!(with(work, |_| {}), [(FaultKind::UncounteredReceipt, Some(4))]);
    let mut work = worked(|_| {});
    work.receipt.node_sig = forged;
    assert_eq!(with(work, |_| {}), [(FaultKind::UncounteredReceipt, Some(4))]);
    let mut work = worked(|_| {});
    work.receipt.body.push(0);
    assert_eq!(with(work, |_| {}), [(FaultKind::NonCanonical, Some(4))]);
}

#[test]
fn receipt_must_reach_the_log_as_promised() {
    let at = |seconds: u64| with(worked(|b| b.closed = b.opened), |l| l[4].0 = seconds);
    assert_eq!(at(60), NONE);
    assert_eq!(at(61), [(FaultKind::BrokenPromise, Some(4))]);
}

#[test]
fn receipt_must_be_the_entrys_own_and_of_a_known_node() {
    assert_eq!(with(worked(|_| {}), |l| l[4].1 = serial(61)), [(FaultKind::WrongParty, Some(4))]);
    assert_eq!(
        with(worked(|_| {}), |l| drop(l.remove(1))),
        [(FaultKind::UnknownKey, Some(2)), (FaultKind::UnknownKey, Some(3)), (FaultKind::NoConsent, Some(3)),]
    );
    let stranger = SecretKey::from_seed([8; 32]);
    let mut body = receipt_body();
    body.node = stranger.public().node_id();
    let (bytes, sig) = sign_receipt(&body, &stranger, &net()).unwrap();
    let receipt = countersign(&bytes, &sig, &stranger.public(), &router(), &net()).unwrap();
    let other =
        with(Work { receipt, request: serial(50) }, |l| l.insert(1, (0, serial(95), enrolled(&stranger))));
    assert_eq!(other, [(FaultKind::WrongParty, Some(5))], "under another node's consent");
}

#[test]
fn receipt_beyond_its_consent() {
    let other = ManifestId::from_bytes([0xbb; 32]);
    assert_eq!(with(worked(|b| b.manifest = other), |_| {}), [(FaultKind::OverGrant, Some(4))]);
    let forwards = |n: u64| with(worked(move |b| (b.forwards, b.made) = (n, n)), |_| {});
    assert_eq!(forwards(8 * 1000), NONE, "eight forwards a token, a thousand tokens a request");
    assert_eq!(forwards(8 * 1000 + 1), [(FaultKind::OverGrant, Some(4))]);
}

#[test]
fn receipts_of_one_day_beyond_its_quota() {
    let days = |n: u8| {
        let mut log = log(worked(|b| (b.forwards, b.made) = (8000, 8000)));
        for i in 1..n {
            let work = worked(move |b| (b.serial, b.forwards, b.made) = (serial(100 + i), 8000, 8000));
            log.push((3, serial(100 + i), work.into()));
        }
        faults(log)
    };
    assert_eq!(days(10), NONE);
    assert_eq!(days(11), [(FaultKind::OverGrant, Some(14))]);
}

#[test]
fn inference_must_name_work_of_its_own_request() {
    let inference = |works: Vec<Serial>, forwards| {
        with(worked(|_| {}), |l| l.push((3, serial(50), inferred(works, forwards))))
    };
    assert_eq!(inference(vec![serial(60)], 80), NONE);
    assert_eq!(inference(vec![serial(60)], 81), [(FaultKind::UncounteredReceipt, Some(5))]);
    assert_eq!(inference(vec![], 80), [(FaultKind::UncounteredReceipt, Some(5))]);
    assert_eq!(inference(vec![serial(60), serial(61)], 80), [(FaultKind::UncounteredReceipt, Some(5))]);
    let stolen = with(worked(|_| {}), |l| l.push((3, serial(51), inferred(vec![serial(60)], 0))));
    assert_eq!(stolen, [(FaultKind::WrongParty, Some(5))]);
    let early = with(worked(|_| {}), |l| l.insert(4, (3, serial(51), inferred(vec![serial(60)], 0))));
    assert_eq!(early, [(FaultKind::WrongParty, Some(5))]);
}

#[test]
fn author_must_be_a_router_or_a_node_with_its_own_id() {
    let mut other = genesis(&router(), 2);
    if let Payload::Genesis(g) = &mut other {
        g.author_id = NodeId::from_bytes([0; 32]);
    }
    assert_eq!(faults(vec![(0, serial(90), other)]), [(FaultKind::WrongParty, Some(0))]);
    assert_eq!(faults(vec![(0, serial(90), genesis(&router(), 1))]), [(FaultKind::WrongParty, Some(0))]);
    let mut weak = genesis(&router(), 2);
    if let Payload::Genesis(g) = &mut weak {
        g.author_key = counterfoil_spec::ids::PublicKey::from_bytes([0; 32]);
    }
    assert_eq!(faults(vec![(0, serial(90), weak)]), [(FaultKind::WeakKey, Some(0))]);
}

/// A node's own log: it introduces the node, and nobody else.
fn nodes_log(work: Work) -> Log {
    vec![(0, serial(90), genesis(&node(), 3)), (0, serial(93), granted(|_| {})), (3, serial(60), work.into())]
}

#[test]
fn nodes_own_log_proves_its_work() {
    assert_eq!(faults(nodes_log(worked(|_| {}))), NONE);
    let router_known = || ConsentRule::with_router(router().public());
    assert_eq!(faults_of(router_known(), nodes_log(worked(|_| {}))), NONE);
    let mut uncountered = worked(|_| {});
    uncountered.receipt.router_sig = node().sign(b"");
    assert_eq!(faults(nodes_log(uncountered.clone())), NONE, "the router's key is not known here");
    assert_eq!(faults_of(router_known(), nodes_log(uncountered)), [(FaultKind::UncounteredReceipt, Some(2))]);
    let mut late = nodes_log(worked(|_| {}));
    late[2].0 = 1000;
    assert_eq!(faults(late), NONE, "the promise is of the router's log");
}
