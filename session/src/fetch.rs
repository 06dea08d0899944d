//! Fetch streams beside a lane: one request and its answer on each, in chunks that the asker takes one by one.
//!
//! [`Fetcher`] asks, [`FetchDoor`] answers; both sides of a connection have both. `spec/session.md` (Fetching) is the
//! normative text. An answer is never further ahead than a few chunks, so that the lane always finds room in what
//! the connection may have in flight, and its bytes leave before those of fetch streams.

mod asker;
mod door;
mod wire;

pub use asker::{Answer, Fetcher};
pub use door::{Body, FetchDoor, Reply};
pub use wire::FetchError;
#[cfg(test)]
pub(crate) use wire::framed;
