//! Whether nothing at all comes from a node, not even the acknowledgement of a packet.
//!
//! A node that is only slow still acknowledges what it is sent: its QUIC runs beside its arithmetic. One from which nothing
//! comes after something was sent is stopped, or cut off. Only what was sent can be acknowledged, so silence is counted
//! from then on, and a node from which anything came since is not silent, however long it says no more.

use std::time::{Duration, Instant};

use counterfoil_session::RouterLane;

/// Waits until nothing at all has come on a lane for some time after something was sent there; never over where anything
/// came.
pub(crate) async fn nothing_comes(lane: &RouterLane, sent: Sent, most: Duration) {
    while let Some(left) = sent.left(lane.datagrams(), Instant::now(), most) {
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left).await;
    }
    std::future::pending().await
}

/// The moment of something that a node is sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sent {
    /// How many datagrams had come from it by then.
    datagrams: u64,
    at: Instant,
}

impl Sent {
    pub(crate) const fn new(datagrams: u64, at: Instant) -> Self {
        Self { datagrams, at }
    }

    /// How much longer nothing may come for it to be quiet; nothing where something came.
    pub(super) fn left(&self, datagrams: u64, now: Instant, most: Duration) -> Option<Duration> {
        let quiet = now.saturating_duration_since(self.at);
        (datagrams == self.datagrams).then(|| most.saturating_sub(quiet))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_quiet_when_nothing_came_since_it_was_sent_something() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let most = Duration::from_millis(200);
        let sent = Sent::new(7, at(1000));
        assert_eq!(sent.left(7, at(900), most), Some(most));
        assert_eq!(sent.left(7, at(1050), most), Some(Duration::from_millis(150)));
        assert_eq!(sent.left(7, at(1200), most), Some(Duration::ZERO));
        assert_eq!(sent.left(7, at(5000), most), Some(Duration::ZERO));
    }

    #[test]
    fn whoever_acknowledged_may_say_nothing_more_for_as_long_as_it_likes() {
        let start = Instant::now();
        let sent = Sent::new(7, start);
        assert_eq!(sent.left(8, start + Duration::from_secs(60), Duration::from_millis(200)), None);
    }
}
