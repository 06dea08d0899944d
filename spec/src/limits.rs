//! Every bound, by name; each is checked before anything is allocated.

/// A log leaf, in bytes.
pub const MAX_LEAF_BYTES: usize = 60 * 1024;
/// Signatures on one leaf.
pub const MAX_LEAF_SIGNATURES: usize = 4;
/// An origin line of a log, in bytes.
pub const MAX_ORIGIN_BYTES: usize = 200;
/// A consent token, in bytes.
pub const MAX_CONSENT_BYTES: usize = 4096;
/// Ranges in one consent token.
pub const MAX_CONSENT_RANGES: usize = 64;
/// The life of a consent token, in seconds.
pub const MAX_CONSENT_LIFE_S: u64 = 30 * 86_400;
/// Accepted disagreement between two clocks, in seconds.
pub const MAX_CLOCK_SKEW_S: u64 = 60;
/// The life of a leaf certificate, in seconds.
pub const MAX_LEAF_CERT_LIFE_S: u64 = 86_400;
/// One enrolment message, in bytes.
pub const MAX_ENROL_BYTES: usize = 16 * 1024;
/// A control message on a lane, in bytes.
pub const MAX_CONTROL_BYTES: usize = 64 * 1024;
/// A dispatch or combine frame on a lane, in bytes (header and body).
pub const MAX_FRAME_BYTES: usize = 16 * 1024 * 1024;
/// Rows in one dispatch frame.
pub const MAX_FRAME_ROWS: usize = 512;
/// Experts that one row may name on one node.
pub const MAX_ROW_EXPERTS: usize = 64;
/// Requests open on one lane at a time.
pub const MAX_OPEN_REQUESTS: usize = 256;
/// The width of the replay window of a lane's counters.
pub const REPLAY_WINDOW: u64 = 1024;
/// Tokens reserved from a daily quota at a time.
pub const QUOTA_LEASE_TOKENS: u64 = 256;
/// Receipts that a router may owe a node before the node gives no more work.
pub const MAX_UNSETTLED_RECEIPTS: usize = 8;
/// How long one receipt may stay unsettled, in milliseconds.
pub const MAX_UNSETTLED_MS: u64 = 10_000;
/// Between closing a request and its receipt standing in the router's log, in milliseconds.
pub const RECEIPT_INCLUDE_MS: u64 = 60_000;
/// Tokens after which an open request yields an interim receipt.
pub const RECEIPT_EVERY_TOKENS: u64 = 256;
/// Nodes that served one request.
pub const MAX_REQUEST_NODES: usize = 1024;
/// Lots debited by one request.
pub const MAX_REQUEST_LOTS: usize = 64;
/// Nodes in one uptime entry.
pub const MAX_UPTIME_NODES: usize = 4000;
/// The body of an HTTP request, in bytes.
pub const MAX_HTTP_BODY_BYTES: usize = 4 * 1024 * 1024;
/// Layers of a model.
pub const MAX_LAYERS: u32 = 512;
/// Experts in one layer of a model.
pub const MAX_EXPERTS: u32 = 1024;
