//! Whole logs, replayed.

mod balances;
mod closing;
mod examples;
mod farming;
mod fixture;
mod holding;
mod journal;
mod payouts;
mod per_account;
mod properties;
mod quarters;
mod usage;
mod verifying;
