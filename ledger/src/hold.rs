//! Holds: tokens set aside while a request runs, posted or voided once.
//!
//! A hold names the lots that it takes from, so a lot that expires, or another request that starts, while an answer
//! is generated cannot take its tokens away. Holds are not in the log: after a crash there are none.

use counterfoil_spec::amount::TokenCount;
use counterfoil_spec::ids::{AccountId, Serial};
use counterfoil_spec::payload::Debit;
use counterfoil_spec::time::Seconds;

use crate::fold::Ledger;

/// Why tokens were not held.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HoldError {
    /// HTTP 402 `insufficient_quota`: the lots in force do not have that many; trying again does not help.
    #[error("{needed} tokens are needed and {unspent} are left; buy a plan or ask for {missing} fewer")]
    InsufficientQuota {
        /// What the request may use.
        needed: TokenCount,
        /// What lots in force have left, held or not.
        unspent: TokenCount,
        /// By how much that falls short.
        missing: TokenCount,
    },
    /// HTTP 402 `in_flight_budget_exhausted`: the lots have them, but running requests hold them; try again soon.
    #[error(
        "{needed} tokens are needed and running requests hold all but {free}; try again when one has ended"
    )]
    InFlightBudgetExhausted {
        /// What the request may use.
        needed: TokenCount,
        /// What is neither debited nor held.
        free: TokenCount,
        /// By how much that falls short.
        missing: TokenCount,
    },
    /// No entry opened the account.
    #[error("account {0} was never opened")]
    UnknownAccount(AccountId),
    /// The request holds tokens already, or was posted before.
    #[error("request {0} was seen before; a request is held and posted at most once")]
    RequestSeen(Serial),
}

/// Why a hold could not be turned into debits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SettleError {
    /// Nothing is held for it.
    #[error("request {0} holds nothing")]
    UnknownRequest(Serial),
    /// More was used than held.
    #[error("the request used {used} tokens and holds {held}")]
    BeyondHold {
        /// What is held.
        held: TokenCount,
        /// What was used.
        used: TokenCount,
    },
}

/// Tokens set aside for one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hold {
    /// `None` for an account without a meter, which holds nothing.
    pub(crate) metered: Option<Vec<Debit>>,
}

impl Hold {
    fn held(&self) -> TokenCount {
        let parts = self.metered.as_deref().unwrap_or_default();
        TokenCount(parts.iter().fold(0, |sum, p| sum.saturating_add(p.tokens.0)))
    }

    /// What is set aside in one lot.
    pub(crate) fn in_lot(&self, lot: &Serial) -> u64 {
        let parts = self.metered.as_deref().unwrap_or_default();
        parts.iter().find(|p| p.lot == *lot).map_or(0, |p| p.tokens.0)
    }
}

impl Ledger {
    /// Sets tokens aside for a request: earliest expiry first, ties by lot serial. An unmetered account holds none.
    ///
    /// `tokens` are charged tokens: what [`Ledger::charge`] makes of prompt and completion tokens.
    ///
    /// # Errors
    /// [`HoldError`]; then nothing is held.
    pub fn hold(
        &mut self,
        account: &AccountId,
        request: Serial,
        tokens: TokenCount,
        now: Seconds,
    ) -> Result<(), HoldError> {
        let known = self.accounts.get(account).ok_or(HoldError::UnknownAccount(*account))?;
        //= spec/settlement.md#holding-and-posting
        //# A request serial MUST be held and posted at most once.
        if self.holds.contains_key(&request) || self.posted.contains(&request) {
            return Err(HoldError::RequestSeen(request));
        }
        if !known.metered {
            self.holds.insert(request, Hold { metered: None });
            return Ok(());
        }
        let reach = self.lots.reach(known, tokens.0, now);
        let short = |of: u64| TokenCount(tokens.0.saturating_sub(of));
        if reach.unspent < tokens.0 {
            return Err(HoldError::InsufficientQuota {
                needed: tokens,
                unspent: TokenCount(reach.unspent),
                missing: short(reach.unspent),
            });
        }
        if reach.free < tokens.0 {
            return Err(HoldError::InFlightBudgetExhausted {
                needed: tokens,
                free: TokenCount(reach.free),
                missing: short(reach.free),
            });
        }
        self.lots.hold(&reach.parts);
        self.holds.insert(request, Hold { metered: Some(reach.parts) });
        Ok(())
    }

    /// The debits for what a request used, in the order of its hold; none for an unmetered account. The hold stays
    /// until the request's `inference` entry is applied, or [`Ledger::void`] ends it.
    ///
    /// # Errors
    /// [`SettleError`] where nothing, or less, is held.
    pub fn settle(&self, request: &Serial, used: TokenCount) -> Result<Vec<Debit>, SettleError> {
        let hold = self.holds.get(request).ok_or(SettleError::UnknownRequest(*request))?;
        let Some(parts) = &hold.metered else {
            return Ok(Vec::new());
        };
        let mut left = used.0;
        let mut debits = Vec::new();
        for part in parts {
            let take = part.tokens.0.min(left);
            if take == 0 {
                break;
            }
            left -= take;
            debits.push(Debit { lot: part.lot, tokens: TokenCount(take) });
        }
        if left > 0 {
            return Err(SettleError::BeyondHold { held: hold.held(), used });
        }
        Ok(debits)
    }

    /// Gives back what a request holds; says whether it held anything. Doing it twice is harmless.
    pub fn void(&mut self, request: &Serial) -> bool {
        let Some(hold) = self.holds.remove(request) else {
            return false;
        };
        self.lots.release(hold.metered.as_deref().unwrap_or_default());
        true
    }

    /// Requests that hold tokens, or run for an unmetered account.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.holds.len()
    }
}
