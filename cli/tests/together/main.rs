//! A router and nodes in one process: what each frame carries, and what becomes of requests that share it.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod activations;
mod authorities;
mod batching;
mod bounds;
mod copies;
mod denials;
mod heads;
mod hedging;
mod network;
mod proposals;
mod receipts;
mod rotation;
mod scripted;
mod tokens;
