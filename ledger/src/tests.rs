//! Whole logs, replayed.

mod balances;
mod closing;
mod disputes;
mod examples;
mod farming;
mod fixture;
mod holding;
mod journal;
mod payouts;
mod per_account;
mod properties;
mod quarters;
mod subscriptions;
mod usage;
mod verifying;
