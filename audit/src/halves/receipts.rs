//! Receipts of two logs, put side by side by their serials.

use std::time::{Duration, Instant};

use counterfoil_spec::encode::from_canonical;
use counterfoil_spec::ids::{Hash, NodeId, Serial};
use counterfoil_spec::limits::MAX_CONTROL_BYTES;
use counterfoil_spec::payload::{Payload, Work};
use counterfoil_spec::receipt::{Receipt, ReceiptBody};
use counterfoil_spec::rule::{Fault, FaultKind};
use counterfoil_spec::time::Millis;
use sha2::{Digest, Sha256};

use super::{Compared, Half, WORK, payload};
use crate::error::LogError;
use crate::glance::glance;
use crate::reader::LogReader;
use crate::scan::wide;
use crate::sorted::Sorted;
use crate::verify::MAX_FAULTS;

/// Serial, side, index, when it is due, and the first bytes of the receipt's hash.
const RECORD_BYTES: usize = 16 + 1 + 8 + 8 + 16;
/// How long a receipt that is not due yet may be on its way from the router's log to the node's.
const UNDER_WAY: Duration = Duration::from_secs(3);
/// How often the node's log is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(50);

/// Which log a receipt stands in, and whether it was there when that was read first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Router = 0,
    Node = 1,
    RouterLater = 2,
    NodeLater = 3,
}

impl Side {
    /// Its other half may be under way.
    pub(super) const fn is_later(self) -> bool {
        matches!(self, Self::RouterLater | Self::NodeLater)
    }

    const fn read(byte: u8) -> Self {
        match byte {
            0 => Self::Router,
            1 => Self::Node,
            2 => Self::RouterLater,
            _ => Self::NodeLater,
        }
    }

    const fn is_routers(self) -> bool {
        matches!(self, Self::Router | Self::RouterLater)
    }
}

#[derive(Debug, Clone, Copy)]
struct Found {
    side: Side,
    index: u64,
    due: u64,
    hash: [u8; 16],
}

pub(super) struct Receipts(Sorted<RECORD_BYTES>);

impl Receipts {
    pub(super) const fn new(held_bytes: usize) -> Self {
        Self(Sorted::new(held_bytes))
    }

    /// A receipt, where it is that node's.
    pub(super) fn add(
        &mut self,
        side: Side,
        index: u64,
        receipt: &Receipt,
        of: Option<&NodeId>,
    ) -> Result<(), LogError> {
        let body = from_canonical::<ReceiptBody>(&receipt.body, MAX_CONTROL_BYTES);
        let Ok(body) = body else { return Ok(()) };
        if of.is_some_and(|node| body.node != *node) {
            return Ok(());
        }
        let hash = hash(receipt);
        let (serial, index) = (body.serial, index.to_be_bytes());
        let due = receipt.include_by.0.to_be_bytes();
        let parts = [serial.as_bytes().as_slice(), &[side as u8], &index, &due, &hash.as_bytes()[..16]];
        let mut record = [0; RECORD_BYTES];
        record.iter_mut().zip(parts.concat()).for_each(|(to, from)| *to = from);
        self.0.add(record)
    }

    /// Names what lacks its other half.
    pub(super) fn finish(
        self,
        (router, node): (&Half, &Half),
        times: Times,
        out: &mut Compared,
    ) -> Result<(), LogError> {
        let mut naming = Naming { router, node, times, out, nodes: None, under_way: Vec::new() };
        let mut group: Vec<Found> = Vec::new();
        let mut of = None;
        self.0.each(|record| {
            let Some((serial, found)) = parse(&record) else { return Ok(()) };
            if of != Some(serial) {
                if let Some(serial) = of.replace(serial) {
                    naming.group(&serial, &group)?;
                }
                group.clear();
            }
            // More than one of a side is DuplicateSerial, which was named before.
            if group.iter().all(|f| f.side.is_routers() != found.side.is_routers()) {
                group.push(found);
            }
            Ok(())
        })?;
        of.map_or(Ok(()), |serial| naming.group(&serial, &group))?;
        naming.arrive()
    }
}

/// What decides whether a receipt that one log lacks may lack.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    /// The present.
    pub(super) now: Millis,
    /// The last entry of the router's log, in milliseconds.
    pub(super) router: u64,
    /// Until when receipts were made that the router's log may have removed.
    pub(super) removed_to: Option<Millis>,
}

struct Naming<'a> {
    router: &'a Half,
    node: &'a Half,
    times: Times,
    out: &'a mut Compared,
    nodes: Option<LogReader>,
    /// Receipts of the router's log that may be on their way to the node's, which settles with the acknowledgement.
    under_way: Vec<(Serial, Found)>,
}

impl Times {
    /// A receipt is in the router's log by the time that the router promised, which is a minute after it was made at most.
    fn may_be_removed(&self, found: &Found) -> bool {
        self.removed_to.is_some_and(|end| found.due <= end.0.saturating_add(MAX_PROMISE_MS))
    }
}

