//! Whole logs, replayed.

mod balances;
mod closing;
mod fixture;
mod holding;
mod properties;
mod verifying;
