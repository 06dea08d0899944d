//! Heads of the router's log on their way to the node, and when one is owed.

use counterfoil_spec::message::{LogHead, RouterMessage};
use tokio::sync::watch;

use super::RouterLane;
use crate::end::LaneError;

impl RouterLane {
    /// How many receipts were acknowledged here, now and from now on.
    #[must_use]
    pub fn acks(&self) -> watch::Receiver<u64> {
        self.shared.acks.subscribe()
    }

    /// Gives the node a head of the router's log to keep; the answer is a `Head` among the events.
    ///
    /// # Errors
    /// [`LaneError::Closed`] and [`LaneError::Congested`].
    pub fn head(&self, head: LogHead) -> Result<(), LaneError> {
        self.tell(&RouterMessage::Head(head))
    }
}
