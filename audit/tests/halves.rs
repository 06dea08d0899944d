//! A router's log and a node's that hold the two halves of one work: what each drops, cuts off or rewrites is named by the other, and
//! what was signed twice is evidence.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on has failed")]

mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use counterfoil_audit::halves::{Compared, Evidence, Half, NoEvidence, Parting, compare};
use counterfoil_audit::proof::prove_consistency;
use counterfoil_audit::prune::plan;
use counterfoil_audit::{LogConfig, LogReader, LogWriter, NewEntry, NoteSigner};
use counterfoil_spec::encode::to_canonical;
use counterfoil_spec::entry::Role;
use counterfoil_spec::ids::{Hash, ManifestId, Signature};
use counterfoil_spec::payload::{Payload, PeerAnchor, Prune, Work};
use counterfoil_spec::receipt::{Receipt, ReceiptBody};
use counterfoil_spec::rule::FaultKind::{
    self, BrokenPromise, Fork, OriginNotPinned, Rollback, UncounteredReceipt, UnknownKey,
};
use counterfoil_spec::time::Millis;
use support::forge::{enrolled, join_token};
use support::{Home, aged, key, serial, signer};
use tempfile::TempDir;

/// Every receipt is due by then.
const LATER: Millis = Millis(u64::MAX);
const NODE_ORIGIN: &str = "node.example/log";

/// Two logs that are written side by side.
struct Pair {
    folder: TempDir,
    clock: Arc<AtomicU64>,
    router: (LogWriter, Vec<Payload>),
    node: (LogWriter, Vec<Payload>),
}

fn node_signer() -> NoteSigner {
    NoteSigner::new(NODE_ORIGIN, key(140)).unwrap()
}

fn open(dir: PathBuf, role: Role, clock: &Arc<AtomicU64>) -> LogWriter {
    let home = Home::new();
    let mut config = LogConfig { dir, ..home.config() };
    if role == Role::Node {
        (config.author, config.role, config.note) = (key(40), role, node_signer());
        config.genesis.root = None;
    }
    let clock = Arc::clone(clock);
    LogWriter::open(config, Arc::new(move || Millis(clock.load(Ordering::Relaxed)))).unwrap().0
}

fn receipt(n: u64, node: u8) -> Work {
    let body = ReceiptBody {
        serial: serial(n),
        open_hash: Hash::from_bytes([0; 32]),
        node: key(node).public().node_id(),
        router: key(2).public().router_id(),
        manifest: ManifestId::from_bytes([0; 32]),
        cti: serial(2),
        forwards: n,
        made: n,
        transcript: Hash::from_bytes([0; 32]),
        opened: Millis(0),
        closed: Millis(5),
        compute_us: 0,
    };
    let [node_sig, router_sig] = [Signature::from_bytes([1; 64]), Signature::from_bytes([2; 64])];
    let include_by = Millis(1_000_000 + n);
    Work {
        receipt: Receipt { body: to_canonical(&body), node_sig, router_sig, include_by },
        request: serial(9),
    }
}

fn put(log: &mut (LogWriter, Vec<Payload>), payload: impl Into<Payload>) -> u64 {
    let payload = payload.into();
    log.1.push(payload.clone());
    append(&log.0, log.1.len() as u64, payload)
}

fn append(log: &LogWriter, n: u64, payload: Payload) -> u64 {
    let serial = match &payload {
        Payload::Work(work) => {
            let body: ReceiptBody = minicbor::decode(&work.receipt.body).unwrap();
            body.serial
        }
        _ => serial(1000 + n),
    };
    log.append(vec![NewEntry::new(serial, payload)]).unwrap().first
}

