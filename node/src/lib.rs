//! Hosts experts (or a whole-model backend) and answers sessions.
//!
//! A node connects to its router, so it needs no open port. It signs consent where its operator's policy allows it,
//! loads exactly what was consented to, computes what the router's signed orders grant, and keeps its own log of
//! both. `spec/session.md` and `spec/receipt.md` are the normative texts.

mod backoff;
mod compute;
mod config;
mod home;
mod hosting;
mod log;
mod node;
mod service;
mod status;
mod unsettled;
mod work;

pub use config::{NodeConfig, NodeError};
pub use home::{EnrolError, HomeError, NodeIdentity, enrol};
pub use log::log_origin;
pub use node::{Node, NodeHandle, serve};
pub use status::{Stage, Status};
