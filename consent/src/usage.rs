//! What a node has let itself be used for: the bookkeeping behind quotas, replays and unsettled receipts.
//!
//! One [`Usage`] per node and router counts all work, whichever consent token allowed it, so that renewing a token
//! renews no quota. Tokens count towards the UTC day in which their request was opened, and are reserved in leases.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use counterfoil_identity::Refused;
use counterfoil_spec::claims::Quota;
use counterfoil_spec::ids::Serial;
use counterfoil_spec::limits::{
    MAX_CLOCK_SKEW_S, MAX_OPEN_AGE_MS, MAX_REMEMBERED_OPENS, MAX_UNSETTLED_MS, MAX_UNSETTLED_RECEIPTS,
    QUOTA_LEASE_TOKENS,
};
use counterfoil_spec::receipt::Grant;
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::time::Millis;

use crate::grant::ActiveGrant;
use crate::token::no;

/// What an order has taken of its day by now. Whoever keeps these, in order, loses nothing with the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Booking {
    /// The order.
    pub order: Serial,
    /// Under which consent token.
    pub cti: Serial,
    /// When it was taken; it names the UTC day.
    pub opened: Millis,
    /// Tokens reserved, all its leases together.
    pub leased: u64,
    /// Tokens used; nothing while it is open.
    pub used: Option<u64>,
    /// Whether its consent token limits the tokens of a day.
    pub limited: bool,
}

/// The state; plain, owned by whoever serves.
#[derive(Debug, Clone, Default)]
pub struct Usage {
    open: HashMap<Serial, OpenUse>,
    /// Tokens used or leased, by UTC day.
    days: BTreeMap<u64, u64>,
    /// Orders by arrival, for the rate and for replays.
    arrived: VecDeque<(Millis, Serial)>,
    seen: HashSet<Serial>,
    /// Bytes in the second that the first number names.
    bytes: (u64, u64),
    /// Receipts that the router has not countersigned, by when they were sent.
    owed: BTreeMap<(Millis, Serial), ()>,
    /// What was booked and not taken out yet.
    booked: Vec<Booking>,
}

#[derive(Debug, Clone, Copy)]
struct OpenUse {
    cti: Serial,
    opened: Millis,
    limited: bool,
    leased: u64,
    used: u64,
    max_tokens: u64,
}

impl OpenUse {
    fn booking(&self, order: Serial, used: Option<u64>) -> Booking {
        let Self { cti, opened, limited, leased, .. } = *self;
        Booking { order, cti, opened, leased, used, limited }
    }
}

impl Usage {
    /// Nothing used yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Brings back what is known of a day.
    pub fn restore(&mut self, day: u64, tokens: u64) {
        let total = self.days.entry(day).or_default();
        *total = total.saturating_add(tokens);
    }

    /// Brings back an order that was taken before, so that it is not taken twice. To be called in the order in which
    /// they came.
    pub fn remember(&mut self, order: Serial, taken: Millis) {
        if self.seen.insert(order) {
            self.arrived.push_back((taken, order));
        }
    }

    /// Takes out what was booked since the last call, in order.
    pub fn take_booked(&mut self) -> Vec<Booking> {
        std::mem::take(&mut self.booked)
    }

    /// Requests open now.
    #[must_use]
    pub fn open_requests(&self) -> usize {
        self.open.len()
    }

    /// Tokens used or leased in the UTC day of an instant.
    #[must_use]
    pub fn tokens_in_day(&self, at: Millis) -> u64 {
        self.days.get(&day_of(at)).copied().unwrap_or(0)
    }

    /// Whether quota and concurrency admit one more request.
    pub(crate) fn admits(&self, quota: &Quota, grant: &Grant, now: Millis) -> Result<(), Refused> {
        if grant.max_tokens > quota.tokens_per_request.0 {
            let detail =
                format!("{} tokens for one request, quota {}", grant.max_tokens, quota.tokens_per_request.0);
            return Err(no(Refusal::Quota, detail));
        }
        let wanted = self.tokens_in_day(now).saturating_add(grant.max_tokens.min(QUOTA_LEASE_TOKENS));
        if wanted > quota.tokens_per_day.0 {
            return Err(no(Refusal::Quota, "the tokens of this UTC day are used up"));
        }
        let concurrent = usize::try_from(quota.concurrent).unwrap_or(usize::MAX);
        if self.open.len() >= concurrent {
            return Err(no(Refusal::Busy, format!("{} requests are open already", self.open.len())));
        }
        let second_ago = now.0.saturating_sub(999);
        let recent = self.arrived.iter().rev().take_while(|(at, _)| at.0 >= second_ago).count();
        if recent >= usize::try_from(quota.requests_per_s).unwrap_or(usize::MAX) {
            return Err(no(Refusal::Busy, format!("{recent} requests began within this second")));
        }
        let forgettable = self.arrived.front().is_some_and(|(at, _)| at.plus(REMEMBER_MS) < now);
        if self.arrived.len() >= MAX_REMEMBERED_OPENS && !forgettable {
            return Err(no(Refusal::Busy, "too many orders in two minutes to remember them all"));
        }
        Ok(())
    }

