//! How much a node may say unasked on one lane: a burst, and a rate after that.

use std::time::Duration;

use counterfoil_session::lane::EARLIER_LANE;
use counterfoil_spec::limits::{MESSAGE_BURST, MESSAGES_PER_S};
use counterfoil_spec::message::NodeMessage;
use tokio::time::Instant;

/// What is left of it.
#[derive(Debug)]
pub(super) struct Pace {
    /// In thousandths of a message.
    left: u64,
    at: Instant,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self { left: u64::from(MESSAGE_BURST) * UNIT, at: now }
    }

    /// Whether this message is within it; it is counted then.
    //= spec/session.md#what-a-node-may-say
    //# A router MUST end the lane of a node that says more (`S_ORDER`).
    pub(super) fn take(&mut self, message: &NodeMessage, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.at);
        self.at = self.at.max(now);
        self.left = self.left.saturating_add(gained(passed)).min(u64::from(MESSAGE_BURST) * UNIT);
        let rest = self.left.checked_sub(weight(message) * UNIT);
        self.left = rest.unwrap_or(self.left);
        rest.is_some()
    }
}

/// One a second is a thousandth a millisecond.
fn gained(passed: Duration) -> u64 {
    u64::try_from(passed.as_millis()).unwrap_or(u64::MAX).saturating_mul(u64::from(MESSAGES_PER_S))
}

fn weight(message: &NodeMessage) -> u64 {
    match message {
        NodeMessage::Terms(_) | NodeMessage::Renew(_) => HEAVY,
        // One of this lane answers a close of the router; and a node that hosts many models has much to say of them.
        NodeMessage::Receipt(half) if half.slot != EARLIER_LANE => 0,
        NodeMessage::Progress(_) => 0,
        _ => 1,
    }
}

/// What a message counts that has the router decide anew, or check more than one signature.
const HEAVY: u64 = 16;
const UNIT: u64 = 1000;

#[cfg(test)]
mod tests {
    use counterfoil_spec::ids::Signature;
    use counterfoil_spec::message::{NodeReceipt, Terms};

    use super::*;

    fn receipt(slot: u32) -> NodeMessage {
        let node_sig = Signature::from_bytes([0; 64]);
        NodeMessage::Receipt(NodeReceipt { slot, body: Vec::new(), node_sig, last: true })
    }

    fn terms() -> NodeMessage {
        NodeMessage::Terms(Terms { min_epoch: 1, wants: None, concurrent: 1 })
    }

    /// How many of a message are taken at one moment.
    fn taken(pace: &mut Pace, message: &NodeMessage, now: Instant) -> u64 {
        (0..10_000).take_while(|_| pace.take(message, now)).count().try_into().unwrap()
    }

    //= spec/session.md#what-a-node-may-say
    //= type=test
    //# A router MUST end the lane of a node that says more (`S_ORDER`).
    #[test]
    fn a_burst_and_then_the_rate_and_what_was_asked_for_is_free() {
        let (burst, start) = (u64::from(MESSAGE_BURST), Instant::now());
        let mut pace = Pace::new(start);
        assert_eq!(taken(&mut pace, &receipt(7), start), 10_000);
        assert_eq!(taken(&mut pace, &receipt(EARLIER_LANE), start), burst);
        assert_eq!(taken(&mut pace, &NodeMessage::Drain, start + Duration::from_millis(999)), 15);
        assert_eq!(taken(&mut pace, &terms(), start + Duration::from_secs(4)), 3);
        // What is not used is kept up to the burst.
        let later = start + Duration::from_secs(3600);
        assert_eq!(taken(&mut pace, &terms(), later), burst / HEAVY);
        // A clock that goes back gives nothing.
        assert_eq!(taken(&mut pace, &NodeMessage::Drain, start), 0);
    }
}
