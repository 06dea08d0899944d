//! The router-node protocol, sans-IO, and one thin quinn adapter.
//!
//! [`frame`] is bytes alone. [`gate`] says who may knock; [`admission`] and [`endpoint`] turn a QUIC connection whose certificates were verified into a lane:
//! [`lane`] is the router's end, which many request tasks share, [`node_lane`] the node's, which one task owns.
//! `spec/session.md` is the normative text.

pub mod admission;
pub mod bench;
mod door;
pub mod end;
pub mod endpoint;
pub mod enrol;
pub mod fetch;
pub mod frame;
pub mod gate;
pub mod lane;
pub mod node_lane;
mod outbox;
pub mod rehearsal;
pub mod sandbox;
mod stay;
#[cfg(test)]
mod tests;
mod token;
pub mod transcript;
pub mod transport;

pub use admission::{Admission, Arriving, Incoming, RouterEndpoint};
pub use door::TurnedAway;
pub use end::{LaneEnd, LaneError};
pub use endpoint::{ConnectError, EndpointError, NodeEndpoint, Target};
pub use fetch::{FetchDoor, FetchError, Fetcher};
pub use gate::Limits;
pub use lane::{ActiveToken, Events, RouterLane};
pub use node_lane::{Asked, NodeLane, RouterFrame};
pub use rehearsal::Rehearsal;
pub use transcript::Transcript;
