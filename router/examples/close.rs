//! Writes a quarter to be closed, `close grow FOLDER REQUESTS [per-account]`, and closes it, `close settle FOLDER`: 10,000 providers
//! of one node each, as many accounts that each paid for a month, and requests with one receipt each, spread over all of them.
//! Closing reads the log as `earnings settle` does. Run it under `/usr/bin/time -v`.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a program that measures and prints")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use counterfoil_audit::{GenesisFacts, LogConfig, LogOptions, LogReader, LogWriter, NewEntry, NoteSigner};
use counterfoil_identity::SecretKey;
use counterfoil_ledger::grant::{Funding, PlanPeriod, subscribe};
use counterfoil_ledger::settle::AsOf;
use counterfoil_ledger::{credits, founding_rules};
use counterfoil_router::settlement::recompute;
use counterfoil_spec::amount::TokenCount;
use counterfoil_spec::encode::to_canonical;
use counterfoil_spec::entry::Role;
use counterfoil_spec::ids::{AccountId, Hash, ManifestId, NodeId, ProviderId, RouterId, Serial, Signature};
use counterfoil_spec::payload::{
    AccountOpened, Debit, FinishReason, Inference, ModelPublished, NodeUptime, Payload, PoolRule,
    ProviderRegistered, Uptime, Work,
};
use counterfoil_spec::receipt::{Receipt, ReceiptBody};
use counterfoil_spec::time::{Millis, Seconds};

const MODEL: ManifestId = ManifestId::from_bytes([9; 32]);
/// 2026-10-01T00:00:00Z.
const START: Seconds = Seconds(1_790_812_800);
const MONTH_S: u64 = 31 * 86_400;
/// Providers, their nodes, and accounts.
const PARTIES: u64 = 10_000;
const TOKENS: u64 = 300;
/// Entries in one append.
const GROUP: usize = 1_024;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["grow", folder, requests] => grow(Path::new(folder), requests.parse().unwrap(), PoolRule::ProRata),
        ["grow", folder, requests, "per-account"] => {
            grow(Path::new(folder), requests.parse().unwrap(), PoolRule::PerAccount);
        }
        ["settle", folder] => settle(Path::new(folder)),
        _ => println!("close grow FOLDER REQUESTS [per-account] | close settle FOLDER"),
    }
}

fn settle(folder: &Path) {
    let begun = Instant::now();
    let reader = LogReader::open(folder).unwrap();
    println!("opened with {} entries in {} ms", reader.size(), begun.elapsed().as_millis());
    let quarter = "2026Q4".parse().unwrap();
    let closed = recompute(&reader, quarter, AsOf::Final(Seconds(START.0 + 4 * MONTH_S))).unwrap().closed;
    let statement = closed.statement(&Hash::from_bytes([0x5e; 32]));
    println!(
        "{} providers share {} cents, root {}, in {} ms",
        statement.providers,
        statement.pool.0,
        statement.root,
        begun.elapsed().as_millis()
    );
}

/// Appends in groups.
struct Grower {
    log: LogWriter,
    now: Arc<AtomicU64>,
    waiting: Vec<NewEntry>,
}

impl Grower {
    fn open(folder: &Path) -> Self {
        let [root, author, log_key] = [1, 2, 3].map(|seed| Arc::new(SecretKey::from_seed([seed; 32])));
        let config = LogConfig {
            dir: folder.to_owned(),
            net_id: root.public().net_id(),
            author,
            role: Role::Router,
            note: NoteSigner::new("grown.example/log", log_key).unwrap(),
            genesis: GenesisFacts {
                root_spki: root.public().spki_der(),
                next_root_hash: None,
                currency: "USD".to_owned(),
                root: Some(root),
            },
            options: LogOptions::default(),
        };
        let now = Arc::new(AtomicU64::new(START.millis().0));
        let clock = Arc::clone(&now);
        let clock = Arc::new(move || Millis(clock.load(Ordering::Relaxed)));
        Self { log: LogWriter::open(config, clock).unwrap().0, now, waiting: Vec::new() }
    }

    fn write(&mut self, serial: Serial, payload: impl Into<Payload>) {
        self.waiting.push(NewEntry::new(serial, payload.into()));
        if self.waiting.len() == GROUP {
            self.flush();
        }
    }

    fn flush(&mut self) {
        self.log.append(std::mem::take(&mut self.waiting)).unwrap();
    }

    fn turn(&mut self, to: Millis) {
        self.now.store(to.0, Ordering::Relaxed);
    }
}