impl Pair {
    /// The node has enrolled.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(AtomicU64::new(1000));
        let of = |name: &str, role| (open(folder.path().join(name), role, &clock), Vec::new());
        let (mut router, node) = (of("router", Role::Router), of("node", Role::Node));
        put(&mut router, join_token());
        put(&mut router, enrolled(40));
        Self { folder, clock, router, node }
    }

    /// Three receipts in both, and heads of both in both. The node's first entries are 1 to 3, the router's 3 to 5.
    fn worked() -> Self {
        let mut pair = Self::new();
        for n in 1..=3 {
            put(&mut pair.router, receipt(n, 40));
            put(&mut pair.node, receipt(n, 40));
        }
        pair.exchange();
        pair
    }

    /// Each keeps the other's head.
    fn exchange(&mut self) {
        let note = self.router.0.publish().unwrap();
        put(&mut self.node, PeerAnchor { note, vkey: Some(signer().vkey()), succession: None });
        let note = self.node.0.publish().unwrap();
        put(&mut self.router, PeerAnchor { note, vkey: None, succession: None });
        self.router.0.publish().unwrap();
    }

    fn dir(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a log anew with its own keys, without what `keep` leaves out.
    fn rewritten(&self, name: &str, keep: impl Fn(usize) -> bool) -> PathBuf {
        let (role, was) =
            if name == "router" { (Role::Router, &self.router.1) } else { (Role::Node, &self.node.1) };
        let dir = self.dir(&format!("{name}-again"));
        let log = open(dir.clone(), role, &self.clock);
        for (n, payload) in was.iter().enumerate().filter(|(n, _)| keep(*n)) {
            append(&log, n as u64 + 1, payload.clone());
        }
        log.close().unwrap();
        dir
    }

    fn compared(&self, router: &Path, node: &Path) -> Compared {
        let (router, node) = (Half::open(router, None).unwrap(), Half::open(node, None).unwrap());
        let compared = compare(&router, &node, LATER).unwrap();
        let again = compare(&node, &router, LATER).unwrap();
        assert_eq!(again.faults, compared.faults);
        assert_eq!(compared.ok, compared.faults.is_empty());
        compared
    }
}

fn named(compared: &Compared) -> Vec<(&str, FaultKind, Option<u64>)> {
    compared.faults.iter().map(|f| (f.log.as_str(), f.fault.kind, f.fault.index)).collect()
}

const ROUTERS: &str = support::ORIGIN;

#[test]
fn halves_that_match_are_counted_and_nothing_is_named() {
    let mut pair = Pair::worked();
    // Another node's work is not this one's to have.
    put(&mut pair.router, receipt(7, 41));
    pair.exchange();
    let compared = pair.compared(&pair.dir("router"), &pair.dir("node"));
    assert_eq!(named(&compared), []);
    assert_eq!((compared.matched, compared.router_heads, compared.node_heads), (3, 2, 2));
    assert_eq!((compared.router.as_str(), compared.node.as_str()), (ROUTERS, NODE_ORIGIN));
    assert_eq!(compared.evidence, []);
}

//= spec/audit-log.md#two-halves
//= type=test
//# A receipt that one of the logs lacks, or has with other bytes, is `UncounteredReceipt`, of the entry that has it
#[test]
fn receipt_that_one_log_lacks_is_named_in_the_other() {
    let mut pair = Pair::worked();
    let ours = put(&mut pair.router, receipt(4, 40));
    let theirs = put(&mut pair.node, receipt(5, 40));
    assert_eq!((ours, theirs), (7, 5));
    let compared = pair.compared(&pair.dir("router"), &pair.dir("node"));
    assert_eq!(
        named(&compared),
        [(ROUTERS, UncounteredReceipt, Some(7)), (NODE_ORIGIN, UncounteredReceipt, Some(5))]
    );
    assert_eq!(compared.matched, 3);

    let mut pair = Pair::worked();
    put(&mut pair.router, receipt(4, 40));
    let mut other = receipt(4, 40);
    other.receipt.include_by = Millis(7);
    put(&mut pair.node, other);
    let compared = pair.compared(&pair.dir("router"), &pair.dir("node"));
    assert_eq!(named(&compared), [(ROUTERS, UncounteredReceipt, Some(7))]);
}

//= spec/audit-log.md#two-halves
//= type=test
//# A receipt of the router's log that is not due yet MUST be waited for in the node's before it is named, as it may be on its way.
#[test]
fn receipt_that_is_under_way_to_the_node_is_waited_for() {
    let mut pair = Pair::worked();
    let [arriving, lost] = [4, 5].map(|n| receipt(n, 40));
    put(&mut pair.router, arriving.clone());
    put(&mut pair.router, lost);
    let [router, node] = ["router", "node"].map(|name| Half::open(&pair.dir(name), None).unwrap());
    let log = pair.node.0.clone();
    let compared = std::thread::scope(|scope| {
        let compared = scope.spawn(|| compare(&router, &node, Millis(0)).unwrap());
        append(&log, 90, arriving.into());
        compared.join().unwrap()
    });
    assert_eq!(named(&compared), [(ROUTERS, UncounteredReceipt, Some(8))]);
    assert_eq!(compared.matched, 4);
}

