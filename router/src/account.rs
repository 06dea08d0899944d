//! The end of a request: receipts from its nodes, one group of log entries, and the countersignatures that go back.
//!
//! ```text
//! close each order -> check the node's half -> countersign -> append [work…, inference] -> durable -> acknowledge
//! ```

mod closing;
mod overdue;

use counterfoil_audit::NewEntry;
use counterfoil_audit::commitment::{Committed, commitment};
use counterfoil_audit::cost::evidence;
use counterfoil_session::RouterLane;
use counterfoil_spec::amount::TokenCount;
use counterfoil_spec::encode::from_canonical;
use counterfoil_spec::ids::{Hash, ManifestId, NodeId, Serial};
use counterfoil_spec::limits::MAX_CONTROL_BYTES;
use counterfoil_spec::message::{NodeReceipt, ReceiptAck};
use counterfoil_spec::payload::{FinishReason, Inference, Work as WorkEntry};
use counterfoil_spec::receipt::ReceiptBody;
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::time::Millis;

pub(crate) use self::overdue::Overdue;

use self::closing::{Closed, acknowledge, close_all, countersigned, entries, unwritten};
use crate::desk::Desk;
use crate::http::auth::Caller;
use crate::http::error::ApiError;
use crate::office::OfficeError;
use crate::registry::Host;
use crate::vault::Running;
use crate::work::{Order, Party};

/// What a request came to.
#[derive(Debug)]
pub(crate) struct Record<'a> {
    pub(crate) serial: Serial,
    pub(crate) salt: Hash,
    pub(crate) manifest: ManifestId,
    pub(crate) caller: Caller,
    pub(crate) prompt_text: &'a str,
    pub(crate) prompt_tokens: u64,
    pub(crate) output_text: &'a str,
    pub(crate) completion_tokens: u64,
    pub(crate) positions: u64,
    pub(crate) started: Millis,
    pub(crate) finish: FinishReason,
    pub(crate) failed_node: Option<NodeId>,
}

/// A receipt that is countersigned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Receipted {
    pub(crate) serial: Serial,
    pub(crate) node: NodeId,
    pub(crate) forwards: u64,
}

impl Receipted {
    fn of(body: &ReceiptBody) -> Self {
        Self { serial: body.serial, node: body.node, forwards: body.forwards }
    }
}

/// What is left of an order whose node is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gone {
    /// Its forwards that entered a sum.
    pub(crate) used: u64,
    /// What it had receipted on the way, logged at once: a receipt waits for no answer to end.
    pub(crate) receipted: Option<Receipted>,
}

/// Countersigns and logs what a node that is gone had receipted.
pub(crate) async fn settle_gone(desk: &Desk, request: Serial, host: &Host, order: &Order) -> Gone {
    let halves = host.lane.interim_receipts(order.slot);
    host.lane.forget(order.slot);
    let settled = halves.iter().find_map(|half| countersigned(desk, &host.lane, host.cti(), order, half));
    let receipted = match settled {
        None => None,
        Some(s) => {
            let work = WorkEntry { receipt: s.receipt, request };
            match desk.office.append(vec![NewEntry::new(s.body.serial, work)]).await {
                Ok(_) => Some(Receipted::of(&s.body)),
                Err(e) => {
                    tracing::error!(error = %e, "a receipt could not be logged");
                    None
                }
            }
        }
    };
    Gone { used: order.used, receipted }
}

/// Closes a request's orders and makes its entries durable; returns the index of its `inference` entry.
pub(crate) async fn settle(desk: &Desk, record: Record<'_>, parties: Vec<Party>) -> Result<u64, ApiError> {
    let failed = record.finish == FinishReason::Failed;
    let Closed { settled, gone, used, owed } = close_all(desk, record.serial, parties, failed).await;
    let mut works: Vec<Receipted> = settled.iter().map(|s| Receipted::of(&s.body)).collect();
    works.extend(gone.iter().filter_map(|g| g.receipted));
    works.sort_by_key(|w| (w.node, w.serial));
    let receipted: u64 = works.iter().map(|w| w.forwards).sum();
    let inference = evidence(|| inference(desk, &record, &works, used.saturating_sub(receipted)));
    let inference = match inference {
        Ok(inference) => inference,
        Err(e) => {
            desk.office.books().ledger.void(&record.serial);
            return Err(e);
        }
    };
    let mut entries = entries(&settled, record.serial);
    let works = u64::try_from(entries.len()).unwrap_or(u64::MAX);
    entries.push(NewEntry::new(record.serial, inference));
    let appended = desk.office.append(entries).await;
    if failed || appended.is_err() {
        desk.office.books().ledger.void(&record.serial);
    }
    let appended = appended.map_err(|e| {
        unwritten(&settled);
        ApiError::unavailable(format!("the request could not be written to the log and is not billed: {e}"))
    })?;
    acknowledge(&settled);
    drop(owed);
    Ok(appended.first + works)
}

/// Closes the orders of work that nobody asked to be answered: its receipts are logged, without an inference, and earn
/// nothing.
pub(crate) async fn settle_unbilled(
    desk: &Desk,
    request: Serial,
    parties: Vec<Party>,
) -> Result<(), OfficeError> {
    let Closed { settled, owed, .. } = close_all(desk, request, parties, false).await;
    if settled.is_empty() {
        return Ok(());
    }
    let appended = desk.office.append(entries(&settled, request)).await;
    match &appended {
        Ok(_) => acknowledge(&settled),
        Err(_) => unwritten(&settled),
    }
    drop(owed);
    appended.map(drop)
}

