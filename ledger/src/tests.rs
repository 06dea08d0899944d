//! Whole logs, replayed.

mod balances;
mod closing;
mod examples;
mod fixture;
mod holding;
mod journal;
mod payouts;
mod properties;
mod verifying;
