//! A router's log of a closed quarter: entries that may be removed, and among them some that may not.

use std::ops::Range;
use std::sync::atomic::Ordering;

use counterfoil_audit::prune::plan;
use counterfoil_audit::{LogReader, LogWriter, NewEntry};
use counterfoil_spec::amount::{Cents, MicroUsd, TokenCount};
use counterfoil_spec::encode::to_canonical;
use counterfoil_spec::ids::{AccountId, Hash, ManifestId, NodeId, RouterId, Serial, Signature};
use counterfoil_spec::payload::{FinishReason, Inference, NodeUptime, Prune, Statement, Uptime, Work};
use counterfoil_spec::receipt::{Receipt, ReceiptBody};
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::time::{Millis, Seconds};

use super::{Home, entry, serial};

/// The entry that a statement ends before.
pub const CLOSED: u64 = 600;
/// The entries of the log before it is pruned: the last is the statement.
pub const SIZE: u64 = 701;
/// Whole bundles before [`CLOSED`].
pub const END: u64 = 512;
/// A request with work before [`END`] and its own entry behind it.
pub const STRADDLES: Range<u64> = 100..515;
/// An hour of which there are entries on both sides.
pub const HOURS: Range<u64> = 201..520;
pub const DAYS: u64 = 3653;
const DAY_MS: u64 = 86_400_000;

pub fn inference(n: u64, started: u64) -> NewEntry {
    let none = Hash::from_bytes([0; 32]);
    let payload = Inference {
        prompt_commitment: none,
        output_commitment: none,
        manifest: ManifestId::from_bytes([1; 32]),
        account: AccountId::from_bytes([2; 32]),
        key_id: None,
        prompt_tokens: TokenCount(0),
        cached_tokens: TokenCount(0),
        completion_tokens: TokenCount(0),
        positions: 0,
        price_micro_per_1k: 0,
        debits: Vec::new(),
        started: Millis(started),
        ended: Millis(started),
        finish: FinishReason::Failed,
        works: Vec::new(),
        credits: Vec::new(),
        unreceipted: 0,
        failed_node: None,
    };
    NewEntry::new(serial(n), payload)
}

pub fn work(n: u64, request: Serial, opened: u64) -> NewEntry {
    let none = Hash::from_bytes([0; 32]);
    let body = ReceiptBody {
        serial: serial(n),
        open_hash: none,
        node: NodeId::from_bytes([3; 32]),
        router: RouterId::from_bytes([4; 32]),
        manifest: ManifestId::from_bytes([1; 32]),
        cti: serial(1),
        forwards: 1,
        made: 1,
        transcript: none,
        opened: Millis(opened),
        closed: Millis(opened),
        compute_us: 1,
    };
    let half = Signature::from_bytes([5; 64]);
    let receipt =
        Receipt { body: to_canonical(&body), node_sig: half, router_sig: half, include_by: Millis(opened) };
    NewEntry::new(serial(n), Work { receipt, request })
}

pub fn uptime(n: u64, hour: u64) -> NewEntry {
    let nodes = vec![NodeUptime { node: NodeId::from_bytes([3; 32]), seconds: 7 }];
    NewEntry::new(serial(n), Uptime { hour: Seconds(hour), nodes })
}

pub fn refusal(n: u64) -> NewEntry {
    let by = RouterId::from_bytes([4; 32]);
    NewEntry::new(
        serial(n),
        counterfoil_spec::payload::RefusalSeen { refusal: Refusal::Quota, node: None, by },
    )
}

pub fn statement(n: u64, first: u64, end: u64) -> NewEntry {
    let none = Hash::from_bytes([0; 32]);
    let payload = Statement {
        quarter: "2026Q4".to_owned(),
        first,
        end,
        rules_hash: none,
        revenue: MicroUsd(0),
        pool: Cents(0),
        carry_micro: 0,
        root: none,
        providers: 0,
    };
    NewEntry::new(serial(n), payload)
}

/// The entry at an index.
fn at(index: u64, now: u64) -> NewEntry {
    let hour = now / 3_600_000 * 3_600;
    match index {
        i if i == STRADDLES.start => work(index, serial(STRADDLES.end), now),
        i if i == HOURS.start || i == HOURS.end => uptime(index, hour),
        i if i == STRADDLES.end => inference(index, now),
        i if i + 1 == SIZE => statement(index, 0, CLOSED),
        i if i % 4 == 0 => entry(index),
        i if i % 10 == 1 => uptime(index, hour - 3_600 * (1 + index)),
        i if i % 10 == 3 => refusal(index),
        i if i % 10 == 5 => work(index, serial(index + 2000), now),
        _ => inference(index, now),
    }
}

/// Writes the log up to its statement.
pub fn written(home: &Home) -> LogWriter {
    let (log, _) = home.open().unwrap();
    let now = home.clock.load(Ordering::Relaxed);
    let all: Vec<u64> = (1..SIZE).collect();
    for group in all.chunks(37) {
        log.append(group.iter().map(|index| at(*index, now)).collect()).unwrap();
    }
    log.publish().unwrap();
    log
}

/// Ten years and an hour go by.
pub fn years_go_by(home: &Home) {
    home.clock.fetch_add(DAYS * DAY_MS + 3_600_000, Ordering::Relaxed);
}

/// What a prune of a range of this log says.
pub fn prune_of(home: &Home, range: Range<u64>) -> Prune {
    let reader = LogReader::open(&home.dir()).unwrap();
    let found = plan(&reader, range.clone(), |_, _| {}).unwrap();
    let (first, end) = (range.start, range.end);
    Prune { first, end, kept: found.kept, removed: found.removed, hash: found.hash, kept_days: DAYS }
}

/// The log with its prune announced, and nothing removed yet.
pub fn announced(home: &Home) -> Prune {
    let log = written(home);
    years_go_by(home);
    let prune = prune_of(home, 0..END);
    log.append(vec![NewEntry::new(serial(SIZE), prune.clone())]).unwrap();
    log.close().unwrap();
    prune
}

/// The log after that.
pub fn pruned(home: &Home) -> Prune {
    let prune = announced(home);
    let (log, opened) = home.open().unwrap();
    assert_eq!(opened.removed, prune.count());
    log.close().unwrap();
    prune
}
