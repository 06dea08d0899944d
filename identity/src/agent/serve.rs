//! The agent's side: what it answers. Whoever listens on the socket hands requests in and sends answers out.

use super::wire::{self, Request};
use crate::key::SecretKey;

/// Answers one request (without its length) with a whole message (with its length). Keys are never given out, none is
/// added or removed, and what is not a request for the list or for a signature is refused.
#[must_use]
pub fn answer(keys: &[(SecretKey, String)], request: &[u8]) -> Vec<u8> {
    match wire::request(request) {
        Request::List => {
            let listed: Vec<_> =
                keys.iter().map(|(key, name)| (key.public().wire(), name.as_str())).collect();
            wire::listed(&listed)
        }
        Request::Sign { key, message } => keys
            .iter()
            .find(|(held, _)| held.public().wire() == key)
            .map_or_else(wire::failure, |(held, _)| wire::signed(&held.sign(message))),
        Request::Other => wire::failure(),
    }
}
