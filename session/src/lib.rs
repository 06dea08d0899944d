//! The router-node protocol, sans-IO, and one thin quinn adapter.
//!
//! [`frame`] is bytes alone. [`endpoint`] turns a QUIC connection whose certificates were verified into a lane:
//! [`lane`] is the router's end, which many request tasks share, [`node_lane`] the node's, which one task owns.
//! `spec/session.md` is the normative text.

pub mod bench;
pub mod end;
pub mod endpoint;
pub mod enrol;
pub mod fetch;
pub mod frame;
pub mod lane;
pub mod node_lane;
mod outbox;
pub mod rehearsal;
pub mod sandbox;
#[cfg(test)]
mod tests;
mod token;
pub mod transcript;
pub mod transport;

pub use end::{LaneEnd, LaneError};
pub use endpoint::{
    Admission, Arriving, ConnectError, EndpointError, Incoming, NodeEndpoint, RouterEndpoint, Target,
};
pub use fetch::{FetchDoor, FetchError, Fetcher};
pub use lane::{ActiveToken, Events, RouterLane};
pub use node_lane::{Asked, NodeLane, RouterFrame};
pub use rehearsal::Rehearsal;
pub use transcript::Transcript;