fn grow(folder: &Path, requests: u64, pool_rule: PoolRule) {
    let mut grower = Grower::open(folder);
    let rules = founding_rules(1);
    grower.write(serial(0, 0), counterfoil_spec::payload::Rules { pool_rule, ..rules.clone() });
    grower.write(serial(0, 1), model());
    for n in 0..PARTIES {
        let (account, lot, payment) = (AccountId::from_bytes(wide(n)), serial(2, n), serial(3, n));
        let (provider, nodes) = (ProviderId::from_bytes(wide(PARTIES + n)), vec![node(n)]);
        grower
            .write(serial(1, n), ProviderRegistered { provider, nodes, accounts: vec![], affiliated: false });
        grower.write(serial(4, n), AccountOpened { account, metered: true, country: None });
        let funding = Funding::Paid(payment);
        let period = PlanPeriod { account, plan: "operator", anchor: START, n: 0, lot, funding };
        let made = subscribe(&rules, &period).unwrap();
        grower.write(payment, made.payment.unwrap().1);
        grower.write(lot, made.lot);
    }
    let span = MONTH_S * 1_000 / requests.max(1);
    let every = (requests / 31).max(1);
    for n in 0..requests {
        grower.turn(Millis(START.millis().0 + n * span));
        if n % every == 0 {
            uptime(&mut grower, n / every, Seconds(START.0 + n * span / 3_600_000 * 3_600));
        }
        let request = serial(5, n);
        let when = Millis(START.millis().0 + n * span);
        // Nodes take turns so that every account meets many of them.
        let by = node((n + n / PARTIES * 7) % PARTIES);
        grower.write(serial(6, n), work(request, by, when));
        grower.write(request, inference(n, by, when));
    }
    grower.flush();
    println!("{} entries", grower.log.close().unwrap().size);
}

/// One hour of a day, for all nodes; an entry has room for some 1,600.
fn uptime(grower: &mut Grower, day: u64, hour: Seconds) {
    let mut nodes: Vec<_> = (0..PARTIES).map(|n| NodeUptime { node: node(n), seconds: 3_600 }).collect();
    nodes.sort_unstable_by_key(|n| n.node);
    for (part, nodes) in (0..).zip(nodes.chunks(1_500)) {
        grower.write(serial(7, day * 7 + part), Uptime { hour, nodes: nodes.to_vec() });
    }
}

fn model() -> ModelPublished {
    ModelPublished {
        manifest: MODEL,
        name: "guide".to_owned(),
        family: "mixtral".to_owned(),
        layers: 5,
        moe_layers: vec![0, 1, 2, 3, 4],
        experts: 8,
        top_k: 2,
        source: None,
        size: None,
    }
}

fn inference(n: u64, by: NodeId, when: Millis) -> Inference {
    let tokens = TokenCount(TOKENS);
    Inference {
        prompt_commitment: Hash::from_bytes([1; 32]),
        output_commitment: Hash::from_bytes([2; 32]),
        manifest: MODEL,
        account: AccountId::from_bytes(wide(n % PARTIES)),
        key_id: None,
        prompt_tokens: TokenCount(200),
        cached_tokens: TokenCount(0),
        completion_tokens: TokenCount(100),
        positions: 10,
        price_micro_per_1k: 10_000,
        debits: vec![Debit { lot: serial(2, n % PARTIES), tokens }],
        started: when,
        ended: when,
        finish: FinishReason::Stop,
        works: vec![serial(6, n)],
        credits: credits(tokens, &[(by, 100)]).unwrap(),
        unreceipted: 0,
        failed_node: None,
    }
}

fn work(request: Serial, by: NodeId, when: Millis) -> Work {
    let body = ReceiptBody {
        serial: request,
        open_hash: Hash::from_bytes([3; 32]),
        node: by,
        router: RouterId::from_bytes([4; 32]),
        manifest: MODEL,
        cti: Serial::from_bytes([5; 16]),
        forwards: 100,
        made: 100,
        transcript: Hash::from_bytes([6; 32]),
        opened: when,
        closed: when,
        compute_us: 7,
    };
    let receipt = Receipt {
        body: to_canonical(&body),
        node_sig: Signature::from_bytes([7; 64]),
        router_sig: Signature::from_bytes([8; 64]),
        include_by: Millis(when.0 + 60_000),
    };
    Work { receipt, request }
}

/// Numbers spread over the bytes as random ones would be.
fn spread(n: u64) -> [u8; 8] {
    n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()
}

fn wide(n: u64) -> [u8; 32] {
    let mut bytes = [1; 32];
    bytes.iter_mut().zip(spread(n)).for_each(|(byte, from)| *byte = from);
    bytes
}

fn node(n: u64) -> NodeId {
    NodeId::from_bytes(wide(2 * PARTIES + n))
}

fn serial(kind: u8, n: u64) -> Serial {
    let mut bytes = [kind; 16];
    bytes.iter_mut().zip(spread(n)).for_each(|(byte, from)| *byte = from);
    Serial::from_bytes(bytes)
}
