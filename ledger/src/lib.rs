//! Pure, integer-only replay of entries into balances, holds, statements and payouts.
//!
//! No clock, no IO, no database, no floating point: the present is an argument, the log is handed in entry by
//! entry, and the same entries give the same state and the same bytes. `spec/settlement.md` is the normative text.

mod account;
mod book;
pub mod calendar;
mod chargeback;
mod credit;
mod dispute;
mod error;
mod fold;
pub mod grant;
mod hold;
pub mod invoice;
pub mod journal;
mod lots;
mod payout;
mod posting;
mod rule;
mod rules;
pub mod settle;
mod share;
pub mod split;
mod tier;
mod usage;
mod works;

#[cfg(test)]
mod tests;

pub use account::{Account, Balance, KeyFacts, LotBalance};
pub use book::{Balances, Book, BookError, MoneyAccount, TokenAccount};
pub use chargeback::Received;
pub use credit::{CreditOverflow, credits};
pub use dispute::DisputeState;
pub use error::LedgerError;
pub use fold::Ledger;
pub use hold::{HoldError, SettleError};
pub use lots::LotState;
pub use payout::{
    Destination, NotPayable, Payable, PayoutState, PayoutStatus, Provider, payout_key, payout_of_key,
};
pub use rule::LedgerRule;
pub use rules::founding_rules;
pub use tier::tier_of;
pub use usage::{MAX_USAGE_ROWS, Usage};
pub use works::WorkError;
