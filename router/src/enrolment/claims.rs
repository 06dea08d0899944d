//! Join tokens in this process, and whose turn it is to use one.
//!
//! The issuing CA's key may be an agent's, which takes its time, so an enrolment is signed while others decide. Of two
//! claims to one token the second one waits until the first is decided: the same one then gets the same answer.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use counterfoil_identity::enrol::MemoryTokens;
use counterfoil_spec::ids::Serial;

/// Claims to one token that wait beside the one whose turn it is. Each holds a thread, also where its connection is gone.
const MAX_WAITING: u32 = 4;

/// What happened to join tokens since the start.
#[derive(Debug, Default)]
pub(super) struct Claims {
    pub(super) memory: MemoryTokens,
    /// The tokens that somebody is being enrolled with. Guards the map alone.
    taken: Mutex<BTreeMap<Serial, Taken>>,
    left: Condvar,
}

/// Of one token.
#[derive(Debug, Default)]
struct Taken {
    /// Whether it is somebody's turn.
    held: bool,
    waiting: u32,
}

/// Whoever holds this is the only one that uses the token.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    of: &'a Claims,
    token: Serial,
}

impl Claims {
    /// Waits for the turn to use a token; nothing where as many wait as may.
    //= spec/identity.md#enrolment
    //# A router MUST NOT let more than 4 proofs of one join token wait while another of it is decided (`E_RATE`).
    pub(super) fn turn(&self, token: Serial) -> Option<Turn<'_>> {
        let mut all = self.taken();
        let own = all.entry(token).or_default();
        if own.waiting >= MAX_WAITING {
            return None;
        }
        own.waiting += 1;
        let is_held = |all: &mut BTreeMap<Serial, Taken>| all.get(&token).is_some_and(|own| own.held);
        let mut all = self.left.wait_while(all, is_held).unwrap_or_else(PoisonError::into_inner);
        let own = all.entry(token).or_default();
        (own.held, own.waiting) = (true, own.waiting.saturating_sub(1));
        Some(Turn { of: self, token })
    }

    fn taken(&self) -> MutexGuard<'_, BTreeMap<Serial, Taken>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut all = self.of.taken();
        if let Some(own) = all.get_mut(&self.token) {
            own.held = false;
            if own.waiting == 0 {
                all.remove(&self.token);
            }
        }
        drop(all);
        self.of.left.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: Serial = Serial::from_bytes([1; 16]);
    const OTHER: Serial = Serial::from_bytes([2; 16]);

    //= spec/identity.md#enrolment
    //= type=test
    //# A router MUST NOT let more than 4 proofs of one join token wait while another of it is decided (`E_RATE`).
    #[test]
    fn of_one_token_so_many_wait_and_nobody_else_does() {
        let claims = Claims::default();
        let first = claims.turn(TOKEN);
        std::thread::scope(|scope| {
            let waiting: Vec<_> =
                (0..MAX_WAITING).map(|_| scope.spawn(|| claims.turn(TOKEN).is_some())).collect();
            while claims.taken()[&TOKEN].waiting < MAX_WAITING {
                std::thread::yield_now();
            }
            assert!(first.is_some() && claims.turn(TOKEN).is_none());
            assert!(claims.turn(OTHER).is_some());
            drop(first);
            for took in waiting {
                assert!(took.join().unwrap());
            }
        });
        assert!(claims.taken().is_empty());
    }
}
