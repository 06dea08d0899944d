//! Orders closed at their nodes, and the receipts that come of them.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use counterfoil_audit::NewEntry;
use counterfoil_audit::cost::evidence;
use counterfoil_consent::{ReceiptFault, check_node_half, countersign};
use counterfoil_session::{LaneError, RouterLane};
use counterfoil_spec::ids::{NodeId, Serial};
use counterfoil_spec::limits::{MAX_UNSETTLED_RECEIPTS, RECEIPT_INCLUDE_MS};
use counterfoil_spec::message::{CloseSlot, NodeReceipt, ReceiptAck};
use counterfoil_spec::payload::Work as WorkEntry;
use counterfoil_spec::receipt::{Receipt, ReceiptBody};
use counterfoil_spec::refusal::Refusal;
use futures_util::FutureExt;
use futures_util::future::join_all;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Gone;
use super::overdue::Awaited;
use crate::desk::Desk;
use crate::registry::{Host, LaneState, Sent};
use crate::work::{Order, Party};

/// A receipt with both halves, and where the second one goes.
pub(super) struct Settled {
    pub(super) receipt: Receipt,
    pub(super) body: ReceiptBody,
    lane: RouterLane,
    /// Held until the receipt is acknowledged: a lane whose node goes on on another one is let go of after that.
    _of: Option<Arc<LaneState>>,
}

/// What all orders of a request came to.
pub(super) struct Closed {
    /// In the order of node ids.
    pub(super) settled: Vec<Settled>,
    pub(super) gone: Vec<Gone>,
    /// Forwards that entered a sum.
    pub(super) used: u64,
    /// Held until the receipts are acknowledged.
    pub(super) owed: Vec<OwnedSemaphorePermit>,
}

/// Closes a request's orders and adds the router's half to what its nodes hand in.
pub(super) async fn close_all(desk: &Desk, request: Serial, parties: Vec<Party>, cancelled: bool) -> Closed {
    let (mut orders, mut places) = (Vec::new(), Vec::new());
    let mut gone = Vec::new();
    for party in parties {
        places.extend(party.place);
        gone.extend(party.gone);
        orders.extend(party.order.map(|order| (party.host, order)));
    }
    let owed = may_owe(orders.iter().map(|(host, _)| (host.node(), &host.shared.allowed.settling))).await;
    let used = orders.iter().map(|(_, o)| o.used).sum::<u64>() + gone.iter().map(|g| g.used).sum::<u64>();
    let closings = orders.iter().map(|(host, order)| close(desk, (request, host, order), cancelled));
    let mut settled: Vec<Settled> = join_all(closings).await.into_iter().flatten().collect();
    drop(places);
    settled.sort_by_key(|s| s.body.node);
    Closed { settled, gone, used, owed }
}

/// Waits until the router may owe one more countersignature for each order. A node gives no more work to a router that owes
/// it too many, so no more orders than that are settled with it at one time.
async fn may_owe(orders: impl Iterator<Item = (NodeId, &Arc<Semaphore>)>) -> Vec<OwnedSemaphorePermit> {
    // In the order of node ids and all of a node's at once, so that no request waits for another in a circle.
    let mut wanted = BTreeMap::new();
    for (node, settling) in orders {
        wanted.entry(node).or_insert((settling, 0)).1 += 1;
    }
    let mut owed = Vec::with_capacity(wanted.len());
    for (settling, orders) in wanted.into_values() {
        let all = orders.min(MAX_UNSETTLED_RECEIPTS);
        let permits = u32::try_from(all).unwrap_or(u32::MAX);
        owed.extend(Arc::clone(settling).acquire_many_owned(permits).await.ok());
    }
    owed
}

/// One entry for each receipt.
pub(super) fn entries(settled: &[Settled], request: Serial) -> Vec<NewEntry> {
    let entry = |s: &Settled| {
        let work = WorkEntry { receipt: s.receipt.clone(), request };
        NewEntry::new(s.body.serial, work)
    };
    settled.iter().map(entry).collect()
}

/// Sends the router's halves of receipts that are in the log.
pub(super) fn acknowledge(settled: &[Settled]) {
    for s in settled {
        let ack = ReceiptAck {
            serial: s.body.serial,
            router_sig: s.receipt.router_sig,
            include_by: s.receipt.include_by,
        };
        // A node that is gone asks for it when it is back.
        let _ = s.lane.ack(ack);
    }
}

/// Ends the lanes of nodes whose receipts are not in the log.
pub(super) fn unwritten(settled: &[Settled]) {
    for s in settled {
        s.lane.shut(Refusal::SessionInternal, "the router cannot write its log");
    }
}

