//! Join tokens in this process, and whose turn it is to use one.
//!
//! The issuing CA's key may be an agent's, which takes its time, so an enrolment is signed while others decide. Of two
//! claims to one token the second one waits until the first is decided: the same one then gets the same answer.

use std::collections::BTreeSet;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use counterfoil_identity::enrol::MemoryTokens;
use counterfoil_spec::ids::Serial;

/// What happened to join tokens since the start.
#[derive(Debug, Default)]
pub(super) struct Claims {
    pub(super) memory: MemoryTokens,
    /// The tokens that somebody is being enrolled with. Guards the set alone; there is at most one for each connection.
    taken: Mutex<BTreeSet<Serial>>,
    left: Condvar,
}

/// Whoever holds this is the only one that uses the token.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    of: &'a Claims,
    token: Serial,
}

impl Claims {
    /// Waits for the turn to use a token.
    pub(super) fn turn(&self, token: Serial) -> Turn<'_> {
        let taken = self.left.wait_while(self.taken(), |taken| taken.contains(&token));
        taken.unwrap_or_else(PoisonError::into_inner).insert(token);
        Turn { of: self, token }
    }

    fn taken(&self) -> MutexGuard<'_, BTreeSet<Serial>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.of.taken().remove(&self.token);
        self.of.left.notify_all();
    }
}
