//! How a machine becomes a node: four messages, decided by pure steps.
//!
//! ```text
//! node                                            router (server-authenticated TLS, ALPN counterfoil-enroll/1)
//! Hello { token id, NIK, TLS key, recovery, log, nonce }  ->
//!                                                 <-  Challenge { nonce, router id, end, generation }
//! Proof { csr, sig_NIK(T), sig_token(T), binding }        ->
//!                                                 <-  Enrolled { leaf, issuing CA, root, epoch, renew after }
//! T = net_id ‖ router_id ‖ TLS exporter ‖ both nonces ‖ token id ‖ csr hash ‖ hello hash
//! ```
//!
//! Every message is canonical CBOR of at most `MAX_ENROL_BYTES`. The steps know no socket, no store and no clock:
//! what they need of these is an argument.

mod client;
mod memory;
mod message;
mod proof;
mod proved;
mod recovery;
mod renewal;
mod server;
mod store;
mod token;

#[cfg(test)]
mod tests;

pub use client::{EnrolClient, Joined, Proving};
pub use memory::MemoryTokens;
pub use message::{Challenge, ClientMessage, Enrolled, Hello, Proof, Recover, ServerMessage};
pub use proved::{Finish, NodeFacts, Proved};
pub use recovery::{RecoveryAt, recovery_hash};
pub use renewal::{Allowed, RenewAt, Renewing, Shown, Standing, Wanted, shown, wanted};
pub use server::{EnrolOffer, EnrolServer};
pub use store::{Claim, Consumed, TokenStore};
pub use token::{JoinToken, TokenFacts, TokenSyntax};
