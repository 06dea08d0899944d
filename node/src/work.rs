//! The requests that are open on a lane: what each may use, what it has used, and what its receipt says. Pure.

use std::collections::{BTreeSet, HashMap};

use counterfoil_consent::{ActiveGrant, Booking, Refused, Usage};
use counterfoil_identity::VerifiedPeer;
use counterfoil_session::Transcript;
use counterfoil_session::frame::{Combine, Dispatch, Outcome, Row};
use counterfoil_spec::ids::{NodeId, Serial};
use counterfoil_spec::limits::{MAX_OPEN_REQUESTS, RECEIPT_EVERY_TOKENS};
use counterfoil_spec::message::{CloseSlot, SignedOpen, SlotRefusal, UnusedForwards};
use counterfoil_spec::receipt::ReceiptBody;
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::time::Millis;

use crate::denials::Fresh;
use crate::hosting::Hosted;

/// An open request yields an interim receipt at the latest after this time, in milliseconds, if it moved at all.
pub(crate) const RECEIPT_EVERY_MS: u64 = 5_000;

/// The open requests of one lane, and what counts for all lanes together.
pub(crate) struct Work {
    node: NodeId,
    open: OpenWork,
    /// One for the router, across lanes.
    usage: Usage,
    /// Until when the router's deny list allows any work at all.
    fresh: Fresh,
}

/// What is open on one lane.
#[derive(Default)]
pub(crate) struct OpenWork {
    slots: HashMap<u32, Slot>,
    /// Receipts of this lane that wait for the router's half.
    owed: BTreeSet<Serial>,
}

impl OpenWork {
    /// Whether anything is still to come of or for its requests.
    pub(crate) fn is_over(&self) -> bool {
        self.owed.is_empty() && !self.slots.values().any(|slot| matches!(slot, Slot::Open(_)))
    }

    /// Whether the request of this order is open, so that its receipts so far are not the last.
    fn is_open(&self, serial: &Serial) -> bool {
        self.slots.values().any(|slot| matches!(slot, Slot::Open(r) if r.grant.serial() == *serial))
    }

    /// Whether a receipt of this order is this lane's to hand in.
    pub(crate) fn has(&self, serial: &Serial) -> bool {
        self.owed.contains(serial) || self.is_open(serial)
    }
}

enum Slot {
    Open(Box<Request>),
    Refused(SlotRefusal),
}

struct Request {
    grant: ActiveGrant,
    token_slot: u16,
    opened: Millis,
    made: u64,
    /// Of these, what the router said entered no sum.
    unused: u64,
    /// The highest position seen, plus one.
    tokens: u64,
    receipted: Receipted,
    compute_us: u64,
    transcript: Transcript,
}

/// What the latest interim receipt of a request says.
#[derive(Debug, Clone, Copy)]
struct Receipted {
    tokens: u64,
    forwards: u64,
    at: Millis,
}

/// A receipt to be signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) slot: u32,
    pub(crate) request: Serial,
    pub(crate) body: ReceiptBody,
}

impl Work {
    pub(crate) fn new(node: NodeId, usage: Usage, fresh: Fresh) -> Self {
        Self { node, open: OpenWork::default(), usage, fresh }
    }

    /// What was booked since the last call: to be kept before what it allows is answered.
    pub(crate) fn take_booked(&mut self) -> Vec<Booking> {
        self.usage.take_booked()
    }

    /// Checks an order; a refused one keeps its slot until it is closed.
    pub(crate) fn open(
        &mut self,
        order: &SignedOpen,
        hosted: Option<(u16, &Hosted)>,
        router: &VerifiedPeer,
        now: Millis,
    ) -> Result<(), SlotRefusal> {
        let slot = order.grant.slot;
        let taken = self.open.slots.contains_key(&slot);
        let full = self.open.slots.len() >= MAX_OPEN_REQUESTS;
        let (grant, token_slot) = match hosted {
            _ if taken => (Err(no(Refusal::Grant, format!("slot {slot} is in use"))), 0),
            _ if full => (Err(no(Refusal::Busy, format!("{MAX_OPEN_REQUESTS} requests are open"))), 0),
            //= spec/consent.md#the-deny-list
            //# A node whose deny list is not fresh MUST refuse every order and every dispatch (`T_STALE`).
            _ if !self.fresh.is_at(now.seconds()) => {
                (Err(no(Refusal::TokenStale, "the router's deny list is too old here")), 0)
            }
            None => (Err(no(Refusal::Grant, "no consent token with this id is ready here")), 0),
            Some((_, hosted)) if hosted.withdrawn => {
                (Err(no(Refusal::Withdrawn, "its consent token was withdrawn")), 0)
            }
            Some((at, hosted)) => {
                (hosted.permit.check_open(order, router.key(), &router.net_id(), now, &self.usage), at)
            }
        };
        match grant {
            Ok(grant) => {
                self.usage.begin(&grant, now);
                self.open.slots.insert(slot, Slot::Open(Box::new(Request::new(grant, token_slot, now))));
                Ok(())
            }
            Err(Refused { refusal, detail }) => {
                let refused = SlotRefusal { slot, refusal, detail: detail.into(), node: self.node };
                if !taken && !full {
                    self.open.slots.insert(slot, Slot::Refused(refused.clone()));
                }
                Err(refused)
            }
        }
    }