async fn close(
    desk: &Desk,
    (request, host, order): (Serial, &Host, &Order),
    cancelled: bool,
) -> Option<Settled> {
    let (lane, cti) = (&host.lane, host.cti());
    let overdue = &host.shared.overdue;
    let awaited = || Awaited { request, cti, order: order.clone() };
    let sent = host.sent();
    let handed = match lane.close(CloseSlot { slot: order.slot, used: order.used, cancelled }) {
        Ok(answer) => last_receipt(host, order, (sent, answer), || overdue.keep(awaited())).await,
        Err(e) => {
            tracing::warn!(node = %lane.node(), error = %e, "the order could not be closed");
            Handed::Nothing(lane.interim_receipts(order.slot))
        }
    };
    lane.forget(order.slot);
    let (halves, may_come) = match handed {
        Handed::Last(receipt) => (vec![receipt], false),
        // A node that died is credited with what it had receipted on the way.
        Handed::NotYet(interims) => (interims, true),
        Handed::Nothing(interims) => (interims, false),
    };
    let settled = halves.iter().find_map(|half| countersigned(desk, lane, cti, order, half));
    let settled = settled.map(|settled| Settled { _of: Some(Arc::clone(&host.shared)), ..settled });
    // Its last receipt may have come meanwhile, and is logged then; one of an order is.
    settled.filter(|_| !may_come || overdue.take(&order.serial).is_some())
}

/// What came of waiting for a node's last receipt.
enum Handed {
    Last(NodeReceipt),
    /// It may come later; these came on the way.
    NotYet(Vec<NodeReceipt>),
    /// It will not come.
    Nothing(Vec<NodeReceipt>),
}

/// Waits for a node's last receipt. An answer does not wait for that of a node from which nothing comes, or that let it
/// wait too long: its last interim one counts. `give_up` is called before a receipt can come that is not brought here.
async fn last_receipt(
    host: &Host,
    order: &Order,
    (sent, answer): (Sent, impl Future<Output = Result<NodeReceipt, LaneError>>),
    give_up: impl FnOnce(),
) -> Handed {
    let (node, lane) = (host.node(), &host.lane);
    let mut answer = pin!(answer);
    let missing = tokio::select! {
        biased;
        came = &mut answer => match came {
            Ok(receipt) => return Handed::Last(receipt),
            Err(e) => {
                tracing::warn!(%node, error = %e, "no receipt");
                return Handed::Nothing(lane.interim_receipts(order.slot));
            }
        },
        () = tokio::time::sleep(RECEIPT_TIMEOUT) => "it took too long",
        () = host.falls_quiet(sent) => "nothing comes from its node",
        () = silent(host) => "its node has fallen silent",
    };
    give_up();
    let interims = lane.interim_receipts(order.slot);
    lane.forget(order.slot);
    // One that was handed over before that is here; from then on it is an event of the lane.
    if let Some(Ok(receipt)) = answer.now_or_never()
        && host.shared.overdue.take(&order.serial).is_some()
    {
        return Handed::Last(receipt);
    }
    tracing::warn!(%node, why = missing, "a receipt is not waited for");
    Handed::NotYet(interims)
}

/// Waits until a node has fallen silent, and for its receipt a little longer.
async fn silent(host: &Host) {
    loop {
        tokio::time::sleep(SILENT_TIMEOUT).await;
        if host.is_silent() {
            return;
        }
    }
}

/// Checks a node's half and adds the router's.
pub(super) fn countersigned(
    desk: &Desk,
    lane: &RouterLane,
    cti: Serial,
    order: &Order,
    half: &NodeReceipt,
) -> Option<Settled> {
    evidence(|| both_halves(desk, lane, cti, order, half))
}

fn both_halves(
    desk: &Desk,
    lane: &RouterLane,
    cti: Serial,
    order: &Order,
    half: &NodeReceipt,
) -> Option<Settled> {
    match check(desk, lane, cti, order, half) {
        Ok(body) if body.closed.plus(RECEIPT_INCLUDE_MS) <= desk.office.now().plus(INCLUDE_MARGIN_MS) => {
            tracing::warn!(node = %lane.node(), "a receipt that could not be logged in the time it promises");
            None
        }
        Ok(body) => {
            let (key, net_id) = (lane.peer().key(), desk.home.net_id());
            let receipt =
                countersign(&half.body, &half.node_sig, key, desk.office.identity(), &net_id).ok()?;
            Some(Settled { receipt, body, lane: lane.clone(), _of: None })
        }
        // It was signed before its node heard what entered no sum.
        Err(e @ Unfit::Forwards { .. }) if !half.last => {
            tracing::debug!(node = %lane.node(), error = %e, "an interim receipt that says too much");
            None
        }
        Err(e) => {
            desk.metrics.peers_refused.one();
            tracing::warn!(node = %lane.node(), error = %e, "a receipt that does not fit its order");
            None
        }
    }
}

