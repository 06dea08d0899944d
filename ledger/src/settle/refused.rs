//! Why a quarter is not closed.

use counterfoil_spec::ids::ProviderId;
use counterfoil_spec::time::Seconds;

use super::quarter::Quarter;
use crate::error::LedgerError;
use crate::works::WorkError;

/// The present, and what may be done before a quarter is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AsOf {
    /// Only a quarter that is over is closed.
    Final(Seconds),
    /// A quarter that still runs is computed as far as it went.
    DryRun(Seconds),
}

/// Why a quarter is not closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CloseError {
    /// It is not over.
    #[error("{quarter} ends at {ends} (Unix seconds); close it then, or ask for a dry run")]
    Unfinished {
        /// Which one.
        quarter: Quarter,
        /// The first second at which it can be closed.
        ends: Seconds,
    },
    /// The last statement is of another quarter than the one before.
    #[error("{expected} is the next quarter to close, not {found}")]
    OutOfOrder {
        /// What follows the last statement.
        expected: Quarter,
        /// What was asked for.
        found: Quarter,
    },
    /// The log ends before the last statement's end.
    #[error("the quarter ends at entry {end}, before its first entry {first}")]
    EndBeforeFirst {
        /// The end asked for.
        end: u64,
        /// Where its work begins.
        first: u64,
    },
    /// Entries of the quarter were removed.
    #[error(
        "{quarter} cannot be recomputed: {removed} of its entries were removed when their time was over; its statement stands as it \
         was signed, and a copy of the log from before recomputes it"
    )]
    Removed {
        /// Which one.
        quarter: Quarter,
        /// How many of its entries are missing.
        removed: u64,
    },
    /// Not every entry up to the end was applied.
    #[error("{applied} of {end} entries were applied; replay the log up to the quarter's end")]
    EntriesMissing {
        /// Seen so far.
        applied: u64,
        /// The end.
        end: u64,
    },
    /// A statement in the log names no quarter.
    #[error("the log holds a statement of {0:?}, which is no quarter; verify the log")]
    MalformedStatement(String),
    /// An entry that the ledger refuses.
    #[error("entry {index}: {error}; verify the log")]
    Entry {
        /// Which one.
        index: u64,
        /// Why.
        error: LedgerError,
    },
    /// Books that are out of balance.
    #[error("{0}; verify the log")]
    Books(LedgerError),
    /// A request whose credits do not rest on its receipts.
    #[error("entry {index}: {error}; verify the log")]
    Work {
        /// Which one.
        index: u64,
        /// Why.
        error: WorkError,
    },
    /// The rules share by account, and what served which lot was not kept.
    #[error("the rules share by account; replay the log with `Period::with_lots`")]
    LotsNotKept,
    /// Entries before the quarter were removed, and what they debited may count in it.
    #[error(
        "{quarter} cannot be shared by account: entry {entry} was removed while lots before it had not ended when the quarter began; a copy \
         of the log from before computes it"
    )]
    LotsRemoved {
        /// Which one.
        quarter: Quarter,
        /// The last of them.
        entry: u64,
    },
    /// A provider was registered under the id of a node that is not its own.
    #[error("provider {0} has the id of a node that is not registered as its own")]
    ProviderIsNode(ProviderId),
    /// A sum beyond its type.
    #[error("a sum does not fit its type")]
    Overflow,
}