//= spec/audit-log.md#two-halves
//= type=test
//# where the router's log goes on beyond the receipt's `include_by` without it, the router broke its promise (`BrokenPromise`).
#[test]
fn promise_is_broken_once_the_routers_log_is_past_it() {
    let mut pair = Pair::worked();
    put(&mut pair.node, receipt(4, 40));
    pair.clock.store(1_000_004, Ordering::Relaxed);
    put(&mut pair.router, join_token());
    let at = |pair: &Pair| named(&pair.compared(&pair.dir("router"), &pair.dir("node"))).len();
    assert_eq!(at(&pair), 1);
    pair.clock.store(1_000_005, Ordering::Relaxed);
    put(&mut pair.router, join_token());
    let compared = pair.compared(&pair.dir("router"), &pair.dir("node"));
    assert_eq!(
        named(&compared),
        [(NODE_ORIGIN, UncounteredReceipt, Some(5)), (NODE_ORIGIN, BrokenPromise, Some(5))]
    );
}

/// Checks that evidence is what was found, that it goes through a file, and that another key signed nothing of it.
fn shown(compared: &Compared, of: &NoteSigner, kept: u64, shown: u64) -> Evidence {
    let [evidence] = compared.evidence.as_slice() else { unreachable!("{:?}", compared.evidence) };
    let read = Evidence::parse(evidence.to_string().as_bytes()).unwrap();
    assert_eq!(&read, evidence);
    let proven = read.check(of.verifier()).unwrap();
    assert_eq!((proven.kept.size, proven.shown.size), (kept, shown));
    assert_eq!(proven.kind, if read.fork.is_some() { Fork } else { Rollback });
    let stranger = NoteSigner::new(of.verifier().name(), key(99)).unwrap();
    assert!(matches!(read.check(stranger.verifier()), Err(NoEvidence::Note(_))));
    read
}

//= spec/audit-log.md#two-halves
//= type=test
//# A head that the other log keeps MUST be of the tree that the log shows (`Fork`) and of no more entries than it shows (`Rollback`)
#[test]
fn log_that_is_shorter_than_a_head_that_was_kept_is_rolled_back() {
    let pair = Pair::worked();
    let router = pair.rewritten("router", |n| n < 4);
    let compared = pair.compared(&router, &pair.dir("node"));
    assert_eq!(
        named(&compared),
        [(NODE_ORIGIN, UncounteredReceipt, Some(3)), (NODE_ORIGIN, Rollback, Some(4))]
    );
    shown(&compared, &signer(), 6, 5);

    let node = pair.rewritten("node", |n| n < 2);
    let compared = pair.compared(&pair.dir("router"), &node);
    assert_eq!(named(&compared), [(ROUTERS, UncounteredReceipt, Some(5)), (ROUTERS, Rollback, Some(6))]);
    shown(&compared, &node_signer(), 5, 3);
}

#[test]
fn log_that_was_written_anew_without_a_receipt_has_forked() {
    let mut pair = Pair::worked();
    put(&mut pair.router, join_token());
    put(&mut pair.router, join_token());
    let router = pair.rewritten("router", |n| n != 3);
    let compared = pair.compared(&router, &pair.dir("node"));
    assert_eq!(named(&compared), [(NODE_ORIGIN, UncounteredReceipt, Some(2)), (NODE_ORIGIN, Fork, Some(4))]);
    let evidence = shown(&compared, &signer(), 6, 8);

    // Neither a head of the same history nor a proof of another place is a contradiction.
    let no = |change: &dyn Fn(&mut Evidence)| {
        let mut changed = evidence.clone();
        change(&mut changed);
        changed.check(signer().verifier())
    };
    let honest = pair.router.0.publish().unwrap();
    let is_no = |proven| matches!(proven, Err(NoEvidence::NoContradiction(_)));
    assert!(is_no(no(&|e| e.shown = honest.clone())));
    assert!(is_no(no(&|e| e.fork.as_mut().unwrap().root = Hash::from_bytes([7; 32]))));
    assert!(is_no(no(&|e| e.fork.as_mut().unwrap().path.clear())));
    assert!(is_no(no(&|e| e.fork = None)));
    // A log that went on proves as well that it had what was kept.
    let kept = evidence.check(signer().verifier()).unwrap().kept;
    let path = prove_consistency(&pair.dir("router"), kept.size, pair.router.0.head().size).unwrap();
    let goes_on = Parting { root: kept.root, path };
    assert!(is_no(no(&|e| (e.shown, e.fork) = (honest.clone(), Some(goes_on.clone())))));

    let node = pair.rewritten("node", |n| n != 0);
    let compared = pair.compared(&pair.dir("router"), &node);
    assert_eq!(named(&compared), [(ROUTERS, UncounteredReceipt, Some(3)), (ROUTERS, Rollback, Some(6))]);
}

