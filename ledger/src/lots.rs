//! Lots: tokens with an expiry, spent earliest expiry first, ties by serial.

use std::collections::HashMap;

use counterfoil_spec::amount::TokenCount;
use counterfoil_spec::ids::{AccountId, Serial};
use counterfoil_spec::limits::MAX_REQUEST_LOTS;
use counterfoil_spec::payload::{Debit, LotSource};
use counterfoil_spec::time::Seconds;

use crate::account::Account;

/// A lot with what was taken from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LotState {
    pub(crate) account: AccountId,
    pub(crate) source: LotSource,
    pub(crate) payment: Option<Serial>,
    pub(crate) tokens: u64,
    pub(crate) spent: u64,
    pub(crate) held: u64,
    pub(crate) starts: Seconds,
    pub(crate) expires: Seconds,
    /// From when on it rests while its payment is disputed.
    pub(crate) rests: Option<Seconds>,
}

impl LotState {
    /// Whose it is.
    #[must_use]
    pub const fn account(&self) -> &AccountId {
        &self.account
    }

    /// Why it was granted.
    #[must_use]
    pub const fn source(&self) -> LotSource {
        self.source
    }

    /// Not yet debited, held or not.
    #[must_use]
    pub const fn unspent(&self) -> TokenCount {
        TokenCount(self.tokens.saturating_sub(self.spent))
    }

    /// Neither debited nor held.
    #[must_use]
    pub const fn free(&self) -> TokenCount {
        TokenCount(self.tokens.saturating_sub(self.spent).saturating_sub(self.held))
    }

    /// Whether it may be spent at an instant.
    #[must_use]
    pub fn in_force(&self, now: Seconds) -> bool {
        self.starts <= now && !self.has_ended(now) && self.rests.is_none_or(|from| now < from)
    }

    /// Whether it can never be spent again; a lot that rests may come back.
    #[must_use]
    pub fn has_ended(&self, now: Seconds) -> bool {
        self.expires <= now
    }
}

/// Every lot of the log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Lots {
    pub(crate) by_serial: HashMap<Serial, LotState>,
}

/// What an account's lots can give one request.
pub(crate) struct Reach {
    /// The lots to hold and how much of each; complete only if `free` covers the need.
    pub(crate) parts: Vec<Debit>,
    /// Neither debited nor held.
    pub(crate) free: u64,
    /// Not debited.
    pub(crate) unspent: u64,
}

impl Lots {
    /// Lots in force, in the order in which they are spent.
    pub(crate) fn in_force<'a>(
        &'a self,
        account: &'a Account,
        now: Seconds,
    ) -> impl Iterator<Item = (Serial, &'a LotState)> {
        // An expiry of `now` is past; the next second's first key bounds the lots that are still open.
        let from = (now.plus(1), Serial::from_bytes([0; 16]));
        account
            .lots
            .range(from..)
            .filter_map(|(_, serial)| self.by_serial.get(serial).map(|lot| (*serial, lot)))
            .filter(move |(_, lot)| lot.in_force(now))
    }

    /// Spreads a need over the first [`MAX_REQUEST_LOTS`] lots that have tokens left, since one entry can debit
    /// no more of them.
    pub(crate) fn reach(&self, account: &Account, need: u64, now: Seconds) -> Reach {
        let mut reach = Reach { parts: Vec::new(), free: 0, unspent: 0 };
        let open = self.in_force(account, now).filter(|(_, lot)| lot.unspent().0 > 0);
        for (serial, lot) in open.take(MAX_REQUEST_LOTS) {
            let part = lot.free().0.min(need.saturating_sub(reach.free));
            if part > 0 {
                reach.parts.push(Debit { lot: serial, tokens: TokenCount(part) });
            }
            reach.free = reach.free.saturating_add(lot.free().0);
            reach.unspent = reach.unspent.saturating_add(lot.unspent().0);
        }
        reach
    }

    pub(crate) fn hold(&mut self, parts: &[Debit]) {
        for part in parts {
            if let Some(lot) = self.by_serial.get_mut(&part.lot) {
                lot.held = lot.held.saturating_add(part.tokens.0);
            }
        }
    }

    pub(crate) fn release(&mut self, parts: &[Debit]) {
        for part in parts {
            if let Some(lot) = self.by_serial.get_mut(&part.lot) {
                lot.held = lot.held.saturating_sub(part.tokens.0);
            }
        }
    }

    pub(crate) fn debit(&mut self, parts: &[Debit]) {
        for part in parts {
            if let Some(lot) = self.by_serial.get_mut(&part.lot) {
                lot.spent = lot.spent.saturating_add(part.tokens.0);
            }
        }
    }
}
