//! Closing a quarter: from the entries of the log to a pool, the providers' shares and one statement.

mod quarter;

pub use quarter::{Quarter, QuarterSyntax};
