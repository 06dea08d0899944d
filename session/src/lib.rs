//! The router-node protocol, sans-IO, and one thin quinn adapter.

pub mod frame;