impl Naming<'_> {
    fn group(&mut self, serial: &Serial, group: &[Found]) -> Result<(), LogError> {
        let (router, node) = (self.router.origin(), self.node.origin());
        let missing = |found: &Found, log: &str| {
            let detail = format!("the receipt {serial} is not in {log}");
            Fault::at(FaultKind::UncounteredReceipt, found.index, detail)
        };
        match group {
            [one, other] if one.hash == other.hash => self.out.matched += 1,
            [one, other] => {
                let (ours, theirs) = if one.side.is_routers() { (one, other) } else { (other, one) };
                let detail = format!("entry {} of {node} has another receipt of {serial}", theirs.index);
                self.out.name(router, Fault::at(FaultKind::UncounteredReceipt, ours.index, detail));
            }
            [one]
                if one.side == Side::Router
                    && one.due > self.times.now.0
                    && self.under_way.len() < MAX_FAULTS =>
            {
                self.under_way.push((*serial, *one));
            }
            //= spec/audit-log.md#two-halves
            //# A receipt of the node's log that may have stood among entries which the router's log removed MUST be counted as not compared
            [one] if one.side == Side::Node && self.times.may_be_removed(one) => self.out.removed += 1,
            [one] if one.side == Side::Router => self.out.name(router, missing(one, node)),
            [one] if one.side == Side::Node => {
                self.out.name(node, missing(one, router));
                self.broken(one, serial)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Waits for receipts that may be under way, and names those that do not come.
    fn arrive(&mut self) -> Result<(), LogError> {
        if self.under_way.is_empty() {
            return Ok(());
        }
        let mut nodes = LogReader::open(&self.node.dir)?;
        let (mut from, until) = (0, Instant::now() + UNDER_WAY);
        loop {
            let (under_way, matched) = (&mut self.under_way, &mut self.out.matched);
            nodes.stream(from, nodes.size(), |_, leaf| {
                let seen = glance(leaf).filter(|seen| seen.kind == WORK).and_then(|_| payload(WORK, leaf));
                let Some(Payload::Work(work)) = seen else { return Ok(()) };
                let before = under_way.len();
                under_way.retain(|(_, found)| found.hash[..] != hash(&work.receipt).as_bytes()[..16]);
                *matched += wide(before - under_way.len());
                Ok::<_, LogError>(())
            })?;
            if self.under_way.is_empty() || Instant::now() >= until {
                break;
            }
            from = nodes.size();
            std::thread::sleep(LOOK);
            nodes.refresh()?;
        }
        for (serial, found) in std::mem::take(&mut self.under_way) {
            let detail = format!("the receipt {serial} is not in {}", self.node.origin());
            let fault = Fault::at(FaultKind::UncounteredReceipt, found.index, detail);
            self.out.name(self.router.origin(), fault);
        }
        Ok(())
    }

    /// The router signed that it would have the receipt in its log by an instant, and its log is past that.
    fn broken(&mut self, found: &Found, serial: &Serial) -> Result<(), LogError> {
        if self.out.faults_left_out > 0 {
            return Ok(());
        }
        let nodes = match &self.nodes {
            Some(reader) => reader,
            None => self.nodes.insert(LogReader::open(&self.node.dir)?),
        };
        let Payload::Work(Work { receipt, .. }) = nodes.entry(found.index)?.1.payload else { return Ok(()) };
        if receipt.include_by.0 < self.times.router {
            let (router, by) = (self.router.origin(), receipt.include_by.0);
            let detail = format!(
                "the router promised to log {serial} by {by} ms, and {router} goes on to {} ms",
                self.times.router
            );
            self.out.name(self.node.origin(), Fault::at(FaultKind::BrokenPromise, found.index, detail));
        }
        Ok(())
    }
}

/// How long after a receipt was made the router may promise to log it.
const MAX_PROMISE_MS: u64 = 60_000;

fn hash(receipt: &Receipt) -> Hash {
    let mut hash = Sha256::new();
    hash.update(receipt.node_sig.as_bytes());
    hash.update(receipt.router_sig.as_bytes());
    hash.update(receipt.include_by.0.to_be_bytes());
    hash.update(&receipt.body);
    Hash::from_bytes(hash.finalize().into())
}

fn parse(record: &[u8]) -> Option<(Serial, Found)> {
    let (serial, rest) = record.split_first_chunk::<16>()?;
    let ([side], rest) = rest.split_first_chunk::<1>()?;
    let (index, rest) = rest.split_first_chunk::<8>()?;
    let (due, rest) = rest.split_first_chunk::<8>()?;
    let (index, due) = (u64::from_be_bytes(*index), u64::from_be_bytes(*due));
    let found = Found { side: Side::read(*side), index, due, hash: *rest.first_chunk::<16>()? };
    Some((Serial::from_bytes(*serial), found))
}
