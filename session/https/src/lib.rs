//! Asks servers of the web: addresses, connections over TLS under this machine's certificate authorities or in plain, one HTTP/1.1 request at a time.
//!
//! Whoever asks decides what an answer may be, how long it may take and whether a redirect is followed.

mod address;
mod connect;

pub use address::{Address, AddressError};
pub use connect::{AGENT, ConnectError, Connection, Trust};