    /// Says for each segment of a dispatch whether its rows may be computed.
    pub(crate) fn judge(
        &mut self,
        dispatch: &Dispatch,
        (token_slot, hosted): (u16, &Hosted),
        now: Millis,
    ) -> Vec<Result<(), Refusal>> {
        let mut rows = dispatch.rows.as_slice();
        let mut experts = dispatch.experts.as_slice();
        let mut verdicts = Vec::with_capacity(dispatch.segments.len());
        let fresh = if self.fresh.is_at(now.seconds()) { Ok(()) } else { Err(Refusal::TokenStale) };
        for segment in &dispatch.segments {
            let (own, rest) = rows.split_at_checked(usize::from(segment.rows)).unwrap_or((rows, &[]));
            rows = rest;
            let count = own.iter().map(|row| usize::from(row.experts)).sum();
            let (picks, rest) = experts.split_at_checked(count).unwrap_or((experts, &[]));
            experts = rest;
            let Some(Slot::Open(request)) = self.open.slots.get(&segment.slot) else {
                verdicts.push(Err(self.why_not_open(segment.slot)));
                continue;
            };
            // The frame decoder has checked that positions rise.
            let tokens = own.last().map_or(0, |row| u64::from(row.position) + 1).max(request.tokens);
            let within = fresh
                .and_then(|()| may(request, (token_slot, hosted), dispatch, now))
                .and_then(|()| {
                    let fits = |expert: u16| request.grant.allows(dispatch.layer, u32::from(expert));
                    if picks.iter().all(|pick| fits(pick.expert)) { Ok(()) } else { Err(Refusal::Scope) }
                })
                .and_then(|()| {
                    let rows = u64::from(segment.rows).saturating_mul(dispatch.row_bytes());
                    let vectors: usize = own.iter().map(Row::answer_vectors).sum();
                    let answer = u64::try_from(vectors)
                        .unwrap_or(u64::MAX)
                        .saturating_mul(u64::from(dispatch.hidden) * 4);
                    let bytes = rows.saturating_add(answer);
                    let quota = &hosted.permit.claims().quota;
                    let serial = request.grant.serial();
                    let counted = self.usage.computed(&serial, tokens, quota);
                    counted.and_then(|()| self.usage.moved(bytes, quota, now)).map_err(|r| r.refusal)
                });
            verdicts.push(within);
        }
        verdicts
    }

    /// Notes what was answered; gives the receipts that are due.
    pub(crate) fn record(&mut self, dispatch: &Dispatch, combine: &Combine, now: Millis) -> Vec<Due> {
        let mut due = Vec::new();
        let mut first_row = 0;
        let served: u64 =
            combine.segments.iter().map(|s| u64::from(matches!(s.outcome, Outcome::Served(_)))).sum();
        for (at, (asked, answered)) in dispatch.segments.iter().zip(&combine.segments).enumerate() {
            let rows = dispatch.rows.iter().skip(first_row).take(usize::from(asked.rows));
            first_row += usize::from(asked.rows);
            let (Outcome::Served(_), Some(Slot::Open(request))) =
                (answered.outcome, self.open.slots.get_mut(&asked.slot))
            else {
                continue;
            };
            for row in rows {
                request.made += u64::from(row.experts);
                request.tokens = request.tokens.max(u64::from(row.position) + 1);
            }
            // Rows of several requests share the call, so each is charged an equal part of its time.
            request.compute_us += u64::from(combine.compute_us).checked_div(served).unwrap_or(0);
            request.transcript.add(dispatch, combine, at);
            let Receipted { tokens, at, .. } = request.receipted;
            if request.tokens >= tokens + RECEIPT_EVERY_TOKENS || now >= at.plus(RECEIPT_EVERY_MS) {
                due.push(request.interim(self.node, asked.slot, now));
            }
        }
        due
    }

    /// Forwards that were answered entered no sum; gives the receipt that takes the place of one that counts them.
    pub(crate) fn unused(&mut self, unused: UnusedForwards, now: Millis) -> Option<Due> {
        let Some(Slot::Open(request)) = self.open.slots.get_mut(&unused.slot) else { return None };
        //= spec/session.md#orders
        //# A node leaves that many out of the `forwards` of its interim receipts, those at most that it has answered
        request.unused = request.unused.saturating_add(unused.forwards).min(request.made);
        let too_many = request.receipted.forwards > request.forwards();
        too_many.then(|| request.interim(self.node, unused.slot, now))
    }

    /// Ends a request and gives its last receipt; the router's count of forwards enters it where the node made as
    /// many, else the node's own.
    pub(crate) fn close(&mut self, close: &CloseSlot, now: Millis) -> Option<Result<Due, SlotRefusal>> {
        match self.open.slots.remove(&close.slot)? {
            Slot::Refused(refusal) => Some(Err(refusal)),
            Slot::Open(request) => {
                self.usage.end(&request.grant.serial());
                self.usage.receipt_sent(request.grant.serial(), now);
                self.open.owed.insert(request.grant.serial());
                Some(Ok(request.due(self.node, close.slot, close.used.min(request.made), now)))
            }
        }
    }

