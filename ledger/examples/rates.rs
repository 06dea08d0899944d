//! How fast a log is replayed, checked and closed, and how fast tokens are held and settled.
//!
//! `cargo run --release -p counterfoil-ledger --example rates`

#![expect(clippy::print_stdout, reason = "a program that prints what it measured")]

use std::error::Error;
use std::hint::black_box;
use std::time::Instant;

use counterfoil_ledger::settle::{AsOf, Period};
use counterfoil_ledger::{Ledger, LedgerRule, credits, founding_rules};
use counterfoil_spec::amount::TokenCount;
use counterfoil_spec::encode::to_canonical;
use counterfoil_spec::entry::{Body, ENTRY_VERSION};
use counterfoil_spec::ids::{AccountId, Hash, Kid, ManifestId, NodeId, RouterId, Serial, Signature};
use counterfoil_spec::payload::{
    AccountOpened, Debit, FinishReason, Inference, Lot, LotSource, ModelPublished, Payload, Work,
};
use counterfoil_spec::receipt::{Receipt, ReceiptBody};
use counterfoil_spec::rule::{Rule as _, Seen};
use counterfoil_spec::time::Seconds;

fn main() -> Result<(), Box<dyn Error>> {
    let entries = log()?;
    let mut ledger = Ledger::default();
    let began = Instant::now();
    for (index, body) in (0..).zip(&entries) {
        ledger.apply(index, body)?;
    }
    report("ledger replay, entries/s", entries.len(), began);

    let mut rule = LedgerRule::default();
    let mut faults = Vec::new();
    let began = Instant::now();
    for (index, body) in (0..).zip(&entries) {
        rule.entry(&Seen { index, body }, &mut faults);
    }
    report("verifier's rule, entries/s", entries.len(), began);
    if let Some(fault) = faults.first() {
        return Err(fault.detail.clone().into());
    }

    let began = Instant::now();
    let mut period = Period::new("2026Q4".parse()?, &[], u64::try_from(entries.len())?)?;
    for (index, body) in (0..).zip(&entries) {
        period.apply(index, body)?;
    }
    black_box(period.close(AsOf::Final(Seconds(START_S + 200 * 86_400)))?);
    report("close of a quarter, entries/s", entries.len(), began);

    let began = Instant::now();
    for n in 0..HOLDS {
        let request = serial(3, n);
        ledger.hold(&account(n % ACCOUNTS), request, TokenCount(500), Seconds(START_S))?;
        black_box(ledger.settle(&request, TokenCount(300))?);
        ledger.void(&request);
    }
    report("hold, settle and void, requests/s", usize::try_from(HOLDS)?, began);
    Ok(())
}

/// Requests of two nodes each: two `work` entries and one `inference` entry.
fn log() -> Result<Vec<Body>, Box<dyn Error>> {
    let mut entries = Vec::new();
    let mut write = |serial, payload| {
        let body = body(u64::try_from(entries.len())?, serial, payload);
        entries.push(body);
        Ok::<(), Box<dyn Error>>(())
    };
    write(serial(0, 0), founding_rules(1).into())?;
    write(serial(0, 1), model().into())?;
    for n in 0..ACCOUNTS {
        write(serial(1, n), AccountOpened { account: account(n), metered: true, country: None }.into())?;
        let lot = Lot {
            lot: serial(2, n),
            account: account(n),
            tokens: TokenCount(1_000_000_000),
            source: LotSource::Unpaid,
            payment: None,
            starts: Seconds(START_S),
            expires: Seconds(START_S + 60 * 86_400),
        };
        write(serial(2, n), lot.into())?;
    }
    for n in 0..REQUESTS {
        let request = serial(4, n);
        let (first, second) = (serial(5, n), serial(6, n));
        write(first, work(request, node(n % 16), 40).into())?;
        write(second, work(request, node(16 + n % 16), 60).into())?;
        write(request, inference(n, vec![first, second])?.into())?;
    }
    Ok(entries)
}

fn body(seq: u64, serial: Serial, payload: Payload) -> Body {
    Body {
        version: ENTRY_VERSION,
        author: Kid::from_bytes([0; 8]),
        seq,
        prev: Hash::from_bytes([0; 32]),
        time: Seconds(START_S).millis(),
        serial,
        payload,
        anchor: None,
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

fn inference(n: u64, works: Vec<Serial>) -> Result<Inference, Box<dyn Error>> {
    let tokens = TokenCount(300);
    Ok(Inference {
        prompt_commitment: Hash::from_bytes([1; 32]),
        output_commitment: Hash::from_bytes([2; 32]),
        manifest: MODEL,
        account: account(n % ACCOUNTS),
        key_id: None,
        prompt_tokens: TokenCount(200),
        cached_tokens: TokenCount(0),
        completion_tokens: TokenCount(100),
        positions: 10,
        price_micro_per_1k: 10_000,
        debits: vec![Debit { lot: serial(2, n % ACCOUNTS), tokens }],
        started: Seconds(START_S).millis(),
        ended: Seconds(START_S).millis(),
        finish: FinishReason::Stop,
        works,
        credits: credits(tokens, &[(node(n % 16), 40), (node(16 + n % 16), 60)])?,
        unreceipted: 0,
        failed_node: None,
    })
}

fn work(request: Serial, node: NodeId, forwards: u64) -> Work {
    let body = ReceiptBody {
        serial: request,
        open_hash: Hash::from_bytes([3; 32]),
        node,
        router: RouterId::from_bytes([4; 32]),
        manifest: MODEL,
        cti: Serial::from_bytes([5; 16]),
        forwards,
        made: forwards,
        transcript: Hash::from_bytes([6; 32]),
        opened: Seconds(START_S).millis(),
        closed: Seconds(START_S).millis(),
        compute_us: 7,
    };
    let receipt = Receipt {
        body: to_canonical(&body),
        node_sig: Signature::from_bytes([7; 64]),
        router_sig: Signature::from_bytes([8; 64]),
        include_by: Seconds(START_S + 60).millis(),
    };
    Work { receipt, request }
}

fn report(what: &str, count: usize, began: Instant) {
    let took = began.elapsed();
    let per_s = u128::try_from(count).unwrap_or(0) * 1_000_000_000 / took.as_nanos().max(1);
    println!("{what}: {per_s} ({count} in {} ms)", took.as_millis());
}

/// Numbers spread over the bytes as random serials would be.
fn spread(n: u64) -> [u8; 8] {
    n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()
}

fn serial(kind: u8, n: u64) -> Serial {
    let mut bytes = [kind; 16];
    bytes.iter_mut().zip(spread(n)).for_each(|(byte, from)| *byte = from);
    Serial::from_bytes(bytes)
}

fn account(n: u64) -> AccountId {
    let mut bytes = [0; 32];
    bytes.iter_mut().zip(spread(n)).for_each(|(byte, from)| *byte = from);
    AccountId::from_bytes(bytes)
}

fn node(n: u64) -> NodeId {
    let mut bytes = [1; 32];
    bytes.iter_mut().zip(spread(n)).for_each(|(byte, from)| *byte = from);
    NodeId::from_bytes(bytes)
}

const MODEL: ManifestId = ManifestId::from_bytes([9; 32]);
/// 2026-10-01T00:00:00Z.
const START_S: u64 = 1_790_812_800;
const ACCOUNTS: u64 = 1_000;
const REQUESTS: u64 = 100_000;
const HOLDS: u64 = 1_000_000;
