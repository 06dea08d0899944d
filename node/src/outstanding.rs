//! Consent tokens that this node gave and that still stand: neither over nor withdrawn, on whichever lane they were
//! given.
//!
//! Work comes only under tokens of the present lane; the others stand in the logs all the same, and are withdrawn there
//! where a changed policy does not allow them.

use std::collections::VecDeque;

use counterfoil_spec::claims::Claims;
use counterfoil_spec::ids::Serial;
use counterfoil_spec::time::Seconds;

/// Tokens that are remembered; beyond that the oldest run out by themselves.
const MAX_OUTSTANDING: usize = 1024;

/// The oldest first.
#[derive(Debug, Default)]
pub(crate) struct Outstanding(VecDeque<Claims>);

impl Outstanding {
    /// A token was given.
    pub(crate) fn add(&mut self, claims: Claims, now: Seconds) {
        self.0.retain(|known| known.expires > now && known.cti != claims.cti);
        if self.0.len() >= MAX_OUTSTANDING {
            self.0.pop_front();
        }
        if claims.expires > now {
            self.0.push_back(claims);
        }
    }

    /// A token was withdrawn. False where it did not stand.
    pub(crate) fn remove(&mut self, cti: &Serial) -> bool {
        let before = self.0.len();
        self.0.retain(|known| known.cti != *cti);
        self.0.len() != before
    }

    /// Those that are not allowed any more.
    pub(crate) fn not(&self, allowed: impl Fn(&Claims) -> bool) -> Vec<Serial> {
        self.0.iter().filter(|claims| !allowed(claims)).map(|claims| claims.cti).collect()
    }
}