#[test]
fn two_roots_of_one_size_are_a_fork_without_a_path() {
    let pair = Pair::worked();
    let log = open(pair.dir("router-again"), Role::Router, &pair.clock);
    for (n, payload) in pair.router.1.iter().enumerate().filter(|(n, _)| *n < 5) {
        append(&log, n as u64 + 2, payload.clone());
    }
    log.close().unwrap();
    let compared = pair.compared(&pair.dir("router-again"), &pair.dir("node"));
    assert_eq!(named(&compared), [(NODE_ORIGIN, Fork, Some(4))]);
    let evidence = shown(&compared, &signer(), 6, 6);
    assert_eq!(evidence.fork.map(|parting| parting.path), Some(Vec::new()));
}

#[test]
fn logs_that_are_not_each_others_are_named() {
    let pair = Pair::worked();
    let router = pair.rewritten("router", |n| n != 1);
    let compared = pair.compared(&router, &pair.dir("node"));
    assert_eq!(compared.faults[0].fault.kind, UnknownKey);
    assert_eq!((compared.faults[0].log.as_str(), compared.faults[0].fault.index), (NODE_ORIGIN, Some(0)));
    let other = NoteSigner::new(NODE_ORIGIN, key(141)).unwrap().vkey();
    let node = Half::open(&pair.dir("node"), Some(&other)).unwrap();
    let compared = compare(&Half::open(&pair.dir("router"), None).unwrap(), &node, LATER).unwrap();
    assert_eq!(named(&compared), [(ROUTERS, OriginNotPinned, Some(2))]);
    let same = [pair.dir("router"), pair.dir("router")].map(|dir| Half::open(&dir, None).unwrap());
    assert!(compare(&same[0], &same[1], LATER).is_err());
}

#[test]
fn file_of_evidence_has_one_form() {
    let pair = Pair::worked();
    let router = pair.rewritten("router", |n| n < 4);
    let text = pair.compared(&router, &pair.dir("node")).evidence[0].to_string();
    let refused = |text: String| matches!(Evidence::parse(text.as_bytes()), Err(NoEvidence::Form(_)));
    assert!(!refused(text.clone()));
    assert!(refused(format!("{text}\n")));
    assert!(refused(text.replacen("rollback", "Rollback", 1)));
    assert!(refused(text.replacen("rollback\n", "rollback\nAAAA\n", 1)));
    assert!(refused(text.replacen("rollback\n", "fork\n", 1)));
    assert!(refused(text.replacen("v1", "v2", 1)));
}

//= spec/audit-log.md#two-halves
//= type=test
//# A receipt of the node's log that may have stood among entries which the router's log removed MUST be counted as not compared, and
//# MUST NOT be named.
#[test]
fn receipt_that_the_router_removed_is_not_named_and_a_later_one_that_it_lacks_is() {
    let mut pair = Pair::new();
    // Every receipt below is due by then.
    pair.clock.store(2_000_000, Ordering::Relaxed);
    for n in 1..=300 {
        let work = Work { request: serial(10_000 + n), ..receipt(n, 40) };
        put(&mut pair.router, work.clone());
        put(&mut pair.node, work);
    }
    pair.router.0.append(vec![aged::statement(5000, 0, 300)]).unwrap();
    let dir = pair.dir("router");
    let found = plan(&LogReader::open(&dir).unwrap(), 0..256, |_, _| {}).unwrap();
    let (kept, removed, hash) = (found.kept, found.removed, found.hash);
    let prune = Prune { first: 0, end: 256, kept, removed, hash, kept_days: 0 };
    let count = prune.count();
    put(&mut pair.router, prune);
    pair.clock.store(9_000_000, Ordering::Relaxed);
    put(&mut pair.router, join_token());
    pair.router.0.close().unwrap();
    open(dir.clone(), Role::Router, &pair.clock).close().unwrap();

    let late = put(&mut pair.node, receipt(5_000_000, 40));
    pair.node.0.close().unwrap();
    let [router, node] = ["router", "node"].map(|name| Half::open(&pair.dir(name), None).unwrap());
    let compared = compare(&router, &node, LATER).unwrap();
    let named: Vec<_> = compared.faults.iter().map(|n| (n.fault.kind, n.fault.index)).collect();
    assert_eq!(named, [(UncounteredReceipt, Some(late)), (BrokenPromise, Some(late))]);
    assert_eq!((compared.removed, compared.matched), (count, 300 - count));
    assert!(count > 200, "{count}");
}
