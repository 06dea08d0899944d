//! Frames: what a lane carries, as bytes. All integers and floats are little-endian; control bodies are CBOR.
//!
//! ```text
//! frame  = header (40 bytes) ‖ body
//! header = { 0: u32 body length, 4: u8 kind, 5: u8 zero, 6: u16 token slot, 8: u64 counter, 16: u32 seq,
//!            20: u32 zero, 24: mac[16] }
//! ```
//!
//! `spec/session.md` is the normative text. Nothing here does IO; [`Intake`] turns a byte stream into frames.

mod activations;
mod combine;
mod control;
mod dispatch;
mod header;
mod intake;
mod pool;
#[cfg(test)]
mod tests;
mod words;

pub use activations::{Activations, BLOCK, Encoding};
pub use combine::{Combine, Form, Outcome, RowVectors, Served};
pub use control::{decode_control, encode_control};
pub use dispatch::{Dispatch, Routed, Row, Segment};
pub use header::{FrameError, FrameHeader, HEADER_BYTES, Kind, MAC_OFFSET};
pub use intake::Intake;
pub(crate) use pool::FramePool;
pub(crate) use words::put_floats;
