//! The program as its users meet it: processes, files, HTTP and exit codes; nothing of its inside.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod accounts;
mod answers;
mod attacks;
mod authorities;
mod backups;
mod bad_requests;
mod batching;
mod benches;
mod checkpoints;
mod commands;
mod conform;
mod consents;
mod countries;
mod crashes;
mod denials;
mod earnings;
mod elsewhere;
mod exports;
mod fetching;
mod full_disk;
mod halves;
mod harness;
mod http;
mod https;
mod keys;
mod log_keys;
mod logits;
mod lookups;
mod models;
mod networks;
mod payouts;
mod peers;
mod privacy;
mod proofs;
mod record;
mod removal;
mod renewals;
mod repeats;
mod root_denials;
mod settlement;
mod witnesses;
