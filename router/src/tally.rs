//! What a router took of each member lately, over all its lanes and however often it came anew. Whatever a node can have
//! entered into the log unasked is bounded here.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use counterfoil_spec::ids::NodeId;
use counterfoil_spec::limits::MEMBER_WINDOW_S;
use counterfoil_spec::time::Seconds;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// A consent token that was granted.
    Consent,
    /// One that was refused.
    Refused,
    /// A head that was sent at once, because the node leaves.
    HurriedHead,
}

/// One row for each member that was ever counted.
#[derive(Debug, Default)]
pub(crate) struct Tallies {
    /// Guards the rows; held for one count.
    rows: Mutex<BTreeMap<NodeId, Row>>,
}

#[derive(Debug)]
struct Row {
    since: Seconds,
    consents: u32,
    refused: u32,
    hurried: u32,
}

impl Tallies {
    /// Counts one more; gives how many that makes within the window, which begins with the first.
    pub(crate) fn one(&self, node: NodeId, what: Taken, now: Seconds) -> u32 {
        let fresh = || Row { since: now, consents: 0, refused: 0, hurried: 0 };
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let row = rows.entry(node).or_insert_with(fresh);
        if now >= row.since.plus(MEMBER_WINDOW_S) {
            *row = fresh();
        }
        let count = match what {
            Taken::Consent => &mut row.consents,
            Taken::Refused => &mut row.refused,
            Taken::HurriedHead => &mut row.hurried,
        };
        *count = count.saturating_add(1);
        *count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_counted_for_itself_and_anew_after_the_window() {
        let (tallies, a, b) = (Tallies::default(), NodeId::from_bytes([1; 32]), NodeId::from_bytes([2; 32]));
        let last = Seconds(100 + MEMBER_WINDOW_S - 1);
        assert_eq!(tallies.one(a, Taken::Refused, Seconds(100)), 1);
        assert_eq!(tallies.one(a, Taken::Refused, last), 2);
        assert_eq!(tallies.one(a, Taken::Consent, last), 1);
        assert_eq!(tallies.one(a, Taken::HurriedHead, last), 1);
        assert_eq!(tallies.one(b, Taken::Refused, last), 1);
        assert_eq!(tallies.one(a, Taken::Refused, last.plus(1)), 1);
        assert_eq!(tallies.one(b, Taken::Refused, last.plus(1)), 2);
        // A clock that goes back begins no new window.
        assert_eq!(tallies.one(a, Taken::Refused, Seconds(0)), 2);
    }
}
