//! Events on their way to the one who is told: twice at times, and in any order.

use serde_json::Value;

use crate::chance::Chance;

/// One event as it is posted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Headers, with names in lower case.
    pub headers: Vec<(String, String)>,
    /// JSON.
    pub body: String,
}

/// Events that were not posted yet.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    waiting: Vec<Value>,
}

impl Outbox {
    pub(crate) fn put(&mut self, event: Value) {
        self.waiting.push(event);
    }

    /// What is posted now: all that waits, one in four twice, in an order of the seed's.
    pub(crate) fn take(&mut self, chance: &mut Chance) -> Vec<Value> {
        let mut out = Vec::new();
        for event in self.waiting.drain(..) {
            if chance.per_mille(250) {
                out.push(event.clone());
            }
            out.push(event);
        }
        chance.shuffle(&mut out);
        out
    }
}
