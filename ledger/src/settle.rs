//! Closing a quarter: from the entries of the log to a pool, the providers' shares and one statement.
//!
//! [`Period`] is fed every entry of the log in order; [`Period::close`] then gives a [`Closed`] quarter, and
//! [`Closed::statement`] its entry. All of it is a pure function of the entries and, for the root alone, of the
//! quarter's secret, so whoever has the log recomputes every figure, and whoever has the secret too, every byte.

mod close;
mod closed;
mod per_account;
mod period;
mod quarter;
mod refused;
mod revenue;
mod tally;
mod tree;

pub use closed::{Closed, ProviderShare, rules_hash};
pub use period::Period;
pub use quarter::{Quarter, QuarterSyntax};
pub use refused::{AsOf, CloseError};
pub use tree::{leaf_hash, path, paths, root, root_from_path};