    /// Whether anything is still to come of or for this lane's requests.
    pub(crate) fn is_over(&self) -> bool {
        self.open.is_over()
    }

    /// What is open on this lane.
    pub(crate) const fn open_work(&self) -> &OpenWork {
        &self.open
    }

    /// Goes on with another lane; what is open on this one is put in its place.
    pub(crate) const fn change_lanes(&mut self, other: &mut OpenWork) {
        std::mem::swap(&mut self.open, other);
    }

    /// Whether a request under the consent token of this slot is open.
    pub(crate) fn uses(&self, token_slot: u16) -> bool {
        self.open.slots.values().any(|slot| matches!(slot, Slot::Open(r) if r.token_slot == token_slot))
    }

    /// Whether the request of this order is open, so that its receipts so far are not the last.
    pub(crate) fn is_open(&self, serial: &Serial) -> bool {
        self.open.is_open(serial)
    }

    /// The router's half of a receipt arrived.
    pub(crate) fn settled(&mut self, serial: &Serial) {
        self.open.owed.remove(serial);
        self.usage.receipt_settled(serial);
    }

    /// Ends everything that is open, because the lane is gone, and gives the receipts of what was made. What was
    /// closed before and is not countersigned stays a claim, but is no longer counted as owed: on a new lane it is
    /// sent again.
    pub(crate) fn abandon(&mut self, now: Millis) -> Vec<Due> {
        std::mem::take(&mut self.open.owed).iter().for_each(|serial| self.usage.receipt_settled(serial));
        let slots = std::mem::take(&mut self.open.slots);
        let open = slots.into_iter().filter_map(|(slot, entry)| match entry {
            Slot::Open(request) => Some((slot, request)),
            Slot::Refused(_) => None,
        });
        let mut due = Vec::new();
        for (slot, request) in open {
            self.usage.end(&request.grant.serial());
            if request.made > 0 {
                due.push(request.due(self.node, slot, request.forwards(), now));
            }
        }
        due
    }

    fn why_not_open(&self, slot: u32) -> Refusal {
        match self.open.slots.get(&slot) {
            Some(Slot::Refused(refused)) => refused.refusal,
            _ => Refusal::Grant,
        }
    }
}

impl Request {
    fn new(grant: ActiveGrant, token_slot: u16, now: Millis) -> Self {
        let transcript = Transcript::new(&grant.transcript_key());
        Self {
            grant,
            token_slot,
            opened: now,
            made: 0,
            unused: 0,
            tokens: 0,
            receipted: Receipted { tokens: 0, forwards: 0, at: now },
            compute_us: 0,
            transcript,
        }
    }

    /// Forwards that entered a sum, as far as the router has said otherwise.
    fn forwards(&self) -> u64 {
        self.made.saturating_sub(self.unused)
    }

    fn interim(&mut self, node: NodeId, slot: u32, now: Millis) -> Due {
        self.receipted = Receipted { tokens: self.tokens, forwards: self.forwards(), at: now };
        self.due(node, slot, self.forwards(), now)
    }

    fn due(&self, node: NodeId, slot: u32, forwards: u64, now: Millis) -> Due {
        let grant = &self.grant;
        let body = ReceiptBody {
            serial: grant.serial(),
            open_hash: grant.open_hash(),
            node,
            router: grant.router(),
            manifest: grant.manifest(),
            cti: grant.cti(),
            forwards,
            made: self.made,
            transcript: self.transcript.digest(),
            opened: self.opened,
            closed: now.max(self.opened),
            compute_us: self.compute_us,
        };
        Due { slot, request: grant.request(), body }
    }
}

/// Everything about a segment but its experts and quota.
fn may(
    request: &Request,
    (token_slot, hosted): (u16, &Hosted),
    dispatch: &Dispatch,
    now: Millis,
) -> Result<(), Refusal> {
    if request.token_slot != token_slot {
        return Err(Refusal::Grant);
    }
    if hosted.withdrawn || !hosted.permit.in_force(now.seconds()) {
        return Err(Refusal::Withdrawn);
    }
    if !request.grant.in_time(now) {
        return Err(Refusal::Deadline);
    }
    if usize::try_from(dispatch.hidden) != Ok(hosted.hidden) {
        return Err(Refusal::Shape);
    }
    Ok(())
}

fn no(refusal: Refusal, detail: impl Into<String>) -> Refused {
    Refused { refusal, detail: detail.into() }
}

/// The permit of a consent token, where it is the one that a grant names.
pub(crate) fn permit_for<'a>(hosted: &'a [Hosted], cti: &Serial) -> Option<(u16, &'a Hosted)> {
    let at =
        hosted.iter().position(|h| (h.bank.is_some() || h.withdrawn) && h.permit.claims().cti == *cti)?;
    Some((u16::try_from(at).ok()?, hosted.get(at)?))
}
