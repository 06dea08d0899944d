//! The normative documents, and the wire types, limits and one canonical encoding that follow from them; no IO, no crypto, no clock.
//!
//! Everything another implementation or an auditor can see is defined here once: ids, amounts, log entries,
//! consent claims, receipts and session messages. The prose that governs them is in `spec/*.md`; a byte that the
//! prose leaves open is decided by the encoder in [`encode`] and held by a vector.

pub mod amount;
pub mod claims;
pub mod country;
pub mod deny;
pub mod encode;
pub mod entry;
pub mod fetch;
pub mod ids;
pub mod limits;
pub mod message;
pub mod payload;
pub mod receipt;
pub mod refusal;
pub mod rule;
pub mod statement;
pub mod text;
pub mod time;