    /// Whether an order is new here.
    pub(crate) fn fresh(&self, serial: &Serial) -> Result<(), Refused> {
        if self.seen.contains(serial) { Err(no(Refusal::Replay, "this order came before")) } else { Ok(()) }
    }

    /// Whether the router has countersigned what it must have by now.
    pub(crate) fn settled(&self, now: Millis) -> Result<(), Refused> {
        let oldest = self.owed.first_key_value().map(|((at, _), ())| now.0.saturating_sub(at.0));
        if self.owed.len() > MAX_UNSETTLED_RECEIPTS || oldest.is_some_and(|ms| ms > MAX_UNSETTLED_MS) {
            let detail = format!("{} receipts wait for the router's signature", self.owed.len());
            return Err(no(Refusal::Unsettled, detail));
        }
        Ok(())
    }

    /// Books the beginning of a request that was checked against this state.
    pub fn begin(&mut self, grant: &ActiveGrant, now: Millis) {
        while self.arrived.front().is_some_and(|(at, _)| at.plus(REMEMBER_MS) < now) {
            if let Some((_, old)) = self.arrived.pop_front() {
                self.seen.remove(&old);
            }
        }
        let day = day_of(now);
        self.days.retain(|d, _| d.saturating_add(2) >= day);
        let leased = grant.max_tokens().min(QUOTA_LEASE_TOKENS);
        let total = self.days.entry(day).or_default();
        *total = total.saturating_add(leased);
        self.arrived.push_back((now, grant.serial()));
        self.seen.insert(grant.serial());
        let limited = grant.permit().claims().quota.tokens_per_day.0 != u64::MAX;
        let (cti, max_tokens) = (grant.cti(), grant.max_tokens());
        let open = OpenUse { cti, opened: now, limited, leased, used: 0, max_tokens };
        self.booked.push(open.booking(grant.serial(), None));
        self.open.insert(grant.serial(), open);
    }

    /// Books that a request has computed `total` tokens so far, leasing more where its lease is used up.
    ///
    /// # Errors
    /// `R_QUOTA` beyond the grant's tokens or the day's quota, `R_GRANT` for a request that is not open.
    pub fn computed(&mut self, serial: &Serial, total: u64, quota: &Quota) -> Result<(), Refused> {
        let open = self.open.get_mut(serial).ok_or_else(|| no(Refusal::Grant, "no such open request"))?;
        if total > open.max_tokens {
            let detail = format!("{total} tokens, while {} were granted", open.max_tokens);
            return Err(no(Refusal::Quota, detail));
        }
        if total > open.leased {
            let leases = total.div_ceil(QUOTA_LEASE_TOKENS).saturating_mul(QUOTA_LEASE_TOKENS);
            let more = leases.min(open.max_tokens).saturating_sub(open.leased);
            let day = self.days.entry(day_of(open.opened)).or_default();
            let wanted = day.saturating_add(more);
            if wanted > quota.tokens_per_day.0 {
                return Err(no(Refusal::Quota, "the tokens of this UTC day are used up"));
            }
            *day = wanted;
            open.leased = open.leased.saturating_add(more);
            self.booked.push(open.booking(*serial, None));
        }
        open.used = open.used.max(total);
        Ok(())
    }

    /// Books bytes of activations, either way.
    ///
    /// # Errors
    /// `R_QUOTA` beyond the bytes of this second.
    pub fn moved(&mut self, bytes: u64, quota: &Quota, now: Millis) -> Result<(), Refused> {
        let second = now.seconds().0;
        let before = if self.bytes.0 == second { self.bytes.1 } else { 0 };
        let total = before.saturating_add(bytes);
        if total > quota.bytes_per_s {
            return Err(no(
                Refusal::Quota,
                format!("{total} bytes in one second, quota {}", quota.bytes_per_s),
            ));
        }
        self.bytes = (second, total);
        Ok(())
    }

    /// Books the end of a request; what was leased and not used goes back to its day.
    pub fn end(&mut self, serial: &Serial) {
        let Some(open) = self.open.remove(serial) else { return };
        if let Some(day) = self.days.get_mut(&day_of(open.opened)) {
            *day = day.saturating_sub(open.leased.saturating_sub(open.used));
        }
        self.booked.push(open.booking(*serial, Some(open.used)));
    }

    /// Notes a receipt that was sent and waits for the router's half.
    pub fn receipt_sent(&mut self, serial: Serial, now: Millis) {
        if !self.owed.keys().any(|(_, s)| *s == serial) {
            self.owed.insert((now, serial), ());
        }
    }

    /// Notes that the router's half came.
    pub fn receipt_settled(&mut self, serial: &Serial) {
        self.owed.retain(|(_, s), ()| s != serial);
    }
}

const fn day_of(at: Millis) -> u64 {
    at.seconds().0 / 86_400
}

/// An order may come again as long as it is not too old, by a clock that may differ.
pub const REMEMBER_MS: u64 = MAX_OPEN_AGE_MS + MAX_CLOCK_SKEW_S * 1000;