/// Why a node's half of a receipt is not countersigned.
#[derive(Debug, thiserror::Error)]
enum Unfit {
    #[error(transparent)]
    Half(#[from] ReceiptFault),
    #[error("it names another {0}")]
    Other(&'static str),
    #[error("it claims {claimed} forwards and {used} entered a sum")]
    Forwards { claimed: u64, used: u64 },
}

fn check(
    desk: &Desk,
    lane: &RouterLane,
    cti: Serial,
    order: &Order,
    half: &NodeReceipt,
) -> Result<ReceiptBody, Unfit> {
    let body =
        check_node_half(&half.body, &half.node_sig, lane.peer().key(), &desk.home.net_id())?.into_body();
    let facts = [
        (body.serial == order.serial, "serial"),
        (body.open_hash == order.open_hash, "order"),
        (body.node == lane.node(), "node"),
        (body.router == desk.home.router_id(), "router"),
        (body.manifest == order.manifest, "model"),
        (body.cti == cti, "consent token"),
    ];
    if let Some((_, what)) = facts.iter().find(|(same, _)| !same) {
        return Err(Unfit::Other(what));
    }
    if body.forwards > order.used || body.forwards > body.made || (half.last && body.forwards != order.used) {
        return Err(Unfit::Forwards { claimed: body.forwards, used: order.used });
    }
    Ok(body)
}

/// How long one that owes an answer to a ping may take.
const SILENT_TIMEOUT: Duration = Duration::from_millis(200);
/// How long the entries of a countersigned receipt may take to become durable.
const INCLUDE_MARGIN_MS: u64 = 10_000;
/// How long a node may take to hand in its receipt.
const RECEIPT_TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    /// A node, and what may be owed to it.
    type Owed = (NodeId, Arc<Semaphore>);

    /// Two nodes, and all that may be owed to them, taken.
    fn taken(each: usize) -> ([Owed; 2], [Vec<OwnedSemaphorePermit>; 2]) {
        let nodes = [1, 2].map(|n| (NodeId::from_bytes([n; 32]), Arc::new(Semaphore::new(each))));
        let all = |(_, s): &Owed| std::iter::from_fn(|| Arc::clone(s).try_acquire_owned().ok()).collect();
        let held = [all(&nodes[0]), all(&nodes[1])];
        (nodes, held)
    }

    fn at<'a>(nodes: &'a [Owed], order: &'a [usize]) -> impl Iterator<Item = (NodeId, &'a Arc<Semaphore>)> {
        order.iter().map(|n| &nodes[*n]).map(|(node, settling)| (*node, settling))
    }

    #[test]
    fn requests_with_orders_in_any_sequence_do_not_wait_for_each_other_in_a_circle() {
        let (nodes, held) = taken(1);
        let mut one = Box::pin(may_owe(at(&nodes, &[0, 1])));
        let mut other = Box::pin(may_owe(at(&nodes, &[1, 0])));
        assert!(one.as_mut().now_or_never().is_none());
        assert!(other.as_mut().now_or_never().is_none());
        drop(held);
        assert_eq!(one.as_mut().now_or_never().map(|owed| owed.len()), Some(2));
        assert_eq!(other.as_mut().now_or_never().map(|owed| owed.len()), Some(2));
    }

    #[test]
    fn requests_with_two_orders_at_one_node_do_not_wait_for_each_other() {
        let (nodes, held) = taken(2);
        let mut one = Box::pin(may_owe(at(&nodes, &[0, 0])));
        let mut other = Box::pin(may_owe(at(&nodes, &[0, 0])));
        assert!(one.as_mut().now_or_never().is_none());
        assert!(other.as_mut().now_or_never().is_none());
        drop(held);
        let owed =
            one.as_mut().now_or_never().map(|owed| owed.iter().map(OwnedSemaphorePermit::num_permits).sum());
        assert_eq!(owed, Some(2));
        assert!(other.as_mut().now_or_never().is_some());
    }

    #[test]
    fn more_orders_at_a_node_than_it_may_be_owed_for_take_all_there_is() {
        let settling = Arc::new(Semaphore::new(MAX_UNSETTLED_RECEIPTS));
        let many = std::iter::repeat_n((NodeId::from_bytes([1; 32]), &settling), MAX_UNSETTLED_RECEIPTS + 1);
        let owed = may_owe(many).now_or_never().unwrap();
        assert_eq!((owed.len(), settling.available_permits()), (1, 0));
    }
}
