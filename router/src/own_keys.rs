//! The keys of the network's root and of this router: they are no node's.
//!
//! A node proves that it holds its identity key and its TLS key. Of its log's key it only says which one that is, so that without
//! this a node could have heads of the router's log count as its own.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use counterfoil_identity::VerifyKey;

use crate::desk::Desk;

/// Certificates of this router that may be in use at one time, at most: one follows another at half its life.
const MAX_SHOWN: usize = 4;

/// The TLS keys that this router shows, or has shown a while ago.
#[derive(Debug, Default)]
pub(crate) struct Shown {
    /// Guards the list alone.
    keys: Mutex<VecDeque<VerifyKey>>,
}

impl Shown {
    /// One more is shown from here on; the oldest of too many is forgotten.
    pub(crate) fn add(&self, key: VerifyKey) {
        let mut keys = self.keys();
        if keys.len() >= MAX_SHOWN {
            keys.pop_front();
        }
        keys.push_back(key);
    }

    fn keys(&self) -> MutexGuard<'_, VecDeque<VerifyKey>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whose a key is that no node may have.
//= spec/identity.md#keys
//# A router MUST NOT let a node have a key of its own: the network root's, one of an issuing CA of its log, its identity key, a TLS key
//# that it shows, or a key that its log had, has or is to have.
pub(crate) fn owner(desk: &Desk, key: &VerifyKey) -> Option<&'static str> {
    let is_of_a_ca = || {
        desk.home.ca().key().public() == *key
            || desk.office.books().roster.cas().all().any(|ca| ca.ca.key == *key)
    };
    if key == desk.home.domain().root_key() {
        Some("the network root's")
    } else if *key == desk.office.identity().public() {
        Some("the router's identity key")
    } else if desk.office.log_keys().all().any(|own| own.vkey.key() == key) {
        Some("a key of the router's log")
    } else if is_of_a_ca() {
        Some("an issuing CA's")
    } else if desk.shown.keys().contains(key) {
        Some("a TLS key of the router's")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use counterfoil_identity::SecretKey;

    use super::*;

    #[test]
    fn the_last_keys_that_were_shown_are_known() {
        let (shown, first) = (Shown::default(), SecretKey::generate().public());
        shown.add(first);
        (1..MAX_SHOWN).for_each(|_| shown.add(SecretKey::generate().public()));
        assert!(shown.keys().contains(&first));
        shown.add(SecretKey::generate().public());
        let keys = shown.keys();
        assert_eq!((keys.contains(&first), keys.len()), (false, MAX_SHOWN));
    }
}