fn inference(
    desk: &Desk,
    record: &Record<'_>,
    works: &[Receipted],
    unreceipted: u64,
) -> Result<Inference, ApiError> {
    let failed = record.finish == FinishReason::Failed;
    let (prompt, completion) = if failed { (0, 0) } else { (record.prompt_tokens, record.completion_tokens) };
    let manifest = record.manifest;
    let total = TokenCount(prompt + completion);
    let books = desk.office.books();
    let charged = books
        .ledger
        .charge(&manifest, total, record.started)
        .ok_or_else(|| ApiError::internal("a sum of tokens that does not fit"))?;
    let debits = if failed {
        Vec::new()
    } else {
        let settled = books.ledger.settle(&record.serial, charged);
        settled.map_err(|e| ApiError::internal(format!("the hold cannot be posted: {e}")))?
    };
    let forwards: Vec<(NodeId, u64)> = works.iter().map(|w| (w.node, w.forwards)).collect();
    let credits = counterfoil_ledger::credits(charged, &forwards)
        .map_err(|e| ApiError::internal(format!("the credits cannot be computed: {e}")))?;
    Ok(Inference {
        prompt_commitment: commitment(&record.salt, Committed::Prompt, record.prompt_text),
        output_commitment: commitment(&record.salt, Committed::Output, record.output_text),
        manifest,
        account: record.caller.account,
        key_id: record.caller.key_id,
        prompt_tokens: TokenCount(prompt),
        cached_tokens: TokenCount(0),
        completion_tokens: TokenCount(completion),
        positions: record.positions,
        price_micro_per_1k: books.ledger.rules().list_price_micro_per_1k,
        debits,
        started: record.started,
        ended: desk.office.now(),
        finish: record.finish,
        works: works.iter().map(|w| w.serial).collect(),
        credits,
        unreceipted,
        failed_node: record.failed_node,
    })
}

/// Logs the requests that ran when an earlier process ended: nothing was billed, and the log says so.
///
/// # Errors
/// What the log says.
pub(crate) fn log_crashed(desk: &Desk, left: Vec<Running>) -> Result<(), OfficeError> {
    let mut entries = Vec::new();
    for r in &left {
        if desk.office.books().entry_of(&r.request)?.is_some() {
            continue;
        }
        let inference = Inference {
            // Nobody knows the texts any more: these commit to empty ones.
            prompt_commitment: commitment(&r.salt, Committed::Prompt, ""),
            output_commitment: commitment(&r.salt, Committed::Output, ""),
            manifest: r.manifest,
            account: r.account,
            key_id: r.key_id,
            prompt_tokens: TokenCount(0),
            cached_tokens: TokenCount(0),
            completion_tokens: TokenCount(0),
            positions: 0,
            price_micro_per_1k: desk.office.books().ledger.rules().list_price_micro_per_1k,
            debits: Vec::new(),
            started: r.started,
            ended: desk.office.now(),
            finish: FinishReason::Crashed,
            works: Vec::new(),
            credits: Vec::new(),
            unreceipted: 0,
            failed_node: None,
        };
        entries.push(NewEntry::new(r.request, inference));
    }
    if !entries.is_empty() {
        tracing::warn!(
            requests = entries.len(),
            "requests ran when the router ended last; they are logged and not billed"
        );
        desk.office.append_blocking(entries)?;
    }
    left.iter().for_each(|r| desk.vault.end(&r.request));
    Ok(())
}

/// A receipt that no request waits for. One that is in the log is answered with the countersignature that stands
/// there; one that is not waited for any more is checked as it would have been, and logged; one that still is, is left to
/// its request; any other was not ordered on this lane and is not countersigned, because nobody here could check what it
/// claims.
pub(crate) async fn late_receipt(
    desk: &Desk,
    lane: &RouterLane,
    overdue: Option<&Overdue>,
    half: &NodeReceipt,
) {
    // Its signature is looked at once it is clear that it is waited for.
    let own = |body: &ReceiptBody| body.node == lane.node() && body.router == desk.home.router_id();
    let Some(body) = from_canonical::<ReceiptBody>(&half.body, MAX_CONTROL_BYTES).ok().filter(own) else {
        desk.metrics.peers_refused.one();
        tracing::warn!(node = %lane.node(), "a receipt that is not this node's for this router");
        return;
    };
    let logged = desk.office.books().receipt(&body.serial);
    if let Some(receipt) = logged {
        let ack = ReceiptAck {
            serial: body.serial,
            router_sig: receipt.router_sig,
            include_by: receipt.include_by,
        };
        let _ = lane.ack(ack);
        return;
    }
    let Some(awaited) = overdue.and_then(|overdue| overdue.take(&body.serial)) else {
        tracing::info!(node = %lane.node(), serial = %body.serial, "a receipt whose request has no entry yet");
        return;
    };
    let Some(settled) = countersigned(desk, lane, awaited.cti, &awaited.order, half) else { return };
    let settled = [settled];
    match desk.office.append(entries(&settled, awaited.request)).await {
        Ok(_) => acknowledge(&settled),
        Err(e) => {
            tracing::error!(error = %e, "a receipt could not be logged");
            unwritten(&settled);
        }
    }
}

/// Gives up a request's orders without an entry: their nodes begin anew on fresh lanes.
pub(crate) fn abandon(parties: Vec<Party>, why: &str) {
    for party in parties.into_iter().filter(|p| p.order.is_some()) {
        party.host.lane.shut(Refusal::SessionInternal, why);
    }
}
