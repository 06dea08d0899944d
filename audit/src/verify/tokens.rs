//! Join tokens: an enrolment names one that an earlier entry made, and no other enrolment names it.

use std::collections::HashMap;

use counterfoil_spec::ids::{NodeId, Serial};
use counterfoil_spec::rule::FaultKind;

/// Join tokens that the log made, with the node that used each.
#[derive(Default)]
pub(super) struct Tokens {
    made: HashMap<Serial, Option<NodeId>>,
}

impl Tokens {
    /// An entry makes one.
    pub(super) fn make(&mut self, token: Serial) {
        self.made.entry(token).or_default();
    }

    /// A node enrols with one. Where entries were lost, the one that made it may be among them.
    pub(super) fn consume(
        &mut self,
        token: Serial,
        node: NodeId,
        lost: bool,
    ) -> Result<(), (FaultKind, String)> {
        let known = self.made.contains_key(&token);
        if !known && !lost {
            return Err((FaultKind::UnknownKey, format!("no entry made the join token {token}")));
        }
        match self.made.insert(token, Some(node)).flatten() {
            Some(first) => {
                Err((FaultKind::DuplicateSerial, format!("the join token {token} enrolled {first} before")))
            }
            None => Ok(()),
        }
    }
}
